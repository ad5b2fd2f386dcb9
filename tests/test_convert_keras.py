"""from_keras against the Keras layer's own call in the same run, on torch: values and gradients."""

import re
import sys

import numpy as np
import pytest
import torch
from tolerances import EXACT, SINGLE

import gatework as gw
from gatework.convert.activations import KERAS
from gatework.errors import ConvertError

keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "torch":
    pytest.skip("keras does not run on torch here", allow_module_level=True)
layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BATCH, STEPS, FEATURES, UNITS = 3, 4, 2, 5
# Keras on torch multiplies in float32 also what is float64 (keras.ops.matmul), but for the layers
# that it hands to torch's kernels whole.
FUSED = ("LSTM", "GRU")
ORDERS = {"LSTM": "ifgo", "GRU": "zrn", "SimpleRNN": ""}  # of Keras, in the equations' letters


def set_precision(dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)  # Keras takes it from floatx once, and keeps it


@pytest.fixture(autouse=True)
def double_precision():
    """For all of Keras, since a wrapper has a dtype of its own."""
    set_precision("float64")
    yield
    set_precision("float32")


def built(layer, seed=0):
    """The layer with random unequal weights of every kind."""
    layer.build((None, None, FEATURES))
    make = np.random.default_rng(seed)
    layer.set_weights([make.normal(size=w.shape) / 2 for w in layer.get_weights()])
    return layer


def single(kind, **options):
    options = {"return_sequences": True, "return_state": True} | options
    return getattr(layers, kind)(UNITS, **options)


def inputs(layer, dtype=torch.float64):
    """x (B, T, F) and the initial states, (B, H) each, forward's first."""
    parts = [getattr(layer, n) for n in ("forward_layer", "backward_layer") if hasattr(layer, n)]
    count = sum(2 if type(part).__name__ == "LSTM" else 1 for part in parts or [layer])
    torch.manual_seed(1)
    shapes = [(BATCH, STEPS, FEATURES)] + [(BATCH, UNITS)] * count
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]


def stacked(states, directions):
    """Keras' states as (D, B, H) each."""
    per_direction = len(states) // directions
    rows = [torch.stack(states[n::per_direction]) for n in range(per_direction)]
    return rows[0] if per_direction == 1 else tuple(rows)


def check(layer, tolerance):
    """Outputs, final states, and the gradients of input, initial states and weights."""
    pair = hasattr(layer, "forward_layer")
    directions = [layer.forward_layer, layer.backward_layer] if pair else [layer]
    made = gw.convert.from_keras(layer)
    ours = getattr(made, "layer", made)
    ours.path = "reference"
    leaves = inputs(layer, ours.weight_dtype())
    theirs, *states = layer(leaves[0], initial_state=leaves[1:])
    if not pair and layer.go_backwards:
        theirs = theirs.flip(1)
    wanted = [theirs, *torch.stack(states)]
    output, finals = made(leaves[0], stacked(leaves[1:], len(directions)))
    finals = (finals,) if isinstance(finals, torch.Tensor) else finals
    got = [output, *torch.stack(finals, 1).flatten(0, 1)]
    torch.testing.assert_close(got, wanted, **tolerance)

    weights = [w.value for part in directions for w in part.cell.weights]
    expected = torch.autograd.grad(loss(wanted), [*leaves, *weights])
    gradients = torch.autograd.grad(loss(got), [*leaves, *ours.parameters()])
    torch.testing.assert_close(gradients[: len(leaves)], expected[: len(leaves)], **tolerance)
    named = dict(zip(dict(ours.named_parameters()), gradients[len(leaves) :], strict=True))
    mine = [g for row, part in enumerate(directions) for g in as_keras(part, named, row)]
    torch.testing.assert_close(mine, list(expected[len(leaves) :]), **tolerance)
    return made


def loss(parts):
    return sum(torch.sin(part * (1 + n)).sum() for n, part in enumerate(parts))


