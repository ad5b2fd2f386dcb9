"""The layer-normalised LSTM as its paper writes it."""

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


class LayerNormLSTM(Cell):
    """LSTM with layer normalisation of what comes from h, of what comes from x, and of c."""

    source = "Ba, Kiros & Hinton 2016, arXiv:1607.06450"
    convention = (
        "the first two over all gates together, c itself carried on; the paper's two shifts and "
        "bias of a gate are one b; epsilon within the root as in the authors' code"
    )
    use = (
        "Where an LSTM trains slowly or unsteadily: each step is normalised over its own units, so "
        "batches and lengths may be of any size."
    )
    deviations = (
        "TensorFlow 1's LayerNormBasicLSTMCell normalises gate by gate and carries the normalised "
        "c (layer_norm_basic_lstm here). The paper's two shifts and a bias of a gate only add up; "
        "here they are one b."
    )

    x, h, c = Input(), State(), State()
    epsilon = Constant(1e-5)
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    alpha_i, alpha_f, alpha_g, alpha_o, alpha_c = vector(5)
    gamma_i, gamma_f, gamma_g, gamma_o = vector(4)
    b_i, b_f, b_g, b_o, b_c = vector(5)

    # The mean over the units of all four gates is the mean of their four means.
    u_i, u_f, u_g, u_o = U_i @ h, U_f @ h, U_g @ h, U_o @ h
    m_h = (mean(u_i) + mean(u_f) + mean(u_g) + mean(u_o)) / 4
    r_i, r_f, r_g, r_o = u_i - m_h, u_f - m_h, u_g - m_h, u_o - m_h
    s_h = sqrt(
        (mean(square(r_i)) + mean(square(r_f)) + mean(square(r_g)) + mean(square(r_o))) / 4
        + epsilon
    )
    w_i, w_f, w_g, w_o = W_i @ x, W_f @ x, W_g @ x, W_o @ x
    m_x = (mean(w_i) + mean(w_f) + mean(w_g) + mean(w_o)) / 4
    v_i, v_f, v_g, v_o = w_i - m_x, w_f - m_x, w_g - m_x, w_o - m_x
    s_x = sqrt(
        (mean(square(v_i)) + mean(square(v_f)) + mean(square(v_g)) + mean(square(v_o))) / 4
        + epsilon
    )

    i = sigmoid(alpha_i * r_i / s_h + gamma_i * v_i / s_x + b_i)
    f = sigmoid(alpha_f * r_f / s_h + gamma_f * v_f / s_x + b_f)
    g = tanh(alpha_g * r_g / s_h + gamma_g * v_g / s_x + b_g)
    o = sigmoid(alpha_o * r_o / s_h + gamma_o * v_o / s_x + b_o)
    c_next = f * c + i * g
    r_c = c_next - mean(c_next)
    h_next = o * tanh(alpha_c * r_c / sqrt(mean(square(r_c)) + epsilon) + b_c)
