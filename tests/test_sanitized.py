"""The kernels under gcc's address and undefined-behaviour sanitizers, in a process of their own.

The long form, over every cell, is ``make sanitize``.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import sanitize

if (reason := sanitize.missing()) is not None:
    pytest.skip(f"the kernels cannot be sanitized: {reason}", allow_module_level=True)

CASES = Path(__file__).with_name("sanitized_cases.py")
WRONG = """
import torch
from gatework.paths import build

build.load("int wrong(const int *at, long shift) { WRONG }", 4).wrong(
    build.ctypes.c_void_p(torch.zeros(4, dtype=torch.int32).data_ptr()), build.ctypes.c_long(40)
)
"""


def run(cache, *command):
    """A command whose kernels are sanitized."""
    environment = sanitize.environment(cache)
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_the_kernels_are_clean(tmp_path):
    done = run(tmp_path, *sanitize.command(str(CASES), "-x", "-p", "no:cacheprovider"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("return at[4];", "AddressSanitizer: heap-buffer-overflow"),
        ("return 1 << shift;", "shift exponent 40 is too large"),
    ],
)
def test_the_sanitizers_bite(tmp_path, statement, finding):
    done = run(tmp_path, sys.executable, "-c", WRONG.replace("WRONG", statement))
    assert done.returncode != 0
    assert finding in done.stderr
