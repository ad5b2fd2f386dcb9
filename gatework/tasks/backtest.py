"""Backtests: a forecaster fitted and scored at several places of the past."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from gatework.data.cube import Cube
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.intervals import check_coverage


def backtest(
    forecaster: Any, cube: Cube, folds: int, stride: int | None, refit: bool, coverage: float
) -> Evaluation:
    """The forecasts of ``Forecaster.backtest``, those of all places together.

    Raises:
        DataError: the arguments cannot be, or the series are too short.
    """
    horizon = forecaster.horizon
    stride = horizon if stride is None else stride
    check_arguments({"folds": folds, "stride": stride})
    check_coverage(coverage)
    found, fitted = [], None
    for fold in reversed(range(folds)):
        begin = cube.lengths - horizon - fold * stride
        if not (begin > 0).any():
            raise DataError(
                f"{folds} folds of {horizon} steps, {stride} apart, reach back "
                f"{horizon + fold * stride} steps, and the longest series has "
                f"{cube.lengths.max()}. Use fewer folds or a shorter stride."
            )
        lasting = np.flatnonzero(begin > 0)
        begin, known = begin[lasting], cube.at(lasting.tolist())
        if refit or fitted is None:
            fitted = clone(forecaster).fit(known.until(begin))
        # Nothing behind the forecast is there, so one window of each series is left.
        evaluation = fitted.evaluate(known.until(begin + horizon), begin, coverage=coverage)
        found.append((evaluation, lasting))
    return _together(found)


def _together(found: list[tuple[Evaluation, NDArray[np.int64]]]) -> Evaluation:
    """Evaluations of some series each, by their places, as one."""
    parts = [evaluation for evaluation, _ in found]
    first = parts[0]
    # Where a fold has no linear model, none is shown.
    names = [n for n in first.forecasts if all(n in e.forecasts for e in parts)]
    intervals = [e.interval for e in parts if e.interval is not None]
    whole = len(intervals) == len(parts)
    return Evaluation(
        first.model,
        {name: np.concatenate([e.forecasts[name] for e in parts]) for name in names},
        np.concatenate([e.truth for e in parts]),
        np.concatenate([places[e.rows] for e, places in found]),
        np.concatenate([e.origins for e in parts]),
        first.season,
        True,
        np.concatenate(intervals) if whole else None,
        first.coverage,
        next((e.without for e in parts if e.interval is None), ""),
    )
