"""Options that several commands have, each with its type and its words once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Where, and with what that was there before.
Out = Annotated[Path, typer.Option(help="Folder for model, checkpoint and report.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run there.")]

# The table, and which column of it is what.
Data = Annotated[
    str, typer.Argument(help="A CSV or Parquet file, or a bundled series: airpassengers, sunspots.")
]
Target = Annotated[
    list[str] | None,
    typer.Option(help="Column to forecast; give it again for one series per column."),
]
Time = Annotated[str | None, typer.Option(help="Column of time stamps.")]
Id = Annotated[str | None, typer.Option(help="Column that tells the series apart.")]
Feature = Annotated[
    list[str] | None,
    typer.Option(help="Further input column, known up to the present; give it again for more."),
]
Future = Annotated[
    list[str] | None,
    typer.Option(help="Input column that is known for the steps to forecast too; repeatable."),
]
Static = Annotated[
    list[str] | None,
    typer.Option(help="Input column that does not vary within a series; repeatable."),
]
Category = Annotated[
    list[str] | None,
    typer.Option(help="Input column of numbers that are categories (text is anyway); repeatable."),
]
Buffer = Annotated[
    int | None, typer.Option(min=1, help="Read a long Parquet file in pieces of so many rows.")
]

# The network.
Cell = Annotated[str, typer.Option(help="A cell's name, or file.py:Class.")]
HiddenSize = Annotated[int, typer.Option(min=1, help="Units of each layer.")]
Layers = Annotated[int, typer.Option(min=1, help="Layers on top of each other.")]
Dropout = Annotated[float, typer.Option(min=0.0, help="Between layers, so of two or more.")]

# The data.
Validation = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Share to decide when to stop, of what is learnt from. (default: 20 %)"
    ),
]

# Training, as in ``gatework.training.settings.Settings``.
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data, at most.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Epochs without progress before stopping; 0: never.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Examples per step.")]
LearningRate = Annotated[float, typer.Option(min=0.0, help="Of AdamW.")]
Schedule = Annotated[
    str, typer.Option(help="How the learning rate goes: constant, or cosine, down to 0.")
]
WindowsPerEpoch = Annotated[
    int | None, typer.Option(min=1, help="Windows of an epoch, drawn anew. (default: all)")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda. (default: the best)")]


def one_or_many(target: list[str] | None) -> str | list[str] | None:
    """A repeated option as the estimators take it: none, one name, or several."""
    if not target:
        return None
    return target[0] if len(target) == 1 else target
