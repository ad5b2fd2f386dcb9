"""The forecaster's side of the training loop: windows, their losses, and their words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cube import Cube
from gatework.data.scaling import enough
from gatework.data.splits import Split
from gatework.data.windows import Batch, Windows, places
from gatework.tasks.forecast_model import ForecastModel
from gatework.tasks.network import ForecastNetwork
from gatework.training.loop import Problem

Contexts = tuple[int, int] | None  # the shortest and the longest of models that are compared
NO_VALIDATION = (
    "The validation part holds no window with a known value; every epoch is trained and the last "
    "one is kept."
)


@dataclass
class ForecastProblem:
    """Training and validation windows of a cube: a ``training.loop.Problem``.

    Attributes:
        model: the network.
        parts: windows by the name of their part.
        units: (N, 2), centre and spread of the target of each series.
        cube: the series.
    """

    model: ForecastNetwork
    parts: dict[str, Windows]
    units: Tensor
    cube: Cube

    @property
    def train_size(self) -> int:
        """How many windows there are for training."""
        return len(self.parts["train"])

    @property
    def validation_size(self) -> int:
        """How many for validation."""
        return len(self.parts["validation"])

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self.parts = {k: replace(w, scaled=w.scaled.to(device)) for k, w in self.parts.items()}
        self.units = self.units.to(device, self.parts["train"].scaled.dtype)

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The mean loss of each window over its known steps, (B,)."""
        windows = self.parts[part]
        batch: Batch = windows.batch(index)
        units = self.units[torch.from_numpy(windows.rows)[index]]
        found = (self.model.taught if part == "train" else self.model)(batch, units)
        weighted = self.model.outcome.loss(found, batch.target, units) * batch.known
        mean: Tensor = weighted.sum(dim=1) / batch.known.sum(dim=1)
        return mean

    def scaled(self) -> NDArray[np.float32]:
        """All that windows are cut out of, (N, T, F) in the units of the network."""
        values: NDArray[np.float32] = self.parts["train"].scaled.cpu().numpy()
        return values

    def sample(self, part: str) -> ForecastProblem | None:
        """Itself, if it has windows of a part."""
        return self if len(self.parts[part]) else None

    def describe(self, index: int, part: str) -> str:
        """One window in words."""
        windows = self.parts[part]
        row, origin = int(windows.rows[index]), int(windows.origins[index])
        first = self.cube.times(row, np.array([origin - windows.context]))[0]
        return (
            f"series {self.cube.ids[row]!r}, the window of {windows.context} + {windows.horizon} "
            f"steps from {first}"
        )


def problem_of(
    model: ForecastModel, cube: Cube, cut: Split, contexts: Contexts = None
) -> ForecastProblem:
    """The windows of a cube that a model is trained and validated on.

    Args:
        model: with the context of its windows.
        cube: the series.
        cut: where their parts end.
        contexts: see ``validated``; ``None``: the model's own.
    """
    blind = not model.layout.reads_target
    found = found_in(cube, cut, model.context, model.horizon, blind, contexts)
    # The columns are made once; the parts share them.
    rows, origins = (np.concatenate(part) for part in zip(*found.values(), strict=True))
    windows = model.windows(cube, rows, origins)
    parts = {name: replace(windows, rows=r, origins=o) for name, (r, o) in found.items()}
    return ForecastProblem(model.network, parts, model.units(cube, model.scaler), cube)


def found_in(
    cube: Cube,
    cut: Split,
    context: int,
    horizon: int,
    blind: bool = False,
    contexts: Contexts = None,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and origins of the windows of each part; the arguments are those of ``validated``."""
    start = np.zeros_like(cut.train)
    return {
        "train": places(cube, start, cut.train, context, horizon, blind=blind),
        "validation": validated(cube, cut, contexts or (context, context), horizon, blind),
    }


def validated(
    cube: Cube, cut: Split, contexts: tuple[int, int], horizon: int, blind: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and origins of the validation windows that models of several contexts all have.

    Before the targets lies the longest context, and in the shortest one something is seen; so the
    targets are the same whichever of the contexts is read. A series whose training part does not
    tell its scale is left out: its errors would be in units of nothing.

    Args:
        cube: the series.
        cut: where their parts end.
        contexts: the shortest and the longest, in steps.
        horizon: steps of a target.
        blind: whether the models read nothing of the target.
    """
    shortest, longest = contexts
    begin = np.maximum(cut.train, longest)
    end = np.where(enough(cube.values[..., :1], cut.train), cut.validation, cut.train)
    return places(cube, begin, end, shortest, horizon, blind=blind)


def validation_loss(problem: Problem) -> float:
    """The mean loss of the validation windows, as the network is; infinite where there are none."""
    windows = torch.arange(problem.validation_size)
    problem.to(next(problem.model.parameters()).device)
    problem.model.eval()
    with torch.no_grad():
        found = [problem.losses(index, "validation") for index in torch.split(windows, 1024)]
    return float(torch.cat(found).mean()) if len(windows) else math.inf
