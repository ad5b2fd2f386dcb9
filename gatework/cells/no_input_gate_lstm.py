"""The LSTM that lets everything in."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class NoInputGateLSTM(Cell):
    """Peephole LSTM without input gate (NIG): the candidate is added as it is."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "i = 1; all else as in the peephole LSTM, p_o sees c_next"
    use = (
        "To measure what the input gate does. Greff et al. found that without it speech and "
        "handwriting are recognised significantly worse, and music modelled as well."
    )
    deviations = "The LSTMs of the frameworks do not offer it."

    x, h, c = Input(), State(), State()
    W_f, W_g, W_o = matrix(3, x)
    U_f, U_g, U_o = matrix(3, h)
    b_f, b_g, b_o = vector(3)
    p_f, p_o = vector(2)

    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
