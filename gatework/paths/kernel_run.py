"""One call of a compiled kernel: its arrays, and the products around it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatework.compile.emit_c import NUMBERS
from gatework.compile.kernel import TILE_COLUMNS, Layout
from gatework.paths.call import Given
from gatework.paths.kernel_shape import Shape
from gatework.paths.kernel_sums import Sums
from gatework.paths.packing import kept_weights, packed_weights
from gatework.paths.team import team
from gatework.paths.workspace import Workspace

MEETING_PLACE = 128  # bytes for each group of threads
FROM, TO, MASK_STEP, MASK_ROW, MASK_ONCE = map(
    NUMBERS.index, ("from", "to", "mask_step", "mask_row", "mask_once")
)
Arrays = dict[str, Tensor]


class Run:
    """The memory of calls of one shape, of one layer in one direction.

    Attributes:
        own: the arrays that a call works in and leaves behind.
        held: the memory of those that a backward pass reads.
    """

    def __init__(self, shape: Shape, like: Tensor) -> None:
        self.shape, self.kernel = shape, shape.kernel
        self.workspace = Workspace(like.dtype)  # of the forward pass alone
        self.held = Workspace(like.dtype)
        self.own: Arrays = {}
        kernel, own = self.kernel, self.own
        for name, (_, batch, width) in shape.held().items():
            if name == "saved" and not shape.keep:
                continue
            is_output = name == f"seq_{shape.spec.states[0].name}"
            steps = shape.steps if is_output or shape.keep else shape.ring
            own[name] = self.held.empty((steps, batch, width))
        if kernel.scratch.names:
            own["scratch"] = self.workspace.empty((shape.batch, shape.width(kernel.scratch)))
        if not shape.fused:
            width = shape.width(kernel.ready)
            self.at_once = shape.chunk(width)
            # A block of columns may reach over the end of the last row.
            slack = shape.library.lanes * TILE_COLUMNS
            own["ready"] = self.workspace.empty((self.at_once * shape.batch * width + slack,))
        if shape.columns > 1:
            own["meeting"] = meeting(shape, like)

    def forward(self, given: Given) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (T, B, size), and the final states (B, size)."""
        shape, kernel = self.shape, self.kernel
        output, *others = shape.spec.states
        arrays = {**self.own, **brought(shape, given, kernel.forward_reads), **self.weights(given)}
        if shape.library.parts:
            arrays["factors"] = first_factors(shape, given)
        name = f"seq_{output.name}"
        if shape.is_whole:
            arrays[name] = given.x.new_empty(shape.steps, shape.batch, shape.padded[output.size])
        call = Launch(shape, shape.library.forward, kernel.forward_arrays, arrays)
        self.all_steps(given, call)
        result = arrays[name] if shape.is_whole else shape.plain(arrays[name], output.size)
        last = (shape.steps - 1) % shape.ring
        finals = [shape.plain(arrays[name][-1], output.size)]
        finals += [shape.plain(arrays[f"seq_{s.name}"][last], s.size) for s in others]
        return result, tuple(finals)

    def let_go(self) -> list[Tensor]:
        """What the backward pass reads besides the output and the call; the run keeps nothing."""
        self.workspace.release()
        self.held.taken = []
        held = [self.own[name] for name in self.shape.held()]
        self.own = {}
        return held

    def release(self) -> None:
        """Give all memory back."""
        self.workspace.release()
        self.held.release()
        self.own = {}

    def weights(self, given: Given) -> Arrays:
        """The weights of the forward function, packed."""
        shape, wanted = self.shape, self.kernel.forward_weights
        if not shape.fused:
            wanted = tuple(one for one in wanted if one.operand != shape.spec.input)
        if shape.keep:
            return packed_weights(shape.library, given.groups, wanted)
        return kept_weights(shape.library, given.groups, wanted, f"fused {shape.fused}")

    def all_steps(self, given: Given, launch: Launch) -> None:
        """All at once; or some at a time, what the input brings to them before the steps."""
        shape = self.shape
        if shape.fused:
            launch(0, shape.steps)
            return
        ready = self.own["ready"]
        weights = shape.halves(weights_of_input(shape, given)).t()
        width = weights.shape[1]
        for begin in range(0, shape.steps, self.at_once):
            end = min(begin + self.at_once, shape.steps)
            rows = (end - begin) * shape.batch
            part = ready[: rows * width].view(rows, width)
            x = given.x[begin:end].reshape(rows, -1)
            if shape.library.precision == "half":
                part.copy_(x.bfloat16() @ weights)
            else:
                torch.mm(x, weights, out=part)
            launch(begin, end)


