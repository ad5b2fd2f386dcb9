"""Ways to run a stack of layers of one cell, and the choice between them.

A path is a module-level object with a ``name``, ``supports(call)``, which answers ``None`` or
the reason why not, and ``run(call)``. The automatic choice takes the first that supports the
call and logs it once; an explicit choice that cannot be met raises with the reason.
"""

from __future__ import annotations

import logging
from typing import Protocol

from gatework.errors import PathError
from gatework.paths import native, reference, vendor
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
PATHS: tuple[Path, ...] = (vendor.VendorPath(), native.NativePath(), reference.ReferencePath())
AUTO = "auto"

_logged: set[tuple[str, str, str]] = set()


def check_name(name: str) -> str:
    """The name of a path, or ``"auto"``; anything else raises."""
    names = (AUTO, *(p.name for p in PATHS))
    if name not in names:
        raise PathError(f"There is no path {name!r}; choose one of {', '.join(names)}.")
    return name


def choose(call: Call, name: str = AUTO) -> Path:
    """The path that runs a call.

    Raises:
        PathError: the path of that name does not support the call; the reason is given.
    """
    reasons: list[str] = []
    for path in PATHS:
        if name not in (AUTO, path.name):
            continue
        reason = path.supports(call)
        if reason is None:
            _log_once(call.spec.name, path.name, "; ".join(reasons))
            return path
        reasons.append(f"{path.name}: {reason}")
    raise PathError(f"{call.spec.name} cannot run here. {'; '.join(reasons)}.")


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
    "Call",
    "Path",
    "Result",
    "Weights",
    "check_name",
    "choose",
    "choose_for_step",
]
