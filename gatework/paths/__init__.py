"""Ways to run a stack of layers of one cell, and the choice between them.

A path is a module-level object with a ``name``, ``supports(call)``, which answers ``None`` or
the reason why not, and ``run(call)``. The automatic choice takes the first that supports the
call and logs it once; an explicit choice that cannot be met raises with the reason.
"""

from __future__ import annotations

import logging
from typing import Protocol

import torch

from gatework.errors import PathError
from gatework.paths import native, operators, reference, scan, vendor
from gatework.paths.call import Call, Result, Weights

log = logging.getLogger("gatework")


class Path(Protocol):
    """What a way to run a call offers."""

    name: str

    def supports(self, call: Call) -> str | None:
        """``None`` when ``run`` computes exactly this call, else the reason why not."""

    def run(self, call: Call) -> Result:
        """Run a supported call."""


# In the order of preference.
VENDOR, NATIVE, REFERENCE = vendor.VendorPath(), native.NativePath(), reference.ReferencePath()
SCAN = scan.ScanPath()
PATHS: tuple[Path, ...] = (VENDOR, NATIVE, SCAN, REFERENCE)
MUCH_WORK = 200_000_000  # multiply-adds of the forward half of a training step
MUCH_HALF_WORK = 1_000_000_000  # the same in bfloat16, where products are done sooner
FEW_ROWS = 16  # of all steps together; fewer are mostly the setting up, in training
FEWEST_ROWS = 8  # the same in inference
SMALL_WEIGHTS = 500_000  # numbers; larger ones do not stay in a processor's own cache
AUTO = "auto"
RUNS = "runs it"
FLOATS = (torch.float32, torch.float64)  # of the kernels

_logged: set[tuple[str, str, str]] = set()


def check_name(name: str) -> str:
    """The name of a path, or ``"auto"``; anything else raises."""
    names = (AUTO, *(p.name for p in PATHS))
    if name not in names:
        raise PathError(f"There is no path {name!r}; choose one of {', '.join(names)}.")
    return name


def run_traced(call: Call, name: str, is_torch_cell: bool) -> Result:
    """Run a call while torch compiles or exports what stands around it.

    Raises:
        PathError: the path of that name does not support the call; the reason is given.
    """
    has_kernels = call.x.device.type == "cpu" and call.weights.tensors()[0].dtype in FLOATS
    if name in (AUTO, "native") and (has_kernels or (name == AUTO and not is_torch_cell)):
        return operators.run(call)
    result: Result = _run_untraced(call, name)
    return result


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _run_untraced(call: Call, name: str) -> Result:
    """As it is, beside what torch.compile makes of the rest.

    Tracing into torch's own kernels breaks their gradient in float32 (torch 2.13).
    """
    return choose(call, name).run(call)


def choose(call: Call, name: str = AUTO) -> Path:
    """The path that runs a call.

    Raises:
        PathError: the path of that name does not support the call; the reason is given.
    """
    reasons: list[str] = []
    for path in _ordered(call) if name == AUTO else PATHS:
        if name not in (AUTO, path.name):
            continue
        reason = path.supports(call)
        if reason is None:
            _log_once(call.spec.name, path.name, "; ".join(reasons))
            return path
        reasons.append(f"{path.name}: {reason}")
    raise PathError(f"{call.spec.name} cannot run here. {'; '.join(reasons)}.")


def explained(call: Call, name: str = AUTO) -> list[tuple[str, str]]:
    """What the choice makes of each path, in the order of preference: name and reason.

    The first one whose reason is ``RUNS`` is taken.
    """
    found: list[tuple[str, str]] = []
    for path in _ordered(call):
        reason = path.supports(call)
        if name not in (AUTO, path.name):
            reason = f"not asked for, path={name!r}"
        elif reason is None and any(other == RUNS for _, other in found):
            reason = "supports it, is expected to be slower here"
        found.append((path.name, reason or RUNS))
    return found


def _ordered(call: Call) -> tuple[Path, ...]:
    """The paths with the faster one first, as far as ``docs/performance.md`` has measured it.

    torch's LSTM is tuned and hard to beat in inference with large weights; its other kernels
    are not. A short training step is mostly the setting up, where torch is quicker.
    In bfloat16 the two are even in inference. Where a processor has whole tiles, they do several
    times the products of what torch has for the same switch; that is reckoned, not measured.
    """
    if native.precision_of(call) in ("high", "medium"):
        return (NATIVE, VENDOR, SCAN, REFERENCE)
    rows = call.x.shape[0] * call.x.shape[1]
    is_half = native.is_half(call)
    if torch.is_autocast_enabled("cpu") and not is_half:
        return PATHS  # torch has the lower precision that was asked for
    elements = sum(t.numel() for t in call.weights.tensors())
    is_tuned = vendor.is_tuned(call.spec)
    if torch.is_grad_enabled() or is_half:
        enough = MUCH_HALF_WORK if is_half else MUCH_WORK
        much = torch.is_grad_enabled() and rows * elements >= enough
        is_faster = rows >= FEW_ROWS and (not is_tuned or much)
    else:
        is_faster = elements <= SMALL_WEIGHTS if is_tuned else rows >= FEWEST_ROWS
    return (NATIVE, VENDOR, SCAN, REFERENCE) if is_faster else PATHS


def choose_for_step(call: Call, name: str = AUTO) -> str:
    """The name of the path that runs single steps: the native one wherever it can.

    Raises:
        PathError: as ``choose``.
    """
    by_name = {path.name: path for path in PATHS}
    if name == AUTO and by_name["native"].supports(call) is None:
        return "native"
    return choose(call, name).name


def _log_once(cell: str, path: str, why: str) -> None:
    if (cell, path, why) not in _logged:
        _logged.add((cell, path, why))
        log.info("%s runs on the %s path%s", cell, path, f" ({why})" if why else "")


__all__ = [
    "AUTO",
    "PATHS",
    "RUNS",
    "Call",
    "Path",
    "Result",
    "Weights",
    "check_name",
    "choose",
    "choose_for_step",
    "explained",
    "run_traced",
]
