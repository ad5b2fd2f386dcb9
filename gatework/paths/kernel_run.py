"""One call of a compiled kernel: its arrays, its packed weights, its threads, and its gradients.

Sizes: T steps, B rows, F, H and P as in the equations. Arrays are padded to whole vectors of
``lanes`` units.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakIdKeyDictionary

from gatework.compile.kernel import Kernel, Layout, Packed
from gatework.equations import Spec
from gatework.equations.spec import NEXT
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

_packed: WeakIdKeyDictionary = WeakIdKeyDictionary()


@dataclass(frozen=True)
class Library:
    """A compiled kernel."""

    kernel: Kernel
    forward: Callable[..., None]
    backward: Callable[..., None]
    pack: Callable[..., None]
    lanes: int

    def padded(self, size: int) -> int:
        """A size filled up to whole vectors."""
        return -(-size // self.lanes) * self.lanes


class Run:
    """All steps of one layer in one direction.

    Args:
        library: the kernel.
        x: (T, B, F), its last axis without gaps.
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
        self.steps, self.batch = x.shape[0], x.shape[1]
        self.sizes = {"F": x.shape[2], "H": 0, "P": 0}
        for stem, members in self.spec.groups.items():
            rows, *rest = groups[stem].shape
            self.sizes |= dict(zip(members[0].shape, (rows // len(members), *rest), strict=True))
        for state in self.spec.states:
            self.sizes[state.size] = first[state.name].shape[-1]
        self.padded = {letter: library.padded(size) for letter, size in self.sizes.items()}
        self.workspace = Workspace()
        self.arrays: dict[str, Tensor | None] = {}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The parameters by name, as views."""
        return {
            p.name: part
            for stem, members in self.spec.groups.items()
            for p, part in zip(members, self.groups[stem].chunk(len(members)), strict=True)
        }

    def forward(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (T, B, size), and the final states (B, size)."""
        kernel, arrays = self.kernel, self.arrays
        output, *others = self.spec.states
        ring = self.steps if self.keep else min(2, self.steps)
        arrays["lengths"] = None if self.lengths is None else self.lengths.contiguous()
        arrays["x"] = self.pad(self.x, "F") if self.reads_input else None
        arrays["rows_x"] = self.x
        arrays["vectors"] = self.vectors()
        arrays["saved"] = self.empty(kernel.saved, self.steps if self.keep else 0)
        arrays["scratch"] = self.empty(kernel.scratch)
        for state in self.spec.states:
            arrays[f"first_{state.name}"] = self.pad(self.first[state.name], state.size)
        # The output may be the caller's own memory only where nothing of it is padding.
        shape = (self.steps, self.batch, self.padded[output.size])
        whole = self.padded[output.size] == self.sizes[output.size] and self.lengths is None
        sequence = self.x.new_empty(shape) if whole else self.workspace.empty(shape, self.x.dtype)
        # Without its history, which leads back to this run when it is trained.
        arrays[f"seq_{output.name}"] = sequence.detach()
        for state in others:
            shape = (ring, self.batch, self.padded[state.size])
            arrays[f"seq_{state.name}"] = self.workspace.empty(shape, self.x.dtype)
        inside = self.multiplies_inside()
        self.pack(kernel.packed(kernel.forward), inside)
        numbers = self.numbers(ring, inside)
        if inside or not self.plan.of_input:
            arrays["ready"] = None
            self.launch(self.library.forward, kernel.forward_arrays, numbers, 0, self.steps)
        else:
            self.forward_with_ready(numbers)
        result = sequence if whole else sequence[..., : self.sizes[output.size]].clone()
        last = {output.name: sequence[-1]}
        last |= {s.name: self.array(f"seq_{s.name}")[(self.steps - 1) % ring] for s in others}
        finals = tuple(last[s.name][:, : self.sizes[s.size]].clone() for s in self.spec.states)
        if not self.keep:
            self.workspace.release()
        return result, finals

    def forward_with_ready(self, numbers: dict[str, int]) -> None:
        """Some steps at a time: what the input brings to them, then the steps."""
        layout = self.kernel.ready
        width = sum(self.padded[s] for s in layout.sizes)
        weights = self.x.new_zeros(width, self.sizes["F"])
        places = self.places(layout)
        for product in self.plan.of_input:
            for matrix in product.by(self.spec.input):
                weights[places[product.name]] += self.weights[matrix]
        chunk = self.chunk(width)
        # A block of columns may reach over the end of the last row.
        slack = self.library.lanes * 4
        ready = self.workspace.empty((chunk * self.batch * width + slack,), self.x.dtype)
        self.arrays["ready"] = ready
        for begin in range(0, self.steps, chunk):
            end = min(begin + chunk, self.steps)
            rows = (end - begin) * self.batch
            part = ready[: rows * width].view(rows, width)
            torch.mm(self.x[begin:end].reshape(rows, -1), weights.t(), out=part)
            self.launch(self.library.forward, self.kernel.forward_arrays, numbers, begin, end)

    def backward(
        self, output: Tensor, gradients: Sequence[Tensor], wants_input: bool
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Gradients by x (if wanted), the initial states and the parameter groups.

        Args:
            output: what ``forward`` gave.
            gradients: by the output and by the final states.
            wants_input: whether the gradient by x is asked for.
        """
        kernel, plan, spec, arrays = self.kernel, self.plan, self.spec, self.arrays
        by_output, *by_finals = gradients
        arrays["scratch"] = self.empty(kernel.back_scratch)
        arrays["by_output"] = self.pad(by_output, spec.states[0].size)
        width = sum(self.padded[s] for s in kernel.gradients.sizes)
        chunk = self.chunk(width)
        arrays["gradients"] = self.empty(kernel.gradients, chunk)
        elementwise = isinstance(plan.input_gradient, str)
        shape = (self.steps if elementwise else 0, self.batch, self.padded["F"])
        arrays["by_x"] = self.workspace.empty(shape, self.x.dtype)
        for state, final in zip(spec.states, by_finals, strict=True):
            for kind in ("run", "spare"):
                arrays[f"{kind}_{state.name}"] = self.workspace.empty(
                    (self.batch, self.padded[state.size]), self.x.dtype
                )
            self.array(f"run_{state.name}").zero_()[:, : self.sizes[state.size]] = final
        self.pack(kernel.packed(kernel.backward), inside=False)
        numbers = self.numbers(self.steps, inside=False)
        sums = _Sums(self, output, wants_input)
        for begin in reversed(range(0, self.steps, chunk)):
            end = min(begin + chunk, self.steps)
            self.launch(self.library.backward, kernel.backward_arrays, numbers, begin, end)
            sums.add(begin, end)
        last = "run" if self.steps % 2 == 0 else "spare"
        by_states = [
            self.array(f"{last}_{s.name}")[:, : self.sizes[s.size]].clone() for s in spec.states
        ]
        return sums.by_x, by_states, list(sums.by_group.values())

    def operand(self, name: str, output: Tensor, begin: int, end: int) -> list[tuple[Tensor, int]]:
        """What a matrix multiplied in some steps: parts (steps, B, size), and where they begin."""
        spec = self.spec
        if name == spec.input:
            return [(self.x[begin:end], begin)]
        sequences = {
            s.name: output if s is spec.states[0] and self.lengths is None
            else self.array(f"seq_{s.name}")[..., : self.sizes[s.size]]
            for s in spec.states
        }  # fmt: skip
        if name in sequences:
            parts = [(sequences[name][max(begin, 1) - 1 : end - 1], max(begin, 1))]
            return parts if begin else [(self.first[name].unsqueeze(0), 0), *parts]
        for state in spec.states:
            if self.plan.values[state.name + NEXT] == name:
                return [(sequences[state.name][begin:end], begin)]
        place = self.places(self.kernel.saved)[name]
        return [(self.array("saved")[begin:end, :, place], begin)]

    @cached_property
    def reads_input(self) -> bool:
        """Whether the input is used elementwise, not only in products."""
        stages = (*self.plan.stages, *self.plan.backward)
        lets = [let for stage in stages for let in stage.lets]
        return any(self.spec.input in let.args for let in (*lets, *self.plan.recomputed))

    def multiplies_inside(self) -> bool:
        """Whether the input is multiplied in the step, and not before all steps."""
        matrices = sum(w.numel() for w in self.groups.values() if w.dim() == 2)
        small = matrices * self.x.element_size() <= 2 * OWN_CACHE
        return self.sizes["F"] <= self.library.lanes or (small and self.batch >= 4)

    def chunk(self, width: int) -> int:
        """How many steps of rows of a width are done at once."""
        row = max(1, width * self.batch * self.x.element_size())
        return max(1, min(self.steps, AT_ONCE // row))

    def vectors(self) -> Tensor | None:
        layout = self.kernel.vectors
        parts = [
            self.pad(self.weights[n], s) for n, s in zip(layout.names, layout.sizes, strict=True)
        ]
        return torch.cat(parts) if parts else None

    def pad(self, tensor: Tensor, size: str) -> Tensor:
        """The last axis filled up to whole vectors; contiguous."""
        missing = self.padded[size] - self.sizes[size]
        return pad(tensor, (0, missing)) if missing else tensor.contiguous()

    def empty(self, layout: Layout, steps: int | None = None) -> Tensor:
        width = sum(self.padded[s] for s in layout.sizes)
        shape = (self.batch, width) if steps is None else (steps, self.batch, width)
        return self.workspace.empty(shape, self.x.dtype)

    def array(self, name: str) -> Tensor:
        """An array that is there."""
        found = self.arrays[name]
        assert found is not None
        return found

    def places(self, layout: Layout) -> dict[str, slice]:
        """Where the values of a layout lie on its last axis."""
        found, begin = {}, 0
        for name, size in zip(layout.names, layout.sizes, strict=True):
            found[name] = slice(begin, begin + self.sizes[size])
            begin += self.padded[size]
        return found

    def pack(self, packed: Sequence[Packed], inside: bool) -> None:
        """The weights of every tile, in the order in which the kernel reads them."""
        for one in packed:
            is_input = one.operand == self.spec.input and not one.tile.products[0].transposed
            self.arrays[one.name] = self.packed(one) if inside or not is_input else None

    def packed(self, one: Packed) -> Tensor:
        """The weights of one tile and operand; kept while nothing is trained."""
        stems = {
            stem: self.groups[stem]
            for stem, members in self.spec.groups.items()
            if any(p.name in one.matrices for p in members)
        }
        if self.keep or any(t.is_inference() for t in stems.values()):
            return self.pack_anew(one, self.workspace)
        versions = [(t.data_ptr(), t._version) for t in stems.values()]
        first = next(iter(stems.values()))
        if first not in _packed:
            _packed[first] = {}
        kept = _packed[first]
        key = (self.spec, one.name)
        if key not in kept or kept[key][0] != versions:
            kept[key] = (versions, self.pack_anew(one, None))
        found: Tensor = kept[key][1]
        return found

    def pack_anew(self, one: Packed, workspace: Workspace | None) -> Tensor:
        matrices = [self.weights[m] for m in one.matrices]
        matrices = [m if m.stride(1) == 1 else m.contiguous() for m in matrices]
        transposed = one.tile.products[0].transposed
        units, depth = matrices[0].shape[::-1] if transposed else matrices[0].shape
        block = one.segment.repeat * self.library.lanes
        count = -(-units // block) * block * depth * len(matrices)
        to = workspace.empty((count,), self.x.dtype) if workspace else self.x.new_empty(count)
        strides = {m.stride(0) for m in matrices}
        if len(strides) > 1:
            matrices = [m.contiguous() for m in matrices]
        dims = (len(matrices), one.segment.repeat, units, depth, matrices[0].stride(0), transposed)
        pointers = (ctypes.c_void_p * len(matrices))(*(m.data_ptr() for m in matrices))
        self.library.pack((ctypes.c_long * 6)(*dims), pointers, ctypes.c_void_p(to.data_ptr()))
        return to

    def numbers(self, ring: int, inside: bool) -> dict[str, int]:
        """The numbers that a kernel is called with, but for the steps to do."""
        rows, columns = self.grid()
        self.arrays["meeting"] = torch.zeros(rows * 32, dtype=torch.int32) if columns > 1 else None
        sizes = {"T": self.steps, "B": self.batch, **self.sizes}
        sizes |= {f"{letter}p": size for letter, size in self.padded.items()}
        sizes |= {"ring": ring, "keep": int(self.keep), "inside": int(inside)}
        sizes |= {"from": 0, "to": self.steps}
        sizes |= {"x_step": self.x.stride(0), "x_row": self.x.stride(1)}
        return sizes | {"R": rows, "C": columns}

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
        numbers |= {"from": begin, "to": end}
        arrays = [self.arrays[name] for name in names]
        table = (ctypes.c_void_p * len(names))(*(0 if a is None else a.data_ptr() for a in arrays))
        with_team = team()
        function(
            (ctypes.c_long * len(numbers))(*numbers.values()),
            table,
            None if with_team is None else ctypes.byref(with_team),
        )


class _Sums:
    """Gradients by the parameters and by the input: products over all rows of some steps."""

    def __init__(self, run: Run, output: Tensor, wants_input: bool) -> None:
        self.run, self.output = run, output
        plan, spec = run.plan, run.spec
        self.places = run.places(run.kernel.gradients)
        self.by_group = {stem: torch.zeros_like(run.groups[stem]) for stem in spec.groups}
        self.by_weight = {
            p.name: part
            for stem, members in spec.groups.items()
            for p, part in zip(members, self.by_group[stem].chunk(len(members)), strict=True)
        }
        self.by_x = torch.zeros(run.x.shape, dtype=run.x.dtype) if wants_input else None
        # operand -> gradient -> matrices
        self.operands: dict[str, dict[str, list[str]]] = {}
        for matrix, gradient, operand in plan.product_gradients:
            self.operands.setdefault(operand, {}).setdefault(gradient, []).append(matrix)

    def add(self, begin: int, end: int) -> None:
        """Add what the steps ``begin .. end`` bring."""
        run = self.run
        table = run.array("gradients")[: end - begin]
        for operand, by_gradient in self.operands.items():
            columns, order = self.columns(table, by_gradient)
            for part, first in run.operand(operand, self.output, begin, end):
                if not len(part):
                    continue
                rows = len(part) * run.batch
                mine = columns[first - begin : first - begin + len(part)].reshape(rows, -1)
                product = mine.t() @ part.reshape(rows, -1)
                at = 0
                for matrices in order:
                    size = self.by_weight[matrices[0]].shape[0]
                    for matrix in matrices:
                        self.by_weight[matrix] += product[at : at + size]
                    at += size
            if operand == run.spec.input and self.by_x is not None:
                weights = torch.cat([self.total(ms) for ms in order])
                rows = (end - begin) * run.batch
                flat = self.by_x[begin:end].view(rows, -1)
                torch.mm(columns.reshape(rows, -1), weights, out=flat)
        for vector, value in run.plan.vector_gradients.items():
            if isinstance(value, str):
                self.by_weight[vector] += table[..., self.places[value]].sum((0, 1))
        if self.by_x is not None and isinstance(run.plan.input_gradient, str):
            self.by_x[begin:end] += run.array("by_x")[begin:end, :, : run.sizes["F"]]

    def total(self, matrices: Sequence[str]) -> Tensor:
        first, *rest = (self.run.weights[m] for m in matrices)
        return sum(rest, first)

    def columns(
        self, table: Tensor, by_gradient: Mapping[str, list[str]]
    ) -> tuple[Tensor, list[list[str]]]:
        """The columns of some gradients, a view where they lie side by side, and their matrices."""
        ordered = sorted(by_gradient, key=lambda g: self.places[g].start)
        places = [self.places[g] for g in ordered]
        order = [by_gradient[g] for g in ordered]
        if all(a.stop == b.start for a, b in pairwise(places)):
            return table[..., places[0].start : places[-1].stop], order
        return torch.cat([table[..., p] for p in places], dim=-1), order
