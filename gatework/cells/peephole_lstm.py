"""The LSTM whose gates look at the cell state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class PeepholeLSTM(Cell):
    """LSTM with peepholes: the gates see the cell state, the output gate the new one."""

    source = "Gers & Schmidhuber 2002, JMLR 3"
    convention = "diagonal peepholes; p_o sees c_next, as in the paper, ONNX and TensorFlow 1"
    use = (
        "For exact timing and counting: the gates see the cell state even while the output gate "
        "hides it. Elsewhere Greff et al. found no significant gain over the LSTM."
    )
    deviations = (
        "Some code shows the output gate the old c, or makes the peepholes full matrices; the "
        "paper, ONNX and TensorFlow 1 do neither."
    )

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)
    p_i, p_f, p_o = vector(3)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
