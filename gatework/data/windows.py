"""Windows of the cube: a context of L steps and the H steps that follow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cube import Cube
from gatework.errors import DataError


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


@dataclass(frozen=True)
class Split:
    """Where the parts of each series end: training, then validation, then test; (N,) each.

    Every part lies after the one before it in time. A window belongs to the part that holds
    its whole target; its context may reach back.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    end: NDArray[np.int64]


def split(cube: Cube, horizon: int, validation: float, test: int = 0) -> Split:
    """Cut each series: the last ``test`` steps, before them a share for validation, the rest.

    Args:
        cube: the series.
        horizon: steps of a forecast; a validation part is at least that long.
        validation: share of the steps before the test part, in [0, 1); 0: no validation part.
        test: steps of the test part.
    """
    before = np.maximum(cube.lengths - test, 0)
    held = np.zeros_like(before)
    if validation > 0:
        held = np.maximum(np.round(before * validation).astype(np.int64), horizon)
    return Split(np.maximum(before - held, 0), before, cube.lengths)


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


def check_long_enough(cube: Cube, cut: Split, context: int, horizon: int) -> list[str]:
    """Which series are too short to be trained on; raises where all of them are.

    Raises:
        DataError: no series has a single training window; says how many steps are needed.
    """
    needed = context + horizon
    short = [i for i, n in enumerate(cut.train) if n < needed]
    if len(short) == len(cube.ids):
        longest = int(np.argmax(cube.lengths))
        rest = int(cube.lengths[longest] - cut.train[longest])
        held = f", after {rest} are set aside for validation and test" if rest else ""
        raise DataError(
            f"No series is long enough: a window is context {context} + horizon {horizon} = "
            f"{needed} steps, and the longest series ({cube.ids[longest]!r}) has "
            f"{cube.lengths[longest]} steps, {cut.train[longest]} of them for training{held}. Use "
            f"a shorter horizon or context, or more data."
        )
    if not short:
        return []
    names = ", ".join(repr(cube.ids[i]) for i in short[:5]) + (" ..." if len(short) > 5 else "")
    return [
        f"{len(short)} of {len(cube.ids)} series have no training window of {needed} steps and are "
        f"not trained on: {names}."
    ]
