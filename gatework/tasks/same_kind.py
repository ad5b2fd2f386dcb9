"""Whether new data is of the kind that a model was fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.load import load_cube
from gatework.data.times import Step
from gatework.errors import DataError


def load_same(data: Any, columns: Columns, names: tuple[str, ...], step: Step) -> Cube:
    """The cube of new data, read as the training data was.

    Args:
        data: what ``load_cube`` takes.
        columns: which column was what in the training data.
        names: (F,) of its features.
        step: the distance between its steps.

    Raises:
        DataError: it cannot be read, or has other features or steps.
    """
    cube = load_cube(data, columns)
    if len(cube.names) != len(names):
        raise DataError(
            f"The model was fitted on {len(names)} features {list(names)}, the data has "
            f"{len(cube.names)}: {list(cube.names)}."
        )
    if not {"rows"}.isdisjoint((cube.step.kind, step.kind)):
        return cube
    if cube.lengths.max() == 1:  # single rows say nothing of their step
        return replace(cube, step=step)
    if cube.step != step:
        raise DataError(
            f"The model was fitted on steps of {step.words()}, the data has steps of "
            f"{cube.step.words()}."
        )
    return cube
