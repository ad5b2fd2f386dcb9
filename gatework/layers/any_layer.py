"""What the wrappers ask of any layer: one of ours, one of torch's, or a user's own module.

A layer is a module that is called as ``layer(input)``, ``layer(input, hx)`` or, where it knows
lengths, ``layer(input, hx, lengths=lengths)``, and returns its output and its final states. Its
attributes ``batch_first``, ``bidirectional``, ``input_size`` and ``output_size`` are read where it
has them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gatework.errors import LayerError, ShapeError
from gatework.layers.shapes import check_lengths
from gatework.paths.call import inside

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


def as_it_came(x: Tensor, like: Tensor, batch_first: bool) -> Tensor:
    """The way back from ``time_first`` to the order of the input ``like``."""
    if like.dim() == 2:
        return x.squeeze(1)
    return x.transpose(0, 1) if batch_first else x


def without_padding(x: Tensor, lengths: Tensor | None, batch_first: bool) -> Tensor:
    """The same with zeros behind each sequence's end."""
    if lengths is None:
        return x
    steps = time_first(x, batch_first)
    return as_it_came(steps.masked_fill(~inside(steps, lengths), 0), x, batch_first)


def takes_lengths(layer: nn.Module) -> bool:
    """Whether ``forward`` has an argument of the name ``lengths``."""
    return "lengths" in inspect.signature(type(layer).forward).parameters


def run_layer(layer: nn.Module, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
    """Call any layer; ``lengths`` are checked already.

    Raises:
        LayerError: the layer takes no lengths and they are unequal, or it returns no output.
    """
    options = {}
    if lengths is not None and takes_lengths(layer):
        options["lengths"] = lengths
    elif lengths is not None:
        steps = time_first(x, is_batch_first(layer)).shape[0]
        if not bool((lengths == steps).all()):
            raise LayerError(
                f"{name_of_layer(layer)}.forward has no argument `lengths`, so all sequences must "
                f"have T={steps} steps; got {lengths.tolist()}. Give it one, or use a layer of "
                f"gatework."
            )
    result = layer(x, **options) if hx is None else layer(x, hx, **options)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise LayerError(
            f"{name_of_layer(layer)} is to return (output, states) with one tensor as output; got "
            f"{_shown(result)}."
        )
    return result


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


def _shown(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__
