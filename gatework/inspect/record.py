"""Recording every named equation of a layer over time."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework import paths
from gatework.errors import CellError, PathError
from gatework.layers.recording import Recording
from gatework.layers.stack import Beside, StackForward, States


def record(
    layer: StackForward,
    input: Tensor | PackedSequence,
    hx: States | None = None,
    lengths: Tensor | list[int] | None = None,
    *,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    reset_to: States | None = None,
    beside: Beside | None = None,
) -> Recording:
    """Run a layer as its ``forward`` would, and keep every named gate and state.

    Args:
        layer: a ``Recurrent`` or one of the drop-ins.
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
    if not isinstance(layer, StackForward):
        raise CellError(refusal(layer))
    call, form = layer.prepare(input, hx, lengths, mask, resets, reset_to, beside)
    call = replace(call, record=True)
    try:
        path = paths.choose(call, layer.path)
    except PathError as error:
        raise PathError(f"{error} Set layer.path = {paths.AUTO!r} to record it.") from None
    names = [equation.name for equation in layer.spec.equations]  # resets bring further ones
    rows = form.rows(path.run(call).recorded)
    rows = [{name: row[name] for name in names} for row in rows]
    return Recording(layer.spec, rows, call.num_directions)


def refusal(layer: object) -> str:
    """Why something cannot be recorded, and what to do instead."""
    if isinstance(layer, nn.RNNBase):
        name = layer.mode.partition("_")[0]  # RNN_TANH is an RNN
        return (
            f"torch.nn.{name} does not show its gates. Make a gatework.{name} with the same "
            f"arguments, give it the weights by load_state_dict(layer.state_dict()), and record "
            f"that."
        )
    kind = type(layer)
    return (
        f"record takes a layer over sequences (gatework.Recurrent or a drop-in for torch.nn), got "
        f"{kind.__module__}.{kind.__qualname__}."
    )
