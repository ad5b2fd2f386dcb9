"""A width for each layer, against a chain of layers of torch.nn."""

import copy
import pickle

import pytest
import torch
from shared import randoms, tuple_of
from tolerances import EXACT
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatework as gw
from gatework.errors import PathError, ShapeError

T, B, F = 5, 3, 4
WIDTHS = [6, 3]
KINDS = {"LSTM": 2, "GRU": 1, "RNN": 1}
each_kind = pytest.mark.parametrize("kind", KINDS)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])


def chain(kind, bidirectional=False, **options):
    """A stack of ours and torch's layers one by one, with the same weights."""
    torch.manual_seed(0)
    layer = getattr(gw, kind)(
        F, WIDTHS, bidirectional=bidirectional, dtype=torch.float64, **options
    )
    directions, features, truth = 1 + bidirectional, F, []
    for position, width in enumerate(WIDTHS):
        one = getattr(nn, kind)(
            features, width, bidirectional=bidirectional, dtype=torch.float64, **options
        )
        features = directions * width
        for direction in range(directions):
            tail = "_l0_reverse" if direction else "_l0"
            ours = layer.layers[position]
            with torch.no_grad():
                pairs = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b"}
                for theirs, name in pairs.items():
                    getattr(one, theirs + tail).copy_(getattr(ours, name + tail))
                second = getattr(one, f"bias_hh{tail}").zero_()
                if kind == "GRU":
                    second[-width:] = getattr(ours, f"d{tail}")
        truth.append(one)
    return layer, truth


def states(kind, directions=1, seed=3):
    """Initial states as lists, and for each of torch's layers."""
    shapes = [(directions, B, width) for width in WIDTHS]
    lists = [randoms(*shapes, seed=seed + s) for s in range(KINDS[kind])]
    rows = [row[0] if len(row) == 1 else row for row in zip(*lists, strict=True)]
    return (lists[0] if len(lists) == 1 else tuple(lists)), rows


@each_kind
@both
@pytest.mark.parametrize("path", ["auto", "native", "reference"])
def test_values_states_and_gradients_are_those_of_the_chain(kind, bidirectional, path):
    layer, truth = chain(kind, bidirectional)
    layer.path = path
    hx, rows = states(kind, 1 + bidirectional)
    (x,) = randoms((T, B, F))
    flat = [s for part in (hx if KINDS[kind] > 1 else [hx]) for s in part]
    output, finals = layer(x, hx)
    expected, last = x, []
    for one, row in zip(truth, rows, strict=True):
        expected, final = one(expected, row)
        last.append(tuple_of(final))
    torch.testing.assert_close(output, expected, **EXACT)
    for state, found in enumerate([finals] if KINDS[kind] == 1 else finals):
        assert isinstance(found, list)
        for one, row in zip(found, last, strict=True):
            torch.testing.assert_close(one, row[state], **EXACT)
    loss = [o.square().sum() + sum(s.sum() for s in ends) for o, ends in (
        (output, [s for part in ([finals] if KINDS[kind] == 1 else finals) for s in part]),
        (expected, [s for row in last for s in row]),
    )]  # fmt: skip
    weights = [one.get_parameter("W_l0") for one in layer.layers]
    theirs = [one.weight_ih_l0 for one in truth]
    ours = torch.autograd.grad(loss[0], [x, *flat, *weights])
    others = torch.autograd.grad(loss[1], [x, *flat, *theirs])
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@each_kind
@both
def test_lengths_and_packed_sequences(kind, bidirectional):
    layer, truth = chain(kind, bidirectional)
    (x,) = randoms((T, B, F))
    lengths = [2, 5, 3]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    expected = packed
    for one in truth:
        expected, last = one(expected)
    output, finals = layer(x, lengths=lengths)
    torch.testing.assert_close(output, pad_packed_sequence(expected)[0], **EXACT)
    final = finals[-1] if KINDS[kind] == 1 else finals[0][-1]
    torch.testing.assert_close(final, tuple_of(last)[0], **EXACT)
    again, _ = layer(packed)
    torch.testing.assert_close(again.data, expected.data, **EXACT)


