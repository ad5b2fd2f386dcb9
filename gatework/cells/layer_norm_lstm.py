"""The layer-normalised LSTM as its paper writes it."""

from gatework.equations import (
    Cell,
    Constant,
    Input,
    State,
    Vector,
    matrix,
    mean,
    sigmoid,
    sqrt,
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

    x, h, c = Input(), State(), State()
    epsilon = Constant(1e-5)
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    alpha_i, alpha_f, alpha_g, alpha_o, alpha_c = vector(5)
    gamma_i, gamma_f, gamma_g, gamma_o = vector(4)
    b_i, b_f, b_g, b_o = vector(4)
    beta = Vector()

    # The mean over the units of all four gates is the mean of their four means.
    u_i, u_f, u_g, u_o = U_i @ h, U_f @ h, U_g @ h, U_o @ h
    mu = (mean(u_i) + mean(u_f) + mean(u_g) + mean(u_o)) / 4
    r_i, r_f, r_g, r_o = u_i - mu, u_f - mu, u_g - mu, u_o - mu
    sigma = sqrt((mean(r_i**2) + mean(r_f**2) + mean(r_g**2) + mean(r_o**2)) / 4 + epsilon)
    w_i, w_f, w_g, w_o = W_i @ x, W_f @ x, W_g @ x, W_o @ x
    nu = (mean(w_i) + mean(w_f) + mean(w_g) + mean(w_o)) / 4
    v_i, v_f, v_g, v_o = w_i - nu, w_f - nu, w_g - nu, w_o - nu
    tau = sqrt((mean(v_i**2) + mean(v_f**2) + mean(v_g**2) + mean(v_o**2)) / 4 + epsilon)

    i = sigmoid(alpha_i * r_i / sigma + gamma_i * v_i / tau + b_i)
    f = sigmoid(alpha_f * r_f / sigma + gamma_f * v_f / tau + b_f)
    g = tanh(alpha_g * r_g / sigma + gamma_g * v_g / tau + b_g)
    o = sigmoid(alpha_o * r_o / sigma + gamma_o * v_o / tau + b_o)
    c_next = f * c + i * g
    r_c = c_next - mean(c_next)
    h_next = o * tanh(alpha_c * r_c / sqrt(mean(r_c**2) + epsilon) + beta)
