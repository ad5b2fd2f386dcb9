"""``Bidirectional``, over our layers, torch's and a user's."""

import pytest
import torch
from shared import each_cell, randoms, recurrent, tuple_of
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from wrapped import (
    BATCH,
    DOUBLE,
    FEATURES,
    HIDDEN,
    LENGTHS,
    STEPS,
    Listens,
    Smooth,
    batch,
    check_same,
    flat,
    same,
)

import gatework as gw
from gatework.errors import LayerError, ShapeError


@each_cell
def test_a_pair_of_layers_is_the_two_directions_of_one(cell):
    one = recurrent(cell, FEATURES, HIDDEN, bidirectional=True)
    layer = recurrent(cell, FEATURES, HIDDEN, seed=1)
    both = gw.Bidirectional(layer, backward=recurrent(cell, FEATURES, HIDDEN, seed=2))
    weights = {f"forward_layer.{n}": p for n, p in one.named_parameters() if "reverse" not in n}
    weights |= {
        f"backward_layer.{n.removesuffix('_reverse')}": p
        for n, p in one.named_parameters()
        if "reverse" in n
    }
    both = both.double()
    x = batch()
    first = randoms(*(s.shape for s in tuple_of(one(x)[1])), seed=4)
    given = [tuple(s[d : d + 1] for s in first) for d in (0, 1)]
    given = [g if len(g) > 1 else g[0] for g in given]

    def run(module, hx):
        return torch.func.functional_call(both, weights, (x, tuple(given), LENGTHS))

    output, states = run(both, given)
    finals = [torch.cat(pair) for pair in zip(*map(tuple_of, states), strict=True)]
    expected = one(x, first if len(first) > 1 else first[0], lengths=LENGTHS)
    leaves = [x, *first, *one.parameters()]
    check_same((output, finals), (expected[0], list(tuple_of(expected[1]))), leaves)


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", None])
def test_merge_is_what_it_says(merge):
    both = gw.Bidirectional("gru", FEATURES, HIDDEN, merge=merge, batch_first=True).double()
    x, rows = batch().transpose(0, 1), torch.arange(BATCH)
    output, (h_f, h_b) = both(x, lengths=LENGTHS)
    forward = both.forward_layer(x, lengths=LENGTHS)[0]
    backward = torch.zeros_like(forward)
    for row, length in enumerate(LENGTHS):
        turned = both.backward_layer(x[row : row + 1, :length].flip(1))[0]
        backward[row, :length] = turned[0].flip(0)
    merged = {
        "concat": torch.cat([forward, backward], -1),
        "sum": forward + backward,
        "mean": 0.5 * forward + 0.5 * backward,
        None: (forward, backward),
    }
    check_same(output, merged[merge], [x, *both.parameters()])
    same([h_f[0], h_b[0]], [forward[rows, [n - 1 for n in LENGTHS]], backward[:, 0]])
    assert both.output_size == (2 if merge == "concat" else 1) * HIDDEN
    if merge == "concat":
        final = torch.cat([h_f[0], h_b[0]], -1)
    else:
        final = {"sum": h_f[0] + h_b[0], "mean": (h_f[0] + h_b[0]) / 2}.get(merge, (h_f[0], h_b[0]))
    same(gw.final_output(both, (h_f, h_b)), final)


def test_the_second_direction_has_weights_of_its_own():
    torch.manual_seed(0)
    stack = gw.Stack([gw.GRU(4, 4), gw.LSTM(4, 4)], highway=True)
    for layer in (gw.LSTM(2, 4), stack):
        both = gw.Bidirectional(layer)
        assert both.forward_layer is layer
        for one, other in zip(layer.parameters(), both.backward_layer.parameters(), strict=True):
            assert one.shape == other.shape
            assert not torch.equal(one, other) or (one == -1).all()
    assert all((g.bias == -1).all() for g in both.backward_layer.gates)


def test_a_user_s_layer_runs_in_both_directions():
    for batch_first in (False, True):
        layer = gw.Bidirectional(Smooth(FEATURES, batch_first), merge="sum")
        x = batch()
        given = x.transpose(0, 1) if batch_first else x
        output, (h_f, h_b) = layer(given, lengths=[STEPS] * BATCH)
        one, last = Smooth.forward(layer.forward_layer, given)
        axis = 1 if batch_first else 0
        other, first = Smooth.forward(layer.backward_layer, given.flip(axis))
        check_same((output, h_f, h_b), (one + other.flip(axis), last, first), [x])
    with pytest.raises(LayerError, match=r"Smooth.forward has no argument `lengths`.*T=5.*\[3, 5"):
        layer(batch().transpose(0, 1), lengths=LENGTHS)


