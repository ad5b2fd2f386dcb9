"""``ConvRecurrent``: a ConvLSTM by hand, and every cell as ``Recurrent`` at each place."""

import copy
import pickle

import pytest
import torch
from images import (
    BATCH,
    HIDDEN,
    LENGTHS,
    MASK,
    RESETS,
    SPACE,
    STEPS,
    TIMES,
    check_places,
    conv_lstm,
    gradients,
    images,
    make,
    same,
)
from shared import EveryMatrix, EveryPrimitive, Masked, each_untimed, randoms
from tolerances import SINGLE
from torch.nn.functional import conv1d, conv2d, conv3d

import gatework as gw
import gatework.equations as eq
from gatework.errors import CellError, ShapeError


@pytest.mark.parametrize(
    ("cell", "space", "kernel", "dilation", "convolve"),
    [
        ("peephole_lstm", (3, 4), (3, 5), 1, conv2d),
        ("peephole_lstm", (5,), 3, 2, conv1d),
        ("lstm", (4, 3), 3, 1, conv2d),  # Keras' ConvLSTM2D
        ("lstm", (2, 3, 2), (1, 3, 3), 1, conv3d),
    ],
)
@pytest.mark.parametrize("is_told", [False, True], ids=["plain", "interrupted"])
def test_it_is_the_paper_s_conv_lstm(cell, space, kernel, dilation, convolve, is_told):
    layer = make(cell, kernel, len(space), image_size=space, dilation=dilation)
    assert ("p_l0" in layer.state_dict()) == (cell == "peephole_lstm")
    if cell == "peephole_lstm":
        assert layer.p_l0.shape == (3 * HIDDEN, *space)
    x = images(*space)
    first = randoms(*[(1, BATCH, HIDDEN, *space)] * 2, seed=3)
    origins = randoms(*[(1, BATCH, HIDDEN, *space)] * 2, seed=4) if is_told else []
    told, by_hand = {}, {}
    if is_told:
        told = {**MASK, **RESETS, "reset_to": origins}
        by_hand = {"seen": MASK["mask"], **RESETS, "origins": [o[0] for o in origins]}
    output, (h_n, c_n), steps = layer(x, first, **told, return_states=True)
    got = (output, h_n[0], c_n[0], steps["c"])
    weights = dict(layer.named_parameters())
    expected = conv_lstm(x, [s[0] for s in first], weights, convolve, dilation, **by_hand)
    same(got, expected)
    leaves = [x, *first, *origins, *layer.parameters()]
    same(gradients(got, leaves), gradients(expected, leaves))


@each_untimed
def test_with_a_kernel_of_one_each_place_is_alone(cell):
    check_places(cell, 1, (1, 3), LENGTHS | RESETS, learned_states=True)


TOLD = {
    "nothing": {"told": {}},
    "mask": {"told": MASK},
    "mask and resets": {"told": MASK | RESETS},
    "origins": {"told": MASK | RESETS, "has_origins": True},
}


@pytest.mark.parametrize("how", TOLD)
@pytest.mark.parametrize("cell", [EveryPrimitive, EveryMatrix, Masked])
def test_so_it_is_for_every_primitive_whatever_it_is_told(cell, how):
    check_places(cell, 1, (1, 3), **TOLD[how])


def test_an_image_of_one_place_sees_the_middle_of_the_kernel_alone():
    check_places(EveryMatrix, 3, (1, 1), MASK | RESETS, learned_states=True)
    check_places("gru_reset_before", 3, (1, 1), LENGTHS)
    check_places("projected_lstm", (3, 5), (1, 1), {}, bias=False)
    check_places("phased_lstm", 3, (1, 1), TIMES | MASK | RESETS)
    check_places("lstm", 3, (1, 1), RESETS, layer_norm=True, cell_clip=0.5, zoneout=0.2)


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
