"""The forecaster's side of the training loop: windows, their losses, and their words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gatework.data.cube import Cube
from gatework.data.windows import Batch, Windows
from gatework.tasks.network import ForecastNetwork

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mae": lambda error: error.abs(),
    "mse": lambda error: error.square(),
    "huber": lambda error: torch.where(error.abs() < 1, 0.5 * error.square(), error.abs() - 0.5),
}


@dataclass
class ForecastProblem:
    """Training and validation windows of a cube: a ``training.loop.Problem``."""

    model: ForecastNetwork
    parts: dict[str, Windows]
    loss: str
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

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The mean loss of each window over its known steps, (B,)."""
        batch: Batch = self.parts[part].batch(index)
        error = self.model(batch) - batch.target
        weighted = LOSSES[self.loss](error) * batch.known
        mean: Tensor = weighted.sum(dim=1) / batch.known.sum(dim=1)
        return mean

    def describe(self, index: int, part: str) -> str:
        """One window in words."""
        windows = self.parts[part]
        row, origin = int(windows.rows[index]), int(windows.origins[index])
        first = self.cube.times(row, np.array([origin - windows.context]))[0]
        return (
            f"series {self.cube.ids[row]!r}, the window of {windows.context} + {windows.horizon} "
            f"steps from {first}"
        )
