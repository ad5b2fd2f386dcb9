"""Time stamps: reading them, and finding the regular step that they are on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data.table import Table, is_text
from gatework.data.zones import Zone
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
ISO = ""
FORMS = (ISO, *FORMATS, *(pattern for pair in EITHER for pattern in pair))
# What may be a date in one of these forms, at a first glance.
PERHAPS = r"\d{1,4}[-/. ]?[\dQq].*|\d\d?[- ][A-Za-z].*|[A-Za-z]{3,9} \d.*"
SAMPLE = 50  # values by which the form of a column is found where not all have the same one
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
OFFSET = r"([Zz]|[+-]\d\d(:?\d\d){0,2}(\.\d+)?)$"
WHOLE, NUMBER = r"-?\d+(\.0*)?", r"-?\d+(\.\d*)?"

Times = NDArray[np.datetime64] | NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """The distance between two neighbours: so many months, microseconds, or plain rows.

    Attributes:
        kind: ``"months"``, ``"microseconds"`` or ``"rows"``.
        size: how many of them.
        day: of months: the day on which every one lies, or its last day where it is shorter
            (31: always the last one); 0: as the first stamp lies in its month.
    """

    kind: str
    size: int = 1
    day: int = field(default=0, compare=False)

    @property
    def whole_days(self) -> bool:
        """Whether it is one by the calendar: days or months, of 23 to 25 hours where clocks do."""
        return self.kind == "months" or (
            self.kind == "microseconds" and self.size % UNITS["days"] == 0
        )

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
            day, clock = np.datetime64(start, "D"), np.datetime64(start, "us")
            places, lengths = _in_month(np.array([day]))
            last = self.day or (31 if places[0] == lengths[0] else int(places[0]))
            months = np.asarray(np.datetime64(start, "M") + count * self.size, "datetime64[M]")
            first = months.astype("datetime64[D]")
            moved = first + (np.minimum(last, _in_month(first)[1]) - 1) + (clock - day)
        elif self.kind == "microseconds":
            moved = np.datetime64(start, "us") + count * np.timedelta64(self.size, "us")
        else:
            moved = start + count * self.size
        return moved


@dataclass(frozen=True)
class Stamps:
    """A column of time stamps.

    Attributes:
        times: datetime64[us], in UTC where they have zones; or whole numbers.
        clock: what the clock showed where each was written, if they have zones.
        zone: the zone, if they have one; of several offsets that of the latest stamp.
        offsets: the different offsets, in text.
    """

    times: Times
    clock: NDArray[np.datetime64] | None = None
    zone: Zone | None = None
    offsets: tuple[str, ...] = ()


def read_times(table: Table, name: str) -> Stamps:
    """One column as time stamps or whole numbers.

    Raises:
        DataError: a value is missing or cannot be read (with its place), only some have a zone,
            or day and month cannot be told apart.
    """
    column = table.column(name)
    kind = column.type
    where = f"Time column {name!r} of {table.name}"
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{where} is empty in {table.place(row)}; fill it or leave that row out.")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = getattr(kind, "tz", None)
        column = column.cast(pa.timestamp("us", zone), safe=False)
        times = column.to_numpy(zero_copy_only=False)
        return Stamps(times, Zone(zone).clock(times), Zone(zone)) if zone else Stamps(times)
    # Many ids share their stamps: each different one is read once.
    encoded = column.dictionary_encode()
    codes = encoded.indices.to_numpy()
    values = [str(v).strip() for v in encoded.dictionary.to_pylist()]
    first = np.full(len(values), len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))

    def place(value: int) -> str:
        return table.place(int(first[value]))

    if "" in values:
        raise DataError(
            f"{where} is empty in {place(values.index(''))}; fill it or leave that row out."
        )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or _all(NUMBER, values):
        return Stamps(_from_numbers(where, place, values)[codes])
    read = _parsed(where, place, values)
    clock = None if read.clock is None else read.clock[codes]
    return replace(read, times=read.times[codes], clock=clock)


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
        times = read_times(table, name).times
    except DataError:
        return False
    if times.dtype.kind != "M":
        return False
    # Prices around 1900 look like years, so years have to be named.
    values = table.column(name).to_pylist()
    return bool(pa.types.is_temporal(kind)) or not _all(YEARS, [v.strip() for v in values])


def spoilt_times(table: Table, name: str) -> str | None:
    """Why a column that is dates for the most part is none of times; ``None``: it is no such."""
    column = table.column(name)
    typed = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
    if not typed:
        if not is_text(column.type):
            return None
        values = [str(v or "").strip() for v in column.to_pylist()]
        sample = _sample(values)
        like = [v for v in sample if re.fullmatch(PERHAPS, v) and not _is_count(v)]
        if 2 * len(like) <= len(sample):
            return None
        form = _form_of_most(values)
        if 2 * sum(_fits(form, v) for v in like) <= len(sample):
            return None
    try:
        read_times(table, name)
    except DataError as error:
        return f"Column {name!r} looks like the time, but cannot be read. {error}"
    return None


def find_step(times: list[Times]) -> Step | None:
    """The step of several series, each sorted and without repeats; None if there is no regular one.

    It is the most common distance between neighbours; a series is regular when all its other
    distances are multiples of it.
    """
    if all(t.dtype.kind == "M" for t in times):
        stamps = np.concatenate(times)
        if day := _day_of_all_months(stamps):
            size = _common([t.astype("datetime64[M]").astype(np.int64) for t in times])
            if size:
                return Step("months", size, day)
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


def _is_count(value: str) -> bool:
    """Whether a text is a number and no day like 20200131."""
    day = MONTHS + r"(0[1-9]|[12]\d|3[01])"
    return bool(re.fullmatch(WHOLE, value)) and not re.fullmatch(day, value)


def _from_numbers(where: str, place: Callable[[int], str], values: list[str]) -> Times:
    """Years, months as 202001 and days as 20200131 are dates; other whole numbers count."""
    for row, value in enumerate(values):
        if not re.fullmatch(WHOLE, value) or abs(int(value.partition(".")[0])) >= 2**63:
            raise DataError(
                f"{where} holds numbers; {place(row)} holds {value}, expected a whole number, or "
                f"all of them as YYYY-MM-DD HH:MM:SS."
            )
    digits = [v.partition(".")[0] for v in values]
    if _all(YEARS, digits):
        return _stamps([f"{v}-01" for v in digits])
    if _all(MONTHS, digits):
        return _stamps([f"{v[:4]}-{v[4:]}" for v in digits])
    if _all(r"\d{8}", digits) and (days := _with_format(digits, "%Y%m%d")) is not None:
        return days
    return np.array(digits, dtype=np.int64)


def _parsed(where: str, place: Callable[[int], str], values: list[str]) -> Stamps:
    try:
        return Stamps(pa.array(values).cast(pa.timestamp("us")).to_numpy())
    except pa.ArrowInvalid:
        pass  # it reads ISO 8601 without zones, and fast; other forms are read below
    try:
        read = [_iso(v) for v in values]
    except ValueError:
        return Stamps(_parsed_by_format(where, place, values))
    zoned = [v.tzinfo is not None for v in read]
    if not any(zoned):
        return Stamps(_stamps(read))
    if not all(zoned):
        with_zone, without = zoned.index(True), zoned.index(False)
        raise DataError(
            f"{where}: {place(with_zone)} holds {values[with_zone]!r} with a time zone, "
            f"{place(without)} holds {values[without]!r} without one. Write all in one way."
        )
    clock = _stamps([v.replace(tzinfo=None) for v in read])
    offsets = np.array([v.utcoffset() for v in read], dtype="timedelta64[us]")
    times = clock - offsets
    latest = values[int(times.argmax())]
    names = [found[0] for v in values if (found := re.search(OFFSET, v))]
    _, first = np.unique(offsets, return_index=True)
    zone = Zone(names[int(times.argmax())], "T" if "T" in latest else " ")
    return Stamps(times, clock, zone, tuple(names[i] for i in first))


def _parsed_by_format(where: str, place: Callable[[int], str], values: list[str]) -> Times:
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
    form = _form_of_most(values)
    row = next(row for row, value in enumerate(values) if not _fits(form, value))
    raise DataError(
        f"{where}: {place(row)} holds {values[row]!r}, which is no date in the form of the "
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


def _form_of_most(values: list[str]) -> str:
    """The form that most of the values have; of several that do, the first of ``FORMS``."""
    sample = _sample(values)
    return max(FORMS, key=lambda form: sum(_fits(form, value) for value in sample))


def _sample(values: list[str]) -> list[str]:
    return values[:: 1 + len(values) // SAMPLE]


def _fits(form: str, value: str) -> bool:
    try:
        _iso(value) if form == ISO else datetime.strptime(value, form)
    except ValueError:
        return False
    return True


def _stamps(values: list[Any]) -> NDArray[np.datetime64]:
    return np.array(values, dtype="datetime64[us]")


def _day_of_all_months(times: NDArray[Any]) -> int:
    """The day of the month on which all lie, or on its end where it is shorter; 0: there is none.

    31 stands for the ends of months, whatever the clock shows there.
    """
    days = times.astype("datetime64[D]")
    places, lengths = _in_month(days)
    if (places == lengths).all():
        return 31
    day = int(places.max())
    clocks = times - days
    same = (places == np.minimum(day, lengths)).all() and (clocks == clocks[0]).all()
    return day if same else 0


def _in_month(days: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which day of its month each day is, from 1, and how many that month has."""
    months = days.astype("datetime64[M]")
    first, next_first = months.astype(days.dtype), (months + 1).astype(days.dtype)
    one = np.timedelta64(1, "D")
    return (days - first) // one + 1, (next_first - first) // one
