"""What goes over the units of a vector, and whole numbers: torch's own functions are the truth."""

import ctypes
from pathlib import Path

import pytest
import torch
from kernel_cases import run
from shared import randoms, recurrent
from tolerances import EXACT, SINGLE

import gatework as gw
from gatework import compile as compiler
from gatework.equations import (
    Cell,
    Input,
    State,
    cumax,
    cummean,
    cummean_back,
    largest,
    matrix,
    mod,
    tanh,
)
from gatework.paths import build

T, B, F, H = 4, 3, 2, 5


class Ordered(Cell):
    """A rising gate, running sums from both ends, the largest unit, what is left of a number."""

    x, h = Input(), State()
    W_a, W_b = matrix(2, x)
    U_a, U_b = matrix(2, h)
    a = cumax(W_a @ x + U_a @ h)
    b = tanh(W_b @ x + U_b @ h)
    s = cummean(a * b) - cummean_back(b * h)
    h_next = a * b + (1 - a) * h + s * largest(b + h) + 0.1 * mod(b * 3, a + 0.5)


def by_torch(layer, x, h):
    w, outputs = layer.named_weights(), []
    for row in x:
        a = torch.cumsum(torch.softmax(row @ w["W_a"].T + h @ w["U_a"].T, -1), -1)
        b = torch.tanh(row @ w["W_b"].T + h @ w["U_b"].T)
        size = h.shape[-1]
        up, total = torch.cumsum(a * b, -1), torch.sum(b * h, -1, keepdim=True)
        back = total - torch.cumsum(b * h, -1) + b * h
        most = torch.max(b + h, -1, keepdim=True).values
        rest = 0.1 * torch.remainder(3 * b, a + 0.5)
        h = a * b + (1 - a) * h + (up - back) / size * most + rest
        outputs.append(h)
    return torch.stack(outputs)


def with_gradients(output, leaves):
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), leaves)]


@pytest.mark.parametrize("path", ["native", "reference"])
def test_a_cell_over_its_units_is_the_loop_by_hand(path):
    layer = recurrent(Ordered, F, H, path=path)
    x, h = randoms((T, B, F), (B, H))
    leaves = [x, h, *layer.parameters()]
    got = with_gradients(layer(3 * x, h.unsqueeze(0))[0], leaves)
    expected = with_gradients(by_torch(layer, 3 * x, h), leaves)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


SHAPES = [(3, 1, 2, 5), (3, 2, 3, 16), (4, 7, 3, 33), (3, 33, 2, 6), (40, 2, 8, 70)]


@pytest.mark.parametrize("cell", [Ordered, "on_lstm"], ids=["ordered", "on_lstm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_kernels_are_the_reference_for_any_rows_units_and_threads(cell, dtype):
    before = torch.get_num_threads()
    try:
        for (steps, rows, features, units), threads in zip(SHAPES, (1, 2, 1, 3, 2), strict=True):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            layer = gw.Recurrent(cell, features, units, dtype=torch.float64)
            x, *states = randoms(
                (steps, rows, features), *[(1, rows, units)] * len(layer.spec.states)
            )
            truth = run(layer, "reference", x, states, None)
            x, *states = (t.detach().to(dtype).requires_grad_() for t in (x, *states))
            got = run(layer.to(dtype), "native", x, states, None)
            for one, other in zip(got, truth, strict=True):
                if dtype == torch.float32:
                    scale = other.abs().max().clamp(min=1)
                    bounds = {"rtol": 0, "atol": 20 * SINGLE["atol"]}
                    torch.testing.assert_close(one.double() / scale, other / scale, **bounds)
                else:
                    torch.testing.assert_close(one, other, **EXACT)
    finally:
        torch.set_num_threads(before)


class Rising(Cell):
    """A rising gate of the input alone."""

    x, h = Input(), State()
    W, U = matrix(2, x)
    a = cumax(W @ x)
    h_next = a + 0 * h + 0 * (U @ x)


class Tied(Cell):
    """The largest of units that may be equal."""

    x, h = Input(), State()
    W = matrix(1, x)[0]
    h_next = h * largest(h) + 0 * (W @ x)


@pytest.mark.parametrize("path", ["native", "reference"])
def test_a_rising_gate_overflows_nowhere(path):
    layer = recurrent(Rising, 1, H, path=path)
    with torch.no_grad():
        layer.W_l0[:H] = torch.tensor([[-1e4], [2e4], [0.0], [2e4], [1e4]])
    (x,) = randoms((1, 1, 1))
    output = layer(torch.ones_like(x))[0]
    same = torch.tensor([[[0, 0.5, 0.5, 1, 1]]], dtype=torch.float64)
    torch.testing.assert_close(output, same, **EXACT)
    (by_weights,) = torch.autograd.grad(output.square().sum(), [layer.W_l0])
    assert by_weights.isfinite().all()


@pytest.mark.parametrize("path", ["native", "reference"])
def test_equal_units_share_the_gradient_of_the_largest(path):
    layer = recurrent(Tied, 1, 4, path=path)
    h = torch.tensor([[[1.0, 3, 3, 2]]], dtype=torch.float64, requires_grad=True)
    output = layer(torch.ones(1, 1, 1, dtype=torch.float64), h)[0]
    weights = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    (got,) = torch.autograd.grad((output * weights).sum(), [h])
    (expected,) = torch.autograd.grad((h * h.amax(-1, keepdim=True) * weights).sum(), [h])
    torch.testing.assert_close(got, expected, **EXACT)


FLOOR = """
void apply(const real *a, real *y, long n)
{
    for (long i = 0; i < n; i += LANES) vec_store(y + i, vec_floor(vec_load(a + i)));
}
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_whole_numbers_are_torch_s_for_all_that_there_are(dtype):
    header = (Path(compiler.__file__).parent / "vectors.h").read_text(encoding="utf-8")
    size = torch.empty(0, dtype=dtype).element_size()
    library = build.load(header + FLOOR, size)
    limit = 2.0 ** (23 if size == 4 else 52)
    near = torch.arange(-64, 64, dtype=dtype) / 8
    edges = torch.tensor([limit - 0.5, limit, limit + 1, 4 * limit, 1e30, 1e-30, 0.0, 1 - 2**-20])
    powers = torch.logspace(0, 37, 120, dtype=dtype)
    special = torch.tensor([torch.inf, torch.nan, 2**31 + 1, 2.0**63]).to(dtype)
    a = torch.cat([near, *(s * t for t in (edges.to(dtype), powers, special) for s in (1, -1))])
    a = torch.cat([a, a.nextafter(torch.zeros_like(a))])
    a = torch.cat([a, a.new_zeros(-len(a) % 64)])
    y = torch.empty_like(a)
    library.apply(*(ctypes.c_void_p(t.data_ptr()) for t in (a, y)), ctypes.c_long(len(a)))
    assert torch.equal(y.nan_to_num(7), a.floor().nan_to_num(7))
    assert torch.equal(y.isnan(), a.isnan())