def as_keras(layer, named, row):
    """Our gradients of one direction in the order and shapes of Keras' weights."""
    end = "_l0_reverse" if row else "_l0"
    order = ORDERS[type(layer).__name__]
    stored = {"i": 0, "f": 1, "g": 2, "o": 3} if "i" in order else {"r": 0, "z": 1, "n": 2}

    def turned(stem):
        parts = named[stem + end].split(UNITS)
        return torch.cat([parts[stored[k]] for k in order] if order else parts)

    result = [turned("W").T, turned("U").T]
    if f"b{end}" in named:
        bias = turned("b")
        if getattr(layer, "reset_after", False):  # Keras keeps two of r and z, which we add up
            own = next(g for n, g in named.items() if n.startswith("d") and n.endswith(end))
            bias = torch.stack([bias, torch.cat([bias[: 2 * UNITS], own])])
        result.append(bias)
    return result


CASES = {
    "lstm": ("LSTM", {}, "LSTM"),
    "lstm_no_bias": ("LSTM", {"use_bias": False, "unit_forget_bias": False}, "LSTM"),
    "lstm_hard": (
        "LSTM",
        {"recurrent_activation": "hard_sigmoid", "activation": "softsign"},
        "ImportedLSTM",
    ),
    "lstm_linear": ("LSTM", {"activation": None}, "ImportedLSTM"),
    "gru": ("GRU", {}, "GRU"),
    "gru_before": ("GRU", {"reset_after": False}, "GRUResetBefore"),
    "gru_no_bias": ("GRU", {"use_bias": False}, "GRU"),
    "gru_before_no_bias": ("GRU", {"use_bias": False, "reset_after": False}, "GRUResetBefore"),
    "gru_relu": ("GRU", {"activation": "relu", "reset_after": False}, "ImportedGRU"),
    "rnn": ("SimpleRNN", {}, "RNN"),
    "rnn_relu": ("SimpleRNN", {"activation": "relu"}, "ReluRNN"),
    "rnn_no_bias": ("SimpleRNN", {"use_bias": False}, "RNN"),
}


@pytest.mark.parametrize("form", ["forward", "backward", "both"])
@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_what_keras_computes(case, form):
    kind, options, cell = CASES[case]
    layer = single(kind, go_backwards=form == "backward", **options)
    if form == "both":
        layer = layers.Bidirectional(layer)
    made = check(built(layer), EXACT if cell in FUSED else SINGLE)
    assert getattr(made, "layer", made).spec.name == cell


@pytest.mark.parametrize("name", KERAS)
def test_every_activation_is_that_of_keras(name):
    """On both sides of every bend, so without a state that would carry it away."""
    layer = single("SimpleRNN", activation=name, return_state=False)
    layer.build((None, None, 1))
    layer.set_weights([np.ones((1, UNITS)), np.zeros((UNITS, UNITS)), np.zeros(UNITS)])
    x = torch.linspace(-8.3, 8.4, 40, dtype=torch.float64).view(4, 10, 1).requires_grad_()
    made = gw.convert.from_keras(layer)
    made.path = "reference"
    got, expected = made(x)[0], layer(x)
    torch.testing.assert_close(got, expected, **SINGLE)
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (got, expected)]
    torch.testing.assert_close(*slopes, **SINGLE)


def test_single_precision():
    made = check(built(single("LSTM", dtype="float32")), SINGLE)
    assert made.weight_dtype() == torch.float32


def test_steps_behind_a_sequences_end():
    """Keras' mask and our lengths; there Keras repeats the last output unless it is told not to."""
    lengths = torch.tensor([4, 1, 3])
    for layer in (
        built(single("GRU", zero_output_for_mask=True)),
        built(layers.Bidirectional(single("LSTM"))),
    ):
        x = inputs(layer)[0]
        mask = torch.arange(STEPS) < lengths[:, None]
        theirs, *states = layer(x, mask=mask)
        output, finals = gw.convert.from_keras(layer)(x, lengths=lengths)
        torch.testing.assert_close(output, theirs, **SINGLE)
        wanted = stacked(states, 2 if len(states) > 1 else 1)
        torch.testing.assert_close(finals, wanted, **SINGLE)


def test_directions_that_keras_gave_apart():
    layer = built(layers.Bidirectional(single("GRU", return_state=False), merge_mode=None))
    x = inputs(layer)[0]
    made = gw.convert.from_keras(layer)
    output, _ = made(x)
    torch.testing.assert_close(list(output.split(UNITS, dim=-1)), list(layer(x)), **EXACT)
    assert "Keras gave the directions apart" in gw.convert.explain(made)


