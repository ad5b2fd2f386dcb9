"""``Stack``, over our layers, torch's and a user's."""

import copy
import pickle

import pytest
import torch
from shared import randoms, tuple_of
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from wrapped import (
    BATCH,
    DOUBLE,
    FEATURES,
    HIDDEN,
    LENGTHS,
    STEPS,
    Smooth,
    batch,
    check_same,
    mixed,
    same,
)

import gatework as gw
from gatework.errors import LayerError, ShapeError

travels = pytest.mark.parametrize(
    "travel", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"]
)


def by_hand(layers, x, lengths, around, states=None):
    """The stack's layers one by one; ``around(number, x, output)`` makes the layer's output."""
    lasts = []
    for number, layer in enumerate(layers):
        hx = None if states is None else states[number]
        output, last = layer(x, hx, lengths=lengths)
        x = around(number, x, output)
        lasts.append(last)
    return x, tuple(lasts)


def mask():
    return (torch.arange(STEPS).unsqueeze(1) < torch.tensor(LENGTHS)).unsqueeze(-1)


def test_a_stack_is_its_layers_one_by_one():
    stack, x = mixed(), batch(4)
    states = stack(x.detach() * 0.3)[1]
    check_same(
        stack(x, states, lengths=LENGTHS),
        by_hand(stack.layers, x, LENGTHS, lambda n, x, output: output, states),
        [x, *stack.parameters()],
    )
    same(gw.final_output(stack, states), gw.final_output(stack.layers[2], states[2]))
    assert stack.output_size == 4


def test_residual_adds_the_input():
    stack, x = mixed(residual=[True, False, True]), batch(4)
    expected = by_hand(
        stack.layers, x, LENGTHS, lambda n, x, output: output if n == 1 else x * mask() + output
    )
    check_same(stack(x, lengths=LENGTHS), expected, [x, *stack.parameters()])


def test_highway_is_the_paper_s():
    stack, x = mixed(highway=True), batch(4)
    assert all((gate.bias == -1).all() for gate in stack.gates)

    def around(number, x, output):
        gate = stack.gates[number]
        t = 1 / (1 + torch.exp(-(x @ gate.weight.T + gate.bias)))
        return (t * output + (1 - t) * x) * mask()

    expected = by_hand(stack.layers, x, LENGTHS, around)
    check_same(stack(x, lengths=LENGTHS), expected, [x, *stack.parameters()])


def test_equal_layers_are_torch_s_stack_with_its_dropout():
    theirs = nn.GRU(FEATURES, HIDDEN, 2, dropout=0.4, **DOUBLE)
    ours = gw.Stack(
        [gw.GRU(FEATURES, HIDDEN, **DOUBLE), gw.GRU(HIDDEN, HIDDEN, **DOUBLE)], dropout=0.4
    )
    for name, parameter in theirs.named_parameters():
        layer = ours.layers[int(name[-1])]
        layer.get_parameter(f"{name[:-1]}0").data.copy_(parameter.data)
    x = batch()
    results = []
    for layer in (ours, theirs):
        torch.manual_seed(7)
        output, states = layer(x)
        results.append((output, torch.cat(tuple_of(states))))
    check_same(*results, [x])
    assert not torch.allclose(ours(x)[0], results[0][0])
    same(ours.eval()(x)[0], theirs.eval()(x)[0])


def test_torch_s_packing_is_lengths():
    theirs = nn.LSTM(FEATURES, HIDDEN, 2, bidirectional=True, batch_first=True, **DOUBLE)
    ours = gw.LSTM(FEATURES, HIDDEN, 2, bidirectional=True, batch_first=True, **DOUBLE)
    ours.load_state_dict(theirs.state_dict())
    x, lengths = batch().transpose(0, 1), torch.tensor(LENGTHS)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, states = theirs(packed)
    output, finals = gw.Stack([ours])(x, lengths=lengths)
    same(output, pad_packed_sequence(expected, batch_first=True)[0])
    same(gw.final_output(ours, finals[0]), gw.final_output(theirs, states))


