"""The LSTM that forgets exactly as much as it takes in."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class CoupledLSTM(Cell):
    """LSTM with coupled input and forget gates (CIFG): what is written replaces what was there."""

    source = "Greff et al. 2015, arXiv:1503.04069"
    convention = "the input gate stays and f = 1 - i, as ONNX; no peepholes"
    use = (
        "For a lighter LSTM: one gate decides what is written and what goes, so a quarter of the "
        "products is saved. Greff et al. found no significant loss by it, with peepholes."
    )
    deviations = (
        "The paper has peepholes (coupled_peephole_lstm here). TensorFlow 1 keeps the forget gate "
        "instead, i = 1 - f. The reference operator of the onnx package ignores input_forget; ONNX "
        "Runtime does not."
    )

    x, h, c = Input(), State(), State()
    W_i, W_g, W_o = matrix(3, x)
    U_i, U_g, U_o = matrix(3, h)
    b_i, b_g, b_o = vector(3)

    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = 1 - i
    g = tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)
