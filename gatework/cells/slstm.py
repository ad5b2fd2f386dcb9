"""The LSTM with exponential gates."""

from gatework.equations import (
    Cell,
    Input,
    State,
    exp,
    matrix,
    relu,
    sigmoid,
    softplus,
    tanh,
    vector,
)


class SLSTM(Cell):
    """Scalar LSTM (sLSTM): the input gate is exponential, a normaliser keeps the output bounded."""

    source = "Beck et al. 2024, arXiv:2405.04517"
    convention = (
        "one head; sigmoid forget gate, of the two that the paper allows; m is the stabiliser, "
        "i and f are the paper's i' and f'"
    )
    use = (
        "Where what is stored must be revised: an exponential input gate can outweigh all that "
        "came before. As h is read back, it is no scan, unlike the mLSTM of the same paper."
    )
    deviations = (
        "The authors have several heads, whose U are blocks; here is one, and heads=4 makes four. "
        "Their code leaves the old m out of the maximum while all n are 0, which changes c, n and "
        "m by a factor and h not at all."
    )

    x, h, c, n, m = Input(), State(), State(), State(), State()
    W_i, W_f, W_z, W_o = matrix(4, x)
    U_i, U_f, U_z, U_o = matrix(4, h)
    b_i, b_f, b_z, b_o = vector(4)

    # In logarithms: a is the new input, k what the old state keeps, m_next the larger one.
    a = W_i @ x + U_i @ h + b_i
    k = m - softplus(-(W_f @ x + U_f @ h + b_f))
    m_next = k + relu(a - k)
    i = exp(a - m_next)
    f = exp(k - m_next)
    z = tanh(W_z @ x + U_z @ h + b_z)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = f * c + i * z
    n_next = f * n + i
    h_next = o * (c_next / n_next)
