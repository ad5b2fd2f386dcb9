"""The cube: N series, T steps, F features, on one regular grid; missing values are NaN.

``load_cube`` makes it of a table (wide, or long with an id column) or of arrays, and writes down
in plain words what it found and did: gaps filled, stamps repeated, values missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data.bundled import SERIES
from gatework.data.grid import make_grid
from gatework.data.table import (
    Table,
    is_numeric,
    listed,
    number_like,
    numbers,
    read_table,
    texts,
)
from gatework.data.times import Stamps, Step, looks_like_times, plain, read_times, spoilt_times
from gatework.data.zones import Zone
from gatework.errors import DataError


@dataclass(frozen=True)
class Columns:
    """Which column is what. Several targets are several series, one per column (wide form)."""

    target: str | Sequence[str] | None = None
    time: str | None = None
    id: str | None = None
    features: str | Sequence[str] = ()


@dataclass(frozen=True)
class Cube:
    """Series side by side; the target is feature 0.

    Attributes:
        values: (N, T, F) float64 in the user's units; NaN where missing or behind the end.
        lengths: (N,) steps of each series.
        ids: (N,) names of the series.
        names: (F,) names of the features.
        starts: (N,) time stamp of each first step (whole numbers where there are none); with a
            zone it is what the clock shows if the step is of whole days, and else UTC.
        step: the distance between steps.
        notes: what was found and done, one sentence each.
        has_times: whether the starts are times, or numbers of a time column.
        named: whether the ids mean something; those of arrays are mere places.
        columns: which column of the table is what, also where that was found and not given.
        zone: the time zone of the stamps, if they have one.
    """

    values: NDArray[np.float64]
    lengths: NDArray[np.int64]
    ids: tuple[str, ...]
    names: tuple[str, ...]
    starts: tuple[Any, ...]
    step: Step
    notes: tuple[str, ...] = ()
    has_times: bool = False
    named: bool = True
    columns: Columns = Columns()
    zone: Zone | None = None

    def times(self, series: int, index: NDArray[np.int64]) -> NDArray[Any]:
        """The time stamps of some steps of one series, also of steps behind its end.

        Where the table has a zone, they are what its clock shows; an array holds no zone.
        """
        moved = self.step.add(self.starts[series], index)
        if self.zone is not None and not self.step.whole_days:
            moved = self.zone.clock(moved)
        return plain(moved)

    def times_after(self, steps: int) -> pa.Array:
        """The time stamps of the ``steps`` steps after each end, (N * steps,), as the table's."""
        ahead = np.arange(steps)
        parts = zip(self.starts, self.lengths, strict=True)
        moved = np.concatenate([self.step.add(start, end + ahead) for start, end in parts])
        if self.zone is None:
            return pa.array(plain(moved))
        return self.zone.written(self.zone.moments(moved) if self.step.whole_days else moved)

    def until(self, ends: NDArray[np.int64]) -> Cube:
        """The first ``ends[n]`` steps of each series; nothing of the rest is in it."""
        parts = [row[:end] for row, end in zip(self.values, ends, strict=True)]
        values, lengths = _stacked(parts)
        return replace(self, values=values, lengths=lengths)

    def series(self, position: int) -> NDArray[np.float64]:
        """One series without what is behind its end, (T, F)."""
        return self.values[position, : self.lengths[position]]


def load_cube(data: Any, columns: Columns | None = None) -> Cube:
    """Make the cube of anything that holds series.

    Args:
        data: a path or a bundled name; a data frame; an array (T,), (N, T) or (N, T, F) with
            the target first; a list of arrays (T,) or (T, F) of different lengths; a dict of
            such by id; or a cube. Series without ids share one scale (see ``Scaler``).
        columns: which column is what, for tables. What is left out is found where only one
            column can be meant.

    Raises:
        DataError: in one line, what is wrong and what to do.
    """
    if isinstance(data, Cube):
        return data
    if hasattr(data, "detach"):
        data = floats(data)
    if isinstance(data, (np.ndarray, list, tuple)):
        return _from_arrays(data)
    if isinstance(data, dict):
        cube, ids = _from_arrays([floats(part) for part in data.values()]), tuple(map(str, data))
        if len(set(ids)) < len(ids):
            raise DataError(f"Two series have the same id as text: {listed(ids)}. Rename one.")
        return replace(cube, ids=ids, named=True)
    return _TableReader(read_table(data), _with_bundled(data, columns or Columns())).read()


