"""Recording every named equation of a layer over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatework.equations import Spec
from gatework.errors import CellError
from gatework.layers.stack import StackForward, States
from gatework.paths import PATHS


@dataclass(frozen=True)
class Recording:
    """Every equation of a stack at every step: ``recording["f"]``, or ``recording.at(1)["f"]``.

    Values are (T, B, size), or (B, T, size) for a batch_first layer, zero behind a sequence's
    end. The new states are ``h_next``, ``c_next`` and so on.
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
    """
    call, form = layer.prepare(input, hx, lengths, record=True)
    path = next(p for p in PATHS if p.supports(call) is None)
    rows = path.run(call).recorded
    if form.batch_first and form.is_batched and form.packed is None:
        rows = [{name: v.transpose(0, 1) for name, v in row.items()} for row in rows]
    return Recording(call.spec, rows, call.num_directions)
