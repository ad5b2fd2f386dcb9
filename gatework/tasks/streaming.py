"""Fitting a forecaster on a file that is larger than memory, a piece of whole series at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.data.encoding import Encoding
from gatework.data.scaling import Scaler
from gatework.data.splits import Split, default_context, split
from gatework.data.stream import Stream
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of
from gatework.tasks.baselines import LinearModel
from gatework.tasks.diagnosis import diagnose
from gatework.tasks.forecast_model import ForecastModel, new_model
from gatework.tasks.heads import COUNTS, check_counts
from gatework.tasks.network import ForecastNetwork
from gatework.tasks.problem import NO_VALIDATION, ForecastProblem, found_in, problem_of
from gatework.training.loop import Watcher

if TYPE_CHECKING:
    from gatework.tasks.forecast import Forecaster

PARTS = ("train", "validation")
MOST_NOTES = 100  # of a file, which may have as many as it has pieces


@dataclass
class StreamedProblem:
    """Windows of a stream: a ``training.loop.Problem`` that holds one piece at a time.

    Windows are shuffled within a piece, and pieces among each other.

    Attributes:
        fitted: the model with all but its weights fitted.
        stream: the file.
        validation: share of each series for validation.
        sizes: windows of each piece, by part.
    """

    fitted: ForecastModel
    stream: Stream
    validation: float
    sizes: dict[str, list[int]]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _held: tuple[int, ForecastProblem] | None = None

    @property
    def model(self) -> ForecastNetwork:
        """The network."""
        return self.fitted.network

    @property
    def train_size(self) -> int:
        """How many windows there are for training."""
        return sum(self.sizes["train"])

    @property
    def validation_size(self) -> int:
        """How many for validation."""
        return sum(self.sizes["validation"])

    def to(self, device: torch.device) -> None:
        """Have the pieces on a device."""
        self.device, self._held = device, None

    def orders(self, generator: torch.Generator) -> Iterator[Tensor]:
        """The training windows of the pieces in any order, and in each of them in any order."""
        first = self._edges("train")
        for piece in torch.randperm(len(self.stream), generator=generator).tolist():
            count = self.sizes["train"][piece]
            if count:
                yield first[piece] + torch.randperm(count, generator=generator)

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The mean loss of each window over its known steps, (B,)."""
        edges = torch.from_numpy(self._edges(part))
        pieces = torch.searchsorted(edges, index, right=True) - 1
        cuts = [0, *(torch.nonzero(pieces.diff()).flatten() + 1).tolist(), len(index)]
        found = []
        for begin, end in pairwise(cuts):
            piece = int(pieces[begin])
            own = index[begin:end] - edges[piece]
            found.append(self.piece(piece).losses(own, part))
        return torch.cat(found)

    def describe(self, index: int, part: str) -> str:
        """One window in words."""
        edges = self._edges(part)
        piece = int(np.searchsorted(edges, index, side="right")) - 1
        return self.piece(piece).describe(index - int(edges[piece]), part)

    def piece(self, piece: int) -> ForecastProblem:
        """The windows of one piece; those of another one are let go."""
        if self._held is None or self._held[0] != piece:
            self._held = None
            cube = self.stream[piece]
            cut = split(cube, self.fitted.horizon, self.validation)
            problem = problem_of(self.fitted, cube, cut)
            problem.to(self.device)
            self._held = piece, problem
        return self._held[1]

    def _edges(self, part: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of the first window of each piece, and how many there are."""
        return np.concatenate([[0], np.cumsum(self.sizes[part])]).astype(np.int64)


def fit_stream(
    forecaster: Forecaster,
    stream: Stream,
    folder: str | Path | None,
    resume: bool,
    watcher: Watcher | None,
) -> tuple[ForecastModel, list[dict[str, float]], int, list[str]]:
    """Train on a stream: the model, the losses by epoch, the best epoch, and what was found.

    Scaling, categories, gaps and calendar are those of all pieces, as if they had been one table.
    The linear baseline, the intervals and the context (where none is given) are by the first
    piece that has windows.

    Raises:
        DataError: the data cannot be used, or no series is long enough.
        TrainingError: a loss is not finite, or a checkpoint does not fit.
    """
    survey = _Survey(forecaster, stream)
    levels = forecaster.relative and forecaster.reads_target
    scaler = Scaler.joined(survey.pieces(), forecaster.scaling, levels, forecaster.per)
    if not sum(survey.sizes["train"]):
        raise DataError(
            f"No series of {stream.path} is long enough for a window of context {survey.context} "
            f"+ horizon {forecaster.horizon} steps before its validation part, or all are empty."
        )
    model = new_model(
        forecaster.get_params(deep=False), cell_of(forecaster.cell), survey.first, survey.season,
        survey.context, scaler, Encoding.joined(survey.encodings),
    )  # fmt: skip
    problem = StreamedProblem(model, stream, forecaster.validation, survey.sizes)
    sample = next(i for i, count in enumerate(survey.sizes["train"]) if count)
    windows = problem.piece(sample).parts["train"]
    model = replace(model, linear=LinearModel.fit(windows, model.reader))
    arguments = forecaster.checkpoint_arguments(model) | {
        "rows": stream.cuts,
        "windows": survey.sizes,
    }
    identity = forecaster._identity(
        model.cell, arguments, overview(survey.first), windows.scaled.cpu().numpy()
    )
    progress = forecaster._run(problem, identity, folder, resume, watcher)
    notes = [
        stream.words(),
        *survey.notes,
        *scaler.notes(survey.first, survey.ends),
        *model.encoding.words(),
    ]
    if forecaster.validation and not problem.validation_size:
        notes.append(NO_VALIDATION)
    held = next((i for i, count in enumerate(survey.sizes["validation"]) if count), None)
    if held is not None:
        piece = problem.piece(held)
        windows = piece.parts["validation"]
        model = model.calibrated(piece.cube, windows)
        notes += diagnose(model.network, windows, model.units(piece.cube, model.scaler))
    return model, progress.history, progress.best_epoch, notes


class _Survey:
    """The first reading of a stream: what has to be known of all pieces before training."""

    def __init__(self, forecaster: Forecaster, stream: Stream) -> None:
        self.forecaster, self.stream = forecaster, stream
        self.first = stream[0]
        cut = self._cut(self.first)
        self.ends = cut.train
        self.season = forecaster.season or self.first.step.season
        self.context = forecaster.context or default_context(cut, forecaster.horizon, self.season)
        self.sizes: dict[str, list[int]] = {part: [] for part in PARTS}
        self.encodings: list[Encoding] = []
        self.notes: list[str] = []

    def pieces(self) -> Iterator[tuple[Cube, np.ndarray[Any, np.dtype[np.int64]]]]:
        """Every piece with the ends of its training parts; what it holds is noted on the way."""
        for cube in self.stream:
            if (cube.step, cube.names) != (self.first.step, self.first.names):
                raise DataError(
                    f"The series of {self.stream.path} differ: those with id "
                    f"{self.first.ids[0]!r} and after have steps of {self.first.step.words()}, "
                    f"those with {cube.ids[0]!r} and after of {cube.step.words()}."
                )
            if self.forecaster.head == COUNTS:
                check_counts(cube)
            cut = self._cut(cube)
            self._count(cube, cut)
            self._note(cube)
            yield cube, cut.train

    def _count(self, cube: Cube, cut: Split) -> None:
        horizon, blind = self.forecaster.horizon, not self.forecaster.reads_target
        for part, (rows, _) in found_in(cube, cut, self.context, horizon, blind).items():
            self.sizes[part].append(len(rows))
        trained = np.where(cut.train >= self.context + horizon, cut.train, 0)
        self.encodings.append(Encoding.fit(cube, trained, self.forecaster.calendar))

    def _note(self, cube: Cube) -> None:
        first = int(self.stream.cuts[len(self.encodings) - 1]) + 1
        new = [f"From row {first}: {note}" for note in cube.notes]
        self.notes += new[: max(0, MOST_NOTES - len(self.notes))]

    def _cut(self, cube: Cube) -> Split:
        return split(cube, self.forecaster.horizon, self.forecaster.validation)
