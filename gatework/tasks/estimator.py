"""What all estimators share: settings of the loop, the saved form, being fitted or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import nn

from gatework.cells import CellLike, all_cells, name_of
from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.load import load_cube
from gatework.data.scaling import Scaler
from gatework.data.splits import VALIDATION
from gatework.data.stream import BUFFER, Stream
from gatework.equations import Spec
from gatework.equations.spec import to_dict
from gatework.errors import ModelError
from gatework.tasks import saving
from gatework.training.checkpoint import Progress
from gatework.training.drawn import Drawn
from gatework.training.loop import Problem, Watcher, fit
from gatework.training.settings import Settings

P = TypeVar("P", bound=Problem)
SCALINGS = ("standard", "none")  # where no logarithm makes sense, nor quartiles


class UnfittedError(ModelError, NotFittedError):  # type: ignore[misc]
    """An estimator is used before it was fitted; scikit-learn's error of that name too."""


class FittedModel(Protocol):
    """What fitting leaves behind; later changes of the estimator do not reach it."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments of the estimator."""

    @property
    def cell(self) -> Spec:
        """The equations."""

    @property
    def scaler(self) -> Scaler:
        """Fitted on the training part."""

    @property
    def network(self) -> nn.Module:
        """Of these equations, trained."""

    def to_config(self) -> dict[str, Any]:
        """Everything but the weights, JSON-ready."""


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(BaseEstimator):  # type: ignore[misc]
    """A task as an estimator: arguments are kept as given, what is fitted ends in an underscore.

    A task says its name and what ``_check``, ``_keep`` and ``_from_config`` do; one that fits more
    than a network, which arrays that are. Here stand the arguments that all of them have; each
    task adds its own.
    """

    task: ClassVar[str]
    scaling: str = "standard"
    dropout: float = 0.0
    forget_bias: float | None = None
    epochs: int = Settings.epochs
    batch_size: int = Settings.batch_size
    learning_rate: float = Settings.learning_rate
    weight_decay: float = Settings.weight_decay
    schedule: str = Settings.schedule
    clip: float = Settings.clip
    patience: int = Settings.patience
    validation: float = VALIDATION
    seed: int = Settings.seed
    device: str | None = Settings.device

    model_: Any = field(init=False)
    network_: Any = field(init=False)
    scaler_: Scaler = field(init=False)
    cell_: Spec = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    best_epoch_: int = field(init=False)
    notes_: list[str] = field(init=False)

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as a folder: model.safetensors and config.json, no pickle."""
        model = self._fitted()
        trained = {
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "notes": self.notes_,
        }
        config = model.to_config() | trained
        saving.save_model(folder, self.task, config, model.network, self._arrays())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The estimator that ``save`` wrote; its predictions are the same.

        Raises:
            ModelError: there is no such model, or it is damaged.
        """
        config = saving.load_config(folder, cls.task)
        try:
            model = cls._from_config(config)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder}/{saving.CONFIG} is damaged: {error!r}.") from error
        fitted = saving.load_weights(folder, model.network_)
        try:
            model._take(fitted)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{folder}/{saving.WEIGHTS} is damaged: {error!r}.") from error
        return model

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Self:
        """An estimator as it was saved, but for the weights of its network."""
        raise NotImplementedError

    @classmethod
    def _restored(cls, model: FittedModel, config: dict[str, Any], **arguments: Any) -> Self:
        """The estimator around a saved model; ``arguments`` are those that JSON has changed."""
        known: dict[str, Spec] = {name_of(c): c.spec for c in all_cells()}
        name = name_of(model.cell)
        # The saved equations count; the name stands for them only while they are the same.
        cell: CellLike = name if known.get(name) == model.cell else model.cell
        estimator = cls(**{**model.parameters, "cell": cell, **arguments})
        estimator._check()
        return estimator._keep(model, config["history"], config["best_epoch"], config["notes"])

    def open_stream(self, path: str | Path, buffer: int = BUFFER) -> Stream:
        """A Parquet file to fit on that is larger than memory, by the columns of the estimator.

        Args:
            path: the file; the rows of each id stand together.
            buffer: rows that are in memory together, at most.

        Raises:
            DataError: it cannot be read in pieces (see ``data.stream.Stream``).
        """
        return Stream.open(path, self._columns_of(path), buffer)

    def _columns_of(self, path: str | Path) -> Columns:
        """Which column of a Parquet file is what."""
        return self._columns()

    def load_data(self, X: Any) -> Cube:
        """``X`` as a cube, by the columns that are given to the estimator."""
        return load_cube(X, self._columns())

    def _columns(self) -> Columns:
        """Which column of a table is what, by the arguments that say so."""
        names = {field.name for field in fields(Columns)} & self.get_params(deep=False).keys()
        return Columns(**{name: getattr(self, name) for name in names})

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What was fitted beside the network, by name."""
        return {}

    def _take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``_arrays`` gave; a model of an earlier version may lack some.

        Raises:
            KeyError, ValueError: the arrays do not go together.
        """

    def _check(self) -> None:
        """Refuse arguments that cannot be."""
        raise NotImplementedError

    def _keep(
        self, model: Any, history: list[dict[str, float]], best_epoch: int, notes: list[str]
    ) -> Self:
        """Take over what was fitted."""
        self.model_, self.network_ = model, model.network
        self.scaler_, self.cell_ = model.scaler, model.cell
        self.history_, self.best_epoch_, self.notes_ = history, best_epoch, notes
        return self

    def _limited(self, problem: P) -> P | Drawn:
        """The problem with so many examples of an epoch as are asked for."""
        most = getattr(self, "windows_per_epoch", None)
        return problem if most is None else Drawn(problem, int(most))

    def _run(
        self,
        problem: Problem,
        identity: dict[str, Any],
        folder: str | Path | None,
        resume: bool,
        watcher: Watcher | None,
    ) -> Progress:
        """Train; the network ends with the weights of the best epoch, and is to be used."""
        settings = Settings(**{f.name: getattr(self, f.name) for f in fields(Settings)})
        place = None if folder is None else Path(folder)
        progress = fit(self._limited(problem), settings, place, resume, identity, watcher)
        problem.model.eval()
        return progress

    def _identity(
        self, cell: Spec, arguments: Mapping[str, Any], overview: str, *data: NDArray[Any]
    ) -> dict[str, Any]:
        """What a checkpoint must have been made with to fit: task, cell, arguments and data."""
        equations = json.dumps(to_dict(cell), sort_keys=True).encode()
        return {
            "task": self.task,
            "cell": f"{name_of(cell)} ({_digest(equations)})",
            **arguments,
            # Last: an error names the first difference, and arguments may change the data.
            "data": f"{overview} ({_digest(*(np.ascontiguousarray(d).tobytes() for d in data))})",
        }

    def _fitted(self) -> Any:
        if not hasattr(self, "model_"):
            name = type(self).__name__
            raise UnfittedError(f"This {name} is not fitted yet; call fit first.")
        return self.model_


def _digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:12]
