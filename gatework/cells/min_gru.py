"""The GRU without anything that sees its state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, vector


class MinGRU(Cell):
    """Minimal GRU: gate and candidate see the input alone, so all steps are one scan."""

    source = "Feng et al. 2024, arXiv:2410.01201"
    convention = "the plain form; the log-space form has g(W_n x + b_n), g(a) = a + 0.5 or sigmoid"
    use = (
        "For long sequences on parallel hardware: a step is linear in h with coefficients of the "
        "input alone, so all steps are one scan. One layer cannot gate by what it remembers, so "
        "stack several."
    )
    deviations = (
        "The authors also give a form in log space whose candidate is positive, g(a) = a + 0.5 "
        "from 0 on and sigmoid(a) below; here is the plain one."
    )

    x, h = Input(), State()
    W_z, W_n = matrix(2, x)
    b_z, b_n = vector(2)

    z = sigmoid(W_z @ x + b_z)
    n = W_n @ x + b_n
    h_next = (1 - z) * h + z * n
