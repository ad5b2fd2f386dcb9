"""from_torch and to_torch: outputs, states and gradients are those of the module converted."""

import copy
import pickle
import re

import pytest
import torch
from shared import randoms, recurrent, tuple_of
from tolerances import EXACT
from torch import nn

import gatework as gw
from gatework.equations import Cell, Input, Matrix, State, Vector, tanh
from gatework.errors import ConvertError

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 2, 5
LAYERS = {
    "lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}),
    "lstm_projected": (nn.LSTM, {"proj_size": 3, "batch_first": True}),
    "lstm_no_bias": (nn.LSTM, {"bias": False}),
    "gru": (nn.GRU, {"bidirectional": True}),
    "rnn": (nn.RNN, {"num_layers": 2}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
}
CELLS = {
    "lstm": (nn.LSTMCell, {}),
    "gru": (nn.GRUCell, {"bias": False}),
    "rnn": (nn.RNNCell, {"nonlinearity": "relu"}),
}


def theirs(kind, options):
    torch.manual_seed(0)
    return kind(FEATURES, HIDDEN, dtype=torch.float64, **options)


def run(layer, *shape):
    """All results of a layer on the same input, and the gradients of input and parameters."""
    (x,) = randoms(shape or (STEPS, BATCH, FEATURES))
    output = layer(x)
    parts = (output[0], *tuple_of(output[1])) if not shape else tuple_of(output)
    loss = sum(torch.sin(part * (1 + n)).sum() for n, part in enumerate(parts))
    named = dict(layer.named_parameters())
    gradients = torch.autograd.grad(loss, [x, *named.values()])
    return list(parts), gradients[0], dict(zip(named, gradients[1:], strict=True))


def check_same(one, other):
    assert type(one[2]) is type(other[2])
    torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_torch_and_back(name):
    module = theirs(*LAYERS[name]).eval()
    ours = gw.convert.from_torch(module)
    assert type(ours) is getattr(gw, type(module).__name__)
    assert not ours.training
    check_same(run(ours), run(module))
    back = gw.convert.to_torch(ours)
    assert type(back) is type(module)
    assert repr(back) == repr(module)
    check_same(run(back), run(module))
    assert "nothing reordered" in gw.convert.explain(back)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_torch_and_back(name):
    module = theirs(*CELLS[name])
    ours = gw.convert.from_torch(module)
    assert type(ours) is getattr(gw, type(module).__name__)
    back = gw.convert.to_torch(ours)
    assert type(back) is type(module)
    for made in (ours, back):
        check_same(run(made, BATCH, FEATURES), run(module, BATCH, FEATURES))


class MyOwn(Cell):
    """The simple network by other hands: torch's by its equations."""

    x, h = Input(), State()
    W, U, b = Matrix(x), Matrix(h), Vector()
    h_next = tanh(W @ x + U @ h + b)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "relu_rnn", "projected_lstm", MyOwn])
def test_a_recurrent_whose_equations_are_torchs(cell, options):
    layer = recurrent(cell, FEATURES, HIDDEN, **options)
    module = gw.convert.to_torch(layer)
    assert type(module).__module__ == "torch.nn.modules.rnn"
    layer.path = "reference"  # torch's kernel itself is what runs elsewhere
    (outputs, by_x, by_weight), (wanted, wanted_by_x, wanted_by) = run(layer), run(module)
    torch.testing.assert_close([*outputs, by_x], [*wanted, wanted_by_x], **EXACT)
    for stem, torchs in (("W", "weight_ih"), ("U", "weight_hh"), ("b", "bias_ih")):
        found = {n.replace(torchs, stem): g for n, g in wanted_by.items() if n.startswith(torchs)}
        torch.testing.assert_close({n: by_weight[n] for n in found}, found, **EXACT)
    for name in (n for n in by_weight if n.startswith("d_")):  # the part of bias_hh inside r
        last = wanted_by[name.replace("d_l", "bias_hh_l").replace("d_n_l", "bias_hh_l")]
        torch.testing.assert_close(by_weight[name], last[-HIDDEN:], **EXACT)


