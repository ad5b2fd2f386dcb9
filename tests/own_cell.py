"""A user's own cell in the user's own file, as ``--cell own_cell.py:LeakyGRU`` takes it."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class LeakyGRU(Cell):
    """A gated unit that always forgets a little: h = 0.9 z h + (1 - z) n."""

    x, h = Input(), State()
    W_z, W_n = matrix(2, x)
    U_z, U_n = matrix(2, h)
    b_z, b_n = vector(2)
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    n = tanh(W_n @ x + U_n @ (z * h) + b_n)
    h_next = 0.9 * z * h + (1 - z) * n
