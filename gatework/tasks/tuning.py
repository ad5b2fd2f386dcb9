"""Search for an estimator's arguments: many fits, each judged by its validation loss (optuna).

Everything stands in one file of the run's folder, so a search that was stopped goes on where it
was. What is tried next follows from what was found so far and the seed alone: a stopped search
ends with the numbers of one that was not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from sklearn.base import clone

from gatework.cells import all_cells, name_of, resolve
from gatework.errors import DataError, GateworkError, TrainingError
from gatework.tasks.estimator import Estimator
from gatework.tasks.judging import Judged, contexts_to_try, judged
from gatework.tasks.search_space import SEARCHED, Kind, Range, Space
from gatework.training.checkpoint import json_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

NAME = "tuning.db"
IDENTITY, REFUSED = "identity", "refused"


@dataclass(frozen=True)
class Trial:
    """One fit of a search.

    Attributes:
        arguments: that were searched for.
        loss: the best validation loss; ``None``: refused.
        epochs: that were trained.
        state: ``"done"``, ``"pruned"`` (stopped, since others were better by then) or
            ``"refused"``.
        why: of one that was refused.
    """

    arguments: dict[str, Any]
    loss: float | None
    epochs: int
    state: str
    why: str = ""


def check_installed() -> None:
    """Refuse to begin without optuna.

    Raises:
        TrainingError: it is not installed.
    """
    _optuna()


def default_cells() -> tuple[str, ...]:
    """The cells to choose from where the user names none: those that torch has kernels for."""
    return tuple(name_of(c) for c in all_cells() if c.torch_kernel and "P" not in c.spec.sizes)


def space_of(model: Estimator, data: Any, asked: Space = MappingProxyType({})) -> Space:
    """What is searched for: what is asked for, and else what a task has by default.

    What has but one value is left out.

    Args:
        model: an estimator with the arguments that stay as they are.
        data: what it is to be fitted to.
        asked: ranges and choices of some arguments.
    """
    space = dict(asked)
    for name, argument in SEARCHED[model.task].items():
        if name in asked or argument.unasked is None:
            continue
        kind = argument.unasked
        if isinstance(kind, str):
            kind = default_cells() if name == "cell" else contexts_to_try(model, data)
        space[name] = kind
    ordered = sorted(space, key=[*SEARCHED[model.task], *space].index)
    return {name: space[name] for name in ordered if not is_one(space[name])}


def is_one(kind: Kind) -> bool:
    """Whether there is but one value."""
    return kind.low == kind.high if isinstance(kind, Range) else len(kind) == 1


def search(
    model: Estimator,
    data: Any,
    space: Space,
    trials: int,
    folder: Path,
    resume: bool = False,
    *,
    tell: Callable[[int, Trial], None] = lambda number, trial: None,
) -> list[Trial]:
    """Fit a model with many arguments; its own are the first that are tried.

    All trials are judged by their validation loss on the same targets (``judging.judged``).

    Args:
        model: an estimator, not fitted; arguments that are not searched for stay.
        data: what it is fitted to, with a validation part.
        space: the arguments to search for, some of ``SEARCHED``.
        trials: how many fits there are to be, with those of a search that is gone on with.
        folder: where the search is kept.
        resume: go on with the search there.
        tell: told of each trial, with its number from 1 on.

    Raises:
        CellError: there is no such cell.
        DataError: something cannot be searched for, there is no validation part, the data is
            refused with the model's own arguments, or every trial was refused; says why.
        TrainingError: optuna is not installed, or the search in the folder is another one.
    """
    optuna = _optuna()
    if trials < 1:
        raise DataError(f"A search has one trial or more, got {trials}.")
    by = judged(model, data, space)
    warmup = max(1, model.get_params()["epochs"] // 10)
    study = _study(optuna, folder, resume, _identity(model, space, by), warmup)
    found = _tried(study)
    given = model.get_params(deep=False)
    if not found and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
        study.enqueue_trial({name: _nearest(kind, given[name]) for name, kind in space.items()})
    while len(found) < trials:
        # Not by how many were begun: one that was stopped is begun twice.
        study.sampler = optuna.samplers.TPESampler(seed=(given["seed"] + len(found)) % 2**32)
        refused = _try(optuna, study, model, data, space, by.arguments)
        found = _tried(study)
        if len(found) == 1 and isinstance(refused, DataError):
            raise refused  # whatever else is tried, it is the same data
        tell(len(found), found[-1])
    if not any(trial.state == "done" for trial in found):
        raise DataError(f"All {len(found)} trials were refused; the last: {found[-1].why}")
    return found


def best(trials: list[Trial]) -> Trial:
    """The trial with the smallest validation loss; the first of equals."""
    done = [trial for trial in trials if trial.state == "done"]
    return min(done, key=lambda trial: math.inf if trial.loss is None else trial.loss)


def trials_done(folder: Path) -> int:
    """How many fits a search in a folder has; 0 where there is none that can be read."""
    if not (folder / NAME).is_file():
        return 0
    try:
        optuna = _optuna()
        with _readable(folder / NAME):
            study = optuna.load_study(study_name=None, storage=_url(folder / NAME))
            return sum(trial.state != "refused" for trial in _tried(study))
    except GateworkError:
        return 0


def to_dict(trials: list[Trial], space: Space, words: str) -> dict[str, Any]:
    """A search as a report shows it, JSON-ready.

    Args:
        trials: all of it.
        space: what was searched for.
        words: what the trials were judged on.
    """
    ranges = {k: asdict(v) if isinstance(v, Range) else list(v) for k, v in space.items()}
    return {
        "trials": [asdict(trial) for trial in trials],
        "best": trials.index(best(trials)),
        "space": ranges,
        "judged": words,
    }


class _Judge:
    """A watcher that stops a fit which others were better than at the same epoch."""

    def __init__(self, optuna: Any, trial: optuna.Trial) -> None:
        self.optuna, self.trial = optuna, trial

    def start(self, epochs: int, train_size: int, done: int) -> None:
        """The run begins."""

    def batch(self, examples: int) -> None:
        """A batch is done."""

    def epoch(self, record: dict[str, float]) -> None:
        """An epoch is done; its validation loss decides."""
        self.trial.report(record["validation"], int(record["epoch"]))
        if self.trial.should_prune():
            raise self.optuna.TrialPruned


def _try(
    optuna: Any, study: Any, model: Estimator, data: Any, space: Space, alike: Mapping[str, Any]
) -> GateworkError | None:
    """One more trial; why it was refused, if it was."""
    trial = study.ask()
    arguments = {name: _suggested(trial, name, kind) for name, kind in space.items()}
    fitted = clone(model).set_params(**arguments)
    try:
        fitted.fit(data, watcher=_Judge(optuna, trial), **alike)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except GateworkError as error:
        trial.set_user_attr(REFUSED, str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return error
    else:
        study.tell(trial, fitted.history_[fitted.best_epoch_ - 1]["validation"])
    return None


def _nearest(kind: Kind, given: Any) -> Any:
    """Of a range or some choices that which is nearest to an argument."""
    if isinstance(kind, tuple):
        return given if given in kind else kind[0]
    return kind.nearest(given)


def _suggested(trial: Any, name: str, kind: Kind) -> Any:
    if isinstance(kind, tuple):
        return trial.suggest_categorical(name, kind)
    if kind.whole:
        return trial.suggest_int(name, int(kind.low), int(kind.high), log=kind.log)
    return trial.suggest_float(name, kind.low, kind.high, log=kind.log)


def _tried(study: Any) -> list[Trial]:
    """The trials of a study that came to an end, in their order."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        why = trial.user_attrs.get(REFUSED, "")
        state = {"COMPLETE": "done", "PRUNED": "pruned"}.get(trial.state.name)
        if state is None and why:
            state = "refused"
        if state is not None:
            losses = trial.intermediate_values
            loss = None if state == "refused" else float(min(losses.values()))
            found.append(Trial(dict(trial.params), loss, len(losses), state, why))
    return found