def test_the_input_around_images_is_added():
    layer = gw.ConvRecurrent("gru", FEATURES, FEATURES, 3, **DOUBLE)
    x = randoms((STEPS, BATCH, FEATURES, 2, 3))[0]
    check_same(gw.Stack([layer], residual=True)(x)[0], layer(x)[0] + x, [x])
    with pytest.raises(LayerError, match="features on the last axis"):
        gw.Stack([layer], highway=True)


@pytest.mark.parametrize(
    ("layers", "options", "says"),
    [
        ([], {}, "at least one"),
        ([gw.GRU(2, 3), gw.GRU(4, 3)], {}, "layer 0, a GRU, gives 3 .* layer 1, a GRU, takes 4"),
        ([gw.GRU(2, 3), gw.GRU(3, 3, batch_first=True)], {}, "batch_first is False in layer 0"),
        ([gw.GRU(2, 3)], {"residual": True}, r"has 2 .* output 3.*residual=\[False\]"),
        ([gw.GRU(2, 3)], {"highway": True}, "highway of layer 0"),
        ([gw.GRU(3, 3)], {"highway": True, "residual": True}, "not both"),
        ([gw.GRU(3, 3)], {"residual": [True, True]}, "one for each of 1"),
        ([gw.GRU(3, 3)], {"residual": 1}, "one for each of 1 layers; got 1"),
        ([gw.GRU(3, 3)], {"highway": "no"}, "one for each of 1 layers; got 'no'"),
        (None, {}, "list of layers.*got NoneType"),
        (["lstm"], {}, "list of layers.*got str"),
        ([Smooth(3)], {"highway": True}, "attribute input_size"),
        ([gw.Bidirectional("gru", 2, 3, merge=None), gw.GRU(3, 3)], {}, "pair of outputs"),
        ([gw.GRU(2, 3)], {"dropout": -1}, "dropout is a probability"),
    ],
)
def test_what_does_not_stack_is_refused(layers, options, says):
    with pytest.raises((LayerError, ShapeError), match=f"(?i){says}"):
        gw.Stack(layers, **options)


def test_wrong_calls_of_a_stack_are_refused():
    x = batch(requires_grad=False)
    with pytest.raises(ShapeError, match="one entry for each of 1 layers, got 2"):
        gw.Stack([Smooth(FEATURES)])(x, (None, None))
    with pytest.raises(LayerError, match=r"Linear is to return \(output, states\).* got Tensor"):
        gw.Stack([nn.Linear(FEATURES, 2, **DOUBLE)])(x)
    around = gw.Stack([nn.GRU(FEATURES, 3, **DOUBLE), Smooth(FEATURES)], residual=[False, True])
    around.layers[1].forward = lambda x: (x[..., :1], None)
    with pytest.raises(ShapeError, match="cannot go around it"):
        around(x)


@travels
@pytest.mark.parametrize("options", [{"residual": True}, {"highway": True, "dropout": 0.5}])
def test_a_copy_is_the_same_stack(travel, options):
    stack, x = mixed(**options), batch(4)
    other = travel(stack)
    assert repr(other) == repr(stack)
    fresh = mixed(**options)
    for p in fresh.parameters():
        p.data.mul_(2)
    fresh.load_state_dict(stack.state_dict(), strict=True)
    results = []
    for one in (stack, other, fresh):
        torch.manual_seed(3)
        results.append(one(x))
    same(results[1], results[0])
    same(results[2], results[0])
    single = copy.deepcopy(stack).float().eval()(x.float())[0]
    torch.testing.assert_close(single.double(), stack.eval()(x)[0], rtol=1e-5, atol=1e-6)


def test_gradcheck():
    stack = gw.Stack([gw.Bidirectional("gru", 2, 2, merge="sum")], highway=True).double()
    x = randoms((2, 2, 2))[0]
    assert torch.autograd.gradcheck(lambda v: stack(v, lengths=[2, 1])[0], [x])
