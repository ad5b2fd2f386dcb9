"""The LSTM with peepholes that cannot forget."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class NoForgetGateLSTM(Cell):
    """Peephole LSTM without forget gate (NFG): the cell state only ever adds up."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "f = 1; all else as in the peephole LSTM. Without peepholes it is the LSTM of 1997"
    use = (
        "To measure what the forget gate does. Greff et al. found it, with the output activation, "
        "the part of the LSTM that matters most."
    )
    deviations = (
        "The LSTMs of the frameworks do not offer it. Without the peepholes it is lstm_1997."
    )

    x, h, c = Input(), State(), State()
    W_i, W_g, W_o = matrix(3, x)
    U_i, U_g, U_o = matrix(3, h)
    b_i, b_g, b_o = vector(3)
    p_i, p_o = vector(2)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
