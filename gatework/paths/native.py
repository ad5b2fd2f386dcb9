"""The native path: kernels compiled from the cell's equations, on the CPU.

torch does the large products (inputs of all steps before, weight gradients after), the kernel
does the recurrence. Rows of the batch are dealt out to as many threads as torch uses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.compile.kernel import Kernel, Layout, Segment, Tile
from gatework.equations import Spec
from gatework.equations.spec import NEXT
from gatework.errors import PathError
from gatework.paths import build, reference
from gatework.paths.call import Call, Groups, Result
from gatework.paths.layerwise import run_layers

# Multiply-adds below which a second thread costs more than it brings.
WORTH_A_THREAD = 200_000


class NativePath:
    """Compiled kernels, float32 and float64."""

    name = "native"

    def supports(self, call: Call) -> str | None:
        """``None`` where a kernel can be built and the call is on the CPU."""
        if call.record:
            return "the kernels do not keep every gate"
        if call.x.device.type != "cpu":
            return f"the kernels run on the CPU, the input is on {call.x.device}"
        if call.x.dtype not in (torch.float32, torch.float64):
            return f"the kernels are float32 or float64, the input is {call.x.dtype}"
        if torch.compiler.is_compiling():
            return "the kernels cannot be traced by torch.compile yet"
        return _unbuildable(call.spec, call.x.dtype)

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction; all steps in one kernel call."""
        return run_layers(call, _run_steps)


