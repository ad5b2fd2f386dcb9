"""LSTMCell, GRUCell and RNNCell against torch.nn."""

import copy
import pickle

import pytest
import torch
from shared import randoms, tuple_of
from tolerances import EXACT
from torch import nn

import gatework as gw
from gatework.errors import CellError, ShapeError

BATCH, FEATURES, HIDDEN = 3, 5, 4
KINDS = {
    "lstm": (nn.LSTMCell, gw.LSTMCell, {}, 2),
    "gru": (nn.GRUCell, gw.GRUCell, {}, 1),
    "rnn_tanh": (nn.RNNCell, gw.RNNCell, {}, 1),
    "rnn_relu": (nn.RNNCell, gw.RNNCell, {"nonlinearity": "relu"}, 1),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    theirs, ours, extra, _ = KINDS[kind]
    pair = []
    for made in (theirs, ours):
        torch.manual_seed(0)
        pair.append(made(FEATURES, HIDDEN, dtype=torch.float64, **extra, **options))
    return pair


def results(cell, count, batch, with_states):
    states = [(*batch, HIDDEN)] * count if with_states else []
    leaves = randoms((*batch, FEATURES), *states)
    x, *hx = leaves
    given = None if not hx else hx[0] if count == 1 else tuple(hx)
    computed = tuple_of(cell(x, given))
    loss = torch.cat(computed).square().sum()
    return [*computed, *torch.autograd.grad(loss, [*leaves, *cell.parameters()])]


@each_kind
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("batch", [(), (1,), (BATCH,)], ids=str)
@pytest.mark.parametrize("with_states", [False, True], ids=["zero", "given"])
def test_a_step_and_its_gradients_are_torch_s(kind, bias, batch, with_states):
    count = KINDS[kind][-1]
    expected, got = (results(c, count, batch, with_states) for c in make(kind, bias=bias))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@each_kind
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_parameters_repr_and_copies_are_torch_s(kind, bias):
    theirs, ours = make(kind, bias=bias)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, type(theirs))
    for copied in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert list(copied.state_dict()) == list(theirs.state_dict())
        for a, b in zip(copied.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    theirs.load_state_dict(ours.state_dict(), strict=True)


X, STATE = (BATCH, FEATURES), (BATCH, HIDDEN)
CALLS = {
    "three axes": ("lstm", (2, *X), None),
    "features": ("gru", (BATCH, FEATURES + 1), None),
    "no axis": ("rnn_tanh", (), None),
    "state batch": ("gru", X, [(BATCH + 1, HIDDEN)]),
    "state width": ("rnn_relu", X, [(BATCH, HIDDEN + 1)]),
    "state of three axes": ("gru", X, [(1, *STATE)]),
    "cell width": ("lstm", X, [STATE, (BATCH, HIDDEN + 1)]),
    "state with batch": ("gru", (FEATURES,), [STATE]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_raises_as_torch_does(name):
    kind, shape, states = CALLS[name]
    theirs, ours = make(kind)
    x, *hx = randoms(shape, *(states or ()))
    given = None if not hx else hx[0] if len(hx) == 1 else tuple(hx)
    with pytest.raises((RuntimeError, ValueError)) as expected:
        theirs(x, given)
    with pytest.raises(type(expected.value), match=f"^{type(ours).__name__}: .*shape") as got:
        ours(x, given)
    assert isinstance(got.value, ShapeError)


def test_a_wrong_nonlinearity_is_refused_where_it_is_written():
    # torch accepts it and fails in the first step, with a RuntimeError.
    with pytest.raises(ValueError, match="Unknown nonlinearity 'sin'"):
        gw.RNNCell(3, 4, nonlinearity="sin")


def test_forget_bias_is_in_the_sum_of_the_two_biases():
    cell = gw.LSTMCell(FEATURES, HIDDEN, forget_bias=1.5)
    forget = slice(HIDDEN, 2 * HIDDEN)  # torch's order is i, f, g, o
    total = cell.bias_ih + cell.bias_hh
    assert torch.equal(total[forget], torch.full((HIDDEN,), 1.5))
    assert 1.5 not in torch.cat([total[:HIDDEN], total[2 * HIDDEN :]])
    assert "forget_bias=1.5" in repr(cell)
    with pytest.raises(CellError, match="use bias=True"):
        gw.LSTMCell(FEATURES, HIDDEN, bias=False, forget_bias=1.0)
