"""The forward pass that every layer shares: from what users pass to a ``Call``, and back.

A layer brings its cell, its sizes and its ``stack_weights()``; the mixin does batch_first,
single sequences, packed sequences, lengths, initial states and the choice of the path.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatework import paths
from gatework.equations import Spec
from gatework.equations.sizes import MATRICES, shape_of
from gatework.equations.spec import NEXT
from gatework.errors import ShapeError
from gatework.layers.initial import Initialiser, initialiser
from gatework.layers.recording import Recording
from gatework.layers.shapes import check_beside, check_input, check_lengths, check_states
from gatework.layers.states import as_matrix, as_row, named_states
from gatework.layers.stream import Stream
from gatework.layers.switches import DEFAULTS, Switches, shown
from gatework.layers.weight_drop import DroppedWeights
from gatework.paths import Call, Result, Weights, prepared, vendor
from gatework.paths.interruptions import with_beside, with_mask, with_reset_steps
from gatework.paths.per_layer import is_plain_form, states_of
from gatework.paths.segments import check_segments, run_segments

States = Tensor | tuple[Tensor, ...]
Beside = Mapping[str, Tensor]


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
    learned_states = False
    checkpoint: str | int | None = None
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
                f"residual=True adds each layer's input to its output: input_size="
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
            hx: initial states, (L*D, B, size) each, a matrix (L*D, B, H, H), also with
                batch_first; one tensor for a cell with one state, else a tuple in the order of
                the cell's states. Default 0, or what the layer has learned (``learned_states``).
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
        output, states = form.restore(result)
        states = self._named(states)
        if not return_states:
            return output, states
        names = [s.name for s in self.spec.states]
        rows = [{name: row[name + NEXT] for name in names} for row in form.rows(result.recorded)]
        return output, states, Recording(self.spec, rows, call.num_directions)

    def _run(self, call: Call) -> Result:
        path = paths.choose(call, self.path)  # of the whole: a segment alone may choose another
        if self.checkpoint is None or call.every_state:  # all states are more than is saved
            return path.run(call)
        return run_segments(call, self.checkpoint, path.run)

    def step(
        self, x: Tensor, states: States | None = None, beside: Beside | None = None
    ) -> tuple[Tensor, Any]:
        """One step: what ``forward`` gives for a sequence of one, from the states of the last one.

        It is differentiable and takes the layer as it is; ``stream`` is the quick form for
        inference.

        Args:
            x: (B, F) or (F,).
            states: as this function returned them; ``None`` begins a sequence.
            beside: what the cell reads beside the input by name, (B,) or () each.

        Returns:
            The output, (B, H) or (H,), and the states.

        Raises:
            ShapeError: the layer is bidirectional, or a shape cannot be.
        """
        self._check_direction("step")
        if x.dim() not in (1, 2):
            raise ShapeError(
                f"A step is (B, F) or (F,), got {tuple(x.shape)}. Whole sequences go to forward."
            )
        axis = 1 if self.batch_first and x.dim() == 2 else 0
        if beside is not None:
            beside = {name: values.unsqueeze(axis) for name, values in beside.items()}
        output, states = self.forward(x.unsqueeze(axis), states, beside=beside)
        return output.squeeze(axis), states

    def state(self, states: States | None = None, batch: int | None = None) -> Any:
        """States as an object with names, also for a cell with one state: ``state.h``.

        Args:
            states: what ``forward`` returned; ``None``: those at which a sequence begins.
            batch: with those the number of rows; ``None``: one sequence without a batch axis.

        Returns:
            A tuple with names, ``detach()``, ``to(...)`` and ``index(rows)``; ``hx`` takes it.
        """
        if states is None:
            like = next(self.parameters())  # type: ignore[attr-defined]
            states = self._first_states(like, batch)
        return named_states(self.spec, states_of(states))

    def _named(self, states: Any) -> Any:
        """The states of a cell that has several, with names; torch gives one as it is."""
        return states if isinstance(states, Tensor) else named_states(self.spec, states)

    def _check_direction(self, what: str) -> None:
        if self.bidirectional:
            raise ShapeError(
                f"{type(self).__name__} is bidirectional: its second direction begins at the end "
                f"of a sequence, which a {what} does not know. Use bidirectional=False."
            )

    def _forward_again(self, input: Tensor, hx: States | None) -> tuple[Any, Any]:
        """Calls of a kind that come again are checked and set up once."""
        if hx is None and self.learned_states:
            batch = input.shape[0 if self.batch_first else 1] if input.dim() == 3 else None
            hx = self._first_states(input, batch)
        result: tuple[Any, Any] | None = vendor.again(self, input, hx)
        if result is not None:
            return result
        ready = prepared.find(self, input, hx)
        if ready is not None:
            form = _Form(self.batch_first, self.spec, self._shapes_of_states())
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
    ) -> tuple[Call, _Form]:
        """The call that ``forward`` makes, and the way back from its result."""
        name = type(self).__name__
        form = _Form(self.batch_first, self.spec, self._shapes_of_states())
        weights = self.stack_weights()
        if lengths is not None and mask is not None:
            raise ShapeError(f"{name}: lengths= and mask= say the same thing; pass one of them.")
        if isinstance(input, PackedSequence):
            if beside is not None or not (lengths is mask is resets is None):
                raise ShapeError(
                    f"{name}: a PackedSequence has its lengths; do not pass lengths=, mask=, "
                    f"resets= or beside=. Pad it (pad_packed_sequence) to use them."
                )
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
            residual=self.residual,
        )
        if mask is not None:
            call = with_mask(call, self._of_steps("mask", mask, x, form))
        if resets is not None:
            resets = self._of_steps("resets", resets, x, form)
            is_set = reset_to is not None or self.learned_states
            origins = self._states(name, x, reset_to, form) if is_set else None
            call = with_reset_steps(call, resets, origins)
        elif reset_to is not None:
            raise ShapeError(f"{name}: reset_to= says what resets= set states to; pass both.")
        if beside is not None or self.spec.beside:
            beside = beside or {}
            check_beside(name, self.spec.beside, beside, form.shape_of_steps(x))
            call = with_beside(call, {n: form.steps(values) for n, values in beside.items()})
        return call, form

    def _of_steps(self, which: str, values: Tensor, x: Tensor, form: _Form) -> Tensor:
        """A truth value for each step and row, as (T, B)."""
        name, expected = type(self).__name__, form.shape_of_steps(x)
        if values.dtype != torch.bool or values.shape != expected:
            raise ShapeError(
                f"{name}: {which} is a bool tensor with a value for each step, {expected} "
                f"for this input; got {values.dtype} of shape {tuple(values.shape)}."
            )
        return form.steps(values)

    def weight_dtype(self) -> torch.dtype:
        """The dtype of the parameters, which the input must have."""
        dtype: torch.dtype = next(self.parameters()).dtype  # type: ignore[attr-defined]
        return dtype

    def _states(self, name: str, x: Tensor, hx: States | None, form: _Form) -> tuple[Tensor, ...]:
        """The initial states as (L*D, B, size), zero where none are given."""
        if hx is None:
            first = self._first_states(x, x.shape[1])
            return tuple(map(as_row, self._shapes_of_states(), first))
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        shapes = self._shapes_of_states()
        if len(states) != len(shapes):
            names = ", ".join(s.name for s in self.spec.states)
            raise ShapeError(
                f"{name}: expected {len(shapes)} initial state(s) ({names}), got {len(states)}."
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        batch = (x.shape[1],) if form.is_batched else ()
        expected = [(rows, *batch, *shape) for shape in shapes]
        check_states(name, states, expected, form.as_given(x), form.is_turned, form.is_batched)
        return form.standard_states(states)

    def _shapes_of_states(self) -> list[tuple[int, ...]]:
        """The axes of one row of each state: (H,), of a matrix (H, H)."""
        sizes = {"H": self.hidden_size, "P": self.proj_size}
        return [shape_of(s.size, sizes) for s in self.spec.states]

    def _first_states(self, like: Tensor, batch: int | None) -> tuple[Tensor, ...]:
        """The states at which a sequence begins, (L*D, B, size), or (L*D, size) without a batch."""
        middle = () if batch is None else (batch,)
        if self.learned_states:
            own = [getattr(self, f"first_{s.name}") for s in self.spec.states]
            return tuple(
                s if batch is None else s[:, None].expand(-1, batch, *s.shape[1:]).contiguous()
                for s in own
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(like.new_zeros(rows, *middle, *shape) for shape in self._shapes_of_states())

    def reset_first_states(self) -> None:
        """Set learned initial states, where there are any, to zero."""
        own: dict[str, Tensor] = self._parameters  # type: ignore[attr-defined]
        for state in self.spec.states:
            if f"first_{state.name}" in own:
                nn.init.zeros_(own[f"first_{state.name}"])

    def add_first_states(self, device: Any, dtype: torch.dtype | None) -> None:
        """Make learned initial states parameters, ``first_h`` and so on, (L*D, size), at zero."""
        if not self.learned_states:
            return
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for state, shape in zip(self.spec.states, self._shapes_of_states(), strict=True):
            zeros = torch.zeros(rows, *shape, device=device, dtype=dtype)
            name = f"first_{state.name}"
            self.register_parameter(name, nn.Parameter(zeros))  # type: ignore[attr-defined]


class _Form:
    """How the input came, so that the result goes back in the same form."""

    def __init__(self, batch_first: bool, spec: Spec, shapes: Sequence[tuple[int, ...]]) -> None:
        self.batch_first, self.spec, self.shapes = batch_first, spec, shapes
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

    def shape_of_steps(self, x: Tensor) -> tuple[int, ...]:
        """The shape of a value for each step and row, beside an input (T, B, F)."""
        return tuple(self.as_given(x).shape[:2] if self.is_batched else x.shape[:1])

    def steps(self, values: Tensor) -> Tensor:
        """A value for each step and row, as (T, B)."""
        return self.as_given(values) if self.is_batched else values.unsqueeze(1)

    def unpack(self, packed: PackedSequence) -> tuple[Tensor, Tensor]:
        """A packed batch as (T, B, F) and lengths, in the packed order."""
        self.packed = packed
        x, self.lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        return x, self.lengths

    def standard_states(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Checked states as (L*D, B, size), in the packed order where there is one."""
        states = tuple(map(as_row, self.shapes, states))
        if not self.is_batched:
            return tuple(s.unsqueeze(1) for s in states)
        order = None if self.packed is None else self.packed.sorted_indices
        return states if order is None else tuple(s.index_select(1, order) for s in states)

    def rows(self, recorded: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """What was recorded, with the axes of the input."""
        square = next((shape for shape in self.shapes if len(shape) > 1), ())
        matrices = {e.name for e in self.spec.equations if e.size in MATRICES}
        return [
            {
                name: as_matrix(
                    square if name in matrices else (),
                    self.as_given(v) if self.is_batched else v.squeeze(1),
                )
                for name, v in row.items()
            }
            for row in recorded
        ]

    def restore(self, result: Result) -> tuple[Any, Any]:
        """Output and final states as torch.nn would return them for such an input."""
        pairs = zip(self.shapes, result.states, strict=False)  # a call may have further ones
        states = tuple(as_matrix(shape, state) for shape, state in pairs)
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
