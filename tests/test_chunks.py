"""Chunks of units that share a row: the ON-LSTM as its authors have it, and cells of one's own."""

import pytest
import torch
from shared import randoms, recurrent
from tolerances import EXACT

import gatework as gw
import gatework.equations as eq
from gatework.cells.on_lstm import on_lstm
from gatework.equations.spec import from_text
from gatework.errors import CellError, ShapeError
from gatework.read import reference
from gatework.read.latex import latex
from gatework.read.table import amounts, summary

T, B, F = 4, 3, 2


class Steps(gw.Cell):
    """Gates that rise from chunk to chunk, the first unit of each shown."""

    x, h = eq.Input(), eq.State()
    first = eq.First(4)
    W, U, b = eq.Matrix(x, chunk=4), eq.Matrix(h), eq.Vector(chunk=4)
    a = W @ x + b
    h_next = eq.tanh(U @ h + a * first) + 0.1 * a


def rising(logits, chunk):
    return torch.cumsum(torch.softmax(logits, -1), -1).repeat_interleave(chunk, -1)


def on_lstm_by_hand(layer, x, h, c, chunk):
    w, outputs = layer.stored(0, 0), []

    def sums(row, kind=""):
        return row @ w[f"W{kind}"].T + h @ w[f"U{kind}"].T + w[f"b{kind}"]

    for row in x:
        i, f, g, o = sums(row).chunk(4, -1)
        m_f, m_i = rising(sums(row, "_mf"), chunk), 1 - rising(sums(row, "_mi"), chunk)
        both = m_f * m_i
        kept = torch.sigmoid(f) * both + (m_f - both)
        taken = torch.sigmoid(i) * both + (m_i - both)
        c = kept * c + taken * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), c


def steps_by_hand(layer, x, h, _, chunk):
    w, outputs = layer.stored(0, 0), []
    for row in x:
        a = (row @ w["W"].T + w["b"]).repeat_interleave(chunk, -1)
        shown = torch.zeros_like(a)
        shown[:, ::chunk] = a[:, ::chunk]
        h = torch.tanh(h @ w["U"].T + shown) + 0.1 * a
        outputs.append(h)
    return torch.stack(outputs), h


@pytest.mark.parametrize("path", ["native", "reference"])
@pytest.mark.parametrize(
    ("cell", "by_hand", "chunk", "hidden"),
    [(on_lstm(5), on_lstm_by_hand, 5, 35), (Steps, steps_by_hand, 4, 12)],
    ids=["on_lstm", "own"],
)
def test_it_is_the_loop_by_hand(cell, by_hand, chunk, hidden, path):
    layer = recurrent(cell, F, hidden, path=path)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x, h, c = randoms((T, B, F), (B, hidden), (B, hidden))
    given = (h, c)[: len(layer.spec.states)]
    hx = tuple(s.unsqueeze(0) for s in given)
    output, states = layer(x, hx if len(hx) > 1 else hx[0])
    last = (states if isinstance(states, torch.Tensor) else states[-1])[0]
    found, truth = (output, last), by_hand(layer, x, h, c, chunk)
    leaves = [x, *given, *layer.parameters()]
    for one, other in zip(found, truth, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    pair = [torch.autograd.grad(o.cos().sum() + s.sin().sum(), leaves) for o, s in (found, truth)]
    for one, other in zip(*pair, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    weights = {n: w.detach().numpy() for n, w in layer.named_weights().items()}
    one = reference.step(cell, weights, *(t.detach().numpy() for t in (x[0], *given)))
    torch.testing.assert_close(torch.from_numpy(one["h_next"]), truth[0][0], **EXACT)


def test_what_is_told_of_it():
    spec = on_lstm(10)
    layer = recurrent(spec, 3, 40)
    assert layer.W_mi_l0.shape == (4, 3)
    assert layer.b_mf_l0.shape == (4,)
    numbers = amounts(spec)[0].at({"F": 3, "H": 40})
    assert numbers == sum(p.numel() for p in layer.parameters())
    assert "(H/10 x F):  W_mi" in summary(spec)
    assert r"first \odot \exp" in latex(spec).replace("{", "").replace("}", "").replace(
        r"\mathrm", ""
    )
    again = from_text(spec.text)
    assert again == spec != on_lstm(5)
    assert on_lstm(1) == gw.cells.OnLSTM.spec
    assert from_text(Steps.spec.text) == Steps.spec


def test_the_first_units_stay_while_masks_are_drawn():
    layer = recurrent(on_lstm(4), F, 8, zoneout=0.5, path="reference").train()
    (x,) = randoms((T, B, F))
    kept = gw.record(layer, x)
    assert (kept["e_i"].view(T, B, 2, 4)[..., 1:] == 0).all()
    assert (kept["e_i"][..., ::4] > 0).all()


@pytest.mark.parametrize("chunk", [0, -2, True, 2.5, "2"])
def test_a_chunk_is_a_number_of_units(chunk):
    with pytest.raises(CellError, match="a number of units from 1 on, got"):
        on_lstm(chunk)
    with pytest.raises(CellError, match=r"whole number of units|Write `first = First\(10\)`"):

        class Wrong(gw.Cell):
            x, h = eq.Input(), eq.State()
            first = eq.First(chunk)
            h_next = eq.Matrix(x) @ x * first


def test_units_that_make_no_whole_chunks_are_refused():
    with pytest.raises(ShapeError, match="W_mi has chunks of 5 units; 12 units cannot be divided"):
        gw.Recurrent(on_lstm(5), F, 12)
    with pytest.raises(ShapeError, match="U_mi has chunks of 4 units in 2 blocks; 12 units"):
        gw.Recurrent(on_lstm(4), F, 12, heads=2)
    assert recurrent(on_lstm(3), F, 12, heads=2).U_mi_l0.shape == (4, 6)
    with pytest.raises(ShapeError, match="W_mi has blocks or chunks, which convolutions have none"):
        gw.ConvRecurrent(on_lstm(4), F, 12, 3)
