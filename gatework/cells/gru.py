"""The gated recurrent unit as the frameworks compute it."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class GRU(Cell):
    """Gated recurrent unit, reset gate after the matrix product."""

    source = "Cho et al. 2014, arXiv:1406.1078v1"
    convention = "reset after the product, z keeps the old state; as torch.nn.GRU and cuDNN"
    use = (
        "Where an LSTM is too large: one state and three products of it instead of four; Chung et "
        "al. 2014 (arXiv:1412.3555) found the two comparable. This form has kernels in torch and "
        "cuDNN."
    )
    deviations = (
        "Version 3 of the paper has the reset before the product, as Keras with reset_after=False "
        "(gru_reset_before here). torch, Keras and Flax let z keep the old state, as here; some "
        "others swap z and 1 - z."
    )
    torch_kernel = "gru"

    x, h = Input(), State()
    W_r, W_z, W_n = matrix(3, x)
    U_r, U_z, U_n = matrix(3, h)
    b_r, b_z, b_n, d_n = vector(4)

    r = sigmoid(W_r @ x + U_r @ h + b_r)
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    n = tanh(W_n @ x + b_n + r * (U_n @ h + d_n))
    h_next = (1 - z) * n + z * h
