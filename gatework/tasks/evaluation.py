"""How good forecasts are: beside the baselines, on the same windows, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    root_mean_squared_error,
)

from gatework.errors import DataError

Array = NDArray[np.float64]
ROUNDING = 1e-6  # of the network's float32


@dataclass(frozen=True)
class Errors:
    """Errors over all known steps of all windows, in the user's units; the last two in percent."""

    mae: float
    rmse: float
    mape: float  # over the steps whose truth is not 0; NaN if there is none
    smape: float


@dataclass(frozen=True)
class Evaluation:
    """Forecasts of some windows beside the truth and the baselines.

    Attributes:
        model: name of the model's row.
        forecasts: row name -> (M, H), the model's first.
        truth: (M, H), NaN where unknown.
        rows, origins: (M,) series and first step of each window.
        season: steps of the seasonal baseline; 1: there is none.
        held_out: whether the windows lie behind a first step that the caller gave.
        interval: (M, H, 2), low and high end around the model's forecasts, where there are any.
        coverage: share of the values that were to lie within it.
        without: why there is no interval.
    """

    model: str
    forecasts: dict[str, Array]
    truth: Array
    rows: NDArray[np.int64]
    origins: NDArray[np.int64]
    season: int
    held_out: bool = True
    interval: Array | None = None
    coverage: float = 0.9
    without: str = "The model has no intervals."

    def errors(self) -> dict[str, Errors]:
        """The table: one row for the model and one for each baseline."""
        return {name: _errors(self.truth, forecast) for name, forecast in self.forecasts.items()}

    def by_step(self) -> dict[str, Array]:
        """Mean absolute error of each step of the horizon, (H,)."""
        return {n: _mean_over_windows(np.abs(self.truth - f)) for n, f in self.forecasts.items()}

    def skill(self) -> float:
        """1 - MAE / MAE of the best baseline: above 0 the model is worth having."""
        table = self.errors()
        best = min(e.mae for name, e in table.items() if name != self.model)
        own = table[self.model].mae
        return 1 - own / best if best > 0 else (0.0 if own == 0 else -np.inf)

    def verdict(self) -> str:
        """In words: whether the model beats the baselines, and by how much."""
        table = self.errors()
        own = table[self.model].mae
        others = {name: e.mae for name, e in table.items() if name != self.model}
        best = min(others, key=others.__getitem__)
        shown = f"MAE {own:.4g} against {others[best]:.4g}"
        kind = "held-out window" if self.held_out else "window"
        windows = f"{len(self.truth)} {kind}{'s' if len(self.truth) != 1 else ''}"
        windows += "" if self.held_out else " (those it was trained on may be among them)"
        if own < others[best]:
            return (
                f"The {self.model} beats the {best} forecast: {shown} ({self.skill():.0%} less) on "
                f"{windows}."
            )
        return (
            f"The {self.model} does not beat the {best} forecast: {shown} on {windows}. "
            f"As it stands, use the {best} forecast."
        )

    def covered(self) -> Array:
        """The share of the known values within the interval, of each step of the horizon, (H,)."""
        return _mean_over_windows(self._inside())

    def interval_words(self) -> str:
        """In words: the measured coverage of the interval beside the asked one."""
        if self.interval is None:
            return self.without
        inside = self._inside()
        known, width = ~np.isnan(inside), np.diff(self.interval, axis=-1)[..., 0]
        return (
            f"Intervals of {self.coverage:.0%}: {inside[known].mean():.1%} of {known.sum()} values "
            f"lie within, the mean width is {width[known].mean():.4g}."
        )

    def _inside(self) -> Array:
        """Whether each value lies within the interval, 1 or 0; NaN where unknown, (M, H)."""
        if self.interval is None:
            raise DataError(self.without)
        low, high = np.moveaxis(self.interval, -1, 0)
        edge = ROUNDING * (high - low)  # what lies on it, as zeros among counts do, is within
        within = (self.truth >= low - edge) & (self.truth <= high + edge)
        inside = within.astype(np.float64)
        return np.where(np.isnan(self.truth) | np.isnan(low), np.nan, inside)

    def to_dict(self) -> dict[str, Any]:
        """The tables as JSON-ready data."""
        return {
            "windows": len(self.truth),
            "errors": {
                name: {k: _number(v) for k, v in vars(e).items()}
                for name, e in self.errors().items()
            },
            "by_step": {name: [_number(v) for v in row] for name, row in self.by_step().items()},
            "verdict": self.verdict(),
            "interval": self._interval(),
        }

    def _interval(self) -> dict[str, Any]:
        if self.interval is None:
            return {"says": self.interval_words()}
        return {
            "asked": self.coverage,
            "measured": _number(float(np.nanmean(self._inside()))),
            "by_step": [_number(v) for v in self.covered()],
            "says": self.interval_words(),
        }


def _errors(truth: Array, forecast: Array) -> Errors:
    known = ~np.isnan(truth) & ~np.isnan(forecast)
    if not known.any():
        return Errors(np.nan, np.nan, np.nan, np.nan)
    t, f = truth[known], forecast[known]
    size = np.abs(t) + np.abs(f)
    ratio = np.divide(2 * np.abs(t - f), size, out=np.zeros_like(size), where=size > 0)
    nonzero = t != 0
    mape = mean_absolute_percentage_error(t[nonzero], f[nonzero]) if nonzero.any() else np.nan
    return Errors(
        float(mean_absolute_error(t, f)),
        float(root_mean_squared_error(t, f)),
        100 * float(mape),
        100 * float(ratio.mean()),
    )


def _number(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return None if np.isnan(value) else float(value)


def _mean_over_windows(values: Array) -> Array:
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(total, known.sum(axis=0), out=mean, where=known.any(axis=0))
    return mean
