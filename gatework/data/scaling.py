"""Scaling: fitted on the training part only, stored with the model, undone on the forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.errors import DataError

METHODS = ("standard", "log", "none")
ROUNDING = 1e-12


@dataclass(frozen=True)
class Scaler:
    """Centre and spread of each feature of each series; ``log`` first takes log(1 + target).

    Only series with a value of the target in their training part are in it.
    """

    method: str
    center: Mapping[str, NDArray[np.float64]]  # by id, (F,)
    spread: Mapping[str, NDArray[np.float64]]  # by id, (F,)

    @classmethod
    def fit(cls, cube: Cube, ends: NDArray[np.int64], method: str = "standard") -> Scaler:
        """Fit on the first ``ends[n]`` steps of each series.

        Raises:
            DataError: an unknown method, or values that have no logarithm.
        """
        if method not in METHODS:
            raise DataError(f"There is no scaling {method!r}; choose one of {', '.join(METHODS)}.")
        return cls(method, {}, {}).extended(cube, ends)

    def extended(self, cube: Cube, ends: NDArray[np.int64]) -> Scaler:
        """Together with the series that it lacks, by the first ``ends[n]`` steps of each."""
        center, spread = dict(self.center), dict(self.spread)
        for position, name in enumerate(cube.ids):
            part = _before(cube.values[position, : ends[position]], self.method, name)
            if name not in self.center and not np.isnan(part[:, 0]).all():
                center[name], spread[name] = _moments(part, self.method)
        return Scaler(self.method, center, spread)

    def scaled(self, cube: Cube) -> NDArray[np.float32]:
        """The cube in the model's units, (N, T, F); NaN stays NaN."""
        out = np.empty(cube.values.shape, dtype=np.float32)
        for position, name in enumerate(cube.ids):
            values = _before(cube.values[position], self.method, name)
            center, spread = self.of(name, values.shape[1])
            out[position] = (values - center) / spread
        return out

    def unscaled(
        self, cube: Cube, rows: NDArray[np.int64], values: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Targets in the model's units, (M, ...) with the series of each, in the user's units."""
        moments = [self.of(name, len(cube.names)) for name in cube.ids]
        shape = (-1,) + (1,) * (values.ndim - 1)
        center = np.array([c[0] for c, _ in moments])[rows].reshape(shape)
        spread = np.array([s[0] for _, s in moments])[rows].reshape(shape)
        result: NDArray[np.float64] = values.astype(np.float64) * spread + center
        return np.expm1(result) if self.method == "log" else result

    def of(self, name: str, features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centre and spread of one series, (F,) each; 0 and 1 where nothing is known of it."""
        if name in self.center:
            return self.center[name], self.spread[name]
        return np.zeros(features), np.ones(features)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "method": self.method,
            "center": {k: v.tolist() for k, v in self.center.items()},
            "spread": {k: v.tolist() for k, v in self.spread.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scaler:
        """The scaler of ``to_dict``'s data."""
        return cls(
            data["method"],
            {k: np.array(v, dtype=np.float64) for k, v in data["center"].items()},
            {k: np.array(v, dtype=np.float64) for k, v in data["spread"].items()},
        )


def _before(values: NDArray[np.float64], method: str, name: str) -> NDArray[np.float64]:
    """The values with the target's logarithm taken, where the method says so."""
    if method != "log":
        return values
    target = values[:, 0]
    if (target <= -1).any():
        raise DataError(
            f"Series {name!r} holds {target[target <= -1][0]:g}; scaling 'log' takes log(1 + y) "
            f"and needs values above -1. Use scaling 'standard'."
        )
    result = values.copy()
    result[:, 0] = np.log1p(target)
    return result


def _moments(
    values: NDArray[np.float64], method: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    features = values.shape[1]
    center, spread = np.zeros(features), np.ones(features)
    if method == "none":
        return center, spread
    for feature in range(features):
        seen = values[~np.isnan(values[:, feature]), feature]
        if len(seen):
            center[feature], deviation = seen.mean(), seen.std()
            # A constant series is centred, not scaled; what float64 rounds is no spread.
            if deviation > ROUNDING * np.abs(seen).max():
                spread[feature] = deviation
    return center, spread
