"""The functions of the primitives in C: how far they are from the truth, over all there is."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from gatework import compile as compiler
from gatework.equations.ops import PRIMITIVES
from gatework.paths import build

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

# By twice the precision where C's long double has it; written so that no digits are lost.
TRUTH = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda a: np.where(a < 0, np.exp(np.minimum(a, 0)), 1) / (1 + np.exp(-np.abs(a))),
    "softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
    "log": np.log,
    "sqrt": np.sqrt,
}
APPLY = """
void apply_NAME(const real *from, real *y, long n)
{
    for (long i = 0; i < n; i += LANES) {
        const vec a = vec_load(from + i);
        vec_store(y + i, TEXT);
    }
}
"""


def numbers(dtype):
    """Some of all that there are, evenly by their bits, and many where functions bend."""
    whole = np.dtype(f"i{np.dtype(dtype).itemsize}")
    ends = np.iinfo(whole)
    every = np.linspace(ends.min, ends.max, 2**18, dtype=np.longdouble).astype(whole).view(dtype)
    limit = np.log(np.finfo(dtype).max)
    near = np.linspace(-1.2 * limit, 1.2 * limit, 2**17).astype(dtype)
    last = np.nextafter(limit, np.array([-np.inf, limit, np.inf], dtype), dtype=dtype)
    special = np.array([0.0, np.inf, np.nan, 1.0, 0.625], dtype)
    all_ = np.concatenate([every, near, np.linspace(-20, 20, 2**17).astype(dtype), last, special])
    all_ = np.concatenate([all_, -special])
    return np.concatenate([all_, np.zeros(-len(all_) % 64, dtype)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@np.errstate(all="ignore")
def test_they_are_within_four_units_in_the_last_place(dtype):
    header = (Path(compiler.__file__).parent / "vectors.h").read_text(encoding="utf-8")
    text = "".join(
        APPLY.replace("NAME", name).replace("TEXT", PRIMITIVES[name].c) for name in TRUTH
    )
    library = build.load(header + text, np.dtype(dtype).itemsize)
    a, info = numbers(dtype), np.finfo(dtype)
    n = ctypes.c_long(len(a))
    for name, function in TRUTH.items():
        y = np.empty_like(a)
        getattr(library, f"apply_{name}")(*(ctypes.c_void_p(v.ctypes.data) for v in (a, y)), n)
        truth = function(a.astype(np.longdouble))
        rounded = truth.astype(dtype)
        is_number = np.isfinite(rounded)
        np.testing.assert_array_equal(y[~is_number], rounded[~is_number], name)
        y, truth, rounded = y[is_number], truth[is_number], np.abs(rounded[is_number])
        unit = np.spacing(np.nextafter(rounded, 0, dtype=dtype))  # of the smaller neighbour
        # What is smaller than 1.5 of the least normal number may be nought.
        error = np.abs(y - truth)
        small = np.abs(truth) < 1.5 * info.tiny
        assert (error[small] < 1.5 * info.tiny).all(), name
        assert (error[~small] / unit[~small]).max() <= 4, name