@each_kind
def test_batch_first_one_sequence_and_a_stream(kind):
    layer, _ = chain(kind)
    turned, _ = chain(kind, batch_first=True)
    (x,) = randoms((T, B, F), requires_grad=False)
    output, finals = layer(x)
    torch.testing.assert_close(turned(x.transpose(0, 1))[0].transpose(0, 1), output, **EXACT)
    torch.testing.assert_close(layer(x[:, 1])[0], output[:, 1], **EXACT)
    stream = layer.stream(B)
    steps = torch.stack([stream.step(x[at]) for at in range(T)])
    torch.testing.assert_close(steps, output, **EXACT)
    for one, other in zip(torch.utils._pytree.tree_leaves(stream.states),
                          torch.utils._pytree.tree_leaves(finals), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, **EXACT)
    before = stream.states
    after = stream.step(x[0])
    stream.reset()
    torch.testing.assert_close(stream.step(x[0]), output[0], **EXACT)
    stream.states = before
    torch.testing.assert_close(stream.step(x[0]), after, **EXACT)


def test_dropout_lies_between_the_layers_and_in_training_only():
    layer = gw.LSTM(F, WIDTHS, dropout=0.5)
    x = torch.randn(T, B, F)
    packed = pack_padded_sequence(x, torch.tensor([T] * B))
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert not torch.equal(layer(packed)[0].data, layer(packed)[0].data)
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@each_kind
@both
def test_states_by_name_and_the_final_output(kind, bidirectional):
    layer, _ = chain(kind, bidirectional)
    learned = getattr(gw, kind)(
        F, WIDTHS, bidirectional=bidirectional, learned_states=True, dtype=torch.float64
    )
    learned.load_state_dict(layer.state_dict(), strict=False)
    for parameter in learned.parameters():
        parameter.data.uniform_(-1, 1)
    (x,) = randoms((T, B, F), requires_grad=False)
    directions = 1 + bidirectional
    for one in (layer, learned):
        output, states = one(x)
        last = WIDTHS[-1]
        ends = [output[-1, :, :last], output[0, :, last:]]
        torch.testing.assert_close(
            gw.final_output(one, states), torch.cat(ends[:directions], 1), **EXACT
        )
        first = one.state(batch=B)
        assert [s.shape for s in first.h] == [(directions, B, width) for width in WIDTHS]
        torch.testing.assert_close(one(x, first)[0], output, **EXACT)
        after = one.state(states)
        assert after.h is (states if KINDS[kind] == 1 else states.h)
        chosen = after.detach().index([2, 0, 0])
        want = one(x, states)[0][:, [2, 0, 0]]
        torch.testing.assert_close(one(x[:, [2, 0, 0]], chosen)[0], want, **EXACT)


def test_other_cells_and_switches_have_widths_too():
    layer = gw.Recurrent("peephole_lstm", F, WIDTHS, layer_norm=True, bidirectional=True)
    assert isinstance(layer, gw.Recurrent)
    assert layer.output_size == 6
    assert layer.layers[1].W_l0.shape == (4 * 3, 2 * 6)
    assert "layer_norm=True" in repr(layer)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    x = torch.randn(T, B, F)
    assert torch.equal(twin(x)[0], layer(x)[0])
    other = gw.Recurrent("peephole_lstm", F, WIDTHS, layer_norm=True, bidirectional=True)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[0], layer(x)[0])


def test_what_cannot_be_is_refused():
    layer = gw.LSTM(F, WIDTHS)
    x = torch.randn(T, B, F)
    with pytest.raises(ShapeError, match="Leave num_layers out"):
        gw.GRU(F, WIDTHS, num_layers=3)
    with pytest.raises(ShapeError, match="hidden_size is a whole number above zero, got 0"):
        gw.GRU(F, [3, 0])
    with pytest.raises(ShapeError, match="a list of 2 tensors is expected"):
        layer(x, (torch.zeros(2, B, 6), torch.zeros(2, B, 6)))
    with pytest.raises(ShapeError, match=r"Expected hidden\[0\] size \(1, 3, 3\)"):
        layer(x, ([torch.zeros(1, B, 6)] * 2, [torch.zeros(1, B, 6)] * 2))
    with pytest.raises(ShapeError, match="residual=True adds"):
        gw.GRU(6, WIDTHS, residual=True)
    with pytest.raises(ShapeError, match="Take its layers one by one"):
        layer.prepare(x)
    with pytest.raises(PathError):
        gw.Recurrent("mgu", F, WIDTHS, path="vendor")(x)
