"""The second of the three cells that a search over ten thousand found to rival the GRU."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class MUT2(Cell):
    """Second mutated unit: a GRU whose reset gate takes the input in its own way."""

    source = "Jozefowicz, Zaremba & Sutskever 2015, ICML, PMLR 37"
    convention = (
        "W_r x where the paper has x, so that sizes may differ; that makes it the GRU with the "
        "reset before the product, with z the other way round: z takes in"
    )
    use = (
        "To compare with the search that found it beside mut_1 and mut_3. With W_r x it is "
        "gru_reset_before, so take that one for anything else."
    )
    deviations = (
        "The paper has the bare x in the reset gate, for which F must be H; here and in "
        "torchrecurrent it is W_r x. z takes in, while that of the GRU keeps."
    )

    x, h = Input(), State()
    W_r, W_z, W_n = matrix(3, x)
    U_r, U_z, U_n = matrix(3, h)
    b_r, b_z, b_n = vector(3)

    z = sigmoid(W_z @ x + U_z @ h + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    n = tanh(U_n @ (r * h) + W_n @ x + b_n)
    h_next = n * z + h * (1 - z)
