"""The LSTM whose gates see what the gates were."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class FullGateLSTM(Cell):
    """Peephole LSTM with full gate recurrence (FGR): each gate sees all three of the last step."""

    source = "Greff et al. 2015, arXiv:1503.04069; Hochreiter & Schmidhuber 1997"
    convention = (
        "R_fi takes f into i, as in the paper; q are the gates of the last step, 0 before the first"
    )
    use = (
        "To study an LSTM whose gates see each other, as they could in 1997. Greff et al. advise "
        "against it: nine more matrices, and no gain."
    )
    deviations = (
        "The LSTMs of torch, Keras, ONNX and TensorFlow 1 have no recurrence between the gates."
    )

    x, h, c = Input(), State(), State()
    q_i, q_f, q_o = State(), State(), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    R_ii, R_if, R_io = matrix(3, q_i)
    R_fi, R_ff, R_fo = matrix(3, q_f)
    R_oi, R_of, R_oo = matrix(3, q_o)
    b_i, b_f, b_g, b_o = vector(4)
    p_i, p_f, p_o = vector(3)

    i = sigmoid(W_i @ x + U_i @ h + R_ii @ q_i + R_fi @ q_f + R_oi @ q_o + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + R_if @ q_i + R_ff @ q_f + R_of @ q_o + p_f * c + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + R_io @ q_i + R_fo @ q_f + R_oo @ q_o + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
    q_i_next, q_f_next, q_o_next = i, f, o
