"""from_onnx against ONNX Runtime, which executes the same node in the same run."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from tolerances import SINGLE

import gatework as gw
from gatework.errors import ConvertError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

STEPS, BATCH, FEATURES, HIDDEN = 6, 3, 2, 4
LENGTHS = [4, 6, 1]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUTS = {"LSTM": ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]}
INPUTS["GRU"] = INPUTS["RNN"] = INPUTS["LSTM"][:6]
OUTPUTS = {"LSTM": ["Y", "Y_h", "Y_c"], "GRU": ["Y", "Y_h"], "RNN": ["Y", "Y_h"]}


def arrays(kind, inputs, directions, seed=0):
    """Random unequal values for the inputs of a node, X always."""
    make, gates = np.random.default_rng(seed), GATES[kind] * HIDDEN
    shapes = {
        "X": (STEPS, BATCH, FEATURES),
        "W": (directions, gates, FEATURES),
        "R": (directions, gates, HIDDEN),
        "B": (directions, 2 * gates),
        "initial_h": (directions, BATCH, HIDDEN),
        "initial_c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    found = {n: make.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    found["sequence_lens"] = np.array(LENGTHS, dtype=np.int32)
    return {n: found[n] for n in INPUTS[kind] if n in ("X", "W", "R") or n in inputs}


def made_node(kind, given, name="", prefix="", **attributes):
    names = [prefix + n if n in given else "" for n in INPUTS[kind]]
    while not names[-1]:
        names.pop()
    outputs = [prefix + n for n in OUTPUTS[kind]]
    return onnx.helper.make_node(kind, names, outputs, name, hidden_size=HIDDEN, **attributes)


def made_model(nodes, fed, stored, outputs):
    """A model whose inputs are ``fed`` and whose initializers are ``stored``."""
    helper, types = onnx.helper, onnx.TensorProto
    elements = {n: types.INT32 if a.dtype == np.int32 else types.FLOAT for n, a in fed.items()}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, e, fed[n].shape) for n, e in elements.items()],
        [helper.make_tensor_value_info(n, types.FLOAT, None) for n in outputs],
        [onnx.numpy_helper.from_array(a, n) for n, a in stored.items()],
    )
    imports = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def model_of(kind, given, fed=("X",), **attributes):
    stored = {n: a for n, a in given.items() if n not in fed}
    feeds = {n: a for n, a in given.items() if n in fed}
    node = made_node(kind, given, "layer", **attributes)
    return made_model([node], feeds, stored, OUTPUTS[kind])


@cache
def runtime():
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def their_results(kind, given, **attributes):
    """Y as (T, B, D*H), and the final states."""
    model = model_of(kind, given, fed=tuple(given), **attributes)
    session = runtime().InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    output, *states = session.run(None, given)
    return [output.swapaxes(1, 2).reshape(STEPS, BATCH, -1), *states]


def our_results(layer, x, **options):
    getattr(layer, "layer", layer).path = "reference"  # the same equations, no kernel to compile
    with torch.no_grad():
        output, states = layer(torch.from_numpy(x), **options)
    return [output, *((states,) if isinstance(states, torch.Tensor) else states)]


def check(layer, given, expected, **options):
    check_all(our_results(layer, given["X"], **options), expected)


def check_all(got, expected):
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(theirs), **SINGLE)


LSTM_FULL = ("B", "sequence_lens", "initial_h", "initial_c", "P")
FULL = ("B", "sequence_lens", "initial_h")
HARD = {"activations": ["HardSigmoid", "ScaledTanh", "Affine"]}
NUMBERS = {"activation_alpha": [0.3, 0.8, 1.5], "activation_beta": [0.4, 0.7, -0.2]}
HARD_DEFAULT = ["HardSigmoid", "Elu", "LeakyRelu"]
CASES = {
    "lstm": ("LSTM", ("B",), {}, "LSTM"),
    "lstm_no_bias": ("LSTM", (), {}, "LSTM"),
    "lstm_peephole": ("LSTM", LSTM_FULL, {}, "PeepholeLSTM"),
    "lstm_coupled": ("LSTM", ("B",), {"input_forget": 1}, "CoupledLSTM"),
    "lstm_coupled_peephole": ("LSTM", LSTM_FULL, {"input_forget": 1}, "CoupledPeepholeLSTM"),
    "lstm_clip": ("LSTM", LSTM_FULL, {"clip": 0.5}, "ImportedLSTM"),
    "lstm_clip_coupled": ("LSTM", (), {"clip": 0.5, "input_forget": 1}, "ImportedLSTM"),
    "lstm_hard": ("LSTM", LSTM_FULL, HARD | NUMBERS, "ImportedLSTM"),
    "lstm_hard_default": ("LSTM", ("B",), {"activations": HARD_DEFAULT}, "ImportedLSTM"),
    "gru": ("GRU", FULL, {}, "GRUResetBefore"),
    "gru_after": ("GRU", FULL, {"linear_before_reset": 1}, "GRU"),
    "gru_no_bias": ("GRU", (), {"linear_before_reset": 1}, "GRU"),
    "gru_clip": ("GRU", FULL, {"clip": 0.5}, "ImportedGRU"),
    "gru_clip_after": ("GRU", FULL, {"clip": 0.5, "linear_before_reset": 1}, "ImportedGRU"),
    "rnn": ("RNN", FULL, {}, "RNN"),
    "rnn_no_bias": ("RNN", (), {}, "RNN"),
    "rnn_clip": ("RNN", FULL, {"clip": 0.5}, "ImportedRNN"),
}


def once_for_each(attributes, directions):
    """Lists over the functions of one direction, for all directions."""
    return {k: v * directions if isinstance(v, list) else v for k, v in attributes.items()}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_what_onnx_runtime_executes(case, direction):
    kind, inputs, attributes, cell = CASES[case]
    directions = 2 if direction == "bidirectional" else 1
    given = arrays(kind, inputs, directions)
    attributes = once_for_each(attributes, directions) | {"direction": direction}
    layer = gw.convert.from_onnx(model_of(kind, given, **attributes))
    assert getattr(layer, "layer", layer).spec.name == cell
    check(layer, given, their_results(kind, given, **attributes))


ACTIVATIONS = ["Affine", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "ScaledTanh", "Sigmoid",
               "Softplus", "Softsign", "Tanh", "ThresholdedRelu"]  # fmt: skip


@pytest.mark.parametrize("with_numbers", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_onnx_runtimes(name, with_numbers):
    numbers = {"activation_alpha": [0.7], "activation_beta": [0.3]} if with_numbers else {}
    given = arrays("RNN", ("B",), 1)
    given["X"] *= 4  # to both sides of every bend
    given["R"] /= 16  # those that do not bound their result would grow
    model = model_of("RNN", given, activations=[name], **numbers)
    if not with_numbers and name in ("Affine", "ScaledTanh", "ThresholdedRelu"):
        with pytest.raises(ConvertError, match=r"defaults\. Write activation_alpha"):
            gw.convert.from_onnx(model)
        return
    expected = their_results("RNN", given, activations=[name], **numbers)
    check(gw.convert.from_onnx(model), given, expected)


@pytest.mark.parametrize("fed", [("X",), ("X", "sequence_lens", "initial_h", "initial_c")])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_states_and_lengths_are_those_of_the_file_or_of_the_call(direction, fed):
    given = arrays("LSTM", LSTM_FULL, 2 if direction == "bidirectional" else 1)
    expected = their_results("LSTM", given, direction=direction)
    layer = gw.convert.from_onnx(model_of("LSTM", given, fed=fed, direction=direction))
    options = {}
    if len(fed) > 1:
        assert "initial_c ('initial_c') is known at run time only" in gw.convert.explain(layer)
        states = tuple(torch.from_numpy(given[n]) for n in ("initial_h", "initial_c"))
        options = {"lengths": LENGTHS, "hx": states}
    check(layer, given, expected, **options)


def test_batch_first_of_layout_1_is_the_same_node_turned():
    """ONNX Runtime has layout 0 alone; ONNX's own reference evaluates layout 1 of one direction."""
    given = arrays("GRU", ("B", "initial_h"), 2)
    expected = their_results("GRU", given, direction="bidirectional")
    turned = given | {n: given[n].swapaxes(0, 1) for n in ("X", "initial_h")}
    model = model_of("GRU", turned, direction="bidirectional", layout=1)
    layer = gw.convert.from_onnx(model)
    output, *states = our_results(layer, turned["X"])
    check_all([output.transpose(0, 1), *states], expected)


