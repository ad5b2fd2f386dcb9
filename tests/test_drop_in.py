"""The drop-ins against torch.nn over the whole grid of its arguments, float64."""

import itertools
import warnings

import pytest
import torch
from shared import randoms
from tolerances import EXACT
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch_pairs import FEATURES, FORMS, HIDDEN, KINDS, make, results

import gatework as gw
from gatework import paths
from gatework.errors import ShapeError
from gatework.paths import build

SWITCH = (False, True)
OWN = ("reference",) if build.compiler() is None else ("native", "reference")
each_kind = pytest.mark.parametrize("kind", KINDS)


def assert_same(got, expected, what=""):
    """All tensors of two lists are equal, compared in one go."""
    assert [g.shape for g in got] == [e.shape for e in expected], what
    ours, theirs = (torch.cat([t.flatten() for t in tensors]) for tensors in (got, expected))
    torch.testing.assert_close(ours, theirs, **EXACT, msg=lambda text: f"{what}: {text}")


@each_kind
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bias", SWITCH, ids=["plain", "bias"])
@pytest.mark.parametrize("bidirectional", SWITCH, ids=["one", "both"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_results_and_gradients_are_torch_s(kind, num_layers, bias, bidirectional, dropout):
    shape = {"num_layers": num_layers, "bias": bias, "bidirectional": bidirectional}
    for batch_first in SWITCH:
        theirs, ours = make(kind, batch_first=batch_first, dropout=dropout, **shape)
        forms = (
            ("batched", "sorted") if batch_first else FORMS
        )  # of a single sequence it says nothing
        for form, with_states in itertools.product(forms, SWITCH):
            expected = results(theirs, form, with_states)
            for path in ("auto", *OWN):
                if path in OWN and dropout and form in ("sorted", "unsorted"):
                    continue  # torch draws masks for the packed rows, we for all rows
                ours.path = path
                what = f"{path}, {form}, states={with_states}, {theirs}"
                assert_same(results(ours, form, with_states), expected, what)


@each_kind
def test_the_automatic_path_of_short_calls_is_the_vendor_s_and_may_be_asked_for(kind):
    _, auto = make(kind, num_layers=2)
    _, vendor = make(kind, num_layers=2, path="vendor")
    call, _ = auto.prepare(torch.randn(2, 1, FEATURES, dtype=torch.float64))
    assert paths.choose(call).name == "vendor"
    assert_same(results(vendor), results(auto))


@pytest.mark.skipif(len(OWN) < 2, reason="there is no C compiler")
def test_longer_calls_run_on_kernels_where_those_are_faster():
    def chosen(layer, x):
        return paths.choose(layer.prepare(x)[0]).name

    x = torch.randn(50, 8, 16)
    assert chosen(gw.GRU(16, 32), x) == "native"
    assert chosen(gw.LSTM(16, 32), x) == "vendor"  # training, and not much work
    assert chosen(gw.GRU(16, 32), x[:1, :3]) == "vendor"  # few rows
    with torch.no_grad():
        assert chosen(gw.LSTM(16, 32), x) == "native"
        assert chosen(gw.LSTM(16, 512), x) == "vendor"  # large weights
        assert chosen(gw.GRU(16, 512), x[:1, :3]) == "vendor"  # few rows
        with torch.autocast("cpu"):
            assert chosen(gw.LSTM(16, 32), x) == "vendor"  # in the lower precision that was asked


@each_kind
def test_evaluation_has_no_dropout(kind):
    theirs, ours = make(kind, num_layers=2, dropout=0.5)
    for path in ("auto", *OWN):
        ours.path = path
        assert_same(results(ours.eval()), results(theirs.eval()), path)
    assert not torch.equal(results(ours.train())[0], results(ours.eval())[0])


@each_kind
@pytest.mark.parametrize("bias", SWITCH, ids=["plain", "bias"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_parameters_start_and_travel_as_torch_s(kind, bias, num_layers):
    pair = make(kind, bias=bias, num_layers=num_layers, bidirectional=True)
    ours, theirs = (m.state_dict() for m in reversed(pair))
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor)  # the same seed gives the same numbers
    for source, target in itertools.permutations(pair):
        nn.init.normal_(source.weight_hh_l0)
        target.load_state_dict(source.state_dict(), strict=True)
        assert_same(results(target), results(source))


REPRS = (
    {},
    {"num_layers": 2, "batch_first": True},
    {"num_layers": 3, "dropout": 0.5, "bidirectional": True, "bias": False},
)


@each_kind
@pytest.mark.parametrize("options", REPRS, ids=len)
def test_repr_is_torch_s(kind, options):
    theirs, ours = make(kind, **options)
    assert repr(ours) == repr(theirs)


def test_repr_shows_what_is_beyond_torch():
    layer = gw.LSTM(3, 4, forget_bias=1.0, path="reference")
    assert repr(layer) == "LSTM(3, 4, forget_bias=1.0, path='reference')"


def test_positional_arguments_are_torch_s():
    for arguments in ((3, 4, 2, False, True, 0.5, True), (3, 4, 2, False, True, 0.5, True, 2)):
        assert repr(gw.LSTM(*arguments)) == repr(nn.LSTM(*arguments))
    assert repr(gw.GRU(3, 4, 2, False, True)) == repr(nn.GRU(3, 4, 2, False, True))
    theirs = nn.RNN(3, 4, 2, "relu", False, True)
    ours = gw.RNN(3, 4, 2, "relu", False, True)
    assert (repr(ours), ours.mode) == (repr(theirs), theirs.mode)


# Mistakes: the same kind of error as torch, and what was got in the message.

CONSTRUCTIONS = {
    "dropout above one": ("lstm", (3, 4), {"dropout": 2.0}),
    "dropout as a truth value": ("lstm", (3, 4), {"dropout": True}),
    "no hidden units": ("gru", (3, 0), {}),
    "hidden units as a float": ("gru", (3, 4.0), {}),
    "no features": ("lstm", (0, 4), {}),
    "features as text": ("lstm", ("3", 4), {}),
    "no layers": ("rnn_tanh", (3, 4), {"num_layers": 0}),
    "bias as a number": ("lstm", (3, 4), {"bias": 1}),
    "batch_first as a number": ("lstm", (3, 4), {"batch_first": 1}),
    "projection too large": ("lstm", (3, 4), {"proj_size": 4}),
    "projection below zero": ("lstm", (3, 4), {"proj_size": -1}),
    "projected gru": ("gru", (3, 4), {"proj_size": 2}),
    "projected rnn": ("rnn_tanh", (3, 4), {"proj_size": 2}),
    "nonlinearity": ("rnn_tanh", (3, 4), {"nonlinearity": "sin"}),
    "a word that torch does not know": ("lstm", (3, 4), {"layers": 2}),
    "no sizes": ("lstm", (), {}),
    "unknown dtype": ("lstm", (3, 4), {"dtype": "float64"}),
}


def error_of(function, *arguments, **options):
    """The exception that a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (torch decides which)
        function(*arguments, **options)
    return caught.value


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_a_wrong_construction_raises_as_torch_does(name):
    kind, arguments, options = CONSTRUCTIONS[name]
    theirs, ours, _ = KINDS[kind]
    expected = error_of(theirs, *arguments, **options)
    assert isinstance(error_of(ours, *arguments, **options), type(expected))


def test_a_wrong_nonlinearity_names_the_right_ones():
    with pytest.raises(
        ValueError, match=r"Unknown nonlinearity 'sin'\. Select from 'tanh' or 'relu'"
    ):
        gw.RNN(3, 4, nonlinearity="sin")


def test_dropout_with_one_layer_warns_as_torch_does():
    for made in (nn.GRU, gw.GRU):
        with pytest.warns(UserWarning, match="num_layers greater than 1"):
            made(3, 4, dropout=0.5)


def hx(*shapes):
    states = randoms(*shapes)
    return states[0] if len(states) == 1 else tuple(states)


X, STATE = (5, 2, FEATURES), (1, 2, HIDDEN)
CALLS = {
    "four axes": ("lstm", (5, 2, 2, FEATURES), None),
    "one axis": ("gru", (FEATURES,), None),
    "wrong features": ("lstm", (5, 2, FEATURES + 1), None),
    "no steps": ("lstm", (0, 2, FEATURES), None),
    "no steps, gru": ("gru", (0, 2, FEATURES), None),
    "hidden batch": ("gru", X, [(1, 3, HIDDEN)]),
    "hidden layers": ("gru", X, [(2, 2, HIDDEN)]),
    "hidden width": ("rnn_tanh", X, [(1, 2, HIDDEN + 1)]),
    "hidden without batch": ("gru", X, [(1, HIDDEN)]),
    "hidden with batch": ("gru", (5, FEATURES), [STATE]),
    "hidden, lstm": ("lstm", X, [(1, 3, HIDDEN), STATE]),
    "cell": ("lstm", X, [STATE, (1, 3, HIDDEN)]),
    "cell without batch": ("lstm", X, [STATE, (1, HIDDEN)]),
    "cell with batch": ("lstm", (5, FEATURES), [STATE, STATE]),
    "hidden as wide as the cell": ("lstm_projected", X, [STATE, STATE]),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("path", ["auto", "reference"])
def test_a_wrong_call_raises_as_torch_does(name, path):
    kind, shape, states = CALLS[name]
    theirs, ours = make(kind, path=path)
    arguments = randoms(shape)[0], hx(*states) if states else None
    expected = error_of(theirs, *arguments)
    got = error_of(ours, *arguments)
    assert isinstance(got, type(expected)), expected
    assert str(got).startswith(type(ours).__name__ + ": ")


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_a_wrong_dtype_or_packing_raises_as_torch_does(path):
    theirs, ours = make("gru", path=path)
    flat = pack_sequence([torch.randn(n, dtype=torch.float64) for n in (4, 3)])
    for x in (torch.randn(X), torch.ones(X, dtype=torch.int64), flat):
        assert isinstance(error_of(ours, x), type(error_of(theirs, x)))
    packed = pack_sequence(list(randoms((3, FEATURES), (4, FEATURES))), enforce_sorted=False)
    wrong = randoms((1, 1, HIDDEN))[0]
    assert isinstance(error_of(ours, packed, wrong), type(error_of(theirs, packed, wrong)))
    # Three sequences of numbers and three features: not to be taken for one sequence.
    flat = pack_sequence([torch.randn(n, dtype=torch.float64) for n in (4, 3, 2)])
    assert isinstance(error_of(ours, flat), type(error_of(theirs, flat)))


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_the_number_and_the_dtype_of_the_states_are_checked(path):
    theirs, ours = make("lstm", path=path)
    x, h, c = randoms(X, STATE, STATE)
    # torch raises an IndexError here by accident of taking hx[1].
    with pytest.raises(ShapeError, match=r"LSTM: expected 2 initial state\(s\) \(h, c\), got 1"):
        ours(x, h)
    assert isinstance(error_of(ours, x, (h.float(), c)), type(error_of(theirs, x, (h.float(), c))))
    assert_same([ours(x, [h, c])[0]], [theirs(x, [h, c])[0]])  # a list does as well


def test_nothing_else_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            results(make(kind, num_layers=2, dropout=0.5)[1])
