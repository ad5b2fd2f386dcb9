"""Words that messages and notes share: names in a row, counts, what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gatework.errors import DataError

FEW, MANY = 5, 20  # names of a row that a note shows, and an error


def some(names: Sequence[Any]) -> str:
    """The first names as Python writes them, and dots where there are more."""
    return ", ".join(map(repr, names[:FEW])) + (" ..." if len(names) > FEW else "")


def check_choice(name: str, given: Any, known: Iterable[str]) -> None:
    """Refuse an argument that is none of those known.

    Raises:
        DataError: it is not; says which there are.
    """
    choices = list(known)
    if given not in choices:
        raise DataError(f"There is no {name} {given!r}; choose one of {', '.join(choices)}.")


def listed(names: Sequence[str]) -> str:
    """Names in a row, as many as one line can take."""
    shown = ", ".join(names[:MANY])
    return shown if len(names) <= MANY else f"{shown} ... ({len(names)} in all)"


def counted(count: int, what: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
