"""Runs pytest with the kernels compiled under gcc's address and undefined-behaviour sanitizers.

python tests/sanitize.py               the long form, every cell: what ``make sanitize`` runs
python tests/sanitize.py ARGUMENTS     pytest with these arguments

The first finding ends the process, with the place in the kernel's text.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUNTIMES = ("libasan.so", "libubsan.so")
# Little optimisation: the instrumented text is then compiled in a quarter of the time.
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g1 -O1"
LONG = (str(HERE / "sanitized_cases.py"), "--every-cell")


def missing() -> str | None:
    """Why it cannot run here, or ``None``."""
    if shutil.which("gcc") is None:
        return "there is no gcc"
    absent = [name for name in RUNTIMES if not Path(_place(name)).is_absolute()]
    return f"gcc has no {' and no '.join(absent)}" if absent else None


def environment(cache: Path) -> dict[str, str]:
    """The environment of a Python whose kernels are sanitized; they are kept in ``cache``."""
    return {
        **os.environ,
        # The sanitizers' libraries come first in the process, since Python has none of them. Not
        # in the compiler's: it would only be slower.
        "LD_PRELOAD": " ".join(map(_place, RUNTIMES)),
        "CC": "env -u LD_PRELOAD gcc",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))),
        # Python and torch leave memory to the end of the process.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "GATEWORK_CFLAGS": FLAGS,
        "GATEWORK_CACHE": str(cache),
    }


def command(*arguments: str) -> list[str]:
    """The command that runs pytest in that environment."""
    # pytest may hold what Python prints, not what the sanitizers write before the process ends.
    plugin = ("-p", Path(__file__).stem, "--capture=sys")
    return [sys.executable, "-m", "pytest", *plugin, *arguments]


def pytest_addoption(parser: Any) -> None:
    """As pytest's plugin: the choice between the short form and the long one."""
    parser.addoption("--every-cell", action="store_true", help="every cell, and more shapes")


def pytest_configure() -> None:
    """As pytest's plugin: no memory is used again, since blocks may be larger than is needed."""
    from gatework.paths import workspace  # noqa: PLC0415

    workspace.LIMIT = 0


def _place(library: str) -> str:
    """Where gcc has a library; the bare name where it has not."""
    command = ["gcc", f"-print-file-name={library}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    if (reason := missing()) is not None:
        sys.exit(f"The kernels cannot be sanitized here: {reason}.")
    cache = HERE.parent / ".venv" / "sanitized"
    wanted = command(*(sys.argv[1:] or LONG))
    sys.exit(subprocess.run(wanted, check=False, env=environment(cache)).returncode)
