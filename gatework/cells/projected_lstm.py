"""The LSTM whose output is projected to fewer units."""

from gatework.equations import Cell, Input, Matrix, State, matrix, sigmoid, tanh, vector


class ProjectedLSTM(Cell):
    """LSTM with a recurrent projection (LSTMP): the gates see a shorter state than the cell's."""

    source = "Sak, Senior & Beaufays 2014, arXiv:1402.1128"
    convention = "gates in the order i, f, g, o; as torch.nn.LSTM(proj_size=...)"
    use = (
        "For many units at little cost: the products of the state and the layer above take P "
        "numbers instead of H."
    )
    deviations = (
        "The paper has peepholes, and a second projection that is not fed back; torch has neither, "
        "as here. TensorFlow 1 can clip the projection (proj_clip)."
    )
    torch_kernel = "lstm"

    x, h, c = Input(), State("P"), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)
    V = Matrix(c, rows="P")

    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = f * c + i * g
    m = o * tanh(c_next)
    h_next = V @ m
