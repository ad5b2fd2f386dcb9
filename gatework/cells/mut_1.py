"""The first of the three cells that a search over ten thousand found to rival the GRU."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class MUT1(Cell):
    """First mutated unit: a GRU whose update gate does not see the state."""

    source = "Jozefowicz, Zaremba & Sutskever 2015, ICML, PMLR 37"
    convention = "tanh(W_n x) where the paper has tanh(x), so that sizes may differ; z takes in"
    use = (
        "To try where a GRU falls short: one of the three best of some ten thousand cells that a "
        "search went through, better than the GRU on some of its tasks."
    )
    deviations = (
        "The paper has tanh(x), for which F must be H; here and in torchrecurrent it is tanh(W_n "
        "x). torchrecurrent has a second bias within that tanh."
    )

    x, h = Input(), State()
    W_r, W_z, W_n = matrix(3, x)
    U_r, U_n = matrix(2, h)
    b_r, b_z, b_n = vector(3)

    z = sigmoid(W_z @ x + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    n = tanh(U_n @ (r * h) + tanh(W_n @ x) + b_n)
    h_next = n * z + h * (1 - z)
