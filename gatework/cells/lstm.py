"""The LSTM as everybody uses it today."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class LSTM(Cell):
    """Long short-term memory with a forget gate."""

    source = "Gers, Schmidhuber & Cummins 2000, Neural Computation 12(10)"
    convention = (
        "gates in the order i, f, g, o, as torch.nn.LSTM; no peepholes (NP of Greff et al.)"
    )
    use = (
        "The first choice where something must be remembered for long, and the best served: torch, "
        "cuDNN and oneDNN have kernels for it. Begin with a forget gate that is open "
        "(forget_bias=1.0), as Jozefowicz et al. 2015 advise."
    )
    deviations = (
        "torch has two biases for each gate, which add up. TensorFlow 1 and Haiku add 1 to the "
        "forget gate in each step, which a conversion of weights must not lose or count twice."
    )
    torch_kernel = "lstm"
    torch_backend = "oneDNN"

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)

    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)
