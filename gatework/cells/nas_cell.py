"""The cell that a search has found."""

from gatework.equations import Cell, Input, State, matrix, relu, sigmoid, tanh


class NASCell(Cell):
    """Cell found by neural architecture search: a tree over eight pairs of input and state."""

    source = "Zoph & Le 2017, arXiv:1611.01578"
    convention = "no biases and no projection, as in the paper; the fourth pair is multiplied"
    use = (
        "For language models, on which it was searched for. Eight matrices of each kind make it "
        "twice as large as an LSTM of the same size."
    )
    deviations = (
        "torchrecurrent adds the fourth pair where the paper multiplies it; TensorFlow 1 "
        "multiplies, and offers biases and a projection."
    )

    x, h, c = Input(), State(), State()
    W_1, W_2, W_3, W_4, W_5, W_6, W_7, W_8 = matrix(8, x)
    U_1, U_2, U_3, U_4, U_5, U_6, U_7, U_8 = matrix(8, h)

    a = tanh(tanh(sigmoid(W_1 @ x + U_1 @ h) * relu(W_2 @ x + U_2 @ h)) + c)
    b = tanh(sigmoid(W_3 @ x + U_3 @ h) + relu((W_4 @ x) * (U_4 @ h)))
    c_next = a * b
    d = tanh(tanh(W_5 @ x + U_5 @ h) * sigmoid(W_6 @ x + U_6 @ h))
    e = sigmoid(tanh(W_7 @ x + U_7 @ h) + sigmoid(W_8 @ x + U_8 @ h))
    h_next = tanh(c_next * tanh(d + e))
