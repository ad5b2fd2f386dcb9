"""Forecasting: an estimator over series, direct multi-step, many series at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.cells import CellLike, resolve
from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.data.encoding import Encoding
from gatework.data.load import load_cube
from gatework.data.scaling import Scaler
from gatework.data.splits import VALIDATION, Split, check_long_enough, default_context, split
from gatework.data.windows import places
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.baselines import LinearModel
from gatework.tasks.estimator import Estimator
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast_model import ForecastModel, layout_of, make_network
from gatework.tasks.heads import COUNTS, check_counts, check_head, check_levels
from gatework.tasks.intervals import check_coverage
from gatework.tasks.network import FORMS
from gatework.tasks.problem import ForecastProblem
from gatework.training.loop import Watcher, fit
from gatework.training.settings import Settings

# The arguments that a checkpoint must agree in; those of the loop, the loop adds.
SHAPES_A_RUN = (
    "form", "validation", "forget_bias", "hidden_size", "num_layers", "horizon", "head", "loss",
    "relative", "dropout", "scaling", "per",
)  # fmt: skip


class Forecaster(Estimator):
    """Forecasts the next ``horizon`` steps of a series from its last ``context`` steps.

    A recurrent stack of any cell reads the context, and one of three forms leads from there to all
    steps of the horizon. One model serves all series. scikit-learn's conventions hold: arguments
    are kept as given, ``get_params`` and ``clone`` work, what is fitted ends in an underscore.

    Args:
        cell: a cell class, description, name (``"lstm"``) or ``file.py:Class``.
        hidden_size: units of each layer.
        num_layers: layers on top of each other.
        horizon: steps to forecast.
        context: steps to read; ``None``: two seasons, or three horizons where none is known,
            less where the series are short.
        target, time, id: columns of a table. Several targets are several series (wide form).
            What is left out is found where only one column can be meant.
        features, future, static: further inputs, read up to the present, known for the steps to
            forecast too, or not varying within a series. With ``future`` rows behind the end of a
            series that hold only what is known ahead are the future: the forecast begins there.
            Text is read as categories. Of arrays the inputs are called ``x1``, ``x2`` ...
        categories: inputs of numbers that are categories.
        calendar: parts of the calendar that are read, past and future: ``"minute"``, ``"hour"``,
            ``"weekday"``, ``"day"`` (of the month), ``"month"``, ``"yearday"``; ``True``: those
            that the step is fine enough and the training part long enough for.
        season: steps of the seasonal baseline; ``None``: by the distance of the time stamps
            (monthly 12, hourly 24, daily 7 ...).
        scaling: ``"standard"``, ``"robust"`` (median and quartiles), ``"log"`` (of 1 + y, then
            standard) or ``"none"``; fitted on the training part of each series only.
        per: ``"series"``: each series with an id has a scale of its own; ``"global"``: all share
            one.
        relative: read and forecast the target relative to its last value.
        dropout: between layers.
        forget_bias: initial bias of the forget gate, for cells that have one.
        form: ``"direct"``, a head gives all steps at once; ``"recursive"``, a model of the next
            step, which reads the true values in training and is fed its own to forecast (early
            stopping goes by these); ``"encoder_decoder"``, a second stack, which starts from the
            states of the first one and is fed its own forecasts in training too.
        head: what is said of each step: ``"point"``, one number; ``"quantile"``, the ``quantiles``;
            ``"normal"``, ``"student_t"`` or, for counts, ``"negative_binomial"``, a distribution.
            ``predict`` gives the median of quantiles and the mean of a distribution, taken in the
            scaled units.
        quantiles: for that head; 0.5 is amid them.
        loss: of the head ``"point"``: ``"mae"``, ``"mse"`` or ``"huber"``, in the scaled units.
        epochs, batch_size, learning_rate, weight_decay, clip, patience, seed, device: see
            ``gatework.training.settings.Settings``.
        validation: share of each series, at its end, that decides when to stop; 0: none.

    Attributes:
        model_: all that forecasts are made with (``ForecastModel``). Arguments that are set later
            change the next fit, and no forecast.
        network_, scaler_, cell_, context_, season_, horizon_: parts of it.
        history_: losses by epoch. best_epoch_: the epoch whose weights are kept.
        notes_: what was found in the data and done about it.
    """

    task = "forecast"

    def __init__(
        self,
        cell: CellLike = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        horizon: int = 12,
        context: int | None = None,
        *,
        target: str | Sequence[str] | None = None,
        time: str | None = None,
        id: str | None = None,
        features: str | Sequence[str] = (),
        future: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        categories: str | Sequence[str] = (),
        calendar: bool | str | Sequence[str] = False,
        season: int | None = None,
        scaling: str = "standard",
        per: str = "series",
        relative: bool = True,
        dropout: float = 0.0,
        forget_bias: float | None = None,
        form: str = "direct",
        head: str = "point",
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        loss: str = "mae",
        epochs: int = Settings.epochs,
        batch_size: int = Settings.batch_size,
        learning_rate: float = Settings.learning_rate,
        weight_decay: float = Settings.weight_decay,
        clip: float = Settings.clip,
        patience: int = Settings.patience,
        validation: float = VALIDATION,
        seed: int = Settings.seed,
        device: str | None = Settings.device,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.horizon = horizon
        self.context = context
        self.target = target
        self.time = time
        self.id = id
        self.features = features
        self.future = future
        self.static = static
        self.categories = categories
        self.calendar = calendar
        self.season = season
        self.scaling = scaling
        self.per = per
        self.relative = relative
        self.dropout = dropout
        self.forget_bias = forget_bias
        self.form = form
        self.head = head
        self.quantiles = quantiles
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip = clip
        self.patience = patience
        self.validation = validation
        self.seed = seed
        self.device = device

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        watcher: Watcher | None = None,
    ) -> Self:
        """Train on all of ``X`` but its validation part, which lies at the end of each series.

        Args:
            X: a path, a bundled name, a data frame, arrays, or a cube (see ``load_cube``).
            y: not used; the target is part of ``X``.
            folder: where checkpoints are written.
            resume: go on from the checkpoint in ``folder``.
            watcher: told of every batch and epoch.

        Raises:
            DataError: the data cannot be used, or no series is long enough.
            TrainingError: a loss is not finite, or a checkpoint does not fit.
        """
        self._check()
        cube = self.load_data(X)
        if self.head == COUNTS:
            check_counts(cube)
        cell, season = resolve(self.cell), self.season or cube.step.season
        cut = split(cube, self.horizon, self.validation)
        context = self.context or default_context(cut, self.horizon, season)
        scaler = Scaler.fit(cube, cut.train, self.scaling, levels=self.relative, per=self.per)
        encoding = Encoding.fit(cube, cut.train, self.calendar)
        short = check_long_enough(cube, cut, context, self.horizon)
        notes = [*cube.notes, *short, *scaler.notes(cube, cut.train), *encoding.words()]
        parameters = self.get_params(deep=False)
        model = ForecastModel(
            parameters,
            cell,
            cube.columns,
            cube.names,
            cube.step,
            season,
            context,
            scaler,
            encoding,
            make_network(cell, layout_of(encoding), parameters),
        )
        problem = self._problem(model, cube, cut)
        if self.validation and not problem.validation_size:
            notes.append(
                "The validation part holds no window with a known value; every epoch is trained "
                "and the last one is kept."
            )
        model = replace(model, linear=LinearModel.fit(problem.parts["train"], model.reader))
        progress = fit(
            problem,
            self._settings(),
            None if folder is None else Path(folder),
            resume,
            self._identity(
                cell,
                {
                    "context": context,
                    **{key: getattr(self, key) for key in SHAPES_A_RUN},
                    "quantiles": check_levels(self.quantiles, "quantiles"),
                    "inputs": encoding.to_dict(),
                },
                overview(cube),
                problem.parts["train"].scaled.cpu().numpy(),
            ),
            watcher,
        )
        model.network.eval()
        if problem.validation_size:
            model = model.calibrated(cube, problem.parts["validation"])
        # Only now, so that a fit that fails leaves an earlier one as it was.
        return self._keep(model, progress.history, progress.best_epoch, notes)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The ``horizon`` steps after the end of each series of ``X``, (N, H) in its units.

        A series without any value of the target in its last ``context`` steps has no forecast:
        its row is NaN.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        model: ForecastModel = self._fitted()
        cube = model.load(X)
        return model.forecast(cube, np.arange(len(cube.ids)), cube.lengths)

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
        model: ForecastModel = self._fitted()
        cube, levels = model.load(X), check_levels(q, "q")
        return model.quantiles(cube, np.arange(len(cube.ids)), cube.lengths, levels)

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
        model: ForecastModel = self._fitted()
        cube, share = model.load(X), check_coverage(coverage)
        return model.intervals(cube, np.arange(len(cube.ids)), cube.lengths, share)[..., ::2]

    def predict_table(self, X: Any, coverage: float | None = None) -> pa.Table:
        """``predict`` as a table with the columns id, time, step and the target's name.

        With a ``coverage`` the ends of ``predict_interval`` follow as ``low`` and ``high``. A
        target that is called like one of the others is called ``forecast`` there.
        """
        model: ForecastModel = self._fitted()
        cube = model.load(X)
        values = model.forecast(cube, np.arange(len(cube.ids)), cube.lengths)
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
        begin: NDArray[np.int64] | None = None,
        stride: int = 1,
        coverage: float = 0.9,
    ) -> Evaluation:
        """Forecasts of windows of ``X`` beside the truth and the baselines.

        Args:
            X: data as for ``fit``.
            begin: (N,) first step of each series whose forecast counts; default: the first that
                has a whole context before it.
            stride: steps between windows.
            coverage: share of the values that shall lie within the intervals, of which the
                evaluation tells the measured one.

        Raises:
            ModelError: not fitted.
            DataError: no series holds a window.
        """
        model: ForecastModel = self._fitted()
        cube = model.load(X)
        held_out = begin is not None
        begin = np.zeros_like(cube.lengths) if begin is None else begin
        rows, origins = places(cube, begin, cube.lengths, model.context, model.horizon, stride)
        if not len(rows):
            raise DataError(
                f"No window to evaluate: context {model.context} + horizon {model.horizon} steps "
                f"are more than the data holds there."
            )
        return model.evaluate(cube, rows, origins, check_coverage(coverage), held_out)

    def score(self, X: Any, y: None = None) -> float:
        """1 - MAE / MAE of the best baseline, over all windows of ``X``: at most 1."""
        return float(self.evaluate(X).skill())

    def load_data(self, X: Any) -> Cube:
        """``X`` as a cube, by the columns that are given to the estimator."""
        columns = {field.name for field in fields(Columns)} & self.get_params(deep=False).keys()
        return load_cube(X, Columns(**{name: getattr(self, name) for name in columns}))

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Self:
        model = ForecastModel.from_config(config)
        given = model.parameters.items()
        tuples = {name: tuple(value) for name, value in given if isinstance(value, list)}
        return cls._restored(model, config, **tuples)

    def _keep(
        self,
        model: ForecastModel,
        history: list[dict[str, float]],
        best_epoch: int,
        notes: list[str],
    ) -> Self:
        self.scaler_, self.cell_ = model.scaler, model.cell
        self.context_, self.season_, self.horizon_ = model.context, model.season, model.horizon
        return super()._keep(model, history, best_epoch, notes)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        model: ForecastModel = self._fitted()
        return model.arrays()

    def _take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.model_ = self.model_.with_arrays(arrays)

    def _check(self) -> None:
        check_arguments(self.get_params(deep=False))
        if self.form not in FORMS:
            raise DataError(f"There is no form {self.form!r}; choose one of {', '.join(FORMS)}.")
        if (self.form, self.head) == ("recursive", "quantile"):
            raise DataError(
                "The form 'recursive' draws futures step by step, and from quantiles nothing can "
                "be drawn. Use a head that is a distribution, or another form."
            )
        check_head(self.head, self.loss, self.quantiles, self.scaling)

    def _problem(self, model: ForecastModel, cube: Cube, cut: Split) -> ForecastProblem:
        start = np.zeros_like(cut.train)
        parts = {
            name: model.windows(cube, *places(cube, begin, end, model.context, model.horizon))
            for name, begin, end in (
                ("train", start, cut.train),
                ("validation", cut.train, cut.validation),
            )
        }
        if not len(parts["train"]):
            raise DataError(
                "No training window has both a value in its context and one in its target; too "
                "many values are missing."
            )
        return ForecastProblem(model.network, parts, model.units(cube, model.scaler), cube)
