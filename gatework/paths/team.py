"""The threads that kernels run on: those of the OpenMP runtime that torch has loaded.

A second runtime in the process would bring threads of its own, which compete with torch's for the
processors. Where torch has none that is known here, kernels run on one thread.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch


class Team(ctypes.Structure):
    """The entry points, as ``compile/runtime.h`` has them."""

    _fields_ = [
        ("parallel", ctypes.c_void_p),
        ("thread", ctypes.c_void_p),
        ("threads", ctypes.c_void_p),
    ]


@cache
def team() -> ctypes._Pointer[Team] | None:
    """The runtime's entry points; ``None`` where there is no such runtime."""
    runtime = _runtime()
    if runtime is None:
        return None
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    try:
        found = [ctypes.cast(getattr(runtime, name), ctypes.c_void_p) for name in names]
    except AttributeError:
        return None
    return ctypes.pointer(Team(*found))


def threads() -> int:
    """How many threads a kernel may use."""
    return torch.get_num_threads() if team() is not None else 1


def _runtime() -> ctypes.CDLL | None:
    """GNU's OpenMP runtime, if torch has loaded one."""
    try:
        loaded = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    found = {line.split()[-1] for line in loaded.splitlines() if "libgomp" in line}
    if len(found) != 1:  # other packages, scikit-learn for one, bring a runtime of their own
        home = Path(torch.__file__).parent
        places = (home, home.with_name("torch.libs"))
        found = {f for f in found if any(Path(f).is_relative_to(p) for p in places)}
        if len(found) != 1:
            return None
    return ctypes.CDLL(found.pop())
