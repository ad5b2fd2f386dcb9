"""Sizes of values: a letter for a vector, two for a matrix, a small letter for one number of a row.

A matrix (``HH``) is carried as one vector of its rows, one behind the other, so that all that is
elementwise, masked, chosen or scanned needs to know of vectors alone. It has two axes where it is
passed in or out of a layer: ``shape_of`` tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

VECTORS = {"F": "input features", "H": "hidden units", "P": "projected units"}
MATRICES = {"HH": "a matrix of hidden by hidden units"}
SINGLE = {letter.lower(): "one number of a row" for letter in VECTORS}
ALL = VECTORS | MATRICES | SINGLE
OF_STATE = {size: ALL[size] for size in ("H", "P", "HH", "h")}
OF_PARAMETER = VECTORS | {"h": ALL["h"]}


def single(size: str) -> str:
    """The size of one number that goes with a vector or a matrix."""
    return size[0].lower()


def shape_of(size: str, sizes: Mapping[str, int], heads: int = 1) -> tuple[int, ...]:
    """The axes of a value outside of a layer: (1,), (H,) or (H, H).

    With n ``heads`` each has a number and a matrix of its own: (n,) or (n, H/n, H/n).
    """
    if size.islower():
        return (heads if size == "h" else 1,)
    if len(size) > 1 and heads > 1:
        return (heads, *(sizes[letter] // heads for letter in size))
    return tuple(sizes[letter] for letter in size)


def width_of(size: str, sizes: Mapping[str, int], heads: int = 1) -> int:
    """How many numbers a value has in each row."""
    return math.prod(shape_of(size, sizes, heads))


def joint(sizes: Iterable[str]) -> str | None:
    """The size of what is made elementwise of values, that of the largest; ``None``: they differ.

    One number goes with the vectors and matrices of its letter.
    """
    found = sorted(set(sizes), key=lambda size: (size.islower(), size))
    largest, *others = found
    return largest if all(size == single(largest) for size in others) else None


def shown(size: str) -> str:
    """A size in a text: ``H``, ``H × H``, ``1``."""
    return "1" if size.islower() else " × ".join(size)


def of_kind(kind: str, size: str) -> str:
    """The size of a vector (``n``), a matrix (``nn``) or a number (``1``) of the letter of another.

    ``of_kind("nn", "h")`` is ``HH``.
    """
    return single(size) if kind == "1" else size[0].upper() * len(kind)


def mixed(takes: Sequence[str], gives: str, given: Sequence[str | None]) -> str | None:
    """The size of what is not elementwise, by the kinds of its arguments; ``None``: they differ."""
    first = given[0]
    if first is None or list(given) != [of_kind(kind, first) for kind in takes]:
        return None
    size = of_kind(gives, first)
    return size if size in ALL else None