def test_layout_1_is_what_the_reference_of_onnx_evaluates():
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    given = arrays("LSTM", ("B", "P"), 1)
    given["X"] = given["X"].swapaxes(0, 1)
    theirs = evaluator(model_of("LSTM", given, fed=tuple(given), layout=1)).run(None, given)
    layer = gw.convert.from_onnx(model_of("LSTM", given, layout=1))
    got = our_results(layer, given["X"])
    check_all(got, [a.reshape(b.shape) for a, b in zip(theirs, got, strict=True)])


def test_one_node_with_its_weights_in_any_names():
    given = arrays("GRU", ("B",), 1)
    node = made_node("GRU", given, prefix="w.", linear_before_reset=1)
    before = torch.get_rng_state()
    layer = gw.convert.from_onnx(node, {f"w.{n}": torch.from_numpy(a) for n, a in given.items()})
    assert torch.equal(torch.get_rng_state(), before)
    check(layer, given, their_results("GRU", given, linear_before_reset=1))
    assert gw.convert.explain(layer).splitlines() == [
        "gates reordered from z, r, h to r, z, n",
        "two biases summed; those of n are b_n and d_n",
    ]
    back = gw.convert.to_torch(layer)  # the cell of linear_before_reset is torch's
    check(back, given, their_results("GRU", given, linear_before_reset=1))


