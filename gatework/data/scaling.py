"""Scaling: fitted on the training part only, stored with the model, undone on the forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.errors import DataError

METHODS = ("standard", "log", "none")
ROUNDING = 1e-12
LARGEST = 1e15  # in the model's units; float32 must hold its square, and sums of that
ALIKE = 10  # spreads that differ by a larger factor do not go with one scale
COMMON = ""  # the key of all series together; no id is empty

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """Centre and spread of each feature of each series; ``log`` first takes log(1 + target).

    A series with an id is scaled by its own training part. Those without one, out of an array,
    cannot be told from each other later, so they share one scale: a forecast depends on what
    the model reads, and not on how much more was passed with it.
    """

    method: str
    center: Mapping[str, Array]  # by id, and of all series together; (F,)
    spread: Mapping[str, Array]  # likewise

    @classmethod
    def fit(
        cls, cube: Cube, ends: NDArray[np.int64], method: str = "standard", levels: bool = True
    ) -> Scaler:
        """Fit on the first ``ends[n]`` steps of each series.

        Args:
            cube: the series.
            ends: (N,) where the training part of each series ends.
            method: one of ``METHODS``.
            levels: whether the common spread of the target leaves the levels of the series out,
                for a model that reads each one relative to its level.

        Raises:
            DataError: an unknown method, or values that have no logarithm.
        """
        if method not in METHODS:
            raise DataError(f"There is no scaling {method!r}; choose one of {', '.join(METHODS)}.")
        parts = [
            _before(cube.values[position, :end], method, cube.ids[position])
            for position, end in enumerate(ends)
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            center, spread = _moments(np.concatenate(parts), method)
        if not np.isfinite([center, spread]).all():
            raise DataError(
                f"The values reach {np.nanmax(np.abs(np.concatenate(parts))):.3g}, which is too "
                f"large to be scaled. Bring them to another unit."
            )
        if levels and method != "none":
            spread[0] = _spread_around_levels([part[:, 0] for part in parts])
        return cls(method, {COMMON: center}, {COMMON: spread}).extended(cube, ends)

    def extended(self, cube: Cube, ends: NDArray[np.int64]) -> Scaler:
        """Together with the ids that it lacks, by the first ``ends[n]`` steps of each."""
        center, spread = dict(self.center), dict(self.spread)
        for position, end in enumerate(ends):
            part = _before(cube.values[position, :end], self.method, cube.ids[position])
            if cube.named and cube.ids[position] not in center and not np.isnan(part[:, 0]).all():
                center[cube.ids[position]], spread[cube.ids[position]] = _moments(part, self.method)
        return Scaler(self.method, center, spread)

    def scaled(self, cube: Cube) -> NDArray[np.float32]:
        """The cube in the model's units, (N, T, F); NaN stays NaN."""
        out = np.empty(cube.values.shape, dtype=np.float32)
        for position, name in enumerate(cube.ids):
            values = _before(cube.values[position], self.method, name)
            center, spread = self.of(cube, position)
            scaled = (values - center) / spread
            if (np.abs(scaled) > LARGEST).any():
                raise DataError(
                    f"Series {name!r} reaches {np.nanmax(np.abs(values)):.3g}, which is too large "
                    f"for a model {'without scaling' if self.method == 'none' else 'of its scale'}."
                    f" Use scaling 'standard', or another unit."
                )
            out[position] = scaled
        return out

    def unscaled(self, cube: Cube, rows: NDArray[np.int64], values: NDArray[Any]) -> Array:
        """Targets in the model's units, (M, ...) with the series of each, in the user's units."""
        moments = {int(row): self.of(cube, int(row)) for row in np.unique(rows)}
        shape = (-1,) + (1,) * (values.ndim - 1)
        center = np.array([moments[int(row)][0][0] for row in rows]).reshape(shape)
        spread = np.array([moments[int(row)][1][0] for row in rows]).reshape(shape)
        result: Array = values.astype(np.float64) * spread + center
        return np.expm1(result) if self.method == "log" else result

    def of(self, cube: Cube, position: int) -> tuple[Array, Array]:
        """Centre and spread of one series, (F,) each; the common ones where it has none."""
        name = cube.ids[position] if cube.named else COMMON
        key = name if name in self.center else COMMON
        return self.center[key], self.spread[key]

    def notes(self, cube: Cube, ends: NDArray[np.int64]) -> list[str]:
        """What the scaling of these training parts may do to a model, in words."""
        if cube.named or self.method == "none":
            return []
        parts = [
            _before(row[:end], self.method, name)[:, 0]
            for row, end, name in zip(cube.values, ends, cube.ids, strict=True)
        ]
        # Constant series have no spread that could be another one.
        each = [_spread_around_levels([p]) for p in parts if len(np.unique(p[~np.isnan(p)])) > 1]
        if not each or max(each) <= ALIKE * min(each):
            return []
        return [
            f"The series have no ids and share one scale, but they vary between {min(each):.3g} "
            f"and {max(each):.3g}: the small ones will be forecast badly. Give them ids (a table "
            f"with an id column, or a dict of arrays), and each one is scaled by itself."
        ]

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
        if COMMON not in center:
            raise ValueError("the common scale is absent")
        return cls(data["method"], center, spread)


def _before(values: Array, method: str, name: str) -> NDArray[np.float64]:
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


def _moments(values: Array, method: str) -> tuple[Array, Array]:
    features = values.shape[1]
    center, spread = np.zeros(features), np.ones(features)
    if method == "none":
        return center, spread
    for feature in range(features):
        seen = values[~np.isnan(values[:, feature]), feature]
        if len(seen):
            center[feature] = seen.mean()
            spread[feature] = _spread(seen, seen - center[feature])
    return center, spread


def _spread_around_levels(parts: Sequence[Array]) -> float:
    """How far the series stray from their own means, all of them together."""
    seen = [part[~np.isnan(part)] for part in parts]
    around = [part - part.mean() for part in seen if len(part)]
    return _spread(np.concatenate(seen), np.concatenate(around)) if around else 1.0


def _spread(values: Array, deviations: Array) -> float:
    """The standard deviation; 1 of a constant series, which is centred and not scaled."""
    deviation = float(np.sqrt(np.square(deviations).mean()))
    # What float64 rounds is no spread.
    return deviation if deviation > ROUNDING * np.abs(values).max() else 1.0
