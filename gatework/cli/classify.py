"""``gatework fit classify``, and ``predict`` with what it fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli import options
from gatework.cli.jobs import Job
from gatework.cli.runs import plain_console, print_notes, write_tables
from gatework.errors import DataError
from gatework.training.settings import CASES_A_STEP, Settings

if TYPE_CHECKING:
    from gatework.data.cases import Labelled
    from gatework.tasks.classify import Classifier

FIT_EXAMPLE = "Example: gatework fit classify GunPoint_TRAIN.ts --test GunPoint_TEST.ts --out run"


def prepare(
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled sequences: a .ts, .arff, .npz or IDX file (images), or a folder of "
            "them; or a long table (CSV, Parquet) with --id."
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(help="Sequences to score on. (default: NAME_TEST beside NAME_TRAIN)"),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column of the classes, of a long table.")
    ] = None,
    time: options.Time = None,
    id: options.Id = None,
    feature: options.Feature = None,
    cell: options.Cell = "lstm",
    hidden_size: options.HiddenSize = 64,
    layers: options.Layers = 1,
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
    validation: options.Validation = None,
    dropout: Annotated[float, typer.Option(min=0.0, help="Behind every layer.")] = 0.0,
    epochs: options.Epochs = Settings.epochs,
    patience: options.Patience = Settings.patience,
    batch_size: options.BatchSize = CASES_A_STEP,
    learning_rate: options.LearningRate = Settings.learning_rate,
    schedule: options.Schedule = Settings.schedule,
    seed: options.Seed = Settings.seed,
    device: options.Device = None,
    buffer: options.Buffer = None,
) -> Job:
    """Fit a classifier of sequences, score it on a test file, write a report."""
    from gatework.inspect.class_report import summarise
    from gatework.tasks.classify import Classifier
    from gatework.tasks.classify_cases import check_scored

    model = Classifier(
        cell=cell, hidden_size=hidden_size, num_layers=layers, target=target, time=time, id=id,
        features=tuple(feature or ()), bidirectional=bidirectional,
        pool=pool, convolution=convolution, shuffle=shuffle, scaling=scaling, dropout=dropout,
        validation=Classifier.validation if validation is None else validation,
        class_weight="balanced" if balanced else None, epochs=epochs, patience=patience,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, seed=seed,
        device=device,
    )  # fmt: skip
    training, scored = _read_both(model, data, test, buffer)
    learnt, told = model.gathered(training), model.gathered(scored)
    check_scored(told, learnt, shuffle)  # not only when hours of training are over
    return Job(
        model,
        training,
        [
            f"{learnt.name}: {learnt.overview()}",
            f"Scored on {told.overview()}",
            *(f"note: {note}" for note in dict.fromkeys((*learnt.notes, *told.notes))),
        ],
        [],
        lambda fitted: summarise(fitted, training, scored),
        _print_result,
    )


def _read_both(model: Classifier, data: Path, test: Path | None, buffer: int | None) -> Any:
    """The sequences to train on, and those to score on."""
    from gatework.data.archive import read_split
    from gatework.data.labelled import is_table

    is_long = model.id is not None and is_table(data)
    if test is None and (is_long or buffer is not None):
        raise DataError(f"Say by --test on which file to score; {data} has no NAME_TEST beside it.")
    if buffer is not None:
        return tuple(model.open_stream(path, buffer) for path in (data, test) if path)
    if is_long:
        return tuple(_read(model, path) for path in (data, test) if path)
    training, scored = read_split(data)
    if training.labels is None:
        raise DataError(
            f"{data} has no classes to learn from; name a file that has. Those of images are "
            f"looked for beside them, in the file with labels for images in its name."
        )
    scored = scored if test is None else _read(model, test)
    if scored is None:
        raise DataError(f"Say by --test on which file to score; {data} has no NAME_TEST beside it.")
    return training, scored


def _read(model: Classifier, path: Path | str) -> Labelled:
    """The cases of a file, an archive's or a long table."""
    from gatework.data.labelled import load_labelled
    from gatework.tasks.classify_model import long_of

    return load_labelled(path, None, long_of(vars(model)))


def predict(model: Path, data: str, out: Path | None, buffer: int | None = None) -> None:
    """The class of each sequence and the probabilities of all classes, as a table."""
    from gatework.tasks.classify import Classifier

    classifier = Classifier.load(model)
    source: Any = None if buffer is None else classifier.open_stream(data, buffer)
    cases = _read(classifier, data) if source is None else None
    print_notes(plain_console(stderr=True), cases.cube.notes if cases else source.notes)
    write_tables(lambda: classifier.predict_tables(cases or source), out, "classes")


def _print_result(console: Console, summary: dict[str, Any]) -> None:
    evaluation = summary["evaluation"]
    table = Table("class", "precision", "recall", "F1", "sequences", box=None, pad_edge=False)
    for name, row in evaluation["by_class"].items():
        shares = (f"{row[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(name, *shares, str(row["count"]))
    console.print()
    console.print(table)
    console.print(f"\n{evaluation['verdict']}")
