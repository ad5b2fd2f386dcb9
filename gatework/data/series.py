"""Series as arrays: the cube of them, and what their columns are to a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.columns import Columns, as_list
from gatework.data.cube import Cube
from gatework.data.times import Step
from gatework.errors import DataError

Array = NDArray[np.float64]
ELAPSED = "time since the row before"


def from_series(
    series: list[Array],
    names: Sequence[str] = (),
    notes: Sequence[str] = (),
    columns: Columns | None = None,
) -> Cube:
    """The cube of series (T, F) of different lengths that have neither ids nor times.

    Args:
        series: one array each, NaN where missing.
        names: of the features; ``y``, ``x1``, ``x2`` ... where there are none.
        notes: what was found before.
        columns: which features are known ahead, static, or categories.

    Raises:
        DataError: a series without steps or features, or of other features than the first; or
            there is no such column.
    """
    if not series or any(s.ndim != 2 or s.shape[0] == 0 or s.shape[1] == 0 for s in series):
        odd = next((i for i, s in enumerate(series) if s.ndim != 2 or 0 in s.shape), None)
        got = "none" if odd is None else f"{series[odd].shape} as number {odd + 1}"
        raise DataError(f"Each series is (T,) or (T, F) with at least one step, got {got}.")
    counts = [s.shape[1] for s in series]
    if other := next((i for i, count in enumerate(counts) if count != counts[0]), 0):
        raise DataError(
            f"The series have different features: the first has {counts[0]}, number {other + 1} "
            f"has {counts[other]}."
        )
    names = tuple(names) or ("y", *(f"x{i}" for i in range(1, series[0].shape[1])))
    lengths = np.array([len(s) for s in series])
    ids, starts = tuple(str(i) for i in range(len(series))), (0,) * len(series)
    cube = Cube(
        stacked(series), lengths, ids, names, starts, Step("rows"), tuple(notes), named=False
    )
    columns = columns or Columns()
    if not columns.settled:
        _check_named(cube, columns)
    for place in _places(cube, as_list(columns.categories)):
        cube = _category(cube, place)
    cube = with_roles(cube, as_list(columns.future), as_list(columns.static))
    own = Columns(
        future=as_list(columns.future),
        static=as_list(columns.static),
        categories=as_list(columns.categories),
    )
    cube = replace(cube, columns=own)
    present = np.arange(cube.values.shape[1]) < cube.lengths[:, None]
    return replace(cube, notes=(*cube.notes, *missing_notes(cube, present)))


def _check_named(cube: Cube, columns: Columns) -> None:
    """Refuse names that arrays do not have, instead of passing them over."""
    for role in ("target", "time", "id"):
        name = getattr(columns, role)
        if name is not None and name != cube.names[0]:
            raise DataError(
                f"{role}={name!r} names a column of a table, and arrays have none such; leave it "
                f"out, or pass a data frame or a file."
            )
    _places(cube, as_list(columns.features))


def floats(part: Any) -> Array:
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


def stacked(series: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Series (T, ...) of different lengths as one array (N, T, ...), NaN behind the ends."""
    shape = len(series), max(map(len, series)), *series[0].shape[1:]
    values = np.full(shape, np.nan, dtype=series[0].dtype)
    for row, part in zip(values, series, strict=True):
        row[: len(part)] = part
    return values


def with_roles(cube: Cube, ahead: Sequence[str], static: Sequence[str]) -> Cube:
    """The cube with some features known ahead and some static.

    With features that are known ahead a series ends where its target and its other features do;
    rows behind that are the future. A static feature is the first value that a series has, from
    there on.

    Raises:
        DataError: there is no such feature.
    """
    places, fixed = _places(cube, ahead), _places(cube, static)
    if not places and not fixed:
        return cube
    values, notes = cube.values.copy(), list(cube.notes)
    steps = np.arange(values.shape[1])
    for place in fixed:
        column = values[..., place]
        there = ~np.isnan(column)
        first = there.argmax(axis=1)
        value = np.take_along_axis(column, first[:, None], axis=1)
        varies = (there & (column != value)).any(axis=1)
        inside = (steps >= first[:, None]) & (steps < cube.lengths[:, None])
        values[..., place] = np.where(inside, value, np.nan)
        if varies.any():
            notes.append(
                f"{cube.names[place]!r} is named as static, but varies within {varies.sum()} of "
                f"{len(varies)} series; the first value of each is used."
            )
    lengths: NDArray[np.int64] = cube.lengths
    if places:
        others = [p for p in range(values.shape[2]) if p not in (*places, *fixed)]
        # A row of the future too comes so long after the row before.
        told = [p for p in others if cube.names[p] != ELAPSED]
        there = np.any(~np.isnan(values[..., told]), axis=2)
        ends = values.shape[1] - there[:, ::-1].argmax(axis=1)
        lengths = np.where(np.any(there, axis=1), ends, cube.lengths)
        behind = (steps >= lengths[:, None])[..., None]
        values[..., others] = np.where(behind, np.nan, values[..., others])
        coming = cube.lengths - lengths
        if coming.any():
            notes.append(
                f"{coming.sum()} steps at the ends of {np.count_nonzero(coming)} of {len(coming)} "
                f"series hold only what is known ahead; they are the future, and forecasts begin "
                f"there."
            )
    return replace(
        cube,
        values=values,
        lengths=lengths,
        ahead=tuple(places),
        static=tuple(fixed),
        notes=tuple(notes),
    )


def missing_notes(
    cube: Cube, present: NDArray[np.bool_], names: Sequence[str] | None = None
) -> list[str]:
    """How many values of each feature are missing in some steps (N, T), in words."""
    total = int(present.sum())
    counts = np.count_nonzero(np.isnan(cube.values) & present[..., None], axis=(0, 1))
    return [
        f"{count} of {total} values of {name!r} are missing (empty or not finite); the model sees "
        f"a mask there."
        for name, count in zip(names or cube.names, counts, strict=False)
        if count
    ]


def _category(cube: Cube, place: int) -> Cube:
    """The cube with a feature of numbers turned into a category."""
    there = ~np.isnan(cube.values[..., place])
    levels, codes = np.unique(cube.values[there, place], return_inverse=True)
    values = cube.values.copy()
    values[there, place] = codes
    return replace(
        cube,
        values=values,
        levels={**cube.levels, place: tuple(f"{level:.15g}" for level in levels)},
    )


def _places(cube: Cube, names: Sequence[str]) -> list[int]:
    for name in names:
        if name not in cube.names[1:]:
            raise DataError(
                f"The series have no input {name!r}; theirs are "
                f"{', '.join(cube.names[1:]) or 'none'}."
            )
    return [cube.names.index(name) for name in names]
