"""Transforms against loops written out by hand in torch: values and all gradients, float64."""

import numpy as np
import pytest
import torch
from shared import CELLS, randoms
from tolerances import EXACT
from torch.nn.functional import softsign

import gatework as gw
from gatework.cells import (
    GRU,
    LSTM,
    RNN,
    SLSTM,
    CoupledForgetLSTM,
    CoupledLSTM,
    CoupledPeepholeLSTM,
    GRUResetBefore,
    LayerNormLSTM,
    MinGRU,
    PeepholeLSTM,
    ProjectedLSTM,
    name_of,
)
from gatework.compile import make_plan
from gatework.compile.flatten import without_kernel
from gatework.equations import Input, Matrix, State, mean, tanh
from gatework.equations.spec import from_dict, from_text, to_dict
from gatework.errors import CellError
from gatework.paths.masks import draw

t = gw.transform
T, B, F, H, P = 4, 3, 3, 6, 2


class NumberAndProjection(gw.Cell):
    x, h, c, m = Input(), State("P"), State(), State("h")
    W, V = Matrix(x), Matrix(c, rows="P")
    m_next = m + mean(c)
    c_next = tanh(m + W @ x)
    h_next = V @ c_next


def check(cell, step, training=False, paths=("reference", "native")):
    """A layer of a cell on each path is the loop of ``step(weights, x, states, masks)``."""
    spec = getattr(cell, "spec", cell)
    torch.manual_seed(0)
    proj = P if "P" in spec.sizes else 0
    layer = gw.Recurrent(spec, F, H, proj_size=proj, dtype=torch.float64).train(training)
    with torch.no_grad():
        for parameter in layer.parameters():  # gains and shifts too, unequal
            parameter.add_(0.3 * torch.randn_like(parameter))
    sizes = {"F": F, "H": H, "P": P}
    x, *states = randoms((T, B, F), *((1, B, sizes[s.size]) for s in spec.states))
    torch.manual_seed(7)
    masks = draw(spec, sizes, T, (B,), training, x)
    now, outputs = [s[0] for s in states], []
    weights = layer.named_weights()
    for at in range(T):
        drawn = {name: m[at if len(m) > 1 else 0] for name, m in masks.items()}
        now = step(weights, x[at], now, drawn)
        outputs.append(now[0])
    wanted = [*layer.parameters(), x, *states]
    truth = [torch.stack(outputs), *now]
    truth += torch.autograd.grad(loss_of(truth), wanted)
    for path in paths:
        layer.path = path
        torch.manual_seed(7)
        output, final = layer(x, states[0] if len(states) == 1 else tuple(states))
        final = [final] if len(states) == 1 else list(final)
        found = [output, *(s[0] for s in final)]
        found += torch.autograd.grad(loss_of(found), wanted)
        for one, other in zip(found, truth, strict=True):
            torch.testing.assert_close(one, other, **EXACT)
    assert from_text(spec.text) == spec
    return spec


def loss_of(results):
    return sum((r * (1 + torch.arange(r.numel()).view(r.shape))).sum() for r in results[: T + 1])


def norm(a, gain):
    """Layer normalisation over the last axis by torch itself."""
    return gain * torch.nn.functional.layer_norm(a, a.shape[-1:], eps=1e-5)


def lstm(w, x, states, masks, **options):
    """The LSTM with everything that may be changed, by hand."""
    h, c = states
    sigma, tanh, out = (options.get(k, f) for k, f in CURVES.items())
    peep, norms = options.get("peep", False), options.get("norms", False)

    def gate(k, seen=None):
        total = w[f"W_{k}"] @ x.mT + w[f"U_{k}"] @ (h * masks.get("drop_h", 1)).mT
        total = norm(total.mT, w[f"gamma_{k}"]) if norms else total.mT
        return total + w[f"b_{k}"] + (w[f"p_{k}"] * seen if peep and seen is not None else 0)

    f = sigma(gate("f", c))
    i = 1 - f if options.get("coupled") else sigma(gate("i", c))
    new = f * c + i * masks.get("drop_g", 1) * tanh(gate("g"))
    if "clip" in options:
        new = new.clamp(-options["clip"], options["clip"])
    shown = norm(new, w["gamma_c"]) + w["beta_c"] if options.get("shown") else new
    out_h = sigma(gate("o", new)) * out(shown)
    if "V" in w:
        out_h = out_h @ w["V"].mT
    if "proj_clip" in options:
        out_h = out_h.clamp(-options["proj_clip"], options["proj_clip"])
    zones = [masks.get(f"zone_{s}", 0) for s in "hc"]
    return [z * old + (1 - z) * n for z, old, n in zip(zones, (h, c), (out_h, new), strict=True)]


