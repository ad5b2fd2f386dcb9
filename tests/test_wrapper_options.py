"""Masks, resets, what comes beside the input and all steps' values, through every wrapper."""

import inspect
from itertools import combinations

import pytest
import torch
from shared import beside_of, layer_of, randoms, tuple_of
from torch import nn
from wrapped import BATCH, DOUBLE, FEATURES, LENGTHS, STEPS, Listens, check_same, flat, same

import gatework as gw
from gatework.errors import CellError, LayerError, ShapeError

HIDDEN = 11  # units that do not fit into one vector
# Two states, one, times beside, a matrix.
CELLS = {"lstm": "auto", "gru": "reference", "phased_lstm": "reference", "mlstm": "reference"}
each_cell = pytest.mark.parametrize("cell", CELLS)
PADDED = torch.arange(STEPS).unsqueeze(1) < torch.tensor(LENGTHS)
LEFT = PADDED.flip(0)  # padding before each sequence
HOLES = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]).bool()
SEEN = {"lengths": {"lengths": LENGTHS}, "padded": {"mask": PADDED}, "left": {"mask": LEFT}}
SEEN |= {"holes": {"mask": HOLES}, "all": {}}
each_seen = pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
RESETS = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]]).bool()


def made(cell, bidirectional=False, **options):
    torch.manual_seed(1)
    options |= {"bidirectional": bidirectional, "path": CELLS[cell]}
    layer = gw.Recurrent(cell, FEATURES, HIDDEN, **DOUBLE, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.8, 0.8)
    return layer


def pair_of(one, **options):
    """A Bidirectional with the weights of a layer that runs in both directions."""
    layers = [made(one.cell, batch_first=one.batch_first) for _ in range(2)]
    for name, parameter in one.named_parameters():
        side = layers[name.endswith("_reverse")]
        side.get_parameter(name.removesuffix("_reverse")).data.copy_(parameter.data)
    return gw.Bidirectional(layers[0], backward=layers[1], **options)


def split(states):
    """States of both directions as the pair that a Bidirectional has."""
    pair = [tuple(s[d : d + 1] for s in tuple_of(states)) for d in (0, 1)]
    return tuple(p if len(p) > 1 else p[0] for p in pair)


def together(pair):
    return [torch.cat(s) for s in zip(*map(tuple_of, pair), strict=True)]


def like(states, seed):
    # Positive, since the normaliser of an exponential gate is.
    found = tuple(s.abs().detach().requires_grad_() for s in randoms(*states, seed=seed))
    return found if len(found) > 1 else found[0]


@each_cell
@each_seen
@pytest.mark.parametrize("batch_first", [False, True], ids=["time", "batch"])
def test_both_directions_are_those_of_one_layer_with_all_arguments(cell, seen, batch_first):
    one = made(cell, bidirectional=True, batch_first=batch_first)
    both = pair_of(one)
    x = randoms((STEPS, BATCH, FEATURES))[0]
    given = x.transpose(0, 1) if batch_first else x

    def turned(v):
        return v.t() if batch_first and isinstance(v, torch.Tensor) else v

    options = {name: turned(v) for name, v in seen.items()} | {"resets": turned(RESETS)}
    options |= {"beside": beside_of(cell, given)} if cell == "phased_lstm" else {}
    shapes = [s.shape for s in tuple_of(one.state(batch=BATCH))]
    hx, origins = like(shapes, 4), like(shapes, 5)
    parameters = [*both.forward_layer.parameters(), *both.backward_layer.parameters()]
    theirs = [p for n, p in one.named_parameters() if "reverse" not in n]
    theirs += [p for n, p in one.named_parameters() if "reverse" in n]
    for reset_to in (None, origins):
        expected, finals, wanted = one(given, hx, reset_to=reset_to, return_states=True, **options)
        output, states, got = both(
            given,
            split(hx),
            reset_to=None if reset_to is None else split(reset_to),
            return_states=True,
            **options,
        )
        results = []
        for values, weights in (
            ([output, together(states), list(got.named().values())], parameters),
            ([expected, list(tuple_of(finals)), list(wanted.named().values())], theirs),
        ):
            leaves = [x, *tuple_of(hx), *weights]
            loss = sum((v * v.detach().cos() + 0.3 * v * v).sum() for v in flat(values))
            results.append(
                [*flat(values), *torch.autograd.grad(loss, leaves, materialize_grads=True)]
            )
        same(*results)
        assert [*got.named()] == [*wanted.named()]
    recorded, truth = (gw.record(m, given, **options).named() for m in (both, one))
    assert [*recorded] == [*truth]
    same([*recorded.values()], [*truth.values()])


