"""The native path: kernels compiled from the cell's equations, on the CPU.

torch does the large products (what the input brings before the steps, where that pays; weight
gradients after them), the kernel does the recurrence.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import accumulate, chain, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.equations import Spec
from gatework.equations.spec import NEXT
from gatework.errors import PathError, PlanError
from gatework.paths import build, kernel_run, reference, scan, vendor
from gatework.paths.call import Call, Given, Result, is_plain
from gatework.paths.kernel_run import Pass, Run
from gatework.paths.kernel_shape import Shape, are_at_once, shape_of
from gatework.paths.layerwise import Steps, run_layers
from gatework.paths.packing import PARTS, Library
from gatework.paths.workspace import give_back

log = logging.getLogger("gatework")


class NativePath:
    """Compiled kernels, float32 and float64."""

    name = "native"

    def supports(self, call: Call) -> str | None:
        """``None`` where a kernel can be built and the call is on the CPU."""
        if call.dilation:
            return "the kernels have no convolutions"
        if call.x.device.type != "cpu":
            return f"the kernels run on the CPU, the input is on {call.x.device}"
        if is_half(call):
            call = _in_single(call)
        if call.x.dtype not in (torch.float32, torch.float64):
            return f"the kernels are float32 or float64, the input is {call.x.dtype}"
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return "the kernels cannot be traced yet"
        if forward_ad._current_level >= 0:
            return "the kernels have no forward-mode derivatives"
        if not call.x.numel():
            return "the input is empty"
        given = (call.x, *call.states, *call.weights.tensors())
        if not all(map(is_plain, given)):
            return "the kernels need tensors with memory of their own (no fake ones, no torch.func)"
        if any(t.dtype != call.x.dtype or t.device != call.x.device for t in given):
            return "input, states and weights have several dtypes or devices"
        return unbuildable(call.spec, call.x.dtype, precision_of(call))

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction; all steps in one kernel call."""
        precision = precision_of(call)
        taken = _in_single(call) if precision == "half" else call
        return vendor.lowered(call, run_layers(taken, partial(_run_steps, precision)))


def precision_of(call: Call) -> str:
    """What the caller allows products to lose, where that makes them faster: see PARTS."""
    if is_half(call):
        return "half"
    return _switch() if call.x.dtype == torch.float32 else "highest"


def is_half(call: Call) -> bool:
    """Whether autocast asks for products in bfloat16, and the processor is faster in them."""
    return (
        torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and _has_half()
        and call.is_single
        and call.x.dtype in (torch.float32, torch.bfloat16)
    )


# What tracing cannot look at; it is the same as long as a process runs, but for torch's switch,
# whose way from "highest" and back torch.compile watches itself.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_half() -> bool:
    return build.has_half()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _switch() -> str:
    return torch.get_float32_matmul_precision() if build.has_tiles() else "highest"


def _in_single(call: Call) -> Call:
    """What an earlier layer left in bfloat16, as the kernels take it."""
    return replace(call, x=call.x.float(), states=tuple(s.float() for s in call.states))


@cache
def unbuildable(spec: Spec, dtype: torch.dtype, precision: str = "highest") -> str | None:
    """Why the kernel of a cell cannot be built here, or ``None``; it is built on the way."""
    try:
        library(spec, dtype, precision)
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
def library(spec: Spec, dtype: torch.dtype, precision: str = "highest") -> Library:
    """The compiled kernel of a cell."""
    parts = PARTS[precision]
    tiles = parts > 0 and build.has_tiles()
    kernel, text = emit(make_plan(spec), build.instruction_set().registers, parts, tiles)
    real_bytes = torch.empty(0, dtype=dtype).element_size()
    loaded = build.load(text, real_bytes, build.half_options(tiles) if parts else ())
    return Library(
        kernel,
        loaded.forward,
        loaded.backward,
        loaded.pack_halves if parts else loaded.pack,
        loaded.same,
        build.vector_bytes() // real_bytes,
        precision,
    )


def _run_steps(precision: str, given: Sequence[Given], record: bool) -> list[Steps]:
    given = [
        replace(one, precision=precision, every_state=one.every_state or record) for one in given
    ]
    if are_at_once(given):
        found = _run_at_once(given)
    else:
        found = [steps for one in given for steps in _run_at_once([one])]
    if not record:
        return found
    # The states are known at every step, so all equations follow for all steps at once.
    pairs = zip(given, found, strict=True)
    return [(reference.all_equations(one, steps), finals) for one, (steps, finals) in pairs]


def _run_at_once(given: Sequence[Given]) -> list[Steps]:
    names, tensors = [s + NEXT for s in given[0].sequences], _tensors(given)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        results = _Steps.apply(given, *tensors)  # type: ignore[no-untyped-call]
        parts = _split(results, [_count(one) for one in given])
        found = [(tuple(each[: len(names)]), tuple(each[len(names) :])) for each in parts]
    else:
        found = [(sequences, finals) for sequences, finals, _ in forward(given, keep=False)]
    return [(dict(zip(names, each, strict=True)), finals) for each, finals in found]


