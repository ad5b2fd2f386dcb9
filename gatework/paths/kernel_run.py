"""One call of a compiled kernel: its arrays, its threads, and the products around it.

Sizes: T steps, B rows, F, H and P as in the equations. Arrays are padded to whole vectors of
``lanes`` units.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatework.compile.emit_c import NUMBERS
from gatework.compile.kernel import TILE_COLUMNS, Layout, padded
from gatework.equations import Spec
from gatework.paths.kernel_sums import Sums
from gatework.paths.packing import Library, by_name, kept_weights, packed_weights
from gatework.paths.team import team, threads
from gatework.paths.workspace import Workspace, give_back

# Multiply-adds of a call below which a second thread costs more than it brings.
WORTH_A_THREAD = 150_000
# Weights that are larger than this do not stay in a processor's own cache: then every thread has
# its own columns of them instead of its own rows.
OWN_CACHE = 1 << 20
# What is worked out before and after the steps is done for so many steps at once that it still
# lies in the cache when it is read.
AT_ONCE = 4 << 20
MEETING_PLACE = 128  # bytes for each group of threads
FROM, TO, ROWS, COLUMNS, MASK_STEP, MASK_ROW, MASK_ONCE = map(
    NUMBERS.index, ("from", "to", "R", "C", "mask_step", "mask_row", "mask_once")
)
KINDS = ("first", "seq")  # of the arrays of a state


class Run:
    """All steps of one layer in one direction.

    Args:
        library: the kernel.
        x: (T, B, F).
        first: the initial states by name, (B, size) each.
        groups: the parameter groups by stem.
        masks: the random masks by name, (T, B, size); an axis of one goes for all.
        lengths: (B,) int64, or ``None``.
        keep: whether ``backward`` will be called.
    """

    def __init__(
        self,
        library: Library,
        x: Tensor,
        first: Mapping[str, Tensor],
        groups: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        lengths: Tensor | None,
        keep: bool,
    ) -> None:
        self.library, self.kernel, self.plan = library, library.kernel, library.kernel.plan
        self.spec: Spec = self.plan.spec
        self.take(x, first, groups, masks)
        self.lengths, self.keep = lengths, keep
        self.steps, self.batch, features = x.shape
        self.sizes = {"F": features, "H": 0, "P": 0}
        for stem, members in self.spec.groups.items():
            rows, *rest = groups[stem].shape
            self.sizes.update(zip(members[0].shape, (rows // len(members), *rest), strict=True))
        for state in self.spec.states:
            self.sizes[state.size] = first[state.name].shape[-1]
        self.padded = {letter: library.padded(size) for letter, size in self.sizes.items()}
        # A small letter is one number of each row; it takes a whole vector.
        self.padded |= dict.fromkeys(map(str.lower, self.sizes), library.lanes)
        self.sizes |= dict.fromkeys(map(str.lower, self.sizes), 1)
        self.workspace = Workspace(x.dtype)  # of this pass alone
        self.held = Workspace(x.dtype)  # what a backward pass reads
        self.arrays: dict[str, Tensor] = {}
        self.set_up()

    def take(
        self,
        x: Tensor,
        first: Mapping[str, Tensor],
        groups: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> None:
        """The tensors of a call; later calls bring others of the same shapes and strides."""
        self.x = x if x.stride(-1) == 1 else x.contiguous()
        self.first, self.groups, self.masks = first, groups, masks

    def forget(self) -> None:
        """Let go of everything that belongs to the caller."""
        del self.x, self.first, self.groups, self.masks
        output = self.spec.states[0].name
        brought = [
            "x",
            "rows_x",
            "vectors",
            "masks_step",
            "masks_sequence",
            *(f"first_{s.name}" for s in self.spec.states),
        ]
        for name in [*brought, *([f"seq_{output}"] if self.is_whole else [])]:
            self.arrays.pop(name, None)
        self.__dict__.pop("weights", None)

    def set_up(self) -> None:
        """Everything of the forward pass that does not depend on the numbers of this call."""
        kernel, arrays = self.kernel, self.arrays
        output, *others = self.spec.states
        self.ring = self.steps if self.keep else min(2, self.steps)
        if self.lengths is not None:
            arrays["lengths"] = self.lengths.contiguous()
        if self.keep and kernel.saved.names:
            arrays["saved"] = self.empty(self.held, self.steps, self.width(kernel.saved))
        if kernel.scratch.names:
            arrays["scratch"] = self.empty(self.workspace, 1, self.width(kernel.scratch))
        # The output may be the caller's own memory only where nothing of it is padding.
        width = self.padded[output.size]
        self.is_whole = width == self.sizes[output.size] and self.lengths is None
        if not self.is_whole:
            arrays[f"seq_{output.name}"] = self.empty(self.held, self.steps, width)
        for state in others:
            width = self.padded[state.size]
            arrays[f"seq_{state.name}"] = self.empty(self.held, self.ring, width)
        self.fused = self.multiplies_inside() or not self.plan.of_input
        if not self.fused:
            width = self.width(kernel.ready)
            self.at_once = self.chunk(width)
            # A block of columns may reach over the end of the last row.
            slack = self.library.lanes * TILE_COLUMNS
            size = self.at_once * self.batch * width + slack
            arrays["ready"] = self.workspace.empty((size,))
        rows, columns = self.grid()
        if columns > 1:
            arrays["meeting"] = self.x.new_zeros(rows * MEETING_PLACE // 4)
        self.numbers = self.numbers_of(rows, columns)

    def forward(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (T, B, size), and the final states (B, size)."""
        kernel, arrays = self.kernel, self.arrays
        output, *others = self.spec.states
        self.bring(self.x)
        for state in self.spec.states:
            arrays[f"first_{state.name}"] = self.pad(self.first[state.name], state.size)
        name = f"seq_{output.name}"
        if self.is_whole:
            result = self.x.new_empty(self.steps, self.batch, self.padded[output.size])
            arrays[name] = result
        if self.fused:
            self.launch(self.library.forward, kernel.forward_arrays, arrays, 0, self.steps)
        else:
            self.forward_with_ready()
        if not self.is_whole:
            result = self.plain(arrays[name], output.size)
        finals = [result[-1] if self.is_whole else arrays[name][-1]]
        finals += [arrays[f"seq_{s.name}"][(self.steps - 1) % self.ring] for s in others]
        states = zip(finals, self.spec.states, strict=True)
        return result, tuple(self.plain(final, s.size) for final, s in states)

    def bring(self, x: Tensor) -> None:
        """The input, masks, vectors and weights of a call."""
        self.arrays["rows_x"] = x
        self.take_masks()
        if self.kernel.reads_input:
            self.arrays["x"] = self.pad(x, "F")
        if self.kernel.vectors.names:
            self.arrays["vectors"] = self.vectors()
        self.take_weights()

    def forward_with_ready(self) -> None:
        """Some steps at a time: what the input brings to them, then the steps."""
        weights = self.weights_of_input().t()
        width, ready = weights.shape[1], self.arrays["ready"]
        for begin in range(0, self.steps, self.at_once):
            end = min(begin + self.at_once, self.steps)
            rows = (end - begin) * self.batch
            part = ready[: rows * width].view(rows, width)
            torch.mm(self.x[begin:end].reshape(rows, -1), weights, out=part)
            self.launch(self.library.forward, self.kernel.forward_arrays, self.arrays, begin, end)

    def weights_of_input(self) -> Tensor:
        """What multiplies the input, in the layout of what is ready: (width, F)."""
        layout, spec = self.kernel.ready, self.spec
        matrices = [p.by(spec.input) for p in self.plan.of_input]
        for stem, members in spec.groups.items():
            alike = self.padded[members[0].rows] == self.sizes[members[0].rows]
            if alike and matrices == [(p.name,) for p in members]:
                return self.groups[stem]  # as they lie
        weights, named = self.x.new_zeros(self.width(layout), self.sizes["F"]), self.weights
        for product, place in zip(self.plan.of_input, self.columns(layout).values(), strict=True):
            for matrix in product.by(spec.input):
                weights[place] += named[matrix]
        return weights

    def let_go(self) -> dict[str, Tensor]:
        """What the backward pass reads besides output, input and weights; the run keeps nothing."""
        self.workspace.release()
        self.held.taken = []
        names = ("lengths", "x", "vectors", "masks_step", "masks_sequence", "saved")
        wanted = (*names, *(f"{kind}_{s.name}" for s in self.spec.states for kind in KINDS))
        held = {name: self.arrays[name] for name in wanted if name in self.arrays}
        if self.is_whole:
            del held[f"seq_{self.spec.states[0].name}"]  # that is the output
        self.forget()
        self.arrays = {}
        return held

    def give_back(self, held: Mapping[str, Tensor]) -> None:
        """The memory of what ``let_go`` gave, when no backward pass will read it again."""
        pooled = {"saved", *(f"seq_{s.name}" for s in self.spec.states)}
        give_back(t for name, t in held.items() if name in pooled)

    def backward(
        self,
        held: Mapping[str, Tensor],
        output: Tensor,
        gradients: Sequence[Tensor],
        wants_input: bool,
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Gradients by x (if wanted), the initial states and the parameter groups.

        Nothing of the run changes, so that several threads may go back through it at once. The
        tensors of the call must have been taken again.

        Args:
            held: what ``let_go`` gave.
            output: what ``forward`` gave.
            gradients: by the output and by the final states.
            wants_input: whether the gradient by x is asked for.
        """
        kernel, spec = self.kernel, self.spec
        workspace = Workspace(self.x.dtype)
        arrays = dict(held)
        if self.is_whole:
            arrays[f"seq_{spec.states[0].name}"] = output
        by_output, *by_finals = gradients
        arrays["by_output"] = self.pad(by_output, spec.states[0].size)
        width = self.width(kernel.gradients)
        chunk = self.chunk(width)
        arrays["gradients"] = self.empty(workspace, chunk, width)
        if kernel.back_scratch.names:
            arrays["scratch"] = self.empty(workspace, 1, self.width(kernel.back_scratch))
        if isinstance(self.plan.input_gradient, str):
            arrays["by_x"] = self.empty(workspace, self.steps, self.padded["F"])
        if self.numbers[COLUMNS] > 1:
            arrays["meeting"] = self.x.new_zeros(self.numbers[ROWS] * MEETING_PLACE // 4)
        for state, final in zip(spec.states, by_finals, strict=True):
            arrays[f"run_{state.name}"] = self.pad(final, state.size).clone()
            arrays[f"spare_{state.name}"] = self.empty(workspace, 1, self.padded[state.size])
        arrays.update(packed_weights(self.library, self.groups, kernel.backward_weights))
        sums = Sums(self, arrays, wants_input)
        for begin in reversed(range(0, self.steps, chunk)):
            end = min(begin + chunk, self.steps)
            self.launch(self.library.backward, kernel.backward_arrays, arrays, begin, end)
            sums.add(begin, end)
        last = "run" if self.steps % 2 == 0 else "spare"
        by_states = [
            self.plain(arrays[f"{last}_{s.name}"].view(self.batch, -1), s.size) for s in spec.states
        ]
        workspace.release()
        return sums.by_x, by_states, list(sums.by_group.values())

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The parameters by name, as views."""
        return by_name(self.spec, self.groups)

    def multiplies_inside(self) -> bool:
        """Whether the input is multiplied in the step, and not before all steps."""
        matrices = sum(w.numel() for w in self.groups.values() if w.dim() == 2)
        small = matrices * self.x.element_size() <= 2 * OWN_CACHE
        few = self.steps == 1 or self.sizes["F"] <= self.library.lanes
        return few or (small and self.batch >= 4)

    def chunk(self, width: int) -> int:
        """How many steps of rows of a width are done at once."""
        row = max(1, width * self.batch * self.x.element_size())
        return max(1, min(self.steps, AT_ONCE // row))

    def take_weights(self) -> None:
        """The weights of the forward function, packed."""
        wanted = self.kernel.forward_weights
        if not self.fused:
            wanted = tuple(one for one in wanted if one.operand != self.spec.input)
        if self.keep:
            found = packed_weights(self.library, self.groups, wanted)
        else:
            found = kept_weights(self.library, self.groups, wanted, f"fused {self.fused}")
        self.arrays.update(found)

    def take_masks(self) -> None:
        """The masks side by side; where one row is for all steps or rows, it is not repeated."""
        for each, layout in self.kernel.masks.items():
            if layout.names:
                parts = [self.masks[name] for name in layout.names]
                steps, rows = (max(p.shape[axis] for p in parts) for axis in (0, 1))
                wide = [
                    self.pad(p, s).expand(steps, rows, -1)
                    for p, s in zip(parts, layout.sizes, strict=True)
                ]
                found = self.arrays[f"masks_{each}"] = torch.cat(wide, dim=-1)
                row = found.shape[-1] if rows > 1 else 0
                if each == "step":
                    self.numbers[MASK_STEP] = rows * found.shape[-1] if steps > 1 else 0
                    self.numbers[MASK_ROW] = row
                else:
                    self.numbers[MASK_ONCE] = row

    def vectors(self) -> Tensor:
        """All vectors one behind the other, padded."""
        layout = self.kernel.vectors
        parts = [
            self.pad(self.weights[n], s) for n, s in zip(layout.names, layout.sizes, strict=True)
        ]
        return torch.cat(parts)

    def pad(self, tensor: Tensor, size: str) -> Tensor:
        """The last axis filled up to whole vectors; contiguous."""
        missing = self.padded[size] - self.sizes[size]
        return pad(tensor, (0, missing)) if missing else tensor.contiguous()

    def plain(self, tensor: Tensor, size: str) -> Tensor:
        """A copy without the padding."""
        return tensor[..., : self.sizes[size]].clone()

    def empty(self, workspace: Workspace, steps: int, width: int) -> Tensor:
        """Memory for some steps, (steps, B, width)."""
        return workspace.empty((steps, self.batch, width))

    def width(self, layout: Layout) -> int:
        """The length of a row of a layout."""
        return sum(self.padded[s] for s in layout.sizes)

    def columns(self, layout: Layout) -> dict[str, slice]:
        """Where the values of a layout lie on its last axis."""
        found, begin = {}, 0
        for name, size in zip(layout.names, layout.sizes, strict=True):
            found[name] = slice(begin, begin + self.sizes[size])
            begin += self.padded[size]
        return found

    def numbers_of(self, rows: int, columns: int) -> ctypes.Array[ctypes.c_long]:
        """The numbers that a kernel is called with; each launch sets the steps to do."""
        time, row = self.x.stride()[:2]
        sizes = {"T": self.steps, "B": self.batch, **self.sizes}
        sizes.update((padded(letter), size) for letter, size in self.padded.items())
        sizes.update(ring=self.ring, keep=int(self.keep), fused=int(self.fused), to=self.steps)
        sizes.update(x_step=time, x_row=row, R=rows, C=columns)
        return (ctypes.c_long * len(NUMBERS))(*(sizes.get(name, 0) for name in NUMBERS))

    def grid(self) -> tuple[int, int]:
        """Parts of the rows and parts of the columns; together the number of threads."""
        elements = sum(w.numel() for w in self.groups.values())
        work = self.steps * self.batch * elements
        count = max(1, min(threads(), work // WORTH_A_THREAD))
        if count == 1:
            return 1, 1
        own = elements * self.x.element_size() <= OWN_CACHE
        if self.batch >= count * (4 if own else 32):
            return count, 1
        return (1, count) if min(self.sizes[s.size] for s in self.spec.states) >= 64 else (1, 1)

    def launch(
        self,
        function: Callable[..., None],
        names: Sequence[str],
        arrays: Mapping[str, Tensor],
        begin: int,
        end: int,
    ) -> None:
        """Call the kernel for some steps."""
        numbers = type(self.numbers)(*self.numbers)
        numbers[FROM], numbers[TO] = begin, end
        table = (ctypes.c_void_p * len(names))(
            *[arrays[n].data_ptr() if n in arrays else 0 for n in names]
        )
        function(numbers, table, team())
