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

from gatework.compile.kernel import Layout
from gatework.equations import Spec
from gatework.paths.kernel_sums import Sums
from gatework.paths.packing import Library, by_name, kept_weights, packed_weights
from gatework.paths.team import team, threads
from gatework.paths.workspace import Workspace

# Multiply-adds of a call below which a second thread costs more than it brings.
WORTH_A_THREAD = 150_000
# Weights that are larger than this do not stay in a processor's own cache: then every thread has
# its own columns of them instead of its own rows.
OWN_CACHE = 1 << 20
# What is worked out before and after the steps is done for so many steps at once that it still
# lies in the cache when it is read.
AT_ONCE = 4 << 20
MEETING_PLACE = 128  # bytes for each group of threads


class Run:
    """All steps of one layer in one direction.

    Args:
        library: the kernel.
        x: (T, B, F).
        first: the initial states by name, (B, size) each.
        groups: the parameter groups by stem.
        lengths: (B,) int64, or ``None``.
        keep: whether ``backward`` will be called.
    """

    def __init__(
        self,
        library: Library,
        x: Tensor,
        first: Mapping[str, Tensor],
        groups: Mapping[str, Tensor],
        lengths: Tensor | None,
        keep: bool,
    ) -> None:
        self.library, self.kernel, self.plan = library, library.kernel, library.kernel.plan
        self.spec: Spec = self.plan.spec
        self.x = x if x.stride(-1) == 1 else x.contiguous()
        self.first, self.groups, self.lengths, self.keep = first, groups, lengths, keep
        self.steps, self.batch, features = x.shape
        self.sizes = {"F": features, "H": 0, "P": 0}
        for stem, members in self.spec.groups.items():
            rows, *rest = groups[stem].shape
            self.sizes.update(zip(members[0].shape, (rows // len(members), *rest), strict=True))
        for state in self.spec.states:
            self.sizes[state.size] = first[state.name].shape[-1]
        self.padded = {letter: library.padded(size) for letter, size in self.sizes.items()}
        self.workspace = Workspace(x.dtype)
        self.arrays: dict[str, Tensor] = {}  # those that the kernel shares with torch
        self.places: dict[str, int] = {}  # addresses of those that only the kernel sees

    def forward(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (T, B, size), and the final states (B, size)."""
        kernel, arrays = self.kernel, self.arrays
        output, *others = self.spec.states
        ring = self.steps if self.keep else min(2, self.steps)
        if self.lengths is not None:
            arrays["lengths"] = self.lengths.contiguous()
        arrays["rows_x"] = self.x
        if kernel.reads_input:
            arrays["x"] = self.pad(self.x, "F")
        if kernel.vectors.names:
            arrays["vectors"] = self.vectors()
        if self.keep and kernel.saved.names:
            arrays["saved"] = self.empty(self.steps, self.width(kernel.saved))
        if kernel.scratch.names:
            self.places["scratch"] = self.workspace.address(self.batch * self.width(kernel.scratch))
        for state in self.spec.states:
            arrays[f"first_{state.name}"] = self.pad(self.first[state.name], state.size)
        # The output may be the caller's own memory only where nothing of it is padding.
        width = self.padded[output.size]
        whole = width == self.sizes[output.size] and self.lengths is None
        shape = (self.steps, self.batch, width)
        sequence = self.x.new_empty(shape) if whole else self.empty(self.steps, width)
        # Without its history, which leads back to this run when it is trained.
        arrays[f"seq_{output.name}"] = sequence.detach()
        for state in others:
            arrays[f"seq_{state.name}"] = self.empty(ring, self.padded[state.size])
        inside = self.multiplies_inside()
        self.take_weights(inside)
        numbers = self.numbers(ring, inside)
        if inside or not self.plan.of_input:
            self.launch(self.library.forward, kernel.forward_arrays, numbers, 0, self.steps)
        else:
            self.forward_with_ready(numbers)
        result = sequence if whole else self.plain(sequence, output.size)
        last = {s.name: arrays[f"seq_{s.name}"][(self.steps - 1) % ring] for s in others}
        last[output.name] = sequence[-1]
        finals = tuple(self.plain(last[s.name], s.size) for s in self.spec.states)
        if not self.keep:
            self.workspace.release()
        return result, finals

    def forward_with_ready(self, numbers: dict[str, int]) -> None:
        """Some steps at a time: what the input brings to them, then the steps."""
        weights = self.weights_of_input()
        width = len(weights)
        chunk = self.chunk(width)
        # A block of columns may reach over the end of the last row.
        slack = self.library.lanes * 4
        ready = self.workspace.empty((chunk * self.batch * width + slack,))
        self.arrays["ready"] = ready
        for begin in range(0, self.steps, chunk):
            end = min(begin + chunk, self.steps)
            rows = (end - begin) * self.batch
            part = ready[: rows * width].view(rows, width)
            torch.mm(self.x[begin:end].reshape(rows, -1), weights.t(), out=part)
            self.launch(self.library.forward, self.kernel.forward_arrays, numbers, begin, end)

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

    def backward(
        self, output: Tensor, gradients: Sequence[Tensor], wants_input: bool
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Gradients by x (if wanted), the initial states and the parameter groups.

        Args:
            output: what ``forward`` gave.
            gradients: by the output and by the final states.
            wants_input: whether the gradient by x is asked for.
        """
        kernel, spec, arrays = self.kernel, self.spec, self.arrays
        by_output, *by_finals = gradients
        arrays["by_output"] = self.pad(by_output, spec.states[0].size)
        width = self.width(kernel.gradients)
        chunk = self.chunk(width)
        arrays["gradients"] = self.empty(chunk, width)
        if kernel.back_scratch.names:
            size = self.batch * self.width(kernel.back_scratch)
            self.places["scratch"] = self.workspace.address(size)
        if isinstance(self.plan.input_gradient, str):
            arrays["by_x"] = self.empty(self.steps, self.padded["F"])
        for state, final in zip(spec.states, by_finals, strict=True):
            arrays[f"run_{state.name}"] = self.pad(final, state.size).clone()
            arrays[f"spare_{state.name}"] = self.empty(1, self.padded[state.size])
        arrays.update(packed_weights(self.library, self.groups, kernel.backward_weights))
        numbers = self.numbers(self.steps, inside=False)
        sums = Sums(self, output, wants_input)
        for begin in reversed(range(0, self.steps, chunk)):
            end = min(begin + chunk, self.steps)
            self.launch(self.library.backward, kernel.backward_arrays, numbers, begin, end)
            sums.add(begin, end)
        last = "run" if self.steps % 2 == 0 else "spare"
        by_states = [
            self.plain(arrays[f"{last}_{s.name}"].view(self.batch, -1), s.size) for s in spec.states
        ]
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

    def take_weights(self, inside: bool) -> None:
        """The weights of the forward function, packed."""
        wanted = tuple(
            one for one in self.kernel.forward_weights if inside or one.operand != self.spec.input
        )
        if self.keep:
            found = packed_weights(self.library, self.groups, wanted)
        else:
            found = kept_weights(self.library, self.groups, wanted, f"inside {inside}")
        self.arrays.update(found)

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

    def empty(self, steps: int, width: int) -> Tensor:
        """Memory for some steps, (steps, B, width)."""
        return self.workspace.empty((steps, self.batch, width))

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

    def numbers(self, ring: int, inside: bool) -> dict[str, int]:
        """The numbers that a kernel is called with, but for the steps to do."""
        rows, columns = self.grid()
        if columns > 1:
            self.arrays["meeting"] = self.x.new_zeros(rows * MEETING_PLACE // 4)
        sizes = {"T": self.steps, "B": self.batch, **self.sizes}
        sizes.update((f"{letter}p", size) for letter, size in self.padded.items())
        time, row = self.x.stride()[:2]
        return sizes | {
            "ring": ring,
            "keep": int(self.keep),
            "inside": int(inside),
            "from": 0,
            "to": self.steps,
            "x_step": time,
            "x_row": row,
            "R": rows,
            "C": columns,
        }

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
        numbers: dict[str, int],
        begin: int,
        end: int,
    ) -> None:
        """Call the kernel for some steps."""
        numbers["from"], numbers["to"] = begin, end
        arrays, places = self.arrays, self.places
        table = (ctypes.c_void_p * len(names))(
            *(arrays[n].data_ptr() if n in arrays else places.get(n, 0) for n in names)
        )
        function((ctypes.c_long * len(numbers))(*numbers.values()), table, team())
