"""The LSTM of which only the forget gate is left."""

from gatework.equations import Cell, Constant, Input, State, matrix, sigmoid, tanh, vector


class JANET(Cell):
    """LSTM with a forget gate alone (Just Another NETwork); beta more is kept than written over."""

    source = "van der Westhuizen & Lasenby 2018, arXiv:1804.04849"
    convention = "one state, as the paper's h is its c; beta = 1 is fixed, torchrecurrent learns it"
    use = (
        "Where one gate must do: half of an LSTM's parameters. Its authors report results as good "
        "as the LSTM's, with b_f begun by the length of the sequences."
    )
    deviations = "torchrecurrent learns beta and gives the one state twice, as h and c."

    x, h = Input(), State()
    beta = Constant(1)
    W_f, W_c = matrix(2, x)
    U_f, U_c = matrix(2, h)
    b_f, b_c = vector(2)

    s = W_f @ x + U_f @ h + b_f
    g = tanh(W_c @ x + U_c @ h + b_c)
    h_next = sigmoid(s) * h + (1 - sigmoid(s - beta)) * g
