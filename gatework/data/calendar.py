"""Where in the hour, the day, the week and the year a step lies: known for all time ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.times import UNITS
from gatework.errors import DataError

Moments = NDArray[np.datetime64]

HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
MONDAY = np.datetime64("1970-01-05")
# Of each part of the calendar its length in microseconds, about where lengths differ.
PARTS = {
    "minute": UNITS["hours"],
    "hour": UNITS["days"],
    "weekday": UNITS["weeks"],
    "day": int(30.44 * UNITS["days"]),
    "month": int(365.25 * UNITS["days"]),
    "yearday": int(365.25 * UNITS["days"]),
}
USUAL = ("minute", "hour", "weekday", "yearday")


def chosen_parts(
    cube: Cube, ends: NDArray[np.int64], calendar: bool | str | Sequence[str]
) -> tuple[str, ...]:
    """The parts of the calendar that a model is to read.

    Args:
        cube: the series.
        ends: (N,) where the training part of each series ends.
        calendar: their names; or ``True``: of ``USUAL`` those that hold at least two steps, and
            fit into the training part of the longest series at least once.

    Raises:
        DataError: there is no such part, or there are no time stamps.
    """
    if not calendar:
        return ()
    if calendar is not True:
        names = (calendar,) if isinstance(calendar, str) else tuple(calendar)
        for name in names:
            if name not in PARTS:
                raise DataError(
                    f"There is no part of the calendar {name!r}; choose of {', '.join(PARTS)}."
                )
        if not has_stamps(cube):
            raise DataError(
                f"The calendar ({', '.join(names)}) needs time stamps, and there are none. Name "
                f"the column of time stamps."
            )
        return names
    if not has_stamps(cube):
        raise DataError("calendar=True needs time stamps, and there are none. Name their column.")
    longest = int(np.argmax(ends))
    steps = int(ends[longest])
    if steps < 2:
        return ()
    first, last = moments(cube.at([longest]), steps)[0, [0, -1]].astype(np.int64)
    return tuple(
        part for part in USUAL if 2 * (last - first) / (steps - 1) <= PARTS[part] <= (last - first)
    )


def has_stamps(cube: Cube) -> bool:
    """Whether the steps of the series have dates."""
    if cube.stamps is not None:
        return cube.stamps.dtype.kind == "M"
    return isinstance(cube.starts[0], np.datetime64)


def angles(cube: Cube, parts: Sequence[str], steps: int) -> NDArray[np.float32]:
    """Sine and cosine of the place in each part, (N, steps, 2 * parts).

    A step whose stamp is not known has 0 for both, which is no place.
    """
    if not parts:
        return np.zeros((len(cube.ids), steps, 0), dtype=np.float32)
    if not has_stamps(cube):
        raise DataError(
            f"The model reads the calendar ({', '.join(parts)}); the data has no time stamps."
        )
    when = moments(cube, steps)
    turns = 2 * np.pi * np.stack([_place(when, part) for part in parts], axis=-1)
    both = np.stack([np.sin(turns), np.cos(turns)], axis=-1).reshape(*when.shape, -1)
    found: NDArray[np.float32] = np.nan_to_num(both).astype(np.float32)
    return found


def moments(cube: Cube, steps: int) -> Moments:
    """What the clock shows at the first ``steps`` steps of each series, (N, steps).

    Where the rows are not regular, nothing is known behind their end (NaT).
    """
    if cube.stamps is not None:
        known = cube.stamps[:, :steps].astype("datetime64[us]")
        found = np.full((len(known), steps), np.datetime64("NaT", "us"))
        found[:, : known.shape[1]] = known
        return found
    starts, series = np.unique(np.array(cube.starts, "datetime64[us]"), return_inverse=True)
    index = np.arange(steps)
    rows = np.stack([cube.step.add(start, index).astype("datetime64[us]") for start in starts])
    if cube.zone is not None and not cube.step.whole_days:
        rows = cube.zone.clock(rows.ravel()).reshape(rows.shape)
    clocks: Moments = rows[series]
    return clocks


def _place(when: Moments, part: str) -> NDArray[np.float64]:
    """Where in a part of the calendar moments lie, from 0 to below 1; NaN where not known."""
    hours, days, months, years = (when.astype(f"datetime64[{unit}]") for unit in "hDMY")
    place: NDArray[np.float64]
    if part == "minute":
        place = (when - hours) / HOUR
    elif part == "hour":
        place = (when - days) / DAY
    elif part == "weekday":
        place = np.mod((days - MONDAY) / DAY, 7) / 7
    elif part == "month":
        place = np.where(np.isnat(when), np.nan, (months - years).astype(np.int64) / 12)
    else:
        begin, end = (months, months + 1) if part == "day" else (years, years + 1)
        first, behind = begin.astype(days.dtype), end.astype(days.dtype)
        place = (days - first) / (behind - first)
    return place
