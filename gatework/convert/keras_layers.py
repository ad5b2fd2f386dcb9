"""Recurrent layers of Keras 3 as Gatework's.

Keras keeps (F, gates * H) matrices, one bias (the GRU with reset_after two) and its gates in the
orders i, f, c, o and z, r, h. Keras itself is only imported to read a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatework.convert import cells
from gatework.convert.activations import KERAS, Squash
from gatework.convert.fill import Weights, by_gate, framework, recurrent
from gatework.convert.notes import noted
from gatework.convert.preset import Preset
from gatework.equations import Spec
from gatework.errors import ConvertError
from gatework.layers import Recurrent

EXPECTED = "an LSTM, GRU, SimpleRNN, an RNN of one of their cells, or a Bidirectional of these"
MERGED = {
    "sum": "sum the two halves of the output",
    "ave": "take the mean of the two halves of the output",
    "mul": "multiply the two halves of the output",
}


def from_keras(source: Any, *, name: str | None = None) -> Recurrent | Preset:
    """A recurrent layer of Keras 3 as a ``Recurrent`` with batch_first, its weights copied.

    The layer gives the output of every step and the final states, whatever return_sequences and
    return_state were. With go_backwards it is a ``Preset`` that reads from the end.

    Args:
        source: a built layer, a model, or the path of a saved one (``.keras``).
        name: which layer of a model; the only recurrent one needs no name.

    Raises:
        ConvertError: no such layer or file, or a setting that cannot be represented.
    """
    notes: list[str] = []
    layer = _loaded(Path(source), notes) if isinstance(source, (str, os.PathLike)) else source
    _check_is_keras(layer)
    chosen = _chosen(layer, name)
    made = _bidirectional(chosen, notes) if _is_pair(chosen) else _single(chosen, notes)
    return noted(made, notes)


def _single(layer: Any, notes: list[str]) -> Recurrent | Preset:
    part = _read(layer)
    made = _made([part], layer, notes)
    if not layer.go_backwards:
        return made
    if layer.return_sequences:
        notes.append("outputs lie in the order of the input; Keras gave the last step first")
    return Preset(made, reverse=True)


def _bidirectional(pair: Any, notes: list[str]) -> Recurrent | Preset:
    if pair.merge_mode in MERGED:
        raise ConvertError(
            f"{_label(pair)}: merge_mode={pair.merge_mode!r} has no layer here, which puts both "
            f"directions side by side. Set merge_mode='concat', convert, and "
            f"{MERGED[pair.merge_mode]} yourself."
        )
    there, back = pair.forward_layer, pair.backward_layer
    if there.go_backwards:
        raise ConvertError(
            f"{_label(pair)}: its first direction runs backwards. Exchange forward_layer and "
            f"backward_layer."
        )
    parts = [_read(there), _read(back)]
    if parts[0].key() != parts[1].key():
        raise ConvertError(
            f"{_label(pair)}: its two directions differ in more than their weights "
            f"(got {parts[0].told()} and {parts[1].told()}). Convert forward_layer and "
            f"backward_layer each."
        )
    if pair.merge_mode is None:
        notes.append("Keras gave the directions apart: output[..., :H] and output[..., H:]")
    return _made(parts, pair, notes)


@dataclass(frozen=True)
class _Part:
    """What one direction is."""

    spec: Spec
    weights: Weights
    bias: bool
    notes: tuple[str, ...]

    def key(self) -> tuple[Any, ...]:
        shapes = sorted((name, w.shape) for name, w in self.weights.items())
        return self.spec, self.bias, shapes

    def told(self) -> str:
        return f"{self.spec.name} with{'' if self.bias else 'out'} bias, {self.notes[0]}"


def _made(parts: list[_Part], layer: Any, notes: list[str]) -> Recurrent:
    """The layer, and the notes of what Keras would do around it."""
    first = parts[0]
    notes += first.notes
    inner = getattr(layer, "forward_layer", layer)
    if not inner.return_sequences:
        notes.append("Keras gave the last output only: that is the final state h")
    for dropped in ("dropout", "recurrent_dropout"):
        rate = getattr(inner.cell, dropped, 0)
        if rate:
            notes.append(f"{dropped}={rate} of Keras acts in training only and is left out")
    if inner.stateful:
        notes.append("stateful: pass the final states on as hx, or use layer.stream()")
    return recurrent(
        first.spec,
        [p.weights for p in parts],
        bias=first.bias,
        batch_first=True,
        source=_label(layer),
    )


def _read(layer: Any) -> _Part:
    """Cell and weights of one direction, by the equations' names."""
    cell: Any = getattr(layer, "cell", None)
    kind = type(cell).__name__
    if kind not in READERS or not _is_kerass_own(cell) or not _is_kerass_own(layer):
        raise ConvertError(
            f"{_label(layer)}: got a {type(layer).__name__} of {kind}; expected {EXPECTED}, "
            f"as Keras has them."
        )
    arrays = [np.asarray(a) for a in cell.get_weights()]
    if not arrays:
        raise ConvertError(
            f"{_label(layer)} has no weights yet. Call it on data once, or build((None, None, F))."
        )
    kernel, recurrent_kernel, *rest = arrays
    return READERS[kind](cell, kernel.T, recurrent_kernel.T, rest[0] if rest else None)


