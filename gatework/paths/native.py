"""The native path: kernels compiled from the cell's equations, on the CPU.

torch does the large products (what the input brings before the steps, where that pays; weight
gradients after them), the kernel does the recurrence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.equations import Spec
from gatework.equations.spec import NEXT
from gatework.errors import PathError, PlanError
from gatework.paths import build, reference
from gatework.paths.call import Call, Groups, Result
from gatework.paths.kept_runs import infer
from gatework.paths.kernel_run import Run
from gatework.paths.layerwise import run_layers
from gatework.paths.packing import Library

log = logging.getLogger("gatework")


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
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return "the kernels cannot be traced yet"
        if forward_ad._current_level >= 0:
            return "the kernels have no forward-mode derivatives"
        if not call.x.numel():
            return "the input is empty"
        given = (call.x, *call.states, *call.weights.tensors())
        if not all(map(_has_memory, given)):
            return "the kernels need tensors with memory of their own (no fake ones, no torch.func)"
        if any(t.dtype != call.x.dtype or t.device != call.x.device for t in given):
            return "input, states and weights have several dtypes or devices"
        return _unbuildable(call.spec, call.x.dtype)

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction; all steps in one kernel call."""
        return run_layers(call, _run_steps)


def _has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch's own, not a stand-in that records or transforms."""
    plain = type(tensor) is Tensor or type(tensor) is torch.nn.Parameter
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


@cache
def _unbuildable(spec: Spec, dtype: torch.dtype) -> str | None:
    """Why the kernel of a cell cannot be built here, or ``None``; it is built on the way."""
    try:
        library(spec, dtype)
    except PathError as error:
        _warn_once(str(error))
        return str(error).rstrip(".")
    except PlanError as error:
        return str(error).rstrip(".")
    except Exception as error:  # ours; the cell still has the reference
        log.warning("The kernel compiler failed on %s, a bug: %r", spec.name, error)
        return f"the compiler failed on this cell: {type(error).__name__}: {error}"
    return None


@cache
def _warn_once(reason: str) -> None:
    """Say, once a process, why cells that could run fast here do not."""
    log.warning(
        "%s Cells that torch has no kernel for run step by step in Python, many times slower.",
        reason,
    )


@cache
def library(spec: Spec, dtype: torch.dtype) -> Library:
    """The compiled kernel of a cell."""
    kernel, text = emit(make_plan(spec))
    real_bytes = torch.empty(0, dtype=dtype).element_size()
    loaded = build.load(text, real_bytes)
    return Library(
        kernel, loaded.forward, loaded.backward, loaded.pack, build.vector_bytes() // real_bytes
    )


def _run_steps(
    call: Call,
    x: Tensor,
    states: tuple[Tensor, ...],
    groups: Groups,
    masks: Mapping[str, Tensor],
    inside: Tensor | None,
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    output = call.spec.states[0].name + NEXT
    given = (x, *states, *(groups[g] for g in call.spec.groups))
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in given)):
        with torch.autocast("cpu", enabled=False):
            result, finals = _infer(call, given, masks)
        return {output: result}, finals
    results = _Steps.apply(call, masks, *given)  # type: ignore[no-untyped-call]
    return {output: results[0]}, tuple(results[1:])


def _infer(
    call: Call, given: Sequence[Tensor], masks: Mapping[str, Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    x, first, groups = _named(call, given)
    kernel = library(call.spec, x.dtype)
    if call.lengths is None:
        return infer(kernel, x, first, groups, masks)
    run = Run(kernel, x, first, groups, masks, call.lengths, keep=False)
    result = run.forward()
    run.workspace.release()
    run.held.release()
    return result


def _named(
    call: Call, given: Sequence[Tensor]
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Input, initial states and parameter groups, the latter two by name."""
    x, *rest = given
    states = call.spec.states
    first = {s.name: t for s, t in zip(states, rest, strict=False)}
    return x, first, dict(zip(call.spec.groups, rest[len(states) :], strict=True))


class _Steps(torch.autograd.Function):
    """All steps of one layer in one direction: output (T, B, H), then the final states."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, masks: Mapping[str, Tensor], *given: Tensor
    ) -> tuple[Tensor, ...]:
        # The kernel has the precision of its input, also where autocast would lower the products.
        with torch.autocast("cpu", enabled=False):
            x, first, groups = _named(call, [t.detach() for t in given])
            run = Run(library(call.spec, x.dtype), x, first, groups, masks, call.lengths, keep=True)
            output, finals = run.forward()
            held = run.let_go()
        ctx.call, ctx.masks, ctx.run, ctx.names = call, masks, run, tuple(held)
        # Hooks may keep what is saved; then its memory is not ours to use again.
        ctx.is_ours = torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        ctx.save_for_backward(output, *given, *held.values())
        return output, *finals

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # This raises if one of them was changed in place meanwhile, or is gone.
        output, *saved = ctx.saved_tensors
        split = len(saved) - len(ctx.names)
        inputs, held = saved[:split], dict(zip(ctx.names, saved[split:], strict=True))
        if torch.is_grad_enabled():
            return None, None, *_by_reference(ctx.call, ctx.masks, inputs, gradients)
        with torch.autocast("cpu", enabled=False):
            x, first, groups = _named(ctx.call, inputs)
            run = copy(ctx.run)  # so that the graph itself keeps no tensors of the call
            run.take(x, first, groups, {})
            by_x, by_states, by_groups = run.backward(
                held, output, gradients, ctx.needs_input_grad[2]
            )
        if ctx.is_ours and not torch._C._autograd._get_current_graph_task_keep_graph():
            run.give_back(held)
        return None, None, by_x, *by_states, *by_groups


def _by_reference(
    call: Call, masks: Mapping[str, Tensor], inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again: through the reference path."""
    spec = call.spec
    x, *rest = inputs
    states, groups = tuple(rest[: len(spec.states)]), rest[len(spec.states) :]
    inside = None
    if call.lengths is not None:
        inside = (torch.arange(len(x)).unsqueeze(1) < call.lengths).unsqueeze(-1)
    named = dict(zip(spec.groups, groups, strict=True))
    gates, finals = reference.run_steps(call, x, states, named, masks, inside)
    outputs = (gates[spec.states[0].name + NEXT], *finals)
    wanted = [t for t in inputs if t.requires_grad]
    found = iter(
        torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True)
    )
    return tuple(next(found) if t.requires_grad else None for t in inputs)
