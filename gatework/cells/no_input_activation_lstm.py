"""The LSTM whose candidate is not squashed."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class NoInputActivationLSTM(Cell):
    """Peephole LSTM without input activation (NIAF): the candidate is linear."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "g(x) = x; all else as in the peephole LSTM, p_o sees c_next"
    use = (
        "To measure what the squashing of the candidate does. Greff et al. found that without it "
        "speech and handwriting are recognised significantly worse, and music modelled as well."
    )
    deviations = "The LSTMs of the frameworks do not offer it."

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)
    p_i, p_f, p_o = vector(3)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    g = W_g @ x + U_g @ h + b_g
    c_next = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
