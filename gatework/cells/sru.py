"""The recurrent unit without a matrix product of its state."""

from gatework.equations import Cell, Input, State, matrix, sigmoid, vector


class SRU(Cell):
    """Simple recurrent unit: the gates see the cell state unit by unit, h is a highway over it."""

    source = "Lei et al. 2018, arXiv:1709.02755v5"
    convention = (
        "the highway carries W_s x, as its authors' code where sizes differ, and needs no alpha; "
        "c is not squashed, as in v5; r sees the old c"
    )
    use = (
        "For fast training on long sequences: all products see the input alone, and what remains "
        "of a step is elementwise."
    )
    deviations = (
        "The paper's highway carries alpha x, for which F must be H; here it is W_s x, as in the "
        "authors' code for other sizes. Earlier versions of the paper have gates that do not see "
        "c, and squash c."
    )

    x, h, c = Input(), State(), State()
    W_f, W_r, W_c, W_s = matrix(4, x)
    v_f, v_r = vector(2)
    b_f, b_r = vector(2)

    f = sigmoid(W_f @ x + v_f * c + b_f)
    r = sigmoid(W_r @ x + v_r * c + b_r)
    c_next = f * c + (1 - f) * (W_c @ x)
    h_next = r * c_next + (1 - r) * (W_s @ x)
