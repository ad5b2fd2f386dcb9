"""The forward pass that every layer shares: from what users pass to a ``Call``, and back.

A layer brings its cell, its sizes and its ``stack_weights()``; the mixin does batch_first,
single sequences, packed sequences, lengths, initial states and the choice of the path.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatework import paths
from gatework.equations.spec import NEXT
from gatework.errors import PathError, ShapeError
from gatework.layers.carried import CarriedStates
from gatework.layers.form import Form
from gatework.layers.initial import Initialiser, initialiser
from gatework.layers.recording import Recording, rows_of_layers
from gatework.layers.shapes import (
    check_beside,
    check_input,
    check_lengths,
    check_steps,
    check_together,
)
from gatework.layers.states import BATCHED, Beside, States, StepOptions, inward
from gatework.layers.stream import Stream
from gatework.layers.switches import DEFAULTS, Switches, shown
from gatework.layers.weight_drop import DroppedWeights
from gatework.paths import Call, Result, Weights, prepared, vendor
from gatework.paths.interruptions import with_beside, with_mask, with_reset_steps
from gatework.paths.per_layer import is_plain_form
from gatework.paths.segments import check_segments, run_segments


class StackForward(CarriedStates):
    """Mixin: ``forward`` for a stack of layers of one cell."""

    # Given by the layer, beside those that the states depend on.
    input_size: int
    dropout: float
    training: bool
    path: str
    is_torch_cell: bool  # whether torch has a kernel for the cell
    # Taken from the switches; layers that were pickled before there were any have none.
    forget_bias: float | None
    weight_drop = 0.0
    residual = False
    checkpoint: str | int | None = None
    switches = ""  # as they stand in the repr
    # Of convolutions, where they stand for the products.
    kernel_size: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    _init: Initialiser

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__signature__" in vars(cls):
            return
        # Else a reader is shown the arguments of __new__.
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

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
            PathError: segments that cannot be.
            ShapeError: a number that is no probability.
        """
        all_of_them = DEFAULTS | given
        self.forget_bias, self.residual = all_of_them["forget_bias"], all_of_them["residual"]
        self.weight_drop = all_of_them["weight_drop"]
        if not 0 <= self.weight_drop <= 1:
            raise ShapeError(f"weight_drop is a probability in [0, 1], got {self.weight_drop!r}.")
        self.learned_states = all_of_them["learned_states"]
        self.checkpoint = check_segments(all_of_them["checkpoint"])
        self._init, self.switches = initialiser(all_of_them["init"]), shown(given)

    def check_residual(self, output_size: int) -> None:
        """Refuse a residual connection between two sizes."""
        if self.residual and self.input_size != output_size:
            raise ShapeError(
                f"residual=True adds each layer's input to its output: {self.arguments['F']}="
                f"{self.input_size} must be the output's size {output_size} (directions together)."
            )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Tensor | list[int] | None = None,
        *,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: States | None = None,
        beside: Beside | None = None,
        return_states: bool = False,
    ) -> Any:
        """Run the stack over a batch of sequences.

        Args:
            input: (T, B, F), or (B, T, F) with batch_first, or one sequence (T, F), or a
                PackedSequence.
            hx: initial states, (L*D, B, size) each, a matrix (L*D, B, H, H), of n heads
                (L*D, B, n, H/n, H/n), also with batch_first; one tensor for a cell with one
                state, else a tuple in the order of the cell's states. Default 0, or what the
                layer has learned (``learned_states``).
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen by
                any direction; their outputs are zero, and the final states are those at the end.
            mask: instead of lengths (T, B) or (B, T) with batch_first, True where a step is
                seen. Over others states stay as they are, and the output is zero.
            resets: True where a new sequence begins in the middle of a row, shaped as ``mask``:
                before that step all states are set anew. A backward direction is set anew
                where it comes to the other side of the border. Behind the last step of a row
                that is seen nothing begins.
            reset_to: what they are set to, in the form of ``hx``. Default 0, or what the layer
                has learned.
            beside: what the cell reads beside the input (``Beside``), by name: a number for
                each step and row, shaped as ``mask``. There is no gradient by it.
            return_states: also give all states after every step.

        Returns:
            output: (T, B, D*H), or (B, T, D*H) with batch_first, or as the input came.
            states: the final states, in the form of ``hx``; several have names (``states.c``).
            sequences: with return_states, a ``Recording`` of all states after every step:
                ``sequences["c"]``, ``sequences.at(layer, direction)["c"]``, differentiable.

        Raises:
            ShapeError: a shape or a dtype that cannot be; the message says the likely cause.
            PathError: the path asked for does not support this call.
        """
        is_plain = beside is None and lengths is mask is resets is reset_to is None
        is_plain = is_plain and not return_states
        is_traced = torch.compiler.is_compiling()
        if is_plain and not is_traced and isinstance(input, Tensor) and is_plain_form(hx):
            output, states = self._forward_again(input, hx)
            return output, self._named(states)
        call, form = self.prepare(input, hx, lengths, mask, resets, reset_to, beside)
        call = replace(call, every_state=return_states)
        if is_traced:
            result = paths.run_traced(call, self.path, self.is_torch_cell)
        else:
            result = self._run(call)
        if form.packed is None:  # of such a batch torch's results are never lowered
            result = vendor.lowered(call, result)
        output, states = form.restore(result)
        if not return_states:
            return output, self._named(states)
        names = {s.name: s.name + NEXT for s in self.spec.states}
        return output, self._named(states), self._recording(form.rows(result.recorded), names)

    def recorded(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Tensor | list[int] | None = None,
        **steps: Unpack[StepOptions],
    ) -> tuple[Any, Any, Recording]:
        """Output and states as of ``forward``, and every equation at every step.

        Raises:
            PathError: the layer asks for a path that shows no gates.
            ShapeError: as ``forward``.
        """
        call, form = self.prepare(input, hx, lengths, **steps)
        call = replace(call, record=True)
        try:
            path = paths.choose(call, self.path)
        except PathError as error:
            raise PathError(f"{error} Set layer.path = {paths.AUTO!r} to record it.") from None
        result = path.run(call)
        output, states = form.restore(result)
        names = {e.name: e.name for e in self.spec.equations}  # resets bring further ones
        return output, self._named(states), self._recording(form.rows(result.recorded), names)

    def _recording(self, rows: list[dict[str, Tensor]], names: Mapping[str, str]) -> Recording:
        """The rows with other names: to each one the name that it has there."""
        rows = [{name: row[old] for name, old in names.items()} for row in rows]
        return rows_of_layers(self.spec, rows, 2 if self.bidirectional else 1)

    def _run(self, call: Call) -> Result:
        path = paths.choose(call, self.path)  # of the whole: a segment alone may choose another
        if self.checkpoint is None or call.every_state:  # all states are more than is saved
            return path.run(call)
        return run_segments(call, self.checkpoint, path.run)

    def _forward_again(self, input: Tensor, hx: States | None) -> tuple[Any, Any]:
        """Calls of a kind that come again are checked and set up once."""
        if hx is None and self.learned_states:
            is_batched = input.dim() == BATCHED + self.dims
            batch = input.shape[0 if self.batch_first else 1] if is_batched else None
            hx = self._first_states(input, batch)
        result: tuple[Any, Any] | None = vendor.again(self, input, hx)
        if result is not None:
            return result
        ready = prepared.find(self, input, hx)
        if ready is not None:
            form = self._form()
            x = form.standard(input)
        else:
            call, form = self.prepare(input, hx, None)
            path, x = paths.choose(call, self.path), call.x
            if self.checkpoint is not None and torch.is_grad_enabled():
                return form.restore(self._run(call))
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
        self._check_direction("stream")
        return Stream(self, batch)

    def prepare(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Tensor | list[int] | None = None,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: States | None = None,
        beside: Beside | None = None,
    ) -> tuple[Call, Form]:
        """The call that ``forward`` makes, and the way back from its result."""
        name = type(self).__name__
        form = self._form()
        weights = self.stack_weights()
        check_together(name, lengths, mask, resets, reset_to)
        if isinstance(input, PackedSequence):
            if beside is not None or not (lengths is mask is resets is None):
                raise ShapeError(
                    f"{name}: a PackedSequence has its lengths; do not pass lengths=, mask=, "
                    f"resets= or beside=. Pad it (pad_packed_sequence) to use them."
                )
            if input.data.dim() != 2 + self.dims:
                raise ShapeError(
                    f"{name}: a PackedSequence holds (steps, {self.axes}) data, got "
                    f"{tuple(input.data.shape)}. Pack sequences of shape (T, {self.axes})."
                )
            x, lengths = form.unpack(input)
            self._check_input(x, batch_first=False)
            x = inward(x, dims=self.dims)
        else:
            self._check_input(input, self.batch_first)
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
            residual=self.residual,
            dilation=self.dilation,
        )
        if mask is not None:
            check_steps(name, "mask", mask, form.shape_of_steps(x))
            call = with_mask(call, form.steps(mask))
        if resets is not None:
            check_steps(name, "resets", resets, form.shape_of_steps(x))
            is_set = reset_to is not None or self.learned_states
            origins = self._states(name, x, reset_to, form) if is_set else None
            call = with_reset_steps(call, form.steps(resets), origins)
        if beside is not None or self.spec.beside:
            beside = {} if beside is None else beside
            check_beside(name, self.spec.beside, beside, form.shape_of_steps(x))
            call = with_beside(call, {n: form.steps(values) for n, values in beside.items()})
        return call, form

    def _form(self) -> Form:
        return Form(self.batch_first, self.spec, self._shapes_of_states(), self.dims)

    def _check_input(self, x: Tensor, batch_first: bool) -> None:
        check_input(type(self).__name__, x, self.input_size, batch_first, self.weight_dtype())

    def weight_dtype(self) -> torch.dtype:
        """The dtype of the parameters, which the input must have."""
        dtype: torch.dtype = next(self.parameters()).dtype  # type: ignore[attr-defined]
        return dtype
