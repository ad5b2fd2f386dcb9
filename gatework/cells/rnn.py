"""The simple recurrent network."""

from gatework.equations import Cell, Input, Matrix, State, Vector, tanh


class RNN(Cell):
    """Simple recurrent network: the state is one squashed sum of input and state."""

    source = "Elman 1990, Cognitive Science 14(2)"
    convention = "tanh, as torch.nn.RNN"
    use = (
        "As a baseline and for short memories: the smallest cell that sees the whole state. Over "
        "many steps its gradient vanishes or explodes."
    )
    deviations = (
        "Elman's units are logistic; those of torch, Keras and here are tanh. torch has two "
        "biases, which add up."
    )
    torch_kernel = "rnn_tanh"

    x, h = Input(), State()
    W = Matrix(x)
    U = Matrix(h)
    b = Vector()

    h_next = tanh(W @ x + U @ h + b)
