"""The simple recurrent network with a slow state beside its fast one."""

from gatework.equations import Cell, Constant, Input, Matrix, State, sigmoid


class SCRN(Cell):
    """Structurally constrained recurrent network: s is a running mean of the input."""

    source = "Mikolov et al. 2014, arXiv:1412.7753"
    convention = (
        "h is fed back, not y (torchrecurrent feeds y back); y is what the paper's softmax takes; "
        "s has the size P; alpha = 0.95 is fixed and there are no biases, as the paper"
    )
    use = (
        "For slow context, such as the topic of a text, beside fast detail: s averages the input "
        "over about 1 / (1 - alpha) = 20 steps. It has no gates."
    )
    deviations = (
        "torchrecurrent feeds back y where the paper feeds back h, squashes y by tanh, and has an "
        "s as long as h."
    )

    x, y, h, s = Input(), State(), State(), State("P")
    alpha = Constant(0.95)
    A, B = Matrix(x), Matrix(x, rows="P")
    P = Matrix(s)
    R = Matrix(h)
    U, V = Matrix(h), Matrix(s)

    s_next = (1 - alpha) * (B @ x) + alpha * s
    h_next = sigmoid(P @ s_next + A @ x + R @ h)
    y_next = U @ h_next + V @ s_next
