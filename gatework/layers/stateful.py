"""Layers that go on where the last call ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatework.layers.states import map_states, rows_of
from gatework.paths.per_layer import states_of


class Stateful(nn.Module):
    """A layer that keeps its states between calls: long sequences piece by piece.

    The states are cut off from the steps that made them, so a backward pass goes back to the
    beginning of a piece and no further (truncated back-propagation through time). They are no
    parameters and no buffers: a ``state_dict`` has the layer alone, and a copy begins anew.

    Args:
        layer: a ``Recurrent``, a drop-in, or any layer called as ``output, states = layer(x, hx)``.
        detach: ``False`` keeps the graph of all pieces since the last ``reset``.

    Attributes:
        states: those after the last call, or ``None``; may be set.

    Shapes:
        As the layer's ``forward``. The batch must stay the same until ``reset``; use ``keep`` to
        go on with some of its rows.
    """

    def __init__(self, layer: nn.Module, detach: bool = True) -> None:
        super().__init__()
        self.layer, self.detach = layer, detach
        self.states: Any = None

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
        """
        if rows is None or self.states is None:
            self.states = None
            return
        if getattr(self.layer, "learned_states", False):
            batch = states_of(self.states)[0].shape[1]
            layer: Any = self.layer
            first = layer.state(batch=batch)
            pairs = zip(states_of(self.states), first, strict=True)
            made = [torch.where(_begins(s, rows), f, s) for s, f in pairs]
            self.states = made[0] if isinstance(self.states, Tensor) else tuple(made)
        else:
            self.states = map_states(self.states, lambda s: s.masked_fill(_begins(s, rows), 0))

    def keep(self, rows: Tensor | Sequence[int]) -> None:
        """Go on with some rows of the batch, in this order; one may come several times."""
        self.states = rows_of(self.states, rows)

    def extra_repr(self) -> str:
        """Whether pieces are cut."""
        return "" if self.detach else "detach=False"

    def __getstate__(self) -> dict[str, Any]:
        """A copy and a pickled one begin anew."""
        return {**self.__dict__, "states": None}


def _begins(state: Tensor, rows: Tensor | Sequence[int]) -> Tensor:
    """True for these rows of a state (L*D, B, ...), (B, 1, ...)."""
    size = (state.shape[1], *(1 for _ in state.shape[2:]))
    found = torch.zeros(size, dtype=torch.bool, device=state.device)
    found[torch.as_tensor(rows, device=state.device)] = True
    return found
