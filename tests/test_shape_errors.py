"""A shape error says what it got, what it expects, and the likely cause."""

import pytest
import torch
from shared import randoms
from torch.nn.utils.rnn import pack_padded_sequence

import gatework as gw
from gatework.errors import ShapeError

STEPS, BATCH, FEATURES, HIDDEN = 7, 2, 3, 4
DATA = (STEPS, BATCH, FEATURES)
STATE = (1, BATCH, HIDDEN)

LAYERS = {
    "LSTM": lambda **options: gw.LSTM(FEATURES, HIDDEN, dtype=torch.float64, **options),
    "Recurrent": lambda **options: gw.Recurrent(
        "peephole_lstm", FEATURES, HIDDEN, dtype=torch.float64, **options
    ),
}
each_layer = pytest.mark.parametrize("made", LAYERS)


def message_of(layer, *shapes, **options):
    x, *states = randoms(*shapes)
    with pytest.raises(ShapeError) as caught:
        layer(x, tuple(states) or None, **options)
    return str(caught.value)


# The arguments of the layer, the shapes of input and states, lengths, and what must be said.
BATCH_FIRST = "This looks like batch_first data: the layer reads (7, 2, 3) as (T, B, F)"
TIME_FIRST = "This looks like (T, B, F) data: the layer has batch_first=True"
CASES = {
    "features and time exchanged": (
        {},
        [(FEATURES, BATCH, STEPS)],
        None,
        ["Expected 3, got 7: shape (3, 2, 7)", "(T, B, F) with F=3", "use x.transpose(0, -1)"],
    ),
    "features in the middle": (
        {"batch_first": True},
        [(BATCH, FEATURES, STEPS)],
        None,
        ["Expected 3, got 7", "(B, T, F) with F=3", "Axis 1 has size 3", "x.transpose(1, -1)"],
    ),
    "one sequence turned": (
        {},
        [(FEATURES, STEPS)],
        None,
        ["where (T, F) with F=3", "Axis 0 has size 3"],
    ),
    "nothing fits": ({}, [(8, 2, 9)], None, ["Expected 3, got 9: shape (8, 2, 9)"]),
    "four axes": ({}, [(2, *DATA)], None, ["2D or 3D, got 4D: shape (2, 7, 2, 3)", "(T, B, F)"]),
    "no steps": ({}, [(0, 2, 3)], None, ["larger than 0, got shape (0, 2, 3)"]),
    "no steps, batch_first": ({"batch_first": True}, [(2, 0, 3)], None, ["got shape (2, 0, 3)"]),
    "states of batch_first data": (
        {},
        [DATA, (1, STEPS, HIDDEN), (1, STEPS, HIDDEN)],
        None,
        ["hidden[0] size (1, 2, 4), got [1, 7, 4]", BATCH_FIRST],
    ),
    "states of time-first data": (
        {"batch_first": True},
        [DATA, (1, BATCH, HIDDEN), (1, BATCH, HIDDEN)],
        None,
        ["hidden[0] size (1, 7, 4), got [1, 2, 4]", TIME_FIRST],
    ),
    "states turned too": (
        {"batch_first": True},
        [(BATCH, STEPS, FEATURES), (BATCH, 1, HIDDEN), (BATCH, 1, HIDDEN)],
        None,
        ["first two axes are exchanged; batch_first does not apply to states"],
    ),
    "cell state": ({}, [DATA, STATE, (1, BATCH, 5)], None, ["hidden[1] size (1, 2, 4), got [1, 2"]),
    "state without batch": (
        {},
        [DATA, (1, HIDDEN), (1, HIDDEN)],
        None,
        ["should also be 3-D but got 2-D", "(layers * directions, B, size)"],
    ),
    "state with batch": (
        {},
        [(STEPS, FEATURES), STATE, STATE],
        None,
        ["should also be 2-D but got 3-D", "(1, 4) = (layers * directions, size)"],
    ),
    "lengths of batch_first data": (
        {},
        [DATA],
        [1] * STEPS,
        ["lengths has shape (7,)", "each of the 2 sequences of the input (7, 2, 3)", BATCH_FIRST],
    ),
    "lengths of time-first data": (
        {"batch_first": True},
        [DATA],
        [1] * BATCH,
        ["lengths has shape (2,)", "each of the 7 sequences", TIME_FIRST],
    ),
    "too many lengths": ({}, [DATA], [1] * 5, ["lengths has shape (5,)", "2 sequences"]),
    "lengths of two axes": ({}, [DATA], [[1, 2]], ["lengths has shape (1, 2)"]),
    "a length too large": ({}, [DATA], [8, 1], ["0..T with T=7, got 1..8"]),
    "a length below zero": ({}, [DATA], [7, -1], ["0..T with T=7, got -1..7"]),
    "broken lengths": ({}, [DATA], [1.5, 2.0], ["whole numbers, got torch.float32"]),
    "words for lengths": ({}, [DATA], "ab", ["lengths are whole numbers, got 'ab'"]),
    "lengths of several kinds": ({}, [DATA], [7, "1"], ["whole numbers, got [7, '1']"]),
    "a mask for lengths": ({}, [DATA], [True, False], ["whole numbers, got torch.bool"]),
}


