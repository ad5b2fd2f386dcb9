"""A recurrent node of an ONNX model with what the graph says about its inputs.

An input is a constant where it is an initializer or is computed from constants alone (ONNX's own
reference evaluates that); any other is only known at run time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatework.convert.fill import framework
from gatework.errors import ConvertError

INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
EXPECTED = f"a node {', '.join(INPUTS)} of ONNX's own operators"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Node:
    """A recurrent node.

    Attributes:
        label: how errors call it.
        kind: the operator.
        attributes: as they are set; texts are str.
        constants: the inputs that are known, by ONNX's letters.
        at_run_time: the graph's names of those that are not.
    """

    label: str
    kind: str
    attributes: Mapping[str, Any]
    constants: Mapping[str, Array]
    at_run_time: Mapping[str, str]


def find(source: Any, weights: Mapping[str, Any] | None, name: str | None) -> Node:
    """The node of this name, or the only one.

    Args:
        source: a ModelProto, a path, or a NodeProto (then with the weights).
        weights: arrays by the names that the node gives its inputs.
        name: of the node, or of one of its outputs.

    Raises:
        ConvertError: no such file or node, or several and no name.
    """
    onnx = framework("onnx", "from_onnx")
    if isinstance(source, onnx.NodeProto):
        if _operator(source) is None:
            raise ConvertError(f"Got a node {source.op_type}; expected {EXPECTED}.")
        if weights is None:
            raise ConvertError(
                f"A node {source.op_type} has no weights in it. Pass "
                f"weights={{name: array}} by the names in node.input, or the whole model."
            )
        return _node(onnx, source, {k: np.asarray(v) for k, v in weights.items()}.get)
    if weights is not None:
        raise ConvertError("weights= goes with one node; a model brings its own. Leave it out.")
    if isinstance(source, (str, os.PathLike)):
        source = _loaded(onnx, Path(source))
    if not isinstance(source, onnx.ModelProto):
        raise ConvertError(
            f"from_onnx takes a ModelProto, a path or a NodeProto with weights=, got "
            f"{type(source).__module__}.{type(source).__name__}."
        )
    return _node(onnx, _chosen(source, name), _Constants(onnx, source).value)


def _loaded(onnx: Any, path: Path) -> Any:
    if not path.is_file():
        raise ConvertError(f"{path} does not exist or is no file. Pass an .onnx file.")
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's decoder, or the file of external weights
        told = str(error).partition("\n")[0]
        raise ConvertError(
            f"{path} cannot be read as an ONNX model ({type(error).__name__}: {told}). Pass a "
            f"whole .onnx file, with its file of weights beside it if it has one."
        ) from error


def _chosen(model: Any, name: str | None) -> Any:
    found = [node for node in model.graph.node if _operator(node) is not None]
    there = ", ".join(f"{_label(n)!r} ({n.op_type})" for n in found) or "none"
    if not found:
        raise ConvertError(f"This model has no recurrent node: expected {EXPECTED} in its graph.")
    if name is not None:
        found = [node for node in found if name in (node.name, *node.output)]
        if len(found) != 1:
            raise ConvertError(f"No one recurrent node is called {name!r}. There: {there}.")
    if len(found) != 1:
        raise ConvertError(f"This model has {len(found)} recurrent nodes: {there}. Name one: name=")
    return found[0]


def _node(onnx: Any, node: Any, value: Any) -> Node:
    """The node with the values of its inputs, where they are known."""
    constants, at_run_time = {}, {}
    for letter, name in zip(INPUTS[node.op_type], node.input, strict=False):
        if name and letter != "X":
            found = value(name)
            if found is None:
                at_run_time[letter] = name
            else:
                constants[letter] = found
    label = f"{node.op_type} {_label(node)!r}"
    for needed in ("W", "R", "B", "P"):
        if needed in at_run_time:
            raise ConvertError(
                f"{label}: {needed} ({at_run_time[needed]!r}) is no constant. Pass the node with "
                f"weights={{{at_run_time[needed]!r}: array}}, or a model with its weights inside."
            )
    if not {"W", "R"} <= constants.keys():
        raise ConvertError(
            f"{label}: it has no W or no R among its inputs, so it is no whole node."
        )
    attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
    return Node(label, node.op_type, attributes, constants, at_run_time)


class _Constants:
    """What of a graph is known before it runs."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx = onnx
        self.model = model
        self.stored = {t.name: t for t in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output if name}

    def value(self, name: str) -> Array | None:
        """The value of this name; ``None`` where it depends on an input of the model."""
        if name in self.stored:
            return np.asarray(self.onnx.numpy_helper.to_array(self.stored[name]))
        nodes = self.nodes_before(name)
        if nodes is None:
            return None
        helper = self.onnx.helper
        order = [node for node in self.model.graph.node if node in nodes]
        output = helper.make_empty_tensor_value_info(name)
        graph = helper.make_graph(order, "constants", [], [output], list(self.stored.values()))
        made = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        evaluator = framework("onnx.reference", "from_onnx").ReferenceEvaluator(made)
        return np.asarray(evaluator.run([name], {})[0])

    def nodes_before(self, name: str) -> list[Any] | None:
        """The nodes that compute a name; ``None`` where they read an input of the model."""
        needed: list[Any] = []
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name in self.stored or not name:
                continue
            node = self.makers.get(name)
            if node is None:
                return None
            if node not in needed:
                needed.append(node)
                waiting += node.input
        return needed


def _operator(node: Any) -> str | None:
    is_own = node.domain in ("", "ai.onnx") and node.op_type in INPUTS
    return str(node.op_type) if is_own else None


def _label(node: Any) -> str:
    return str(node.name or next((name for name in node.output if name), ""))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
