"""The simple recurrent network with rectified units."""

from gatework.equations import Cell, Input, Matrix, State, Vector, relu


class ReluRNN(Cell):
    """Simple recurrent network with rectified units: gradients do not shrink where it is active."""

    source = "Elman 1990, Cognitive Science 14(2); rectified as in Le et al. 2015, arXiv:1504.00941"
    convention = "relu, as torch.nn.RNN(nonlinearity='relu')"
    torch_kernel = "rnn_relu"

    x, h = Input(), State()
    W = Matrix(x)
    U = Matrix(h)
    b = Vector()

    h_next = relu(W @ x + U @ h + b)
