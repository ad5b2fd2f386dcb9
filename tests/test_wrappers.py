"""``Bidirectional``, ``Stack`` and ``final_output``, over our layers, torch's and a user's."""

import copy
import pickle

import pytest
import torch
from shared import each_cell, randoms, recurrent, tuple_of
from tolerances import EXACT
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import gatework as gw
from gatework.errors import LayerError, ShapeError

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 2, 4
LENGTHS = [3, 5, 1]
DOUBLE = {"dtype": torch.float64}
travels = pytest.mark.parametrize(
    "travel", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"]
)


def batch(features=FEATURES, **options):
    return randoms((STEPS, BATCH, features), **options)[0]


def flat(states):
    """Nested states as a list of tensors."""
    return [states] if isinstance(states, torch.Tensor) else [t for s in states for t in flat(s)]


def same(got, expected):
    for a, b in zip(flat(got), flat(expected), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def check_same(got, expected, leaves):
    same(got, expected)
    same(*(torch.autograd.grad(loss(flat(t)), leaves, retain_graph=True) for t in (got, expected)))


def loss(tensors):
    return sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in tensors)


class Smooth(nn.Module):
    """A user's own layer: a running mean with a learned rate, without lengths."""

    def __init__(self, size, batch_first=False):
        super().__init__()
        self.rate = nn.Parameter(torch.empty(size, **DOUBLE))
        self.batch_first = batch_first
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.uniform_(self.rate, 0.1, 0.9)

    def forward(self, x, h=None):
        steps = x.unbind(1 if self.batch_first else 0)
        h, outputs = torch.zeros_like(steps[0]) if h is None else h, []
        for step in steps:
            h = h + self.rate * (step - h)
            outputs.append(h)
        return torch.stack(outputs, 1 if self.batch_first else 0), h


class Listens(Smooth):
    """The same with lengths, which does not care for its padding."""

    def forward(self, x, h=None, lengths=None):
        outputs, _ = super().forward(x, h)
        rows = torch.arange(len(lengths)) if lengths is not None else slice(None)
        return outputs, outputs[-1 if lengths is None else lengths - 1, rows]


# Bidirectional.


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


# Stack.


def by_hand(layers, x, lengths, around, states=None):
    """The stack's layers one by one; ``around(number, x, output)`` makes the layer's output."""
    lasts = []
    for number, layer in enumerate(layers):
        hx = None if states is None else states[number]
        output, last = layer(x, hx, lengths=lengths)
        x = around(number, x, output)
        lasts.append(last)
    return x, tuple(lasts)


def mixed(**options):
    """Different cells and directions, all of the width of the input."""
    torch.manual_seed(0)
    layers = [
        gw.Recurrent("peephole_lstm", 4, 4),
        gw.GRU(4, 2, bidirectional=True),
        gw.Bidirectional("mgu", 4, 4, merge="mean"),
    ]
    return gw.Stack(layers, **options).double()


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


# The final output.


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_final_output_is_the_last_and_the_first_step(cell, bidirectional):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=bidirectional)
    x = batch()
    output, states = layer(x, lengths=LENGTHS)
    size = layer.output_size // (1 + bidirectional)
    ends = [output[n - 1, row] for row, n in enumerate(LENGTHS)]
    expected = torch.stack(
        [torch.cat([e[:size], output[0, row, size:]]) for row, e in enumerate(ends)]
    )
    check_same(gw.final_output(layer, states), expected, [x])
    same(gw.Pool.after(layer, "last")(output, LENGTHS), expected)
    _, last = layer(x[:, 1])
    same(gw.final_output(layer, last), expected[1])


def test_what_are_no_states_is_refused():
    layer = gw.LSTM(2, 4, 2, bidirectional=True)
    output, states = layer(torch.randn(5, 3, 2))
    for wrong in (output, (output, states), states[0][:2], states[0][..., :3]):
        with pytest.raises(ShapeError, match="These are no states of LSTM: expected \\(4, B, 4"):
            gw.final_output(layer, wrong)
    with pytest.raises(LayerError, match=r"\(layer, states\), got Tensor"):
        gw.final_output(output, states)
    with pytest.raises(LayerError, match="Smooth has no num_layers"):
        gw.final_output(Smooth(2), states)
    stack = mixed(residual=True)
    with pytest.raises(LayerError, match="goes around the last layer"):
        gw.final_output(stack, stack(batch(4))[1])
    for made in (gw.GRU(4, 4, residual=True), gw.Recurrent("mgu", 4, 4, residual=True)):
        with pytest.raises(LayerError, match="goes around the last layer"):
            gw.final_output(made, made(batch(4).float())[1])
    with pytest.raises(ShapeError, match="are a pair"):
        gw.final_output(stack.layers[2], output)
    with pytest.raises(ShapeError, match="as many entries"):
        gw.final_output(mixed(), states)


# Their life.


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
