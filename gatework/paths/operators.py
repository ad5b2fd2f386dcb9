"""The layers as torch operators: what torch.compile and torch.export put into their graphs.

One operator runs all steps of one layer in one direction, another one goes back through them. To
a compiler both are opaque, with output shapes that follow from the input's; the number of steps
and of rows stays free. A cell is named by its text, so that an exported program runs in a process
that has never seen the cell. What runs inside is the native path, else what torch
has: the scan path's steps for a linear cell, the reference's for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gatework.equations.spec import NEXT, from_text
from gatework.paths import native, reference, scan, vendor
from gatework.paths.call import Call, Given, Result
from gatework.paths.heads import apart
from gatework.paths.kernel_run import Pass
from gatework.paths.kernel_shape import Sizes
from gatework.paths.layerwise import Steps, run_layers

# Of a list that may be empty torch would want a gradient, of one that may be left out it does not.
_GIVEN = (
    "Tensor x, Tensor[] first, Tensor[] groups, Tensor[] masks, Tensor? lengths, str cell, "
    "str precision, int[]? dilation, bool every_state"
)


def run(call: Call) -> Result:
    """A stack of layers while torch traces it."""
    found = run_layers(call, apart(partial(_run_steps, native.precision_of(call))))
    return vendor.lowered(call, found)


def _run_steps(precision: str, given: Sequence[Given], record: bool) -> list[Steps]:
    given = [
        replace(one, precision=precision, every_state=one.every_state or record) for one in given
    ]
    found = [_run_direction(one) for one in given]
    if not record:
        return found
    pairs = zip(given, found, strict=True)
    return [(reference.all_equations(one, steps), finals) for one, (steps, finals) in pairs]


def _run_direction(given: Given) -> Steps:
    given = _of_one_dtype(given)
    # An exported program is asked for its output; a gradient would make it again.
    keep = torch.is_grad_enabled() and not torch.compiler.is_exporting()
    if keep:
        keep = any(t.requires_grad for t in given.tensors())
    results = torch.ops.gatework.steps(*_flat(given), keep)
    count = len(given.sequences)
    names = [state + NEXT for state in given.sequences]
    sequences = dict(zip(names, results[:count], strict=True))
    return sequences, tuple(results[count : count + len(given.first)])


def _of_one_dtype(given: Given) -> Given:
    """Under autocast the input may be lower than the weights; the kernels have one precision."""
    dtype = next(iter(given.groups.values()), given.x).dtype
    tensors = given.tensors()
    if all(t.dtype == dtype for t in tensors):
        return given
    return given.with_tensors([t.to(dtype) for t in tensors])


def _flat(given: Given) -> tuple[Any, ...]:
    """What both operators take first."""
    parts = (given.first, given.groups, given.masks)
    tensors = (given.x, *(list(p.values()) for p in parts), given.lengths)
    return (*tensors, given.spec.text, given.precision, given.dilation or None, given.every_state)


def _given(
    x: Tensor,
    first: Sequence[Tensor],
    groups: Sequence[Tensor],
    masks: Sequence[Tensor],
    lengths: Tensor | None,
    cell: str,
    precision: str,
    dilation: Sequence[int] | None,
    every_state: bool,
) -> Given:
    spec = from_text(cell)
    return Given(
        spec,
        x,
        dict(zip((s.name for s in spec.states), first, strict=True)),
        dict(zip(spec.groups, groups, strict=True)),
        dict(zip((m.name for m in spec.masks), masks, strict=True)),
        lengths,
        precision,
        every_state,
        tuple(dilation or ()),
    )


@torch.library.custom_op(
    "gatework::steps", mutates_args=(), schema=f"({_GIVEN}, bool keep) -> Tensor[]"
)
def steps(*arguments: Any) -> list[Tensor]:
    """States at every step (T, B, size), final ones (B, size), with ``keep`` what is held."""
    *flat, keep = arguments
    given = _given(*flat)
    if _has_kernel(given):
        ((sequences, finals, held),) = native.forward([given], keep)
        return [*sequences, *finals, *held]
    with torch.no_grad(), _autocast(given):
        gates, finals = scan.steps_in_torch(given)
    return [
        *(gates[state + NEXT].to(given.x.dtype).contiguous() for state in given.sequences),
        *(f.to(given.x.dtype).clone(memory_format=torch.contiguous_format) for f in finals),
    ]


@steps.register_fake
def _steps_shapes(*arguments: Any) -> list[Tensor]:
    *flat, keep = arguments
    given = _given(*flat)
    x = given.x
    made = [x.new_empty(*x.shape[:-1], given.first[s].shape[-1]) for s in given.sequences]
    made += [x.new_empty(s.shape) for s in given.first.values()]
    if keep and _has_kernel(given):
        sizes = Sizes(native.library(given.spec, x.dtype, given.precision), given)
        made += [x.new_empty(size) for size in sizes.held().values()]
    return made


@torch.library.custom_op(
    "gatework::steps_back",
    mutates_args=(),
    schema=f"({_GIVEN}, Tensor output, Tensor[] held, Tensor[] gradients, bool wants_input)"
    " -> Tensor[]",
)
def steps_back(*arguments: Any) -> list[Tensor]:
    """The gradients by initial states and parameter groups, and that by the input, if wanted."""
    *flat, output, held, gradients, wants_input = arguments
    given = _given(*flat)
    if _has_kernel(given):
        if not held:  # the forward pass did not know that there would be a way back
            (((output, *_), _, held),) = native.forward([given], keep=True)
        passes = [Pass(given, held, output, gradients)]
        ((by_x, *rest),) = native.backward(passes, wants_input)
    else:
        by_x, *rest = _by_reference(given, gradients)
    leaves = given.tensors()
    pairs = zip(rest, leaves[1:], strict=True)
    made = [t.new_zeros(t.shape) if g is None else g.contiguous() for g, t in pairs]
    return [*made, by_x] if wants_input and by_x is not None else made


def _by_reference(given: Given, gradients: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients by ``given.tensors()``; inside an operator autograd must be called back."""
    include = torch._C._dispatch_tls_local_include_set()
    exclude = torch._C._dispatch_tls_local_exclude_set()
    leaves = [t.detach().requires_grad_() for t in given.tensors()]
    inside = torch._C._ForceDispatchKeyGuard(include, exclude - exclude)
    with inside, _autocast(given), torch.enable_grad():
        found = native.by_reference(given.with_tensors(leaves), gradients)
    # None of them may be one of the arguments.
    form = torch.contiguous_format
    return [None if g is None else g.detach().clone(memory_format=form) for g in found]


