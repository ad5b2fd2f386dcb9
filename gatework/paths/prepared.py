"""Calls in inference that come again: whatever does not depend on the numbers is set up once.

Setting up is most of a short call. A layer keeps its last few shapes of input, each with its
memory, packed weights and table of pointers; a call of such a shape is then little more than the
kernel. The weights are compared with those that were packed, number by number: fused optimisers,
``.data`` and NumPy change weights and leave no other trace.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, product
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.paths import native
from gatework.paths.call import Call, Given, Result, Weights, is_plain
from gatework.paths.kernel_run import Launch, Results, Run, all_steps, brought
from gatework.paths.kernel_shape import are_at_once, shape_of
from gatework.paths.masks import draw, sizes_of
from gatework.paths.packing import Library
from gatework.paths.per_layer import PerLayer, key_of, states_of
from gatework.paths.workspace import on_release

MOST = 4  # shapes of each layer
LARGEST = 1 << 20  # bytes of memory of a call that is kept
LONG_CALL = 200_000_000  # multiply-adds, beside which the setting up is nothing
MANY_WEIGHTS = 2_000_000  # numbers, of which there would be three copies


class _Kept:
    """What one layer keeps.

    Attributes:
        stored: copies of what its parameter groups are made of.
        groups: copies of these; nothing of the layer's own is pointed at.
        packed: weights by row of the stack, and by whether the input is multiplied in the steps.
        calls: the prepared calls, the last one used last.
    """

    def __init__(self, weights: Weights, rows: Sequence[tuple[int, int]]) -> None:
        self.stored = [t.detach().clone() for t in weights.tensors()]
        self.groups = [
            {stem: group.detach().clone() for stem, group in weights.groups(*row).items()}
            for row in rows
        ]
        count = len(self.stored)
        self.table = ctypes.c_void_p * count
        self.before = self.table(*(c.data_ptr() for c in self.stored))
        self.sizes = (ctypes.c_long * count)(*(c.nbytes for c in self.stored))
        self.packed: dict[tuple[int, bool], dict[str, Tensor]] = {}
        self.calls: dict[tuple[Any, ...], Prepared] = {}

    def is_current(self, weights: Weights, same: Callable[..., int]) -> bool:
        """Whether what is stored now is what the copies were made of."""
        now = weights.tensors()
        if len(now) != len(self.stored) or not all(map(_is_like, now, self.stored)):
            return False
        pointers = self.table(*(g.data_ptr() for g in now))
        return bool(same(len(now), pointers, self.before, self.sizes))


_lock = threading.Lock()
_kept: PerLayer[_Kept] = PerLayer()


def find(layer: Any, x: Tensor, hx: Any) -> Prepared | None:
    """The prepared call of this layer for such an input; it is the caller's until ``put_back``."""
    kept = _kept.get(layer)
    if kept is None or not is_plain_inference(x, hx):
        return None
    with _lock:
        prepared = kept.calls.pop(key_of(layer, x, hx), None)
    if prepared is None or kept.is_current(layer.stack_weights(), prepared.library.same):
        return prepared
    return None


def prepare(layer: Any, call: Call, hx: Any) -> Prepared | None:
    """The call set up for others like it, where that is possible and worth it."""
    is_random = (
        call.dropout > 0 or layer.weight_drop > 0 or any(m.is_random for m in call.spec.masks)
    )
    draws = call.training and is_random
    has_more = call.lengths is not None or call.brought or call.residual
    if has_more or draws or not is_plain_inference(call.x, hx):
        return None
    stored = call.weights.tensors()
    elements, steps = sum(t.numel() for t in stored), call.x.shape[0] * call.x.shape[1]
    is_long = elements > MANY_WEIGHTS or steps * elements > LONG_CALL
    if is_long or not all(map(_is_like, stored, stored)):
        return None
    library = native.library(call.spec, call.x.dtype)
    # What is kept must be usable outside of inference mode too.
    with _lock, torch.inference_mode(False), torch.no_grad():
        kept = _kept.get(layer)
        if kept is None or not kept.is_current(call.weights, library.same):
            rows = product(range(call.num_layers), range(call.num_directions))
            kept = _Kept(call.weights, list(rows))
            _kept.set(layer, kept)
        return Prepared(library, call, kept)


def put_back(layer: Any, x: Tensor, hx: Any, prepared: Prepared) -> None:
    """Keep a prepared call beside what it was made of, for the next one of the kind."""
    if prepared.size > LARGEST:
        prepared.release()
        return
    with _lock:
        calls = prepared.kept.calls
        calls[key_of(layer, x, hx)] = prepared
        while len(calls) > MOST:
            del calls[next(iter(calls))]


def _is_like(now: Tensor, before: Tensor) -> bool:
    """Whether a tensor can be compared byte by byte with what it was."""
    return (
        is_plain(now)
        and now.device.type == "cpu"
        and now.shape == before.shape
        and now.dtype == before.dtype
        and now.is_contiguous()
    )


def release_calls() -> None:
    """Forget all of them."""
    with _lock:
        _kept.clear()


on_release.append(release_calls)


def is_plain_inference(x: Tensor, hx: Any) -> bool:
    """Whether a call wants nothing but its numbers: no gradient, no tracing, no autocast."""
    return (
        not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0
        and torch._C._get_tracing_state() is None
        and all(map(is_plain, (x, *states_of(hx))))
        and x.dim() == 3
        and x.stride(-1) == 1
    )


