"""The forward pass that every layer shares: from what users pass to a ``Call``, and back.

A layer brings its cell, its sizes and its ``stack_weights()``; the mixin does batch_first,
single sequences, packed sequences, lengths, initial states and the choice of the path.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatework import paths
from gatework.equations import Spec
from gatework.errors import ShapeError
from gatework.layers.initial import Initialiser, initialiser
from gatework.layers.shapes import check_input, check_lengths, check_states
from gatework.layers.stream import Stream
from gatework.layers.switches import DEFAULTS, Switches, shown
from gatework.layers.weight_drop import DroppedWeights
from gatework.paths import Call, Result, Weights, prepared, vendor
from gatework.paths.per_layer import is_plain_form

States = Tensor | tuple[Tensor, ...]


class StackForward:
    """Mixin: ``forward`` for a stack of layers of one cell."""

    # Given by the layer.
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    training: bool
    path: str
    is_torch_cell: bool  # whether torch has a kernel for the cell
    # Taken from the switches; layers that were pickled before there were any have none.
    forget_bias: float | None
    weight_drop = 0.0
    residual = False
    switches = ""  # as they stand in the repr
    _init: Initialiser

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Else a reader is shown the arguments of __new__.
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

    @property
    def spec(self) -> Spec:
        """The description of the layer's cell."""
        raise NotImplementedError

    def own_weights(self) -> Weights:
        """The parameters, as the paths want them."""
        raise NotImplementedError

    def stack_weights(self) -> Weights:
        """The weights of one call: in training some of them are dropped, if that was asked for."""
        weights = self.own_weights()
        if not (self.weight_drop and self.training):
            return weights
        return DroppedWeights(self.spec, weights, list(self.rows()), self.weight_drop)

    def rows(self) -> Iterator[tuple[int, int]]:
        """Layers and directions, in the order of the states."""
        for layer in range(self.num_layers):
            for direction in range(2 if self.bidirectional else 1):
                yield layer, direction

    def take(self, given: Switches) -> None:
        """Keep what the switches say about the stack.

        Raises:
            CellError: no such initialisation.
            ShapeError: a number that is no probability.
        """
        all_of_them = DEFAULTS | given
        self.forget_bias, self.residual = all_of_them["forget_bias"], all_of_them["residual"]
        self.weight_drop = all_of_them["weight_drop"]
        if not 0 <= self.weight_drop <= 1:
            raise ShapeError(f"weight_drop is a probability in [0, 1], got {self.weight_drop!r}.")
        self._init, self.switches = initialiser(all_of_them["init"]), shown(given)

    def check_residual(self, output_size: int) -> None:
        """Refuse a residual connection between two sizes."""
        if self.residual and self.input_size != output_size:
            raise ShapeError(
                f"residual=True adds each layer's input to its output: input_size="
                f"{self.input_size} must be the output's size {output_size} (directions together)."
            )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Tensor | list[int] | None = None,
    ) -> tuple[Any, Any]:
        """Run the stack over a batch of sequences.

        Args:
            input: (T, B, F), or (B, T, F) with batch_first, or one sequence (T, F), or a
                PackedSequence.
            hx: initial states, (L*D, B, size) each, also with batch_first; one tensor for a
                cell with one state, else a tuple in the order of the cell's states. Default 0.
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen by
                any direction; their outputs are zero, and the final states are those at the end.

        Returns:
            output: (T, B, D*H), or (B, T, D*H) with batch_first, or as the input came.
            states: the final states, in the form of ``hx``.

        Raises:
            ShapeError: a shape or a dtype that cannot be; the message says the likely cause.
            PathError: the path asked for does not support this call.
        """
        if torch.compiler.is_compiling():
            call, form = self.prepare(input, hx, lengths)
            return form.restore(paths.run_traced(call, self.path, self.is_torch_cell))
        if isinstance(input, Tensor) and lengths is None and is_plain_form(hx):
            return self._forward_again(input, hx)
        call, form = self.prepare(input, hx, lengths)
        return form.restore(paths.choose(call, self.path).run(call))

    def _forward_again(self, input: Tensor, hx: States | None) -> tuple[Any, Any]:
        """Calls of a kind that come again are checked and set up once."""
        result: tuple[Any, Any] | None = vendor.again(self, input, hx)
        if result is not None:
            return result
        ready = prepared.find(self, input, hx)
        if ready is not None:
            form = _Form(self.batch_first)
            x = form.standard(input)
        else:
            call, form = self.prepare(input, hx, None)
            path, x = paths.choose(call, self.path), call.x
            if path.name == "vendor" and form.is_batched:
                vendor.remember(self, input, hx)
            if path.name == "native" and form.is_batched:
                ready = prepared.prepare(self, call, hx)
            if ready is None:
                return form.restore(path.run(call))
        done = ready(x, hx)
        prepared.put_back(self, input, hx, ready)
        return form.restore(done)

    def stream(self, batch: int = 1) -> Stream:
        """Feed the layer step by step: ``stream.step(x)``.

        Raises:
            ShapeError: the layer is bidirectional.
        """
        return Stream(self, batch)

    def prepare(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Tensor | list[int] | None = None,
        record: bool = False,
    ) -> tuple[Call, _Form]:
        """The call that ``forward`` makes, and the way back from its result."""
        name = type(self).__name__
        form = _Form(self.batch_first)
        weights = self.stack_weights()
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ShapeError(f"{name}: a PackedSequence has its lengths; do not pass lengths=.")
            if input.data.dim() != 2:
                raise ShapeError(
                    f"{name}: a PackedSequence holds (steps, F) data, got "
                    f"{tuple(input.data.shape)}. Pack sequences of shape (T, F)."
                )
            x, lengths = form.unpack(input)
            check_input(name, x, self.input_size, False, self.weight_dtype())
        else:
            check_input(name, input, self.input_size, self.batch_first, self.weight_dtype())
            x = form.standard(input)
        states = self._states(name, x, hx, form)
        if lengths is not None:
            lengths = check_lengths(name, lengths, form.as_given(x), form.is_turned)
        call = Call(
            self.spec,
            x,
            states,
            weights,
            lengths,
            self.num_layers,
            2 if self.bidirectional else 1,
            self.dropout,
            self.training,
            record,
            self.residual,
        )
        return call, form

    def weight_dtype(self) -> torch.dtype:
        """The dtype of the parameters, which the input must have."""
        dtype: torch.dtype = next(self.parameters()).dtype  # type: ignore[attr-defined]
        return dtype

    def _states(self, name: str, x: Tensor, hx: States | None, form: _Form) -> tuple[Tensor, ...]:
        """The initial states as (L*D, B, size), zero where none are given."""
        rows = self.num_layers * (2 if self.bidirectional else 1)
        sizes = {"H": self.hidden_size, "P": self.proj_size}
        widths = [sizes[s.size] for s in self.spec.states]
        if hx is None:
            return tuple(x.new_zeros(rows, x.shape[1], width) for width in widths)
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if len(states) != len(widths):
            names = ", ".join(s.name for s in self.spec.states)
            raise ShapeError(
                f"{name}: expected {len(widths)} initial state(s) ({names}), got {len(states)}."
            )
        batch = (x.shape[1],) if form.is_batched else ()
        expected = [(rows, *batch, width) for width in widths]
        check_states(name, states, expected, form.as_given(x), form.is_turned)
        return form.standard_states(states)


