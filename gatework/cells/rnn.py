"""The simple recurrent network."""

from gatework.equations import Cell, Input, Matrix, State, Vector, tanh


class RNN(Cell):
    """Simple recurrent network: the state is one squashed sum of input and state."""

    source = "Elman 1990, Cognitive Science 14(2)"
    convention = "tanh, as torch.nn.RNN"
    torch_kernel = "rnn_tanh"

    x, h = Input(), State()
    W = Matrix(x)
    U = Matrix(h)
    b = Vector()

    h_next = tanh(W @ x + U @ h + b)
