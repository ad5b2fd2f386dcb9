"""What the wrappers ask of any layer: one of ours, one of torch's, or a user's own module.

A layer is a module that is called as ``layer(input)``, ``layer(input, hx)`` or, where it knows
lengths, ``layer(input, hx, lengths=lengths)``, and returns its output and its final states; so
with the other arguments of ``Recurrent.forward``. Its attributes ``batch_first``,
``bidirectional``, ``input_size``, ``output_size`` and ``beside`` (the names that it reads beside
the input) are read where it has them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from torch import Tensor, nn

from gatework.errors import LayerError, ShapeError
from gatework.layers.shapes import check_lengths

Lengths = Tensor | Sequence[int]


def name_of_layer(layer: nn.Module) -> str:
    """The name of its class, for errors."""
    return type(layer).__name__


def is_batch_first(layer: nn.Module) -> bool:
    """Whether batches come before steps; ``False`` where the layer does not say."""
    return bool(getattr(layer, "batch_first", False))


def is_bidirectional(layer: nn.Module) -> bool:
    """Whether the layer says that it runs in both directions."""
    return bool(getattr(layer, "bidirectional", False))


def input_size_of(layer: nn.Module) -> int | None:
    """Features (or channels) of the input; ``None`` where the layer does not say."""
    return getattr(layer, "input_size", None)


def output_size_of(layer: nn.Module) -> int | None:
    """Features (or channels) of the output; ``None`` where the layer does not say."""
    if isinstance(layer, nn.RNNBase):
        return (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)
    return getattr(layer, "output_size", None)


def check_batch(
    name: str, x: Any, lengths: Lengths | None, batch_first: bool
) -> tuple[Tensor, Tensor | None]:
    """The input of a wrapper and its lengths, (B,) int64 on the CPU.

    Raises:
        ShapeError: the input is packed or has too few axes, or the lengths do not fit it.
    """
    if not isinstance(x, Tensor):
        raise ShapeError(
            f"{name} takes a tensor, and lengths= for sequences of unequal length; got "
            f"{type(x).__name__}."
        )
    if x.dim() < 2:
        axes = "(B, T, F)" if batch_first else "(T, B, F)"
        raise ShapeError(f"{name}: a batch is {axes}, one sequence (T, F); got {tuple(x.shape)}.")
    if lengths is None:
        return x, None
    batched = x if x.dim() > 2 else x.unsqueeze(0 if batch_first else 1)
    return x, check_lengths(name, lengths, batched, batch_first)


def time_first(x: Tensor, batch_first: bool) -> Tensor:
    """(T, B, ...) of a batch in its own order or of one sequence (T, F), as a view."""
    if x.dim() == 2:
        return x.unsqueeze(1)
    return x.transpose(0, 1) if batch_first else x


def reads_beside(layer: nn.Module) -> tuple[str, ...] | None:
    """What it reads beside the input, by name; ``None``: its ``beside=`` takes any names."""
    own = getattr(layer, "beside", None)
    if own is None and "beside" in inspect.signature(type(layer).forward).parameters:
        return None
    return tuple(own or ())


def all_beside(layers: Iterable[nn.Module]) -> tuple[str, ...] | None:
    """What several layers read beside the input, all names once."""
    found = [reads_beside(layer) for layer in layers]
    known = [names for names in found if names is not None]
    return tuple(dict.fromkeys(chain(*known))) if len(known) == len(found) else None


def same_make(layer: nn.Module) -> nn.Module:
    """A second layer with weights of its own, initialised anew.

    Raises:
        LayerError: a part of the layer has parameters and no ``reset_parameters``.
    """
    other = copy.deepcopy(layer)
    for part in reversed([*other.modules()]):  # the whole has the last word on its parts
        reset = getattr(part, "reset_parameters", None)
        if reset is not None:
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise LayerError(
                f"{type(part).__name__} has parameters and no reset_parameters(), so there is no "
                f"second one with weights of its own. Give it one, or pass backward=."
            )
    return other


def shown(result: Any) -> str:
    """What a layer has returned, for errors."""
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__
