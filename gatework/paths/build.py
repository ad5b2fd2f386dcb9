"""Compiling a kernel's C text at first use, and keeping it under the user's cache folder.

A build is keyed by text, compiler, flags and processor, written under a temporary name and
renamed, so two processes may build at once.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gatework.errors import PathError

FLAGS = (
    "-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi", "-fPIC", "-shared",
)  # fmt: skip
REALS = {8: "double", 4: "float"}


@cache
def compiler() -> tuple[str, ...] | None:
    """The C compiler's command: $CC, cc, gcc, clang, or the ziglang package; None without one."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        parts = shlex.split(name)
        if parts and (found := shutil.which(parts[0])):
            return (found, *parts[1:])
    if find_spec("ziglang") is not None:
        import sys  # noqa: PLC0415

        return (sys.executable, "-m", "ziglang", "cc")
    return None


@cache
def vector_bytes() -> int:
    """The width of the processor's vectors."""
    flags = _processor()
    return 64 if "avx512f" in flags else 32 if "avx2" in flags else 16


def load(text: str, real_bytes: int) -> ctypes.CDLL:
    """The compiled text as a library.

    Raises:
        PathError: there is no compiler, it fails, or nothing can be written anywhere.
    """
    command = compiler()
    if command is None:
        raise PathError("There is no C compiler (cc, gcc, clang or the ziglang package).")
    options = (
        *FLAGS,
        "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native",
        f"-Dreal={REALS[real_bytes]}",
        f"-DDOUBLE={int(real_bytes == 8)}",
        f"-DLANES={vector_bytes() // real_bytes}",
        *shlex.split(os.environ.get("GATEWORK_CFLAGS", "")),  # for sanitizers
    )
    key = "\0".join((text, *command, *options, _version(command), _processor()))
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    for folder in _folders():
        target = folder / f"{name}.so"
        try:
            if not target.is_file():
                _compile(command, options, text, target)
            return ctypes.CDLL(str(target))
        except OSError:
            continue  # read-only, full, or no programs may be loaded from there
    raise PathError(f"No folder to build kernels in; tried {', '.join(map(str, _folders()))}.")


def _compile(command: tuple[str, ...], options: tuple[str, ...], text: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, built = Path(scratch) / "kernel.c", Path(scratch) / "kernel.so"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, *options, "-o", str(built), str(source), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            first = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise PathError(f"The C compiler {command[0]} failed on a kernel: {first}")
        built.replace(target)


def _folders() -> list[Path]:
    own = os.environ.get("GATEWORK_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatework"
    return [Path(own) if own else home, Path(tempfile.gettempdir()) / f"gatework-{os.getuid()}"]


@cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


@cache
def _processor() -> str:
    """The processor's features, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    found = [
        line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))
    ]
    return found[0] if found else platform.machine()