@each_layer
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_shape_is_explained(name, made):
    options, shapes, lengths, parts = CASES[name]
    message = message_of(LAYERS[made](**options), *shapes, lengths=lengths)
    assert message.startswith(f"{made}: ")
    for part in parts:
        assert part in message


def test_lengths_are_reported_in_the_axes_of_the_input():
    # The layer turns the data before it looks at lengths; the message shows what was passed.
    layer = LAYERS["LSTM"](batch_first=True)
    message = message_of(layer, (BATCH, STEPS, FEATURES), lengths=[8, 1])
    assert "for input (2, 7, 3)" in message


def test_a_single_feature_needs_an_axis():
    message = message_of(gw.GRU(1, HIDDEN, dtype=torch.float64), (STEPS, BATCH))
    assert "For one feature per step add an axis: x.unsqueeze(-1)." in message


@each_layer
def test_another_dtype_says_how_to_convert(made):
    with pytest.raises(ShapeError, match=r"float32.*weight dtype.*input.to\(torch.float64\)"):
        LAYERS[made]()(torch.zeros(DATA))


@each_layer
def test_packed_data_brings_its_own_lengths(made):
    layer = LAYERS[made]()
    packed = pack_padded_sequence(randoms(DATA)[0], [7, 2])
    with pytest.raises(ShapeError, match="a PackedSequence has its lengths; do not pass lengths="):
        layer(packed, lengths=[7, 2])


@each_layer
@pytest.mark.parametrize("path", ["auto", "reference"])
def test_states_of_another_dtype_are_refused(made, path):
    layer = LAYERS[made]()
    layer.path = path
    x = randoms(DATA)[0]
    _, states = layer(x)
    single = (
        states.float() if isinstance(states, torch.Tensor) else tuple(s.float() for s in states)
    )
    with pytest.raises(ShapeError, match=r"hidden.* is torch.float32, the input is torch.float64"):
        layer(x, single)


@each_layer
def test_no_sequences_at_all_have_no_lengths(made):
    output, _ = LAYERS[made]()(randoms(DATA)[0][:, :0], lengths=[])
    assert output.shape[1] == 0


TIMES = torch.ones(STEPS, BATCH)
ALL = TIMES.bool()
WRONG = {
    "no input": (lambda layer, x: layer(None), "tensor.*got NoneType"),
    "lists as input": (lambda layer, x: layer(x.tolist()), "tensor.*got list"),
    "a number as state": (lambda layer, x: layer(x, 3), "expected a tuple .*got int"),
    "a number to be reset to": (
        lambda layer, x: layer(x, resets=ALL, reset_to=3), "expected a tuple .*got int"
    ),
    "a list as mask": (lambda layer, x: layer(x, mask=ALL.tolist()), "mask is a bool .*got list"),
    "a list as resets": (lambda layer, x: layer(x, resets=ALL.tolist()), "resets is a .*got list"),
    "times without a name": (lambda layer, x: layer(x, beside=TIMES), "by name.*got Tensor"),
    "nothing to record": (lambda layer, x: gw.record(layer, None), "tensor.*got NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("kind", ["LSTM", "Bidirectional", "Stack", "Widths"])
def test_what_is_no_tensor_is_refused_in_one_line(kind, case):
    layer = {
        "LSTM": lambda: gw.LSTM(FEATURES, HIDDEN),
        "Bidirectional": lambda: gw.Bidirectional("lstm", FEATURES, HIDDEN),
        "Stack": lambda: gw.Stack([gw.LSTM(FEATURES, HIDDEN), gw.GRU(HIDDEN, 2)]),
        "Widths": lambda: gw.Recurrent("lstm", FEATURES, [HIDDEN, 2]),
    }[kind]()
    call, said = WRONG[case]
    with pytest.raises(ShapeError, match=said) as caught:
        call(layer, torch.zeros(*DATA))
    assert "\n" not in str(caught.value)


def test_single_steps_and_cards_want_tensors():
    layer, x = gw.LSTM(FEATURES, HIDDEN), torch.zeros(BATCH, FEATURES)
    timed, images = gw.Recurrent("phased_lstm", FEATURES, HIDDEN), gw.ConvRecurrent("gru", 1, 1, 3)
    for call, said in [
        (lambda: gw.card(layer, None), "got NoneType"),
        (lambda: layer.step(None), "got NoneType"),
        (lambda: layer.state(3), "got int"),
        (lambda: layer(x, (None, None)), r"hidden\[0\] is a tensor, got NoneType"),
        (lambda: timed.step(x, beside={"t": 3.0}), r"beside\['t'\] is a tensor, got float"),
        (lambda: images(None), "got NoneType"),
        (lambda: images(torch.zeros(2, 1, 1, 4, 4), 3), "got int"),
        (lambda: gw.Stack([layer], dropout="a"), "probability.*'a'"),
        (lambda: gw.Recurrent("gru", 3, 4, dropout="a"), "probability.*'a'"),
        (lambda: gw.Recurrent("gru", 3, [4, 2], dropout=None), "probability.*None"),
    ]:
        with pytest.raises(ShapeError, match=said):
            call()
