"""States that are matrices or one number, learned rows, and the products between them."""

import copy
import json
import pickle

import pytest
import torch
from shared import EveryMatrix, randoms, recurrent
from tolerances import EXACT

import gatework as gw
import gatework.equations as eq
from gatework.compile import make_plan
from gatework.compile.linear import linear
from gatework.equations.sizes import joint, mixed, shape_of, width_of
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import CellError, PathError, PlanError, ShapeError

T, B, F, H = 4, 2, 3, 5
STATES = [(H,), (H, H), (H,), (1,)]


class Delta(gw.Cell):
    """The delta rule: what is stored under a key is taken out before the new value comes in."""

    x, h, C = eq.Input(), eq.State(), eq.State("HH")
    W_k, W_v, W_q = eq.matrix(3, x)
    w, b = eq.Matrix(x, rows="h"), eq.Vector("h")
    k, v = W_k @ x, W_v @ x
    rate = eq.sigmoid(w @ x + b)
    C_next = C + rate * eq.outer(v - eq.times(C, k), k)
    h_next = eq.times(C_next, W_q @ x)


def delta_by_hand(layer, x, C):
    weights, outputs = layer.named_weights(), []
    for row in x:
        k, v, q = (row @ weights[f"W_{s}"].T for s in "kvq")
        rate = torch.sigmoid(row @ weights["w"].T + weights["b"])
        old = torch.einsum("brc,bc->br", C, k)
        C = C + rate[:, :, None] * torch.einsum("br,bc->brc", v - old, k)
        outputs.append(torch.einsum("brc,bc->br", C, q))
    return torch.stack(outputs), C


def test_a_cell_of_ones_own_is_the_loop_by_hand():
    layer = recurrent(Delta, F, H)
    x, h, C = randoms((T, B, F), (1, B, H), (1, B, H, H))
    output, states = layer(x, (h, C))
    expected, last = delta_by_hand(layer, x, C[0])
    leaves = [x, C, *layer.parameters()]
    found = torch.autograd.grad((output.cos().sum() + states.C.sin().sum()), leaves)
    truth = torch.autograd.grad((expected.cos().sum() + last.sin().sum()), leaves)
    for got, want in zip((output, states.C[0], *found), (expected, last, *truth), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_matrix_has_two_axes_wherever_it_is_seen(batch_first):
    layer = recurrent("mlstm", F, H, 2, bidirectional=True, batch_first=batch_first)
    x = randoms((B, T, F) if batch_first else (T, B, F))[0]
    axes = x.shape[:2]
    _, states, sequences = layer(x, return_states=True)
    assert [tuple(s.shape) for s in states] == [(4, B, *shape) for shape in STATES]
    assert [tuple(s.shape) for s in layer.state(batch=B)] == [(4, B, *s) for s in STATES]
    assert [tuple(s.shape) for s in layer.state()] == [(4, *s) for s in STATES]
    assert [s.shape for s in sequences.rows[3].values()] == [(*axes, *s) for s in STATES]
    recording = gw.record(layer, x)
    assert recording["C_next"].shape == (*axes, H, H)
    assert recording["i"].shape == (*axes, 1)
    torch.testing.assert_close(recording.at(1, 1)["C_next"], sequences.at(1, 1)["C"], **EXACT)
    assert [tuple(s.shape) for s in layer(x[0])[1]] == [(4, *s) for s in STATES]
    turned = states.index([1, 0])
    assert turned.C.shape == states.C.shape
    assert torch.equal(turned.C[:, 0], states.C[:, 1])


def test_a_sequence_in_two_parts_is_the_whole_of_it():
    for layer in (recurrent("mlstm", F, H, 2), recurrent(EveryMatrix, F, H, 2)):
        x = randoms((T, B, F))[0]
        output, last = layer(x)
        begun, between = layer(x[:2])
        ended, states = layer(x[2:], between)
        pairs = zip((output, *last), (torch.cat([begun, ended]), *states), strict=True)
        for got, want in pairs:
            torch.testing.assert_close(got, want, **EXACT)
        stream = layer.stream(B)
        outputs = torch.stack([stream.step(row) for row in x])
        torch.testing.assert_close(outputs, output, **EXACT)
        torch.testing.assert_close(stream.states[1], last[1], **EXACT)
        alone, one = layer(x[:, 0], tuple(s[:, 0] for s in layer.state(batch=B)))
        torch.testing.assert_close(alone, output[:, 0], **EXACT)
        torch.testing.assert_close(one.C, last.C[:, 0], **EXACT)


def test_a_matrix_of_another_shape_is_refused():
    layer = recurrent("mlstm", F, H)
    x = torch.zeros(T, B, F, dtype=torch.float64)
    h, C, n, m = layer.state(batch=B)
    with pytest.raises(ShapeError, match=r"hidden\[1\] should also be 4-D but got 3-D.*\(1, 2, 5"):
        layer(x, (h, C.flatten(2), n, m))
    with pytest.raises(ShapeError, match=r"hidden\[3\] size \(1, 2, 1\), got \[1, 2, 5\]"):
        layer(x, (h, C, n, h))
    with pytest.raises(ShapeError, match="first two axes are exchanged"):
        layer(x, (h, C.transpose(0, 1), n, m))


def test_switches_that_touch_a_matrix():
    """What knows nothing of matrices is the same with them."""
    x = randoms((T, B, F))[0]
    layer = recurrent("mlstm", F, H, learned_states=True, zoneout={"C": 0.5}, forget_bias=2.0)
    assert layer.first_C.shape == (1, H, H)
    assert layer.b_f_l0.tolist() == [2.0]
    plain = recurrent("mlstm", F, H)
    plain.load_state_dict({n: p for n, p in layer.named_parameters() if "first" not in n})
    with torch.no_grad():
        layer.first_C.uniform_(-1, 1)
    first = layer.state(batch=B)
    torch.manual_seed(0)
    kept = gw.record(layer, x[:1])["C_next"][0] == first.C[0]
    assert 0.2 < kept.double().mean() < 0.8  # each number by itself
    halved = (plain(x[:1], first)[1].C + first.C) / 2
    torch.testing.assert_close(layer.eval()(x[:1])[1].C, halved, **EXACT)
    layer(x)[0].sum().backward()
    assert layer.first_C.grad.abs().min() > 0


@pytest.mark.parametrize("bidirectional", [False, True])
def test_training_in_segments_is_training(bidirectional):
    options = {"bidirectional": bidirectional}
    layers = [recurrent("mlstm", F, H, checkpoint=c, **options) for c in (None, 2)]
    x = randoms((T, B, F))[0]
    results = []
    for layer in layers:
        output, states = layer(x)
        loss = output.cos().sum() + states.C.sin().sum()
        results.append([output, *torch.autograd.grad(loss, [x, *layer.parameters()])])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, **EXACT)


