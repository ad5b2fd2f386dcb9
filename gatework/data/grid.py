"""The regular grid of a table's series: by which clock, by which step, on which places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.times import Stamps, Step, find_step, plain, positions
from gatework.data.words import listed
from gatework.data.zones import Zone

# A grid this many times longer than its rows points to a wrong date, not to gaps.
LONGEST_GRID = 20

Times = NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """Where the rows of each series stand.

    Attributes:
        step: the common step; rows, where there is no regular one.
        times: of each series its stamps, as they are counted: with a zone on its clock for a
            step of whole days, and else in UTC.
        places: of each series the place of every row, from 0.
        zone: the zone in which times go on behind the end, if any.
        notes: what was found and done, one sentence each.
        shown: of each series what the clock showed, where the steps are not regular.
    """

    step: Step
    times: list[Times]
    places: list[NDArray[np.int64]]
    zone: Zone | None
    notes: list[str]
    shown: list[Times] = field(default_factory=list)

    @property
    def uneven(self) -> bool:
        """Whether there are stamps and they are not regular."""
        return bool(self.shown)


def make_grid(
    rows: list[NDArray[np.int64]], stamps: Stamps | None, uneven: bool = False, since: bool = True
) -> Grid:
    """The grid of series.

    Args:
        rows: of each series its rows in order of time, none of which has the time of another.
        stamps: the stamps of the table; ``None``: its rows are consecutive.
        uneven: whether the rows are known to be uneven, however these lie.
        since: whether the time since the row before will be read of uneven rows.
    """
    consecutive = [np.arange(len(r)) for r in rows]
    if stamps is None:
        return Grid(Step("rows"), consecutive, consecutive, None, [])
    step, times, zone, notes = _on_clock([stamps.times[r] for r in rows], rows, stamps)
    shown = times if stamps.clock is None else [stamps.clock[r] for r in rows]
    if uneven:
        return Grid(Step("rows"), times, consecutive, None, [], shown)
    if step is not None:
        places = [positions(t, step) for t in times]
        filled = sum(int(p[-1]) + 1 - len(p) for p in places)
        if filled <= (LONGEST_GRID - 1) * sum(map(len, places)):
            if filled:
                steps = "1 step" if filled == 1 else f"{filled} steps"
                notes.append(
                    f"{steps} of {step.words()} absent from the table (gaps); kept as missing "
                    f"values."
                )
            return Grid(step, times, places, zone, notes)
    note = (
        f"The time steps are not regular{_jump(shown) if step else ''}; the rows are taken as "
        f"consecutive steps{', and the time since the row before is read beside them' * since}. "
        f"Bring the table to a regular step if that is wrong."
    )
    return Grid(Step("rows"), times, consecutive, None, [note], shown)


def _on_clock(
    moments: list[Times], rows: list[NDArray[np.int64]], stamps: Stamps
) -> tuple[Step | None, list[Times], Zone | None, list[str]]:
    """Steps of whole days are counted on the clock of their zone, shorter ones in UTC."""
    step = find_step(moments)
    if stamps.clock is None or stamps.zone is None:
        return step, moments, None, []
    several = f"The stamps have several offsets from UTC ({listed(stamps.offsets)})"
    shown: list[Times] = [stamps.clock[r] for r in rows]
    if len(stamps.offsets) <= 1:
        shown = _put_back(shown, stamps.zone)
    by_day = find_step(shown)
    if by_day is not None and by_day.whole_days and all(map(_rises, shown)):
        if len(stamps.offsets) <= 1:
            return by_day, shown, stamps.zone, []
        note = (
            f"{several}; days are counted on the local clock, and forecasts are dated by it, "
            f"without an offset."
        )
        return by_day, shown, None, [note]
    if step is not None and step.whole_days:
        note = (
            f"The steps of {step.words()} are even in UTC but not on the local clock; forecasts "
            f"are dated in UTC."
        )
        return step, moments, stamps.zone.utc, [note]
    note = f"{several}; forecasts are dated with that of the last one, {stamps.zone.name}."
    return step, moments, stamps.zone, [note] if len(stamps.offsets) > 1 else []


def _put_back(shown: list[Times], zone: Zone) -> list[Times]:
    """Where a clock leaves out the usual time of the day, when summer begins, that time."""
    days = [t.astype("datetime64[D]") for t in shown]
    clocks, counts = np.unique(
        np.concatenate([t - d for t, d in zip(shown, days, strict=True)]), return_counts=True
    )
    usual = [d + clocks[counts.argmax()] for d in days]
    left_out = [zone.clock(zone.moments(u)) == t for u, t in zip(usual, shown, strict=True)]
    return [np.where(o, u, t) for o, u, t in zip(left_out, usual, shown, strict=True)]


def _rises(times: Times) -> bool:
    return bool((times[1:] > times[:-1]).all())


def _jump(stamps: list[Times]) -> str:
    """The widest distance between neighbours, in words: where a wrong date would be."""
    widest = max((t for t in stamps if len(t) > 1), key=lambda t: np.diff(t).max())
    place = int(np.diff(widest).argmax())
    before, after = plain(widest[[place]])[0], plain(widest[[place + 1]])[0]
    return f" (nothing lies between {before} and {after}: is that date right?)"
