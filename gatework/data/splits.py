"""Cutting series in time: training, then validation, then what is held out for the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.scaling import enough
from gatework.data.words import some
from gatework.errors import DataError

VALIDATION, TEST = 0.2, 0.15  # shares of each series, where the user does not say


@dataclass(frozen=True)
class Split:
    """Where the parts of each series end: training, then validation; (N,) each.

    Every part lies after the one before it in time. A window belongs to the part that holds
    its whole target; its context may reach back.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def held_out(cube: Cube, horizon: int, test: int | None = None) -> NDArray[np.int64]:
    """The first step of each series that is held out for the test, (N,).

    Args:
        cube: the series.
        horizon: steps of a forecast; a test part is at least that long.
        test: steps to hold out; ``None``: a share of each series.
    """
    share = np.floor(cube.lengths * TEST).astype(np.int64) if test is None else test
    first: NDArray[np.int64] = np.maximum(cube.lengths - np.maximum(share, horizon), 0)
    return first


def split(
    cube: Cube, horizon: int, validation: float, before: NDArray[np.int64] | None = None
) -> Split:
    """Cut each series: a share for validation at its end, the rest for training.

    Args:
        cube: the series.
        horizon: steps of a forecast; a validation part is at least that long.
        validation: share of the steps, in [0, 1); 0: no validation part.
        before: (N,) where each series is taken to end; ``None``: at its end.
    """
    ends = cube.lengths if before is None else before
    held = np.zeros_like(ends)
    if validation > 0:
        held = np.maximum(np.round(ends * validation).astype(np.int64), horizon)
    return Split(np.maximum(ends - held, 0), ends)


def default_context(cut: Split, horizon: int, season: int) -> int:
    """Two seasons, or three horizons where no season is known, less where the series are short."""
    wanted = 2 * season if season > 1 else 3 * horizon
    room = int(cut.train.max(initial=0)) - horizon
    # Half of what is left stays free for windows to begin in.
    return max(1, min(wanted, room // 2 if room > 1 else room))


def check_long_enough(cube: Cube, cut: Split, context: int, horizon: int) -> list[str]:
    """Which series cannot be trained or validated on; raises where all are too short.

    Raises:
        DataError: no series has a single training window; says how many steps are needed.
    """
    needed = context + horizon
    short = [i for i, n in enumerate(cut.train) if n < needed]
    if len(short) == len(cube.ids):
        longest = int(np.argmax(cube.lengths))
        rest = int(cube.lengths[longest] - cut.train[longest])
        held = f", {rest} for validation and test" if rest else ""
        raise DataError(
            f"No series is long enough: a window is context {context} + horizon {horizon} = "
            f"{needed} steps, and the longest series ({cube.ids[longest]!r}) has "
            f"{cube.lengths[longest]} steps, {cut.train[longest]} of them for training{held}. Use "
            f"a shorter horizon or context, or more data."
        )
    late = late_in(cube, cut, needed)
    return [
        *not_trained([cube.ids[i] for i in short], len(cube.ids), needed),
        *not_validated(late, len(cube.ids)),
    ]


def late_in(cube: Cube, cut: Split, needed: int) -> list[str]:
    """The series that have the steps that are needed, and too few values to be scaled by."""
    few = ~enough(cube.values[..., :1], cut.train) & (cut.train >= needed)
    return [cube.ids[i] for i in np.flatnonzero(few)]


def not_trained(short: list[str], count: int, needed: int) -> list[str]:
    """Which of so many series have no window of the steps that are needed, in words."""
    if not short:
        return []
    return [
        f"{len(short)} of {count} series have no training window of {needed} steps and are not "
        f"trained on: {some(short)}."
    ]


def not_validated(late: list[str], count: int) -> list[str]:
    """Which of so many series are not validated on either, in words."""
    if not late:
        return []
    return [
        f"{len(late)} of {count} series have fewer than two values in their training part, which "
        f"is too little for a scale; they are not validated on either: {some(late)}."
    ]


def check_plan(
    cube: Cube,
    horizon: int,
    context: int | None,
    season: int | None,
    before: NDArray[np.int64],
    validation: float = VALIDATION,
) -> tuple[int, list[str]]:
    """Whether a run that holds out what lies behind ``before`` has windows to train on.

    Returns:
        The context of the run, and which series it leaves out, in words.

    Raises:
        DataError: no series is long enough.
    """
    cut = split(cube, horizon, validation, before)
    context = context or default_context(cut, horizon, season or cube.step.season)
    return context, check_long_enough(cube, cut, context, horizon)
