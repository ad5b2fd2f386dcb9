"""Windows of a file that is larger than memory, and the model that is to be trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.encoding import Encoding
from gatework.data.scaling import Scaler
from gatework.data.splits import (
    Split,
    default_context,
    late_in,
    not_trained,
    not_validated,
    split,
)
from gatework.data.stream import Stream
from gatework.equations import Spec
from gatework.errors import DataError
from gatework.tasks.forecast_model import ForecastModel, new_model
from gatework.tasks.heads import COUNTS, check_counts
from gatework.tasks.problem import ForecastProblem, found_in, problem_of
from gatework.tasks.streaming import Streamed, Survey


@dataclass(frozen=True)
class Found:
    """What the first reading of a stream gives.

    Attributes:
        model: before training.
        problem: its windows.
        survey: of the pieces.
        notes: what was found and done, in words.
    """

    model: ForecastModel
    problem: Streamed[ForecastProblem]
    survey: Survey
    notes: list[str]


def streamed(stream: Stream, cell: Spec, given: Mapping[str, Any]) -> Found:
    """Read a stream for the first time.

    Scaling, categories, gaps and calendar are those of all pieces, as if they had been one table.
    The context, where none is given, is by the first piece.

    Args:
        stream: the file.
        cell: the equations.
        given: the arguments of the forecaster.

    Raises:
        DataError: the data cannot be used, or no series is long enough.
    """
    horizon, blind = int(given["horizon"]), not given["reads_target"]
    encodings: list[Encoding] = []
    short: list[str] = []
    late: list[str] = []

    def cut_of(cube: Cube) -> Split:
        return split(cube, horizon, given["validation"])

    def look(_: int, cube: Cube) -> tuple[NDArray[np.int64], dict[str, int]]:
        if given["head"] == COUNTS:
            check_counts(cube)
        cut = cut_of(cube)
        is_short = cut.train < context + horizon
        # A series without a training window teaches the embeddings nothing.
        encodings.append(Encoding.fit(cube, np.where(is_short, 0, cut.train), given["calendar"]))
        short.extend(cube.ids[i] for i in np.flatnonzero(is_short))
        late.extend(late_in(cube, cut, context + horizon))
        windows = found_in(cube, cut, context, horizon, blind)
        return cut.train, {part: len(rows) for part, (rows, _) in windows.items()}

    survey = Survey(stream, look)
    first = survey.first
    season = given["season"] or first.step.season
    context = given["context"] or default_context(cut_of(first), horizon, season)
    levels = given["relative"] and not blind
    scaler = Scaler.joined(survey.pieces(), given["scaling"], levels, given["per"])
    encoding = Encoding.joined(encodings)
    model = new_model(given, cell, first, season, context, scaler, encoding)

    def windows(number: int) -> ForecastProblem:
        cube = stream[number]
        return problem_of(model, cube, cut_of(cube))

    problem = Streamed(model.network, windows, survey.sizes)
    if not problem.train_size:
        raise DataError(
            f"No series of {stream.path} is long enough for a window of context {context} + "
            f"horizon {horizon} steps before its validation part, or all are empty."
        )
    notes = [
        *survey.notes,
        *not_trained(short, survey.series, context + horizon),
        *not_validated(late, survey.series),
        *scaler.notes(first, cut_of(first).train),
        *encoding.words(),
    ]
    return Found(model, problem, survey, notes)
