"""What a layer over images shares with every other layer: states, steps, wrappers, graphs."""

import pytest
import torch
from images import (
    BATCH,
    CHANNELS,
    DOUBLE,
    HIDDEN,
    LENGTHS,
    MASK,
    RESETS,
    SPACE,
    STEPS,
    TIMES,
    gradients,
    images,
    make,
    same,
)
from shared import each_untimed, randoms, tuple_of
from tolerances import SINGLE
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatework as gw
from gatework.errors import CellError, ConvertError, LayerError, PathError, ShapeError

ONE_STEP = {"rtol": 1e-6, "atol": 1e-6}  # of single steps against all at once, float32


@each_untimed
def test_single_steps_are_the_batch_s(cell):
    layer = make(cell, dims=1, num_layers=2, dtype=torch.float32).eval()
    x, states, outputs = images(4).float(), None, []
    stream, streamed = layer.stream(BATCH), []
    for step in x:
        output, states = layer.step(step, states)
        outputs.append(output)
        streamed.append(stream.step(step))
    expected, finals = layer(x)
    pairs = [(torch.stack(outputs), expected), (torch.stack(streamed), expected)]
    pairs += [*zip(tuple_of(states), tuple_of(finals), strict=True)]
    pairs += [*zip(tuple_of(stream.states), tuple_of(finals), strict=True)]
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted, **ONE_STEP)


def test_steps_may_read_times():
    layer = make("phased_lstm", batch_first=True)
    x, times = images(*SPACE).transpose(0, 1), TIMES["beside"]["t"].T
    expected, states = layer(x, beside={"t": times}), None
    for step in range(STEPS):
        output, states = layer.step(x[:, step], states, {"t": times[:, step]})
        same([output], [expected[0][:, step]])
    same(states, expected[1])


@pytest.mark.parametrize("image_size", [SPACE, (1, 4), None])
def test_learned_states_have_places_where_the_image_has_a_size(image_size):
    layer = make("lstm", image_size=image_size, learned_states=True, bidirectional=True)
    places = image_size or (1, 1)
    assert layer.first_c.shape == (2, HIDDEN, *places)
    assert not layer.first_c.any()
    with torch.no_grad():
        layer.first_h.uniform_(-1, 1), layer.first_c.uniform_(-1, 1)
    x, first = images(*SPACE), layer.state(batch=BATCH)
    assert first.h.shape == (2, BATCH, HIDDEN, *places)
    whole = [s.expand(-1, -1, -1, *SPACE) for s in first]
    expected = layer(x, whole, **RESETS, reset_to=whole)
    for got in (layer(x, **RESETS), layer(x, first, **RESETS, reset_to=first)):
        same([got[0], *got[1]], [expected[0], *expected[1]])
    leaves = [layer.first_h, layer.first_c]
    assert all(g.any() for g in gradients(layer(x, **RESETS)[1], leaves))


def test_pieces_keep_their_states_and_some_rows_begin_anew():
    layer = make("gru", image_size=SPACE, learned_states=True)
    with torch.no_grad():
        layer.first_h.uniform_(-1, 1)
    x = images(*SPACE, steps=4)
    stateful = gw.Stateful(layer)
    same([torch.cat([stateful(piece) for piece in x.split(2)])], [layer(x)[0]])
    stateful.reset([1])
    expected = layer(x[:2], torch.stack([stateful.states[:, 0], layer.first_h], 1))
    same([stateful(x[:2])], [expected[0]])
    stateful.keep([1, 1])
    same([stateful.states], [expected[1][:, [1, 1]]])
    assert layer.state(expected[1]).h is expected[1]


def test_a_state_with_names_goes_elsewhere():
    _, states = make("lstm")(images(*SPACE))
    assert states.to(torch.float32).c.dtype == torch.float32
    assert not states.detach().h.requires_grad
    assert states.index([True, False]).c.equal(states.c[:, :1])


def test_packed_images_are_lengths():
    layer = make("lstm", bidirectional=True)
    x, lengths = images(*SPACE), LENGTHS["lengths"]
    output, states = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    expected, finals = layer(x, lengths=lengths)
    same([pad_packed_sequence(output)[0], *states], [expected, *finals])


def test_wrappers_hand_on_what_they_are_told():
    told = {**MASK, **RESETS, "return_states": True}
    one = make("lstm", bidirectional=True)
    both = gw.Bidirectional(make("lstm"))
    for name, parameter in one.named_parameters():
        side = both.backward_layer if name.endswith("_reverse") else both.forward_layer
        side.get_parameter(name.removesuffix("_reverse")).data.copy_(parameter.data)
    x, first = images(*SPACE), randoms(*[(2, BATCH, HIDDEN, *SPACE)] * 2, seed=2)
    expected, states, wanted = one(x, first, **told)
    output, pair, steps = both(x, ([s[:1] for s in first], [s[1:] for s in first]), **told)
    same(
        [output, *pair[0], *pair[1]],
        [expected, states.h[:1], states.c[:1], *(s[1:] for s in states)],
    )
    same(steps.named().values(), wanted.named().values())
    recorded = [gw.record(layer, x, **MASK, **RESETS).named() for layer in (both, one)]
    same(*(recording.values() for recording in recorded))
    expected = one(x, **MASK, **RESETS)[0]

    above = gw.ConvRecurrent("gru", 2 * HIDDEN, HIDDEN, 1, **DOUBLE)
    output, finals, steps = gw.Stack([one, above])(x, **told)
    same([output, finals[1]], above(expected, **MASK, **RESETS))
    assert steps.at(1)["h"].shape == (STEPS, BATCH, HIDDEN, *SPACE)
    pooled = gw.Pool.after(above, "last")(output)
    same([pooled], [output[-1]])


