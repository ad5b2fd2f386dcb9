"""The C compiler, the instruction sets it writes for, and a kernel's text made into a library.

The package's build compiles its core set with this, a user's machine the cells beyond that.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gatework.errors import PathError

FLAGS = (
    "-std=gnu11", "-O2", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi", "-fPIC", "-shared",
)  # fmt: skip
REALS = {4: "float", 8: "double"}
# Where products of bfloat16 have an instruction; elsewhere they are slower than those of floats.
HALF_SET, HALF_FEATURE, HALF_FLAGS = "avx512", "avx512_bf16", ("-mavx512bf16",)
TILE_FEATURES, TILE_FLAGS = frozenset(["amx_tile", "amx_bf16"]), ("-mamx-tile", "-mamx-bf16")
# The libraries that come with the package; a source tree has none.
PACKAGED = Path(__file__).parent / "libraries"


@dataclass(frozen=True)
class InstructionSet:
    """What a kernel may use of a processor."""

    name: str
    vector_bytes: int
    registers: int  # for vectors
    options: tuple[str, ...]  # of the compiler
    features: frozenset[str] = frozenset()  # as Linux names them; all must be there


_AVX2 = frozenset(["abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"])
_AVX512 = _AVX2 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
_X86 = (
    InstructionSet("avx512", 64, 32, ("-march=x86-64-v4",), _AVX512),
    InstructionSet("avx2", 32, 16, ("-march=x86-64-v3",), _AVX2),
    InstructionSet("plain", 16, 16, ("-march=x86-64",)),
)
_ARM = (InstructionSet("plain", 16, 32, ("-mcpu=generic",)),)
_OTHER = (InstructionSet("plain", 16, 16, ()),)
_BY_MACHINE = {"x86_64": _X86, "aarch64": _ARM, "arm64": _ARM}


def instruction_sets() -> tuple[InstructionSet, ...]:
    """Those of this kind of machine, the best first; the last one runs on every such machine."""
    return _BY_MACHINE.get(platform.machine(), _OTHER)


@cache
def compiler() -> tuple[str, ...] | None:
    """The C compiler's command: $CC, cc, gcc, clang, or the ziglang package; None without one."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        try:
            parts = shlex.split(name)
        except ValueError as error:
            raise PathError(f"CC is {name!r}, which is no command: {error}.") from error
        if parts and (found := shutil.which(parts[0])):
            return (found, *parts[1:])
    if find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    return None


def options(of: InstructionSet, real_bytes: int) -> tuple[str, ...]:
    """The compiler's options for a kernel of one instruction set and real."""
    return (
        *FLAGS,
        *of.options,
        f"-Dreal={REALS[real_bytes]}",
        f"-DDOUBLE={int(real_bytes == 8)}",
        f"-DLANES={of.vector_bytes // real_bytes}",
    )


def library_name(*parts: str) -> str:
    """The file name of what is made of a text, options and whatever else it depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24] + ".so"


def compile_library(
    command: tuple[str, ...], options: tuple[str, ...], text: str, target: Path
) -> None:
    """Compile a kernel's text under a temporary name beside the target, and rename.

    Raises:
        PathError: the compiler fails.
        OSError: the compiler cannot be started, or the folder cannot be written.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, built = Path(scratch) / "kernel.c", Path(scratch) / "kernel.so"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, *_spelled(command, options), "-o", str(built), str(source), "-lm"],
            capture_output=True,
            text=True,
            check=False,
            # what the compiler writes on the way, it writes where there is room for the result
            env={"ZIG_GLOBAL_CACHE_DIR": f"{target.parent}/zig", **os.environ, "TMPDIR": scratch},
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            first = next((line for line in said if "error" in line), said[0])
            raise PathError(f"The C compiler {command[0]} failed on a kernel: {first}")
        built.replace(target)


def _spelled(command: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    """The options as a compiler wants them."""
    if not any("zig" in Path(part).name for part in command):
        return options
    # zig names processors differently, and builds a library of its own (4 seconds) unless told.
    names = (o.replace("x86-64", "x86_64").replace("64-v", "64_v") for o in options)
    return (*names, "-nostdlib", "-lc")
