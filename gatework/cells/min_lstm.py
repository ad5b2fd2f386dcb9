"""The LSTM without anything that sees its state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, vector


class MinLSTM(Cell):
    """Minimal LSTM: gates that sum to one and a candidate that see the input alone."""

    source = "Feng et al. 2024, arXiv:2410.01201"
    convention = "the plain form; the log-space form has g(W_n x + b_n), g(a) = a + 0.5 or sigmoid"

    x, h = Input(), State()
    W_f, W_i, W_n = matrix(3, x)
    b_f, b_i, b_n = vector(3)

    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    n = W_n @ x + b_n
    f_s = f / (f + i)
    i_s = i / (f + i)
    h_next = f_s * h + i_s * n
