"""Any layer in both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatework.cells import CellLike
from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import (
    Lengths,
    as_it_came,
    check_batch,
    input_size_of,
    is_batch_first,
    is_bidirectional,
    name_of_layer,
    output_size_of,
    run_layer,
    same_make,
    time_first,
    without_padding,
)
from gatework.layers.final import final_output
from gatework.layers.recurrent import Recurrent
from gatework.paths.layerwise import in_reverse

FEATURES = 2  # their axis in (T, B, F, ...) and (B, T, F, ...)


class Bidirectional(nn.Module):
    """A layer from start to end, and a second one of its make from end to start.

    The second one reads each sequence from its own end; the padding stays behind. Of a stack of
    layers each direction is a stack of its own, whereas in ``Recurrent(bidirectional=True)``
    every layer sees both directions of the one below.

    Args:
        layer: a cell (class, description, name or ``file.py:Class``), or a layer that runs
            forward: one of ours, torch's, or a module of the form in ``layers/any_layer.py``.
        input_size: features of the input, for a cell.
        hidden_size: units of each direction, for a cell. Anything beyond the two sizes is
            asked of ``Recurrent``, which is then passed as the layer.
        merge: what becomes of the two outputs: ``"concat"``, ``"sum"``, ``"mean"``, or ``None``
            for a pair.
        batch_first: for a cell; a layer has its own.
        backward: the layer of the backward direction. Without it a copy of ``layer`` with
            weights of its own is made.

    Raises:
        LayerError: an unknown merge, a layer that is bidirectional itself, sizes beside a
            layer, or a layer of which no second one can be made.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        layer: CellLike | nn.Module,
        input_size: int | None = None,
        hidden_size: int | None = None,
        merge: str | None = "concat",
        batch_first: bool = False,
        *,
        backward: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if merge not in MERGES:
            raise LayerError(f"merge is one of {', '.join(map(repr, MERGES))}; got {merge!r}.")
        self.merge = merge
        has_sizes = input_size is not None or hidden_size is not None
        if isinstance(layer, nn.Module):
            if has_sizes or batch_first:
                raise LayerError(
                    f"{name_of_layer(layer)} is a layer and has its sizes and batch_first; pass "
                    f"them for a cell alone."
                )
        elif input_size is None or hidden_size is None:
            raise LayerError("Of a cell Bidirectional wants input_size and hidden_size.")
        else:
            layer = Recurrent(layer, input_size, hidden_size, batch_first=batch_first)
        self.forward_layer = layer
        self.backward_layer = same_make(layer) if backward is None else backward
        for one in (self.forward_layer, self.backward_layer):
            if is_bidirectional(one):
                raise LayerError(
                    f"{name_of_layer(one)} runs in both directions already. Make it with "
                    f"bidirectional=False."
                )
        facts = [
            (is_batch_first(one), input_size_of(one))
            for one in (self.forward_layer, self.backward_layer)
        ]
        if facts[0] != facts[1]:
            raise LayerError(
                f"The two directions differ in (batch_first, input_size): {facts[0]} and "
                f"{facts[1]}."
            )
        self.batch_first, self.input_size = facts[0]
        self.bidirectional = True

    @property
    def output_size(self) -> int | None:
        """The last axis of the output; of one of the two where they are a pair."""
        one, two = output_size_of(self.forward_layer), output_size_of(self.backward_layer)
        if one is None or two is None or self.merge != "concat":
            return one
        return one + two

    def forward(
        self,
        input: Tensor,
        hx: tuple[Any, Any] | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Any, tuple[Any, Any]]:
        """Run both directions over a batch of sequences.

        Args:
            input: what the layer takes: (T, B, F), or (B, T, F) where it is batch_first.
            hx: a pair, the initial states of the forward and of the backward layer; each in
                that layer's own form, or ``None``.
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen and
                their outputs are zero.

        Returns:
            output: (T, B, 2*H) or (B, T, 2*H) with ``"concat"``, H instead of 2*H with
                ``"sum"`` and ``"mean"``, a pair (forward, backward) of them with ``None``; both
                directions in the order of the input.
            states: a pair, the final states of the two layers: the forward direction's after
                its last step, the backward direction's after the first.

        Raises:
            ShapeError: a shape that cannot be.
            LayerError: the layer takes no lengths, and they are unequal.
        """
        x, lengths = check_batch(type(self).__name__, input, lengths, self.batch_first)
        first = (None, None) if hx is None else tuple(hx)
        if len(first) != 2:
            raise ShapeError(
                f"{type(self).__name__}: hx is a pair, the states of the forward and of the "
                f"backward direction; got {len(first)}."
            )
        x = without_padding(x, lengths, self.batch_first)
        output, states = run_layer(self.forward_layer, x, first[0], lengths)
        turned, others = run_layer(
            self.backward_layer, self._reverse(x, lengths), first[1], lengths
        )
        outputs = [
            without_padding(one, lengths, self.batch_first)
            for one in (output, self._reverse(turned, lengths))
        ]
        return self._merged(outputs, min(FEATURES, x.dim() - 1)), (states, others)

    def final_output(self, states: tuple[Any, Any]) -> Any:
        """Both directions' outputs after their last step, merged; see ``gw.final_output``."""
        if not isinstance(states, tuple) or len(states) != 2:
            raise ShapeError("The states of a Bidirectional are a pair, one for each direction.")
        pair = [
            final_output(layer, own)
            for layer, own in zip((self.forward_layer, self.backward_layer), states, strict=True)
        ]
        return self._merged(pair, min(FEATURES, pair[0].dim()) - 1)  # without the axis of time

    def extra_repr(self) -> str:
        """How the outputs are merged."""
        return f"merge={self.merge!r}"

    def _reverse(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        steps = in_reverse(time_first(x, self.batch_first), lengths)
        return as_it_came(steps, x, self.batch_first)

    def _merged(self, pair: list[Tensor], features: int) -> Any:
        one, two = pair
        if self.merge in ("sum", "mean") and one.shape != two.shape:
            raise ShapeError(
                f"merge={self.merge!r} wants outputs of one shape, got {tuple(one.shape)} forward "
                f"and {tuple(two.shape)} backward."
            )
        return MERGES[self.merge](one, two, features)


MERGES: dict[str | None, Any] = {
    "concat": lambda one, two, features: torch.cat([one, two], features),
    "sum": lambda one, two, features: one + two,
    "mean": lambda one, two, features: (one + two) / 2,
    None: lambda one, two, features: (one, two),
}