@steps_back.register_fake
def _back_shapes(*arguments: Any) -> list[Tensor]:
    *flat, _, _, _, wants_input = arguments
    x, *rest = _given(*flat).tensors()
    made = [x.new_empty(t.shape) for t in rest]
    return [*made, x.new_empty(x.shape)] if wants_input else made


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, first, groups, masks, lengths, *named, _ = inputs
    *_, every_state = named
    count = (len(first) if every_state else 1) + len(first)
    ctx.counts = (len(first), len(groups), len(masks), lengths is not None)
    ctx.named, ctx.every_state = named, every_state
    given = [x, *first, *groups, *masks, *([] if lengths is None else [lengths])]
    ctx.save_for_backward(*given, output[0], *output[count:])
    ctx.wants_input = ctx.needs_input_grad[0]


def _back(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    states, groups, masks, has_lengths = ctx.counts

    def take(count: int) -> list[Tensor]:
        taken, saved[:count] = saved[:count], []
        return taken

    (x,) = take(1)
    parts = [take(count) for count in (states, groups, masks)]
    lengths = take(1)[0] if has_lengths else None
    (output,) = take(1)
    finals = parts[0]
    widths = [f.shape[-1] for f in (finals if ctx.every_state else finals[:1])]
    shapes = [(*output.shape[:-1], width) for width in widths] + [f.shape for f in finals]
    filled = [
        output.new_zeros(shape) if g is None else g
        for g, shape in zip(gradients, shapes, strict=False)
    ]
    found = torch.ops.gatework.steps_back(
        x, *parts, lengths, *ctx.named, output, saved, filled, ctx.wants_input
    )
    by_x = found[-1] if ctx.wants_input else None
    by_states, by_groups = found[:states], found[states : states + groups]
    return by_x, by_states, by_groups, [None] * masks, None, *(None for _ in ctx.named), None


steps.register_autograd(_back, setup_context=_keep)


def _has_kernel(given: Given) -> bool:
    """Whether the native path runs inside; the same while tracing and while running."""
    x = given.x
    if given.dilation or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    return native.unbuildable(given.spec, x.dtype, given.precision) is None


def _autocast(given: Given) -> torch.autocast:
    """Where there is no kernel: the products as autocast had them around the operator."""
    is_half = given.precision == "half"
    return torch.autocast(given.x.device.type, torch.bfloat16, enabled=is_half, cache_enabled=False)
