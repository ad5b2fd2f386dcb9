"""The LSTM whose units are awake at their own times."""

from gatework.equations import (
    Beside,
    Cell,
    Constant,
    Input,
    State,
    Vector,
    exp,
    floor,
    matrix,
    minimum,
    positive,
    sigmoid,
    tanh,
    vector,
)


class PhasedLSTM(Cell):
    """Phased LSTM: a unit changes only while a rhythm of its own lets it, by the time t."""

    source = "Neil et al. 2016, arXiv:1610.09513"
    convention = (
        "the peephole LSTM of Gers & Schmidhuber, whose output gate sees the new cell state; the "
        "period tau is kept above zero as exp(q), the shift s is in units of time, as in the paper"
    )
    use = (
        "For events at irregular times and for very long sequences: a closed unit keeps its state "
        "over any number of steps. The time of each step is given, layer(x, beside={'t': times})."
    )
    deviations = (
        "The paper has no leak (alpha) when the network is tested, and learns tau itself; here, "
        "as in TensorFlow, the leak stays. The part of a period in which a unit is open (r) is a "
        "constant, which TensorFlow learns."
    )

    x, h, c = Input(), State(), State()
    t = Beside()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)
    p_i, p_f, p_o = vector(3)
    q = Vector(start=(0.0, 6.9))  # periods of 1 to 1000 units of time
    s = Vector(start=(0.0, 1000.0))
    r, alpha = Constant(0.05), Constant(0.001)

    tau = exp(q)
    n = (t - s) / tau
    phi = n - floor(n)
    a = positive(r - phi)
    k = a * minimum(2 * phi / r, 2 - 2 * phi / r) + (1 - a) * (alpha * phi)

    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_new = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_new + b_o)
    c_next = k * c_new + (1 - k) * c
    h_next = k * (o * tanh(c_new)) + (1 - k) * h
