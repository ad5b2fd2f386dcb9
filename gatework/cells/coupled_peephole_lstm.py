"""The LSTM with peepholes that forgets exactly as much as it takes in."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class CoupledPeepholeLSTM(Cell):
    """Peephole LSTM with coupled input and forget gates (CIFG), as the Odyssey compares it."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "the input gate stays and f = 1 - i; all else as in the peephole LSTM"
    use = (
        "For a peephole LSTM with one gate fewer. Greff et al. found no significant loss by "
        "coupling the two gates."
    )
    deviations = "TensorFlow 1 keeps the forget gate instead, i = 1 - f (coupled_forget_lstm here)."

    x, h, c = Input(), State(), State()
    W_i, W_g, W_o = matrix(3, x)
    U_i, U_g, U_o = matrix(3, h)
    b_i, b_g, b_o = vector(3)
    p_i, p_o = vector(2)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = 1 - i
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