def test_weights_that_the_graph_computes_from_constants_are_evaluated():
    given = arrays("RNN", ("B",), 1)
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    axes = numpy_helper.from_array(np.array([0]), "axes")
    nodes = [
        helper.make_node("Constant", [], ["flat"], value=numpy_helper.from_array(given["W"][0])),
        helper.make_node("Unsqueeze", ["flat", "axes"], ["W"]),
        made_node("RNN", given),
    ]
    stored = {"R": given["R"], "B": given["B"]}
    model = made_model(nodes, {"X": given["X"]}, stored, OUTPUTS["RNN"])
    model.graph.initializer.append(axes)
    check(gw.convert.from_onnx(model), given, their_results("RNN", given))


def two_layers():
    given = arrays("RNN", (), 1)
    nodes = [made_node("RNN", given, n, n) for n in ("first", "second")]
    stored = {n + k: given[k] for n in ("first", "second") for k in ("W", "R")}
    stored["secondW"] = 2 * stored["secondW"]
    return made_model(nodes, {"firstX": given["X"], "secondX": given["X"]}, stored, ["firstY"])


@pytest.mark.parametrize("name", ["second", "secondY_h"])
def test_a_node_is_found_by_its_name_or_its_output(name):
    layer = gw.convert.from_onnx(two_layers(), name=name)
    assert torch.equal(layer.W_l0.detach(), torch.from_numpy(2 * arrays("RNN", (), 1)["W"][0]))


def saved(model, path, bytes_left=None):
    path.write_bytes(model.SerializeToString()[:bytes_left])
    return path


def test_a_file_is_read_and_a_broken_one_refused(tmp_path):
    given = arrays("LSTM", ("B", "P"), 1)
    model = model_of("LSTM", given)
    whole = saved(model, tmp_path / "whole.onnx")
    check(gw.convert.from_onnx(str(whole)), given, their_results("LSTM", given))
    for source, message in (
        (saved(model, tmp_path / "cut.onnx", 300), "cut.onnx cannot be read as an ONNX model"),
        (saved(model, tmp_path / "empty.onnx", 0), "This model has no recurrent node"),
        (tmp_path / "none.onnx", "none.onnx does not exist or is no file"),
    ):
        refused(message, source)


def refused(message, *source, **options):
    with pytest.raises(ConvertError, match=re.escape(message)) as caught:
        gw.convert.from_onnx(*source, **options)
    assert "\n" not in str(caught.value)


def test_what_is_no_recurrent_node_or_does_not_fit_is_refused_in_one_line():
    given = arrays("LSTM", ("B",), 1)
    two = arrays("LSTM", ("B",), 2)
    node = made_node("LSTM", given)
    no_layer = onnx.helper.make_node("Relu", ["X"], ["Y"])
    narrow = given | {"R": given["R"][:, :, 1:]}
    mixed = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"]
    refused("no recurrent node: expected", made_model([no_layer], {"X": given["X"]}, {}, ["Y"]))
    refused("2 recurrent nodes: 'first' (RNN), 'second' (RNN). Name one: name=", two_layers())
    refused("is called 'third'. There: 'first' (RNN)", two_layers(), name="third")
    refused("Got a node Relu; expected a node LSTM", no_layer, {})
    refused("A node LSTM has no weights in it", node)
    refused("weights= goes with one node", model_of("LSTM", given), {})
    refused("takes a ModelProto, a path or a NodeProto", 3)
    refused("W ('W') is no constant", node, {"R": given["R"]})
    refused("W ('W') is no constant", model_of("LSTM", given, fed=("X", "W")))
    refused("'Y': R has shape (1, 16, 3), expected (1, 16, 4)", node, narrow)
    refused("expected (2, 16, 2)", model_of("LSTM", given, direction="bidirectional"))
    refused("the attribute scale is not known here", model_of("LSTM", given, scale=2))
    refused("direction='up'; expected one of", model_of("LSTM", given, direction="up"))
    refused("'Gelu' is none of ONNX's", model_of("LSTM", given, activations=["Gelu"] * 3))
    refused("got 2 activations, expected 3", model_of("LSTM", given, activations=["Tanh"] * 2))
    other = model_of("LSTM", two, direction="bidirectional", activations=mixed)
    refused("its two directions have other activations", other)
    refused("the weights are int8", node, {n: a.astype(np.int8) for n, a in given.items()})


def test_a_sequence_of_length_zero_ends_where_it_began():
    given = arrays("GRU", FULL, 1) | {"sequence_lens": np.array([4, 0, 6], dtype=np.int32)}
    expected = their_results("GRU", given)
    assert not expected[1][:, 1].any()  # ONNX Runtime forgets the initial state of such a row
    expected[1][:, 1] = given["initial_h"][:, 1]
    check(gw.convert.from_onnx(model_of("GRU", given)), given, expected)