def test_it_travels():
    layer = recurrent("mlstm", F, H)
    x = randoms((T, B, F))[0]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[1].C, layer(x)[1].C)
    for cell in (layer.spec, EveryMatrix.spec, Delta.spec):
        assert from_dict(json.loads(json.dumps(to_dict(cell)))) == cell
    data = to_dict(layer.spec)
    data["states"][1][1] = "FF"
    with pytest.raises(CellError, match="unknown size 'FF'"):
        from_dict(data)


def test_it_compiles_whole():
    torch._dynamo.reset()
    layer = recurrent("mlstm", F, H)
    x = randoms((T, B, F))[0]
    output, states = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close((output, states[1]), (layer(x)[0], layer(x)[1].C), **EXACT)
    (got,) = torch.autograd.grad(output.cos().sum() + states[1].sum(), x)
    (want,) = torch.autograd.grad(layer(x)[0].cos().sum() + layer(x)[1].C.sum(), x)
    torch.testing.assert_close(got, want, **EXACT)


class OneRow(gw.Cell):
    x, h = eq.Input(), eq.State()
    W, w = eq.Matrix(x), eq.Matrix(x, rows="h")
    h_next = (w @ x) * h + W @ x


class OneNumber(gw.Cell):
    x, h, m = eq.Input(), eq.State(), eq.State("h")
    W = eq.Matrix(x)
    m_next = 0.5 * m + eq.mean(x_ := W @ x)
    h_next = m * h + x_


def test_what_has_no_kernel_says_so_in_a_line():
    reasons = {
        "mlstm": "MLSTM has no kernel: units",
        Delta: "Delta has no kernel: outer",
        OneRow: "OneRow has no kernel: the parameter w with one row",
        OneNumber: "OneNumber has no kernel: the state m of size 1",
    }
    x = torch.zeros(T, B, F, dtype=torch.float64)
    for cell, reason in reasons.items():
        layer = recurrent(cell, F, H, path="native")
        with pytest.raises(PlanError, match=f"^{reason}\\.$"):
            make_plan(layer.spec)
        with pytest.raises(PathError, match=f"native: {reason}"):
            layer(x)


def test_a_learned_row_keeps_a_linear_cell_linear():
    assert not isinstance(linear(OneRow.spec), str)
    layer, other = (recurrent(OneRow, F, H, path=path) for path in ("scan", "reference"))
    x = randoms((T, B, F))[0]
    torch.testing.assert_close(layer(x)[0], other(x)[0], **EXACT)


MISTAKES = {
    "C_next = C + outer(W @ x, m)": "outer takes a vector H and a vector H; .*m has of a number",
    "C_next = C + times(C, W @ x)": "C has HH",
    "C_next = C + dot(C, h)": "dot takes a vector H and a vector H; C has HH, h has H",
    "C_next = C + times(h, h)": "times takes a matrix HH and a vector H; h has H, h has H",
    "C_next = C + h": "add of different sizes: C has HH, h has H",
    "C_next = C + C @ h": r"the left side of @ is a declared matrix, got C.*times\(C, q\)",
    "V = Matrix(C)\nC_next = C + outer(V @ C, V @ C)": "V multiplies a matrix",
    "C_next = C + units(2)": "units of a plain number",
    "C_next = C + outer(x, x)": "outer takes a vector H",
    "D = State('FF')": "sizes are 'H' .hidden units., 'P'",
    "b = Vector('HH')": "Unknown size 'HH'",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_wrong_size_is_told(line):
    body = "x, h, C, m = Input(), State(), State('HH'), State('h')\nW = Matrix(x)\n"
    body += f"{line}\nm_next = m\nh_next = times(C, W @ x)\n"
    names = {n: getattr(eq, n) for n in eq.__all__}
    with pytest.raises(CellError, match=MISTAKES[line]):
        exec("class Bad(Cell):\n" + "".join(f"    {row}\n" for row in body.splitlines()), names)


def test_sizes():
    sizes = {"H": 4, "P": 3, "F": 2}
    assert [shape_of(s, sizes) for s in ("H", "HH", "h")] == [(4,), (4, 4), (1,)]
    assert [width_of(s, sizes) for s in ("F", "HH", "p")] == [2, 16, 1]
    assert [joint(s) for s in (["h", "HH"], ["H", "h"], ["h"], ["H", "HH"], ["P", "h"])] == [
        "HH", "H", "h", None, None
    ]  # fmt: skip
    assert mixed(("n", "n"), "nn", ["H", "H"]) == "HH"
    assert mixed(("n", "n"), "nn", ["P", "P"]) is None  # there are no such matrices
    assert mixed(("nn", "n"), "n", ["HH", "P"]) is None
