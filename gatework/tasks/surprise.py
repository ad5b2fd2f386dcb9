"""How surprising errors are: a running estimate of their tail, one step at a time.

A forecast's error says little by itself; how it stands among the errors before it says whether the
series has changed (Lavin & Ahmad 2015, arXiv:1510.03336, compare a short mean with a normal
distribution of the errors of a long window). Errors have heavier tails than a normal distribution,
so the tail is estimated from the largest of them, by the exponential law that exceedances of a
high threshold follow (Siffer et al. 2017, doi:10.1145/3097983.3098144, with their shape at 0).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KNOWN = 500  # errors that a fitted model keeps, for scores to begin with
TAIL = 0.01  # the share of the errors that make the tail
WARM = 20  # errors that must be known before one is judged
FLOOR = 1e-3  # of a feature's spread: what is smaller is no error
LN10 = math.log(10)

Array = NDArray[np.float64]


class Tail:
    """How improbable an error is among the last ones, by the largest of them.

    Args:
        memory: how many errors are kept.
        known: errors to begin with, the latest last.
    """

    def __init__(self, memory: int, known: Sequence[float] = ()) -> None:
        self.memory = memory
        self.recent = deque(known, maxlen=memory)
        self.ordered = sorted(self.recent)

    def step(self, error: float) -> float:
        """Minus the natural logarithm of the chance of such an error or a larger one.

        It is judged by the errors before it, and then is one of them.
        """
        found = self._surprise(error)
        if len(self.recent) == self.memory:
            del self.ordered[bisect_left(self.ordered, self.recent[0])]
        self.recent.append(error)
        insort(self.ordered, error)
        return found

    def _surprise(self, error: float) -> float:
        count = len(self.ordered)
        if count < WARM:
            return 0.0
        largest = max(1, int(TAIL * count))
        tail = self.ordered[-largest:]
        threshold = max(self.ordered[-largest - 1], FLOOR)
        beyond = math.log((count + 1) / (largest + 1))
        if error <= threshold:
            # Only the tail matters; below it a line keeps the score continuous.
            return beyond * error / threshold
        middle = self.ordered[count // 2]
        excess = sum(max(e - threshold, 0.0) for e in tail)
        mean = (excess + max(middle, FLOOR)) / (largest + 1)
        return beyond + (error - threshold) / mean


class Mean:
    """The mean of the last values, (F,), of those that are there.

    Args:
        memory: how many values are kept.
        known: (M, F) values to begin with, the latest last.
    """

    KEPT = ("values", "there", "place", "sum", "count")

    def __init__(self, memory: int, known: Array) -> None:
        self.values = np.zeros((memory, known.shape[1]))
        self.there = np.zeros((memory, known.shape[1]))
        self.place = 0
        self._sum_up()
        for value in known[-memory:]:
            self.step(value)

    def step(self, value: Array) -> None:
        """Take in the next value; NaN where it is missing."""
        there = ~np.isnan(value)
        value = np.where(there, value, 0.0)
        self.sum += value - self.values[self.place]
        self.count += there - self.there[self.place]
        self.values[self.place], self.there[self.place] = value, there
        self.place += 1
        if self.place == len(self.values):
            self.place = 0
            self._sum_up()  # what float64 has rounded off does not add up for ever

    def mean(self) -> Array:
        """The mean of each feature; NaN where none of its values is there."""
        found: Array = np.full_like(self.sum, np.nan)
        np.divide(self.sum, self.count, out=found, where=self.count > 0)
        return found

    def _sum_up(self) -> None:
        self.sum, self.count = self.values.sum(axis=0), self.there.sum(axis=0)


@dataclass(frozen=True)
class Begin:
    """What is known of a series before its first step that is judged.

    Attributes:
        level: (F,) the mean of each feature.
        errors: (M,) of steps that were not trained on, the latest last.
        moves: (M',) of the short mean in such steps.
    """

    level: Array
    errors: Array
    moves: Array

    @classmethod
    def of(cls, level: Array, evidence: Array) -> Begin:
        """Of what a judge has seen in some steps, (M, 2), NaN where nothing; the last are kept."""
        return cls(level, np.empty(0), np.empty(0)).later(evidence)

    def later(self, evidence: Array) -> Begin:
        """With what a judge has seen in steps behind those that are known, (M, 2)."""
        known = zip((self.errors, self.moves), evidence.T, strict=True)
        errors, moves = (np.append(old, new[~np.isnan(new)])[-KNOWN:] for old, new in known)
        return Begin(self.level, errors, moves)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {key: value.tolist() for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], features: int) -> Begin:
        """The begin of ``to_dict``'s data.

        Raises:
            KeyError, TypeError, ValueError: it is not such data.
        """
        parts = {key: np.array(data[key], dtype=np.float64) for key in ("level", "errors", "moves")}
        if parts["level"].shape != (features,) or not all(map(_whole, parts.values())):
            raise ValueError("what is known of the errors is incomplete")
        return cls(**parts)


class Judge:
    """Joins what is seen in each step to one score: minus the decimal logarithm of its chance.

    Two things are looked at: the error of the step, and how far the mean of the last few values
    has moved from the mean of the last many, which the errors of single steps do not show. Both
    chances are joined by Fisher's method (the chance of a product as small as theirs).

    Args:
        short: steps of the short mean; 0: only the errors are looked at.
        memory: steps that errors and means are compared with.
        quiet: a score counts only if none of so many before it is as high, so that one event
            raises one alarm; where it does not, it is 0.
        begin: what is known before the first step.
    """

    def __init__(self, short: int, memory: int, quiet: int, begin: Begin) -> None:
        known = (begin.errors, begin.moves) if short else (begin.errors,)
        self.tails = [Tail(memory, errors.tolist()) for errors in known]
        start = np.repeat(begin.level[None], min(len(begin.errors), memory), axis=0)
        self.near, self.far = Mean(max(short, 1), start), Mean(memory, start)
        self.raw: deque[float] = deque(maxlen=quiet)

    def step(self, error: float, value: Array) -> float:
        """The score of the next step.

        Args:
            error: of its forecast; NaN where there is none.
            value: (F,) of the step, in units of its spread; NaN where missing.
        """
        return self.score(self.evidence(error, value))

    def evidence(self, error: float, value: Array) -> tuple[float, float]:
        """The error, and how far the short mean has moved; NaN where nothing is seen."""
        self.near.step(value)
        moved = self.near.mean() - self.far.mean()
        self.far.step(value)
        there = ~(np.isnan(moved) | np.isnan(value))
        move = math.sqrt(np.square(moved[there]).mean()) if there.any() else math.nan
        return error, move

    def score(self, evidence: Sequence[float]) -> float:
        """The score of what was seen in a step."""
        pairs = zip(self.tails, evidence, strict=False)
        found = fisher([tail.step(e) for tail, e in pairs if not math.isnan(e)])
        loud = found > max(self.raw, default=-1.0)
        self.raw.append(found)
        return found if loud else 0.0

    def state(self) -> dict[str, Any]:
        """All that it remembers, as arrays."""
        tails = {f"tail{i}": np.array(t.recent) for i, t in enumerate(self.tails)}
        means = {
            f"{name}.{key}": np.array(getattr(mean, key))
            for name, mean in (("near", self.near), ("far", self.far))
            for key in Mean.KEPT
        }
        return {**tails, **means, "raw": np.array(self.raw)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave.

        Raises:
            KeyError, ValueError: it is of another judge.
        """
        self.tails = [
            Tail(tail.memory, state[f"tail{i}"].tolist()) for i, tail in enumerate(self.tails)
        ]
        for name, mean in (("near", self.near), ("far", self.far)):
            for key in Mean.KEPT:
                kept, own = state[f"{name}.{key}"], np.asarray(getattr(mean, key))
                if kept.shape != own.shape:
                    raise ValueError(f"{name}.{key} is {kept.shape}, expected {own.shape}")
                setattr(mean, key, kept.copy() if kept.ndim else int(kept))
        self.raw.clear()
        self.raw.extend(state["raw"].tolist())


def _whole(values: Array) -> bool:
    return values.ndim == 1 and bool(np.isfinite(values).all())


def fisher(surprises: Sequence[float]) -> float:
    """Minus the decimal logarithm of the chance that a product of chances is as small as this.

    Args:
        surprises: minus the natural logarithm of each chance.
    """
    total = sum(surprises)
    term = series = 1.0
    for count in range(1, len(surprises)):
        term *= total / count
        series += term
    return (total - math.log(series)) / LN10 if surprises else 0.0
