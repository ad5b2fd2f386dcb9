"""What several test files need: the catalogue as a parameter, and layers of any of its cells."""

import pytest
import torch

import gatework as gw
import gatework.equations as eq
from gatework.cells import all_cells, name_of, resolve
from gatework.compile.flatten import without_kernel

# Of GATEWORK_CFLAGS, where a kernel is made for one test: half the time of the compiler. What is
# shipped is compiled as it is in the tests of the kernels themselves.
QUICK = "-O1"
CELLS = all_cells()
COMPILED = [cell for cell in CELLS if without_kernel(cell.spec) is None]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=name_of)
each_compiled = pytest.mark.parametrize("cell", COMPILED, ids=name_of)


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
    w = eq.cummean(a * c) * eq.cummean_back(d) - eq.largest(c) * eq.floor(d)
    e = eq.positive(c) - eq.sign(d) * a + 0.25 * w
    c_next = eq.maximum(eq.tanh(d), -0.75 * a) + e
    h_next = V @ eq.minimum(c_next * a, b) + b_p - eq.mean(h)


class EveryMatrix(gw.Cell):
    """Every row that is not elementwise, a matrix and one number as states, learned rows."""

    source = "by hand"
    x, h, C, m = eq.Input(), eq.State(), eq.State("HH"), eq.State("h")
    W, U, w = eq.Matrix(x), eq.Matrix(h), eq.Matrix(x, rows="h")
    s, b, b_m = eq.Vector(), eq.Vector(), eq.Vector("h")
    v, k = W @ x, eq.tanh(U @ h + b)
    m_next = eq.sigmoid(w @ x + b_m) * m + eq.dot(v, k) / eq.units(v)
    C_next = m * C - eq.outer(v - h, s * k) * eq.tanh(eq.mean(C))
    h_next = eq.times(eq.tanh(C_next), k) + m_next * eq.times(C, h)


class LayerNormPeephole(gw.Cell):
    """Each gate with a peephole, normalised over its units; the output's cell state too."""

    source = "by hand"
    x, h, c = eq.Input(), eq.State(), eq.State()
    W_i, W_f, W_g = eq.matrix(3, x)
    U_i, U_f, U_g = eq.matrix(3, h)
    b_i, b_f, b_g, b_c = eq.vector(4)
    p_i, p_f = eq.vector(2)
    s_i, s_f, s_g, s_c = eq.vector(4)
    tiny = eq.Constant(1e-5)
    d_i = W_i @ x + U_i @ h + p_i * c
    d_f = W_f @ x + U_f @ h + p_f * c
    d_g = W_g @ x + U_g @ h
    m_i, m_f, m_g = d_i - eq.mean(d_i), d_f - eq.mean(d_f), d_g - eq.mean(d_g)
    i = eq.sigmoid(s_i * m_i / eq.sqrt(eq.mean(m_i**2) + tiny) + b_i)
    f = eq.sigmoid(s_f * m_f / eq.sqrt(eq.mean(m_f**2) + tiny) + b_f)
    g = eq.tanh(s_g * m_g / eq.sqrt(eq.mean(m_g**2) + tiny) + b_g)
    c_next = f * c + i * g
    m_c = c_next - eq.mean(c_next)
    h_next = i * eq.tanh(s_c * m_c / eq.sqrt(eq.mean(m_c**2) + tiny) + b_c)


class Masked(gw.Cell):
    """Masks of every kind, on states, the input and a candidate; means of several sizes."""

    source = "by hand"
    x, h, c = eq.Input(), eq.State("P"), eq.State()
    keep = eq.Mask(0.5, 2.0, each="sequence", size="P")
    drop = eq.Mask(0.75, 4 / 3)
    late, seen = eq.Mask(0.1), eq.Mask(0.8, 1.25, each="sequence", size="F")
    W, V = eq.Matrix(x), eq.Matrix(c, rows="P")
    U, b = eq.Matrix(h), eq.Vector()
    g = eq.tanh(W @ (x * seen - eq.mean(x)) + U @ (h * keep) + b)
    k = eq.mean(g) * eq.sigmoid(eq.mean(c))
    new = 0.5 * c + g * drop + k
    c_next = late * c + (1 - late) * new
    h_next = V @ c_next + 0.5 * h * eq.tanh(eq.mean(h))


class Timed(gw.Recurrent):
    """A layer that is given what its cell reads beside the input, where the test does not.

    Its periods are about 1: of a number that is many periods large little is left to compare.
    """

    @torch.no_grad()
    def reset_parameters(self):
        super().reset_parameters()
        drawn = [p.name for p in self.spec.parameters if isinstance(p.start, tuple)]
        for row in self.rows():
            for name in drawn:
                self.named_weights(*row)[name].uniform_(-1, 1)

    def prepare(
        self, input, hx=None, lengths=None, mask=None, resets=None, reset_to=None, beside=None
    ):
        beside = beside_of(self.spec, input) if beside is None else beside
        return super().prepare(input, hx, lengths, mask, resets, reset_to, beside)


TIMED = [c for c in CELLS if c.spec.beside]
each_untimed = pytest.mark.parametrize("cell", [c for c in CELLS if c not in TIMED], ids=name_of)


def layer_of(cell, *sizes, **options):
    """A layer of any cell that takes an input alone."""
    return (Timed if resolve(cell).beside else gw.Recurrent)(cell, *sizes, **options)


def beside_of(cell, x, rate=1.0):
    """What a cell reads beside x (..., F), (...): that of a step is told by its input alone.

    So a part of a batch, and a batch in another order, has its own.
    """
    # In steps of 1/64, which are the same number in every precision.
    times = (64 * rate * torch.as_tensor(x).detach().abs().sum(-1)).round() / 64
    return dict.fromkeys(resolve(cell).beside, times)


def projection(cell, size=2):
    """The proj_size argument for a cell that needs one."""
    return {"proj_size": size} if "P" in resolve(cell).sizes else {}


def recurrent(cell, *sizes, seed=0, **options):
    """A float64 layer with weights of a known seed."""
    torch.manual_seed(seed)
    return layer_of(cell, *sizes, dtype=torch.float64, **projection(cell), **options)


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
