"""The LSTM without anything that sees its state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, vector


class MinLSTM(Cell):
    """Minimal LSTM: gates that sum to one and a candidate that see the input alone."""

    source = "Feng et al. 2024, arXiv:2410.01201"
    convention = "the plain form; the log-space form has g(W_n x + b_n), g(a) = a + 0.5 or sigmoid"
    use = (
        "For long sequences on parallel hardware, as min_gru, with separate gates for the old and "
        "the new that are scaled to add up to one."
    )
    deviations = (
        "The authors also give a form in log space whose candidate is positive. A run of that one "
        "that continues from h_0 must take log(h_0), where some code takes log(g(h_0))."
    )

    x, h = Input(), State()
    W_f, W_i, W_n = matrix(3, x)
    b_f, b_i, b_n = vector(3)

    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    n = W_n @ x + b_n
    f_s = f / (f + i)
    i_s = i / (f + i)
    h_next = f_s * h + i_s * n
