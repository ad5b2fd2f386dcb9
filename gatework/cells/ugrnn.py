"""The simple recurrent network with one gate on its update."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class UGRNN(Cell):
    """Update gate recurrent network: one gate between the old state and a new one."""

    source = "Collins, Sohl-Dickstein & Sussillo 2017, arXiv:1611.09913"
    convention = "g keeps; 1 is added to it, TensorFlow 1's forget_bias; torchrecurrent adds none"
    use = (
        "For a small gated cell: one gate, one candidate, two products of the state, two thirds of "
        "a GRU."
    )
    deviations = "TensorFlow 1 takes the 1 as an argument, forget_bias; torchrecurrent adds none."

    x, h = Input(), State()
    W_g, W_c = matrix(2, x)
    U_g, U_c = matrix(2, h)
    b_g, b_c = vector(2)

    g = sigmoid(W_g @ x + U_g @ h + b_g + 1)
    c = tanh(W_c @ x + U_c @ h + b_c)
    h_next = g * h + (1 - g) * c
