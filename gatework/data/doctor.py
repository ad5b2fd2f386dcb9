"""The data doctor: what a table holds and what would trouble a training run, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatework.data.columns import Columns
from gatework.data.csv_file import is_number
from gatework.data.cube import Cube
from gatework.data.load import load_cube
from gatework.data.splits import check_plan, held_out
from gatework.data.table import Table, is_numeric, number_like, numbers, read_table
from gatework.data.times import looks_like_times, read_times, spoilt_times
from gatework.data.words import counted
from gatework.errors import DataError

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
FAR = 1000  # distances of the quartiles: a lost decimal sign, or a code for a missing value


@dataclass(frozen=True)
class Finding:
    """One sentence about the data and how serious it is."""

    level: str
    text: str


def check(
    data: Any,
    columns: Columns | None = None,
    horizon: int | None = None,
    context: int | None = None,
) -> list[Finding]:
    """Look at a table as a training run would, before any training.

    Args:
        data: as for ``load_cube``.
        columns: which column is what; what is left out is found where possible.
        horizon: steps of a forecast, to find series that are too short for one.
        context: steps to read; ``None``: as for the estimators.

    Returns:
        Findings from the whole to the detail; an ``error`` is what would stop a run.

    Raises:
        DataError: only when there is no table at all (no such file, an empty one).
    """
    columns = columns or Columns()
    findings = []
    if isinstance(data, (str, Table)) or hasattr(data, "columns") or hasattr(data, "joinpath"):
        table = read_table(data)
        findings += _columns(table, columns)
    try:
        cube = load_cube(data, columns)
    except DataError as error:
        return [*findings, Finding(ERROR, str(error))]
    findings.append(Finding(OK, overview(cube)))
    findings += [Finding(NOTE, note) for note in cube.notes]
    findings += _series(cube)
    if horizon is not None:
        findings += _windows(cube, horizon, context)
    return findings


def _columns(table: Table, columns: Columns) -> list[Finding]:
    rows = table.arrow.num_rows
    size = f"{counted(rows, 'row')}, {counted(len(table.columns), 'column')}"
    findings = [Finding(OK, f"{table.name}: {size}.")]
    for name in table.columns:
        if is_numeric(table, name) and name not in (columns.time, columns.id):
            values = numbers(table, name)
            seen = values[~np.isnan(values)]
            text = f"Column {name!r}: numbers from {seen.min():g} to {seen.max():g}"
            missing = rows - len(seen)
            level = OK
            if missing:
                text += f", {missing} missing"
            if seen.min() == seen.max():
                level, text = WARNING, f"{text}; constant, a model learns nothing from it"
            findings.append(Finding(level, f"{text}."))
        elif name == columns.id:
            count = len(set(table.column(name).to_pylist()))
            findings.append(Finding(OK, f"Column {name!r}: ids, {count} different."))
        elif looks_like_times(table, name) or (name == columns.time and _is_time(table, name)):
            findings.append(Finding(OK, f"Column {name!r}: time stamps."))
        elif spoilt := spoilt_times(table, name):
            findings.append(Finding(WARNING, spoilt))
        else:
            findings.append(_text(table, name))
    return findings


def _is_time(table: Table, name: str) -> bool:
    try:
        read_times(table, name)
    except DataError:
        return False
    return True


def _text(table: Table, name: str) -> Finding:
    """A column that is not read as numbers: empty, spoilt by a few texts, or text indeed."""
    try:
        found = numbers(table, name)
    except DataError as error:
        values = [str(v) for v in table.column(name).to_pylist()]
        if 2 * sum(map(is_number, values)) > len(values):
            return Finding(WARNING, str(error))
        if like := number_like(table, name):
            return Finding(WARNING, like)
        return Finding(
            OK, f"Column {name!r}: text, {counted(len(set(values)), 'different value')}."
        )
    what = "no value at all" if np.isnan(found).all() else "numbers, not time stamps"
    return Finding(WARNING, f"Column {name!r}: {what}.")


def overview(cube: Cube) -> str:
    """What the series are, in one sentence: how many, how long, how far apart, since when."""
    count = len(cube.ids)
    low, high = int(cube.lengths.min()), int(cube.lengths.max())
    steps = counted(low, "step") if low == high else f"{low} to {high} steps"
    text = f"{count} series of {steps}" if count > 1 else f"One series of {steps}"
    if cube.has_times and cube.step.kind != "rows" and high > 1:
        begin = np.array([0])
        first = min(cube.times(i, begin).astype("datetime64[D]")[0] for i in range(count))
        text += f", one every {cube.step.words()}, from {first}"
        if cube.zone is not None:
            text += f" (time zone {cube.zone.name})"
    season = (
        f"{cube.step.season} steps"
        if cube.step.season > 1 and high > 1
        else "none known, so no seasonal forecast to compare with"
    )
    return f"{text}; season: {season}; target {cube.names[0]!r}."


def _series(cube: Cube) -> list[Finding]:
    """What is wrong with single series: constant ones, long gaps, all missing, wild values."""
    findings = []
    constant, empty, gappy, wild = [], [], [], []
    for position, name in enumerate(cube.ids):
        target = cube.series(position)[:, 0]
        seen = target[~np.isnan(target)]
        if not len(seen):
            empty.append(name)
        elif seen.min() == seen.max():
            constant.append(name)
        longest = _longest_run(np.isnan(target))
        if len(seen) and longest > max(2, len(target) // 10):
            gappy.append(f"{name!r} ({longest} steps)")
        if far := _far(seen):
            wild.append(f"{name!r} ({far})")
    for names, what in ((constant, "Constant series"), (empty, "Series without any value")):
        if names:
            of = f"{len(names)} of {len(cube.ids)}"
            findings.append(Finding(WARNING, f"{what} ({of}): {_first(list(map(repr, names)))}."))
    if gappy:
        findings.append(Finding(WARNING, f"Long runs of missing values: {_first(gappy)}."))
    if wild:
        text = f"Values far from all others, are they right? {_first(wild)}."
        findings.append(Finding(WARNING, text))
    return findings


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _far(seen: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """What is far from all other values, and where half of them lie; nothing: no value is."""
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75]) if len(seen) else np.zeros(3)
    away = np.abs(seen - middle)
    if not low < high or away.max() <= FAR * (high - low):
        return ""
    return f"{seen[away.argmax()]:g}, where half of them lie between {low:g} and {high:g}"


def _windows(cube: Cube, horizon: int, context: int | None) -> list[Finding]:
    """Whether a run with the usual shares for validation and test has windows to train on."""
    try:
        context, short = check_plan(cube, horizon, context, None, held_out(cube, horizon))
    except DataError as error:
        return [Finding(ERROR, str(error))]
    if not short:
        return [Finding(OK, f"Every series holds training windows of {context} + {horizon} steps.")]
    return [Finding(WARNING, text) for text in short]


def _longest_run(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
