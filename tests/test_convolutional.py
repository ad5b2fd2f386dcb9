"""``ConvRecurrent``: a ConvLSTM by hand, and every cell as ``Recurrent`` at each place."""

import copy
import pickle

import pytest
import torch
from shared import EveryMatrix, EveryPrimitive, Masked, each_untimed, randoms, tuple_of
from tolerances import EXACT, SINGLE
from torch.nn.functional import conv1d, conv2d, conv3d

import gatework as gw
import gatework.equations as eq
from gatework.cells import resolve
from gatework.errors import CellError, ShapeError

STEPS, BATCH, CHANNELS, HIDDEN, PROJECTED = 3, 2, 2, 3, 2
SPACE = (3, 4)
DOUBLE = {"dtype": torch.float64}


def make(cell, kernel_size=3, dims=2, seed=0, **options):
    torch.manual_seed(seed)
    if "P" in resolve(cell).sizes:
        options["proj_channels"] = PROJECTED
    options = {"image_size": (1,) * dims, **DOUBLE, **options}
    return gw.ConvRecurrent(cell, CHANNELS, HIDDEN, kernel_size, dims, **options)


def images(*space, steps=STEPS, batch=BATCH, **options):
    return randoms((steps, batch, CHANNELS, *space), **options)[0]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def loss(tensors):
    return sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in tensors)


def gradients(tensors, leaves):
    return torch.autograd.grad(loss(tensors), leaves)


