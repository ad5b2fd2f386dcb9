"""What a path is asked to run, and what it gives back.

Axes: T time, B batch, F input features, H output size of one direction, L layers, D directions.
Of images the axes of their places stand before the features: (T, B, *space, F).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.equations import Spec
from gatework.paths.products import Product, product_of

Groups = Mapping[str, Tensor]


class Weights(Protocol):
    """The parameters of a stack, in the two forms that paths want."""

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the cell's parameter groups, stacked along the rows."""

    def tensors(self) -> Sequence[Tensor]:
        """All that ``groups`` is made of, as it is stored; equal ones give equal groups."""

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The whole stack in the order of torch's own kernels, and whether it has biases."""


def by_name(spec: Spec, groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters by name, as views into their groups."""
    return {
        p.name: part
        for stem, members in spec.groups.items()
        for p, part in zip(members, groups[stem].chunk(len(members)), strict=True)
    }


def beside_of(x: Tensor, values: Tensor) -> Tensor:
    """A value for each step and row (T, B), as it stands beside x (T, B, ...): (T, B, 1, ...)."""
    return values.view(values.shape + (1,) * (x.dim() - 2))


def inside(x: Tensor, lengths: Tensor) -> Tensor:
    """True where a step of x (T, B, ...) belongs to its sequence, (T, B, 1, ...)."""
    steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return beside_of(x, steps < lengths.to(x.device))


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch's own, not a stand-in that records or transforms."""
    plain = type(tensor) is Tensor or type(tensor) is torch.nn.Parameter
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def is_transformed() -> bool:
    """Whether torch.func or forward mode is at work."""
    is_func = torch._C._functorch.peek_interpreter_stack() is not None
    return is_func or forward_ad._current_level >= 0


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
    record: bool = False  # every equation at every step is asked for
    every_state: bool = False  # all states at every step are
    # Masks that the call brings, by name, (T, B, size), for each layer and direction in its
    # own order; and the steps that are not skipped, (T, B, 1). See ``interruptions``.
    brought: tuple[Mapping[str, Tensor], ...] = ()
    live: Tensor | None = None
    residual: bool = False  # each layer's input is added to its output
    dilation: tuple[int, ...] = ()  # of convolutions over images; none: products with matrices
    plain: Spec | None = None  # the cell before interruptions were written into it

    @property
    def is_single(self) -> bool:
        """Whether the weights are float32, which is what autocast lowers."""
        return all(t.dtype == torch.float32 for t in self.weights.tensors())

    def seen(self) -> Tensor | None:
        """True where a step is seen, (T, B, 1): in its sequence and not skipped; or everywhere."""
        if self.lengths is None:
            return self.live
        found = inside(self.x, self.lengths)
        return found if self.live is None else found & self.live


@dataclass(frozen=True)
class Given:
    """What one layer in one direction is given.

    Attributes:
        spec: the cell.
        x: (T, B, F).
        first: the initial states by name, (B, size) each, in the cell's order.
        groups: the parameter groups by stem.
        masks: the random masks by name, (T, B, size); an axis of one goes for all.
        lengths: (B,) int64, or ``None``.
        precision: of the factors of products, see ``packing.PARTS``.
        every_state: whether all states are asked for at every step, and not the output alone.
        dilation: as of ``Call``.
    """

    spec: Spec
    x: Tensor
    first: Mapping[str, Tensor]
    groups: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    precision: str = "highest"
    every_state: bool = False
    dilation: tuple[int, ...] = ()

    @property
    def product(self) -> Product:
        """What ``@`` stands for."""
        return product_of(self.dilation)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The states that are asked for at every step."""
        names = tuple(s.name for s in self.spec.states)
        return names if self.every_state else names[:1]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The parameters by name, as views."""
        return by_name(self.spec, self.groups)

    def inside(self) -> Tensor | None:
        """True where a step belongs to its sequence, (T, B, 1); ``None``: everywhere."""
        return None if self.lengths is None else inside(self.x, self.lengths)

    def tensors(self) -> list[Tensor]:
        """Input, initial states and parameter groups, all that may have a gradient."""
        return [self.x, *self.first.values(), *self.groups.values()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Given:
        """The same with others in the place of ``tensors()``."""
        x, *rest = tensors
        first = dict(zip(self.first, rest, strict=False))
        groups = dict(zip(self.groups, rest[len(first) :], strict=True))
        return replace(self, x=x, first=first, groups=groups)


@dataclass(frozen=True)
class Result:
    """What a stack computed."""

    output: Tensor  # (T, B, D*H); zero after a sequence's end
    states: tuple[Tensor, ...]  # each (L*D, B, size), at each sequence's end
    # With record every equation by name, (T, B, size), with every_state the states after each
    # step (``h_next``), one dict per layer and direction.
    recorded: list[dict[str, Tensor]] = field(default_factory=list)
