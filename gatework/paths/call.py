"""What a path is asked to run, and what it gives back.

Axes: T time, B batch, F input features, H output size of one direction, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from gatework.equations import Spec

Groups = Mapping[str, Tensor]


class Weights(Protocol):
    """The parameters of a stack, in the two forms that paths want."""

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the cell's parameter groups, stacked along the rows."""

    def tensors(self) -> Sequence[Tensor]:
        """All parameters, as they are stored."""

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The whole stack in the order of torch's own kernels, and whether it has biases."""


@dataclass(frozen=True)
class Call:
    """A stack of layers over a batch of sequences."""

    spec: Spec
    x: Tensor  # (T, B, F)
    states: tuple[Tensor, ...]  # each (L*D, B, size), in the order of the cell's states
    weights: Weights
    lengths: Tensor | None = None  # (B,), int64, each in 0..T; None: all are T
    num_layers: int = 1
    num_directions: int = 1
    dropout: float = 0.0  # between layers, in training only
    training: bool = False
    record: bool = False


@dataclass(frozen=True)
class Result:
    """What a stack computed."""

    output: Tensor  # (T, B, D*H); zero after a sequence's end
    states: tuple[Tensor, ...]  # each (L*D, B, size), at each sequence's end
    # With record: every equation by name, (T, B, size), one dict per layer and direction.
    recorded: list[dict[str, Tensor]] = field(default_factory=list)
