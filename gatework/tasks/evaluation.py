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

Array = NDArray[np.float64]


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
    """

    model: str
    forecasts: dict[str, Array]
    truth: Array
    rows: NDArray[np.int64]
    origins: NDArray[np.int64]
    season: int
    held_out: bool = True

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
