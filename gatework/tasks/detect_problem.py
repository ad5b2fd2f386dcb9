"""The detector's side of the training loop: windows of series, their losses, and their words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cube import Cube
from gatework.data.scaling import enough
from gatework.data.splits import Split, split
from gatework.tasks.detect_network import NextStep, Rebuild, observed

OVERLAP = 8  # windows that a step stands in, each time further from the window's begin
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Windows of which some steps count.

    Attributes:
        rows: (M,) the series of each.
        starts: (M,) its first step.
        begin, end: (M,) the steps that count: from one to before the other.
    """

    rows: Tensor
    starts: Tensor
    begin: Tensor
    end: Tensor


@dataclass
class DetectProblem:
    """Training and validation windows of a cube: a ``training.loop.Problem``.

    Attributes:
        model: the network.
        inputs: (N, T, 3F) what it reads.
        values: (N, T, F) what came, NaN where missing.
        context: steps of a window.
        parts: the windows for training and those for validation.
        cube: the series, for words.
    """

    model: NextStep | Rebuild
    inputs: Tensor
    values: Tensor
    context: int
    parts: dict[str, Part]
    cube: Cube

    @classmethod
    def of(
        cls,
        model: NextStep | Rebuild,
        cube: Cube,
        scaled: NDArray[np.float32],
        cut: Split,
        context: int,
    ) -> DetectProblem:
        """The problem of a cube in the model's units, (N, T, F)."""
        inputs = [observed(series.astype(np.float64)).astype(np.float32) for series in scaled]
        read, values = torch.from_numpy(np.stack(inputs)), torch.from_numpy(scaled)
        return cls(model, read, values, context, parts_of(scaled, cut, context, model.ahead), cube)

    @property
    def train_size(self) -> int:
        """How many windows there are for training."""
        return len(self.parts["train"].rows)

    @property
    def validation_size(self) -> int:
        """How many for validation."""
        return len(self.parts["validation"].rows)

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self.inputs, self.values = self.inputs.to(device), self.values.to(device)

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The mean distance of each window from what is expected of its steps, (B,)."""
        windows, device = self.parts[part], self.inputs.device
        rows, starts, begin, end = (
            tensor[index].to(device).unsqueeze(1)
            for tensor in (windows.rows, windows.starts, windows.begin, windows.end)
        )
        steps = starts + torch.arange(self.context, device=device)
        # What lies behind the part, where that is shorter than a window, is not read either.
        expected = self.model(self.inputs[rows, steps.minimum(end - 1)].transpose(0, 1))
        targets, last = steps + self.model.ahead, self.inputs.shape[1] - 1
        truth = self.values[rows, targets.clamp(max=last)]
        counts = ((targets >= begin) & (targets < end)).unsqueeze(-1) & ~truth.isnan()
        error = (expected.transpose(0, 1) - truth.nan_to_num()).abs() * counts
        mean: Tensor = error.sum(dim=(1, 2)) / counts.sum(dim=(1, 2))
        return mean

    def describe(self, index: int, part: str) -> str:
        """One window in words."""
        windows = self.parts[part]
        row, start = int(windows.rows[index]), int(windows.starts[index])
        first = self.cube.times(row, np.array([start]))[0]
        return f"series {self.cube.ids[row]!r}, the window of {self.context} steps from {first}"


def cut_of(cube: Cube, validation: float) -> Split:
    """Where the parts of each series end.

    One whose training part does not tell its scale has no validation part: its errors would be in
    units of nothing, and those of the others nothing beside them.
    """
    cut = split(cube, 1, validation)
    told = enough(cube.values, cut.train)
    return replace(cut, validation=np.where(told, cut.validation, cut.train))


def parts_of(
    values: NDArray[np.floating[Any]], cut: Split, context: int, ahead: int
) -> dict[str, Part]:
    """The windows for training and those for validation; of the values counts what is missing.

    Args:
        values: (N, T, F), NaN where missing.
        cut: where the parts of each series end.
        context: steps of a window.
        ahead: how many steps what is expected lies ahead of what is read.
    """
    return {
        "train": _windows(values, np.zeros_like(cut.train), cut.train, context, ahead),
        "validation": _windows(values, cut.train, cut.validation, context, ahead),
    }


def _windows(
    values: NDArray[np.floating[Any]], begin: Places, end: Places, context: int, ahead: int
) -> Part:
    """Windows over the steps ``begin[n] .. end[n]`` of each series, if any of them has a value."""
    stride = max(1, context // OVERLAP)
    found: list[tuple[int, int, int, int]] = []
    for row, (first, last) in enumerate(zip(begin, end, strict=True)):
        known = ~np.isnan(values[row]).all(axis=1)
        # The network has read something when the first step comes that counts.
        start = max(0, int(first) - context // 2)
        latest = max(start, int(last) - context - ahead)
        starts = [*range(start, latest, stride), latest]
        for place in starts:
            low = max(int(first), place + ahead)
            if known[low : min(int(last), place + context + ahead)].any():
                found.append((row, place, int(first), int(last)))
    columns = torch.tensor(found, dtype=torch.int64).reshape(-1, 4).unbind(1)
    return Part(*columns)
