"""The layer-normalised LSTM as TensorFlow 1 computes it."""

from gatework.equations import (
    Cell,
    Constant,
    Input,
    State,
    matrix,
    mean,
    sigmoid,
    sqrt,
    square,
    tanh,
    vector,
)


class LayerNormBasicLSTM(Cell):
    """LSTM with layer normalisation of each gate by itself and of the cell state that goes on."""

    source = "Ba, Kiros & Hinton 2016, arXiv:1607.06450; TensorFlow 1.15, contrib.rnn"
    convention = (
        "as TensorFlow 1's LayerNormBasicLSTMCell, whose forget_bias is part of b_f here; the "
        "paper normalises all gates together, h and x apart, and carries c as it was before"
    )
    use = (
        "For models of TensorFlow 1's contrib.rnn. For new ones there is layer_norm_lstm, which is "
        "the paper's."
    )
    deviations = (
        "The paper normalises all gates together, h and x apart, and carries c as it was; here, as "
        "in TensorFlow 1, each gate is normalised by itself and c goes on normalised."
    )

    x, h, c = Input(), State(), State()
    epsilon = Constant(1e-12)
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    gamma_i, gamma_f, gamma_g, gamma_o, gamma_c = vector(5)
    b_i, b_f, b_g, b_o, b_c = vector(5)

    a_i, a_f, a_g, a_o = W_i @ x + U_i @ h, W_f @ x + U_f @ h, W_g @ x + U_g @ h, W_o @ x + U_o @ h
    r_i, r_f, r_g, r_o = a_i - mean(a_i), a_f - mean(a_f), a_g - mean(a_g), a_o - mean(a_o)
    i = sigmoid(gamma_i * r_i / sqrt(mean(square(r_i)) + epsilon) + b_i)
    f = sigmoid(gamma_f * r_f / sqrt(mean(square(r_f)) + epsilon) + b_f)
    g = tanh(gamma_g * r_g / sqrt(mean(square(r_g)) + epsilon) + b_g)
    o = sigmoid(gamma_o * r_o / sqrt(mean(square(r_o)) + epsilon) + b_o)
    s = f * c + i * g
    r_s = s - mean(s)
    c_next = gamma_c * r_s / sqrt(mean(square(r_s)) + epsilon) + b_c
    h_next = o * tanh(c_next)
