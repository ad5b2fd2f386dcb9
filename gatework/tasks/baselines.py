"""What a model is held against: naive, seasonal naive and drift forecasts, and a linear model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cube import Cube
from gatework.data.windows import Batch, Windows
from gatework.data.words import counted
from gatework.tasks.inputs import Layout, last_seen

Array = NDArray[np.float64]
Places = NDArray[np.int64]
NAIVE, SEASONAL, DRIFT, LINEAR = "naive", "seasonal naive", "drift", "linear"
RIDGE = 1.0  # scikit-learn's default
WIDEST = 2048  # inputs of the linear model, at most
MOST_WINDOWS = 20_000  # that it is fitted on; more of them cost time and change little
AT_ONCE = 1024


def naive_forecasts(
    cube: Cube, rows: Places, origins: Places, horizon: int, season: int
) -> dict[str, Array]:
    """The naive, the seasonal and the drift forecast from some places, (M, H) each.

    Naive repeats the last value, seasonal naive the value a season ago (left out where the season
    is 1 step), drift goes on along the line through the first and the last value (Hyndman &
    Athanasopoulos, Forecasting: Principles and Practice, 5.2). Missing values are stepped over:
    the last value there is, or that of an earlier season.
    """
    steps = np.arange(horizon)
    names = (NAIVE, SEASONAL, DRIFT) if season > 1 else (NAIVE, DRIFT)
    found = {name: np.empty((len(rows), horizon)) for name in names}
    for position in np.unique(rows):
        mine = rows == position
        target, coming = cube.values[position, :, 0], origins[mine][:, None] + steps
        last = _latest(target, 1)[origins[mine] - 1][:, None]
        value = _at(target, last)
        found[NAIVE][mine] = value
        first = int(np.argmax(~np.isnan(target)))
        slope = (value - target[first]) / np.maximum(last - first, 1)
        found[DRIFT][mine] = value + slope * (coming - last)
        if season > 1:
            back = coming - season * (steps // season + 1)
            earlier = np.where(back >= 0, _latest(target, season)[np.maximum(back, 0)], -1)
            found[SEASONAL][mine] = np.where(earlier >= 0, _at(target, earlier), value)
    return found


def _latest(values: Array, period: int) -> Places:
    """For each step the last one, 0, 1, 2, ... periods before, that has a value; -1: none."""
    place = np.where(np.isnan(values), -1, np.arange(len(values)))
    for phase in range(min(period, len(values))):
        place[phase::period] = np.maximum.accumulate(place[phase::period])
    return place


def _at(values: Array, places: Places) -> Array:
    return np.where(places >= 0, values[np.maximum(places, 0)], np.nan)


@dataclass(frozen=True)
class Reader:
    """Which numbers of a window a linear model reads.

    Where they are more than ``WIDEST``, these are the last values of the target alone.

    Attributes:
        layout: what the columns of windows are.
        relative: whether the target is read relative to its last value.
    """

    layout: Layout
    relative: bool

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The numbers of a batch, (B, P), and the level taken off the target, (B, 1)."""
        target, seen = batch.context[..., 0], batch.seen[..., 0]
        level = last_seen(target, seen) if self.relative else torch.zeros_like(target[:, :1])
        steps = target.shape[1] * self.layout.reads_target
        target = ((target - level) * seen)[:, :steps]
        if self._is_wide(batch.context.shape[1], batch.target.shape[1]):
            return target[:, -WIDEST:], level
        past, future = self._columns()
        parts = (target, batch.context[..., past].flatten(1), batch.future[..., future].flatten(1))
        return torch.cat(parts, dim=1), level

    def size(self, context: int, horizon: int) -> int:
        """P, for windows of so many steps."""
        if self._is_wide(context, horizon):
            return min(context, WIDEST) * self.layout.reads_target
        return self._all(context, horizon)

    def words(self, context: int, horizon: int) -> list[str]:
        """What is left out of windows of so many steps, in words."""
        if not self._is_wide(context, horizon):
            return []
        size = self.size(context, horizon)
        reads = f"the last {counted(size, 'value')} of the target alone" if size else "no input"
        return [
            f"The linear baseline takes at most {WIDEST} numbers of a window, and this one holds "
            f"{self._all(context, horizon)}: it reads {reads}."
        ]

    def _is_wide(self, context: int, horizon: int) -> bool:
        return self._all(context, horizon) > WIDEST

    def _all(self, context: int, horizon: int) -> int:
        past, future = self._columns()
        return context * (self.layout.reads_target + len(past)) + horizon * len(future)

    def _columns(self) -> tuple[list[int], list[int]]:
        """The columns of numbers beside the target: of the context, and of the future."""
        layout = self.layout
        plain = {*layout.numbers, *layout.plain} - {0}
        return sorted(plain), [i for i, place in enumerate(layout.ahead) if place in plain]


@dataclass(frozen=True)
class LinearModel:
    """Ridge regression from what is known to every step of the horizon, in the model's units.

    It reads the columns that the network reads as numbers, those of the future too, the target
    relative to its last value if the network does (Zeng et al. 2022, arXiv:2205.13504: NLinear).
    Where a value is missing it reads 0.

    Attributes:
        reader: which numbers of a window are read.
        weight: (P, H), of P numbers.
        bias: (H,).
    """

    reader: Reader
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, windows: Windows, reader: Reader) -> Self | None:
        """Fit on windows whose whole target is known; ``None`` where there is none.

        Of more than ``MOST_WINDOWS`` as many are taken, evenly spread.
        """
        windows = windows.some(MOST_WINDOWS)
        product, cross, used = torch.zeros(()), torch.zeros(()), 0
        for index in torch.split(torch.arange(len(windows)), AT_ONCE):
            batch = windows.batch(index)
            whole = batch.known.bool().all(dim=1)
            inputs, level = reader.read(batch)
            inputs = torch.cat([inputs, torch.ones_like(level)], dim=1)[whole].double()
            outputs = (batch.target - level)[whole].double()
            product, cross = product + inputs.T @ inputs, cross + inputs.T @ outputs
            used += int(whole.sum())
        if not used:
            return None
        product.diagonal()[:-1].add_(RIDGE)  # the constant is not held small
        solved = torch.linalg.solve(product, cross).contiguous()
        return cls(reader, solved[:-1], solved[-1])

    def forecast(self, windows: Windows) -> Array:
        """Forecasts (M, H) in the model's units; NaN where nothing is seen."""
        parts = []
        for index in torch.split(torch.arange(len(windows)), AT_ONCE):
            batch = windows.batch(index)
            inputs, level = self.reader.read(batch)
            forecast = inputs.double() @ self.weight + self.bias + level
            blind = self.reader.layout.blind(batch.seen).unsqueeze(1)
            parts.append(forecast.masked_fill(blind, torch.nan))
        return torch.cat(parts).cpu().numpy()

    def arrays(self) -> dict[str, Array]:
        """What was fitted, by name."""
        return {"weight": self.weight.numpy(), "bias": self.bias.numpy()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], reader: Reader, context: int, horizon: int
    ) -> Self:
        """The model of ``arrays()``, for windows of so many steps.

        Raises:
            KeyError, ValueError: they do not go together.
        """
        weight, bias = arrays["weight"], arrays["bias"]
        if weight.shape != (reader.size(context, horizon), horizon) or bias.shape != (horizon,):
            raise ValueError(f"a linear model of shapes {weight.shape} and {bias.shape}")
        return cls(reader, torch.from_numpy(weight), torch.from_numpy(bias))
