"""Recurrent nodes of ONNX as Gatework's layers.

ONNX keeps for each direction W (gates * H, F), R (gates * H, H), two biases in one row of B, and
its gates in the orders i, o, f, c and z, r, h; activations and their numbers are lists over the
gates' functions of all directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from gatework.convert import cells
from gatework.convert.activations import ONNX, Squash
from gatework.convert.fill import Weights, by_gate, recurrent
from gatework.convert.notes import noted
from gatework.convert.onnx_graph import Node, find
from gatework.convert.preset import Preset
from gatework.equations import Spec
from gatework.errors import ConvertError
from gatework.layers import Recurrent

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
FUNCTIONS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": ""}  # ONNX's order, in the equations' letters
KNOWN = {
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
    "input_forget", "layout", "linear_before_reset", "output_sequence",
}  # fmt: skip
TOLD = {
    "LSTM": "gates reordered from i, o, f, c to i, f, g, o",
    "GRU": "gates reordered from z, r, h to r, z, n",
}


def from_onnx(
    source: Any, weights: Mapping[str, Any] | None = None, *, name: str | None = None
) -> Recurrent | Preset:
    """A recurrent node of ONNX as a ``Recurrent``, its weights copied.

    The output is Y with the directions side by side, (T, B, D*H), or (B, T, D*H) with layout 1;
    the states are (D, B, H). A reversed node, or one with initial states or lengths in the file,
    is a ``Preset``.

    Args:
        source: a ModelProto, the path of an .onnx file, or one NodeProto.
        weights: for a NodeProto, arrays by the names in ``node.input``.
        name: the node's name or that of one of its outputs; the only one needs none.

    Raises:
        ConvertError: no such node or file, or a setting that cannot be represented.
    """
    node = find(source, weights, name)
    unknown = node.attributes.keys() - KNOWN
    if unknown:
        raise ConvertError(f"{node.label}: the attribute {min(unknown)} is not known here.")
    direction = node.attributes.get("direction", "forward")
    if direction not in DIRECTIONS:
        raise ConvertError(
            f"{node.label}: direction={direction!r}; expected one of {', '.join(DIRECTIONS)}."
        )
    count = DIRECTIONS[direction]
    _check_shapes(node, count)
    notes = [note for note in (TOLD.get(node.kind),) if note]
    spec = _same(node, [_spec(node, f) for f in _functions(node, count)])
    layer = recurrent(
        spec,
        [_weights(node, row, spec) for row in range(count)],
        bias="B" in node.constants,
        batch_first=bool(node.attributes.get("layout", 0)),
        source=node.label,
    )
    notes += _told(node, count)
    return noted(_preset(node, layer, direction == "reverse", notes), notes)


def _spec(node: Node, functions: list[Squash]) -> Spec:
    """The cell with the node's switches."""
    clip = node.attributes.get("clip")
    if node.kind == "LSTM":
        return cells.lstm(
            *functions,
            peephole="P" in node.constants,
            coupled=bool(node.attributes.get("input_forget", 0)),
            clip=clip,
        )
    if node.kind == "GRU":
        after = bool(node.attributes.get("linear_before_reset", 0))
        return cells.gru(*functions, reset_after=after, clip=clip)
    return cells.rnn(*functions, clip=clip)


def _same(node: Node, specs: list[Spec]) -> Spec:
    if specs[0] != specs[-1]:
        raise ConvertError(
            f"{node.label}: its two directions have other activations, and a layer has one cell. "
            f"Convert each direction as a node of its own."
        )
    return specs[0]


def _functions(node: Node, count: int) -> Iterator[list[Squash]]:
    """The activations of each direction; alphas and betas go to those that have them, in order."""
    default = FUNCTIONS[node.kind]
    names = node.attributes.get("activations") or [*default] * count
    if len(names) != len(default) * count:
        raise ConvertError(
            f"{node.label}: got {len(names)} activations, expected {len(default) * count}."
        )
    given = {
        which: iter(node.attributes.get(f"activation_{which}", ())) for which in ("alpha", "beta")
    }
    built = [_function(node, name, given) for name in names]
    for start in range(0, len(built), len(default)):
        yield built[start : start + len(default)]


def _function(node: Node, name: str, given: Mapping[str, Iterator[float]]) -> Squash:
    row = ONNX.get(name.lower())
    if row is None:
        raise ConvertError(
            f"{node.label}: the activation {name!r} is none of ONNX's: {', '.join(ONNX)}."
        )
    numbers = []
    for which, default in row.numbers.items():
        number = next(given[which], default)
        if number is None:
            raise ConvertError(
                f"{node.label}: {name} without its {which}, for which ONNX and ONNX Runtime have "
                f"different defaults. Write activation_{which} into the node."
            )
        numbers.append(float(number))
    return (lambda a: row.build(a, *numbers)) if numbers else row.build


