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
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.paths import native
from gatework.paths.call import Call, Given, Result, Weights
from gatework.paths.kernel_run import Launch, Run, brought
from gatework.paths.kernel_shape import shape_of
from gatework.paths.masks import draw
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
    draws = call.training and (call.dropout > 0 or bool(call.spec.masks))
    if call.lengths is not None or draws or not is_plain_inference(call.x, hx):
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
        native.is_plain(now)
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
        and all(map(native.is_plain, (x, *states_of(hx))))
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
        self.library, self.kept, self.directions = library, kept, call.num_directions
        self.links: list[_Link] = []
        x = torch.empty_strided(call.x.shape, call.x.stride(), dtype=call.x.dtype)
        for row, made in enumerate(kept.groups):
            groups = {stem: made[stem] for stem in call.spec.groups}  # in the cell's order
            layer, direction = divmod(row, call.num_directions)
            if layer and not direction:
                width = call.states[0].shape[-1] * call.num_directions
                x = x.new_empty(*x.shape[:2], width)
            first = {
                s.name: torch.zeros_like(t[row], memory_format=torch.contiguous_format)
                for s, t in zip(call.spec.states, call.states, strict=True)
            }
            source = x.flip(0) if direction else x
            given = Given(call.spec, source, first, groups)
            self.links.append(_Link(library, given, kept.packed, row))

    @property
    def size(self) -> int:
        """Bytes of the memory that it holds."""
        return sum(link.run.workspace.size + link.run.held.size for link in self.links)

    def release(self) -> None:
        """Give the memory back; the call must not be used any more."""
        for link in self.links:
            link.run.release()

    def __call__(self, x: Tensor, hx: Any) -> Result:
        """The stack over x (T, B, F), from states (L*D, B, size) or from zero."""
        finals: list[Sequence[Tensor]] = []
        states = states_of(hx)
        for begin in range(0, len(self.links), self.directions):
            outputs = []
            for direction in range(self.directions):
                row = begin + direction
                first = [s[row] for s in states]
                output, final = self.links[row](x.flip(0) if direction else x, first)
                outputs.append(output.flip(0) if direction else output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if len(finals) == 1:
            return Result(x, tuple(f.unsqueeze(0) for f in finals[0]))
        return Result(x, tuple(torch.stack(rows) for rows in zip(*finals, strict=True)))


class _Link:
    """One layer in one direction."""

    def __init__(
        self,
        library: Library,
        given: Given,
        packed: dict[tuple[int, bool], dict[str, Tensor]],
        row: int,
    ) -> None:
        x, spec = given.x, given.spec
        sizes = {s.size: given.first[s.name].shape[-1] for s in spec.states} | {"F": x.shape[-1]}
        masks = draw(spec, sizes, 1, 1, False, x)
        self.given = replace(given, masks=masks)
        self.shape = shape = shape_of(library, self.given, keep=False)
        self.run = Run(shape, x)
        if (row, shape.fused) not in packed:
            packed[row, shape.fused] = self.run.weights(self.given)
        # All that is pointed at; input, states and output come with every call.
        kernel = shape.kernel
        made = brought(shape, self.given, kernel.forward_reads)
        self.arrays = {**self.run.own, **made, **packed[row, shape.fused]}
        names = kernel.forward_arrays
        self.launch = Launch(shape, library.forward, names, self.arrays)
        for name in ("rows_x", "x"):  # they come with every call
            self.arrays.pop(name, None)
        self.given = replace(self.given, x=x.new_empty(0))

    def __call__(self, x: Tensor, first: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        shape, table, at = self.shape, self.launch.table, self.launch.at
        table[at["rows_x"]] = x.data_ptr()
        read = []  # what the kernel reads must live until it is done
        if shape.spec.input in shape.kernel.forward_reads:
            read.append(shape.pad(x, "F"))
            table[at["x"]] = read[0].data_ptr()
        for place, state in enumerate(shape.spec.states):
            name = f"first_{state.name}"
            start = shape.pad(first[place], state.size) if first else self.arrays[name]
            read.append(start)
            table[at[name]] = start.data_ptr()
        output, *others = shape.spec.states
        name = f"seq_{output.name}"
        if shape.is_whole:
            result = x.new_empty(shape.steps, shape.batch, shape.padded[output.size])
            table[at[name]] = result.data_ptr()
        self.run.all_steps(self.given if shape.fused else replace(self.given, x=x), self.launch)
        if not shape.is_whole:
            result = shape.plain(self.arrays[name], output.size)
        last = (shape.steps - 1) % shape.ring
        finals = [result[-1].clone()]
        finals += [shape.plain(self.arrays[f"seq_{s.name}"][last], s.size) for s in others]
        return result, finals