def _with_bundled(data: Any, columns: Columns) -> Columns:
    known = SERIES.get(data) if isinstance(data, str) else None
    if known is None:
        return columns
    return Columns(
        columns.target or known.target, columns.time or known.time, columns.id, columns.features
    )


def _from_arrays(data: Any) -> Cube:
    if isinstance(data, np.ndarray) and data.dtype != object and data.ndim not in (1, 2, 3):
        raise DataError(f"An array of series is (T,), (N, T) or (N, T, F), got {data.shape}.")
    alone = all(np.ndim(part) == 0 for part in data)  # the numbers of one series
    parts = [floats(part) for part in ([data] if alone else data)]
    return from_series([p[:, None] if p.ndim == 1 else p for p in parts])


def from_series(
    series: list[NDArray[np.float64]], names: Sequence[str] = (), notes: Sequence[str] = ()
) -> Cube:
    """The cube of series (T, F) of different lengths that have neither ids nor times.

    Args:
        series: one array each, NaN where missing.
        names: of the features; ``y``, ``x1``, ``x2`` ... where there are none.
        notes: what was found before.

    Raises:
        DataError: a series without steps or features, or of other features than the first.
    """
    if not series or any(s.ndim != 2 or s.shape[0] == 0 or s.shape[1] == 0 for s in series):
        shapes = [s.shape for s in series]
        raise DataError(f"Each series is (T,) or (T, F) with at least one step, got {shapes}.")
    if len({s.shape[1] for s in series}) > 1:
        raise DataError(f"The series have different features: {[s.shape for s in series]}.")
    names = tuple(names) or ("y", *(f"x{i}" for i in range(1, series[0].shape[1])))
    ids = tuple(str(i) for i in range(len(series)))
    starts, notes = (0,) * len(series), (*notes, *_missing(series, names))
    return Cube(*_stacked(series), ids, names, starts, Step("rows"), notes, named=False)


