"""Scaling: fitted on the training part only, stored with the model, undone on the forecasts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.errors import DataError

METHODS = ("standard", "log", "none")
ROUNDING = 1e-12
BEGINNING = r"#(?P<size>\d+):(?P<first>[0-9a-f]{16}):[0-9a-f]{16}"


@dataclass(frozen=True)
class Scaler:
    """Centre and spread of each feature of each series; ``log`` first takes log(1 + target).

    Only series with a value of the target in their training part are in it. A series without a
    name, out of an array, is known again by its values: the one that begins with the training
    part. By its place it would be taken for another one as soon as there are others.
    """

    method: str
    center: Mapping[str, NDArray[np.float64]]  # by key, (F,)
    spread: Mapping[str, NDArray[np.float64]]  # by key, (F,)

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
        for position, end in enumerate(ends):
            part = _before(cube.values[position, :end], self.method, cube.ids[position])
            if self.key(cube, position) is None and not np.isnan(part[:, 0]).all():
                key = cube.ids[position] if cube.named else _beginning(cube.values[position, :end])
                center[key], spread[key] = _moments(part, self.method)
        return Scaler(self.method, center, spread)

    def scaled(self, cube: Cube) -> NDArray[np.float32]:
        """The cube in the model's units, (N, T, F); NaN stays NaN."""
        out = np.empty(cube.values.shape, dtype=np.float32)
        for position, name in enumerate(cube.ids):
            values = _before(cube.values[position], self.method, name)
            center, spread = self.of(cube, position)
            out[position] = (values - center) / spread
        return out

    def unscaled(
        self, cube: Cube, rows: NDArray[np.int64], values: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Targets in the model's units, (M, ...) with the series of each, in the user's units."""
        moments = {int(row): self.of(cube, int(row)) for row in np.unique(rows)}
        shape = (-1,) + (1,) * (values.ndim - 1)
        center = np.array([moments[int(row)][0][0] for row in rows]).reshape(shape)
        spread = np.array([moments[int(row)][1][0] for row in rows]).reshape(shape)
        result: NDArray[np.float64] = values.astype(np.float64) * spread + center
        return np.expm1(result) if self.method == "log" else result

    def of(self, cube: Cube, position: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centre and spread of one series, (F,) each; 0 and 1 where nothing is known of it."""
        key = self.key(cube, position)
        if key is None:
            return np.zeros(len(cube.names)), np.ones(len(cube.names))
        return self.center[key], self.spread[key]

    def key(self, cube: Cube, position: int) -> str | None:
        """What a series is known by here, if it is."""
        if cube.named:
            name = cube.ids[position]
            return name if name in self.center else None
        series = cube.series(position)
        for size in self.sizes.get(_digest(series[:1]), ()):
            if size <= len(series) and (key := _beginning(series[:size])) in self.center:
                return key
        return None

    @cached_property
    def sizes(self) -> dict[str, set[int]]:
        """How long the series without a name are that begin with a value, by that value."""
        found: dict[str, set[int]] = {}
        for key in self.center:
            if match := re.fullmatch(BEGINNING, key):
                found.setdefault(match["first"], set()).add(int(match["size"]))
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "method": self.method,
            "center": {k: v.tolist() for k, v in self.center.items()},
            "spread": {k: v.tolist() for k, v in self.spread.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scaler:
        """The scaler of ``to_dict``'s data.

        Raises:
            ValueError: it is not such data.
        """
        if data["method"] not in METHODS or data["center"].keys() != data["spread"].keys():
            raise ValueError("the scaling is incomplete")
        center, spread = (
            {k: np.array(v, dtype=np.float64) for k, v in data[part].items()}
            for part in ("center", "spread")
        )
        return cls(data["method"], center, spread)


def _beginning(part: NDArray[np.float64]) -> str:
    """The key of a series that begins with these values."""
    return f"#{len(part)}:{_digest(part[:1])}:{_digest(part)}"


def _digest(values: NDArray[np.float64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


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
