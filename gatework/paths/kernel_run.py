"""One call of a compiled kernel: its arrays, and the products around it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
# The states that are asked for at every step, (T, B, size) each, the output first; and all states
# after the last step, (B, size).
Results = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


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

    def arrays(self, given: Given) -> Arrays:
        """All that the forward function reads and writes."""
        shape = self.shape
        arrays = {**self.own, **self.weights(given)}
        arrays.update(brought(shape, given, self.kernel.forward_reads))
        if shape.library.parts:
            arrays["factors"] = first_factors(shape, given)
        if shape.is_whole:
            output = shape.spec.states[0]
            sizes = shape.steps, shape.batch, shape.padded[output.size]
            arrays[f"seq_{output.name}"] = given.x.new_empty(sizes)
        return arrays

    def results(self, arrays: Arrays) -> Results:
        """What the forward function has written."""
        shape, (output, *others) = self.shape, self.shape.spec.states
        written = arrays[f"seq_{output.name}"]
        sequences = [written if shape.is_whole else shape.plain(written, output.size)]
        last = (shape.steps - 1) % shape.ring
        finals = [shape.plain(written[-1], output.size)]
        for state in others:
            steps = arrays[f"seq_{state.name}"]
            finals.append(shape.plain(steps[last], state.size))
            if state.name in shape.sequences:
                sequences.append(shape.plain(steps, state.size))
        return tuple(sequences), tuple(finals)

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

    def before(self, given: Given, weights: Tensor, begin: int, end: int) -> None:
        """What the input brings to some steps, before them."""
        rows, width = (end - begin) * self.shape.batch, weights.shape[1]
        ready = self.own["ready"][: rows * width].view(rows, width)
        x = given.x[begin:end].reshape(rows, -1)
        if self.shape.library.precision == "half":
            ready.copy_(x.bfloat16() @ weights)
        else:
            torch.mm(x, weights, out=ready)


def forward(runs: Sequence[Run], given: Sequence[Given]) -> list[Results]:
    """The results of runs of one shape, done at once."""
    shape = runs[0].shape
    arrays = [run.arrays(one) for run, one in zip(runs, given, strict=True)]
    launch = Launch(shape, shape.library.forward, shape.kernel.forward_arrays, arrays)
    all_steps(runs, given, launch)
    return [run.results(each) for run, each in zip(runs, arrays, strict=True)]


def all_steps(runs: Sequence[Run], given: Sequence[Given], launch: Launch) -> None:
    """All at once; or some at a time, what the input brings to them before the steps."""
    shape = runs[0].shape
    if shape.fused:
        launch(0, shape.steps)
        return
    weights = [shape.halves(weights_of_input(shape, one)).t() for one in given]
    at_once = runs[0].at_once
    for begin in range(0, shape.steps, at_once):
        end = min(begin + at_once, shape.steps)
        for run, one, weight in zip(runs, given, weights, strict=True):
            run.before(one, weight, begin, end)
        launch(begin, end)


def backward(
    shape: Shape, passes: Sequence[Pass], wants_input: bool
) -> list[tuple[Tensor | None, list[Tensor], list[Tensor]]]:
    """Gradients by x (if wanted), the initial states and the parameter groups, for each pass.

    Args:
        shape: that of the forward passes.
        passes: what they were given and gave.
        wants_input: whether the gradient by x is asked for.
    """
    workspace = Workspace(passes[0].given.x.dtype)
    chunk = shape.chunk(shape.width(shape.kernel.gradients))
    arrays = [_arrays_back(shape, one, workspace, chunk) for one in passes]
    sums = [
        Sums(shape, one.given, each, wants_input) for one, each in zip(passes, arrays, strict=True)
    ]
    launch = Launch(shape, shape.library.backward, shape.kernel.backward_arrays, arrays)
    for begin in reversed(range(0, shape.steps, chunk)):
        end = min(begin + chunk, shape.steps)
        launch(begin, end)
        for total in sums:
            total.add(begin, end)
    last = "run" if shape.steps % 2 == 0 else "spare"
    found = []
    for total, each in zip(sums, arrays, strict=True):
        by_states = [shape.plain(each[f"{last}_{s.name}"], s.size) for s in shape.spec.states]
        found.append((total.by_x, by_states, list(total.by_group.values())))
    workspace.release()
    return found


@dataclass(frozen=True)
class Pass:
    """One forward pass, on the way back.

    Attributes:
        given: what it was given.
        held: what ``Run.let_go`` gave.
        output: its output.
        gradients: by the results: states at every step, the output first, and final states.
    """

    given: Given
    held: Sequence[Tensor]
    output: Tensor
    gradients: Sequence[Tensor]


def _arrays_back(shape: Shape, one: Pass, workspace: Workspace, chunk: int) -> Arrays:
    """All that the backward function reads and writes."""
    kernel, spec, given = shape.kernel, shape.spec, one.given
    arrays = brought(shape, given, kernel.backward_reads)
    arrays.update(zip(shape.held(), one.held, strict=True))
    if shape.is_whole:
        arrays[f"seq_{spec.states[0].name}"] = one.output
    by_steps, by_finals = one.gradients[: -len(spec.states)], one.gradients[-len(spec.states) :]
    for state, gradient in zip(spec.states, by_steps, strict=False):
        arrays[f"by_seq_{state.name}"] = shape.pad(gradient, state.size)
    width = shape.width(kernel.gradients)
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
    return arrays


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
    """A kernel's function with the numbers and arrays of some calls of one shape.

    Attributes:
        tables: where the arrays of each call lie, in the order of ``names``.
        at: the place of each name in them.
    """

    def __init__(
        self,
        shape: Shape,
        function: Callable[..., None],
        names: Sequence[str],
        arrays: Sequence[Mapping[str, Tensor]],
    ) -> None:
        self.function, self.arrays, self.team = function, arrays, team()
        self.numbers = [type(shape.numbers)(*shape.numbers) for _ in arrays]
        self.tables = []
        for numbers, each in zip(self.numbers, arrays, strict=True):
            set_mask_strides(numbers, each)
            pointers = [each[n].data_ptr() if n in each else 0 for n in names]
            self.tables.append((ctypes.c_void_p * len(names))(*pointers))
        self.at = {name: place for place, name in enumerate(names)}
        # At once where the shape says so, else one call after the other.
        count = shape.calls
        self.groups = [
            (count, addresses(self.numbers[i : i + count]), addresses(self.tables[i : i + count]))
            for i in range(0, len(arrays), count)
        ]

    def __call__(self, begin: int, end: int) -> None:
        """Do some steps."""
        for numbers in self.numbers:
            numbers[FROM], numbers[TO] = begin, end
        for group in self.groups:
            self.function(*group, self.team)


def addresses(arrays: Sequence[Any]) -> ctypes.Array[ctypes.c_void_p]:
    """Where some arrays of C lie; they must be kept besides."""
    return (ctypes.c_void_p * len(arrays))(*map(ctypes.addressof, arrays))


def set_mask_strides(numbers: Any, arrays: Mapping[str, Tensor]) -> None:
    """How far apart the masks of two steps and two rows lie: 0 where one is for all."""
    if "masks_step" in arrays:
        steps, rows, width = arrays["masks_step"].shape
        numbers[MASK_STEP] = rows * width * (steps > 1)
        numbers[MASK_ROW] = width * (rows > 1)
    if "masks_sequence" in arrays:
        _, rows, width = arrays["masks_sequence"].shape
        numbers[MASK_ONCE] = width * (rows > 1)
