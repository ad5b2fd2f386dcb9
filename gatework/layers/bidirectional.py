"""Any layer in both directions."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatework.cells import CellLike
from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import (
    Lengths,
    all_beside,
    input_size_of,
    is_batch_first,
    is_bidirectional,
    name_of_layer,
    output_size_of,
    same_make,
)
from gatework.layers.final import final_output
from gatework.layers.recording import Recording, side_by_side
from gatework.layers.recurrent import Recurrent
from gatework.layers.sequences import EQUATIONS, NOTHING, STATES, Sequences
from gatework.layers.shapes import entries_of
from gatework.layers.states import Beside, StepOptions

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

    @property
    def beside(self) -> tuple[str, ...] | None:
        """What the two layers read beside the input, by name."""
        return all_beside((self.forward_layer, self.backward_layer))

    def forward(
        self,
        input: Tensor,
        hx: tuple[Any, Any] | None = None,
        lengths: Lengths | None = None,
        *,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: tuple[Any, Any] | None = None,
        beside: Beside | None = None,
        return_states: bool = False,
    ) -> Any:
        """Run both directions over a batch of sequences.

        Args:
            input: what the layer takes: (T, B, F), or (B, T, F) where it is batch_first.
            hx: a pair, the initial states of the forward and of the backward layer; each in
                that layer's own form, or ``None``.
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen and
                their outputs are zero.
            mask: instead of lengths (T, B) or (B, T) with batch_first, True where a step is seen.
            resets: True where a new sequence begins in the middle of a row, shaped as ``mask``.
                The backward direction is set anew at the same borders, from their other side.
            reset_to: what the states are set to, in the form of ``hx``.
            beside: what the cells read beside the input by name, shaped as ``mask``.
            return_states: also give all states after every step. All of these mean what they
                mean to ``Recurrent``.

        Returns:
            output: (T, B, 2*H) or (B, T, 2*H) with ``"concat"``, H instead of 2*H with
                ``"sum"`` and ``"mean"``, a pair (forward, backward) of them with ``None``; both
                directions in the order of the input.
            states: a pair, the final states of the two layers: the forward direction's after
                its last step, the backward direction's after the first.
            sequences: with return_states, a ``Recording``: ``sequences.at(layer, direction)``.

        Raises:
            ShapeError: a shape that cannot be.
            LayerError: the layer takes no lengths, and they are unequal; or it does not take
                another argument.
        """
        keep = STATES if return_states else NOTHING
        batch = Sequences.of(self, input, lengths, mask, resets, reset_to, beside, keep)
        return self._run(batch, input, hx, reset_to)

    def recorded(
        self,
        input: Tensor,
        hx: tuple[Any, Any] | None = None,
        lengths: Lengths | None = None,
        **steps: Unpack[StepOptions],
    ) -> tuple[Any, tuple[Any, Any], Recording]:
        """Output and states as of ``forward``, and every equation at every step."""
        batch = Sequences.of(self, input, lengths, **steps, keep=EQUATIONS)
        result: tuple[Any, tuple[Any, Any], Recording]
        result = self._run(batch, input, hx, steps.get("reset_to"))
        return result

    def _run(self, batch: Sequences, x: Tensor, hx: Any, reset_to: Any) -> Any:
        first, origins = self._pair("hx", hx), self._pair("reset_to", reset_to)
        x = batch.seen_alone(x)
        output, states, forward = batch.run(self.forward_layer, x, first[0], origins[0])
        turned, others, backward = batch.backward().run(
            self.backward_layer, batch.in_reverse(x), first[1], origins[1]
        )
        outputs = [batch.seen_alone(one) for one in (output, batch.in_reverse(turned))]
        result = self._merged(outputs, min(FEATURES, x.dim() - 1)), (states, others)
        if forward is None or backward is None:
            return result
        return *result, side_by_side(forward, backward.changed(batch.in_reverse))

    def _pair(self, which: str, states: Any) -> tuple[Any, Any]:
        name = type(self).__name__
        pair = (None, None) if states is None else entries_of(name, which, states)
        if len(pair) != 2:
            raise ShapeError(
                f"{name}: {which} is a pair, the states of the forward and of the "
                f"backward direction; got {len(pair)}."
            )
        return pair

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