class Prepared:
    """A stack of layers over inputs of one shape.

    Attributes:
        library: the kernel.
        kept: what the layer keeps besides.
    """

    def __init__(self, library: Library, call: Call, kept: _Kept) -> None:
        self.library, self.kept, count = library, kept, call.num_directions
        self.layers: list[_Layer] = []
        x = torch.empty_strided(call.x.shape, call.x.stride(), dtype=call.x.dtype)
        for begin in range(0, len(kept.groups), count):
            if begin:
                x = x.new_empty(*x.shape[:2], call.states[0].shape[-1] * count)
            given = []
            for row in range(begin, begin + count):
                groups = {stem: kept.groups[row][stem] for stem in call.spec.groups}
                first = {
                    s.name: torch.zeros_like(t[row], memory_format=torch.contiguous_format)
                    for s, t in zip(call.spec.states, call.states, strict=True)
                }
                source = x.flip(0) if row > begin else x
                given.append(Given(call.spec, source, first, groups))
            self.layers.append(_Layer(library, given, kept.packed, begin))

    @property
    def size(self) -> int:
        """Bytes of the memory that it holds."""
        runs = [run for layer in self.layers for run in layer.runs]
        return sum(run.workspace.size + run.held.size for run in runs)

    def release(self) -> None:
        """Give the memory back; the call must not be used any more."""
        for layer in self.layers:
            for run in layer.runs:
                run.release()

    def __call__(self, x: Tensor, hx: Any) -> Result:
        """The stack over x (T, B, F), from states (L*D, B, size) or from zero."""
        finals: list[Sequence[Tensor]] = []
        states = states_of(hx)
        for layer in self.layers:
            rows = range(len(finals), len(finals) + len(layer.runs))
            results = layer(x, [[s[row] for s in states] for row in rows])
            finals += [final for _, final in results]
            outputs = [sequences[0] for sequences, _ in results]
            outputs = [out.flip(0) if place else out for place, out in enumerate(outputs)]
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if len(finals) == 1:
            return Result(x, tuple(f.unsqueeze(0) for f in finals[0]))
        return Result(x, tuple(torch.stack(rows) for rows in zip(*finals, strict=True)))


class _Layer:
    """One layer in its directions."""

    def __init__(
        self,
        library: Library,
        given: Sequence[Given],
        packed: dict[tuple[int, bool], dict[str, Tensor]],
        begin: int,
    ) -> None:
        x, spec = given[0].x, given[0].spec
        first = given[0].first
        masks = draw(spec, sizes_of(spec, first.values(), x.shape[-1]), 1, (1,), False, x)
        given = [replace(one, masks=masks) for one in given]
        calls = len(given) if are_at_once(given) else 1
        self.shape = shape = shape_of(library, given[0], keep=False, calls=calls)
        self.runs = [Run(shape, x) for _ in given]
        # All that is pointed at; input, states and output come with every call.
        self.arrays = []
        for row, run, one in zip(count(begin), self.runs, given, strict=False):
            if (row, shape.fused) not in packed:
                packed[row, shape.fused] = run.weights(one)
            made = brought(shape, one, shape.kernel.forward_reads)
            self.arrays.append({**run.own, **made, **packed[row, shape.fused]})
        names = shape.kernel.forward_arrays
        self.launch = Launch(shape, library.forward, names, self.arrays)
        self.changing = ["rows_x", *(f"first_{s.name}" for s in spec.states)]
        if spec.input in shape.kernel.forward_reads:
            self.changing.append("x")
        if shape.is_whole:
            self.changing.append(f"seq_{spec.states[0].name}")
        self.given = [replace(one, x=x.new_empty(0)) for one in given]

    def __call__(self, x: Tensor, first: Sequence[Sequence[Tensor]]) -> list[Results]:
        """The results of each direction; no ``first`` states are zeros."""
        sources = [x.flip(0) if place else x for place in range(len(self.runs))]
        # What the kernel reads and writes must live until it is done.
        arrays = [
            self.arrays[place] | self.brought(source, states)
            for place, (source, states) in enumerate(zip(sources, first, strict=True))
        ]
        for each, table in zip(arrays, self.launch.tables, strict=True):
            for name in self.changing:
                table[self.launch.at[name]] = each[name].data_ptr()
        given = self.given
        if not self.shape.fused:
            given = [replace(one, x=s) for one, s in zip(given, sources, strict=True)]
        all_steps(self.runs, given, self.launch)
        return [run.results(each) for run, each in zip(self.runs, arrays, strict=True)]

    def brought(self, x: Tensor, first: Sequence[Tensor]) -> dict[str, Tensor]:
        """The arrays of one direction that come with a call."""
        shape, states = self.shape, self.shape.spec.states
        found = {"rows_x": x}
        if "x" in self.changing:
            found["x"] = shape.pad(x, "F")
        for symbol, state in zip(states, first, strict=bool(first)):
            found[f"first_{symbol.name}"] = shape.pad(state, symbol.size)
        if shape.is_whole:
            output = states[0]
            sizes = shape.steps, shape.batch, shape.padded[output.size]
            found[f"seq_{output.name}"] = x.new_empty(sizes)
        return found
