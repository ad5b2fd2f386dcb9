"""Recording every named equation of a layer over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework import paths
from gatework.equations import Spec
from gatework.errors import CellError, PathError
from gatework.layers.stack import StackForward, States


@dataclass(frozen=True)
class Recording:
    """Every equation of a stack at every step: ``recording["f"]``, or ``recording.at(1)["f"]``.

    Values are (T, B, size), or (B, T, size) for a batch_first layer, zero behind a sequence's
    end; of one sequence without a batch axis they are (T, size). The new states are ``h_next``,
    ``c_next`` and so on.
    """

    spec: Spec
    rows: list[dict[str, Tensor]]
    num_directions: int

    def at(self, layer: int = 0, direction: int = 0) -> dict[str, Tensor]:
        """All equations of one layer and direction, by name."""
        return self.rows[layer * self.num_directions + direction]

    def __getitem__(self, name: str) -> Tensor:
        first = self.rows[0]
        if name not in first:
            there = ", ".join(first)
            raise CellError(f"{self.spec.name} has no equation {name!r}; it has {there}.")
        return first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows[0])


def record(
    layer: StackForward,
    input: Tensor | PackedSequence,
    hx: States | None = None,
    lengths: Tensor | list[int] | None = None,
) -> Recording:
    """Run a layer as its ``forward`` would, and keep every named gate and state.

    Args:
        layer: a ``Recurrent`` or one of the drop-ins.
        input: as for the layer's ``forward``; a PackedSequence is recorded in its sorted order.
        hx: as for the layer's ``forward``.
        lengths: as for the layer's ``forward``.

    Returns:
        The recording; differentiable unless gradients are off.

    Raises:
        CellError: this is no layer with equations.
        PathError: the layer asks for a path that shows no gates.
        ShapeError: as the layer's ``forward``.
    """
    if not isinstance(layer, StackForward):
        raise CellError(_refusal(layer))
    call, form = layer.prepare(input, hx, lengths, record=True)
    try:
        path = paths.choose(call, layer.path)
    except PathError as error:
        raise PathError(f"{error} Set layer.path = {paths.AUTO!r} to record it.") from None
    rows = path.run(call).recorded
    if not form.is_batched:
        rows = [{name: v.squeeze(1) for name, v in row.items()} for row in rows]
    elif form.is_turned:
        rows = [{name: v.transpose(0, 1) for name, v in row.items()} for row in rows]
    return Recording(call.spec, rows, call.num_directions)


def _refusal(layer: object) -> str:
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