@pytest.mark.parametrize(
    "options",
    [{"checkpoint": 2}, {"checkpoint": "sqrt", "bidirectional": True, "num_layers": 2}],
)
def test_segments_are_the_whole(options):
    cell = gw.transform.recurrent_dropout(gw.cells.resolve("peephole_lstm"), 0.5, each="sequence")
    layer, x = make(cell, image_size=SPACE, **options), images(*SPACE, steps=5)
    found = []
    for segments in (options["checkpoint"], None):
        layer.checkpoint = segments
        torch.manual_seed(3)
        output, states = layer(x, resets=torch.eye(5, BATCH) > 0)
        found.append([output, *states])
    same(*found)
    same(*(gradients(one, [x, *layer.parameters()]) for one in found))


def test_an_input_goes_around_layers():
    layer = gw.ConvRecurrent("gru", HIDDEN, HIDDEN, 3, num_layers=2, residual=True, **DOUBLE)
    (x,) = randoms((STEPS, BATCH, HIDDEN, *SPACE))
    rows = [gw.ConvRecurrent("gru", HIDDEN, HIDDEN, 3, **DOUBLE) for _ in range(2)]
    for number, row in enumerate(rows):
        for name, parameter in row.named_parameters():
            parameter.data.copy_(getattr(layer, name.replace("_l0", f"_l{number}")))
    below = x + rows[0](x)[0]
    same([layer(x)[0]], [below + rows[1](below)[0]])


def test_recurrent_kernels_are_dropped_in_training_alone():
    layer, x = make("rnn", weight_drop=1.0), images(*SPACE)
    alone, _ = layer(x)
    same([alone[1:]], [torch.stack([layer(x[t : t + 1])[0][0] for t in range(1, STEPS)])])
    assert not torch.equal(alone, layer.eval()(x)[0])


def test_kernels_begin_as_they_are_told():
    image, *_ = randoms((1, HIDDEN, *SPACE), requires_grad=False)
    same_image = make("rnn", init="identity").U_l0
    same([torch.nn.functional.conv2d(image, same_image, padding=1)], [image])
    rows = make("lstm", init="orthogonal", forget_bias=2.0)
    for gate in rows.U_l0.chunk(4):
        same([gate.flatten(1) @ gate.flatten(1).T], [torch.eye(HIDDEN).double()])
    assert rows.named_weights()["b_f"].equal(torch.full((HIDDEN,), 2.0).double())
    peepholes = make("peephole_lstm", image_size=SPACE)
    same(peepholes.p_l0.chunk(3), [peepholes.named_weights()[f"p_{g}"] for g in "ifo"])


class Model(torch.nn.Module):
    """Something before and behind a layer."""

    def __init__(self):
        super().__init__()
        self.layer = make("gru", learned_states=True, dtype=torch.float32)

    def forward(self, x, resets, mask):
        output, state, steps = self.layer(2 * x, resets=resets, mask=mask, return_states=True)
        return output.relu(), state, steps["h"]


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def told(steps, batch):
    x = images(*SPACE, steps=steps, batch=batch).float()
    return [x, *(torch.rand(steps, batch) < rate for rate in (0.3, 0.8))]


def test_a_whole_graph_trains_as_the_plain_model(compiler):
    model, given = Model(), told(STEPS, BATCH)
    wanted = model(*given)
    got = torch.compile(model, backend="aot_eager", fullgraph=True)(*given)
    leaves = [given[0], *model.parameters()]
    for mine, truth in [(got, wanted), (gradients(got, leaves), gradients(wanted, leaves))]:
        for a, b in zip(mine, truth, strict=True):
            torch.testing.assert_close(a, b, **SINGLE)


