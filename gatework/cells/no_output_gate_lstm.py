"""The LSTM that always shows its cell state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class NoOutputGateLSTM(Cell):
    """Peephole LSTM without output gate (NOG): the output is the squashed cell state."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "o = 1; all else as in the peephole LSTM"
    use = (
        "To measure what the output gate does. Greff et al. found that without it speech and "
        "handwriting are recognised significantly worse, and music modelled as well."
    )
    deviations = "The LSTMs of the frameworks do not offer it."

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g = matrix(3, x)
    U_i, U_f, U_g = matrix(3, h)
    b_i, b_f, b_g = vector(3)
    p_i, p_f = vector(2)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + i * g
    h_next = tanh(c_next)
