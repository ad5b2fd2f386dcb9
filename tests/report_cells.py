"""Cells of no book: their letters mean something else than usual, or nothing that has a name."""

from own_cell import LeakyGRU
from shared import EveryPrimitive

from gatework.equations import Cell, Input, Matrix, State, Vector, matrix, sigmoid, tanh, vector


class Swapped(Cell):
    """Where f is 1 the old state goes."""

    x, h, c = Input(), State(), State()
    W_f, W_g, W_o = matrix(3, x)
    U_f = Matrix(h)
    f = sigmoid(W_f @ x + U_f @ h)
    g = tanh(W_g @ x)
    o = sigmoid(W_o @ x)
    c_next = (1 - f) * c + f * g
    h_next = o * tanh(c_next)


class Steps(Cell):
    """The LSTM's equations in small pieces under other letters; the new state is named twice."""

    x, y, m = Input(), State(), State()
    W_a, W_b, W_d, W_e = matrix(4, x)
    U = Matrix(y)
    a = sigmoid(W_a @ x + U @ y)
    b = sigmoid(W_b @ x)
    d = tanh(W_d @ x)
    e = sigmoid(W_e @ x)
    kept = a * m
    new = b * d
    both = kept + new
    m_next = both
    shown = e * tanh(both)
    y_next = shown


class Delta(Cell):
    """The old state stands three times."""

    x, h = Input(), State()
    W_f, W_n = matrix(2, x)
    U = Matrix(h)
    b = Vector()
    f = sigmoid(W_f @ x + U @ h)
    n = W_n @ x + b
    h_next = h + f * (n - h) / 2


class Minimal(Cell):
    """One gate with two tasks."""

    x, h = Input(), State()
    W_f, W_n = matrix(2, x)
    U_f, U_n = matrix(2, h)
    f = sigmoid(W_f @ x + U_f @ h)
    n = tanh(W_n @ x + U_n @ (f * h))
    h_next = (1 - f) * h + f * n


class TwoForget(Cell):
    """Two gates on the old state, and content that is between 0 and 1 itself."""

    x, h, c = Input(), State(), State()
    W_f, W_k, W_n = matrix(3, x)
    U = Matrix(h)
    f = sigmoid(W_f @ x + U @ h)
    k = sigmoid(W_k @ x)
    n = sigmoid(W_n @ x)
    c_next = f * k * c + k * n
    h_next = tanh(c_next)


class Squashed(Cell):
    """The new state is a function of the sum."""

    x, h, c = Input(), State(), State()
    W_f, W_i, W_n = matrix(3, x)
    U = Matrix(h)
    f = sigmoid(W_f @ x + U @ h)
    i = sigmoid(W_i @ x)
    n = tanh(W_n @ x)
    c_next = tanh(f * c + i * n)
    h_next = 0.5 * c_next


class Bare(Cell):
    """Where z is 0 the old state is still there, within tanh."""

    x, h = Input(), State()
    W = Matrix(x)
    U = Matrix(h)
    p = Vector()
    z = sigmoid(W @ x)
    h_next = z * h + tanh(p * h + U @ h)


class Highway(Cell):
    """Three steps in one: multiplied out it is long."""

    x, h = Input(), State()
    W_t, W_n = matrix(2, x)
    U_a, U_b, U_c, U_d, U_e, U_f = matrix(6, h)
    t1 = sigmoid(W_t @ x + U_a @ h)
    n1 = tanh(W_n @ x + U_b @ h)
    s1 = (1 - t1) * h + t1 * n1
    t2 = sigmoid(U_c @ s1)
    n2 = tanh(U_d @ s1)
    s2 = (1 - t2) * s1 + t2 * n2
    t3 = sigmoid(U_e @ s2)
    n3 = tanh(U_f @ s2)
    h_next = (1 - t3) * s2 + t3 * n3


class Opposites(Cell):
    """Gates made of one another, the wrong way round."""

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g = matrix(3, x)
    i = sigmoid(W_i @ x)
    f = 1 - sigmoid(W_f @ x)
    e = 1 - i
    o = 1 - e
    g = tanh(W_g @ x)
    U = Matrix(h)
    c_next = (1 - f) * c + e * (g + U @ h)
    h_next = (1 - o) * tanh(c_next)


class Projected(Cell):
    """An output gate before a projection with a bias, and the input weighed by a gate."""

    x, h, c = Input(), State("P"), State()
    W_a = Matrix(x, rows="F")
    W_o, W_g = matrix(2, x)
    U = Matrix(h)
    V = Matrix(c, rows="P")
    b = Vector("P")
    a = sigmoid(W_a @ x)
    o = sigmoid(W_o @ x + U @ h)
    g = tanh(W_g @ (a * x))
    c_next = 0.9 * c + 0.1 * g
    h_next = V @ (o * tanh(c_next)) + b


class Odd(Cell):
    """A state that is a sigmoid, one that is an older one, and a division by a gate."""

    x, h, g = Input(), State(), State()
    W, W_r = matrix(2, x)
    U = Matrix(g)
    r = sigmoid(W_r @ x)
    h_next = sigmoid(W @ x + U @ g / (1 + r))
    g_next = h


class Long(Cell):
    """One equation is too long to be multiplied out, and has no part in what f does."""

    x, h, c = Input(), State(), State()
    W_f, W_g = matrix(2, x)
    U = Matrix(h)
    p, q, r = vector(3)
    f = sigmoid(W_f @ x + U @ h)
    g = tanh(W_g @ x)
    c_next = f * c + g
    h_next = (p + q + r) * (p + g + c_next)


MADE = [Long, Swapped, Steps, Delta, Minimal, TwoForget, Squashed, Bare, Highway, Opposites,
        Projected, Odd, LeakyGRU, EveryPrimitive]  # fmt: skip
