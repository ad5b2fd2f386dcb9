"""Kernels as libraries: those that come with the package, and others compiled at first use.

What is compiled here is kept under the user's cache folder, keyed by text, compiler and options
(the processor's instruction set is one of them). It is written under a temporary name and
renamed, so two processes may build at once.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from gatework.compile.emit_c import emit_probe
from gatework.compile.toolchain import (
    HALF_FEATURE,
    HALF_FLAGS,
    HALF_SET,
    PACKAGED,
    TILE_FEATURES,
    TILE_FLAGS,
    InstructionSet,
    compile_library,
    compiler,
    instruction_sets,
    library_name,
    options,
)
from gatework.errors import PathError

log = logging.getLogger("gatework")


@cache
def instruction_set() -> InstructionSet:
    """The best one that the processor has, or the one that GATEWORK_ISA names.

    Raises:
        PathError: the processor has none of that name.
    """
    features = _features()
    found = {one.name: one for one in instruction_sets() if one.features <= features}
    name = os.environ.get("GATEWORK_ISA") or next(iter(found))
    if name not in found:
        raise PathError(f"GATEWORK_ISA is {name!r}; this processor has {', '.join(found)}.")
    return found[name]


@cache
def has_half() -> bool:
    """Whether the processor multiplies bfloat16 numbers, faster than floats."""
    return HALF_FEATURE in _features() and instruction_set().name == HALF_SET


@cache
def has_tiles() -> bool:
    """Whether the processor multiplies whole tiles of bfloat16, and the system lets us use them."""
    if not (has_half() and _features() >= TILE_FEATURES):
        return False
    try:
        works = bool(load(emit_probe(), 4, half_options(tiles=True)).tiles_work())
    except (PathError, OSError) as error:
        log.info("Tiles of bfloat16 are not used: %s", error)
        return False
    if not works:
        log.warning("This processor's tiles of bfloat16 do not work here; they are not used.")
    return works


def half_options(tiles: bool) -> tuple[str, ...]:
    """The compiler's options for products in bfloat16."""
    is_there = HALF_FEATURE in _features() and instruction_set().name == HALF_SET
    return (*(HALF_FLAGS if is_there else ()), *(TILE_FLAGS if tiles else ()))


def vector_bytes() -> int:
    """The width of the vectors that kernels use."""
    return instruction_set().vector_bytes


def load(text: str, real_bytes: int, more: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The compiled text as a library.

    Args:
        text: in C.
        real_bytes: 4 for float, 8 for double.
        more: options of the compiler.

    Raises:
        PathError: there is no compiler, it fails, or nothing can be written anywhere.
    """
    own = shlex.split(os.environ.get("GATEWORK_CFLAGS", ""))  # for sanitizers
    wanted = (*options(instruction_set(), real_bytes), *more, *own)
    packaged = PACKAGED / library_name(text, *wanted)
    if packaged.is_file():
        try:
            return ctypes.CDLL(str(packaged))
        except OSError as error:  # another C library, or a folder that nothing runs from
            log.info("A packaged kernel cannot be loaded (%s); it is compiled instead.", error)
    command = compiler()
    if command is None:
        raise PathError("There is no C compiler (cc, gcc, clang or the ziglang package).")
    name = library_name(text, *wanted, *command, _version(command))
    tried, failure = [], None
    for folder in _folders():
        target = folder / name
        try:
            if not target.is_file():
                compile_library(command, wanted, text, target)
            return ctypes.CDLL(str(target))
        except OSError as error:  # read-only, full, or nothing may run from there
            tried.append(f"{folder} ({error.strerror or error})")
        except PathError as error:  # on a full disk it is the compiler that fails
            failure = error
    raise failure or PathError(f"No folder to build kernels in; tried {', '.join(tried)}.")


def _folders() -> Iterator[Path]:
    own = os.environ.get("GATEWORK_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatework"
    yield Path(own) if own else home
    shared = Path(tempfile.gettempdir()) / f"gatework-{os.getuid()}"
    with suppress(OSError):
        shared.mkdir(mode=0o700, exist_ok=True)
        # Everybody may write there: a folder of this name may be somebody else's trap.
        found = shared.lstat()
        if (
            found.st_uid == os.getuid()
            and stat.S_ISDIR(found.st_mode)
            and not found.st_mode & 0o077
        ):
            yield shared


@cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _features() -> frozenset[str]:
    """The processor's features, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(found, "").split())