def hard_sigmoid(a):
    """Not torch's: the slope of that one is rounded to float32."""
    return (a + 3).clamp(0, 6) / 6


CURVES = {"gate": torch.sigmoid, "candidate": torch.tanh, "output": torch.tanh}

CASES = {
    "plain": (lambda: LSTM, {}),
    "layer_norm": (lambda: t.layer_norm(LSTM), {"norms": True}),
    "layer_norm with c": (
        lambda: t.layer_norm(t.peephole(LSTM), state="c"),
        {"norms": True, "shown": True, "peep": True},
    ),
    "peephole of layer_norm": (
        lambda: t.peephole(t.layer_norm(LSTM)),
        {"norms": True, "peep": True},
    ),
    "zoneout": (lambda: t.zoneout(LSTM, h=0.3, c=0.5), {}),
    "three": (
        lambda: t.zoneout(t.layer_norm(PeepholeLSTM), h=0.4),
        {"norms": True, "peep": True},
    ),
    "dropout on the candidate": (lambda: t.recurrent_dropout(LSTM, 0.4), {}),
    "dropout on the state": (
        lambda: t.recurrent_dropout(LSTM, 0.4, each="sequence", at="state"),
        {},
    ),
    "cell_clip": (lambda: t.cell_clip(PeepholeLSTM, 0.4), {"peep": True, "clip": 0.4}),
    "projection_clip": (lambda: t.projection_clip(t.project(LSTM), 0.2), {"proj_clip": 0.2}),
    "coupled": (lambda: t.couple(t.layer_norm(LSTM)), {"coupled": True, "norms": True}),
    "curves": (
        lambda: t.activations(LSTM, gate="hard_sigmoid", candidate="relu", output="softsign"),
        {"gate": hard_sigmoid, "candidate": torch.relu, "output": softsign},
    ),
}


# A kernel costs a second to compile; these have what no cell of the catalogue has.
NATIVE = ("layer_norm with c", "three", "cell_clip", "projection_clip", "curves")
BOTH = ("reference", "native")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_changed_lstm_is_the_loop_by_hand(case, training):
    cell, options = CASES[case]
    if training and not getattr(cell(), "spec", cell()).masks:
        pytest.skip("it has no masks")
    paths = BOTH if case in NATIVE else BOTH[:1]
    check(cell(), lambda *given: lstm(*given, **options), training, paths)


def test_a_layer_normalised_gru_normalises_the_two_products_of_its_candidate_apart():
    def step(w, x, states, _):
        (h,) = states
        both = {k: norm(x @ w[f"W_{k}"].mT + h @ w[f"U_{k}"].mT, w[f"gamma_{k}"]) for k in "rz"}
        r, z = (torch.sigmoid(both[k] + w[f"b_{k}"]) for k in "rz")
        inner = norm(h @ w["U_n"].mT, w["gamma_U_n"]) + w["d_n"]
        n = torch.tanh(norm(x @ w["W_n"].mT, w["gamma_n"]) + w["b_n"] + r * inner)
        return [(1 - z) * n + z * h]

    check(t.layer_norm(GRU), step)


def test_a_projected_gru_carries_its_own_memory_on():
    def step(w, x, states, _):
        h, m = states
        r, z = (torch.sigmoid(x @ w[f"W_{k}"].mT + h @ w[f"U_{k}"].mT + w[f"b_{k}"]) for k in "rz")
        n = torch.tanh(x @ w["W_n"].mT + w["b_n"] + r * (h @ w["U_n"].mT + w["d_n"]))
        m = (1 - z) * n + z * m
        return [m @ w["V"].mT, m]

    check(t.project(GRU), step)


