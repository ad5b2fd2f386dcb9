"""Classification: an estimator over labelled sequences, ragged and multivariate ones too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from gatework.cells import CellLike, name_of
from gatework.data.columns import Columns
from gatework.data.cube import Cube, pieces_of
from gatework.data.labelled import load_labelled
from gatework.data.scaling import Scaler
from gatework.data.stream import Stream, column_names
from gatework.data.words import check_choice
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of, check_arguments
from gatework.tasks.classification import Classification
from gatework.tasks.classify_cases import Gathered, Parts, checked
from gatework.tasks.classify_model import ClassifyModel, long_of, make_network
from gatework.tasks.classify_network import ClassifyNetwork
from gatework.tasks.classify_problem import ClassifyProblem
from gatework.tasks.estimator import SCALINGS, Estimator
from gatework.tasks.streaming import Streamed, Survey
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
        target, time, id, features: columns of a long table, with a row for each step: the class
            (the same in all rows of a sequence), time stamps, which sequence, and what is read.
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
    target: str | None = None
    time: str | None = None
    id: str | None = None
    features: str | Sequence[str] = ()
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
            X: an array (N, T, F) or (N, T), a list of arrays (T, F) of different lengths, the
                path of a file with classes (see ``data.labelled.load_labelled``), a long table
                (where ``id`` is given), or what ``open_stream`` gives, of a long table that is
                larger than memory.
            y: (N,) the class of each sequence; needed unless ``X`` brings them.
            folder: where checkpoints are written.
            resume: go on from the checkpoint in ``folder``.
            watcher: told of every batch and epoch.

        Raises:
            DataError: the data cannot be used, or holds one class only.
            TrainingError: a loss is not finite, or a checkpoint does not fit.
        """
        self._check()
        is_stream, long = isinstance(X, Stream), long_of(vars(self))
        if is_stream and y is not None:
            raise DataError("A stream brings its classes (target); leave y out.")
        data = None if is_stream else load_labelled(X, y, long)
        found = self.gathered(X) if data is None else Gathered.of([data])
        if found.labels is None and self.target is not None:
            raise DataError(
                f"{found.name} has no class in a column {self.target!r}, and a classifier learns "
                f"from classes."
            )
        labels = checked(found.labels)
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"A classifier needs sequences of two classes or more; all are of one class, "
                f"{str(classes[0])!r}."
            )
        parts = Parts.drawn(targets, found.edges, self.validation, self.seed)
        weights = torch.from_numpy(self._weights(classes, labels[parts.train])).float()

        def look(piece: int, cube: Cube) -> tuple[NDArray[np.int64], dict[str, int]]:
            return parts.ends(piece, cube.lengths), parts.sizes(piece)

        def problem_of(piece: int, cube: Cube) -> ClassifyProblem:
            own = torch.from_numpy(targets[slice(*found.edges[piece : piece + 2])])
            words = [repr(str(name)) for name in classes]
            return ClassifyProblem(
                model.network, model.cases(cube), parts.places(piece), own, weights, words, cube.ids
            )

        # One scale for all cases, ids or not: how large a case is may tell its class.
        how = (self.scaling, False, "global")
        problem: ClassifyProblem | Streamed[ClassifyProblem]
        if data is None:
            stream = X.through(lambda cube: long.labelled(cube).cube)
            survey = Survey(stream, look)
            first, scaler = survey.first, Scaler.joined(survey.pieces(), *how)
            model = self._model(first, scaler, classes, targets, found.lengths)
            problem = Streamed(model.network, lambda n: problem_of(n, stream[n]), survey.sizes)
            notes, marks, more = survey.notes, survey.marks, {"rows": X.cuts}
        else:
            first = data.cube
            scaler = Scaler.fit(first, look(0, first)[0], *how)
            model = self._model(first, scaler, classes, targets, found.lengths)
            problem = problem_of(0, first)
            notes, marks, more = [*first.notes], [problem.cases.inputs.numpy()], {}
        shape = {key: str(getattr(self, key)) for key in SHAPES_A_RUN} | more
        words = found.overview()
        identity = self._identity(model.cell, shape, words, *marks, targets)
        progress = self._run(problem, identity, folder, resume, watcher)
        notes = [*notes, *self._notes(classes, targets, parts.validation)]
        # Only now, so that a fit that fails leaves an earlier one as it was.
        return self._keep(model, progress.history, progress.best_epoch, notes)

    def _model(
        self,
        cube: Cube,
        scaler: Scaler,
        classes: NDArray[Any],
        targets: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> ClassifyModel:
        """A model before training, for sequences like those of a cube."""
        cell, given = cell_of(self.cell), self.get_params(deep=False)
        features, steps = len(cube.names), int(lengths.max())
        network = make_network(cell, features, steps, len(classes), given)
        counts = np.bincount(targets)
        return ClassifyModel(given, cell, classes, counts, features, steps, scaler, network)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class of ``classes_``, (N, C).

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        model: ClassifyModel = self._fitted()
        return np.concatenate([model.probabilities(part) for part in model.parts(X)])

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each sequence, (N,).

        Raises:
            ModelError: not fitted.
            DataError: as ``predict_proba``.
        """
        model: ClassifyModel = self._fitted()
        told: NDArray[Any] = model.classes[self.predict_proba(X).argmax(axis=1)]
        return told

    def predict_tables(self, X: Any) -> Iterator[pa.Table]:
        """Of each piece of a stream, or of the data, the classes and the probabilities of all.

        The column ``sequence`` has the ids of a long table, else a number from 1 on.

        Raises:
            ModelError, DataError: as ``predict_proba``.
        """
        model: ClassifyModel = self._fitted()
        for part in model.parts(X):
            found = model.probabilities(part)
            told, cube = model.classes[found.argmax(axis=1)], part.cube
            names = np.array(cube.ids) if cube.named else np.arange(1, len(part) + 1)
            columns = {f"p({c})": p for c, p in zip(model.classes, found.T, strict=True)}
            yield pa.table({"sequence": names, "class": told.astype(str)} | columns)

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
        parts = [
            (self._comparable(part.labels), model.probabilities(part)) for part in model.parts(X, y)
        ]
        truth, probabilities = (np.concatenate(each) for each in zip(*parts, strict=True))
        told = model.classes[probabilities.argmax(axis=1)]
        return Classification(
            name_of(model.cell), truth, told, probabilities, model.classes, model.usual
        )

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The share of sequences whose class is told rightly."""
        found = self.evaluate(X, y)
        return float(accuracy_score(found.truth, found.told, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn: X may have three axes and missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        return tags

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Self:
        model = ClassifyModel.from_config(config)
        features = model.parameters.get("features", ())
        given = {"features": features if isinstance(features, str) else tuple(features)}
        return cls._restored(model, config, **given)

    def gathered(self, X: Any, y: Any = None) -> Gathered:
        """What all sequences of some data are: their classes and lengths.

        Args:
            X: data as for ``fit``.
            y: likewise.

        Raises:
            DataError: the data cannot be used.
        """
        long = long_of(vars(self))
        found = Gathered.of(load_labelled(part, y, long) for part in pieces_of(X))
        return replace(found, name=X.path.name) if isinstance(X, Stream) else found

    def _columns_of(self, path: str | Path) -> Columns:
        return long_of(vars(self)).columns(column_names(path))

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
        if not isinstance(self.target, str | None):
            raise DataError(f"target is the one column of the classes, got {self.target!r}.")
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
