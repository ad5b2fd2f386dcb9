"""The gated recurrent unit as its paper ended up writing it."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class GRUResetBefore(Cell):
    """Gated recurrent unit, reset gate before the matrix product."""

    source = "Cho et al. 2014, arXiv:1406.1078v3"
    convention = "reset before the product, z keeps the old state; as Keras reset_after=False"
    use = (
        "For models in the form of the published paper, such as those of Keras with "
        "reset_after=False. Its second product waits for the reset gate, so a step takes longer "
        "than one of gru."
    )
    deviations = (
        "torch, cuDNN and Keras by default have the reset after the product, and a bias of its own "
        "there (gru here). ONNX has both: this one is linear_before_reset=0."
    )

    x, h = Input(), State()
    W_r, W_z, W_n = matrix(3, x)
    U_r, U_z, U_n = matrix(3, h)
    b_r, b_z, b_n = vector(3)

    r = sigmoid(W_r @ x + U_r @ h + b_r)
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    n = tanh(W_n @ x + U_n @ (r * h) + b_n)
    h_next = (1 - z) * n + z * h
