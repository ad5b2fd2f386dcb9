"""The form in which an input comes: a batch, one sequence, a packed batch; and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatework.equations import Spec
from gatework.equations.sizes import MATRICES
from gatework.layers.states import inward, outward
from gatework.paths import Result


class Form:
    """How the input came, so that the result goes back in the same form."""

    def __init__(
        self, batch_first: bool, spec: Spec, shapes: Sequence[tuple[int, ...]], dims: int = 0
    ) -> None:
        self.batch_first, self.spec, self.shapes, self.dims = batch_first, spec, shapes, dims
        self.is_batched = True
        self.is_turned = False  # the input came as (B, T, F)
        self.packed: PackedSequence | None = None
        self.lengths: Tensor | None = None

    def standard(self, x: Tensor) -> Tensor:
        """Any tensor input as (T, B, F), images as (T, B, *space, F)."""
        self.is_batched = x.dim() == 3 + self.dims
        if not self.is_batched:
            return inward(x.unsqueeze(1), dims=self.dims)
        self.is_turned = self.batch_first
        return inward(self._turned(x), dims=self.dims)

    def as_given(self, x: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Values (T, B, *space, size) with the axes of the input and, of a matrix, its own."""
        return outward(self._turned(x), shape, self.dims)

    def shape_of_steps(self, x: Tensor) -> tuple[int, ...]:
        """The shape of a value for each step and row, beside an input (T, B, F)."""
        return tuple(self._turned(x).shape[:2] if self.is_batched else x.shape[:1])

    def steps(self, values: Tensor) -> Tensor:
        """A value for each step and row, as (T, B)."""
        return self._turned(values) if self.is_batched else values.unsqueeze(1)

    def _turned(self, x: Tensor) -> Tensor:
        """The axes (T, B) in the order in which the input came, or back again."""
        return x.transpose(0, 1) if self.is_turned else x

    def unpack(self, packed: PackedSequence) -> tuple[Tensor, Tensor]:
        """A packed batch as it would have come, (T, B, F), and lengths, in the packed order."""
        self.packed = packed
        x, self.lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        return x, self.lengths

    def inside(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """States (L*D, B, *shape, *space) as (L*D, B, *space, size)."""
        pairs = zip(states, self.shapes, strict=True)
        return tuple(inward(state, shape, self.dims) for state, shape in pairs)

    def standard_states(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Checked states as (L*D, B, *space, size), in the packed order where there is one."""
        states = self.inside(states)
        if not self.is_batched:
            return tuple(s.unsqueeze(1) for s in states)
        order = None if self.packed is None else self.packed.sorted_indices
        return states if order is None else tuple(s.index_select(1, order) for s in states)

    def rows(self, recorded: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """What was recorded, with the axes of the input."""
        square = next((shape for shape in self.shapes if len(shape) > 1), ())
        matrices = {e.name for e in self.spec.equations if e.size in MATRICES}
        found = [
            {name: self.as_given(v, square if name in matrices else ()) for name, v in row.items()}
            for row in recorded
        ]
        if self.is_batched:
            return found
        return [{name: v.squeeze(1) for name, v in row.items()} for row in found]

    def restore(self, result: Result) -> tuple[Any, Any]:
        """Output and final states as torch.nn would return them for such an input."""
        pairs = zip(self.shapes, result.states, strict=False)  # a call may have further ones
        states = tuple(outward(state, shape, self.dims) for shape, state in pairs)
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