class _Form:
    """How the input came, so that the result goes back in the same form."""

    def __init__(self, batch_first: bool) -> None:
        self.batch_first = batch_first
        self.is_batched = True
        self.is_turned = False  # the input came as (B, T, F)
        self.packed: PackedSequence | None = None
        self.lengths: Tensor | None = None

    def standard(self, x: Tensor) -> Tensor:
        """Any tensor input as (T, B, F)."""
        self.is_batched = x.dim() == 3
        if not self.is_batched:
            return x.unsqueeze(1)
        self.is_turned = self.batch_first
        return self.as_given(x)

    def as_given(self, x: Tensor) -> Tensor:
        """The standard axes (T, B, F) in the order in which the input came, or back again."""
        return x.transpose(0, 1) if self.is_turned else x

    def unpack(self, packed: PackedSequence) -> tuple[Tensor, Tensor]:
        """A packed batch as (T, B, F) and lengths, in the packed order."""
        self.packed = packed
        x, self.lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        return x, self.lengths

    def standard_states(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Checked states as (L*D, B, size), in the packed order where there is one."""
        if not self.is_batched:
            return tuple(s.unsqueeze(1) for s in states)
        order = None if self.packed is None else self.packed.sorted_indices
        return states if order is None else tuple(s.index_select(1, order) for s in states)

    def restore(self, result: Result) -> tuple[Any, Any]:
        """Output and final states as torch.nn would return them for such an input."""
        states = result.states
        output: Any = self.as_given(result.output)
        if self.packed is not None:
            assert self.lengths is not None
            data = pack_padded_sequence(output, self.lengths).data
            back = self.packed.unsorted_indices
            output = PackedSequence(data, self.packed.batch_sizes, self.packed.sorted_indices, back)
            if back is not None:
                states = tuple(s.index_select(1, back) for s in states)
        elif not self.is_batched:
            output = output.squeeze(1)
            states = tuple(s.squeeze(1) for s in states)
        return output, states[0] if len(states) == 1 else states
