"""Time stamps: reading them, and finding the regular step that they are on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data.table import Table
from gatework.errors import DataError

# Tried in this order after ISO 8601; a column must fit one format as a whole.
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DATES = (
    "%Y/%m/%d", "%Y%m%d", "%Y-%b", "%b %Y", "%B %Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%d.%m.%Y", "%d.%m.%y",
)  # fmt: skip
FORMATS = tuple(date + clock for date in DATES for clock in CLOCKS)
# These differ only in which of the first two numbers is the month.
EITHER = tuple(
    (f"%d{s}%m{s}{year}{clock}", f"%m{s}%d{s}{year}{clock}")
    for s, year in (("/", "%Y"), ("-", "%Y"), ("/", "%y"))
    for clock in CLOCKS
)
SECOND = 1_000_000  # in microseconds, the finest time that is told apart
UNITS = {
    "microseconds": 1,
    "milliseconds": 1000,
    "seconds": SECOND,
    "minutes": 60 * SECOND,
    "hours": 3600 * SECOND,
    "days": 86400 * SECOND,
    "weeks": 7 * 86400 * SECOND,
}
# A day of more steps than this is no pattern that a context could hold; then it is the hour.
LONGEST_SEASON = 400
# Dates written as plain numbers. Counted as they stand, 202001 would follow 201912 by 89 steps.
YEARS, MONTHS = r"(1[5-9]|20|21)\d\d", r"(1[5-9]|20|21)\d\d(0[1-9]|1[0-2])"
WHOLE = r"-?\d+(\.0*)?"

Times = NDArray[np.datetime64] | NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """The distance between two neighbours: so many months, microseconds, or plain rows."""

    kind: str  # "months", "microseconds" or "rows"
    size: int = 1

    @property
    def season(self) -> int:
        """The number of steps after which people expect a pattern to repeat; 1: none known."""
        if self.kind == "months":
            return 12 // self.size if 12 % self.size == 0 else 1
        if self.kind == "microseconds":
            by_size = {UNITS["days"]: 7, UNITS["weeks"]: 52}
            if self.size in by_size:
                return by_size[self.size]
            for unit in ("days", "hours", "minutes"):
                if UNITS[unit] % self.size == 0 and UNITS[unit] // self.size <= LONGEST_SEASON:
                    return UNITS[unit] // self.size
        return 1

    def words(self) -> str:
        """In plain words: ``1 month``, ``15 minutes``."""
        if self.kind == "rows":
            return "1 row" if self.size == 1 else f"{self.size}"
        if self.kind == "months":
            count, unit = self.size, "months"
        else:
            unit = max((u for u, s in UNITS.items() if self.size % s == 0), key=UNITS.__getitem__)
            count = self.size // UNITS[unit]
        return f"{count} {unit[:-1] if count == 1 else unit}"

    def add(self, start: Any, count: NDArray[np.int64]) -> NDArray[Any]:
        """The time stamps ``count`` steps after ``start``."""
        moved: NDArray[Any]
        if self.kind == "months":
            month = np.datetime64(start, "M")
            begins = np.asarray(month + count * self.size, dtype="datetime64[M]")
            inside = np.datetime64(start, "us") - month.astype("datetime64[us]")
            if _is_month_end(np.array([start]))[0]:
                inside -= np.datetime64(start, "D") - month.astype("datetime64[D]")
                begins = (begins + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
            moved = begins.astype("datetime64[us]") + inside
        elif self.kind == "microseconds":
            moved = np.datetime64(start, "us") + count * np.timedelta64(self.size, "us")
        else:
            moved = start + count * self.size
        return moved


def read_times(table: Table, name: str) -> Times:
    """One column as time stamps (datetime64[us], UTC where a zone is given) or whole numbers.

    Raises:
        DataError: a value is missing or cannot be read (with its row), or day and month
            cannot be told apart.
    """
    column = table.column(name)
    kind = column.type
    where = f"Time column {name!r} of {table.name}"
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"{where} is empty in row {row}.")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        times: Times = column.to_numpy(zero_copy_only=False)
        return times
    values = [str(v).strip() for v in column.to_pylist()]
    if "" in values:
        raise DataError(f"{where} is empty in row {values.index('') + 1}.")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or _all(WHOLE, values):
        return _from_numbers(where, values)
    return _parsed(where, values)


def plain(times: NDArray[Any]) -> NDArray[Any]:
    """The same time stamps without the hours, or the fractions of seconds, that are all zero."""
    for unit in ("D", "s"):
        if times.dtype.kind == "M" and (times == times.astype(f"datetime64[{unit}]")).all():
            return times.astype(f"datetime64[{unit}]")
    return times


def looks_like_times(table: Table, name: str) -> bool:
    """Whether a column that nobody named holds dates (text or date typed, not plain numbers)."""
    kind = table.column(name).type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return False
    try:
        times = read_times(table, name)
    except DataError:
        return False
    if times.dtype.kind != "M":
        return False
    # Prices around 1900 look like years, so years have to be named.
    values = table.column(name).to_pylist()
    return bool(pa.types.is_temporal(kind)) or not _all(YEARS, [v.strip() for v in values])


def find_step(times: list[Times]) -> Step | None:
    """The step of several series, each sorted and without repeats; None if there is no regular one.

    It is the most common distance between neighbours; a series is regular when all its other
    distances are multiples of it.
    """
    if all(t.dtype.kind == "M" for t in times):
        stamps = np.concatenate(times)
        if _is_month_end(stamps).all() or _is_same_day_of_month(stamps):
            size = _common([t.astype("datetime64[M]").astype(np.int64) for t in times])
            return Step("months", size) if size else None
        size = _common([t.astype("datetime64[us]").astype(np.int64) for t in times])
        return Step("microseconds", size) if size else None
    size = _common([t.astype(np.int64) for t in times])
    return Step("rows", size) if size else None


def positions(times: Times, step: Step) -> NDArray[np.int64]:
    """The place of each time stamp on the grid that begins at the first one."""
    unit = "datetime64[M]" if step.kind == "months" else "datetime64[us]"
    whole = (times.astype(unit) if times.dtype.kind == "M" else times).astype(np.int64)
    place: NDArray[np.int64] = (whole - whole[0]) // step.size
    return place


def _common(values: list[NDArray[np.int64]]) -> int:
    distances = np.concatenate([np.diff(v) for v in values])
    if not len(distances):
        return 1
    sizes, counts = np.unique(distances, return_counts=True)
    size = int(sizes[np.argmax(counts)])
    return size if size > 0 and bool((distances % size == 0).all()) else 0


def _all(pattern: str, values: list[str]) -> bool:
    return all(re.fullmatch(pattern, v) for v in values)


def _from_numbers(where: str, values: list[str]) -> Times:
    """Years, months as 202001 and days as 20200131 are dates; other whole numbers count."""
    for row, value in enumerate(values, start=1):
        if not re.fullmatch(WHOLE, value) or abs(int(value.partition(".")[0])) >= 2**63:
            raise DataError(
                f"{where} holds numbers; row {row} holds {value}, expected a whole number."
            )
    digits = [v.partition(".")[0] for v in values]
    if _all(YEARS, digits):
        return _stamps([f"{v}-01" for v in digits])
    if _all(MONTHS, digits):
        return _stamps([f"{v[:4]}-{v[4:]}" for v in digits])
    if _all(r"\d{8}", digits) and (days := _with_format(digits, "%Y%m%d")) is not None:
        return days
    return np.array(digits, dtype=np.int64)


def _parsed(where: str, values: list[str]) -> Times:
    try:
        read = [_iso(v) for v in values]
    except ValueError:
        pass
    else:
        zoned = [v.tzinfo is not None for v in read]
        if any(zoned) and not all(zoned):
            raise DataError(
                f"{where}: {values[zoned.index(True)]!r} has a time zone, "
                f"{values[zoned.index(False)]!r} has none. Write all of them in one way."
            )
        return _stamps([v.astimezone(UTC).replace(tzinfo=None) if v.tzinfo else v for v in read])
    for pattern in FORMATS:
        if (found := _with_format(values, pattern)) is not None:
            return found
    for pair in EITHER:
        day_first, month_first = (_with_format(values, pattern) for pattern in pair)
        if day_first is not None and month_first is not None and (day_first != month_first).any():
            raise DataError(
                f"{where}: {values[0]!r} may be day/month or month/day, and no row decides. "
                f"Write the dates as YYYY-MM-DD."
            )
        if (found := day_first if day_first is not None else month_first) is not None:
            return found
    row = _first_stranger(values)
    raise DataError(
        f"{where}: row {row + 1} holds {values[row]!r}, which is no date in the form of the "
        f"others. Write all of them as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS."
    )


def _iso(text: str) -> datetime:
    if match := re.fullmatch(r"(\d{4})-(\d\d?)", text):
        return datetime(int(match[1]), int(match[2]), 1)
    if match := re.fullmatch(r"(\d{4})[ -]?[Qq]([1-4])", text):
        return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)
    return datetime.fromisoformat(text)


def _with_format(values: list[str], pattern: str) -> Times | None:
    try:
        return _stamps([datetime.strptime(v, pattern) for v in values])
    except ValueError:
        return None


def _first_stranger(values: list[str]) -> int:
    """The first row that the format of the rows before it does not read."""

    def rows_read(pattern: str | None) -> int:
        for row, value in enumerate(values):
            try:
                _iso(value) if pattern is None else datetime.strptime(value, pattern)
            except ValueError:
                return row
        return len(values)

    return max(map(rows_read, [None, *FORMATS, *(p for pair in EITHER for p in pair)]))


def _stamps(values: list[Any]) -> NDArray[np.datetime64]:
    return np.array(values, dtype="datetime64[us]")


def _is_same_day_of_month(times: NDArray[Any]) -> bool:
    """Whether all stamps lie equally far into their months, on a day that ends none of them."""
    inside = times - times.astype("datetime64[M]").astype(times.dtype)
    return bool((inside == inside[0]).all()) and inside[0] < np.timedelta64(27, "D")


def _is_month_end(times: NDArray[Any]) -> NDArray[np.bool_]:
    days = np.asarray(times).astype("datetime64[D]")
    result: NDArray[np.bool_] = (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")
    return result
