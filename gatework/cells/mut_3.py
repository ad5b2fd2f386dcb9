"""The third of the three cells that a search over ten thousand found to rival the GRU."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class MUT3(Cell):
    """Third mutated unit: a GRU whose update gate sees the state squashed."""

    source = "Jozefowicz, Zaremba & Sutskever 2015, ICML, PMLR 37"
    convention = "as the paper: the reset before the product, z takes in"
    use = (
        "To try where a GRU falls short: one of the three best of some ten thousand cells that a "
        "search went through. Its update gate sees the state squashed."
    )
    deviations = "None known. z takes in, while that of the GRU keeps."

    x, h = Input(), State()
    W_r, W_z, W_n = matrix(3, x)
    U_r, U_z, U_n = matrix(3, h)
    b_r, b_z, b_n = vector(3)

    z = sigmoid(W_z @ x + U_z @ tanh(h) + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    n = tanh(U_n @ (r * h) + W_n @ x + b_n)
    h_next = n * z + h * (1 - z)
