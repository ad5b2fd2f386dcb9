"""Recording every named equation of a layer over time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework.errors import CellError
from gatework.layers.recording import Recording, refusal
from gatework.layers.stack import StackForward
from gatework.layers.states import Beside


def record(
    layer: nn.Module | StackForward,
    input: Tensor | PackedSequence,
    hx: Any = None,
    lengths: Tensor | list[int] | None = None,
    *,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    reset_to: Any = None,
    beside: Beside | None = None,
) -> Recording:
    """Run a layer as its ``forward`` would, and keep every named gate and state.

    Args:
        layer: a ``Recurrent``, one of the drop-ins, or a ``Bidirectional`` or ``Stack`` of such.
        input: as for the layer's ``forward``; a PackedSequence is recorded in its sorted order.
        hx: as for the layer's ``forward``.
        lengths: as for the layer's ``forward``.
        mask: as for the layer's ``forward``.
        resets: as for the layer's ``forward``.
        reset_to: as for the layer's ``forward``.
        beside: as for the layer's ``forward``.

    Returns:
        The recording; differentiable unless gradients are off.

    Raises:
        CellError: this is no layer with equations.
        PathError: the layer asks for a path that shows no gates.
        ShapeError: as the layer's ``forward``.
    """
    run: Any = getattr(layer, "recorded", None)
    if run is None or not isinstance(layer, nn.Module):
        raise CellError(refusal(layer))
    recording: Recording = run(
        input, hx, lengths, mask=mask, resets=resets, reset_to=reset_to, beside=beside
    )[2]
    return recording
