"""Windows of the cube: a context of L steps and the H steps that follow it."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Windows:
    """Places in a scaled cube; batches are cut out of it when they are asked for.

    Attributes:
        scaled: (N, T, F) in the model's units, NaN where missing.
        rows: (M,) the series of each window.
        origins: (M,) the first step after the context; the target begins there.
    """

    scaled: Tensor
    rows: NDArray[np.int64]
    origins: NDArray[np.int64]
    context: int
    horizon: int

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: NDArray[np.int64] | Tensor) -> Batch:
        """The windows at some places, on the device of the cube."""
        index = np.asarray(index)
        device = self.scaled.device
        row = torch.from_numpy(self.rows[index]).to(device).unsqueeze(1)
        origin = torch.from_numpy(self.origins[index]).to(device).unsqueeze(1)
        past = origin + torch.arange(-self.context, 0, device=device)
        future = origin + torch.arange(self.horizon, device=device)
        last = self.scaled.shape[1] - 1
        context = self.scaled[row, past.clamp(0, last)]
        context = context.masked_fill((past < 0).unsqueeze(-1), torch.nan)
        target = self.scaled[row, future.clamp(0, last), 0]
        target = target.masked_fill(future > last, torch.nan)
        return Batch(
            context.nan_to_num(0.0),
            (~context.isnan()).to(context.dtype),
            target.nan_to_num(0.0),
            (~target.isnan()).to(target.dtype),
        )


def places(
    cube: Cube,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    context: int,
    horizon: int,
    stride: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and origins of the windows whose targets lie in ``begin[n] .. end[n]`` of each series.

    Windows with nothing seen in the context or nothing known in the target are left out.
    """
    rows, origins = [], []
    for position in range(len(cube.ids)):
        first = max(int(begin[position]), context)
        found = np.arange(first, int(end[position]) - horizon + 1, stride)
        if not len(found):
            continue
        present = ~np.isnan(cube.values[position, :, 0])
        total = np.concatenate([[0], np.cumsum(present)])
        seen = total[found] - total[found - context]
        known = total[found + horizon] - total[found]
        found = found[(seen > 0) & (known > 0)]
        rows.append(np.full(len(found), position))
        origins.append(found)
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(rows).astype(np.int64), np.concatenate(origins).astype(np.int64)
