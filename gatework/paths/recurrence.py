"""The recurrence s[t] = a[t] * s[t-1] + b[t] for all steps at once, with its gradients.

Two torch operators, each the other's gradient, so it can be differentiated as often as one likes,
and traced. On the CPU a compiled loop runs, which reads every number once; elsewhere, and without
a compiler, pairs of steps are joined until one is left, about 2 log2(T) rounds for T steps.

The steps are taken as they are, not by logarithms: each adds its rounding once, and where |a| <= 1,
as with all gates, later steps do not magnify it. Where |a| > 1 over many steps, pairs overflow
before the loop does, since they multiply the factors alone.

Axes: T time, B batch, H units.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gatework.compile.emit_c import emit_scan
from gatework.errors import PathError
from gatework.paths import build
from gatework.paths.team import team, threads

log = logging.getLogger("gatework")

FLOATS = (torch.float32, torch.float64)  # of the compiled loop
WORTH_A_THREAD = 20_000  # numbers below which a second thread costs more than it brings
LEAST = 16  # units for a thread: a line of the cache


def scan(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """All states: a, b (T, B, H), also as views where one number goes for many; first (B, H)."""
    found: Tensor = torch.ops.gatework.scan(a, b, first)
    return found


@torch.library.custom_op("gatework::scan", mutates_args=())
def _scan(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    a, b, first = _unit_by_unit(a, True), _unit_by_unit(b), first.contiguous()
    library = _library_for(b)
    if library is None:
        return _joined(a, b, first)
    states = torch.empty_like(b, memory_format=torch.contiguous_format)
    _call(library.scan, (a, b), (a, b, first, states))
    return states


@torch.library.custom_op("gatework::scan_back", mutates_args=())
def _scan_back(a: Tensor, first: Tensor, states: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by a and by b; that by b at the first step, times a, is that by ``first``."""
    a, g, first = _unit_by_unit(a, True), _unit_by_unit(gradient), first.contiguous()
    states = states.contiguous()
    library = _library_for(g)
    if library is None:
        ahead = torch.cat([a[1:], torch.zeros_like(a[:1])]).flip(0)
        by_b = _joined(ahead, g.flip(0), torch.zeros_like(first)).flip(0)
        return by_b * _before(states, first), by_b
    by_a = torch.empty_like(g, memory_format=torch.contiguous_format)
    by_b = torch.empty_like(by_a)
    _call(library.scan_back, (a, g), (a, g, first, states, by_a, by_b))
    return by_a, by_b


@_scan.register_fake
def _(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    return b.new_empty(b.shape)


@_scan_back.register_fake
def _(a: Tensor, first: Tensor, states: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return states.new_empty(states.shape), states.new_empty(states.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    a, _, first = inputs
    ctx.save_for_backward(a, first, output)


def _back(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    a, first, states = ctx.saved_tensors
    by_a, by_b = torch.ops.gatework.scan_back(a, first, states, gradient)
    return by_a, by_b, a[0] * by_b[0]


_scan.register_autograd(_back, setup_context=_keep)


def _keep_back(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    a, first, states, _ = inputs
    ctx.save_for_backward(a, first, states, output[1])


def _back_again(ctx: Any, to_a: Tensor, to_b: Tensor) -> tuple[Tensor, ...]:
    """by_b is linear in the gradient, with the same recurrence; by_a is by_b * states before."""
    a, first, states, by_b = ctx.saved_tensors
    before = _before(states, first)
    sums = scan(a, to_b + to_a * before, torch.zeros_like(first))
    to_before = to_a * by_b
    to_states = torch.cat([to_before[1:], torch.zeros_like(to_before[:1])])
    to_factors = by_b * _before(sums, torch.zeros_like(first))
    return to_factors, to_before[0], to_states, sums


_scan_back.register_autograd(_back_again, setup_context=_keep_back)


def _before(states: Tensor, first: Tensor) -> Tensor:
    """The states before each step."""
    return torch.cat([first.unsqueeze(0), states[:-1]])


def _joined(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """The states, by joining steps two by two: a pair of them is a step of the same form."""
    steps = len(a)
    states = torch.empty_like(b, memory_format=torch.contiguous_format)
    states[0] = a[0] * first + b[0]
    if steps > 1:
        even, odd = slice(0, steps // 2 * 2, 2), slice(1, None, 2)
        states[odd] = _joined(a[odd] * a[even], a[odd] * b[even] + b[odd], first)
        states[2::2] = a[2::2] * states[1:-1:2] + b[2::2]
    return states


def peaks(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """The recurrence s[t] = maximum(s[t-1] + a[t], b[t]) for all steps; shapes as in ``scan``.

    Where a is -inf the state is b, whatever it was. A pair of steps is a step of the same form
    here too. Its operations are torch's own, which know their gradients.
    """
    begun = _larger(first, a[0], b[0]).unsqueeze(0)
    if len(a) == 1:
        return begun
    even, odd = slice(0, len(a) // 2 * 2, 2), slice(1, None, 2)
    both_a = torch.where(a[odd] == -math.inf, a[odd], a[odd] + a[even])
    later = peaks(both_a, _larger(b[even], a[odd], b[odd]), first)
    between = _larger(later[: (len(a) - 1) // 2], a[2::2], b[2::2])
    sooner = torch.cat([begun, between])
    both = torch.stack([sooner[: len(later)], later], 1).flatten(0, 1)
    return torch.cat([both, sooner[len(later) :]])


def _larger(s: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The larger one of s + a and b; at a tie the first, as the primitive has it."""
    grown = s + a
    return torch.where((grown < b) | (a == -math.inf), b, grown)


# The compiled loop.


class _Sizes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_long)
        for name in ("T", "B", "H", "a_step", "a_row", "a_unit", "b_step", "b_row", "threads")
    ]


def _library_for(like: Tensor) -> ctypes.CDLL | None:
    """The compiled loop for such numbers, where there is one."""
    if like.device.type != "cpu" or like.dtype not in FLOATS or not like.numel():
        return None
    return library(like.element_size())


@cache
def library(real_bytes: int) -> ctypes.CDLL | None:
    """The compiled loop for such numbers; ``None`` where it cannot be built."""
    try:
        return build.load(emit_scan(), real_bytes)
    except PathError as error:
        log.info("The recurrence runs in torch: %s", error)
        return None


def _call(
    function: Callable[..., Any], strided: Sequence[Tensor], arrays: Sequence[Tensor]
) -> None:
    """Run a function of the loop; ``strided`` are the two arrays whose steps may lie anywhere."""
    steps, batch, units = strided[0].shape
    a, b = strided
    strides = [*a.stride()[:2], int(a.stride(2) != 0 or units == 1), *b.stride()[:2]]
    wanted = min(threads(), steps * batch * units // WORTH_A_THREAD, batch * units // LEAST)
    sizes = _Sizes(steps, batch, units, *strides, max(1, wanted))
    function(ctypes.byref(sizes), *(ctypes.c_void_p(t.data_ptr()) for t in arrays), team())


def _unit_by_unit(x: Tensor, may_be_one: bool = False) -> Tensor:
    """With the units of a row beside each other; or one of them for all, where it may be."""
    is_so = x.stride(-1) == 1 or x.shape[-1] == 1 or (may_be_one and x.stride(-1) == 0)
    return x if is_so else x.contiguous()
