"""Words that messages and notes share: a few names of many, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gatework.errors import DataError

SHOWN = 5  # names of a row that may be long


def some(names: Sequence[Any]) -> str:
    """The first names as Python writes them, and dots where there are more."""
    return ", ".join(map(repr, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")


def check_choice(name: str, given: Any, known: Iterable[str]) -> None:
    """Refuse an argument that is none of those known.

    Raises:
        DataError: it is not; says which there are.
    """
    choices = list(known)
    if given not in choices:
        raise DataError(f"There is no {name} {given!r}; choose one of {', '.join(choices)}.")
