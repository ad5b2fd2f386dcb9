"""Epochs of some examples, drawn anew for each: where there are more than an epoch needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatework.training.loop import InParts, Problem


@dataclass
class Drawn:
    """A ``loop.Problem`` of which every epoch trains on some examples, drawn anew, each once.

    It is validated on at most as many, evenly spread, the same in every epoch.

    Attributes:
        whole: the problem with all its examples.
        most: examples of an epoch.
    """

    whole: Problem
    most: int

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.whole.model

    @property
    def train_parts(self) -> Sequence[int]:
        """The training examples that there are, of each part."""
        whole = self.whole
        return whole.train_parts if isinstance(whole, InParts) else [whole.train_size]

    @property
    def train_size(self) -> int:
        """How many an epoch trains on."""
        return min(self.most, self.whole.train_size)

    @property
    def validation_size(self) -> int:
        """How many it is validated on."""
        return min(self.most, self.whole.validation_size)

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self.whole.to(device)

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The loss of each example, (B,)."""
        return self.whole.losses(self._places(index, part), part)

    def describe(self, index: int, part: str) -> str:
        """One example in words."""
        return self.whole.describe(int(self._places(torch.tensor([index]), part)), part)

    def words(self) -> list[str]:
        """What is left out of an epoch, in words."""
        there, judged = self.whole.train_size, self.whole.validation_size
        if self.most >= max(there, judged):
            return []
        validated = f"; it is validated on {self.validation_size} of {judged}" if judged else ""
        return [f"An epoch trains on {self.train_size} of {there} windows, drawn anew{validated}."]

    def _places(self, index: Tensor, part: str) -> Tensor:
        """Where the examples stand among all; those for training are numbered so already."""
        if part == "train":
            return index
        return index * self.whole.validation_size // max(1, self.validation_size)