def _study(optuna: Any, folder: Path, resume: bool, identity: dict[str, Any], warmup: int) -> Any:
    """A new study, or that of the folder, where a trial that was cut short counts for nothing."""
    path = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        path.unlink(missing_ok=True)
    with _readable(path):
        study = optuna.create_study(
            storage=_url(path),
            study_name=NAME,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
        )
        kept = study.user_attrs.get(IDENTITY)
        if kept is None:
            study.set_user_attr(IDENTITY, json.dumps(identity))
        else:
            _check_same(path, json.loads(kept), identity)
        for cut in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
    return study


def _check_same(path: Path, kept: dict[str, Any], identity: dict[str, Any]) -> None:
    for key, value in identity.items():
        if kept.get(key) != value:
            raise TrainingError(
                f"{path} is another search: {key} was {kept.get(key)!r}, now it is {value!r}. "
                f"Resume with the arguments of the first one, or start a new folder."
            )


def _identity(model: Estimator, space: Space, by: Judged) -> dict[str, Any]:
    """What a search must have been begun with to be gone on with."""
    given = model.get_params(deep=False)
    searched = {f"range of {name}": repr(kind) for name, kind in space.items()}
    fixed = {k: str(v) for k, v in given.items() if k not in ("cell", "device")}
    cell = resolve(given["cell"])
    return json_ready(model._identity(cell, searched | fixed, by.overview, *by.arrays))


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise TrainingError(
            "A search needs optuna, which is not installed; pip install 'gatework[tune]' brings it."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _url(path: Path) -> str:
    from sqlalchemy import URL  # noqa: PLC0415  (comes with optuna)

    return str(URL.create("sqlite", database=str(path)).render_as_string())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """The errors of a file that cannot be used, in one line."""
    from optuna.exceptions import OptunaError  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (OptunaError, SQLAlchemyError, KeyError, ValueError) as error:
        if isinstance(error, GateworkError):
            raise
        _fail(path, error)


def _fail(path: Path, error: Exception) -> NoReturn:
    first = str(error).partition("\n")[0]
    raise TrainingError(f"{path} is no search of Gatework or is damaged: {first}") from error
