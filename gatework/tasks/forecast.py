"""Forecasting: an estimator over series, direct multi-step, many series at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from gatework.cells import CellLike, all_cells, name_of, resolve
from gatework.data.cube import Columns, Cube, load_cube
from gatework.data.scaling import Scaler
from gatework.data.splits import VALIDATION, check_long_enough, default_context, split
from gatework.data.times import Step
from gatework.data.windows import Windows, places
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import DataError, ModelError
from gatework.tasks import saving
from gatework.tasks.arguments import check_arguments
from gatework.tasks.evaluation import Evaluation, baselines
from gatework.tasks.network import ForecastNetwork
from gatework.tasks.problem import LOSSES, ForecastProblem
from gatework.training.loop import Settings, Watcher, fit

TASK = "forecast"


class UnfittedError(ModelError, NotFittedError):  # type: ignore[misc]
    """An estimator is used before it was fitted; scikit-learn's error of that name too."""


class Forecaster(BaseEstimator):  # type: ignore[misc]
    """Forecasts the next ``horizon`` steps of a series from its last ``context`` steps.

    A recurrent stack of any cell reads the context; a linear head gives all steps at once. One
    model serves all series. scikit-learn's conventions hold: arguments are kept as given,
    ``get_params`` and ``clone`` work, what is fitted ends in an underscore.

    Args:
        cell: a cell class, description, name (``"lstm"``) or ``file.py:Class``.
        hidden_size: units of each layer.
        num_layers: layers on top of each other.
        horizon: steps to forecast.
        context: steps to read; ``None``: two seasons, or three horizons where none is known,
            less where the series are short.
        target, time, id, features: columns of a table; ``features`` are further inputs, read up
            to the present. Several targets are several series (wide form). What is left out is
            found where only one column can be meant.
        season: steps of the seasonal baseline; ``None``: by the distance of the time stamps
            (monthly 12, hourly 24, daily 7 ...).
        scaling: ``"standard"``, ``"log"`` (of 1 + y, then standard) or ``"none"``; fitted on the
            training part of each series only.
        relative: read and forecast the target relative to its last value.
        dropout: between layers.
        forget_bias: initial bias of the forget gate, for cells that have one.
        loss: ``"mae"``, ``"mse"`` or ``"huber"``, in the scaled units.
        epochs, batch_size, learning_rate, weight_decay, clip, patience, seed, device: see
            ``gatework.training.loop.Settings``.
        validation: share of each series, at its end, that decides when to stop; 0: none.

    Attributes:
        network_: the trained network. scaler_: the fitted scaling. context_, season_: in steps.
        cell_: the equations of the cell, as they were when it was fitted.
        history_: losses by epoch. best_epoch_: the epoch whose weights are kept.
        notes_: what was found in the data and done about it.
    """

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
        season: int | None = None,
        scaling: str = "standard",
        relative: bool = True,
        dropout: float = 0.0,
        forget_bias: float | None = None,
        loss: str = "mae",
        epochs: int = 300,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        clip: float = 1.0,
        patience: int = 30,
        validation: float = VALIDATION,
        seed: int = 0,
        device: str | None = None,
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
        self.season = season
        self.scaling = scaling
        self.relative = relative
        self.dropout = dropout
        self.forget_bias = forget_bias
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
        self.cell_ = resolve(self.cell)
        self.step_, self.names_ = cube.step, cube.names
        self.season_ = self.season or cube.step.season
        cut = split(cube, self.horizon, self.validation)
        self.context_ = self.context or default_context(cut, self.horizon, self.season_)
        short = check_long_enough(cube, cut, self.context_, self.horizon)
        self.notes_ = [*cube.notes, *short]
        self.scaler_ = Scaler.fit(cube, cut.train, self.scaling)
        problem = self._problem(cube, cut.train, cut.validation)
        if self.validation and not problem.validation_size:
            self.notes_.append(
                "The validation part holds no window with a known value; every epoch is trained "
                "and the last one is kept."
            )
        progress = fit(
            problem,
            self._settings(),
            None if folder is None else Path(folder),
            resume,
            self._identity(problem),
            watcher,
        )
        self.network_ = problem.model.eval()
        self.history_ = progress.history
        self.best_epoch_ = progress.best_epoch
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The ``horizon`` steps after the end of each series of ``X``, (N, H) in its units.

        A series without any value of the target in its last ``context`` steps has no forecast:
        its row is NaN.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        cube = self._known(X)
        return self._forecast(cube, np.arange(len(cube.ids)), cube.lengths)

    def predict_table(self, X: Any) -> pa.Table:
        """``predict`` as a table with the columns id, time, step and the target's name.

        A target that is called like one of the others is called ``forecast`` there.
        """
        cube = self._known(X)
        values = self._forecast(cube, np.arange(len(cube.ids)), cube.lengths)
        steps = np.arange(self.horizon)
        times = np.concatenate([cube.times(i, n + steps) for i, n in enumerate(cube.lengths)])
        table = {
            "id": np.repeat(np.array(cube.ids), self.horizon),
            "time": times,
            "step": np.tile(steps + 1, len(cube.ids)),
        }
        name = "forecast" if cube.names[0] in table else cube.names[0]
        return pa.table(table | {name: pa.array(values.ravel(), from_pandas=True)})

    def evaluate(
        self, X: Any, begin: NDArray[np.int64] | None = None, stride: int = 1
    ) -> Evaluation:
        """Forecasts of windows of ``X`` beside the truth and the naive forecasts.

        Args:
            X: data as for ``fit``.
            begin: (N,) first step of each series whose forecast counts; default: the first that
                has a whole context before it.
            stride: steps between windows.

        Raises:
            ModelError: not fitted.
            DataError: no series holds a window.
        """
        cube = self._known(X)
        held_out = begin is not None
        begin = np.zeros_like(cube.lengths) if begin is None else begin
        rows, origins = places(cube, begin, cube.lengths, self.context_, self.horizon, stride)
        if not len(rows):
            raise DataError(
                f"No window to evaluate: context {self.context_} + horizon {self.horizon} steps "
                f"are more than the data holds there."
            )
        naive = baselines(cube, rows, origins, self.horizon, self.season_)
        future = origins[:, None] + np.arange(self.horizon)
        model = name_of(self.cell_)
        return Evaluation(
            model,
            {model: self._forecast(cube, rows, origins), **naive},
            cube.values[rows[:, None], future, 0],
            rows,
            origins,
            self.season_,
            held_out,
        )

    def score(self, X: Any, y: None = None) -> float:
        """1 - MAE / MAE of the better naive forecast, over all windows of ``X``: at most 1."""
        return float(self.evaluate(X).skill())

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as a folder: model.safetensors and config.json, no pickle."""
        self._fitted()
        parameters = self.get_params(deep=False) | {"cell": None}
        config = {
            "parameters": parameters,
            "cell": to_dict(self.cell_),
            "context": self.context_,
            "season": self.season_,
            "step": vars(self.step_),
            "names": self.names_,
            "scaler": self.scaler_.to_dict(),
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "notes": self.notes_,
        }
        saving.save_model(folder, TASK, config, self.network_)

    @classmethod
    def load(cls, folder: str | Path) -> Forecaster:
        """The forecaster that ``save`` wrote; its predictions are the same.

        Raises:
            ModelError: there is no such model, or it is damaged.
        """
        config = saving.load_config(folder, TASK)
        try:
            model = cls._from_config(config)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder}/{saving.CONFIG} is damaged: {error!r}.") from error
        saving.load_weights(folder, model.network_)
        return model

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Forecaster:
        """A forecaster as it was saved, but for the weights of its network."""
        cell = from_dict(config["cell"])
        known = {name_of(c): c.spec for c in all_cells()}
        name = name_of(cell)
        # The saved equations count; the name stands for them only while they are the same.
        given: CellLike = name if known.get(name) == cell else cell
        features = tuple(config["parameters"]["features"])
        model = cls(**(config["parameters"] | {"cell": given, "features": features}))
        model._check()
        check_arguments({key: int(config[key]) for key in ("context", "season")})
        model.cell_, model.context_, model.season_ = cell, config["context"], config["season"]
        model.step_, model.names_ = Step(**config["step"]), tuple(config["names"])
        model.scaler_ = Scaler.from_dict(config["scaler"])
        model.history_, model.best_epoch_ = config["history"], config["best_epoch"]
        model.notes_ = config["notes"]
        model.network_ = model._network(len(model.names_)).eval()
        return model

    def load_data(self, X: Any) -> Cube:
        """``X`` as a cube, by the columns that were given to the estimator."""
        return load_cube(X, Columns(self.target, self.time, self.id, self.features))

    def windows(self, cube: Cube, rows: NDArray[np.int64], origins: NDArray[np.int64]) -> Windows:
        """Windows of a cube in the units of the fitted model."""
        scaled = torch.from_numpy(self._scaler(cube, rows, origins).scaled(cube))
        return Windows(scaled, rows, origins, self.context_, self.horizon)

    def _scaler(self, cube: Cube, rows: NDArray[np.int64], origins: NDArray[np.int64]) -> Scaler:
        """The fitted scaling, and that of new series by what lies before their first forecast."""
        ends = cube.lengths.copy()
        np.minimum.at(ends, rows, origins)
        return self.scaler_.extended(cube, ends)

    def _check(self) -> None:
        check_arguments(self.get_params(deep=False))
        if self.loss not in LOSSES:
            raise DataError(f"There is no loss {self.loss!r}; choose one of {', '.join(LOSSES)}.")

    def _settings(self) -> Settings:
        return Settings(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            self.clip,
            self.patience,
            self.seed,
            self.device,
        )

    def _network(self, features: int) -> ForecastNetwork:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return ForecastNetwork(
                self.cell_,
                features,
                int(self.hidden_size),
                int(self.num_layers),
                int(self.horizon),
                self.dropout,
                self.forget_bias,
                self.relative,
            )

    def _problem(
        self, cube: Cube, train: NDArray[np.int64], end: NDArray[np.int64]
    ) -> ForecastProblem:
        start = np.zeros_like(train)
        parts = {
            "train": self.windows(cube, *places(cube, start, train, self.context_, self.horizon)),
            "validation": self.windows(
                cube, *places(cube, train, end, self.context_, self.horizon)
            ),
        }
        if not len(parts["train"]):
            raise DataError(
                "No training window has both a value in its context and one in its target; too "
                "many values are missing."
            )
        return ForecastProblem(self._network(len(cube.names)), parts, self.loss, cube)

    def _identity(self, problem: ForecastProblem) -> dict[str, Any]:
        """What a checkpoint must have been made with to fit."""
        data = problem.parts["train"].scaled.cpu().numpy().tobytes()
        equations = json.dumps(to_dict(self.cell_), sort_keys=True).encode()
        keys = ("hidden_size", "num_layers", "horizon", "loss", "relative", "dropout", "scaling")
        return {
            "task": TASK,
            "cell": f"{name_of(self.cell_)} ({hashlib.sha256(equations).hexdigest()[:12]})",
            "context": self.context_,
            "validation": self.validation,
            "forget_bias": self.forget_bias,
            **{key: getattr(self, key) for key in keys},
            # Last: an error names the first difference, and scaling and horizon change the data.
            "data": hashlib.sha256(data).hexdigest()[:12],
        }

    def _fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise UnfittedError("This Forecaster is not fitted yet; call fit(X) first.")

    def _known(self, X: Any) -> Cube:
        self._fitted()
        cube = self.load_data(X)
        if len(cube.names) != len(self.names_):
            raise DataError(
                f"The model was fitted on {len(self.names_)} features {list(self.names_)}, the "
                f"data has {len(cube.names)}: {list(cube.names)}."
            )
        regular = {"rows"}.isdisjoint((cube.step.kind, self.step_.kind))
        if regular and (cube.lengths > 1).any() and cube.step != self.step_:
            raise DataError(
                f"The model was fitted on steps of {self.step_.words()}, the data has steps of "
                f"{cube.step.words()}."
            )
        return cube

    def _forecast(
        self, cube: Cube, rows: NDArray[np.int64], origins: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        windows = self.windows(cube, rows, origins)
        device = next(self.network_.parameters()).device
        parts = []
        with torch.no_grad():
            for index in torch.split(torch.arange(len(rows)), 1024):
                batch = windows.batch(index)
                forecast = self.network_(batch.context.to(device), batch.seen.to(device))
                blind = ~batch.seen[..., 0].any(dim=1, keepdim=True)
                parts.append(forecast.cpu().masked_fill(blind, torch.nan).numpy())
        scaler = self._scaler(cube, rows, origins)
        return scaler.unscaled(cube, rows, np.concatenate(parts))