def test_padding_on_the_left_is_no_other_sequence():
    layer = made("lstm", bidirectional=True)
    x = randoms((STEPS, BATCH, FEATURES), requires_grad=False)[0]
    resets = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    resets[STEPS - torch.tensor(LENGTHS), range(BATCH)] = True  # where each sequence begins
    output, states = layer(x, mask=LEFT, resets=resets)
    for row, length in enumerate(LENGTHS):
        alone, finals = layer(x[STEPS - length :, row])
        same([output[STEPS - length :, row]], [alone])
        same([s[:, row] for s in states], list(finals))


@each_seen
def test_a_stack_and_a_ladder_hand_on_what_they_are_given(seen):
    torch.manual_seed(2)
    layers = [
        layer_of("phased_lstm", FEATURES, 4, **DOUBLE),
        gw.Bidirectional(gw.GRU(4, 2, 2, **DOUBLE)),
        gw.LSTM(4, 3, bidirectional=True, **DOUBLE),
    ]
    x = randoms((STEPS, BATCH, FEATURES))[0]
    stack, beside = gw.Stack(layers), beside_of("phased_lstm", x)
    options = {**seen, "resets": RESETS}
    states = stack(x, beside=beside)[1]
    output, finals, sequences = stack(
        x, states, reset_to=states, beside=beside, return_states=True, **options
    )
    by_hand, rows, gates = x, [], []
    for layer, hx in zip(layers, states, strict=True):
        own = {**options, "beside": beside} if layer is layers[0] else options
        gates.append(gw.record(layer, by_hand, hx, reset_to=hx, **own))
        by_hand, last, one = layer(by_hand, hx, reset_to=hx, return_states=True, **own)
        rows.append((last, one))
    check_same((output, finals), (by_hand, tuple(last for last, _ in rows)), [x])
    assert [len(row) for row in sequences.layers] == [1, 2, 2, 2]
    recorded = gw.record(stack, x, states, reset_to=states, beside=beside, **options)
    for got, parts in ((sequences, [one for _, one in rows]), (recorded, gates)):
        wanted = [values for part in parts for row in part.layers for values in row]
        assert [*got.named()][:1] == [f"{next(iter(wanted[0].by_name))}_l0"]
        same(
            list(got.named().values()),
            [v for values in wanted for v in values.by_name.values()],
        )
    ladder = gw.LSTM(FEATURES, [6, 3], bidirectional=True, **DOUBLE)
    one, two = ladder.each()
    first = ladder.state(batch=BATCH)
    first = type(first)(*([torch.rand_like(s) for s in part] for part in first))
    output, finals, sequences = ladder(x, first, reset_to=first, return_states=True, **options)
    pairs = list(zip(*first, strict=True))
    below, end, _ = one(x, pairs[0], reset_to=pairs[0], return_states=True, **options)
    above, last, top = two(below, pairs[1], reset_to=pairs[1], return_states=True, **options)
    check_same((output, list(finals)), (above, [[end[0], last[0]], [end[1], last[1]]]), [x])
    same([sequences.at(1, 1)["c"]], [top.at(0, 1)["c"]])
    recorded = gw.record(ladder, x, first, reset_to=first, **options)
    assert recorded["f"].shape[-1] == 6
    assert recorded.named()["f_l1_reverse"].shape[-1] == 3
    same(
        [recorded.named()["f_l1"]],
        [gw.record(two, below, pairs[1], reset_to=pairs[1], **options)["f"]],
    )


def test_one_sequence_alone_has_options_too():
    one = made("mlstm", bidirectional=True)
    both, x = pair_of(one), randoms((STEPS, FEATURES))[0]
    options = {"mask": HOLES[:, 0], "resets": RESETS[:, 0], "return_states": True}
    output, _, got = both(x, **options)
    expected, _, wanted = one(x, **options)
    same([output, *got.named().values()], [expected, *wanted.named().values()])
    assert got["C"].shape == (STEPS, HIDDEN, HIDDEN)


def test_a_recording_tells_what_it_has():
    recording = gw.record(gw.GRU(2, [3, 4]), torch.randn(STEPS, BATCH, 2))
    assert recording.spec.name == "GRU"
    assert [*recording.named()] == [f"{n}_l{layer}" for layer in (0, 1) for n in recording]
    for at in ((2, 0), (0, 1), (-1, 0)):
        with pytest.raises(CellError, match=r"no layer .* has 2 layer\(s\), of 1, 1 direction"):
            recording.at(*at)
    with pytest.raises(CellError, match="GRU has no 'f' at every step; it has"):
        recording["f"]


class Resets(Listens):
    """A user's layer that can be set anew."""

    def forward(self, x, h=None, lengths=None, resets=None):
        rate = self.rate * (1 if resets is None else ~resets.unsqueeze(-1))
        return x * rate, None


