"""What several test files need: the catalogue as a parameter, and layers of any of its cells."""

import pytest
import torch

import gatework as gw
import gatework.equations as eq
from gatework.cells import all_cells, name_of, resolve

CELLS = all_cells()
each_cell = pytest.mark.parametrize("cell", CELLS, ids=name_of)


class EveryPrimitive(gw.Cell):
    """Every row of the table of primitives, a constant, numbers, three sizes, nested products."""

    source = "by hand"
    x, h, c = eq.Input(), eq.State("P"), eq.State()
    alpha = eq.Constant(0.125)
    W_a, W_b = eq.matrix(2, x)
    s = eq.Vector("F")
    b_p = eq.Vector("P")
    U = eq.Matrix(h)
    V = eq.Matrix(c, rows="P")
    a = eq.sigmoid(W_a @ (s * x) + U @ h)
    b = eq.softplus(W_b @ x) + eq.relu(c) / (1.5 + eq.exp(-c))
    d = eq.log(eq.sqrt(1 + c**2)) - eq.abs_(a - 0.5) + alpha * eq.square(b)
    e = eq.positive(c) - eq.sign(d) * a
    c_next = eq.tanh(d) + e
    h_next = V @ (c_next * a) + b_p


def projection(cell, size=2):
    """The proj_size argument for a cell that needs one."""
    return {"proj_size": size} if "P" in resolve(cell).sizes else {}


def recurrent(cell, *sizes, seed=0, **options):
    """A float64 layer with weights of a known seed."""
    torch.manual_seed(seed)
    return gw.Recurrent(cell, *sizes, dtype=torch.float64, **projection(cell), **options)


def tuple_of(states):
    """States as a tuple, also where there is only one."""
    return (states,) if isinstance(states, torch.Tensor) else tuple(states)


def randoms(*shapes, seed=0, requires_grad=True):
    """Float64 normal tensors."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_(requires_grad)
        for s in shapes
    ]