def _weights(node: Node, row: int, spec: Spec) -> Weights:
    """One direction's arrays by the equations' names."""
    gates, constants = GATES[node.kind], node.constants
    W, R = constants["W"][row], constants["R"][row]
    both = np.split(constants["B"][row], 2) if "B" in constants else []
    if not gates:
        return {"W": W, "U": R} | ({"b": both[0] + both[1]} if both else {})
    weights = by_gate("W", gates, W) | by_gate("U", gates, R)
    if both:
        first, second = (by_gate("b", gates, b) for b in both)
        weights |= {name: first[name] + second[name] for name in first}
        if any(p.name == "d_n" for p in spec.parameters):
            weights |= {"b_n": first["b_n"], "d_n": second["b_n"]}
    if "P" in constants:
        weights |= by_gate("p", "iof", constants["P"][row])
    return weights


def _check_shapes(node: Node, count: int) -> None:
    gates = max(len(GATES[node.kind]), 1)
    W = node.constants["W"]
    features = W.shape[2] if W.ndim == 3 else "F"
    hidden = node.attributes.get("hidden_size") or node.constants["R"].shape[-1]
    expected = {
        "W": (count, gates * hidden, features),
        "R": (count, gates * hidden, hidden),
        "B": (count, 2 * gates * hidden),
        "P": (count, 3 * hidden),
    }
    for letter, shape in expected.items():
        got = node.constants[letter].shape if letter in node.constants else shape
        if got != shape:
            raise ConvertError(
                f"{node.label}: {letter} has shape {got}, expected {shape} for {count} "
                f"direction(s) and hidden_size={hidden}. The node and its weights do not fit."
            )


def _told(node: Node, count: int) -> list[str]:
    """What else was done, and what the caller has to know."""
    settings, notes = node.attributes, []
    if "B" in node.constants:
        after = node.kind == "GRU" and settings.get("linear_before_reset", 0)
        extra = "; those of n are b_n and d_n" if after else ""
        notes.append(f"two biases summed{extra}")
    else:
        notes.append("no B: a layer without biases")
    if settings.get("input_forget", 0):
        notes.append("input_forget: f = 1 - i, so the weights of the forget gate are left out")
    if "P" in node.constants:
        notes.append("peepholes: the output gate sees the new cell state")
    if "clip" in settings:
        notes.append(
            "clip bounds what goes into the gates and the candidate, as in ONNX Runtime, and "
            "not the cell state on its way out"
        )
    if settings.get("layout", 0):
        notes.append("layout 1: the input is (B, T, F); states stay (D, B, H)")
    if count == 2:
        notes.append("Y (T, D, B, H) is the output (T, B, D*H) here")
    waits = {"sequence_lens": "lengths", "initial_h": "hx", "initial_c": "hx"}
    for letter, argument in waits.items():
        if letter in node.at_run_time:
            notes.append(
                f"{letter} ({node.at_run_time[letter]!r}) is known at run time only: pass it as "
                f"{argument}=; without it {'all steps' if argument == 'lengths' else 'zeros'}"
            )
    return notes


def _preset(node: Node, layer: Recurrent, reverse: bool, notes: list[str]) -> Recurrent | Preset:
    """The layer, set up with what the node has of its own."""
    letters = [f"initial_{s.name}" for s in layer.spec.states]
    states: tuple[torch.Tensor, ...] = ()
    if any(np.any(node.constants.get(letter, 0)) for letter in letters):
        shape = node.constants[next(k for k in letters if k in node.constants)].shape
        arrays = [node.constants.get(k, np.zeros(shape)) for k in letters]
        if node.attributes.get("layout", 0):
            arrays = [a.swapaxes(0, 1) for a in arrays]
        states = tuple(torch.from_numpy(np.array(a)).to(layer.weight_dtype()) for a in arrays)
        notes.append("initial states of the file are those of a call without hx")
    lengths = None
    if "sequence_lens" in node.constants:
        lengths = torch.from_numpy(np.array(node.constants["sequence_lens"])).long()
        notes.append("sequence_lens of the file is that of a call without lengths")
    if not (reverse or states or lengths is not None):
        return layer
    return Preset(layer, reverse=reverse, states=states, lengths=lengths)
