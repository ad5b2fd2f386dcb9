"""Equations, cells and kernels are read and written where neither torch nor NumPy is installed."""

import subprocess
import sys

SCRIPT = """
import sys
import gatework
from gatework.cells import all_cells, resolve
from gatework.equations import Cell

assert len(all_cells()) > 8
assert resolve("gru") and gatework.Cell is Cell and gatework.all_cells() is all_cells()
from gatework.compile import make_plan
from gatework.compile.emit_c import emit

from gatework.compile.flatten import without_kernel
specs = [cell.spec for cell in all_cells() if without_kernel(cell.spec) is None]
assert len(specs) > 8
assert all("void backward" in emit(make_plan(spec))[1] for spec in specs)
heavy = {"torch", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_no_torch_and_no_numpy_from_equations_to_kernel_text():
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