def test_a_user_s_layer_gets_what_it_takes():
    x = randoms((STEPS, BATCH, FEATURES))[0]
    layer = Resets(FEATURES)
    same([gw.Stack([layer])(x, resets=RESETS)[0]], [layer(x, resets=RESETS)[0]])
    turned = gw.Bidirectional(Resets(FEATURES), merge=None)(x, resets=RESETS)[0][1]
    assert not turned[:-1][RESETS[1:]].any()
    assert turned[:-1][~RESETS[1:]].all()


X = torch.zeros(STEPS, BATCH, FEATURES)
TIMES = {"t": torch.zeros(STEPS, BATCH)}
STATES = (torch.zeros(1, BATCH, 4),) * 2
WRAPPED = {
    "both": lambda: gw.Bidirectional("gru", FEATURES, 4),
    "stack": lambda: gw.Stack([gw.GRU(FEATURES, 4), gw.GRU(4, 4)]),
    "widths": lambda: gw.GRU(FEATURES, [4, 4]),
}
WRONG = [
    ({"mask": PADDED.t()}, r"mask is a bool tensor with a value for each step, \(5, 3\)"),
    ({"resets": RESETS.float()}, r"resets is a bool tensor .* got torch.float32"),
    ({"resets": "often"}, r"resets is a bool tensor .* got str"),
    ({"mask": PADDED, "lengths": LENGTHS}, "pass one of them"),
    ({"reset_to": STATES}, "pass both"),
    ({"beside": TIMES}, "reads nothing beside the input, got t"),
    ({"reset_to": STATES[:1], "resets": RESETS}, "a pair|one entry|a list of 2"),
]


@pytest.mark.parametrize("wrapper", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_cannot_be_is_refused(wrapper, options, said):
    layer = wrapper()
    for call in (layer, lambda *a, **o: gw.record(layer, *a, **o)):
        with pytest.raises(ShapeError, match=said):
            call(X, **options)


@pytest.mark.parametrize("wrap", [gw.Bidirectional, lambda layer: gw.Stack([layer])])
def test_what_a_layer_does_not_take_is_said(wrap):
    inner = nn.GRU(FEATURES, 3)
    for options in ({"mask": HOLES}, {"resets": RESETS}, {"return_states": True}):
        (name,) = options
        with pytest.raises(LayerError, match=rf"^GRU.forward has no argument `{name}`\. Give"):
            wrap(inner)(X, **options)
    with pytest.raises(CellError, match=r"torch.nn.GRU does not show its gates"):
        gw.record(wrap(inner), X)
    with pytest.raises(CellError, match=r"record takes .* a Bidirectional or a Stack .*Listens"):
        gw.record(wrap(Listens(FEATURES)), X)
    timed = wrap(gw.Recurrent("phased_lstm", FEATURES, 3))
    assert timed.beside == ("t",)
    with pytest.raises(ShapeError, match=r"as t beside the input, got nothing\. Pass beside"):
        timed(X)
    with pytest.raises(ShapeError, match=r"beside\['t'\] has a real number .* \(5, 3\)"):
        timed(X, beside={"t": TIMES["t"].t()})
    assert timed(X, beside=TIMES)[0].shape[:2] == (STEPS, BATCH)


def test_directions_of_different_depth_are_recorded_alone():
    both = gw.Bidirectional(gw.GRU(2, 3), backward=gw.GRU(2, 3, 2))
    assert both(X)[0].shape[-1] == 6
    with pytest.raises(ShapeError, match=r"has 1 layer\(s\) and the backward one 2"):
        gw.record(both, X)


def test_widths_have_the_signature_and_the_weights_of_a_stack():
    layer = gw.Recurrent("gru", FEATURES, [4, 3], bidirectional=True, bias=False)
    assert inspect.signature(type(layer)) == inspect.signature(gw.Recurrent)
    assert layer.groups(1, 1)["W"] is layer.layers[1].W_l0_reverse
    assert layer.group_shapes(1)["W"] == (9, 8)
    assert {id(t) for t in layer.tensors()} == {id(p) for p in layer.parameters()}
    assert layer.stored(0, 0)["U"] is layer.layers[0].U_l0
    for one, other in combinations((layer, gw.Recurrent("gru", FEATURES, [4], 1, False)), 2):
        assert repr(one) != repr(other)
    with pytest.raises(TypeError, match="unexpected keyword argument 'heights'"):
        gw.Recurrent("gru", FEATURES, [4, 3], heights=2)
    with pytest.raises(TypeError, match="missing a required argument"):
        type(layer)("gru", FEATURES)


def test_a_whole_graph_has_all_arguments():
    torch._dynamo.reset()
    layer, x = gw.Stack([gw.Bidirectional("gru", FEATURES, 4)]), torch.randn(STEPS, BATCH, FEATURES)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    options = {"mask": HOLES, "resets": RESETS}
    torch.testing.assert_close(compiled(x, **options)[0], layer(x, **options)[0])
