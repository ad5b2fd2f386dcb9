"""``gatework predict`` and ``report``, for a fitted model of any task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gatework.cli import options
from gatework.cli.runs import PAGE, SUMMARY
from gatework.errors import DataError, ModelError

PREDICT_EXAMPLE = (
    "Example: gatework predict run sales.csv --out forecast.csv. Or, with a model of "
    "`gatework fit classify`: gatework predict run new.ts --out classes.csv"
)
REPORT_EXAMPLE = "Example: gatework report run --out report.html"

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
    buffer: options.Buffer = None,
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
    more: dict[str, Any] = {} if coverage is None else {"coverage": coverage}
    if more and task != "forecast":
        raise DataError(f"--coverage is for forecasts; {model} holds a model for {task!r}.")
    commands[task](model, data, out, buffer=buffer, **more)


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
