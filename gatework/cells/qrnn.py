"""The recurrent pooling over what a convolution of the input gives."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class QRNN(Cell):
    """Quasi-recurrent network with fo-pooling: no gate sees a state."""

    source = "Bradbury et al. 2017, arXiv:1611.01576"
    convention = "a window of one step; a wider causal convolution stands before the layer"
    use = (
        "For long texts on parallel hardware: the gates see the input alone, so a step has no "
        "product and is linear in c."
    )
    deviations = (
        "The paper's gates come of a causal convolution over several steps; here its window is one "
        "step, and a wider one stands before the layer. Of the paper's poolings f, fo and ifo this "
        "is fo."
    )

    x, h, c = Input(), State(), State()
    W_z, W_f, W_o = matrix(3, x)
    b_z, b_f, b_o = vector(3)

    z = tanh(W_z @ x + b_z)
    f = sigmoid(W_f @ x + b_f)
    o = sigmoid(W_o @ x + b_o)
    c_next = f * c + (1 - f) * z
    h_next = o * c_next
