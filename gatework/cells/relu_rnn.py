"""The simple recurrent network with rectified units."""

from gatework.equations import Cell, Input, Matrix, State, Vector, relu


class ReluRNN(Cell):
    """Simple recurrent network with rectified units: gradients do not shrink where it is active."""

    source = "Elman 1990, Cognitive Science 14(2); rectified as in Le et al. 2015, arXiv:1504.00941"
    convention = "relu, as torch.nn.RNN(nonlinearity='relu')"
    use = (
        "Where a simple network must not saturate. Le et al. begin with U at the identity, their "
        "IRNN (init='identity'), and then found it comparable to the LSTM; begun otherwise it may "
        "explode."
    )
    deviations = (
        "Elman's units are logistic. Le et al. begin with U at the identity and b at 0, a layer "
        "here uniformly, as torch. torch has two biases, which add up."
    )
    torch_kernel = "rnn_relu"

    x, h = Input(), State()
    W = Matrix(x)
    U = Matrix(h)
    b = Vector()

    h_next = relu(W @ x + U @ h + b)
