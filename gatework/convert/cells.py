"""The cells of other frameworks, written with their switches.

A cell whose switches make it one of the catalogue's is that one; any other is written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import new_class
from typing import Any

from gatework.cells import all_cells
from gatework.convert.activations import Squash, clipped
from gatework.equations import Cell, Input, Matrix, Spec, State, Vector, sigmoid, tanh
from gatework.equations.ops import Primitive
from gatework.equations.spec import NEXT
from gatework.equations.transform.curves import linear

Body = dict[str, Any]


def lstm(
    gate: Squash = sigmoid,
    candidate: Squash = tanh,
    output: Squash = tanh,
    *,
    peephole: bool = False,
    coupled: bool = False,
    clip: float | None = None,
) -> Spec:
    """An LSTM: states h and c, gates i, f, g, o.

    Args:
        gate: the activation of i, f and o.
        candidate: the activation of g.
        output: what the new cell state goes through on its way out.
        peephole: i and f see the cell state, o the new one.
        coupled: f = 1 - i.
        clip: the bound of what goes into the activations of i, f, g and o.
    """
    gates = "igo" if coupled else "ifgo"

    def body(names: Body) -> None:
        x, h, c = _declare(names, "hc", gates, gates)
        peeping = [k for k in gates if k != "g"] if peephole else []
        names |= {f"p_{k}": Vector() for k in peeping}

        def put(k: str, squash: Squash, cell_state: Any) -> Any:
            total = names[f"W_{k}"] @ x + names[f"U_{k}"] @ h
            if k in peeping:
                total = total + names[f"p_{k}"] * cell_state
            return _put(names, k, total + names[f"b_{k}"], squash, clip)

        i = put("i", gate, c)
        if coupled:
            names["f"] = f = 1 - i
        else:
            f = put("f", gate, c)
        g = put("g", candidate, c)
        if peephole:
            names["c_next"] = c_next = f * c + i * g
            o = put("o", gate, c_next)
        else:
            o = put("o", gate, c)
            names["c_next"] = c_next = f * c + i * g
        names["h_next"] = o * output(c_next)

    return _cell("ImportedLSTM", "An LSTM with the switches of where it came from.", body)


def gru(
    gate: Squash = sigmoid,
    candidate: Squash = tanh,
    *,
    reset_after: bool = True,
    clip: float | None = None,
) -> Spec:
    """A GRU: state h, gates r, z, n; z keeps the old state.

    Args:
        gate: the activation of r and z.
        candidate: the activation of n.
        reset_after: r multiplies the product with the state (and its bias d_n), not the state.
        clip: the bound of what goes into the activations.
    """

    def body(names: Body) -> None:
        x, h = _declare(names, "h", "rzn", "rzn")
        if reset_after:
            names["d_n"] = Vector()
        r, z = (
            _put(
                names,
                k,
                names[f"W_{k}"] @ x + names[f"U_{k}"] @ h + names[f"b_{k}"],
                gate,
                clip,
            )
            for k in "rz"
        )
        if reset_after:
            total = names["W_n"] @ x + names["b_n"] + r * (names["U_n"] @ h + names["d_n"])
        else:
            total = names["W_n"] @ x + names["U_n"] @ (r * h) + names["b_n"]
        n = _put(names, "n", total, candidate, clip)
        names["h_next"] = (1 - z) * n + z * h

    return _cell("ImportedGRU", "A GRU with the switches of where it came from.", body)


def rnn(squash: Squash = tanh, *, clip: float | None = None) -> Spec:
    """A simple recurrent network: its activation, and the bound of what goes into it."""

    def body(names: Body) -> None:
        names["x"], names["h"] = x, h = Input(), State()
        names["W"], names["U"], names["b"] = W, U, b = Matrix(x), Matrix(h), Vector()
        _put(names, "h_next", W @ x + U @ h + b, squash, clip)

    return _cell("ImportedRNN", "A simple network with the switches of where it came from.", body)


def _declare(names: Body, states: str, gates: str, biases: str) -> list[Any]:
    """Input, states, and for each gate two matrices and a bias; the input and the states."""
    names["x"] = x = Input()
    names |= {name: State() for name in states}
    names |= {f"W_{k}": Matrix(x) for k in gates}
    names |= {f"U_{k}": Matrix(names["h"]) for k in gates}
    names |= {f"b_{k}": Vector() for k in biases}
    return [x, *(names[name] for name in states)]


def _put(names: Body, name: str, total: Any, squash: Squash, clip: float | None) -> Any:
    """Set ``name`` to the activation of a sum; where more than one thing reads it, it is named."""
    stem = name.removesuffix(NEXT)
    if clip is not None:
        names[f"a_{stem}"] = total
        total = clipped(total, clip)
    if not (isinstance(squash, Primitive) or squash is linear):
        names[f"s_{stem}"] = total
    names[name] = value = squash(total)
    return value


def _cell(name: str, doc: str, body: Callable[[Body], None]) -> Spec:
    """The finished cell; the catalogue's own where it is there."""

    def exec_body(names: Body) -> None:
        names["__doc__"] = doc
        body(names)

    spec: Spec = new_class(name, (Cell,), exec_body=exec_body).spec  # type: ignore[attr-defined]
    return next((cell.spec for cell in all_cells() if cell.spec == spec), spec)