def conv_lstm(x, h, c, weights, convolve, dilation=1):
    """Equation 3 of Shi et al. 2015, gate by gate; peepholes only where there are any."""
    W, U, b = (weights[n].chunk(4) for n in ("W_l0", "U_l0", "b_l0"))
    peephole_i, peephole_f, peephole_o = weights.get("p_l0", torch.zeros(3)).chunk(3)

    def gate(number, inside):
        padding = [dilation * (k // 2) for k in W[0].shape[2:]]
        options = {"padding": padding, "dilation": dilation}
        from_x = convolve(inside, W[number], b[number], **options)
        return from_x + convolve(h, U[number], **options)

    outputs = []
    for step in x:
        i = torch.sigmoid(gate(0, step) + peephole_i * c)
        f = torch.sigmoid(gate(1, step) + peephole_f * c)
        c_new = f * c + i * torch.tanh(gate(2, step))
        o = torch.sigmoid(gate(3, step) + peephole_o * c_new)
        h, c = o * torch.tanh(c_new), c_new
        outputs.append(h)
    return torch.stack(outputs), h, c


@pytest.mark.parametrize(
    ("cell", "space", "kernel", "dilation", "convolve"),
    [
        ("peephole_lstm", (3, 4), (3, 5), 1, conv2d),
        ("peephole_lstm", (5,), 3, 2, conv1d),
        ("lstm", (4, 3), 3, 1, conv2d),  # Keras' ConvLSTM2D
        ("lstm", (2, 3, 2), (1, 3, 3), 1, conv3d),
    ],
)
def test_it_is_the_paper_s_conv_lstm(cell, space, kernel, dilation, convolve):
    layer = make(cell, kernel, len(space), image_size=space, dilation=dilation)
    assert ("p_l0" in layer.state_dict()) == (cell == "peephole_lstm")
    if cell == "peephole_lstm":
        assert layer.p_l0.shape == (3 * HIDDEN, *space)
    x = images(*space)
    h, c = randoms((1, BATCH, HIDDEN, *space), (1, BATCH, HIDDEN, *space), seed=3)
    output, (h_n, c_n) = layer(x, (h, c))
    got = (output, h_n[0], c_n[0])
    expected = conv_lstm(x, h[0], c[0], dict(layer.named_parameters()), convolve, dilation)
    same(got, expected)
    leaves = [x, h, c, *layer.parameters()]
    same(gradients(got, leaves), gradients(expected, leaves))


def as_batch(x):
    """(T, B, C, *space) to (T, B * places, C), of a matrix (T, B, C, C, *space) to one row."""
    return x.flatten(2, -1 - len(SPACE)).movedim(2, -1).flatten(1, -2)


def give(flat, layer):
    """``Recurrent``'s parameters from a convolution's: the middle of the kernel."""
    for name, parameter in flat.named_parameters():
        value = getattr(layer, name).data
        while value.dim() > parameter.dim():
            value = value[..., value.shape[-1] // 2]
        parameter.data.copy_(value)
    return flat


def plain(cell, **options):
    size = {"proj_size": PROJECTED} if "P" in resolve(cell).sizes else {}
    return gw.Recurrent(cell, CHANNELS, HIDDEN, path="reference", **size, **DOUBLE, **options)


every_cell = pytest.mark.parametrize("cell", [EveryPrimitive, EveryMatrix, Masked])


def check_places(cell, kernel_size, space, **options):
    layer = make(cell, kernel_size, bidirectional=True, num_layers=2, **options)
    with torch.no_grad():
        for p in layer.parameters():  # also where a start would make weights equal
            p.uniform_(-0.6, 0.6)
    flat = give(plain(cell, bidirectional=True, num_layers=2, **options), layer)
    x, lengths = images(*space), torch.tensor([2, STEPS])
    places = x[0, 0, 0].numel()
    if cell is Masked:
        layer.eval(), flat.eval()
    output, states = layer(x, lengths=lengths)
    expected, finals = flat(as_batch(x), lengths=lengths.repeat_interleave(places))
    finals = [s.flatten(2) for s in tuple_of(finals)]
    same(map(as_batch, (output, *tuple_of(states))), (expected, *finals))
    (got,) = torch.autograd.grad(loss((output, *tuple_of(states))), [x])
    (truth,) = torch.autograd.grad(loss((expected, *finals)), [x])
    same([got], [truth])


@each_untimed
def test_with_a_kernel_of_one_each_place_is_alone(cell):
    check_places(cell, 1, (1, 3))


@every_cell
def test_with_a_kernel_of_one_each_place_is_alone_for_every_primitive(cell):
    check_places(cell, 1, (1, 3))
    check_places(cell, 3, (1, 1))


def test_an_image_of_one_place_sees_the_middle_of_the_kernel_alone():
    check_places("gru_reset_before", 3, (1, 1))
    check_places("projected_lstm", (3, 5), (1, 1), bias=False)


def test_lengths_are_each_sequence_alone():
    layer = make("peephole_lstm", image_size=SPACE, bidirectional=True, num_layers=2)
    x = images(*SPACE, batch=3, requires_grad=False)
    lengths, x[2:, 0], x[:, 1] = [2, 0, 3], torch.nan, torch.nan
    states = randoms(*[(4, 3, HIDDEN, *SPACE)] * 2, requires_grad=False)
    output, finals = layer(x, states, lengths=lengths)
    for row, length in enumerate(lengths):
        assert not output[length:, row].any()
        first = [s[:, row : row + 1] for s in states]
        if length:
            alone, last = layer(x[:length, row : row + 1], first)
            same([output[:length, row : row + 1]], [alone])
        else:
            last = first
        same([s[:, row : row + 1] for s in finals], last)


def test_batch_first_turns_input_and_output_but_no_states():
    layer = make("gru", kernel_size=(3, 1))
    other = make("gru", kernel_size=(3, 1), batch_first=True)
    x, h = images(*SPACE), randoms((1, BATCH, HIDDEN, *SPACE))[0]
    output, last = layer(x, h)
    turned, same_last = other(x.transpose(0, 1), h)
    same([turned.transpose(0, 1), same_last], [output, last])
    assert output.shape == (STEPS, BATCH, HIDDEN, *SPACE)


def test_masks_are_drawn_for_each_unit_and_place():
    layer = make(Masked, image_size=SPACE)
    x = images(*SPACE)
    torch.manual_seed(5)
    first = layer(x)[0]
    torch.manual_seed(5)
    same([layer(x)[0]], [first])
    assert not torch.equal(layer(x)[0], first)
    layer.eval()
    same([layer(x)[0]], [layer(x)[0]])


def test_dropout_lies_between_the_layers():
    layer = make("lstm", num_layers=2, dropout=1.0)
    x = images(*SPACE)
    output = layer(x)[0]
    same([output], [layer(torch.rand_like(x))[0]])
    assert not torch.allclose(output, layer.eval()(x)[0])


def test_gradcheck():
    layer = make("gru", kernel_size=3, dims=1)
    x = images(3, steps=2, batch=1)
    assert torch.autograd.gradcheck(lambda v: layer(v)[0], [x])


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_the_same_layer(travel):
    layer = make("peephole_lstm", image_size=SPACE)
    x, other = images(*SPACE), travel(layer)
    assert repr(other) == repr(layer)
    same([other(x)[0]], [layer(x)[0]])
    fresh = make("peephole_lstm", image_size=SPACE, seed=1)
    assert not torch.allclose(fresh(x)[0], layer(x)[0])
    fresh.load_state_dict(layer.state_dict(), strict=True)
    same([fresh(x)[0]], [layer(x)[0]])


def test_single_precision():
    layer, double = make("layer_norm_lstm", dtype=torch.float32), make("layer_norm_lstm")
    double.load_state_dict(layer.state_dict())
    x = images(*SPACE).float()
    torch.testing.assert_close(layer(x)[0].double(), double(x.double())[0], **SINGLE)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kernel_size": 2}, "kernel_size is odd"),
        ({"kernel_size": (3, 3, 3)}, "one number for each of 2 axes"),
        ({"dims": 4}, "1, 2 or 3 axes"),
        ({"image_size": None}, r"give image_size. image_size=\(1, 1\) shares"),
        ({"proj_channels": 2}, "has no projection, got proj_channels=2"),
        ({"dropout": 2}, "dropout is a probability"),
        ({"num_layers": 0}, "num_layers is a whole number"),
        (
            {"cell": "projected_lstm", "image_size": None},
            "proj_channels lies above 0 and below hidden_channels=3",
        ),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    given = {"cell": "peephole_lstm", "kernel_size": 3, "dims": 2, "image_size": (1, 1)} | options
    with pytest.raises(ShapeError, match=says):
        gw.ConvRecurrent(in_channels=2, hidden_channels=3, **given)
    with pytest.raises(CellError, match="No cell"):
        gw.ConvRecurrent("nothing", 2, 3, 3)


def test_wrong_inputs_are_refused():
    layer = make("peephole_lstm", image_size=SPACE)
    x = images(*SPACE)
    wrong = {
        r"\(T, B, C, H, W\) with C=2": (x[0],),
        "expected input": (x[:, :, :1],),
        "at least one step": (x[:0],),
        "torch.float32": (x.float(),),
        r"images of \(3, 4\)": (x[..., :2],),
        r"hidden\[0\] size .* \(layers \* directions, B, size, H, W\)": (x, (x, x)),
        r"hidden\[0\] is torch.float32": (x, (x.float(), x)),
        r"expected 2 initial state\(s\) \(h, c\)": (x, (x,)),
        "one for each of the 2": (x, None, [1]),
    }
    for says, arguments in wrong.items():
        with pytest.raises(ShapeError, match=says):
            layer(*arguments)


class Started(gw.Cell):
    """A gain that begins at two beside one that does not."""

    source = "by hand"
    x, h = eq.Input(), eq.State()
    W, s_a, s_b, b = eq.Matrix(x), eq.Vector(), eq.Vector(start=2.0), eq.Vector()
    h_next = eq.tanh(W @ x + b) * s_a + s_b * h


def test_parameters_begin_in_a_bound_that_counts_the_kernel_s_places():
    layer = gw.ConvRecurrent(Started, 2, 4, 5, image_size=SPACE)
    first, second = layer.s_l0.chunk(2)
    assert (second == 2).all()
    assert layer.b_l0.shape == (4,)
    for parameter in (layer.W_l0, layer.b_l0, first):
        assert 0.05 < parameter.abs().max() <= 0.1


def test_states_have_names_and_rows():
    layer = gw.ConvRecurrent("lstm", 2, 3, kernel_size=1, dims=1)
    x = torch.randn(2, 4, 2, 5)
    _, states = layer(x)
    h, c = states
    assert states.h is h
    assert states.detach().c.equal(c)
    chosen = states.index([2, 0])
    torch.testing.assert_close(layer(x[:, [2, 0]], chosen)[0], layer(x, states)[0][:, [2, 0]])
    with pytest.raises(ShapeError, match=r"for each of 2 axes \(dims=2\), got \(5,\)"):
        gw.ConvRecurrent("lstm", 2, 3, kernel_size=1, image_size=(5,))
