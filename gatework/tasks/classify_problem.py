"""The classifier's side of the training loop: cases, their losses, and their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gatework.tasks.classify_model import Cases
from gatework.tasks.classify_network import ClassifyNetwork


@dataclass
class ClassifyProblem:
    """Training and validation cases: a ``training.loop.Problem``.

    Attributes:
        model: the network.
        cases: all of them.
        places: of each part, which cases are in it.
        targets: (N,) number of the class of each case.
        weights: (C,) what a case of each class counts.
        names: (C,) what the classes are called.
        ids: (N,) what the cases are called.
    """

    model: ClassifyNetwork
    cases: Cases
    places: dict[str, Tensor]
    targets: Tensor
    weights: Tensor
    names: list[str]
    ids: Sequence[str]

    @property
    def train_size(self) -> int:
        """How many cases there are for training."""
        return len(self.places["train"])

    @property
    def validation_size(self) -> int:
        """How many for validation."""
        return len(self.places["validation"])

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self.cases = replace(self.cases, inputs=self.cases.inputs.to(device))
        self.targets, self.weights = self.targets.to(device), self.weights.to(device)

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The cross-entropy of each case times the weight of its class, (B,)."""
        chosen = self.places[part][index]
        scores = self.model(*self.cases.batch(chosen))
        targets = self.targets[chosen.to(self.targets.device)]
        return functional.cross_entropy(scores, targets, reduction="none") * self.weights[targets]

    def describe(self, index: int, part: str) -> str:
        """One case in words."""
        place = int(self.places[part][index])
        return f"sequence {self.ids[place]}, of class {self.names[int(self.targets[place])]}"


def stratified(
    targets: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the training and the validation part, in order.

    Of each class the same share is drawn for validation, rounded, and at least one case is left
    for training.

    Args:
        targets: (N,) number of the class of each case.
        share: of the cases that are for validation.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    held = np.zeros(len(targets), dtype=bool)
    for target in np.unique(targets):
        own = random.permutation(np.flatnonzero(targets == target))
        held[own[: min(round(share * len(own)), len(own) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
