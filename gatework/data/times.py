"""Time stamps: reading them, and finding the regular step that they are on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data.table import Table, numbers
from gatework.errors import DataError

# Tried in this order after ISO 8601; a column must fit one format as a whole.
FORMATS = (
    "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y%m%d", "%Y-%b", "%b %Y", "%B %Y",
    "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
)  # fmt: skip
# These differ only in which of the first two numbers is the month.
SLASHED = ("%d/%m/%Y", "%m/%d/%Y"), ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"), (
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S",
)  # fmt: skip
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 7 * 86400}

Times = NDArray[np.datetime64] | NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """The distance between two neighbours: so many months, seconds, or plain rows."""

    kind: str  # "months", "seconds" or "rows"
    size: int = 1

    @property
    def season(self) -> int:
        """The number of steps after which people expect a pattern to repeat; 1: none known."""
        if self.kind == "months":
            return 12 // self.size if 12 % self.size == 0 else 1
        if self.kind == "seconds":
            by_size = {60: 60, 3600: 24, 86400: 7, 7 * 86400: 52}
            if self.size in by_size:
                return by_size[self.size]
            return 86400 // self.size if self.size < 86400 and 86400 % self.size == 0 else 1
        return 1

    def words(self) -> str:
        """In plain words: ``1 month``, ``15 minutes``."""
        if self.kind == "rows":
            return "1 row"
        if self.kind == "months":
            count, unit = self.size, "months"
        else:
            unit = max((u for u, s in UNITS.items() if self.size % s == 0), key=UNITS.__getitem__)
            count = self.size // UNITS[unit]
        return f"{count} {unit[:-1] if count == 1 else unit}"

    def add(self, start: Any, count: NDArray[np.int64]) -> NDArray[Any]:
        """The time stamps ``count`` steps after ``start``."""
        if self.kind == "months":
            month = np.datetime64(start, "M")
            moved = (month + count * self.size).astype("datetime64[M]")
            last = (moved + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
            if _is_month_end(np.array([start]))[0]:
                return last.astype("datetime64[s]")
            inside = np.datetime64(start, "s") - month.astype("datetime64[s]")
            return moved.astype("datetime64[s]") + inside
        if self.kind == "seconds":
            return np.datetime64(start, "s") + count * np.timedelta64(self.size, "s")
        return start + count * self.size


def read_times(table: Table, name: str) -> Times:
    """One column as time stamps (datetime64[s], UTC where a zone is given) or whole numbers.

    Raises:
        DataError: a value is missing or cannot be read (with its row), or day and month
            cannot be told apart.
    """
    column = table.column(name)
    kind = column.type
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"Time column {name!r} of {table.name} is empty in row {row}.")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        plain = column.cast(pa.timestamp("us", getattr(kind, "tz", None)))
        times: Times = plain.to_numpy(zero_copy_only=False).astype("datetime64[s]")
        return times
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _whole(table, name)
    values = [str(v).strip() for v in column.to_pylist()]
    if "" in values:
        row = values.index("") + 1
        raise DataError(f"Time column {name!r} of {table.name} is empty in row {row}.")
    if all(re.fullmatch(r"-?\d{1,7}(\.0*)?|-?\d{9,}", v) for v in values):
        return _years(values) if all(_is_year(v) for v in values) else _whole(table, name)
    return _parsed(table, name, values)


def looks_like_times(table: Table, name: str) -> bool:
    """Whether a column that nobody named holds dates (text or date typed, not plain numbers)."""
    column = table.column(name)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.null_count == 0
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return False
    try:
        return bool(read_times(table, name).dtype.kind == "M")
    except DataError:
        return False


def find_step(times: list[Times]) -> Step | None:
    """The step of several series, each sorted and without repeats; None if there is no regular one.

    It is the most common distance between neighbours; a series is regular when all its other
    distances are multiples of it.
    """
    if all(t.dtype.kind == "M" for t in times):
        stamps = np.concatenate(times)
        if _is_month_start(stamps).all() or _is_month_end(stamps).all():
            size = _common([t.astype("datetime64[M]").astype(np.int64) for t in times])
            return Step("months", size) if size else None
        size = _common([t.astype("datetime64[s]").astype(np.int64) for t in times])
        return Step("seconds", size) if size else None
    size = _common([t.astype(np.int64) for t in times])
    return Step("rows", size) if size else None


def positions(times: Times, step: Step) -> NDArray[np.int64]:
    """The place of each time stamp on the grid that begins at the first one."""
    unit = "datetime64[M]" if step.kind == "months" else "datetime64[s]"
    whole = (times.astype(unit) if times.dtype.kind == "M" else times).astype(np.int64)
    return (whole - whole[0]) // step.size


def _common(values: list[NDArray[np.int64]]) -> int:
    distances = np.concatenate([np.diff(v) for v in values])
    if not len(distances):
        return 1
    sizes, counts = np.unique(distances, return_counts=True)
    size = int(sizes[np.argmax(counts)])
    return size if size > 0 and bool((distances % size == 0).all()) else 0


def _whole(table: Table, name: str) -> NDArray[np.int64]:
    values = numbers(table, name)
    bad = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
    if len(bad):
        raise DataError(
            f"Time column {name!r} of {table.name} holds numbers; row {bad[0] + 1} holds "
            f"{values[bad[0]]}, expected a whole number."
        )
    return values.astype(np.int64)


def _is_year(text: str) -> bool:
    return bool(re.fullmatch(r"(1[5-9]|20|21)\d\d", text))


def _years(values: list[str]) -> Times:
    return np.array(values, dtype="datetime64[Y]").astype("datetime64[s]")


def _parsed(table: Table, name: str, values: list[str]) -> Times:
    try:
        return np.array([_iso(v) for v in values], dtype="datetime64[s]")
    except ValueError:
        pass
    for pattern in FORMATS:
        if (found := _with_format(values, pattern)) is not None:
            return found
    for day_first, month_first in SLASHED:
        one, two = _with_format(values, day_first), _with_format(values, month_first)
        if one is not None and two is not None and (one != two).any():
            raise DataError(
                f"Time column {name!r} of {table.name}: {values[0]!r} may be day/month or "
                f"month/day, and no row decides. Write the dates as YYYY-MM-DD."
            )
        if one is not None or two is not None:
            return one if one is not None else two  # type: ignore[return-value]
    row, value = next(
        ((r, v) for r, v in enumerate(values, 1) if not _reads(v)), (1, values[0])
    )
    raise DataError(
        f"Time column {name!r} of {table.name}: row {row} holds {value!r}, which is no date in "
        f"the form of the others. Write all of them as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS."
    )


def _iso(text: str) -> np.datetime64:
    if re.fullmatch(r"\d{4}-\d\d?", text):
        year, month = text.split("-")
        return np.datetime64(f"{year}-{month:0>2}", "s")
    if re.fullmatch(r"\d{8}", text):
        raise ValueError(text)  # left to the formats, where a whole column must agree
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is not None:
        stamp = stamp.astimezone(timezone.utc).replace(tzinfo=None)
    return np.datetime64(stamp, "s")


def _with_format(values: list[str], pattern: str) -> Times | None:
    try:
        return np.array([datetime.strptime(v, pattern) for v in values], dtype="datetime64[s]")  # noqa: DTZ007
    except ValueError:
        return None


def _reads(value: str) -> bool:
    patterns = [*FORMATS, *(p for pair in SLASHED for p in pair)]
    try:
        _iso(value)
    except ValueError:
        return any(_with_format([value], p) is not None for p in patterns)
    return True


def _is_month_start(times: NDArray[Any]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = times == times.astype("datetime64[M]").astype(times.dtype)
    return result


def _is_month_end(times: NDArray[Any]) -> NDArray[np.bool_]:
    days = np.asarray(times).astype("datetime64[D]")
    return (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")
