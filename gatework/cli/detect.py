"""``gatework fit detect``, and ``predict`` with what it fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli.data import Data, Id, Time, one_or_many
from gatework.cli.jobs import Job
from gatework.cli.options import (
    BatchSize,
    Cell,
    Device,
    Dropout,
    Epochs,
    HiddenSize,
    Layers,
    LearningRate,
    Patience,
    Schedule,
    Seed,
    Validation,
)
from gatework.cli.runs import plain_console, print_notes, write_table
from gatework.training.settings import Settings

FIT_EXAMPLE = "Example: gatework fit detect machine.csv --target temperature --time stamp --out run"
Watched = Annotated[
    list[str] | None,
    typer.Option(help="Column to watch; give it again for one series per column."),
]
WatchedToo = Annotated[
    list[str] | None,
    typer.Option(help="Further column of the series, its anomalies count too; repeatable."),
]


def prepare(
    data: Data,
    target: Watched = None,
    time: Time = None,
    id: Id = None,
    feature: WatchedToo = None,
    train: Annotated[
        float,
        typer.Option(
            min=0.01, max=1.0, help="Share of each series, from its begin, that is learnt from."
        ),
    ] = 0.5,
    validation: Validation = None,
    kind: Annotated[str, typer.Option(help="forecast or autoencoder.")] = "forecast",
    context: Annotated[int, typer.Option(min=1, help="Steps of a window.")] = 64,
    cell: Cell = "lstm",
    hidden_size: HiddenSize = 32,
    layers: Layers = 1,
    dropout: Dropout = 0.0,
    short: Annotated[int, typer.Option(min=0, help="Steps of the short mean; 0: none.")] = 20,
    memory: Annotated[int, typer.Option(min=20, help="Steps to compare with, at most.")] = 8000,
    quiet: Annotated[
        int, typer.Option(min=0, help="Steps behind a score in which only a higher one counts.")
    ] = 0,
    contamination: Annotated[
        float | None,
        typer.Option(help="Share of the steps learnt from to call anomalous. (default: by chance)"),
    ] = None,
    scaling: Annotated[str, typer.Option(help="standard or none.")] = "standard",
    epochs: Epochs = Settings.epochs,
    patience: Patience = Settings.patience,
    batch_size: BatchSize = Settings.batch_size,
    learning_rate: LearningRate = Settings.learning_rate,
    schedule: Schedule = Settings.schedule,
    seed: Seed = Settings.seed,
    device: Device = None,
) -> Job:
    """Learn how series go, score each of their steps, write a report of the anomalies."""
    import numpy as np

    from gatework.data.doctor import overview
    from gatework.inspect.detect_report import summarise
    from gatework.tasks.detect import Detector

    model = Detector(
        kind, cell, hidden_size, layers, context, target=one_or_many(target), time=time, id=id,
        features=tuple(feature or ()), short=short, memory=memory, quiet=quiet, scaling=scaling,
        dropout=dropout, validation=Detector.validation if validation is None else validation,
        contamination="auto" if contamination is None else contamination, epochs=epochs,
        patience=patience, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule,
        seed=seed, device=device,
    )  # fmt: skip
    cube = model.load_data(data)
    ends = np.maximum(np.ceil(cube.lengths * train).astype(np.int64), 1)
    return Job(
        model,
        cube.until(ends),
        [
            overview(cube),
            *(f"note: {note}" for note in cube.notes),
            f"Learns from the first {train:.0%} of each series and scores all of it.",
        ],
        [],
        lambda fitted: summarise(fitted, cube, ends, Path(data).name),
        _print_result,
    )


def predict(model: Path, data: str, out: Path | None) -> None:
    """The score of each step and whether it is anomalous, as a table."""
    from gatework.tasks.detect import Detector

    detector = Detector.load(model)
    cube = detector.model_.load(data)
    table = detector.predict_table(cube)
    print_notes(plain_console(stderr=True), cube.notes)
    write_table(table, out, "steps")


def _print_result(console: Console, summary: dict[str, Any]) -> None:
    from gatework.inspect.detect_report import SHOWN_ANOMALIES

    table = Table("series", "step", "value", "score", box=None, pad_edge=False)
    for row in summary["anomalies"]:
        value = "–" if row["value"] is None else f"{row['value']:.5g}"
        table.add_row(row["series"], row["when"], value, f"{row['score']:.1f}")
    if summary["anomalies"]:
        console.print()
        console.print(table)
        if len(summary["anomalies"]) == SHOWN_ANOMALIES:
            console.print(f"The {SHOWN_ANOMALIES} highest scores; predict writes all steps.")
    console.print(f"\n{summary['verdict']}")
