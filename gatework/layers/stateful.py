"""Layers that go on where the last call ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import is_bidirectional, name_of_layer, reads_beside
from gatework.layers.stack import StackForward
from gatework.layers.states import BATCHED, map_states, rows_of


class Stateful(nn.Module):
    """A layer that keeps its states between calls: long sequences piece by piece.

    The states are cut off from the steps that made them, so a backward pass goes back to the
    beginning of a piece and no further (truncated back-propagation through time). They are no
    parameters and no buffers: a ``state_dict`` has the layer alone, and a copy begins anew.

    Args:
        layer: a ``Recurrent``, a drop-in, or any layer called as ``output, states = layer(x, hx)``
            that runs forward.
        detach: ``False`` keeps the graph of all pieces since the last ``reset``.

    Attributes:
        states: those after the last call, or ``None``; may be set.

    Raises:
        LayerError: this is no layer, or it or one inside of it runs in both directions.

    Shapes:
        As the layer's ``forward``. The batch must stay the same until ``reset``; use ``keep`` to
        go on with some of its rows.
    """

    def __init__(self, layer: nn.Module, detach: bool = True) -> None:
        super().__init__()
        if not isinstance(layer, nn.Module):
            raise LayerError(
                f"Stateful takes a layer, as in Stateful(GRU(8, 16)); got {type(layer).__name__}."
            )
        if any(map(is_bidirectional, layer.modules())):
            raise LayerError(
                f"{name_of_layer(layer)} runs in both directions: the second one begins at the end "
                f"of a sequence, which a piece of it does not know. Use bidirectional=False."
            )
        self.layer, self.detach = layer, detach
        self.states: Any = None

    @property
    def beside(self) -> tuple[str, ...] | None:
        """What the layer reads beside the input, by name."""
        return reads_beside(self.layer)

    def forward(self, input: Any, **options: Any) -> Any:
        """The layer's output over the next piece; ``options`` go to the layer (``lengths``, ...).

        Raises:
            ShapeError: as the layer's ``forward``, as where the batch has changed.
        """
        output, states, *further = self.layer(input, self.states, **options)
        self.states = map_states(states, Tensor.detach) if self.detach else states
        return (output, *further) if further else output

    def reset(self, rows: Tensor | Sequence[int] | None = None) -> None:
        """Begin anew: all rows, or some of the batch, by their numbers or by a bool mask.

        Rows begin at zero, or at what the layer has learned (``learned_states``).

        Raises:
            LayerError: some rows, where layers inside of this one have learned states.
            ShapeError: some rows, where the states are those of one sequence.
        """
        if rows is None or self.states is None:
            self.states = None
            return
        layer, batch = self.layer, tree_leaves(self.states)[0].shape[1]
        if not any(getattr(part, "learned_states", False) for part in layer.modules()):
            self.states = map_states(self.states, lambda s: s.masked_fill(_begins(s, rows), 0))
            return
        if not isinstance(layer, StackForward):
            raise LayerError(
                f"Layers inside of this {name_of_layer(layer)} have learned where they begin, so "
                f"reset(rows) does not know it. Reset all rows, or set states."
            )
        first = layer.state(batch=batch)
        self.states = _anew(self.states, first if len(first) > 1 else first[0], rows)

    def keep(self, rows: Tensor | Sequence[int]) -> None:
        """Go on with some rows of the batch, in this order; one may come several times."""
        self.states = rows_of(self.states, rows)

    def extra_repr(self) -> str:
        """Whether pieces are cut."""
        return "" if self.detach else "detach=False"

    def __getstate__(self) -> dict[str, Any]:
        """A copy and a pickled one begin anew."""
        return {**self.__dict__, "states": None}


def _anew(states: Any, first: Any, rows: Tensor | Sequence[int]) -> Any:
    """The states with these rows of the first ones, which have the same form."""
    if isinstance(states, Tensor):
        return torch.where(_begins(states, rows), first, states)
    parts = [_anew(s, f, rows) for s, f in zip(states, first, strict=True)]
    return type(states)(*parts) if hasattr(states, "_fields") else type(states)(parts)


def _begins(state: Tensor, rows: Tensor | Sequence[int]) -> Tensor:
    """True for these rows of a state (L*D, B, ...), (B, 1, ...)."""
    if state.dim() < BATCHED:
        raise ShapeError(
            f"reset(rows) wants states of a batch, (layers * directions, B, size); got "
            f"{tuple(state.shape)}, those of one sequence."
        )
    size = (state.shape[1], *(1 for _ in state.shape[2:]))
    found = torch.zeros(size, dtype=torch.bool, device=state.device)
    found[torch.as_tensor(rows, device=state.device)] = True
    return found
