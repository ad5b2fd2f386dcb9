"""``gatework predict`` and ``report``, for a fitted model of any task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gatework.errors import DataError, ModelError

if TYPE_CHECKING:
    import pyarrow as pa

    from gatework.tasks.estimator import Estimator
    from gatework.training.run_folder import RunFolder

PREDICT_EXAMPLE = (
    "Example: gatework predict run sales.csv --out forecast.csv. Or, with a model of "
    "`gatework fit classify`: gatework predict run new.ts --out classes.csv"
)
REPORT_EXAMPLE = "Example: gatework report run --out report.html"
SUMMARY, PAGE = "summary.json", "report.html"

Model = Annotated[Path, typer.Argument(help="The folder that `gatework fit` wrote.")]


def predict(
    model: Model,
    data: Annotated[
        str, typer.Argument(help="Data like that which the model was fitted to: a file's path.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file. (default: CSV on the terminal)")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Share of the values that intervals shall hold, as 0.9: low and high."),
    ] = None,
) -> None:
    """Forecast what follows each series, tell the class of each sequence, or score each step."""
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise DataError(f"--out {out} ends in {out.suffix!r}; use .csv or .parquet.")
    from gatework.cli import classify, detect, forecast
    from gatework.tasks.saving import task_of

    commands: dict[str, Callable[..., None]] = {
        "forecast": forecast.predict,
        "classify": classify.predict,
        "detect": detect.predict,
    }
    task = task_of(model)
    if task not in commands:
        raise ModelError(f"{model} holds a model for {task!r}, expected {' or '.join(commands)}.")
    if coverage is not None and task != "forecast":
        raise DataError(f"--coverage is for forecasts; {model} holds a model for {task!r}.")
    commands[task](model, data, out, *([] if coverage is None else [coverage]))


def report(
    model: Model,
    out: Annotated[Path | None, typer.Option(help="HTML file. (default: in the folder)")] = None,
) -> None:
    """Write the report of a fitted model again: one HTML file that needs no network."""
    from jinja2 import TemplateError

    from gatework.inspect.report import render
    from gatework.tasks.saving import read_json
    from gatework.training.files import write_whole

    if not (model / SUMMARY).is_file():
        raise ModelError(f"{model} holds no finished run ({SUMMARY} is missing).")
    page = out or model / PAGE
    try:
        content = render(read_json(model / SUMMARY))
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:
        raise ModelError(f"{model / SUMMARY} is damaged: {error}") from error
    write_whole(page, content)
    typer.echo(f"report: {page}")


def write_table(table: pa.Table, out: Path | None, what: str) -> None:
    """Write a table as its ending says, or print it as CSV."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from gatework.training.files import write_whole

    content = pa.BufferOutputStream()
    parquet = out is not None and out.suffix == ".parquet"
    (pyarrow.parquet.write_table if parquet else pyarrow.csv.write_csv)(table, content)
    written = content.getvalue().to_pybytes()
    if out is None:
        sys.stdout.write(written.decode())
        return
    write_whole(out, written)
    typer.echo(f"{table.num_rows} {what} written to {out}")


def print_found(console: Console, summary: dict[str, Any], said: Iterable[str]) -> None:
    """What the fit has found beyond the lines that were printed before it."""
    for line in (f"note: {note}" for note in summary["data"]["notes"]):
        if line not in said:
            console.print(line)


def plain_console() -> Console:
    """Where a command prints; names are the user's, so brackets and colons mean nothing."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


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
