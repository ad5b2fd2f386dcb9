"""Windows of the cube: a context of L steps and the H steps that follow it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cube import Cube


@dataclass(frozen=True)
class Batch:
    """Some windows, in the model's units; missing values are 0 and their mask is 0."""

    context: Tensor  # (B, L, F)
    seen: Tensor  # (B, L, F), 1 where the context has a value
    target: Tensor  # (B, H)
    known: Tensor  # (B, H), 1 where the target has a value
    future: Tensor  # (B, H, A), the columns that are known ahead
    future_seen: Tensor  # (B, H, A), 1 where they have a value

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class Windows:
    """Places in a scaled cube; batches are cut out of it when they are asked for.

    Attributes:
        scaled: (N, T, F) in the model's units, NaN where missing.
        rows: (M,) the series of each window.
        origins: (M,) the first step after the context; the target begins there.
        context, horizon: L and H, in steps.
        ahead: the columns that are known for the steps of the horizon.
    """

    scaled: Tensor
    rows: NDArray[np.int64]
    origins: NDArray[np.int64]
    context: int
    horizon: int
    ahead: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: NDArray[np.int64] | Tensor) -> Batch:
        """The windows at some places, on the device of the cube."""
        index = np.asarray(index)
        device = self.scaled.device
        row = torch.from_numpy(self.rows[index]).to(device).unsqueeze(1)
        origin = torch.from_numpy(self.origins[index]).to(device).unsqueeze(1)
        past = self._steps(row, origin + torch.arange(-self.context, 0, device=device))
        coming = self._steps(row, origin + torch.arange(self.horizon, device=device))
        values = past, coming[..., 0], coming[..., list(self.ahead)]
        (context, seen), (target, known), (future, future_seen) = (
            (part.nan_to_num(0.0), (~part.isnan()).to(part.dtype)) for part in values
        )
        return Batch(context, seen, target, known, future, future_seen)

    def some(self, most: int) -> Windows:
        """At most so many of them, evenly spread."""
        count = min(len(self), most)
        chosen = np.linspace(0, len(self) - 1, count).round().astype(np.int64)
        return replace(self, rows=self.rows[chosen], origins=self.origins[chosen])

    def targets(self) -> Tensor:
        """What each window is to forecast, (M, H), in the model's units; NaN where not known."""
        device = self.scaled.device
        row, origin = (torch.from_numpy(v).to(device)[:, None] for v in (self.rows, self.origins))
        alone = replace(self, scaled=self.scaled[..., :1])
        return alone._steps(row, origin + torch.arange(self.horizon, device=device))[..., 0]

    def _steps(self, row: Tensor, step: Tensor) -> Tensor:
        """The columns at some steps, NaN before the beginning and behind the end."""
        last = self.scaled.shape[1] - 1
        outside = ((step < 0) | (step > last)).unsqueeze(-1)
        return self.scaled[row, step.clamp(0, last)].masked_fill(outside, torch.nan)


def places(
    cube: Cube,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    context: int,
    horizon: int,
    stride: int = 1,
    blind: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and origins of the windows whose targets lie in ``begin[n] .. end[n]`` of each series.

    Windows with nothing known in the target are left out, and those with nothing of it seen in the
    context, but for a model that is blind to it.
    """
    steps = np.arange(cube.values.shape[1] + 1)
    first = np.maximum(begin, context)[:, None]
    fits = (steps >= first) & (steps <= (end - horizon)[:, None]) & ((steps - first) % stride == 0)
    rows, origins = np.nonzero(fits)
    total = np.zeros((len(cube.ids), len(steps)), dtype=np.int64)
    np.cumsum(~np.isnan(cube.values[..., 0]), axis=1, out=total[:, 1:])
    seen = total[rows, origins] - total[rows, origins - context]
    known = total[rows, origins + horizon] - total[rows, origins]
    kept = (blind | (seen > 0)) & (known > 0)
    return rows[kept].astype(np.int64), origins[kept].astype(np.int64)
