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
INPUTS = {"LSTM": "X W R B sequence_lens initial_h initial_c P".split()}
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
    got = our_results(layer, given["X"], **options)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(theirs), **SINGLE)


LSTM_FULL = ("B", "sequence_lens", "initial_h", "initial_c", "P")
FULL = ("B", "sequence_lens", "initial_h")
HARD = {"activations": ["HardSigmoid", "ScaledTanh", "Affine"]}
NUMBERS = {"activation_alpha": [0.3, 0.8, 1.5], "activation_beta": [0.4, 0.7, -0.2]}
CASES = {
    "lstm": ("LSTM", ("B",), {}, "LSTM"),
    "lstm_no_bias": ("LSTM", (), {}, "LSTM"),
    "lstm_peephole": ("LSTM", LSTM_FULL, {}, "PeepholeLSTM"),
    "lstm_coupled": ("LSTM", ("B",), {"input_forget": 1}, "CoupledLSTM"),
    "lstm_coupled_peephole": ("LSTM", LSTM_FULL, {"input_forget": 1}, "CoupledPeepholeLSTM"),
    "lstm_clip": ("LSTM", LSTM_FULL, {"clip": 0.5}, "ImportedLSTM"),
    "lstm_clip_coupled": ("LSTM", (), {"clip": 0.5, "input_forget": 1}, "ImportedLSTM"),
    "lstm_hard": ("LSTM", LSTM_FULL, HARD | NUMBERS, "ImportedLSTM"),
    "lstm_hard_plain": ("LSTM", ("B",), HARD, "ImportedLSTM"),
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
    given["R"] /= 4  # those that do not bound their result would grow
    attributes = {"activations": [name]} | numbers
    layer = gw.convert.from_onnx(model_of("RNN", given, **attributes))
    check(layer, given, their_results("RNN", given, **attributes))