def _lstm(cell: Any, W: Any, U: Any, b: Any) -> _Part:
    squash = _activation(cell, "activation")
    spec = cells.lstm(_activation(cell, "recurrent_activation"), squash, squash)
    weights = by_gate("W", "ifgo", W) | by_gate("U", "ifgo", U)
    if b is not None:
        weights |= by_gate("b", "ifgo", b)
    order = f"{cell.units} units; gates i, f, c, o are i, f, g, o here; matrices transposed"
    return _Part(spec, weights, b is not None, (order,))


def _gru(cell: Any, W: Any, U: Any, b: Any) -> _Part:
    gate, squash = _activation(cell, "recurrent_activation"), _activation(cell, "activation")
    spec = cells.gru(gate, squash, reset_after=cell.reset_after)
    weights = by_gate("W", "zrn", W) | by_gate("U", "zrn", U)
    notes = [f"{cell.units} units; gates reordered from z, r, h to r, z, n; matrices transposed"]
    if b is not None and cell.reset_after:
        first, second = (by_gate("b", "zrn", row) for row in b)
        weights |= {k: first[k] + second[k] for k in ("b_r", "b_z")}
        weights |= {"b_n": first["b_n"], "d_n": second["b_n"]}
        notes.append("two biases of r and of z summed; those of n are b_n and d_n")
    elif b is not None:
        weights |= by_gate("b", "zrn", b)
    return _Part(spec, weights, b is not None, tuple(notes))


def _simple(cell: Any, W: Any, U: Any, b: Any) -> _Part:
    weights = {"W": W, "U": U} | ({} if b is None else {"b": b})
    notes = (f"{cell.units} units; matrices transposed",)
    return _Part(cells.rnn(_activation(cell, "activation")), weights, b is not None, notes)


READERS = {"LSTMCell": _lstm, "GRUCell": _gru, "SimpleRNNCell": _simple}


def _activation(cell: Any, which: str) -> Squash:
    function = getattr(cell, which)
    name = getattr(function, "__name__", type(function).__name__)
    if name not in KERAS or not (getattr(function, "__module__", "") or "").startswith("keras."):
        raise ConvertError(
            f"{type(cell).__name__}: {which}={name} is not one that the equations can write. "
            f"Those that they can: {', '.join(KERAS)}."
        )
    return KERAS[name]


def _check_is_keras(layer: Any) -> None:
    roots = {kind.__module__.partition(".")[0] for kind in type(layer).__mro__}
    if "keras" not in roots:
        raise ConvertError(
            f"from_keras takes a layer or model of Keras 3, or the path of a saved one, got "
            f"{type(layer).__module__}.{type(layer).__name__}."
        )
    version = str(getattr(sys.modules.get("keras"), "__version__", "0"))
    if int(version.partition(".")[0]) < 3:
        raise ConvertError(f"from_keras reads Keras 3, this is {version}. Load it in Keras 3.")


def _loaded(path: Path, notes: list[str]) -> Any:
    if not path.is_file():
        raise ConvertError(f"{path} does not exist or is no file. Pass a saved .keras file.")
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        os.environ["KERAS_BACKEND"] = "torch"  # what is here already; read once, at the import
        notes.append("KERAS_BACKEND was not set; Keras runs on torch")
    keras = framework("keras", "from_keras of a file")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, HDF5, JSON and Keras' own, depending on what is broken
        told = next(
            (line.strip().partition(". ")[0] for line in str(error).splitlines() if line.strip()),
            "",
        )
        raise ConvertError(
            f"{path} cannot be read as a Keras model ({type(error).__name__}: {told}). Pass a "
            f"whole file of model.save('name.keras'); with classes of your own, the loaded model."
        ) from error


def _chosen(layer: Any, name: str | None) -> Any:
    """The recurrent layer of this name, or the only one."""
    if not hasattr(layer, "layers"):
        if not _is_recurrent(layer):
            raise ConvertError(f"{_label(layer)}: expected {EXPECTED}.")
        return layer
    found = [part for part in _walk(layer) if _is_recurrent(part)]
    there = ", ".join(f"{p.name} ({type(p).__name__})" for p in found) or "none"
    if name is not None:
        found = [part for part in found if part.name == name]
        if len(found) != 1:
            raise ConvertError(
                f"{_label(layer)} has no one recurrent layer {name!r}. There: {there}."
            )
    if len(found) != 1:
        asked = "Name one with name=." if found else f"Expected {EXPECTED}."
        raise ConvertError(f"Which layer of {_label(layer)}? Recurrent ones: {there}. {asked}")
    return found[0]


def _walk(model: Any) -> Iterator[Any]:
    for part in model.layers:
        yield part
        if hasattr(part, "layers"):
            yield from _walk(part)


def _is_recurrent(layer: Any) -> bool:
    return hasattr(layer, "cell") or _is_pair(layer)


def _is_pair(layer: Any) -> bool:
    return hasattr(layer, "forward_layer") and hasattr(layer, "backward_layer")


def _is_kerass_own(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] == "keras"


def _label(layer: Any) -> str:
    return f"{type(layer).__name__} {getattr(layer, 'name', '')!r}"
