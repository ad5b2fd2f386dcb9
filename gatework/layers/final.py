"""The final output of a layer, read from its final states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import is_bidirectional, name_of_layer, output_size_of


def final_output(layer: nn.Module, states: Any) -> Any:
    """What the last layer has put out at the end, of both directions where there are two.

    The forward direction's end is each sequence's last step, the backward direction's its first
    one. ``h_n[-1]``, which is often written for it, is the backward direction alone. A sequence
    of length zero has its initial state.

    Args:
        layer: the layer that returned the states: any of ours, or torch's RNN, LSTM or GRU.
        states: what it returned beside the output, as it is (for an LSTM the pair h_n, c_n).

    Returns:
        (B, D*H), or (D*H,) of one sequence; (B, D*H, *space) of ``ConvRecurrent``; what
        ``merge`` makes of the two directions of a ``Bidirectional``.

    Raises:
        ShapeError: these are no states of this layer.
        LayerError: the layer's states do not tell its final output.
    """
    own = getattr(layer, "final_output", None)
    if own is not None:
        return own(states)
    if getattr(layer, "residual", False):
        raise way_around(layer)
    rows = getattr(layer, "num_layers", None)
    size = output_size_of(layer)
    if rows is None or size is None:
        if not isinstance(layer, nn.Module):
            raise LayerError(f"final_output wants (layer, states), got {type(layer).__name__}.")
        raise LayerError(
            f"{name_of_layer(layer)} has no num_layers and output_size to read its states by. Give "
            f"it a method final_output(states), or use Pool('last')."
        )
    directions = 2 if is_bidirectional(layer) else 1
    h = states[0] if isinstance(states, (tuple, list)) and states else states
    width = size // directions
    # (L*D, B, H, *space), or (L*D, H) of one sequence
    features = min(2, h.dim() - 1) if isinstance(h, Tensor) else 0
    if features < 1 or h.shape[0] != rows * directions or h.shape[features] != width:
        shape = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ShapeError(
            f"These are no states of {name_of_layer(layer)}: expected ({rows * directions}, B, "
            f"{width}, ...) first, got {shape}. Pass what the layer returned beside its output."
        )
    return torch.cat(tuple(h[-directions:]), features - 1)


def way_around(layer: nn.Module) -> LayerError:
    """Why the states of a layer with a way around it are not its output."""
    return LayerError(
        f"The input that goes around the last layer of this {name_of_layer(layer)} is not in its "
        f"states: read the final output from the output, with Pool.after(layer, 'last')."
    )
