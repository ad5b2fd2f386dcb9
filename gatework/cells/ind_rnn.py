"""The simple recurrent network whose units do not see each other."""

from gatework.equations import Cell, Input, Matrix, State, relu, vector


class IndRNN(Cell):
    """Independently recurrent network: each unit sees its own old state alone."""

    source = "Li et al. 2018, arXiv:1803.04831"
    convention = "relu, as the paper; torchrecurrent has tanh unless told otherwise"
    use = (
        "For long sequences and deep stacks: each unit has one recurrent weight, by which its "
        "gradient over time can be bounded. Units meet in the next layer only, so stack two or "
        "more."
    )
    deviations = (
        "torchrecurrent has tanh unless told otherwise. The paper bounds u by the length of the "
        "sequences; here that is left to training."
    )

    x, h = Input(), State()
    W = Matrix(x)
    u, b = vector(2)

    h_next = relu(W @ x + u * h + b)