def _count(given: Given) -> int:
    """How many tensors ``_Steps`` gives back for one direction."""
    return len(given.sequences) + len(given.first)


def _tensors(given: Sequence[Given]) -> list[Tensor]:
    return [t for one in given for t in one.tensors()]


def _split(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[Sequence[Tensor]]:
    """Neighbours in groups of these sizes."""
    ends = list(accumulate(counts, initial=0))
    return [tensors[begin:end] for begin, end in pairwise(ends)]


def forward(
    given: Sequence[Given], keep: bool
) -> list[tuple[tuple[Tensor, ...], tuple[Tensor, ...], list[Tensor]]]:
    """States at every step, the output first; final states; with ``keep`` what the way back reads.

    What is given must have one shape; it is done at once.
    """
    # The kernel has the precision of its input, also where autocast would lower the products.
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        given = [_without_gaps(one) for one in given]
        shape = _shape(given, keep)
        runs = [Run(shape, one.x) for one in given]
        results = kernel_run.forward(runs, given)
        if keep:
            held = [run.let_go() for run in runs]
        else:
            held = [[] for run in runs]
            for run in runs:
                run.release()
    return [(*both, kept) for both, kept in zip(results, held, strict=True)]


def _shape(given: Sequence[Given], keep: bool) -> Shape:
    one = given[0]
    kernel = library(one.spec, one.x.dtype, one.precision)
    return shape_of(kernel, one, keep, len(given))


def _without_gaps(given: Given) -> Given:
    """The same; the rows of the input as kernels read them."""
    return given if given.x.stride(-1) == 1 else replace(given, x=given.x.contiguous())


class _Steps(torch.autograd.Function):
    """All steps of directions that are done at once: of each ``Results``, one after the other."""

    @staticmethod
    def forward(ctx: Any, given: Sequence[Given], *tensors: Tensor) -> tuple[Tensor, ...]:
        sequences, finals, held = zip(*forward(given, keep=True), strict=True)
        outputs = [each[0] for each in sequences]
        # The tensors are saved, and not with the rest: so torch sees what is changed in place.
        ctx.given = [one.with_tensors([t.new_empty(0) for t in one.tensors()]) for one in given]
        ctx.held = [len(kept) for kept in held]
        # Hooks may keep what is saved; then its memory is not ours to use again.
        ctx.is_ours = torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        ctx.save_for_backward(*outputs, *tensors, *chain(*held))
        return tuple(chain(*((*s, *f) for s, f in zip(sequences, finals, strict=True))))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        counts = [len(one.tensors()) for one in ctx.given]
        # This raises if one of them was changed in place meanwhile, or is gone.
        saved = ctx.saved_tensors
        outputs, *parts = _split(saved, [len(counts), *counts, *ctx.held])
        tensors, held = parts[: len(counts)], parts[len(counts) :]
        given = [one.with_tensors(own) for one, own in zip(ctx.given, tensors, strict=True)]
        incoming = _split(gradients, [_count(one) for one in given])
        pairs = list(zip(given, incoming, strict=True))
        if torch.is_grad_enabled():
            return None, *chain(*(by_reference(*pair) for pair in pairs))
        passes = [
            Pass(one, kept, output, by)
            for (one, by), kept, output in zip(pairs, held, outputs, strict=True)
        ]
        # All directions read one input.
        found = backward(passes, ctx.needs_input_grad[1])
        if ctx.is_ours and not torch._C._autograd._get_current_graph_task_keep_graph():
            give_back(list(chain(*held)))
        return None, *chain(*found)


def backward(passes: Sequence[Pass], wants_input: bool) -> list[list[Tensor | None]]:
    """The gradients by ``given.tensors()`` of each pass; they have one shape."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        passes = [replace(one, given=_without_gaps(one.given)) for one in passes]
        shape = _shape([one.given for one in passes], keep=True)
        found = kernel_run.backward(shape, passes, wants_input)
    return [[by_x, *by_states, *by_groups] for by_x, by_states, by_groups in found]


def by_reference(given: Given, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again: through torch's own operations."""
    gates, finals = scan.steps_in_torch(given)
    sequences = [gates[state + NEXT] for state in given.sequences]
    results = zip((*sequences, *finals), gradients, strict=True)
    outputs, incoming = zip(*(pair for pair in results if pair[0].requires_grad), strict=True)
    wanted = [t for t in given.tensors() if t.requires_grad]
    found = iter(
        torch.autograd.grad(outputs, wanted, incoming, create_graph=True, allow_unused=True)
    )
    return tuple(next(found) if t.requires_grad else None for t in given.tensors())
