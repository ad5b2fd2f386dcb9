"""Compiles the core cells into a wheel, for every instruction set of this kind of machine.

The wheel then needs no compiler for them, and serves every Python, since the libraries are plain
C. The cells are listed in pyproject.toml; what compiles them is the package itself, which imports
neither torch nor NumPy for that.
"""

import os
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from gatework.cells import resolve  # noqa: E402
from gatework.compile import make_plan, toolchain  # noqa: E402
from gatework.compile.emit_c import emit, emit_scan  # noqa: E402
from gatework.errors import PathError  # noqa: E402


class KernelHook(BuildHookInterface):
    """Adds the libraries to a wheel; where they cannot be compiled, it stays pure Python."""

    def initialize(self, version, build_data):
        """Compile into a folder that goes when the build is over."""
        if version == "editable":  # it runs from the source tree and compiles at first use
            return
        self.scratch = tempfile.TemporaryDirectory()
        try:
            compile_all(self.config["cells"], Path(self.scratch.name))
        except (PathError, OSError) as error:
            self.app.display_warning(f"The wheel comes without compiled kernels. {error}")
            return
        packaged = toolchain.PACKAGED.relative_to(ROOT)
        build_data["force_include"][self.scratch.name] = str(packaged)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")


def compile_all(cells: list[str], folder: Path) -> None:
    """Compile every cell, and the scan of linear ones, for every real and instruction set.

    Raises:
        PathError: there is no compiler, or it fails on one of them.
    """
    command = toolchain.compiler()
    if command is None or sys.platform != "linux":
        raise PathError("They are compiled on Linux, where there is a C compiler.")

    def build(cell: str | None, target: toolchain.InstructionSet, real_bytes: int) -> None:
        text = emit(make_plan(resolve(cell)), target.registers)[1] if cell else emit_scan()
        options = toolchain.options(target, real_bytes)
        library = folder / toolchain.library_name(text, *options)
        toolchain.compile_library(command, options, text, library)

    jobs = product([*cells, None], toolchain.instruction_sets(), toolchain.REALS)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for job in [pool.submit(build, *job) for job in jobs]:
            job.result()