@dataclass(frozen=True)
class Library:
    """A compiled kernel."""

    kernel: Kernel
    forward: Any
    backward: Any
    lanes: int

    def padded(self, sizes: dict[str, int]) -> dict[str, int]:
        """Sizes filled up to whole vectors."""
        return {k: -(-n // self.lanes) * self.lanes for k, n in sizes.items()}


@cache
def _unbuildable(spec: Spec, dtype: torch.dtype) -> str | None:
    """Why the kernel of a cell cannot be built here, or ``None``; it is built on the way."""
    try:
        library(spec, dtype)
    except PathError as error:
        return str(error).rstrip(".")
    except Exception as error:  # a cell that the compiler cannot take yet still has the reference
        return f"the compiler cannot take this cell: {type(error).__name__}: {error}"
    return None


@cache
def library(spec: Spec, dtype: torch.dtype) -> Library:
    """The compiled kernel of a cell."""
    kernel, text = emit(make_plan(spec))
    real_bytes = torch.empty(0, dtype=dtype).element_size()
    loaded = build.load(text, real_bytes)
    return Library(kernel, loaded.forward, loaded.backward, build.vector_bytes() // real_bytes)


def _run_steps(
    call: Call, x: Tensor, states: tuple[Tensor, ...], groups: Groups, inside: Tensor | None
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    ordered = [groups[g] for g in call.spec.groups]
    result = _Steps.apply(call, x, *states, *ordered)  # type: ignore[no-untyped-call]
    return {call.spec.states[0].name + NEXT: result[0]}, tuple(result[1:])


class _Steps(torch.autograd.Function):
    """All steps of one layer in one direction: output (T, B, H), then the final states."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        keep = any(ctx.needs_input_grad)
        # The kernel has the precision of its input, also where autocast would lower the products.
        with torch.autocast("cpu", enabled=False):
            run = _Run(call, x, rest)
            outputs = run.forward(keep)
        ctx.run = run if keep else None
        ctx.save_for_backward(x, *rest)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # raises if one of them was changed in place meanwhile
        if torch.is_grad_enabled():
            return None, *_by_reference(ctx.run.call, inputs, gradients)
        with torch.autocast("cpu", enabled=False):
            return None, *ctx.run.backward(gradients)


def _by_reference(
    call: Call, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again: through the reference path."""
    spec = call.spec
    x, *rest = inputs
    states, groups = tuple(rest[: len(spec.states)]), rest[len(spec.states) :]
    inside = None
    if call.lengths is not None:
        inside = (torch.arange(len(x)).unsqueeze(1) < call.lengths).unsqueeze(-1)
    named = dict(zip(spec.groups, groups, strict=True))
    gates, finals = reference.run_steps(call, x, states, named, inside)
    outputs = (gates[spec.states[0].name + NEXT], *finals)
    wanted = [t for t in inputs if t.requires_grad]
    found = iter(
        torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True)
    )
    return tuple(next(found) if t.requires_grad else None for t in inputs)


class _Run:
    """One call of a kernel, and what its backward pass needs."""

    def __init__(self, call: Call, x: Tensor, rest: Sequence[Tensor]) -> None:
        self.call, self.spec = call, call.spec
        self.library = library(call.spec, x.dtype)
        self.kernel, self.plan = self.library.kernel, self.library.kernel.plan
        names = [s.name for s in self.spec.states]
        self.x, self.first = x.detach(), dict(zip(names, (r.detach() for r in rest), strict=False))
        groups = dict(zip(self.spec.groups, (g.detach() for g in rest[len(names) :]), strict=True))
        self.weights = {
            p.name: part
            for stem, members in self.spec.groups.items()
            for p, part in zip(members, groups[stem].chunk(len(members)), strict=True)
        }
        self.sizes = {"F": x.shape[2]} | {
            s.size: self.first[s.name].shape[-1] for s in self.spec.states
        }
        for parameter in self.spec.parameters:
            shape = self.weights[parameter.name].shape
            self.sizes |= dict(zip(parameter.shape, shape, strict=True))
        self.padded = self.library.padded(self.sizes)
        self.steps, self.batch = x.shape[0], x.shape[1]

    def forward(self, keep: bool) -> tuple[Tensor, ...]:
        kernel, output = self.kernel, self.spec.states[0].name
        # An array that a cell has no use for has no elements.
        none = self.x.new_empty(0)
        self.arrays = {
            "x": self.pad(self.x, "F") if self.reads_input() else none,
            "ready": self.ready(),
            "vectors": self.vectors(),
            "saved": self.empty(kernel.saved, self.steps if keep else 0),
            "scratch": self.empty(kernel.scratch),
        }
        for state in self.spec.states:
            self.arrays[f"first_{state.name}"] = self.pad(self.first[state.name], state.size)
            self.arrays[f"seq_{state.name}"] = self.x.new_empty(
                self.steps, self.batch, self.padded[state.size]
            )
        self.pack(kernel.forward)
        self.launch(self.library.forward, kernel.forward_arrays, keep)
        sequences = {
            s.name: self.arrays[f"seq_{s.name}"][..., : self.sizes[s.size]]
            for s in self.spec.states
        }
        finals = [sequences[s.name][-1].clone() for s in self.spec.states]
        return sequences[output].contiguous(), *finals

    def backward(self, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        kernel, plan, spec = self.kernel, self.plan, self.spec
        by_output, *by_finals = gradients
        arrays = self.arrays
        arrays["scratch"] = self.empty(kernel.back_scratch)
        arrays["gradients"] = self.empty(kernel.gradients, self.steps)
        arrays["by_output"] = self.pad(by_output, spec.states[0].size)
        elementwise = isinstance(plan.input_gradient, str)
        steps = self.steps if elementwise else 0
        arrays["by_x"] = self.x.new_empty(steps, self.batch, self.padded["F"])
        for state, final in zip(spec.states, by_finals, strict=True):
            arrays[f"run_{state.name}"] = self.pad(final, state.size).clone()
            arrays[f"spare_{state.name}"] = torch.empty_like(arrays[f"run_{state.name}"])
        self.pack(kernel.backward)
        self.launch(self.library.backward, kernel.backward_arrays, True)
        last = "run" if self.steps % 2 == 0 else "spare"
        by_states = [arrays[f"{last}_{s.name}"][:, : self.sizes[s.size]] for s in spec.states]
        by_weight, by_x = self.large_products()
        by_groups = [
            torch.cat([by_weight[p.name] for p in members]) for members in spec.groups.values()
        ]
        return by_x, *by_states, *by_groups

    def large_products(self) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients by matrices and vectors, summed over steps and rows; and by the input."""
        plan, spec = self.plan, self.spec
        rows = self.steps * self.batch
        gradients = self.arrays["gradients"].view(rows, -1)
        places = self.places(self.kernel.gradients)
        by_weight = {p.name: torch.zeros_like(self.weights[p.name]) for p in spec.parameters}
        operands: dict[str, dict[str, list[str]]] = {}
        for matrix, gradient, operand in plan.product_gradients:
            operands.setdefault(operand, {}).setdefault(gradient, []).append(matrix)
        by_x = self.x.new_zeros(rows, self.sizes["F"])
        for operand, by_gradient in operands.items():
            columns = self.columns(gradients, [places[g] for g in by_gradient])
            product = columns.t() @ self.operand(operand).reshape(rows, -1)
            sizes = [places[g].stop - places[g].start for g in by_gradient]
            for matrices, part in zip(
                by_gradient.values(), torch.split(product, sizes), strict=True
            ):
                for matrix in matrices:
                    by_weight[matrix] += part
            if operand == spec.input:
                weights = [sum(self.weights[m] for m in ms) for ms in by_gradient.values()]
                by_x = torch.addmm(by_x, columns, torch.cat(weights))  # type: ignore[arg-type]
        for vector, value in plan.vector_gradients.items():
            if isinstance(value, str):
                by_weight[vector] = gradients[:, places[value]].sum(0)
        by_x = by_x.view(self.steps, self.batch, -1)
        if isinstance(plan.input_gradient, str):
            by_x = by_x + self.arrays["by_x"][..., : self.sizes["F"]]
        return by_weight, by_x

    def columns(self, table: Tensor, places: list[slice]) -> Tensor:
        """Some columns of a table: a view where they lie side by side."""
        joined = all(a.stop == b.start for a, b in pairwise(places))
        if joined:
            return table[:, places[0].start : places[-1].stop]
        return torch.cat([table[:, p] for p in places], dim=1)

    def operand(self, name: str) -> Tensor:
        """What a matrix multiplied at every step, (T, B, size)."""
        if name == self.spec.input:
            return self.x
        for state in self.spec.states:
            if state.name == name:
                before = self.arrays[f"seq_{name}"][:-1, :, : self.sizes[state.size]]
                return torch.cat([self.first[name].unsqueeze(0), before])
        for state in self.spec.states:
            if self.plan.values[state.name + NEXT] == name:
                return self.arrays[f"seq_{state.name}"][..., : self.sizes[state.size]]
        return self.arrays["saved"][..., self.places(self.kernel.saved)[name]]

    def reads_input(self) -> bool:
        lets = [
            x for stages in (self.plan.stages, self.plan.backward) for s in stages for x in s.lets
        ]
        return any(self.spec.input in let.args for let in (*lets, *self.plan.recomputed))

    def ready(self) -> Tensor:
        """The products with the input for all steps, (T, B, ...)."""
        if not self.plan.before:
            return self.x.new_empty(0)
        padded = [self.pad_rows(self.weights[p.terms[0][0]], p.size) for p in self.plan.before]
        return (self.x.reshape(-1, self.x.shape[2]) @ torch.cat(padded).t()).contiguous()

    def vectors(self) -> Tensor:
        layout = self.kernel.vectors
        parts = [
            self.pad(self.weights[n], s) for n, s in zip(layout.names, layout.sizes, strict=True)
        ]
        return torch.cat(parts) if parts else self.x.new_empty(0)

    def pad(self, tensor: Tensor, size: str) -> Tensor:
        """The last axis filled up to whole vectors; contiguous."""
        return pad(tensor, (0, self.padded[size] - self.sizes[size])).contiguous()

    def pad_rows(self, matrix: Tensor, size: str) -> Tensor:
        return pad(matrix, (0, 0, 0, self.padded[size] - self.sizes[size]))

    def empty(self, layout: Layout, steps: int | None = None) -> Tensor:
        width = sum(self.padded[s] for s in layout.sizes)
        shape = (self.batch, width) if steps is None else (steps, self.batch, width)
        return self.x.new_empty(shape)

    def places(self, layout: Layout) -> dict[str, slice]:
        """Where the values of a layout lie on its last axis."""
        found, begin = {}, 0
        for name, size in zip(layout.names, layout.sizes, strict=True):
            found[name] = slice(begin, begin + self.sizes[size])
            begin += self.padded[size]
        return found

    def pack(self, segments: Sequence[Segment]) -> None:
        """The weights of every tile, in the order in which the kernel reads them."""
        tiles = [(segment, tile) for segment in segments for tile in segment.tiles]
        for number, (segment, tile) in enumerate(tiles):
            self.arrays[f"w{number}"] = self.packed(segment, tile)

    def packed(self, segment: Segment, tile: Tile) -> Tensor:
        """(columns of units, depth, products, repeat, lanes)."""
        matrices = []
        for product in tile.products:
            parts = [
                self.weights[m].t() if product.transposed else self.weights[m]
                for m, _ in product.terms
            ]
            matrices.append(torch.cat(parts, dim=1))
        block = segment.repeat * self.library.lanes
        stacked = torch.stack(matrices)
        stacked = pad(stacked, (0, 0, 0, -stacked.shape[1] % block))
        count, rows, depth = stacked.shape
        split = stacked.view(count, rows // block, segment.repeat, self.library.lanes, depth)
        return split.permute(1, 4, 0, 2, 3).contiguous()

    def launch(self, function: Any, names: Sequence[str], keep: bool) -> None:
        """Call the kernel for all rows, in threads where that is worth it."""
        sizes = [self.steps, self.batch, *(self.sizes.get(s, 0) for s in "FHP")]
        sizes += [*(self.padded.get(s, 0) for s in "FHP"), self.steps, int(keep)]
        lengths = self.call.lengths
        empty = torch.empty(0)
        self.arrays["lengths"] = empty if lengths is None else lengths.contiguous()
        pointers = [self.arrays[n] for n in names]
        table = (ctypes.c_void_p * len(names))(
            *(a.data_ptr() if a.numel() else None for a in pointers)
        )
        numbers = (ctypes.c_long * len(sizes))(*sizes)
        work = self.steps * sum(w.numel() for w in self.weights.values()) * self.batch
        threads = max(1, min(torch.get_num_threads(), self.batch, work // WORTH_A_THREAD))
        cuts = [self.batch * i // threads for i in range(threads + 1)]
        if threads == 1:
            function(numbers, table, ctypes.c_long(0), ctypes.c_long(self.batch))
            return
        parts = [(ctypes.c_long(a), ctypes.c_long(b)) for a, b in pairwise(cuts)]
        waiting = [_pool(threads).submit(function, numbers, table, *p) for p in parts[1:]]
        function(numbers, table, *parts[0])
        for one in waiting:
            one.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for kernels; the call itself is made without Python's lock."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="gatework")