def backward(
    shape: Shape,
    given: Given,
    held: Sequence[Tensor],
    output: Tensor,
    gradients: Sequence[Tensor],
    wants_input: bool,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Gradients by x (if wanted), the initial states and the parameter groups.

    Args:
        shape: that of the forward pass.
        given: what it was given.
        held: what ``Run.let_go`` gave.
        output: what ``Run.forward`` gave.
        gradients: by the output and by the final states.
        wants_input: whether the gradient by x is asked for.
    """
    kernel, spec = shape.kernel, shape.spec
    workspace = Workspace(given.x.dtype)
    arrays = brought(shape, given, kernel.backward_reads)
    arrays.update(zip(shape.held(), held, strict=True))
    if shape.is_whole:
        arrays[f"seq_{spec.states[0].name}"] = output
    by_output, *by_finals = gradients
    arrays["by_output"] = shape.pad(by_output, spec.states[0].size)
    width = shape.width(kernel.gradients)
    chunk = shape.chunk(width)
    arrays["gradients"] = workspace.empty((chunk, shape.batch, width))
    if kernel.back_scratch.names:
        arrays["scratch"] = workspace.empty((shape.batch, shape.width(kernel.back_scratch)))
    if isinstance(shape.plan.input_gradient, str):
        arrays["by_x"] = workspace.empty((shape.steps, shape.batch, shape.padded["F"]))
    if shape.columns > 1:
        arrays["meeting"] = meeting(shape, given.x)
    for state, final in zip(spec.states, by_finals, strict=True):
        arrays[f"run_{state.name}"] = shape.pad(final, state.size).clone()
        arrays[f"spare_{state.name}"] = workspace.empty((shape.batch, shape.padded[state.size]))
    arrays.update(packed_weights(shape.library, given.groups, kernel.backward_weights))
    if shape.library.parts:
        arrays["factors"] = factors_of(shape, kernel.back_factors, given.x)
    sums = Sums(shape, given, arrays, wants_input)
    launch = Launch(shape, shape.library.backward, kernel.backward_arrays, arrays)
    for begin in reversed(range(0, shape.steps, chunk)):
        end = min(begin + chunk, shape.steps)
        launch(begin, end)
        sums.add(begin, end)
    last = "run" if shape.steps % 2 == 0 else "spare"
    by_states = [shape.plain(arrays[f"{last}_{s.name}"], s.size) for s in spec.states]
    workspace.release()
    return sums.by_x, by_states, list(sums.by_group.values())


def brought(shape: Shape, given: Given, read: Collection[str]) -> Arrays:
    """The arrays that are made of what a call is given, as far as a function reads them."""
    kernel, spec = shape.kernel, shape.spec
    arrays = {"rows_x": given.x}
    if shape.library.parts:  # in pairs
        arrays["rows_x"] = in_parts(shape, pad(given.x, (0, shape.sizes["F"] % 2)))
    if given.lengths is not None:
        arrays["lengths"] = given.lengths.contiguous()
    if spec.input in read:
        arrays["x"] = shape.pad(given.x, "F")
    if any(name in read for name in kernel.vectors.names):
        arrays["vectors"] = vectors(shape, given)
    for each, layout in kernel.masks.items():
        if layout.names:
            arrays[f"masks_{each}"] = shape.beside(layout, given.masks)
    for state in spec.states:
        if state.name in read:
            arrays[f"first_{state.name}"] = shape.pad(given.first[state.name], state.size)
    return arrays


def vectors(shape: Shape, given: Given) -> Tensor:
    """All vectors one behind the other, padded."""
    layout, groups = shape.kernel.vectors, shape.spec.groups
    ordered = [(stem, members) for stem, members in groups.items() if members[0].cols is None]
    if layout.names != tuple(p.name for _, members in ordered for p in members):
        return shape.beside(layout, given.weights)
    parts = [
        shape.pad(given.groups[stem].view(len(members), -1), members[0].rows).flatten()
        for stem, members in ordered
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def factors_of(shape: Shape, layout: Layout, like: Tensor) -> Tensor:
    """Room for what products multiply in this step and in the last one; its padding is nought."""
    sizes = 2, shape.library.parts, shape.batch, shape.width(layout)
    return like.new_zeros(sizes, dtype=torch.bfloat16)


def first_factors(shape: Shape, given: Given) -> Tensor:
    """The same, with the initial states as those of the step before the first one."""
    layout = shape.kernel.factors
    found = factors_of(shape, layout, given.x)
    for name, place in shape.columns_of(layout).items():
        if name in given.first:
            found[1, ..., place] = in_parts(shape, given.first[name])
    return found


def in_parts(shape: Shape, tensor: Tensor) -> Tensor:
    """Numbers in bfloat16, (parts, ...): each rounded, then what that has left of it."""
    found = [tensor.bfloat16()]
    if shape.library.parts > 1:
        found.append((tensor - found[0].float()).bfloat16())
    return torch.stack(found)


def meeting(shape: Shape, like: Tensor) -> Tensor:
    """The counters of the groups of threads that meet, at nought."""
    return like.new_zeros(shape.rows * MEETING_PLACE // like.element_size())


def weights_of_input(shape: Shape, given: Given) -> Tensor:
    """What multiplies the input, in the layout of what is ready: (width, F)."""
    layout, spec = shape.kernel.ready, shape.spec
    matrices = [p.by(spec.input) for p in shape.plan.of_input]
    for stem, members in spec.groups.items():
        alike = shape.padded[members[0].rows] == shape.sizes[members[0].rows]
        if alike and matrices == [(p.name,) for p in members]:
            return given.groups[stem]  # as they lie
    weights, named = given.x.new_zeros(shape.width(layout), shape.sizes["F"]), given.weights
    for product, place in zip(shape.plan.of_input, shape.columns_of(layout).values(), strict=True):
        for matrix in product.by(spec.input):
            weights[place] += named[matrix]
    return weights


class Launch:
    """A kernel's function with its numbers and arrays.

    Attributes:
        table: where the arrays lie, in the order of ``names``.
        at: the place of each name in it.
    """

    def __init__(
        self,
        shape: Shape,
        function: Callable[..., None],
        names: Sequence[str],
        arrays: Mapping[str, Tensor],
    ) -> None:
        self.function, self.arrays = function, arrays
        self.numbers = type(shape.numbers)(*shape.numbers)
        self.set_mask_strides()
        pointers = [arrays[n].data_ptr() if n in arrays else 0 for n in names]
        self.table = (ctypes.c_void_p * len(names))(*pointers)
        self.at = {name: place for place, name in enumerate(names)}
        self.team = team()

    def __call__(self, begin: int, end: int) -> None:
        """Do some steps."""
        self.numbers[FROM], self.numbers[TO] = begin, end
        self.function(self.numbers, self.table, self.team)

    def set_mask_strides(self) -> None:
        """How far apart the masks of two steps and two rows lie: 0 where one is for all."""
        if "masks_step" in self.arrays:
            steps, rows, width = self.arrays["masks_step"].shape
            self.numbers[MASK_STEP] = rows * width * (steps > 1)
            self.numbers[MASK_ROW] = width * (rows > 1)
        if "masks_sequence" in self.arrays:
            _, rows, width = self.arrays["masks_sequence"].shape
            self.numbers[MASK_ONCE] = width * (rows > 1)
