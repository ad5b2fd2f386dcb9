"""``gatework fit classify``, and ``predict`` with what it fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli.jobs import Job
from gatework.cli.options import (
    BatchSize,
    Cell,
    Device,
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
from gatework.errors import DataError
from gatework.training.settings import CASES_A_STEP, Settings

if TYPE_CHECKING:
    from gatework.data.cases import Labelled

FIT_EXAMPLE = "Example: gatework fit classify GunPoint_TRAIN.ts --test GunPoint_TEST.ts --out run"


def prepare(
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled sequences: a .ts, .arff, .npz or IDX file (images), or a folder of them."
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(help="Sequences to score on. (default: NAME_TEST beside NAME_TRAIN)"),
    ] = None,
    cell: Cell = "lstm",
    hidden_size: HiddenSize = 64,
    layers: Layers = 1,
    bidirectional: Annotated[
        bool, typer.Option("--bidirectional", help="Read in both directions.")
    ] = False,
    pool: Annotated[str, typer.Option(help="last, mean, max or attention.")] = "last",
    convolution: Annotated[
        str, typer.Option(help="beside the layers (LSTM-FCN), before them, or none.")
    ] = "beside",
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="The layers read with the axes exchanged (LSTM-FCN).")
    ] = False,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Each class counts the same, however large.")
    ] = False,
    scaling: Annotated[str, typer.Option(help="standard or none.")] = "standard",
    validation: Validation = None,
    dropout: Annotated[float, typer.Option(min=0.0, help="Behind every layer.")] = 0.0,
    epochs: Epochs = Settings.epochs,
    patience: Patience = Settings.patience,
    batch_size: BatchSize = CASES_A_STEP,
    learning_rate: LearningRate = Settings.learning_rate,
    schedule: Schedule = Settings.schedule,
    seed: Seed = Settings.seed,
    device: Device = None,
) -> Job:
    """Fit a classifier of sequences, score it on a test file, write a report."""
    from gatework.inspect.class_report import summarise
    from gatework.tasks.classify import Classifier, overview

    model = Classifier(
        cell=cell, hidden_size=hidden_size, num_layers=layers, bidirectional=bidirectional,
        pool=pool, convolution=convolution, shuffle=shuffle, scaling=scaling, dropout=dropout,
        validation=Classifier.validation if validation is None else validation,
        class_weight="balanced" if balanced else None, epochs=epochs, patience=patience,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, seed=seed,
        device=device,
    )  # fmt: skip
    training, scored = _read_both(data, test, shuffle)
    notes = dict.fromkeys((*training.cube.notes, *scored.cube.notes))
    return Job(
        model,
        training,
        [
            f"{training.name}: {overview(training)}",
            f"Scored on {overview(scored)}",
            *(f"note: {note}" for note in notes),
        ],
        [],
        lambda fitted: summarise(fitted, training, scored),
        _print_result,
    )


def _read_both(data: Path, test: Path | None, shuffle: bool) -> tuple[Labelled, Labelled]:
    """The sequences to train on, and those to score on."""
    from gatework.data.archive import read_archive, read_split
    from gatework.tasks.classify import check_scored

    training, scored = read_split(data)
    if training.labels is None:
        raise DataError(
            f"{data} has no classes to learn from; name a file that has. Those of images are "
            f"looked for beside them, in the file with labels for images in its name."
        )
    scored = scored if test is None else read_archive(test)
    if scored is None:
        raise DataError(f"Say by --test on which file to score; {data} has no NAME_TEST beside it.")
    check_scored(scored, training, shuffle)  # not only when hours of training are over
    return training, scored


def predict(model: Path, data: str, out: Path | None) -> None:
    """The class of each sequence and the probabilities of all classes, as a table."""
    import numpy as np
    import pyarrow as pa

    from gatework.data.archive import read_archive
    from gatework.tasks.classify import Classifier

    classifier = Classifier.load(model)
    cases = read_archive(data)
    print_notes(plain_console(stderr=True), cases.cube.notes)
    probabilities = classifier.predict_proba(cases)
    told = classifier.classes_[probabilities.argmax(axis=1)]
    table = {"sequence": np.arange(1, len(cases) + 1), "class": told.astype(str)}
    columns = zip(classifier.classes_, probabilities.T, strict=True)
    write_table(pa.table(table | {f"p({name})": p for name, p in columns}), out, "classes")


def _print_result(console: Console, summary: dict[str, Any]) -> None:
    evaluation = summary["evaluation"]
    table = Table("class", "precision", "recall", "F1", "sequences", box=None, pad_edge=False)
    for name, row in evaluation["by_class"].items():
        shares = (f"{row[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(name, *shares, str(row["count"]))
    console.print()
    console.print(table)
    console.print(f"\n{evaluation['verdict']}")