@pytest.mark.parametrize("wrap", [gw.Bidirectional, lambda m: gw.Stack([m], residual=True)])
def test_the_padding_of_a_user_s_layer_becomes_zero(wrap):
    layer, x = wrap(Listens(FEATURES)), batch(requires_grad=False)
    for row, length in enumerate(LENGTHS):
        x[length:, row] = torch.nan
    output, _ = layer(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert not output[length:, row].any()
        same(output[:length, row], layer(x[:length, row : row + 1])[0][:, 0])


def test_torch_s_own_layer_runs_in_both_directions():
    theirs = nn.LSTM(FEATURES, HIDDEN, bidirectional=True, **DOUBLE)
    both = gw.Bidirectional(nn.LSTM(FEATURES, HIDDEN, **DOUBLE))
    for name, parameter in theirs.named_parameters():
        side = both.backward_layer if name.endswith("_reverse") else both.forward_layer
        side.get_parameter(name.removesuffix("_reverse")).data.copy_(parameter.data)
    x = batch()
    output, states = theirs(x)
    got, pair = both(x)
    check_same(got, output, [x])
    same([torch.cat(p) for p in zip(*pair, strict=True)], list(states))
    same(gw.final_output(both, pair), gw.final_output(theirs, states))


def test_one_sequence_alone_is_a_batch_of_one():
    for layer in (
        gw.Bidirectional("lstm", FEATURES, HIDDEN).double(),
        gw.Stack([recurrent("gru", FEATURES, FEATURES)], highway=True).double(),
    ):
        x = batch(requires_grad=False)[:, 0]
        output, states = layer(x)
        expected, batched = layer(x.unsqueeze(1))
        same([output, *flat(states)], [expected[:, 0], *(s[:, 0] for s in flat(batched))])


def test_bidirectional_images_are_the_layer_s_own_directions():
    torch.manual_seed(0)
    make = {"kernel_size": 3, "dims": 1, **DOUBLE}
    one = gw.ConvRecurrent("lstm", FEATURES, HIDDEN, bidirectional=True, **make)
    both = gw.Bidirectional(gw.ConvRecurrent("lstm", FEATURES, HIDDEN, **make))
    for name, parameter in one.named_parameters():
        side = both.backward_layer if name.endswith("_reverse") else both.forward_layer
        side.get_parameter(name.removesuffix("_reverse")).data.copy_(parameter.data)
    x = randoms((STEPS, BATCH, FEATURES, 3))[0]
    output, states = one(x, lengths=LENGTHS)
    got, pair = both(x, lengths=LENGTHS)
    check_same(got, output, [x])
    same(gw.final_output(both, pair), gw.final_output(one, states))
    assert gw.final_output(one, states).shape == (BATCH, 2 * HIDDEN, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("gru", 2, 3), {"merge": "max"}, "merge is one of 'concat', 'sum', 'mean', None"),
        (("gru",), {}, "wants input_size and hidden_size"),
        ((gw.GRU(2, 3), 2, 3), {}, "has its sizes"),
        ((gw.GRU(2, 3), None, None), {"batch_first": True}, "has its sizes"),
        ((gw.GRU(2, 3, bidirectional=True),), {}, "both directions already"),
        ((gw.GRU(2, 3),), {"backward": gw.GRU(2, 3, batch_first=True)}, "differ in"),
        ((nn.MultiheadAttention(4, 2),), {}, "MultiheadAttention has parameters and no reset"),
    ],
)
def test_what_cannot_run_in_both_directions_is_refused(arguments, options, says):
    with pytest.raises(LayerError, match=says):
        gw.Bidirectional(*arguments, **options)


def test_wrong_calls_are_refused():
    both = gw.Bidirectional("gru", FEATURES, HIDDEN)
    x = batch(requires_grad=False).float()
    for arguments, says in [
        ((pack_sequence([x[:, 0]]),), "takes a tensor, and lengths="),
        ((x[0, 0],), "a batch is"),
        ((x, None, [1, 2]), "one for each of the 3"),
        ((x, (None, None, None)), "a pair"),
    ]:
        with pytest.raises(ShapeError, match=says):
            both(*arguments)
    both.merge, both.backward_layer = "sum", gw.GRU(FEATURES, HIDDEN + 1)
    with pytest.raises(ShapeError, match="outputs of one shape"):
        both(x)