def test_heads_see_themselves_alone():
    def step(w, x, states, _):
        (h,) = states
        heads = [w["U"][k : k + 2, k : k + 2] @ h[:, k : k + 2].mT for k in (0, 2, 4)]
        return [torch.tanh(x @ w["W"].mT + torch.cat(heads).mT + w["b"])]

    spec = check(t.heads(RNN, 3), step)
    layer = gw.Recurrent(spec, F, H)
    assert layer.U_l0.shape == (H, H // 3)
    whole = layer.named_weights()["U"]
    assert torch.equal(whole[2:4, 2:4], layer.U_l0[2:4])
    assert whole[2:4, 4:].abs().sum() == 0
    assert spec != RNN.spec
    assert make_plan(spec)


def test_an_slstm_of_two_heads_is_two_slstms():
    torch.manual_seed(0)
    both = gw.Recurrent(t.heads(SLSTM, 2), F, H, dtype=torch.float64)
    one = gw.Recurrent(SLSTM, F, H // 2, dtype=torch.float64)
    (x,) = randoms((T, B, F))
    outputs = []
    for head in (slice(0, H // 2), slice(H // 2, H)):
        with torch.no_grad():
            for name, value in one.named_weights().items():
                whole = both.named_weights()[name][head]
                value.copy_(whole[:, head] if name.startswith("U") else whole)
        outputs.append(one(x)[0])
    torch.testing.assert_close(both(x)[0], torch.cat(outputs, -1), **EXACT)


@pytest.mark.parametrize(
    ("made", "known"),
    [
        (lambda: t.peephole(LSTM), PeepholeLSTM),
        (lambda: t.project(LSTM), ProjectedLSTM),
        (lambda: t.couple(LSTM, keep="i"), CoupledLSTM),
        (lambda: t.couple(PeepholeLSTM, keep="i"), CoupledPeepholeLSTM),
        (lambda: t.couple(t.peephole(LSTM)), CoupledForgetLSTM),
        (lambda: t.zoneout(LSTM, h=0), LSTM),
    ],
)
def test_the_catalogue_has_some_of_them_written_out(made, known):
    assert made() == known.spec


def test_zoneout_and_dropout_have_their_mean_in_evaluation():
    (mask,) = t.zoneout(LSTM, h=0.3).masks
    assert (mask.size, mask.probability, mask.value, mask.each) == ("H", 0.3, 1.0, "step")
    (mask,) = t.recurrent_dropout(GRU, 0.2, each="sequence").masks
    assert (mask.probability, mask.each) == (0.8, "sequence")
    assert mask.mean == pytest.approx(1)


NUMBERS = torch.linspace(-8, 8, 65, dtype=torch.float64)
CURVE = {
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid_onnx": lambda a: (0.2 * a + 0.5).clamp(0, 1),
    "hard_tanh": torch.nn.functional.hardtanh,
    "softsign": softsign,
    "elu": torch.nn.functional.elu,
    "silu": torch.nn.functional.silu,
    "linear": lambda a: a,
}


@pytest.mark.parametrize("name", CURVE)
def test_the_functions_are_torchs(name):
    layer = gw.Recurrent(t.activations(RNN, candidate=name), 1, 1, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), (1, 0, 0), strict=True):
            parameter.fill_(value)
    x = NUMBERS.clone().requires_grad_()
    output, _ = layer(x.view(1, -1, 1))
    torch.testing.assert_close(output.flatten(), CURVE[name](NUMBERS), **EXACT)
    (slopes,) = torch.autograd.grad(output.sum(), x)
    y = NUMBERS.clone().requires_grad_()
    (truth,) = torch.autograd.grad(CURVE[name](y).sum(), y)
    inner = (NUMBERS.abs() - 2.5).abs() > 0.01  # at a kink either side is right
    inner &= (NUMBERS.abs() - 3).abs() > 0.01
    inner &= (NUMBERS.abs() - 1).abs() > 0.01
    torch.testing.assert_close(slopes[inner], truth[inner], **EXACT)


EACH = {
    "layer_norm": t.layer_norm,
    "zoneout": lambda cell: t.zoneout(cell, **{cell.spec.states[0].name: 0.1}),
    "candidate": lambda cell: t.recurrent_dropout(cell, 0.1),
    "state": lambda cell: t.recurrent_dropout(cell, 0.1, at="state"),
    "project": t.project,
    "clip": lambda cell: t.cell_clip(cell, 1, state=cell.spec.states[-1].name),
    "peephole": t.peephole,
    "couple": t.couple,
    "heads": lambda cell: t.heads(cell, 2),
}


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_every_cell_takes_a_transform_or_refuses_it_by_name(cell):
    taken, refused = [], []
    for change in EACH.values():
        try:
            taken.append(change(cell))
        except CellError as error:
            refused.append(str(error))
    assert [m for m in refused if not m.startswith(f"{cell.__name__}: ")] == []
    for spec in taken:
        assert from_text(spec.text) == spec
        assert spec.name.startswith(f"{cell.__name__} + ")
        assert without_kernel(spec) or make_plan(spec)
        assert gw.latex(spec)
    assert len(taken) >= 2  # zoneout and a clip go with every cell


REFUSED = {
    "there is no state q; the states are h, c": lambda: t.zoneout(LSTM, q=0.1),
    "a probability lies in [0, 1], got 2": lambda: t.zoneout(LSTM, h=2),
    "give a rate by a state's name": lambda: t.zoneout(LSTM),
    "the name zone_h already": lambda: t.zoneout(t.zoneout(LSTM, h=0.1), h=0.1),
    "the name epsilon already": lambda: t.layer_norm(t.layer_norm(LSTM)),
    "LayerNormLSTM: layer_norm: the cell has": lambda: t.layer_norm(LayerNormLSTM),
    "leave state out": lambda: t.layer_norm(GRU, state="h"),
    "there is no state c": lambda: t.cell_clip(GRU, 1.0),
    "c is clipped already": lambda: t.cell_clip(t.cell_clip(LSTM, 1.0), 2.0),
    "a number above zero is expected, got -1": lambda: t.cell_clip(LSTM, -1),
    "no state is projected": lambda: t.projection_clip(LSTM, 1.0),
    "is projected already": lambda: t.project(ProjectedLSTM),
    "no gates i and f": lambda: t.couple(GRU),
    "the name p_i already": lambda: t.peephole(PeepholeLSTM),
    "no candidate": lambda: t.recurrent_dropout(RNN, 0.1),
    "no matrix multiplies a state; there": lambda: t.recurrent_dropout(MinGRU, 0.1, at="state"),
    "at is one of candidate, state": lambda: t.recurrent_dropout(LSTM, 0.1, at="gate"),
    "there is no output activation": lambda: t.activations(GRU, output="relu"),
    "no function is called 'swish'": lambda: t.activations(GRU, candidate="swish"),
    "a whole number above 1": lambda: t.heads(LSTM, 1),
    "MinGRU: heads(2): no matrix": lambda: t.heads(MinGRU, 2),
    "its own m, and a projection would": lambda: t.heads(NumberAndProjection, 2),
    "there are heads already": lambda: t.heads(t.heads(LSTM, 2), 2),
    "takes a Cell class": lambda: t.peephole("lstm"),
    "a probability lies in [0, 1], got 'a'": lambda: t.zoneout(LSTM, h="a"),
    "a probability lies in [0, 1], got None": lambda: t.zoneout(LSTM, c=None),
    "a probability lies in [0, 1), got '0.1'": lambda: t.recurrent_dropout(LSTM, "0.1"),
    "above zero is expected, got '3'": lambda: t.cell_clip(LSTM, "3"),
    "above zero is expected, got [1]": lambda: t.projection_clip(ProjectedLSTM, [1]),
    "epsilon: a number above zero is expected, got 'a'": lambda: t.layer_norm(LSTM, epsilon="a"),
    "epsilon: a number above zero is expected, got 0": lambda: t.layer_norm(LSTM, epsilon=0),
    "there is no state 3": lambda: gw.LSTM(F, H, layer_norm=3),
    "no function is called ['relu']": lambda: t.activations(LSTM, candidate=["relu"]),
    "got str: 'x'": lambda: t.activations(LSTM, candidate=lambda _: "x"),
    "forget_bias is a number, got 'a'": lambda: gw.LSTM(F, H, forget_bias="a"),
    "weight_drop is a number, got None": lambda: gw.Recurrent("lstm", F, H, weight_drop=None),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(message):
    with pytest.raises(CellError) as refused:
        REFUSED[message]()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_zoneout_of_a_cell_that_has_the_name_of_the_value_between():
    class Named(gw.Cell):
        x, h = Input(), State()
        W, U = Matrix(x), Matrix(h)
        h_new = tanh(W @ x + U @ h)
        h_next = 0.5 * (h + h_new)

    weights = gw.reference.random_weights(Named, 1, 1)
    found = gw.reference.step(t.zoneout(Named, h=0.25), weights, [1.0], [0.5])
    plain = gw.reference.step(Named, weights, [1.0], [0.5])
    np.testing.assert_allclose(found["h_next"], 0.25 * 0.5 + 0.75 * plain["h_next"], rtol=1e-15)


def test_a_reset_before_the_product_is_projected_with_its_own_memory():
    spec = t.project(GRUResetBefore)
    operands = {p.name: p.cols for p in spec.parameters if p.name.startswith("U")}
    assert operands == {"U_r": "P", "U_z": "P", "U_n": "H"}


def test_a_changed_cell_keeps_its_names_and_sources():
    spec = t.zoneout(t.layer_norm(LSTM), h=0.1)
    assert spec.name == "LSTM + layer_norm + zoneout(h=0.1)"
    assert name_of(spec) == "lstm + layer_norm + zoneout(h=0.1)"
    assert "Gers" in spec.source
    assert "Ba, Kiros" in spec.source
    assert "Krueger" in spec.source
    assert t.layer_norm(LSTM).torch_kernel == ""


@pytest.mark.parametrize("wrong", [{"U": 0}, {"U": True}, {"U": "2"}, {"b": 2}, 3])
def test_a_saved_cell_with_wrong_blocks_is_refused(wrong):
    with pytest.raises(CellError, match="This is no saved cell"):
        from_dict(to_dict(RNN.spec) | {"blocks": wrong})


def test_a_cell_saved_before_there_were_blocks_is_read():
    data = to_dict(RNN.spec)
    del data["blocks"]
    assert from_dict(data) == RNN.spec
