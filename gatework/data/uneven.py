"""Stamps of rows without a regular step: which are known, and where the next ones may lie.

Stamps are (N, T), moments or whole numbers; what is behind the end of a series is not known, and
stands there as the number that NaT is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.times import UNITS, Step

UNKNOWN = np.iinfo(np.int64).min
Stamps = NDArray[Any]


def side_by_side(parts: Sequence[Stamps]) -> Stamps:
    """Stamps of series of different lengths as (N, T)."""
    longest = max(map(len, parts))
    found = np.full((len(parts), longest), UNKNOWN).astype(parts[0].dtype)
    for row, part in zip(found, parts, strict=True):
        row[: len(part)] = part
    return found


def known(stamps: Stamps) -> NDArray[np.bool_]:
    """Which stamps are known."""
    there: NDArray[np.bool_] = stamps.view(np.int64) != UNKNOWN
    return there


def without(stamps: Stamps, behind: NDArray[np.bool_]) -> Stamps:
    """The same with some that are not known any more."""
    kept = stamps.copy()
    kept.view(np.int64)[behind] = UNKNOWN
    return kept


def usual(stamps: Stamps) -> int | None:
    """The median distance of neighbours, in microseconds or whole numbers; ``None``: none is known.

    One of time is rounded to a unit of which it holds ten or more.
    """
    there = known(stamps)
    found = np.diff(stamps.view(np.int64), axis=1)[there[:, 1:] & there[:, :-1]]
    if not len(found):
        return None
    distance = int(np.median(found))
    fine = [size for size in UNITS.values() if size * 10 <= distance]
    unit = max(fine, default=1) if stamps.dtype.kind == "M" else 1
    return max(1, round(distance / unit)) * unit


def words(stamps: Stamps) -> str:
    """How the steps behind the ends are dated, in words."""
    distance = usual(stamps)
    if distance is None:
        return "The time of single rows says nothing of the next ones: they have no date."
    shown = Step("microseconds", distance).words() if stamps.dtype.kind == "M" else str(distance)
    return (
        f"The rows are not regular, so nobody knows when the next ones come: they are dated by the "
        f"usual distance, {shown}."
    )


def at(stamps: Stamps, index: NDArray[np.int64], distance: int | None) -> Stamps:
    """The stamps of some steps of a series (T,); behind the known ones each a distance on."""
    last = int(np.flatnonzero(known(stamps)).max(initial=0))
    behind = np.maximum(index - last, 0)
    found = stamps.view(np.int64)[index - behind]
    found = np.where(behind > 0, UNKNOWN, found) if distance is None else found + behind * distance
    return found.view(stamps.dtype)
