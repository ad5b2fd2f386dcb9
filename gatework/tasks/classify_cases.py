"""What has to be known of all cases before any of them is trained on: classes and parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from gatework.data.cases import Labelled
from gatework.data.words import counted
from gatework.errors import DataError
from gatework.tasks.classify_model import check_readable
from gatework.tasks.classify_problem import stratified
from gatework.tasks.streaming import MOST_NOTES

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Gathered:
    """The classes of all cases, which are in memory at once or in pieces, and their parts.

    Attributes:
        labels: (N,) the class of each case; ``None``: not known.
        lengths: (N,) steps of each.
        edges: (P + 1,) the first case of each of P pieces, and N.
        features: F of them.
        name: what the data is called.
        notes: what was found in them, in words, each once.
    """

    labels: NDArray[Any] | None
    lengths: Places
    edges: Places
    features: int
    name: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, parts: Iterable[Labelled]) -> Self:
        """What some pieces hold, each of which is looked at and let go.

        Raises:
            DataError: some of them have classes, others have none.
        """
        labels, lengths, without = [], [], []
        notes: dict[str, None] = {}
        for part in parts:
            lengths.append(part.cube.lengths)
            notes |= dict.fromkeys(part.cube.notes) if len(notes) < MOST_NOTES else {}
            without += [part] if part.labels is None else []
            labels += [] if part.labels is None else [part.labels]
            name, features = part.name, len(part.cube.names)
        if labels and without:
            raise DataError(
                f"Some sequences of {name} have no class; {without[0].cube.ids[0]!r} is the first."
            )
        edges = np.concatenate([[0], np.cumsum([len(part) for part in lengths])])
        found = np.concatenate(labels) if labels else None
        return cls(found, np.concatenate(lengths), edges, features, name, tuple(notes))

    def overview(self) -> str:
        """What the sequences are, in one sentence: how many, how long, of how many classes."""
        steps, each = _between(self.lengths, "step"), counted(self.features, "feature")
        text = f"{counted(len(self.lengths), 'sequence')} of {steps} and {each}"
        if self.labels is None:
            return f"{text}, without classes."
        names, counts = np.unique(self.labels, return_counts=True)
        kinds = "1 class" if len(names) == 1 else f"{len(names)} classes"
        return f"{text}; {kinds} of {_between(counts, 'sequence')}."


@dataclass(frozen=True)
class Parts:
    """Which cases are for training and which for validation, drawn class by class.

    Attributes:
        train, validation: their places among all cases, in order.
        edges: the first case of each piece, and how many there are.
    """

    train: Places
    validation: Places
    edges: Places

    @classmethod
    def drawn(cls, targets: Places, edges: Places, share: float, seed: int) -> Self:
        """See ``stratified``."""
        return cls(*stratified(targets, share, seed), edges)

    def places(self, piece: int) -> dict[str, Tensor]:
        """Of each part, which cases of a piece are in it."""
        begin, end = self.edges[piece : piece + 2]
        parts = {"train": self.train, "validation": self.validation}
        return {k: torch.from_numpy(v[(v >= begin) & (v < end)] - begin) for k, v in parts.items()}

    def sizes(self, piece: int) -> dict[str, int]:
        """How many cases of a piece are in each part."""
        return {name: len(own) for name, own in self.places(piece).items()}

    def ends(self, piece: int, lengths: Places) -> Places:
        """(n,) where the training part of each case of a piece ends; 0 of one for validation.

        The scaling sees the training part alone.
        """
        ends = lengths.copy()
        ends[self.places(piece)["validation"].numpy()] = 0
        return ends


def _between(counts: Places, what: str) -> str:
    """The smallest and the largest of some numbers, with their noun."""
    low, high = int(counts.min()), int(counts.max())
    return counted(low, what) if low == high else f"{low} to {high} {what}s"


def check_scored(scored: Gathered, training: Gathered, shuffle: bool) -> None:
    """Refuse sequences to score on that a model of the training data could not be scored on.

    Raises:
        DataError: they have no classes, other features, or (with ``shuffle``) more steps.
    """
    if scored.labels is None:
        raise DataError(f"{scored.name} has no classes to score against; name a file that has.")
    steps = int(training.lengths.max()) if shuffle else None
    longest = int(scored.lengths.max())
    check_readable(scored.features, longest, scored.name, training.features, steps)


def overview(data: Labelled) -> str:
    """What the sequences are, in one sentence: how many, how long, of how many classes."""
    return Gathered.of([data]).overview()


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