def test_the_last_output_is_the_final_state():
    layer = built(single("LSTM", return_sequences=False, return_state=False, dropout=0.2))
    x = inputs(layer)[0]
    made = gw.convert.from_keras(layer)
    torch.testing.assert_close(made(x)[1][0][0], layer(x), **EXACT)
    assert gw.convert.explain(made).splitlines() == [
        "5 units; gates i, f, c, o are i, f, g, o here; matrices transposed",
        "Keras gave the last output only: that is the final state h",
        "dropout=0.2 of Keras acts in training only and is left out",
    ]


def test_a_layer_made_of_a_cell_and_the_way_on_to_torch():
    layer = layers.RNN(layers.GRUCell(UNITS), return_sequences=True)
    built(layer)
    made = gw.convert.from_keras(layer)
    x = inputs(made)[0]
    torch.testing.assert_close(gw.convert.to_torch(made)(x)[0], layer(x), **SINGLE)


def model():
    parts = [
        layers.LSTM(UNITS, return_sequences=True, name="low"),
        layers.Bidirectional(layers.GRU(UNITS), name="high"),
        layers.Dense(1),
    ]
    return keras.Sequential([keras.Input((None, FEATURES)), *parts])


def test_a_saved_model_gives_its_layers_by_name(tmp_path):
    path = tmp_path / "model.keras"
    whole = model()
    whole.save(path)
    x = inputs(whole)[0]
    low, high = (gw.convert.from_keras(path, name=n) for n in ("low", "high"))
    _, h = high(low(x)[0])
    expected = whole.layers[1](whole.layers[0](x))
    torch.testing.assert_close(torch.cat(list(h), dim=-1), expected, **EXACT)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(path.read_bytes()[:2000])
    refused("cut.keras cannot be read as a Keras model", cut)
    refused("none.keras does not exist or is no file", str(tmp_path / "none.keras"))
    refused("Recurrent ones: low (LSTM), high (Bidirectional). Name one with name=.", path)
    refused("has no one recurrent layer 'middle'. There: low (LSTM)", whole, name="middle")
    only = keras.Sequential([keras.Input((None, FEATURES)), layers.LSTM(UNITS)])
    assert gw.convert.from_keras(only).hidden_size == UNITS


def refused(message, *source, **options):
    with pytest.raises(ConvertError, match=re.escape(message)) as caught:
        gw.convert.from_keras(*source, **options)
    assert "\n" not in str(caught.value)


@keras.saving.register_keras_serializable()
class OwnCell(layers.LSTMCell):
    pass


def own_activation(x):
    return x


own_activation.__name__ = "tanh"


def test_what_cannot_be_is_refused_in_one_line():
    refused("Dense 'd': expected an LSTM, GRU, SimpleRNN", layers.Dense(3, name="d"))
    refused("Recurrent ones: none. Expected an LSTM", keras.Sequential([layers.Dense(3)]))
    refused("takes a layer or model of Keras 3, or the path of a saved one, got builtins.int", 3)
    refused("LSTM 'a' has no weights yet", layers.LSTM(3, name="a"))
    refused("got a ConvLSTM1D of ConvLSTMCell", layers.ConvLSTM1D(3, 2))
    refused("got a RNN of OwnCell", layers.RNN(OwnCell(3)))
    refused("activation=gelu is not one", built(single("GRU", activation="gelu")))
    refused("activation=tanh is not one", built(single("GRU", activation=own_activation)))
    for mode in ("sum", "ave", "mul"):
        pair = built(layers.Bidirectional(single("LSTM"), merge_mode=mode))
        refused(f"merge_mode='{mode}' has no layer here", pair)
    back = single("LSTM", go_backwards=True, activation="relu")
    refused(
        "its two directions differ",
        built(layers.Bidirectional(single("LSTM"), None, backward_layer=back)),
    )
    turned = layers.Bidirectional(single("LSTM", go_backwards=True), backward_layer=single("LSTM"))
    refused("its first direction runs backwards", built(turned))


def test_another_keras_or_none_is_told(monkeypatch, tmp_path):
    layer = built(single("LSTM"))
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    refused("from_keras reads Keras 3, this is 2.15.0. Load it in Keras 3.", layer)
    monkeypatch.setitem(sys.modules, "keras", None)
    there = tmp_path / "some.keras"
    there.touch()
    refused("from_keras of a file needs the package keras", there)
