"""The LSTM whose memory is a matrix."""

from gatework.equations import (
    Cell,
    Input,
    State,
    dot,
    exp,
    matrix,
    maximum,
    outer,
    sigmoid,
    softplus,
    sqrt,
    times,
    units,
    vector,
)


class MLSTM(Cell):
    """Matrix LSTM (mLSTM): stores values under keys in a matrix, and reads them by a query."""

    source = "Beck et al. 2024, arXiv:2405.04517"
    convention = (
        "sigmoid forget gate, of the two that the paper allows; C, n and m are the stabilised "
        "ones, i and f the paper's i' and f'"
    )
    use = (
        "Where much is to be stored and found again: the memory has H² numbers and the step no "
        "product with a learned recurrent matrix. A step costs as many operations more, and "
        "nothing is gated by what is remembered: stack several layers."
    )
    deviations = (
        "The authors have several heads, each a cell of its own on a part of the units; here is "
        "one, and heads=4 makes four. Their code adds 1e-6 to the divisor, and takes q and k from "
        "a convolution of x; it normalises h, head by head, before the output gate."
    )

    x, h, C, n, m = Input(), State(), State("HH"), State(), State("h")
    W_q, W_k, W_v, W_o = matrix(4, x)
    b_q, b_k, b_v, b_o = vector(4)
    w_i, w_f = matrix(2, x, rows="h")
    b_i, b_f = vector(2, "h")

    q = W_q @ x + b_q
    u = W_k @ x
    k = u / sqrt(units(u)) + b_k
    v = W_v @ x + b_v
    o = sigmoid(W_o @ x + b_o)
    # In logarithms: a is the new input, g what the old state keeps, m_next the larger one.
    a = w_i @ x + b_i
    g = m - softplus(-(w_f @ x + b_f))
    m_next = maximum(g, a)
    i = exp(a - m_next)
    f = exp(g - m_next)
    C_next = f * C + i * outer(v, k)
    n_next = f * n + i * k
    h_next = o * (times(C_next, q) / maximum(abs(dot(n_next, q)), exp(-m_next)))