def test_weights_are_copied_and_random_numbers_left_alone():
    module = theirs(nn.GRU, {}).train()
    module.bias_hh_l0.requires_grad_(False)
    state = torch.get_rng_state()
    ours = gw.convert.from_torch(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in ours.parameters()] == [True, True, True, False]
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert ours.weight_ih_l0.abs().min() > 0
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert gw.convert.explain(other) == gw.convert.explain(ours)


@pytest.mark.parametrize("made", [gw.LSTM, lambda *sizes, **o: gw.Recurrent("lstm", *sizes, **o)])
def test_what_acts_in_training_only_is_told(made):
    module = gw.convert.to_torch(made(FEATURES, HIDDEN, weight_drop=0.25, checkpoint="sqrt"))
    for switch in ("weight_drop=0.25", "checkpoint='sqrt'"):
        assert f"{switch} acts in training only" in gw.convert.explain(module)


def test_notes_are_logged(caplog):
    with caplog.at_level("INFO", logger="gatework.convert"):
        gw.convert.to_torch(gw.Recurrent("lstm", FEATURES, HIDDEN))
    assert "LSTM: the one bias became bias_ih" in caplog.text


def quantizable():
    return pytest.importorskip("torch.ao.nn.quantizable").LSTM(FEATURES, HIDDEN)


def normed():
    return nn.utils.parametrizations.weight_norm(nn.LSTM(FEATURES, HIDDEN), "weight_hh_l0")


class Derived(nn.LSTM):
    pass


REFUSED_FROM = {
    "a text": (lambda: "lstm", "takes a module of torch.nn, got builtins.str"),
    "a model": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 4)),
        "got torch.nn.modules.container.Sequential. Pass a layer of it: 1.",
    ),
    "a dense layer": (lambda: nn.Linear(2, 3), "got torch.nn.modules.linear.Linear."),
    "quantizable": (quantizable, "is made for quantisation and is no plain module"),
    "parametrised": (normed, "Make them plain first: torch.nn.utils.parametrize.remove"),
    "derived": (lambda: Derived(2, 3), "Derived derives from torch's module"),
    "ours": (lambda: gw.LSTM(2, 3), "is a layer of Gatework already"),
}
REFUSED_TO = {
    "another cell": (
        lambda: gw.Recurrent("peephole_lstm", 2, 3),
        "torch has no kernel with the equations of PeepholeLSTM",
    ),
    "residual": (lambda: gw.LSTM(3, 3, residual=True), "adds its input to its output"),
    "learned states": (
        lambda: gw.Recurrent("lstm", 2, 3, learned_states=True),
        "has learned its initial states",
    ),
    "a drop-in's": (lambda: gw.GRU(2, 3, learned_states=True), "pass layer.state(batch=B) as hx"),
    "several widths": (lambda: gw.LSTM(2, [3, 4]), "no stack of several widths, got [3, 4]"),
    "a switch": (lambda: gw.LSTM(2, 3, cell_clip=1.0), "torch has no kernel with the equations"),
    "torch's": (lambda: nn.LSTM(2, 3), "to_torch takes a layer of Gatework"),
    "a model": (lambda: nn.Sequential(gw.GRU(2, 3)), "Sequential. Pass a layer of it: 0."),
}


@pytest.mark.parametrize(
    ("convert", "made", "message"),
    [("from_torch", *row) for row in REFUSED_FROM.values()]
    + [("to_torch", *row) for row in REFUSED_TO.values()]
    + [("explain", lambda: nn.Linear(2, 3), "This Linear was made by no converter")],
    ids=[*REFUSED_FROM, *(f"to_{n}" for n in REFUSED_TO), "explain"],
)
def test_what_cannot_be_is_refused_in_one_line(convert, made, message):
    with pytest.raises(ConvertError, match=re.escape(message)) as caught:
        getattr(gw.convert, convert)(made())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_rewritten_before_each_call_are_refused():
    module = nn.utils.weight_norm(nn.LSTM(FEATURES, HIDDEN), "weight_hh_l0")
    with pytest.raises(ConvertError, match="other parameters than torch's own: weight_hh_l0, "):
        gw.convert.from_torch(module)
