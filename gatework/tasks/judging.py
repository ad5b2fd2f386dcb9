"""What the models of a search are judged on: the same targets, whatever is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.data.labelled import load_labelled
from gatework.data.splits import check_long_enough, default_context, split
from gatework.data.stream import Stream
from gatework.data.words import counted
from gatework.errors import DataError
from gatework.tasks.arguments import cell_of
from gatework.tasks.classify_cases import checked
from gatework.tasks.classify_cases import overview as overview_of_cases
from gatework.tasks.classify_model import long_of
from gatework.tasks.classify_problem import stratified
from gatework.tasks.detect_problem import cut_of
from gatework.tasks.estimator import Estimator
from gatework.tasks.problem import validated
from gatework.tasks.search_space import SEARCHED, Kind, Range, Space


@dataclass(frozen=True)
class Judged:
    """What the validation losses of a search are taken over.

    Attributes:
        words: that, in words.
        overview: what the models are fitted to, in words.
        arrays: the same in numbers.
        arguments: of ``fit``, by which it is the same for all of them.
    """

    words: str
    overview: str
    arrays: tuple[NDArray[Any], ...]
    arguments: dict[str, Any]


def judged(model: Estimator, data: Any, space: Space) -> Judged:
    """What models with any arguments of a space are judged on.

    Args:
        model: an estimator with the arguments that are not searched for.
        data: what they are fitted to.
        space: the arguments that are.

    Raises:
        CellError, DataError: something cannot be searched for, the data cannot be used, or leaves
            nothing to judge by.
    """
    _check(model, space)
    if not model.get_params()["validation"]:
        raise DataError("A search judges by the validation part; validation=0 leaves none.")
    found, count = JUDGED[model.task](model, data, space)
    if not count:
        raise DataError(
            "A search judges by the validation part, and no example can be spared for it. Use more "
            "data."
        )
    return found


def contexts_to_try(model: Any, data: Any) -> tuple[int, ...]:
    """A forecaster's context, half of it and twice as much, as far as the series reach.

    The longer one is tried if it leaves half of the windows or more that are judged by.
    """
    cube = _cube(model, data)
    cut = split(cube, model.horizon, model.validation)
    read = _context(model, cube)
    check_long_enough(cube, cut, read, model.horizon)
    half, double = max(1, read // 2), 2 * read

    def windows(context: int) -> int:
        return len(validated(cube, cut, (half, context), model.horizon, not model.reads_target)[0])

    is_trained = bool((cut.train >= double + model.horizon).any())
    longer = [double] if is_trained and 2 * windows(double) >= windows(read) else []
    return tuple(dict.fromkeys((read, half, *longer)))


def _check(model: Estimator, space: Space) -> None:
    """Refuse what cannot be searched for, before anything is fitted.

    Raises:
        CellError, DataError: says what.
    """
    known = SEARCHED[model.task]
    model._check()
    if not space:
        raise DataError(f"Nothing is searched for; give a range of one of {', '.join(known)}.")
    for name, kind in space.items():
        if name not in known:
            raise DataError(
                f"{name} cannot be searched for: its trials would not be judged by one measure, or "
                f"it is nothing to learn with. Search for {', '.join(known)}."
            )
        for value in (kind.low, kind.high) if isinstance(kind, Range) else kind:
            if name == "cell":
                cell_of(value)
            clone(model).set_params(**{name: value})._check()


def _forecasts(model: Any, data: Any, space: Space) -> tuple[Judged, int]:
    cube = _cube(model, data)
    cut = split(cube, model.horizon, model.validation)
    shortest, longest = _ends(space.get("context", (_context(model, cube),)))
    check_long_enough(cube, cut, longest, model.horizon)
    rows, _ = validated(cube, cut, (shortest, longest), model.horizon, not model.reads_target)
    alone, _ = validated(cube, cut, (shortest, shortest), model.horizon, not model.reads_target)
    most = model.windows_per_epoch or len(rows)
    words = f"{most} of " if most < len(rows) else ""
    words += f"the last {counted(len(rows), 'window')} of {len(np.unique(rows))} series"
    if shortest < longest:
        words += f", the same for every context from {shortest} to {longest} steps"
        left = len(alone) - len(rows)
        words += f" ({left} more have room for the shortest alone)" if left else ""
    if not len(rows) and len(alone):
        raise DataError(
            f"No window of the validation part has {longest} steps before it, so contexts from "
            f"{shortest} to {longest} cannot be judged on the same targets. Try shorter ones."
        )
    contexts = {"contexts": (shortest, longest)}
    return Judged(words, overview(cube), (cube.values,), contexts), len(rows)


def _classes(model: Any, data: Any, space: Space) -> tuple[Judged, int]:
    cases = load_labelled(_whole(data), None, long_of(model.get_params(deep=False)))
    _, targets = np.unique(checked(cases.labels), return_inverse=True)
    _, held = stratified(targets, model.validation, model.seed)
    words = f"{len(held)} of the {counted(len(cases), 'sequence')}, drawn class by class"
    return Judged(words, overview_of_cases(cases), (cases.cube.values, targets), {}), len(held)


def _steps(model: Any, data: Any, space: Space) -> tuple[Judged, int]:
    cube = _cube(model, data)
    cut, steps = cut_of(cube, model.validation), np.arange(cube.values.shape[1])
    later = (steps >= cut.train[:, None]) & (steps < cut.validation[:, None])
    known = later & ~np.isnan(cube.values).all(axis=2)
    rows, count = int(known.any(axis=1).sum()), int(known.sum())
    words = f"the last {counted(count, 'step')} with a value of {rows} series"
    most = model.windows_per_epoch
    words += f", in at most {counted(most, 'window')}" if most else ""
    return Judged(words, overview(cube), (cube.values,), {}), count


JUDGED: dict[str, Callable[[Any, Any, Space], tuple[Judged, int]]] = {
    "forecast": _forecasts,
    "classify": _classes,
    "detect": _steps,
}


def _cube(model: Any, data: Any) -> Cube:
    cube: Cube = model.load_data(_whole(data))
    return cube


def _whole(data: Any) -> Any:
    if isinstance(data, Stream):
        raise DataError(
            "A search reads all data at once; a file in pieces is fitted, not searched on."
        )
    return data


def _context(model: Any, cube: Cube) -> int:
    """That which a forecaster is given, or works out."""
    cut, season = split(cube, model.horizon, model.validation), model.season or cube.step.season
    return int(model.context or default_context(cut, model.horizon, season))


def _ends(kind: Kind) -> tuple[int, int]:
    """The least and the greatest of whole numbers."""
    if isinstance(kind, Range):
        return int(kind.low), int(kind.high)
    return min(kind), max(kind)
