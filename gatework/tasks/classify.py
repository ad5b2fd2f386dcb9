"""Classification: an estimator over labelled sequences, ragged and multivariate ones too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from gatework.cells import CellLike, name_of
from gatework.data.cases import Labelled
from gatework.data.labelled import load_labelled
from gatework.data.scaling import Scaler
from gatework.data.words import check_choice, counted
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of, check_arguments
from gatework.tasks.classification import Classification
from gatework.tasks.classify_model import ClassifyModel, check_readable, make_network
from gatework.tasks.classify_network import ClassifyNetwork
from gatework.tasks.classify_problem import ClassifyProblem, stratified
from gatework.tasks.estimator import SCALINGS, Estimator
from gatework.training.loop import Watcher
from gatework.training.settings import CASES_A_STEP

# The arguments that a checkpoint must agree in; those of the loop, the loop adds.
SHAPES_A_RUN = (
    "hidden_size", "num_layers", "bidirectional", "pool", "convolution", "shuffle", "class_weight",
    "scaling", "dropout", "forget_bias", "validation",
)  # fmt: skip


@dataclass(eq=False, repr=False)
class Classifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Tells the class of a sequence.

    A recurrent stack of any cell reads the sequence, a pool makes one vector of its outputs, and
    a linear head gives a score for each class. By default there are convolutions too, beside the
    stack (LSTM-FCN, Karim et al. 2017); they may stand before it (CNN + LSTM), or be left out.
    Sequences may have different lengths, several features and missing values (NaN), which the
    network sees as a mask; images (N, height, width) are read row by row. scikit-learn's
    conventions hold: arguments are kept as given, ``get_params`` and ``clone`` work, what is
    fitted ends in an underscore; but X may have three axes, where many of its helpers want two.

    Args:
        cell: a cell class, description, name (``"lstm"``) or ``file.py:Class``.
        hidden_size: units of each layer and direction.
        num_layers: layers on top of each other.
        bidirectional: read each sequence in both directions.
        pool: ``"last"``, ``"mean"``, ``"max"`` or ``"attention"``, see ``gatework.Pool``.
        convolution: where three blocks of convolution stand: ``"beside"`` the stack, ``"before"``
            it, or ``"none"``, nowhere: less to compute, and with few sequences less is learnt.
        shuffle: the stack reads F steps of T values ("dimension shuffle", as in the paper of
            LSTM-FCN), so no sequence may be longer than those of the training data.
        class_weight: what a case of each class counts in training: ``None``, all the same;
            ``"balanced"``, each class the same; or a dict of numbers by class.
        scaling: ``"standard"`` (each feature by its mean and deviation over the training part) or
            ``"none"``.
        dropout: behind every recurrent layer.
        forget_bias: initial bias of the forget gate, for cells that have one.
        epochs, batch_size, learning_rate, weight_decay, schedule, clip, patience, seed, device:
            see ``gatework.training.settings.Settings``.
        validation: share of the cases of each class that decides when to stop; 0: none, and all
            epochs are trained.

    Attributes:
        classes_: (C,) the classes, sorted.
        model_: all that classes are told with (``ClassifyModel``). Arguments that are set later
            change the next fit, and no prediction.
        network_, scaler_, cell_: parts of it.
        history_: losses by epoch. best_epoch_: the epoch whose weights are kept.
        notes_: what was found in the data and done about it.
    """

    task = "classify"
    network_: ClassifyNetwork = field(init=False)

    cell: CellLike = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    _: KW_ONLY
    bidirectional: bool = False
    pool: str = "last"
    convolution: str = "beside"
    shuffle: bool = False
    class_weight: str | Mapping[Any, float] | None = None
    batch_size: int = CASES_A_STEP

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        watcher: Watcher | None = None,
    ) -> Self:
        """Train on all of ``X`` but its validation part, which is drawn class by class.

        Args:
            X: an array (N, T, F) or (N, T), a list of arrays (T, F) of different lengths, or the
                path of a file with classes (see ``data.labelled.load_labelled``).
            y: (N,) the class of each sequence; needed unless ``X`` brings them.
            folder: where checkpoints are written.
            resume: go on from the checkpoint in ``folder``.
            watcher: told of every batch and epoch.

        Raises:
            DataError: the data cannot be used, or holds one class only.
            TrainingError: a loss is not finite, or a checkpoint does not fit.
        """
        self._check()
        data = load_labelled(X, y)
        labels = checked(data.labels)
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"A classifier needs sequences of two classes or more; all are of one class, "
                f"{str(classes[0])!r}."
            )
        train, validation = stratified(targets, self.validation, self.seed)
        lengths = data.cube.lengths.copy()
        lengths[validation] = 0  # the scaling sees the training part alone
        scaler = Scaler.fit(data.cube, lengths, self.scaling, levels=False)
        cell, features = cell_of(self.cell), len(data.cube.names)
        parameters, steps = self.get_params(deep=False), int(data.cube.lengths.max())
        network = make_network(cell, features, steps, len(classes), parameters)
        counts = np.bincount(targets)
        model = ClassifyModel(parameters, cell, classes, counts, features, steps, scaler, network)
        cases = model.cases(data)
        problem = ClassifyProblem(
            network,
            cases,
            {"train": torch.from_numpy(train), "validation": torch.from_numpy(validation)},
            torch.from_numpy(targets),
            torch.from_numpy(self._weights(classes, labels[train])).float(),
            [repr(str(name)) for name in classes],
        )
        notes = [*data.cube.notes, *self._notes(classes, targets, validation)]
        shape = {key: str(getattr(self, key)) for key in SHAPES_A_RUN}
        identity = self._identity(cell, shape, overview(data), cases.inputs.numpy(), targets)
        progress = self._run(problem, identity, folder, resume, watcher)
        # Only now, so that a fit that fails leaves an earlier one as it was.
        return self._keep(model, progress.history, progress.best_epoch, notes)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class of ``classes_``, (N, C).

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        model: ClassifyModel = self._fitted()
        return model.probabilities(model.load(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each sequence, (N,).

        Raises:
            ModelError: not fitted.
            DataError: as ``predict_proba``.
        """
        model: ClassifyModel = self._fitted()
        told: NDArray[Any] = model.classes[self.predict_proba(X).argmax(axis=1)]
        return told

    def evaluate(self, X: Any, y: Any = None) -> Classification:
        """Told classes beside the true ones.

        Args:
            X: data as for ``fit``.
            y: (N,) the true classes; needed unless ``X`` brings them.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used.
        """
        model: ClassifyModel = self._fitted()
        data = load_labelled(X, y)
        truth = self._comparable(data.labels)
        probabilities = model.probabilities(model.load(data))
        told = model.classes[probabilities.argmax(axis=1)]
        return Classification(
            name_of(model.cell), truth, told, probabilities, model.classes, model.usual
        )

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The share of sequences whose class is told rightly."""
        data = load_labelled(X, y)
        return float(super().score(data, self._comparable(data.labels), sample_weight))

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn: X may have three axes and missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        return tags

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Self:
        model = ClassifyModel.from_config(config)
        return cls._restored(model, config, class_weight=model.parameters["class_weight"])

    def _keep(
        self,
        model: ClassifyModel,
        history: list[dict[str, float]],
        best_epoch: int,
        notes: list[str],
    ) -> Self:
        self.classes_ = model.classes
        return super()._keep(model, history, best_epoch, notes)

    def _check(self) -> None:
        check_arguments(self.get_params(deep=False))
        if self.shuffle and self.convolution == "before":
            raise DataError(
                "With shuffle the stack reads features as steps, and convolution='before' has it "
                "read convolved steps; choose one, or convolution='beside'."
            )
        check_choice("scaling", self.scaling, SCALINGS)
        given = self.class_weight
        if given is not None and given != "balanced" and not isinstance(given, Mapping):
            raise DataError(
                f"class_weight is None, 'balanced' or a dict of numbers by class, got {given!r}."
            )

    def _comparable(self, labels: NDArray[Any] | None) -> NDArray[Any]:
        """True classes of the kind of those that the model knows: numbers, or text."""
        found, classes = checked(labels), self._fitted().classes
        if (found.dtype.kind in "biuf") != (classes.dtype.kind in "biuf"):
            raise DataError(
                f"y holds {found[0]!r}, the model was fitted on {classes[0]!r}: one is text and "
                f"the other a number. Files give text; use y.astype(str) in both places."
            )
        return found

    def _weights(self, classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """What a case of each class counts, (C,), so that the mean over the cases is 1."""
        try:
            weights = compute_class_weight(self.class_weight, classes=classes, y=labels)
        except ValueError as error:
            raise DataError(f"class_weight: {error}") from error
        counts = (labels[:, None] == classes).sum(axis=0)
        if not np.isfinite(weights).all() or (weights < 0).any() or not (weights @ counts) > 0:
            raise DataError(f"class_weight holds numbers from 0 on, not all 0; got {weights}.")
        found: NDArray[np.float64] = weights * len(labels) / (weights @ counts)
        return found

    def _notes(
        self, classes: NDArray[Any], targets: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> list[str]:
        if not self.validation:
            return []
        if not len(validation):
            return [
                "No class has enough sequences to spare one for validation; every epoch is "
                "trained and the last one is kept."
            ]
        absent = np.setdiff1d(np.arange(len(classes)), targets[validation])
        if not len(absent):
            return []
        listed = ", ".join(str(name) for name in classes[absent][:5])
        return [
            f"{len(absent)} of {len(classes)} classes have too few sequences to stand in the "
            f"validation part: {listed}{' ...' if len(absent) > 5 else ''}."
        ]


def check_scored(scored: Labelled, training: Labelled, shuffle: bool) -> None:
    """Refuse sequences to score on that a model of the training data could not be scored on.

    Raises:
        DataError: they have no classes, other features, or (with ``shuffle``) more steps.
    """
    if scored.labels is None:
        raise DataError(f"{scored.name} has no classes to score against; name a file that has.")
    longest = int(training.cube.lengths.max())
    check_readable(scored, len(training.cube.names), longest if shuffle else None)


def overview(data: Labelled) -> str:
    """What the sequences are, in one sentence: how many, how long, of how many classes."""
    steps, features = _between(data.cube.lengths, "step"), counted(len(data.cube.names), "feature")
    text = f"{counted(len(data), 'sequence')} of {steps} and {features}"
    if data.labels is None:
        return f"{text}, without classes."
    names, counts = np.unique(data.labels, return_counts=True)
    kinds = "1 class" if len(names) == 1 else f"{len(names)} classes"
    return f"{text}; {kinds} of {_between(counts, 'sequence')}."


def _between(counts: NDArray[np.int64], what: str) -> str:
    """The smallest and the largest of some numbers, with their noun."""
    low, high = int(counts.min()), int(counts.max())
    return counted(low, what) if low == high else f"{low} to {high} {what}s"


def checked(labels: NDArray[Any] | None) -> NDArray[Any]:
    """Classes that can be learnt and compared, (N,).

    Raises:
        DataError: there are none, or they are numbers to regress on.
    """
    if labels is None:
        raise DataError(
            "The Classifier requires y to be passed, but the target y is None: give the class of "
            "each sequence, or data that holds them."
        )
    try:
        found: NDArray[Any] = column_or_1d(labels, warn=True)
        assert_all_finite(found, input_name="y")
        check_classification_targets(found)
        np.unique(found)
    except (TypeError, ValueError) as error:
        raise DataError(" ".join(str(error).split())) from error
    return found
