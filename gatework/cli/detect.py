"""``gatework fit detect``, and ``predict`` with what it fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli import options
from gatework.cli.jobs import Job
from gatework.cli.runs import opened, plain_console, print_notes, write_tables
from gatework.training.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    data: options.Data,
    target: Watched = None,
    time: options.Time = None,
    id: options.Id = None,
    feature: WatchedToo = None,
    train: Annotated[
        float,
        typer.Option(
            min=0.01, max=1.0, help="Share of each series, from its begin, that is learnt from."
        ),
    ] = 0.5,
    validation: options.Validation = None,
    kind: Annotated[str, typer.Option(help="forecast or autoencoder.")] = "forecast",
    context: Annotated[int, typer.Option(min=1, help="Steps of a window.")] = 64,
    cell: options.Cell = "lstm",
    hidden_size: options.HiddenSize = 32,
    layers: options.Layers = 1,
    dropout: options.Dropout = 0.0,
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
    epochs: options.Epochs = Settings.epochs,
    patience: options.Patience = Settings.patience,
    batch_size: options.BatchSize = Settings.batch_size,
    learning_rate: options.LearningRate = Settings.learning_rate,
    schedule: options.Schedule = Settings.schedule,
    windows_per_epoch: options.WindowsPerEpoch = None,
    seed: options.Seed = Settings.seed,
    device: options.Device = None,
    buffer: options.Buffer = None,
) -> Job:
    """Learn how series go, score each of their steps, write a report of the anomalies."""
    import numpy as np

    from gatework.data.cube import Cube
    from gatework.data.doctor import overview
    from gatework.inspect.detect_report import summarise
    from gatework.tasks.detect import Detector

    model = Detector(
        kind, cell, hidden_size, layers, context, target=options.one_or_many(target), time=time,
        id=id, features=tuple(feature or ()), short=short, memory=memory, quiet=quiet,
        contamination="auto" if contamination is None else contamination, scaling=scaling,
        dropout=dropout, validation=Detector.validation if validation is None else validation,
        epochs=epochs, patience=patience, batch_size=batch_size, learning_rate=learning_rate,
        schedule=schedule, windows_per_epoch=windows_per_epoch, seed=seed, device=device,
    )  # fmt: skip

    def ends_of(cube: Cube) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.maximum(np.ceil(cube.lengths * train).astype(np.int64), 1)
        return found

    stream = None if buffer is None else model.open_stream(data, buffer)
    cube = model.load_data(data) if stream is None else stream[0]
    ends = ends_of(cube)
    return Job(
        model,
        cube.until(ends) if stream is None else stream.until(ends_of),
        [
            overview(cube),
            *(f"note: {note}" for note in cube.notes),
            f"Learns from the first {train:.0%} of each series and scores all of it.",
        ],
        [] if stream is None else [stream.first_words()],
        lambda fitted: summarise(fitted, cube, ends, Path(data).name),
        _print_result,
    )


def predict(model: Path, data: str, out: Path | None, buffer: int | None = None) -> None:
    """The score of each step and whether it is anomalous, as a table."""
    from gatework.tasks.detect import Detector

    detector = Detector.load(model)
    source = opened(data, detector.model_, buffer)
    print_notes(plain_console(stderr=True), source.notes)
    write_tables(lambda: detector.predict_tables(source), out, "steps")


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
