"""``gatework fit detect``, and ``predict`` with what it fitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli.data import Data, Feature, Id, Target, Time, one_or_many
from gatework.cli.runs import (
    PAGE,
    SUMMARY,
    fit_and_save,
    plain_console,
    print_found,
    stoppable,
    write_table,
)
from gatework.training.settings import Settings

FIT_EXAMPLE = "Example: gatework fit detect machine.csv --target temperature --time stamp --out run"


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for model, checkpoint and report.")],
    target: Target = None,
    time: Time = None,
    id: Id = None,
    feature: Feature = None,
    train: Annotated[
        float,
        typer.Option(
            min=0.01, max=1.0, help="Share of each series, from its begin, that is learnt from."
        ),
    ] = 0.5,
    kind: Annotated[str, typer.Option(help="forecast or autoencoder.")] = "forecast",
    context: Annotated[int, typer.Option(min=1, help="Steps of a window.")] = 64,
    cell: Annotated[str, typer.Option(help="A cell's name, or file.py:Class.")] = "lstm",
    hidden_size: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = 32,
    layers: Annotated[int, typer.Option(min=1, help="Layers on top of each other.")] = 1,
    short: Annotated[int, typer.Option(min=0, help="Steps of the short mean; 0: none.")] = 20,
    memory: Annotated[int, typer.Option(min=1, help="Steps to compare with, at most.")] = 8000,
    quiet: Annotated[
        int, typer.Option(min=0, help="Steps behind a score in which only a higher one counts.")
    ] = 0,
    contamination: Annotated[
        float | None,
        typer.Option(help="Share of the steps learnt from to call anomalous. (default: by chance)"),
    ] = None,
    scaling: Annotated[str, typer.Option(help="standard or none.")] = "standard",
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the data, at most.")
    ] = Settings.epochs,
    patience: Annotated[
        int, typer.Option(min=0, help="Epochs without progress before stopping; 0: never.")
    ] = Settings.patience,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per step.")] = Settings.batch_size,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Of AdamW.")
    ] = Settings.learning_rate,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = Settings.seed,
    device: Annotated[str | None, typer.Option(help="cpu, cuda. (default: the best)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run there.")] = False,
) -> None:
    """Learn how series go, score each of their steps, write a report of the anomalies."""
    import numpy as np

    from gatework.data.doctor import overview
    from gatework.inspect.detect_report import summarise
    from gatework.tasks import saving
    from gatework.tasks.detect import Detector
    from gatework.training.run_folder import RunFolder

    place = RunFolder(out, (*saving.FILES, SUMMARY, PAGE), resume, overwrite)
    model = Detector(
        kind, cell, hidden_size, layers, context, target=one_or_many(target), time=time, id=id,
        features=tuple(feature or ()), short=short, memory=memory, quiet=quiet, scaling=scaling,
        contamination="auto" if contamination is None else contamination, epochs=epochs,
        patience=patience, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
        device=device,
    )  # fmt: skip
    console = plain_console()
    cube = model.load_data(data)
    ends = np.maximum(np.ceil(cube.lengths * train).astype(np.int64), 1)
    console.print(overview(cube))
    for note in cube.notes:
        console.print(f"note: {note}")
    console.print(f"Learns from the first {train:.0%} of each series and scores all of it.")
    name, past = Path(data).name, cube.until(ends)
    with stoppable(place) as folder:
        summary = fit_and_save(
            folder, model, past, lambda: summarise(model, cube, ends, name), resume
        )
    if summary is not None:
        print_found(console, summary, cube.notes)
        _print_result(console, summary, out)


def predict(model: Path, data: str, out: Path | None) -> None:
    """The score of each step and whether it is anomalous, as a table."""
    from gatework.tasks.detect import Detector

    detector = Detector.load(model)
    cube = detector.model_.load(data)
    table = detector.predict_table(cube)
    for note in cube.notes:
        print(f"note: {note}", file=sys.stderr)
    write_table(table, out, "steps")


def _print_result(console: Console, summary: dict[str, Any], out: Path) -> None:
    table = Table("series", "step", "value", "score", box=None, pad_edge=False)
    for row in summary["anomalies"]:
        value = "–" if row["value"] is None else f"{row['value']:.5g}"
        table.add_row(row["series"], row["when"], value, f"{row['score']:.1f}")
    if summary["anomalies"]:
        console.print()
        console.print(table)
    console.print(f"\n{summary['verdict']}")
    console.print(f"model:  {out}\nreport: {out / PAGE}")
