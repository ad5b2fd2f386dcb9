"""``gatework fit forecast``, ``predict`` and ``report``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatework.cli.data import Data, Feature, Id, Target, Time, one_or_many
from gatework.errors import DataError, TrainingError

if TYPE_CHECKING:
    from gatework.data.cube import Cube
    from gatework.tasks.forecast import Forecaster

FIT_EXAMPLE = (
    "Example: gatework fit forecast sales.csv --target sold --time day --id shop --horizon 14 "
    "--out run. Or, with a bundled series: gatework fit forecast airpassengers --horizon 12 --out run"
)
PREDICT_EXAMPLE = "Example: gatework predict run sales.csv --out forecast.csv"
REPORT_EXAMPLE = "Example: gatework report run --out report.html"
SUMMARY, PAGE, CHECKPOINT = "summary.json", "report.html", "checkpoint.safetensors"

Model = Annotated[Path, typer.Argument(help="The folder that `gatework fit` wrote.")]


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for model, checkpoint and report.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    target: Target = None,
    time: Time = None,
    id: Id = None,
    feature: Feature = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Steps to read. (default: two seasons)")
    ] = None,
    cell: Annotated[str, typer.Option(help="A cell's name, or file.py:Class.")] = "lstm",
    hidden_size: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = 32,
    layers: Annotated[int, typer.Option(min=1, help="Layers on top of each other.")] = 1,
    scaling: Annotated[str, typer.Option(help="standard, log or none.")] = "standard",
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season. (default: by the time stamps)")
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(min=1, help="Steps held out at the end of each series. (default: 15 %)"),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data, at most.")] = 300,
    patience: Annotated[
        int, typer.Option(min=0, help="Epochs without progress before stopping; 0: never.")
    ] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Of AdamW.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda. (default: the best)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
) -> None:
    """Fit a forecaster, score it on held-out steps beside naive forecasts, write a report."""
    existed = _prepare_folder(out, resume, overwrite)
    from gatework.tasks.forecast import Forecaster  # noqa: PLC0415  (torch loads in seconds)

    model = Forecaster(
        cell=cell, hidden_size=hidden_size, num_layers=layers, horizon=horizon, context=context,
        target=one_or_many(target), time=time, id=id, features=tuple(feature or ()), season=season,
        scaling=scaling, epochs=epochs, patience=patience, batch_size=batch_size,
        learning_rate=learning_rate, seed=seed, device=device,
    )  # fmt: skip
    console = Console(soft_wrap=True, highlight=False)
    try:
        cube = model.load_data(data)
        begin = _held_out(cube, test, horizon)
        _print_data(console, cube)
        _train(model, cube.until(begin), out, resume)
        _finish(console, model, cube, begin, data, out)
    except KeyboardInterrupt:
        if _has_checkpoint(out):
            console.print(f"\nstopped; go on with the same command and --resume (in {out})")
        raise
    except BaseException:
        _clean(out, existed)
        raise


def predict(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file. (default: CSV on the terminal)")
    ] = None,
) -> None:
    """Forecast the steps after the end of each series."""
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise DataError(f"--out {out} ends in {out.suffix!r}; use .csv or .parquet.")
    import pyarrow.csv  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    from gatework.tasks.forecast import Forecaster  # noqa: PLC0415

    table = Forecaster.load(model).predict_table(data)
    if out is None:
        pyarrow.csv.write_csv(table, sys.stdout.buffer)
        return
    temporary = out.with_name(out.name + ".tmp")
    write = pyarrow.csv.write_csv if out.suffix == ".csv" else pyarrow.parquet.write_table
    write(table, temporary)
    temporary.replace(out)
    typer.echo(f"{table.num_rows} forecasts written to {out}")


def report(
    model: Model,
    out: Annotated[Path | None, typer.Option(help="HTML file. (default: in the folder)")] = None,
) -> None:
    """Write the report of a fitted model again: one HTML file that needs no network."""
    from gatework.errors import ModelError  # noqa: PLC0415
    from gatework.inspect.report import render  # noqa: PLC0415
    from gatework.tasks.saving import read_json  # noqa: PLC0415

    if not (model / SUMMARY).is_file():
        raise ModelError(f"{model} holds no finished run ({SUMMARY} is missing).")
    page = out or model / PAGE
    page.write_text(render(read_json(model / SUMMARY)), encoding="utf-8")
    typer.echo(f"report: {page}")


def _prepare_folder(out: Path, resume: bool, overwrite: bool) -> bool:
    """Refuse to write over a run by accident; answers whether the folder was there."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; name a folder.")
    existed = out.exists()
    filled = existed and any(out.iterdir())
    if resume and not _has_checkpoint(out):
        raise TrainingError(f"There is nothing to resume in {out}; run without --resume.")
    if filled and not (resume or overwrite):
        raise DataError(f"--out {out} is not empty; add --resume to go on, --overwrite to replace.")
    return existed


def _held_out(cube: Cube, test: int | None, horizon: int) -> Any:
    """The first held-out step of each series."""
    import numpy as np  # noqa: PLC0415

    if test is not None and test < horizon:
        raise DataError(f"--test {test} steps hold no forecast of --horizon {horizon} steps.")
    share = np.full_like(cube.lengths, test) if test else (cube.lengths * 0.15).astype(np.int64)
    return np.maximum(cube.lengths - np.maximum(share, horizon), 0)


def _train(model: Forecaster, cube: Cube, out: Path, resume: bool) -> None:
    from gatework.training.progress import ProgressBar  # noqa: PLC0415

    with ProgressBar() as bar:
        model.fit(cube, folder=out, resume=resume, watcher=bar)


def _finish(
    console: Console, model: Forecaster, cube: Cube, begin: Any, data: str, out: Path
) -> None:
    """Score, save, report, and say how it went."""
    from gatework.inspect.report import render, summarise  # noqa: PLC0415
    from gatework.tasks.saving import write_json  # noqa: PLC0415

    summary = summarise(model, cube, begin, Path(data).name)
    model.save(out)
    write_json(out / SUMMARY, summary)
    (out / PAGE).write_text(render(summary), encoding="utf-8")
    table = Table("forecast", "MAE", "RMSE", "MAPE %", "sMAPE %", box=None, pad_edge=False)
    for name, errors in summary["evaluation"]["errors"].items():
        table.add_row(name, *(f"{errors[k]:.4g}" for k in ("mae", "rmse", "mape", "smape")))
    console.print()
    console.print(table)
    console.print(f"\n{escape(summary['evaluation']['verdict'])}")
    console.print(f"model:  {out}\nreport: {out / PAGE}")


def _print_data(console: Console, cube: Cube) -> None:
    from gatework.data.doctor import overview  # noqa: PLC0415

    console.print(escape(overview(cube)))
    for note in cube.notes:
        console.print(f"note: {escape(note)}")


def _has_checkpoint(out: Path) -> bool:
    return (out / CHECKPOINT).is_file()


def _clean(out: Path, existed: bool) -> None:
    """After an error leave nothing half-written, but never throw trained epochs away."""
    from gatework.training.checkpoint import epochs_done  # noqa: PLC0415

    if not existed and out.is_dir() and not epochs_done(out / CHECKPOINT):
        shutil.rmtree(out)
