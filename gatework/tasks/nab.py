"""The scoring rules of the Numenta Anomaly Benchmark: what an alarm is worth, and when.

Lavin & Ahmad 2015, arXiv:1510.03336. Every labelled anomaly is a window around it. Of the alarms
in a window the first one counts, the more the earlier it is; a window without one costs; an alarm
outside costs, the more the further it is behind a window. One threshold serves the whole corpus
and is the best that there is for the profile. The first 15 % of a series (of 5000 steps at most)
are not scored. 0 is a detector that never gives an alarm, 100 one that gives an alarm in the first
step of every window and none elsewhere.

Two details are in the benchmark's published code alone and are followed here: the place of a step
in its window is counted to the step behind it, so the last step is worth a little more than
nothing, and values in a window are divided by that of its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.errors import DataError

PROBATION, LONGEST = 0.15, 5000
FAR = 3.0  # windows behind the last one, from where an alarm costs all that it can
STEEPNESS = 5.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """What hits, false alarms and missed windows weigh for one kind of user."""

    hit: float
    false_alarm: float
    miss: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low FP": Profile(1.0, 0.22, 1.0),
    "low FN": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class Judged:
    """What the detector of a corpus is worth to one kind of user.

    Attributes:
        score: 0 for a detector that never gives an alarm, 100 for the perfect one.
        threshold: steps whose score is as high or higher are alarms; infinite: none is.
        found: windows with an alarm.
        windows: all of them.
        false_alarms: alarms outside.
        by_series: what each series adds to the raw score, (S,).
    """

    score: float
    threshold: float
    found: int
    windows: int
    false_alarms: int
    by_series: Array


@dataclass(frozen=True)
class Marked:
    """One series of the corpus: its scores and the windows around its anomalies.

    Attributes:
        scores: (T,) the higher, the more anomalous.
        windows: first and last step of each, in order.
    """

    scores: Array
    windows: Sequence[tuple[int, int]]

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            DataError: scores that are not finite, or windows outside the series.
        """
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise DataError("The scores of a series are finite numbers, (T,).")
        edges = [edge for window in self.windows for edge in window]
        if edges != sorted(edges) or (edges and not 0 <= edges[0] <= edges[-1] < len(self.scores)):
            raise DataError(f"Windows lie in the series, one behind the other; got {self.windows}.")


def probation(steps: int) -> int:
    """The first step of a series of so many that is scored."""
    return int(min(PROBATION * steps, PROBATION * LONGEST))


def judge(corpus: Sequence[Marked], profile: Profile = PROFILES["standard"]) -> Judged:
    """Score a detector over a corpus, at the one threshold that is best for the profile.

    Args:
        corpus: its series.
        profile: what the user cares for.

    Raises:
        DataError: no series has a window, so there is nothing to find.
    """
    windows = sum(len(one.windows) for one in corpus)
    if not windows:
        raise DataError("No series of the corpus has a window; there is nothing to be found.")
    parts = [_gains(one, profile) for one in corpus]
    scores = np.concatenate([one.scores[probation(len(one.scores)) :] for one in corpus])
    gains = np.concatenate([gain for gain, _ in parts])
    inside = np.concatenate([own for _, own in parts])
    series = np.repeat(np.arange(len(corpus)), [len(gain) for gain, _ in parts])
    order = np.argsort(-scores, kind="stable")
    total, ranked = np.cumsum(gains[order]), scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of equal scores
    best = ends[total[ends].argmax()]
    null = -windows * profile.miss
    alarms = order[: best + 1] if total[best] > 0 else order[:0]
    raw = null + (total[best] if len(alarms) else 0.0)
    own = -profile.miss * np.array([float(len(one.windows)) for one in corpus])
    np.add.at(own, series[alarms], gains[alarms])
    return Judged(
        100 * (raw - null) / (windows * profile.hit - null),
        float(ranked[best]) if len(alarms) else np.inf,
        _found(corpus, ranked[best]) if len(alarms) else 0,
        windows,
        int((~inside[alarms]).sum()),
        own,
    )


def _gains(one: Marked, profile: Profile) -> tuple[Array, NDArray[np.bool_]]:
    """What every scored step adds if it is the next to be an alarm, the highest score first.

    Beside it whether the step is in a window. In a window a later alarm adds nothing, and an
    earlier one the difference.
    """
    steps = np.arange(len(one.scores))
    inside = np.zeros(len(steps), dtype=bool)
    behind = np.full(len(steps), FAR)
    gains = np.zeros(len(steps))
    for first, last in one.windows:
        length = last - first + 1
        inside[first : last + 1] = True
        # A window of one step has no length to measure by: all behind it is far.
        behind[last + 1 :] = (steps[last + 1 :] - last) / (length - 1) if length > 1 else FAR
    outside = np.where(behind >= FAR, -1.0, _sigmoid(behind))
    gains[~inside] = profile.false_alarm * outside[~inside]
    begin = probation(len(steps))
    for first, last in one.windows:
        places = steps[max(first, begin) : last + 1]
        worth = profile.hit * _sigmoid((places - last - 1) / (last - first + 1)) / _sigmoid(-1.0)
        order = np.argsort(-one.scores[places], kind="stable")
        reached = np.maximum.accumulate(worth[order])
        gains[places[order]] = np.diff(reached, prepend=-profile.miss)
    return gains[begin:], inside[begin:]


def _found(corpus: Sequence[Marked], threshold: float) -> int:
    found = 0
    for one in corpus:
        alarms = one.scores >= threshold
        alarms[: probation(len(alarms))] = False
        found += sum(bool(alarms[first : last + 1].any()) for first, last in one.windows)
    return found


def _sigmoid(place: Any) -> Any:
    """From 1 far before the end of a window over 0 at its end to -1 far behind it."""
    return 2 / (1 + np.exp(STEEPNESS * place)) - 1
