"""A layer that runs from the end, or begins in states of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework.errors import ShapeError
from gatework.layers import Recurrent
from gatework.layers.shapes import check_lengths
from gatework.paths.layerwise import in_reverse


class Preset(nn.Module):
    """A ``Recurrent`` as another framework had set it up.

    Args:
        layer: the layer itself; ``preset.layer`` is what can be recorded or converted on.
        reverse: each sequence is read from its end to its start; the outputs lie in the order
            of the input, the final states are those at the start.
        states: initial states (D, B, H) each for calls without ``hx``; (D, 1, H) goes for any B.
        lengths: (B,), for calls without ``lengths``.

    Shapes:
        As the layer's.
    """

    lengths: Tensor | None

    def __init__(
        self,
        layer: Recurrent,
        *,
        reverse: bool = False,
        states: tuple[Tensor, ...] = (),
        lengths: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.reverse = reverse
        for symbol, state in zip(layer.spec.states, states, strict=bool(states)):
            self.register_buffer(f"first_{symbol.name}", state)
        self.has_states = bool(states)
        self.register_buffer("lengths", lengths)

    def forward(
        self,
        input: Tensor,
        hx: Tensor | tuple[Tensor, ...] | None = None,
        lengths: Tensor | list[int] | None = None,
    ) -> tuple[Any, Any]:
        """Run the layer; arguments and results as its own.

        Raises:
            ShapeError: a shape that cannot be, or a PackedSequence.
        """
        if isinstance(input, PackedSequence):
            raise ShapeError("Preset: got a PackedSequence; pass the padded batch and lengths=.")
        is_batched = input.dim() == 3
        if lengths is None and is_batched:
            lengths = self.lengths
        if hx is None and self.has_states:
            hx = self._first(input)
        if not self.reverse or input.dim() not in (2, 3):  # the layer refuses other shapes
            return self.layer(input, hx, lengths)  # type: ignore[no-any-return]
        output, states = self.layer(self._turned(input, lengths), hx, lengths)
        return self._turned(output, lengths), states

    def _first(self, x: Tensor) -> tuple[Tensor, ...]:
        """The states of its own, for the rows of this input."""
        kept = [getattr(self, f"first_{s.name}") for s in self.layer.spec.states]
        if x.dim() != 3:
            return tuple(s[:, 0] for s in kept)
        batch = x.shape[0 if self.layer.batch_first else 1]
        return tuple(s.expand(-1, batch, -1) if s.shape[1] == 1 else s for s in kept)

    def _turned(self, x: Tensor, lengths: Tensor | list[int] | None) -> Tensor:
        """Each sequence from its own end to its start, its padding behind it."""
        if x.dim() == 2:
            return x.flip(0)
        is_turned = self.layer.batch_first
        if lengths is not None:
            lengths = check_lengths("Preset", lengths, x, is_turned)
        steps = x.transpose(0, 1) if is_turned else x
        done = in_reverse(steps, None if lengths is None else torch.as_tensor(lengths))
        return done.transpose(0, 1) if is_turned else done

    def extra_repr(self) -> str:
        """What is set."""
        kept = {"reverse": self.reverse, "states": self.has_states}
        kept["lengths"] = self.lengths is not None
        return ", ".join(name for name, is_set in kept.items() if is_set)
