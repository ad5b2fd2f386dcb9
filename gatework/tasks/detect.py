"""Detection of anomalies: an estimator over series, and a stream of single steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import OutlierMixin

from gatework.cells import CellLike
from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.data.scaling import Scaler, enough
from gatework.data.series import stacked
from gatework.data.splits import Split
from gatework.data.stream import Stream
from gatework.data.table import together
from gatework.data.words import check_choice, some
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of, check_arguments
from gatework.tasks.detect_model import DetectModel
from gatework.tasks.detect_network import KINDS, make_network
from gatework.tasks.detect_problem import DetectProblem, cut_of, parts_of
from gatework.tasks.detect_stream import DetectStream
from gatework.tasks.estimator import SCALINGS, Estimator
from gatework.tasks.streaming import Streamed, Survey
from gatework.training.drawn import Drawn
from gatework.training.loop import Watcher

TOO_LITTLE = (
    "The training part holds no two steps with a value, one behind the other; more data are needed."
)
THRESHOLD = 3.5  # one step in about 3000, where the chances are what they are taken for
# The arguments that a checkpoint must agree in; those of the loop, the loop adds.
SHAPES_A_RUN = (
    "kind", "hidden_size", "num_layers", "context", "scaling", "dropout", "forget_bias",
    "validation", "windows_per_epoch",
)  # fmt: skip


@dataclass(eq=False, repr=False)
class Detector(OutlierMixin, Estimator):  # type: ignore[misc]
    """Finds the steps in which a series is not as it was before.

    A recurrent stack of any cell learns what to expect of a series: it forecasts each next step,
    or rebuilds the window that ends with it. How far what comes is from that, and how far the
    mean of the last steps has moved, is held against the running tail of the same numbers before
    (``gatework.tasks.surprise``). The score of a step is minus the decimal logarithm of its
    chance, 0 where it has no value; nothing of later steps is in it. scikit-learn's conventions
    for detectors of outliers hold, with series in the place of samples: what is told of a step
    has the shape (N, T).

    Args:
        kind: ``"forecast"`` or ``"autoencoder"`` (Malhotra et al. 2016, arXiv:1607.00148).
        cell: a cell class, description, name (``"lstm"``) or ``file.py:Class``.
        hidden_size: units of each layer.
        num_layers: layers on top of each other.
        context: steps of a window that is trained on, and of one that is rebuilt.
        target, time, id, features: columns of a table, as for the ``Forecaster``; anomalies of
            features count as those of the target do.
        short: steps of the short mean; 0: only the errors count.
        memory: steps that a step is compared with, at most; 20 or more.
        quiet: steps behind a score in which only a higher one counts, so that an event raises one
            alarm; 0: every step has its score.
        contamination: share of the fitted steps that are to be told anomalous; ``"auto"``: a
            score above 3.5 is.
        scaling: ``"standard"`` (each series and feature by its mean and deviation over the
            training part) or ``"none"``.
        dropout: between layers.
        forget_bias: initial bias of the forget gate, for cells that have one.
        epochs, batch_size, learning_rate, weight_decay, schedule, clip, patience, seed, device:
            see ``gatework.training.settings.Settings``.
        windows_per_epoch: windows that an epoch trains on, drawn anew for each by the seed, and at
            most so many that it is validated on, evenly spread; ``None``: all.
        validation: share of each series, at its end, that decides when to stop, and whose errors
            scores begin to compare with; 0: the training part's, which are smaller.

    Attributes:
        model_: all that scores are made with (``DetectModel``). Arguments that are set later
            change the next fit, and no score.
        threshold_: a step with a higher score is told anomalous. offset_: minus that.
        network_, scaler_, cell_: parts of the model.
        history_: losses by epoch. best_epoch_: the epoch whose weights are kept.
        notes_: what was found in the data and done about it.
    """

    task = "detect"

    kind: str = "forecast"
    cell: CellLike = "lstm"
    hidden_size: int = 32
    num_layers: int = 1
    context: int = 64
    _: KW_ONLY
    target: str | Sequence[str] | None = None
    time: str | None = None
    id: str | None = None
    features: str | Sequence[str] = ()
    short: int = 20
    memory: int = 8000
    quiet: int = 0
    contamination: str | float = "auto"
    windows_per_epoch: int | None = None

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        watcher: Watcher | None = None,
    ) -> Self:
        """Learn what to expect, of all of ``X`` but its validation part at each series' end.

        Args:
            X: a path, a bundled name, a data frame, arrays, or a cube (see ``load_cube``); or
                what ``open_stream`` gives, of a file that is larger than memory.
            y: not used.
            folder: where checkpoints are written.
            resume: go on from the checkpoint in ``folder``.
            watcher: told of every batch and epoch.

        Raises:
            DataError: the data cannot be used.
            TrainingError: a loss is not finite, or a checkpoint does not fit.
        """
        self._check()
        if isinstance(X, Stream):
            return self._fit_stream(X, folder, resume, watcher)
        cube = self.load_data(X)
        cut = self._cut(cube)
        scaler = Scaler.fit(cube, cut.train, self.scaling, levels=False)
        model = self._model(cube, scaler)
        problem = self._problem(model, cube)
        notes = [
            *cube.notes,
            *scaler.notes(cube, cut.train),
            *_words(*_few(cube, cut, self.context), len(cube.ids), self.context),
        ]
        identity = self._run_identity(model, cube, problem.values.cpu().numpy())
        return self._train(model, problem, [cube], notes, identity, folder, resume, watcher)

    def _fit_stream(
        self, stream: Stream, folder: str | Path | None, resume: bool, watcher: Watcher | None
    ) -> Self:
        """``fit`` on pieces."""
        if self.contamination != "auto":
            raise DataError(
                "A contamination is a share of all scores at once; read in pieces, it is 'auto'."
            )
        few: tuple[list[str], list[str]] = [], []

        def look(_: int, cube: Cube) -> tuple[NDArray[np.int64], dict[str, int]]:
            cut = self._cut(cube)
            for names, more in zip(few, _few(cube, cut, self.context), strict=True):
                names.extend(more)
            parts = parts_of(cube.values, cut, self.context, KINDS[self.kind].ahead)
            return cut.train, {name: len(part.rows) for name, part in parts.items()}

        survey = Survey(stream, look)
        first = survey.first
        scaler = Scaler.joined(survey.pieces(), self.scaling, levels=False)
        model = self._model(first, scaler)
        problem = Streamed(
            model.network, lambda number: self._problem(model, stream[number]), survey.sizes
        )
        notes = [
            *survey.notes,
            *scaler.notes(first, self._cut(first).train),
            *_words(*few, survey.series, self.context),
        ]
        identity = self._run_identity(model, first, *survey.marks, rows=stream.cuts)
        return self._train(model, problem, stream, notes, identity, folder, resume, watcher)

    def _cut(self, cube: Cube) -> Split:
        return cut_of(cube, self.validation)

    def _problem(self, model: DetectModel, cube: Cube) -> DetectProblem:
        scaled = model.scaler.scaled(cube)
        return DetectProblem.of(model.network, cube, scaled, self._cut(cube), self.context)

    def _model(self, cube: Cube, scaler: Scaler) -> DetectModel:
        """A model before training, for data like a cube."""
        cell, parameters = cell_of(self.cell), self.get_params(deep=False)
        features = len(cube.names)
        return DetectModel(
            parameters,
            cell,
            cube.columns,
            cube.names,
            cube.step,
            scaler,
            make_network(cell, features, parameters),
            np.eye(features),
            {},
            THRESHOLD,
        )

    def _run_identity(
        self, model: DetectModel, cube: Cube, *data: NDArray[Any], **more: Any
    ) -> dict[str, Any]:
        """What a checkpoint of this run must agree in, beside the settings."""
        arguments = {key: getattr(self, key) for key in SHAPES_A_RUN} | more
        return self._identity(model.cell, arguments, overview(cube), *data)

    def _train(
        self,
        model: DetectModel,
        problem: DetectProblem | Streamed[DetectProblem],
        cubes: Iterable[Cube],
        notes: list[str],
        identity: dict[str, Any],
        folder: str | Path | None,
        resume: bool,
        watcher: Watcher | None,
    ) -> Self:
        """Train a model's network, and keep it with what is fitted beside it."""
        if not problem.train_size:
            raise DataError(TOO_LITTLE)
        limited = self._limited(problem)
        notes += limited.words() if isinstance(limited, Drawn) else []
        progress = self._run(problem, identity, folder, resume, watcher)
        held = bool(problem.validation_size)

        def begin(cube: Cube) -> NDArray[np.int64]:
            train = self._cut(cube).train
            return np.where(enough(cube.values, train), train * held, cube.lengths)

        model = model.calibrated(cubes, begin)
        if self.contamination != "auto":
            (cube,) = cubes
            model = model.at_most(cube, float(self.contamination))
        # Only now, so that a fit that fails leaves an earlier one as it was.
        return self._keep(model, progress.history, progress.best_epoch, notes)

    def anomaly_scores(self, X: Any) -> NDArray[np.float64]:
        """How anomalous each step is, (N, T): the higher the more, 0 or above.

        NaN behind the end of a series. Each series is read from its begin.

        Raises:
            ModelError: not fitted.
            DataError: the data cannot be used, or has other features than the training data.
        """
        model: DetectModel = self._fitted()
        return stacked([row for cube in model.parts(X) for row in model.scores(cube)])

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the anomaly scores: the lower, the more anomalous."""
        return -self.anomaly_scores(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """How far each step is from being told anomalous, (N, T): below 0 it is."""
        found: NDArray[np.float64] = self.score_samples(X) - self.offset_
        return found

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for an anomalous step, 1 for another one, 0 behind the end of a series; (N, T)."""
        decided = self.decision_function(X)
        found = np.where(decided < 0, -1, 1)
        found[np.isnan(decided)] = 0
        return found

    def predict_table(self, X: Any) -> pa.Table:
        """Each step of each series, with the columns id, time, score, anomaly and its values.

        A column of the data that is called like one of these is called ``value of ...``.
        """
        return together(list(self.predict_tables(X)))

    def predict_tables(self, X: Any) -> Iterator[pa.Table]:
        """``predict_table`` of each piece of a stream, one after the other; else of the data."""
        model: DetectModel = self._fitted()
        return (self._table(model, cube) for cube in model.parts(X))

    def _table(self, model: DetectModel, cube: Cube) -> pa.Table:
        scores = model.scores(cube)
        behind = np.isnan(scores)
        told = {
            "id": np.repeat(np.array(cube.ids), cube.lengths),
            "time": cube.all_times(),
            "score": scores[~behind],
            "anomaly": scores[~behind] > model.threshold,
        }
        values = {
            f"value of {name}" if name in told else name: pa.array(
                cube.values[~behind, feature], from_pandas=True
            )
            for feature, name in enumerate(cube.names)
        }
        return pa.table(told | values)

    def stream(self, series: str | None = None) -> DetectStream:
        """Reads one series step by step, in constant memory; its scores are ``anomaly_scores``.

        Args:
            series: the id of the series; ``None``: by the scale of all of them together, or of
                the one that there is.

        Raises:
            ModelError: not fitted.
            DataError: the model has not met such an id.
        """
        return DetectStream(self._fitted(), series)

    def _columns(self) -> Columns:
        # A detector watches numbers alone, and no distance between rows.
        return replace(super()._columns(), settled=True)

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Self:
        model = DetectModel.from_config(config)
        given = model.parameters["features"]
        features = given if isinstance(given, str) else tuple(given)
        return cls._restored(model, config, features=features)

    def _check(self) -> None:
        check_arguments(self.get_params(deep=False))
        check_choice("kind", self.kind, KINDS)
        check_choice("scaling", self.scaling, SCALINGS)

    def _keep(
        self,
        model: DetectModel,
        history: list[dict[str, float]],
        best_epoch: int,
        notes: list[str],
    ) -> Self:
        self.threshold_, self.offset_ = model.threshold, -model.threshold
        return super()._keep(model, history, best_epoch, notes)


def _few(cube: Cube, cut: Split, context: int) -> tuple[list[str], list[str]]:
    """Which series are shorter than a window, and which tell nothing of their scale."""
    few = cut.train < context, ~enough(cube.values, cut.train)
    short, late = ([cube.ids[row] for row in np.flatnonzero(rows)] for rows in few)
    return short, late


def _words(short: Sequence[str], late: Sequence[str], count: int, context: int) -> list[str]:
    """Which of so many series these are, in words; raises where all of them tell nothing."""
    if len(late) == count:
        raise DataError(TOO_LITTLE)
    found = []
    for names, what in (
        (short, f"{context} steps for training (context)"),
        (late, "two values to be scaled by in their training part; no other is judged by them"),
    ):
        if names:
            found.append(f"{len(names)} of {count} series have fewer than {what}: {some(names)}.")
    return found
