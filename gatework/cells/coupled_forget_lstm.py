"""The LSTM that takes in exactly as much as it forgets."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector


class CoupledForgetLSTM(Cell):
    """Peephole LSTM with coupled gates, the forget gate kept: room is made, then it is filled."""

    source = "Greff et al. 2015, arXiv:1503.04069; TensorFlow 1.15, contrib.rnn"
    convention = (
        "the forget gate stays and i = 1 - f, as TensorFlow 1's CoupledInputForgetGateLSTMCell("
        "use_peepholes=True), whose forget_bias is part of b_f here; the paper keeps i"
    )
    use = (
        "For a peephole LSTM with one gate fewer, and for models of TensorFlow 1 that have it. "
        "Greff et al. found no significant loss by coupling the two gates."
    )
    deviations = (
        "The paper and ONNX keep the input gate, f = 1 - i (coupled_peephole_lstm here). "
        "TensorFlow 1 adds its forget_bias to the gate in each step; here that is part of b_f."
    )

    x, h, c = Input(), State(), State()
    W_f, W_g, W_o = matrix(3, x)
    U_f, U_g, U_o = matrix(3, h)
    b_f, b_g, b_o = vector(3)
    p_f, p_o = vector(2)

    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    i = 1 - f
    g = tanh(W_g @ x + U_g @ h + b_g)
    c_next = f * c + i * g
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_next + b_o)
    h_next = o * tanh(c_next)
