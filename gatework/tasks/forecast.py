"""Forecasting: an estimator over series, many of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatework.cells import CellLike
from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.data.encoding import Encoding
from gatework.data.scaling import LEAST, Scaler
from gatework.data.splits import Split, check_long_enough, default_context, split
from gatework.data.stream import Stream
from gatework.data.words import some
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of, check_arguments
from gatework.tasks.backtest import backtest
from gatework.tasks.baselines import LinearModel
from gatework.tasks.diagnosis import diagnose
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast_model import ForecastModel, new_model
from gatework.tasks.forecast_stream import streamed
from gatework.tasks.heads import COUNTS, check_counts, check_head, check_levels
from gatework.tasks.network import check_form
from gatework.tasks.predictions import Predictions
from gatework.tasks.problem import (
    NO_VALIDATION,
    Contexts,
    ForecastProblem,
    problem_of,
    validation_loss,
)
from gatework.tasks.streaming import Streamed
from gatework.training.drawn import Drawn
from gatework.training.loop import Watcher

# The arguments that a checkpoint must agree in; those of the loop, the loop adds.
SHAPES_A_RUN = (
    "form", "validation", "forget_bias", "hidden_size", "num_layers", "horizon", "head", "loss",
    "relative", "reads_target", "dropout", "scaling", "per", "windows_per_epoch",
)  # fmt: skip


@dataclass(eq=False, repr=False)
class Forecaster(Predictions):
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
        reads_target: read the past of the target; else its forecast follows from the other inputs
            alone (runoff from rain, say), relative to nothing, and the form is ``"direct"``.
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
        epochs, batch_size, learning_rate, weight_decay, schedule, clip, patience, seed, device:
            see ``gatework.training.settings.Settings``.
        windows_per_epoch: windows that an epoch trains on, drawn anew for each by the seed, and at
            most so many that it is validated on, evenly spread; ``None``: all.
        validation: share of each series, at its end, that decides when to stop; 0: none.

    Attributes:
        model_: all that forecasts are made with (``ForecastModel``). Arguments that are set later
            change the next fit, and no forecast.
        network_, scaler_, cell_, context_, season_, horizon_: parts of it.
        history_: losses by epoch. best_epoch_: the epoch whose weights are kept.
        notes_: what was found in the data and done about it.
    """

    task = "forecast"

    cell: CellLike = "lstm"
    hidden_size: int = 32
    num_layers: int = 1
    horizon: int = 12
    context: int | None = None
    _: KW_ONLY
    target: str | Sequence[str] | None = None
    time: str | None = None
    id: str | None = None
    features: str | Sequence[str] = ()
    future: str | Sequence[str] = ()
    static: str | Sequence[str] = ()
    categories: str | Sequence[str] = ()
    calendar: bool | str | Sequence[str] = False
    season: int | None = None
    per: str = "series"
    relative: bool = True
    reads_target: bool = True
    form: str = "direct"
    head: str = "point"
    quantiles: Sequence[float] = (0.1, 0.5, 0.9)
    loss: str = "mae"
    windows_per_epoch: int | None = None

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        watcher: Watcher | None = None,
        contexts: Contexts = None,
    ) -> Self:
        """Train on all of ``X`` but its validation part, which lies at the end of each series.

        Args:
            X: a path, a bundled name, a data frame, arrays, or a cube (see ``load_cube``); or
                what ``open_stream`` gives, of a file that is larger than memory.
            y: not used; the target is part of ``X``.
            folder: where checkpoints are written.
            resume: go on from the checkpoint in ``folder``.
            watcher: told of every batch and epoch.
            contexts: the shortest and the longest context of models that are compared: they are
                validated on the windows that all of them have (not of a stream).

        Raises:
            DataError: the data cannot be used, or no series is long enough.
            TrainingError: a loss is not finite, or a checkpoint does not fit.
        """
        self._check()
        if isinstance(X, Stream):
            found = streamed(X, cell_of(self.cell), self.get_params(deep=False))
            first, marks = found.survey.first, found.survey.marks
            identity = self._run_identity(found.model, first, *marks, rows=X.cuts)
            run = (identity, folder, resume, watcher)
            return self._train(found.model, found.problem, found.notes, *run)
        cube = self.load_data(X)
        cell, season = cell_of(self.cell), self.season or cube.step.season
        cut = split(cube, self.horizon, self.validation)
        context = self.context or default_context(cut, self.horizon, season)
        levels = self.relative and self.reads_target
        scaler = Scaler.fit(cube, cut.train, self.scaling, levels, self.per)
        # A series without a training window teaches the embeddings nothing.
        trained = np.where(cut.train >= context + self.horizon, cut.train, 0)
        encoding = Encoding.fit(cube, trained, self.calendar)
        short = check_long_enough(cube, cut, context, self.horizon)
        notes = [*cube.notes, *short, *scaler.notes(cube, cut.train), *encoding.words()]
        given = self.get_params(deep=False)
        model = new_model(given, cell, cube, season, context, scaler, encoding)
        problem = self._problem(model, cube, cut, contexts)
        identity = self._run_identity(model, cube, problem.scaled())
        return self._train(model, problem, notes, identity, folder, resume, watcher)

    def continue_fit(self, X: Any, y: None = None, *, watcher: Watcher | None = None) -> Self:
        """Train on with new data: the same network, context, columns and scaling.

        Series whose ids were not met before are scaled by their own training part. ``epochs``,
        ``learning_rate`` and the other settings of training may have been set anew. Where no epoch
        is better on the new validation part than the model was, its weights are kept. The linear
        baseline and the intervals are fitted on the new data. ``notes_`` tell what was done, and
        ``history_`` goes on.

        Args:
            X: the new data, or the old with the new behind it; read as that of ``fit`` was.
            y: not used.
            watcher: told of every batch and epoch.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features or steps.
            TrainingError: a loss is not finite; the model stays as it was.
        """
        model: ForecastModel = self._fitted()
        self._check()
        cube = model.load(X)
        cut = split(cube, model.horizon, self.validation)
        scaler = model.scaler.extended(cube, cut.train, LEAST)
        new = [name for name in cube.ids if name in scaler.center.keys() - model.scaler.center]
        short = check_long_enough(cube, cut, model.context, model.horizon)
        model = replace(model, scaler=scaler, network=deepcopy(model.network))
        notes = [
            f"Trained on with {len(cube.ids)} series{_listed_new(new)}; columns, scaling and "
            f"context of {model.context} steps as they were.",
            *cube.notes,
            *short,
        ]
        problem = self._problem(model, cube, cut)
        identity = self._run_identity(model, cube, problem.scaled())
        return self._train(model, problem, notes, identity, watcher=watcher, earlier=self.history_)

    def _train(
        self,
        model: ForecastModel,
        problem: ForecastProblem | Streamed[ForecastProblem],
        notes: list[str],
        identity: dict[str, Any],
        folder: str | Path | None = None,
        resume: bool = False,
        watcher: Watcher | None = None,
        earlier: Sequence[dict[str, float]] = (),
    ) -> Self:
        """Train a model's network, and keep it with what is fitted beside it."""
        if self.validation and not problem.validation_size:
            notes.append(NO_VALIDATION)
        if part := problem.sample("train"):
            model = replace(model, linear=LinearModel.fit(part.parts["train"], model.reader))
        if model.linear is None:
            notes.append("No training window is known in all its steps: no linear baseline.")
        else:
            notes += model.reader.words(model.context, model.horizon)
        before = deepcopy(model.network.state_dict())
        limited = self._limited(problem)
        notes += limited.words() if isinstance(limited, Drawn) else []
        loss = validation_loss(limited) if earlier else np.inf
        progress = self._run(problem, identity, folder, resume, watcher)
        best, done = progress.best_epoch, len(earlier)
        if np.isfinite(loss):
            better = progress.best_loss < loss
            found = f"{progress.best_loss:.4g} against {loss:.4g} before"
            notes.append(f"The validation loss on the new data is {found}.")
            if not better:
                model.network.load_state_dict(before)
                notes[-1] = f"No epoch made it better on the new data ({found}); it is as it was."
                best = 0
        if part := problem.sample("validation"):
            model = model.calibrated(part.cube, part.parts["validation"])
            units = model.units(part.cube, model.scaler)
            notes += diagnose(model.network, part.parts["validation"], units)
        history = [r | {"epoch": int(r["epoch"]) + done} for r in progress.history]
        # Only now, so that a fit that fails leaves an earlier one as it was.
        return self._keep(
            model, [*earlier, *history], done + best if best else self.best_epoch_, notes
        )

    def backtest(
        self,
        X: Any,
        folds: int = 5,
        stride: int | None = None,
        refit: bool = True,
        coverage: float = 0.9,
    ) -> Evaluation:
        """Forecasts from several places before the end of each series, beside the truth.

        This forecaster stays as it is: others of the same arguments are fitted, each on what lies
        before the place it forecasts from.

        Args:
            X: data as for ``fit``.
            folds: places, the last of them ``horizon`` steps before the end.
            stride: steps between them; ``None``: ``horizon``.
            refit: fit anew at each place, or only at the first one.
            coverage: as of ``evaluate``.

        Raises:
            DataError: the data cannot be used, or is too short for so many places.
        """
        self._check()
        return backtest(self, self.load_data(X), folds, stride, refit, coverage)

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
        self.context_, self.season_, self.horizon_ = model.context, model.season, model.horizon
        return super()._keep(model, history, best_epoch, notes)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        model: ForecastModel = self._fitted()
        return model.arrays()

    def _take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.model_ = self.model_.with_arrays(arrays)

    def _check(self) -> None:
        check_arguments(self.get_params(deep=False))
        check_form(self.form, self.head, self.reads_target)
        check_head(self.head, self.loss, self.quantiles, self.scaling)

    def _run_identity(
        self, model: ForecastModel, cube: Cube, *data: NDArray[Any], **more: Any
    ) -> dict[str, Any]:
        """What a checkpoint of this run must agree in, beside the settings."""
        arguments = {
            "context": model.context,
            **{key: getattr(self, key) for key in SHAPES_A_RUN},
            "quantiles": check_levels(self.quantiles, "quantiles"),
            "inputs": model.encoding.to_dict(),
            **more,
        }
        return self._identity(model.cell, arguments, overview(cube), *data)

    def _problem(
        self, model: ForecastModel, cube: Cube, cut: Split, contexts: Contexts = None
    ) -> ForecastProblem:
        if model.parameters["head"] == COUNTS:
            check_counts(cube)
        problem = problem_of(model, cube, cut, contexts)
        if not problem.train_size:
            raise DataError(
                "No training window has both a value in its context and one in its target; too "
                "many values are missing."
            )
        return problem


def _listed_new(names: list[str]) -> str:
    if not names:
        return ""
    return f", {len(names)} of them new ({some(names)})"
