"""The LSTM whose units are in an order."""

from gatework.equations import (
    Cell,
    Input,
    State,
    cummean,
    exp,
    largest,
    matrix,
    mean,
    sigmoid,
    tanh,
    vector,
)


class OnLSTM(Cell):
    """Ordered-neurons LSTM: a unit that is overwritten takes all units before it along."""

    source = "Shen et al. 2019, arXiv:1810.09536"
    convention = (
        "m_f and m_i are the paper's master gates, cumax(a_f) and 1 - cumax(a_i), written out; "
        "one unit to a chunk, so they are as wide as the state"
    )
    use = (
        "For nested structure, such as the phrases of sentences: the first units follow short "
        "spans, the last ones long spans, and where m_f rises tells where a span ends."
    )
    deviations = (
        "The authors' code makes master gates of H / C values, each for a chunk of C neighbouring "
        "units (10 by default): fewer parameters, and a coarser order."
    )

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o, W_mi, W_mf = matrix(6, x)
    U_i, U_f, U_g, U_o, U_mi, U_mf = matrix(6, h)
    b_i, b_f, b_g, b_o, b_mi, b_mf = vector(6)

    a_i = W_mi @ x + U_mi @ h + b_mi
    a_f = W_mf @ x + U_mf @ h + b_mf
    e_i = exp(a_i - largest(a_i))
    e_f = exp(a_f - largest(a_f))
    m_i = 1 - cummean(e_i) / mean(e_i)
    m_f = cummean(e_f) / mean(e_f)
    w = m_f * m_i
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    g = tanh(W_g @ x + U_g @ h + b_g)
    i_hat = i * w + (m_i - w)
    f_hat = f * w + (m_f - w)
    c_next = f_hat * c + i_hat * g
    h_next = o * tanh(c_next)
