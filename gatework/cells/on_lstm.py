"""The LSTM whose units are in an order."""

from dataclasses import replace

from gatework.equations import (
    Cell,
    Input,
    Spec,
    State,
    cummean,
    exp,
    largest,
    matrix,
    mean,
    sigmoid,
    tanh,
    vector,
)
from gatework.equations.transform.draft import Draft
from gatework.errors import CellError


class OnLSTM(Cell):
    """Ordered-neurons LSTM: a unit that is overwritten takes all units before it along.

    ``on_lstm(chunk)`` makes one whose master gates are the same in each chunk of so many units.
    """

    source = "Shen et al. 2019, arXiv:1810.09536"
    convention = (
        "m_f and m_i are the paper's master gates, cumax(a_f) and 1 - cumax(a_i), written out; "
        "one unit to a chunk, so they are as wide as the state; on_lstm(10) has ten"
    )
    use = (
        "For nested structure, such as the phrases of sentences: the first units follow short "
        "spans, the last ones long spans, and where m_f rises tells where a span ends."
    )
    deviations = (
        "The authors' code makes master gates of H / C values, each for a chunk of C neighbouring "
        "units (10 by default): fewer parameters, and a coarser order. So does on_lstm(C); its "
        "products are done for every unit nevertheless."
    )

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o, W_mi, W_mf = matrix(6, x)
    U_i, U_f, U_g, U_o, U_mi, U_mf = matrix(6, h)
    b_i, b_f, b_g, b_o, b_mi, b_mf = vector(6)

    a_i = W_mi @ x + U_mi @ h + b_mi
    a_f = W_mf @ x + U_mf @ h + b_mf
    e_i = exp(a_i - largest(a_i))
    e_f = exp(a_f - largest(a_f))
    m_i = 1 - cummean(e_i) / mean(e_i)
    m_f = cummean(e_f) / mean(e_f)
    w = m_f * m_i
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    g = tanh(W_g @ x + U_g @ h + b_g)
    i_hat = i * w + (m_i - w)
    f_hat = f * w + (m_f - w)
    c_next = f_hat * c + i_hat * g
    h_next = o * tanh(c_next)


def on_lstm(chunk: int) -> Spec:
    """The ordered-neurons LSTM with chunks: the equations of ``OnLSTM``, a master gate for each.

    The rows of W_mi, U_mi, b_mi, W_mf, U_mf and b_mf are H / chunk, and each chunk counts once in
    a cumulative sum: by its first unit, which is before all others of its chunk.

    Raises:
        CellError: the chunk is no whole number from 1 on.
    """
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise CellError(f"A chunk of an ON-LSTM has a number of units from 1 on, got {chunk!r}.")
    if chunk == 1:
        return OnLSTM.spec
    draft = Draft(OnLSTM, f"chunks of {chunk}")
    for name, parameter in draft.parameters.items():
        if name.endswith(("_mi", "_mf")):
            draft.parameters[name] = replace(parameter, chunk=chunk)
    first = draft.first("first", "H", chunk)
    for name in ("e_i", "e_f"):
        draft.put(name, first * draft.equations[name].expr)
    return draft.finish(f"first is 1 for the first unit of each chunk of {chunk}, else 0")
