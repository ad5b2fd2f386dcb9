"""Anything that holds series becomes a cube: arrays, and tables, wide or long with an id column.

What was found and done is written down in plain words: gaps filled, stamps repeated, values
missing, categories, rows of the future.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.bundled import SERIES
from gatework.data.columns import Columns, as_list
from gatework.data.cube import Cube, check_whole
from gatework.data.epochs import like_dates
from gatework.data.grid import make_grid
from gatework.data.series import (
    ELAPSED,
    floats,
    from_series,
    missing_notes,
    stacked,
    with_roles,
)
from gatework.data.table import (
    Table,
    categories,
    is_category,
    is_numeric,
    number_like,
    numbers,
    read_table,
    texts,
)
from gatework.data.times import SECOND, Stamps, looks_like_times, read_times, spoilt_times
from gatework.data.uneven import side_by_side
from gatework.data.words import counted, listed
from gatework.errors import DataError

Array = NDArray[np.float64]


def load_cube(data: Any, columns: Columns | None = None) -> Cube:
    """Make the cube of anything that holds series.

    Args:
        data: a path or a bundled name; a data frame; an array (T,), (N, T) or (N, T, F) with
            the target first; a list of arrays (T,) or (T, F) of different lengths; a dict of
            such by id; or a cube. Series without ids share one scale (see ``Scaler``).
        columns: which column is what. What is left out is found where only one column can be
            meant. In a table every role counts; the features of arrays are called ``x1``,
            ``x2`` ..., are known up to the present where nothing else is said, and may be
            ``future``, ``static`` and ``categories``.

    Raises:
        DataError: in one line, what is wrong and what to do.
    """
    check_whole(data)
    if isinstance(data, Cube):
        return data
    if hasattr(data, "detach"):
        data = floats(data)
    if isinstance(data, (np.ndarray, list, tuple)):
        return _from_arrays(data, columns)
    if isinstance(data, dict):
        cube = _beside([floats(part) for part in data.values()], columns)
        ids = tuple(map(str, data))
        if len(set(ids)) < len(ids):
            raise DataError(f"Two series have the same id as text: {listed(ids)}. Rename one.")
        return replace(cube, ids=ids, named=True)
    return _TableReader(read_table(data), _with_bundled(data, columns or Columns())).read()


def _with_bundled(data: Any, columns: Columns) -> Columns:
    known = SERIES.get(data) if isinstance(data, str) else None
    if known is None:
        return columns
    return replace(columns, target=columns.target or known.target, time=columns.time or known.time)


def _from_arrays(data: Any, columns: Columns | None) -> Cube:
    if isinstance(data, np.ndarray) and data.dtype != object and data.ndim not in (1, 2, 3):
        raise DataError(f"An array of series is (T,), (N, T) or (N, T, F), got {data.shape}.")
    alone = all(np.ndim(part) == 0 for part in data)  # the numbers of one series
    return _beside([floats(part) for part in ([data] if alone else data)], columns)


def _beside(parts: list[Array], columns: Columns | None) -> Cube:
    """The cube of series (T,) or (T, F)."""
    return from_series([p[:, None] if p.ndim == 1 else p for p in parts], columns=columns)


@dataclass
class _TableReader:
    """A table on its way to the cube."""

    table: Table
    columns: Columns
    notes: list[str] = field(default_factory=list)

    def read(self) -> Cube:
        targets = self.targets()
        inputs = self.columns.inputs
        self.check_roles(targets)
        data, levels = self.values(targets, inputs)
        stamps = self.times(targets)
        ids = None if self.columns.id is None else texts(self.table, self.columns.id)
        parts = self.parts(ids, None if stamps is None else stamps.times)
        since = self.columns.elapsed or not self.columns.settled
        grid = make_grid([rows for _, rows in parts], stamps, self.columns.elapsed, since)
        elapsed = grid.uneven and since
        names, starts = [], []
        series, present = [], []
        for number, (label, rows) in enumerate(parts):
            places = grid.places[number]
            own = [_since_before(grid.times[number])] if elapsed else []
            there = np.zeros(int(places[-1]) + 1, dtype=bool)
            there[places] = True
            for target in targets:
                columns = [data[n][rows] for n in (target, *inputs)]
                full = np.full((len(there), len(columns) + len(own)), np.nan)
                full[places] = np.stack([*columns, *own], axis=1)
                series.append(full)
                present.append(there)
                names.append(
                    label if len(targets) == 1 else f"{label}/{target}" if label else target
                )
                starts.append(0 if grid.uneven else grid.times[number][0])
        first = targets[0] if len(targets) == 1 else "value"
        found = [inputs[place - 1] for place in levels]
        cube = Cube(
            stacked(series),
            np.array([len(s) for s in series]),
            tuple(n or first for n in names),
            (first, *inputs, *([ELAPSED] if elapsed else [])),
            tuple(starts),
            grid.step,
            (*self.notes, *grid.notes),
            stamps is not None,
            columns=self.columns.settle(targets, found, elapsed),
            zone=grid.zone,
            levels=levels,
            stamps=side_by_side([t for t in grid.shown for _ in targets]) if grid.uneven else None,
        )
        cube = with_roles(cube, as_list(self.columns.future), as_list(self.columns.static))
        return self.with_missing(cube, targets, _padded(present))

    def values(
        self, targets: list[str], inputs: list[str]
    ) -> tuple[dict[str, Array], dict[int, tuple[str, ...]]]:
        """The columns as numbers, and the names of those that are categories."""
        data, levels = {name: numbers(self.table, name) for name in targets}, {}
        asked = as_list(self.columns.categories)
        for place, name in enumerate(inputs, start=1):
            found = not self.columns.settled and is_category(self.table, name)
            if name not in asked and not found:
                data[name] = numbers(self.table, name)
                continue
            data[name], levels[place] = categories(self.table, name)
            self.notes.append(
                f"Column {name!r} is read as a category, of {len(levels[place])} different values."
            )
        return data, levels

    def targets(self) -> list[str]:
        asked = self.columns.target
        if asked is not None:
            return as_list(asked)
        taken = {self.columns.time, self.columns.id, *self.columns.inputs}
        found = [c for c in self.table.columns if c not in taken and is_numeric(self.table, c)]
        if len(found) != 1:
            there = f"numeric ones: {listed(found)}" if found else "it has no numeric column"
            like = (number_like(self.table, c) for c in self.table.columns if c not in taken)
            hint = "" if found else "".join(f" {text}" for text in filter(None, like))
            raise DataError(f"Say which column of {self.table.name} is the target; {there}.{hint}")
        self.notes.append(f"Column {found[0]!r} is taken as the target, the only numeric one.")
        return found

    def check_roles(self, targets: list[str]) -> None:
        columns = self.columns
        roles: list[tuple[str, str | None]] = [("target", name) for name in targets]
        for role, names in (("feature", columns.features), ("future", columns.future),
                            ("static", columns.static)):  # fmt: skip
            roles += [(role, name) for name in as_list(names)]
        roles += [("time", columns.time), ("id", columns.id)]
        for name in dict.fromkeys(name for _, name in roles if name is not None):
            own = [role for role, n in roles if n == name]
            # What tells the series apart may also be what they are.
            if len(own) > 1 and own != ["static", "id"]:
                raise DataError(
                    f"Column {name!r} of {self.table.name} is named twice, as "
                    f"{' and as '.join(own)}; "
                    f"a column is one thing only."
                )
        for name in as_list(columns.categories):
            if name not in columns.inputs:
                raise DataError(
                    f"Column {name!r} is named as a category, and not as an input. Name it as "
                    f"feature, future or static too."
                )

    def with_missing(self, cube: Cube, targets: list[str], present: NDArray[np.bool_]) -> Cube:
        """The cube with notes on what is missing in the rows of the table."""
        present = present & (np.arange(present.shape[1]) < cube.lengths[:, None])
        notes = []
        for number, target in enumerate(targets):
            own = np.arange(len(cube.ids)) % len(targets) == number
            if np.isnan(cube.values[own, :, 0]).all():
                raise DataError(
                    f"Column {target!r} of {self.table.name} has no finite number at all."
                )
            names = (target, *cube.names[1:]) if number == 0 else (target,)
            there = present & own[:, None]
            if ELAPSED in names:
                names = tuple(n for n in names if n != ELAPSED)
            notes += missing_notes(cube, there, names)
        return replace(cube, notes=(*notes, *cube.notes))

    def times(self, targets: list[str]) -> Stamps | None:
        name = self.columns.time
        if name is None:
            taken = {self.columns.id, *targets, *self.columns.inputs}
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
        stamps = read_times(self.table, name)
        if dates := like_dates(stamps.times):
            self.notes.append(
                f"Column {name!r} holds whole numbers, which are counted as they stand. {dates}"
            )
        return stamps

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


def _since_before(times: NDArray[Any]) -> Array:
    """The time since the row before: log(1 + seconds), or of whole numbers; none for the first.

    Distances may be of any size; the logarithm tells an hour from a day and a day from a year.
    """
    unit = SECOND if times.dtype.kind == "M" else 1
    whole = times.astype("datetime64[us]").astype(np.int64) if unit == SECOND else times
    since: Array = np.append(np.nan, np.log1p(np.diff(whole) / unit))
    return since


def _padded(parts: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    longest = max(map(len, parts))
    return np.stack([np.pad(part, (0, longest - len(part))) for part in parts])
