"""What a fitted forecaster gives: forecasts, quantiles, intervals, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data.cube import Cube, pieces_of
from gatework.data.table import together
from gatework.data.windows import places
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.estimator import Estimator
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast_model import ForecastModel, Places
from gatework.tasks.heads import check_levels
from gatework.tasks.intervals import check_coverage


class Predictions(Estimator):
    """The part of a forecaster that needs no more than what was fitted."""

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The ``horizon`` steps after the end of each series of ``X``, (N, H) in its units.

        ``X`` is data as for ``fit``; a stream is read piece by piece.

        A series without any value of the target in its last ``context`` steps has no forecast:
        its row is NaN.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        return self._after_each(X, lambda model, *where: model.forecast(*where))

    def predict_quantiles(
        self, X: Any, q: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> NDArray[np.float64]:
        """Quantiles of the ``horizon`` steps after the end of each series, (N, H, Q).

        Args:
            X: data as for ``predict``.
            q: the Q levels, between 0 and 1.

        Raises:
            ModelError: not fitted.
            DataError: the head does not know such quantiles.

        With the form ``"recursive"`` they are those of futures that are drawn with the seed.
        """
        levels = check_levels(q, "q")
        return self._after_each(X, lambda model, *where: model.quantiles(*where, levels))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """The low and the high end of an interval for each step that ``predict`` forecasts.

        They are conformal: as wide as the errors of the validation windows say, each step by
        itself, in proportion to how uncertain the head is. ``evaluate`` measures their coverage.

        Returns:
            (N, H, 2) in the units of ``X``.

        Raises:
            ModelError: not fitted.
            DataError: there was no validation part, or it was too small for this coverage.
        """
        share = check_coverage(coverage)
        found = self._after_each(X, lambda model, *where: model.intervals(*where, share))
        return found[..., ::2]

    def _after_each(
        self, X: Any, say: Callable[[ForecastModel, Cube, Places, Places], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """What is said of the steps after the end of each series, of all pieces if there are some.

        Args:
            X: data, or a stream.
            say: given the model, a cube, its rows, and where each of them ends.
        """
        model: ForecastModel = self._fitted()
        cubes = (model.load(part) for part in pieces_of(X))
        return np.concatenate([say(model, c, np.arange(len(c.ids)), c.lengths) for c in cubes])

    def predict_table(self, X: Any, coverage: float | None = None) -> pa.Table:
        """``predict`` as a table with the columns id, time, step and the target's name.

        With a ``coverage`` the ends of ``predict_interval`` follow as ``low`` and ``high``. A
        target that is called like one of the others is called ``forecast`` there.
        """
        return together(list(self.predict_tables(X, coverage)))

    def predict_tables(self, X: Any, coverage: float | None = None) -> Iterator[pa.Table]:
        """``predict_table`` of each piece of a stream, one after the other; else of the data."""
        model: ForecastModel = self._fitted()
        return (self._table(model, model.load(part), coverage) for part in pieces_of(X))

    def _table(self, model: ForecastModel, cube: Cube, coverage: float | None) -> pa.Table:
        values = self.predict(cube)
        steps = np.arange(model.horizon)
        table = {
            "id": np.repeat(np.array(cube.ids), model.horizon),
            "time": cube.times_after(model.horizon),
            "step": np.tile(steps + 1, len(cube.ids)),
        }
        ends = {}
        if coverage is not None:
            low, high = np.moveaxis(self.predict_interval(cube, coverage), -1, 0)
            ends = {"low": low, "high": high}
        name = "forecast" if cube.names[0] in table | ends else cube.names[0]
        for key, found in ({name: values} | ends).items():
            table[key] = pa.array(found.ravel(), from_pandas=True)
        return pa.table(table)

    def predict_baselines(self, X: Any) -> dict[str, NDArray[np.float64]]:
        """What the baselines say of the steps that ``predict`` forecasts: name -> (N, H).

        They are the naive, the seasonal naive and the drift forecast and the linear model (a
        ridge regression on the same training windows), which ``evaluate`` holds the model against.
        """
        model: ForecastModel = self._fitted()
        cube = model.load(X)
        return model.baselines(cube, np.arange(len(cube.ids)), cube.lengths)

    def evaluate(
        self,
        X: Any,
        begin: Sequence[int] | NDArray[np.int64] | None = None,
        stride: int = 1,
        coverage: float = 0.9,
    ) -> Evaluation:
        """Forecasts of windows of ``X`` beside the truth and the baselines.

        Args:
            X: data as for ``fit``.
            begin: (N,) first step of each series whose forecast counts, a whole number; default:
                the first that has a whole context before it.
            stride: steps between windows.
            coverage: share of the values that shall lie within the intervals, of which the
                evaluation tells the measured one.

        Raises:
            ModelError: not fitted.
            DataError: no series holds a window, or ``begin`` is not of these series.
        """
        model: ForecastModel = self._fitted()
        check_arguments({"stride": stride})
        cube = model.load(X)
        held_out = begin is not None
        begin = np.zeros_like(cube.lengths) if begin is None else np.asarray(begin)
        if begin.shape != cube.lengths.shape or begin.dtype.kind not in "iu":
            raise DataError(
                f"begin is one whole number for each of {len(cube.ids)} series, (N,), got "
                f"{begin.dtype} {begin.shape}."
            )
        size, blind = (model.context, model.horizon, stride), not model.layout.reads_target
        rows, origins = places(cube, begin, cube.lengths, *size, blind)
        if not len(rows):
            raise DataError(
                f"No window to evaluate: context {model.context} + horizon {model.horizon} steps "
                f"are more than the data holds there."
            )
        return model.evaluate(cube, rows, origins, check_coverage(coverage), held_out)

    def score(self, X: Any, y: None = None) -> float:
        """1 - MAE / MAE of the best baseline, over all windows of ``X``: at most 1."""
        return float(self.evaluate(X).skill())
