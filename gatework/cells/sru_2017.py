"""The simple recurrent unit as it was first: its gates see the input alone."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class SRU2017(Cell):
    """Simple recurrent unit of the first version: no gate sees a state, h is a highway over c."""

    source = "Lei & Zhang 2017, arXiv:1709.02755v1"
    convention = "the highway carries W_s x, as for the SRU; g is tanh"
    use = (
        "Where all steps shall be one scan: no gate sees a state, so the memory is linear. The "
        "later SRU sees its own unit of c and gives that up."
    )
    deviations = (
        "The paper's highway carries x, for which F must be H; here it is W_s x. The paper leaves "
        "g open (identity, tanh or relu)."
    )

    x, h, c = Input(), State(), State()
    W_f, W_r, W_c, W_s = matrix(4, x)
    b_f, b_r = vector(2)

    f = sigmoid(W_f @ x + b_f)
    r = sigmoid(W_r @ x + b_r)
    c_next = f * c + (1 - f) * (W_c @ x)
    h_next = r * tanh(c_next) + (1 - r) * (W_s @ x)
