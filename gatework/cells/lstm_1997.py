"""The first LSTM, which could not forget."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class LSTM1997(Cell):
    """Long short-term memory of 1997: no forget gate, the cell state only ever adds up."""

    source = "Hochreiter & Schmidhuber 1997, Neural Computation 9(8)"
    convention = "tanh for g and h where the paper has scaled logistic functions; full gradients"
    use = (
        "To study the constant error carousel, along which a gradient does not change. Nothing is "
        "ever forgotten, so on long streams c may grow without bound: the forget gate was invented "
        "for that."
    )
    deviations = (
        "The paper squashes by the scaled logistic functions 4 sigma - 2 and 2 sigma - 1 and cuts "
        "gradients off after a step; here it is tanh, with full gradients, as in later code."
    )

    x, h, c = Input(), State(), State()
    W_i, W_g, W_o = matrix(3, x)
    U_i, U_g, U_o = matrix(3, h)
    b_i, b_g, b_o = vector(3)

    i = sigmoid(W_i @ x + U_i @ h + b_i)
    g = tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = c + i * g
    h_next = o * tanh(c_next)