def test_an_exported_program_has_a_free_batch_and_length(compiler):
    model, free = Model(), {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        given = tuple(told(STEPS, BATCH))
        program = torch.export.export(model, given, dynamic_shapes=(free,) * 3).module()
        for sizes in ((STEPS, BATCH), (5, 3)):
            given = told(*sizes)
            for a, b in zip(program(*given), model(*given), strict=True):
                torch.testing.assert_close(a, b, **SINGLE)


def test_the_operators_pass_torchs_own_checks():
    layer, x = make("gru", dims=1), images(4).movedim(2, -1)
    (h,) = randoms((4, HIDDEN, BATCH), requires_grad=False)
    groups = list(layer.groups(0, 0).values())
    given = (x.detach(), [h.permute(2, 0, 1)], groups, [], None, layer.spec.text, "highest", [1])
    output, *rest = torch.ops.gatework.steps(*given, False, True)
    back = (*given, False, output, rest[1:], [output, rest[0]], True)
    torch.library.opcheck(torch.ops.gatework.steps_back, back, test_utils=("test_faketensor",))
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    given = (x, *given[1:], False, True)
    torch.library.opcheck(torch.ops.gatework.steps, given, test_utils=tests)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_under_autocast_results_have_the_dtype_of_every_layer_s(cell):
    x = images(*SPACE).float()
    layer, other = make(cell, dtype=torch.float32), gw.Recurrent(cell, CHANNELS, HIDDEN)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = layer(x, **RESETS)
        assert output.dtype == other(x[..., 0, 0])[0].dtype
    torch.testing.assert_close(output.float(), layer(x, **RESETS)[0], rtol=0, atol=3e-2)


def test_functional_transforms():
    layer, x = make("lstm"), images(*SPACE)
    weights = {name: 0.5 * p for name, p in layer.named_parameters()}

    def total(weights):
        return torch.func.functional_call(layer, weights, (x,), RESETS)[0].square().sum()

    found = torch.func.grad(total)(weights)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.5)
    own = dict(layer.named_parameters())
    wanted = torch.autograd.grad(layer(x, **RESETS)[0].square().sum(), own.values())
    same([found[name] for name in own], wanted)


def test_a_card_counts_places_and_kernels():
    layer = make("lstm", (3, 1), dtype=torch.float32)
    card = gw.card(layer, images(*SPACE).float())
    products = 4 * HIDDEN * (CHANNELS + HIDDEN) * 3
    assert card.multiply_adds == STEPS * BATCH * 3 * 4 * products
    assert "2 channels at 3 × 4 places" in str(card)
    assert dict(card.paths["inference"])["native"] == "the kernels have no convolutions"
    assert card.path("training") == "reference"


WRONG = {
    "one sequence": (
        lambda layer, x: layer(x[:, 0]),
        r"One sequence wants a batch axis: x.unsqueeze\(1\)",
    ),
    "a mask of places": (
        lambda layer, x: layer(x, mask=x[:, :, 0] > 0),
        r"a value for each step, \(3, 2\)",
    ),
    "resets by rows": (
        lambda layer, x: layer(x, resets=RESETS["resets"].T),
        r"\(3, 2\) for this input",
    ),
    "origins alone": (lambda layer, x: layer(x, reset_to=layer.state(batch=BATCH)), "pass both"),
    "times": (
        lambda layer, x: layer(x, beside=TIMES["beside"]),
        "reads nothing beside the input, got t",
    ),
    "vectors as states": (lambda layer, x: layer(x, (x[0, :, :, 0, 0],) * 2), "should also be 5-D"),
    "states of no rows": (lambda layer, x: layer.state(), "images come in batches"),
    "states of other rows": (
        lambda layer, x: layer(x, layer.state(batch=3)),
        r"hidden\[0\] size \(1, 2, 3",
    ),
    "a sequence as step": (lambda layer, x: layer.step(x), r"A step is \(B, C, H, W\), got"),
    "other rows streamed": (
        lambda layer, x: layer.stream(3).step(x[0]),
        r"\(3, 2, H, W\) = \(B, C, H, W\)",
    ),
    "packed vectors": (
        lambda layer, x: layer(pack_padded_sequence(x[..., 0, 0], [3, 2])),
        r"holds \(steps, C, H, W\) data",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_said_of_images_is_refused(what):
    call, says = WRONG[what]
    with pytest.raises(ShapeError, match=says) as caught:
        call(make("lstm"), images(*SPACE))
    assert "\n" not in str(caught.value)


def test_what_a_layer_over_images_is_not():
    layer = make("lstm")
    layer.path = "native"
    with pytest.raises(PathError, match="native: the kernels have no convolutions"):
        layer(images(*SPACE))
    with pytest.raises(ConvertError, match="equations of LSTM over images"):
        gw.convert.to_torch(layer)
    with pytest.raises(TypeError, match=r"ConvRecurrent.__init__\(\) got .* 'hidden'"):
        make("lstm", hidden=3)
    with pytest.raises(ShapeError, match="hidden_channels is a whole number above zero"):
        gw.ConvRecurrent("lstm", 2, [3, 4], 3)
    with pytest.raises(ShapeError, match=r"lstm \+ heads\(3\): U_i has blocks"):
        make("lstm", heads=3)
    with pytest.raises(ShapeError, match="in_channels=2 must be the output's size 3"):
        make("lstm", residual=True)
    with pytest.raises(ShapeError, match=r"lstm \+ peephole has vectors that scale \(p\)"):
        make("lstm", image_size=None, peephole=True)
    with pytest.raises(CellError, match="RNN has no forget gate"):
        make("rnn", forget_bias=1.0)
    with pytest.raises(LayerError, match="runs in both directions"):
        gw.Stateful(make("lstm", bidirectional=True))
