"""What the commands around a fitted model share: its folder, its tables, what is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    import pyarrow as pa

    from gatework.tasks.estimator import Estimator
    from gatework.training.run_folder import RunFolder

SUMMARY, PAGE = "summary.json", "report.html"


def write_tables(tables: Callable[[], Iterable[pa.Table]], out: Path | None, what: str) -> None:
    """Write the parts of a table, one after the other, as its ending says, or print it as CSV.

    Args:
        tables: makes the parts, anew each time.
        out: a ``.csv`` or ``.parquet`` file; ``None``: the terminal.
        what: its rows in words.
    """
    from gatework.training.files import appears_whole, is_main

    if out is None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            _write_parts(tables, path, parquet=False)
            with path.open(encoding="utf-8", newline="") as file:
                copyfileobj(file, sys.stdout)
    elif is_main():
        with appears_whole(out) as path:
            rows = _write_parts(tables, path, out.suffix == ".parquet")
        typer.echo(f"{rows} {what} written to {out}")


def _write_parts(tables: Callable[[], Iterable[pa.Table]], path: Path, parquet: bool) -> int:
    """Write them to a file; how many rows they have.

    A file has one form of time stamps, by the first part. Where those of a later one are finer, it
    is begun anew.
    """
    import pyarrow.csv
    import pyarrow.parquet

    from gatework.data.table import finest

    kind = pyarrow.parquet.ParquetWriter if parquet else pyarrow.csv.CSVWriter

    schema: pa.Schema | None = None
    rows: int | None = None
    while rows is None:
        rows, parts = 0, iter(tables())
        first = next(parts)
        schema = schema or first.schema
        with path.open("wb") as file, kind(file, schema) as writer:
            for table in chain([first], parts):
                needed = finest([schema, table.schema])
                if needed != schema:
                    schema, rows = needed, None
                    break
                writer.write_table(table.cast(schema))
                rows += table.num_rows
    return rows


def opened(data: str, model: Any, buffer: int | None) -> Any:
    """The data of a forecaster or a detector, whole or in pieces; both have ``notes``.

    Args:
        data: a path or a bundled name.
        model: what a fit left behind.
        buffer: rows of a piece.
    """
    from gatework.data.stream import Stream

    return model.load(data) if buffer is None else Stream.open(data, model.columns, buffer)


def print_found(console: Console, summary: dict[str, Any], said: Iterable[str]) -> None:
    """What the fit has found beyond the lines that were printed before it."""
    for line in (f"note: {note}" for note in summary["data"]["notes"]):
        if line not in said:
            console.print(line)


def plain_console(stderr: bool = False) -> Console:
    """Where a command prints; names are the user's, so brackets and colons mean nothing."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """What was found and done about it, each said once."""
    for note in dict.fromkeys(notes):
        console.print(f"note: {note}")


def run_folder(out: Path, resume: bool, overwrite: bool) -> RunFolder:
    """The folder of a run of one fit."""
    from gatework.tasks import saving
    from gatework.training.run_folder import RunFolder

    return RunFolder(out, (*saving.FILES, SUMMARY, PAGE), resume, overwrite)


def fit_in(
    place: RunFolder, model: Estimator, data: Any, summarise: Callable[[], dict[str, Any]]
) -> dict[str, Any] | None:
    """``fit_and_save`` in the folder of a run, which may be stopped and gone on with."""
    with stoppable(place) as folder:
        return fit_and_save(folder, model, data, summarise, place.resume)


def print_place(console: Console, out: Path) -> None:
    """Where a run is."""
    console.print(f"model:  {out}\nreport: {out / PAGE}")


def fit_and_save(
    folder: Path,
    model: Estimator,
    data: Any,
    summarise: Callable[[], dict[str, Any]],
    resume: bool = False,
) -> dict[str, Any] | None:
    """Fit a model in a run's folder, save it, write its report; what the report shows.

    Of several processes the main one alone does what comes behind the fit; others give ``None``.
    """
    from gatework.inspect.report import render
    from gatework.tasks.saving import write_json
    from gatework.training.files import is_main, write_whole
    from gatework.training.progress import ProgressBar

    with ProgressBar() as bar:
        model.fit(data, folder=folder, resume=resume, watcher=bar)
    if not is_main():
        return None
    model.save(folder)  # first of all, so that a trained model is never lost
    summary = summarise()
    write_json(folder / SUMMARY, summary)
    write_whole(folder / PAGE, render(summary))
    return summary


@contextmanager
def stoppable(place: RunFolder) -> Iterator[Path]:
    """The folder of a run; one that Ctrl-C stops says how to go on with it."""
    try:
        with place as folder:
            yield folder
    except KeyboardInterrupt:
        _say_stopped(place)
        raise


def _say_stopped(place: RunFolder) -> None:
    """What a run that Ctrl-C stopped has left, and how to go on with it."""
    out = place.out
    if place.overwrite and place.path != out:
        kept = (
            f" the new one goes on with --out {place.path} --resume" if place.path.is_dir() else ""
        )
        print(f"stopped; {out} is as it was;{kept}", file=sys.stderr)
    elif place.holds_checkpoint():
        print(f"stopped; go on with the same command and --resume (in {out})", file=sys.stderr)