def floats(part: Any) -> NDArray[np.float64]:
    """An array, a tensor or a list as float64; NaN where masked or not finite."""
    if hasattr(part, "detach"):
        part = part.detach().cpu().double().numpy()
    try:
        if np.iscomplexobj(part):
            raise TypeError("Complex data not supported")
        values = np.ma.filled(np.ma.asarray(part, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"The series are not numbers: {error}.") from error
    return np.where(np.isfinite(values), values, np.nan)


def _stacked(
    series: list[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Series (T, F) of different lengths as one array (N, T, F), and their lengths."""
    lengths = np.array([len(s) for s in series], dtype=np.int64)
    values = np.full((len(series), int(lengths.max()), series[0].shape[1]), np.nan)
    for row, part in zip(values, series, strict=True):
        row[: len(part)] = part
    return values, lengths


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def counted(count: int, what: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _missing(series: list[NDArray[np.float64]], names: Sequence[str]) -> list[str]:
    """How many values of each feature are missing in series (T, F), in words."""
    counts = np.sum([np.isnan(s).sum(axis=0) for s in series], axis=0)
    total = sum(len(s) for s in series)
    return [
        f"{count} of {total} values of {name!r} are missing (empty or not finite); the model sees "
        f"a mask there."
        for name, count in zip(names, counts, strict=True)
        if count
    ]


@dataclass
class _TableReader:
    """A table on its way to the cube."""

    table: Table
    columns: Columns
    notes: list[str] = field(default_factory=list)

    def read(self) -> Cube:
        targets = self.targets()
        features = _listed(self.columns.features)
        self.check_roles(targets, features)
        data = {name: numbers(self.table, name) for name in [*targets, *features]}
        self.count_missing(data)
        stamps = self.times(targets)
        ids = None if self.columns.id is None else texts(self.table, self.columns.id)
        parts = self.parts(ids, None if stamps is None else stamps.times)
        grid = make_grid([rows for _, rows in parts], stamps)
        series, names, starts = [], [], []
        for (label, rows), times, places in zip(parts, grid.times, grid.places, strict=True):
            for target in targets:
                full = np.full((int(places[-1]) + 1, 1 + len(features)), np.nan)
                full[places] = np.stack([data[n][rows] for n in (target, *features)], axis=1)
                series.append(full)
                names.append(
                    label if len(targets) == 1 else f"{label}/{target}" if label else target
                )
                # Dates without a regular step cannot be continued; such rows are just counted.
                counted = grid.step.kind == "rows" and times.dtype.kind == "M"
                starts.append(0 if counted else times[0])
        first = targets[0] if len(targets) == 1 else "value"
        ids_out = tuple(n or first for n in names)
        return Cube(
            *_stacked(series),
            ids_out,
            (first, *features),
            tuple(starts),
            grid.step,
            (*self.notes, *grid.notes),
            stamps is not None,
            columns=replace(self.columns, target=targets, features=features),
            zone=grid.zone,
        )

    def targets(self) -> list[str]:
        asked = self.columns.target
        if asked is not None:
            return _listed(asked)
        taken = {self.columns.time, self.columns.id, *_listed(self.columns.features)}
        found = [c for c in self.table.columns if c not in taken and is_numeric(self.table, c)]
        if len(found) != 1:
            there = f"numeric ones: {listed(found)}" if found else "it has no numeric column"
            like = (number_like(self.table, c) for c in self.table.columns if c not in taken)
            hint = "" if found else "".join(f" {text}" for text in filter(None, like))
            raise DataError(f"Say which column of {self.table.name} is the target; {there}.{hint}")
        self.notes.append(f"Column {found[0]!r} is taken as the target, the only numeric one.")
        return found

    def check_roles(self, targets: list[str], features: list[str]) -> None:
        roles: list[tuple[str, str | None]] = [("target", name) for name in targets]
        roles += [("feature", name) for name in features]
        roles += [("time", self.columns.time), ("id", self.columns.id)]
        for name in dict.fromkeys(name for _, name in roles if name is not None):
            own = [role for role, n in roles if n == name]
            if len(own) > 1:
                raise DataError(
                    f"Column {name!r} of {self.table.name} is named twice, as "
                    f"{' and as '.join(own)}; "
                    f"a column is one thing only."
                )

    def count_missing(self, data: dict[str, NDArray[np.float64]]) -> None:
        for name, values in data.items():
            if np.isnan(values).all():
                raise DataError(
                    f"Column {name!r} of {self.table.name} has no finite number at all."
                )
            self.notes += _missing([values[:, None]], [name])

    def times(self, targets: list[str]) -> Stamps | None:
        name = self.columns.time
        if name is None:
            taken = {self.columns.id, *targets, *_listed(self.columns.features)}
            free = [c for c in self.table.columns if c not in taken]
            found = [c for c in free if looks_like_times(self.table, c)]
            if len(found) != 1:
                several = f", and several hold dates ({listed(found)})" if found else ""
                spoilt = (spoilt_times(self.table, c) for c in free if not found)
                self.notes.append(
                    f"No time column is given{several}; the rows are taken as consecutive steps."
                    + "".join(f" {text}" for text in filter(None, spoilt))
                )
                return None
            name = found[0]
            self.columns = replace(self.columns, time=name)
            self.notes.append(f"Column {name!r} is taken as the time, the only one with dates.")
        return read_times(self.table, name)

    def parts(
        self, ids: NDArray[np.str_] | None, times: NDArray[Any] | None
    ) -> list[tuple[str, NDArray[np.int64]]]:
        """For each id its rows in order of time, of those with the same time the last."""
        count = self.table.arrow.num_rows
        if ids is None:
            groups = [("", np.arange(count))]
        else:
            labels, codes = np.unique(ids, return_inverse=True)
            order = np.argsort(codes, kind="stable")
            cuts = np.flatnonzero(np.diff(codes[order])) + 1
            groups = list(zip(map(str, labels), np.split(order, cuts), strict=True))
        if times is None:
            return groups
        parts, repeated, unsorted = [], 0, 0
        for label, rows in groups:
            stamps = times[rows]
            unsorted += bool((np.diff(stamps.astype(np.int64)) < 0).any())
            ordered = rows[np.argsort(stamps, kind="stable")]
            stamps = times[ordered]
            last = np.append(stamps[1:] != stamps[:-1], True)
            repeated += int((~last).sum())
            parts.append((label, ordered[last]))
        if unsorted:
            where = "" if ids is None else f" of {unsorted} of {len(groups)} ids"
            self.notes.append(f"The rows{where} are not in order of time; they were sorted.")
        if repeated:
            self.notes.append(
                f"{counted(repeated, 'row')} with the time stamp of another row"
                f"{' of the same id' if ids is not None else ''}; the last of each is used."
            )
            self.check_repeats(ids is None, repeated, count)
        return parts

    def check_repeats(self, no_id: bool, repeated: int, count: int) -> None:
        if no_id and repeated * 3 > count:
            raise DataError(
                f"{repeated} of {count} rows of {self.table.name} repeat a time stamp: several "
                f"series seem to be in one column. Name the column that tells them apart (id)."
            )
