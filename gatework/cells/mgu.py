"""The GRU with one gate for both of its own."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class MGU(Cell):
    """Minimal gated unit: one gate resets and updates."""

    source = "Zhou, Wu, Zhang & Zhou 2016, arXiv:1603.09420"
    convention = "f takes in and 1 - f keeps, as the paper; the reset before the product"
    use = (
        "For small models: one gate and two products of the state, two thirds of a GRU. Its "
        "authors report accuracy comparable to the GRU's."
    )
    deviations = (
        "Some code swaps f and 1 - f in the last equation; in the paper f takes in, as here."
    )

    x, h = Input(), State()
    W_f, W_n = matrix(2, x)
    U_f, U_n = matrix(2, h)
    b_f, b_n = vector(2)

    f = sigmoid(W_f @ x + U_f @ h + b_f)
    n = tanh(W_n @ x + U_n @ (f * h) + b_n)
    h_next = (1 - f) * h + f * n
