"""What every layer can be told beyond torch's arguments, in one place.

Most of it makes another cell, by the functions of ``gatework.transform`` in the order of
``rewritten``; the rest is about the stack. Whatever these words cannot say is written with the
functions themselves: ``Recurrent(transform.zoneout(...), ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast

from gatework.equations import Spec, transform
from gatework.equations.expr import is_number
from gatework.equations.transform.curves import Function, kinds, name_of_function
from gatework.errors import CellError
from gatework.layers.initial import Initialiser


class Switches(TypedDict, total=False):
    """Keyword arguments of ``Recurrent``, ``LSTM``, ``GRU`` and ``RNN``.

    Attributes:
        peephole: the gates see the cell state (Gers & Schmidhuber 2002).
        coupled: the input gate is 1 - f, as in TensorFlow 1.
        layer_norm: gates are normalised; a state's name ("c"): this state too, where it is shown.
        activation: of what is written and what is shown, in the place of tanh (or relu): a name
            of ``transform.FUNCTIONS`` or a function of an expression.
        gate_activation: of the gates, in the place of sigmoid.
        cell_clip: the cell state stays within ± this.
        proj_clip: the projected state stays within ± this.
        recurrent_dropout: probability of dropping a unit of the candidate, step by step.
        zoneout: rate at which units keep their old state: a number for all states, or by name.
        heads: blocks of the recurrent matrices, each head of units sees itself alone; a state
            that is a matrix or one number is there for each head.
        forget_bias: initial value of the forget gate's bias (``b_f``).
        init: "torch", "orthogonal", "keras", "identity", or a function of ``layers.initial``.
        weight_drop: probability of dropping a recurrent weight, once for each call, in training
            (Merity et al. 2017).
        residual: each layer's input is added to its output; the states stay without it.
        learned_states: the initial states are parameters (``first_h`` ..., (L*D, size)), which
            begin at zero; ``hx`` goes before them.
        checkpoint: "sqrt" or a number of steps: training keeps the states between segments of
            sqrt(T) or so many steps alone, and makes the rest again on the way back.
    """

    peephole: bool
    coupled: bool
    layer_norm: bool | str
    activation: str | Function | None
    gate_activation: str | Function | None
    cell_clip: float | None
    proj_clip: float | None
    recurrent_dropout: float
    zoneout: float | Mapping[str, float]
    heads: int
    forget_bias: float | None
    init: str | Initialiser
    weight_drop: float
    residual: bool
    learned_states: bool
    checkpoint: str | int | None


DEFAULTS = Switches(
    peephole=False,
    coupled=False,
    layer_norm=False,
    activation=None,
    gate_activation=None,
    cell_clip=None,
    proj_clip=None,
    recurrent_dropout=0.0,
    zoneout=0.0,
    heads=1,
    forget_bias=None,
    init="torch",
    weight_drop=0.0,
    residual=False,
    learned_states=False,
    checkpoint=None,
)
OF_STACK = frozenset(
    {"forget_bias", "init", "weight_drop", "residual", "learned_states", "checkpoint"}
)


def chosen(layer: str, switches: Mapping[str, Any]) -> Switches:
    """What is given and not at its default, in the order of ``Switches``.

    Raises:
        TypeError: there is no such keyword.
        CellError: what must be a number is none.
    """
    if unknown := [name for name in switches if name not in DEFAULTS]:
        raise TypeError(
            f"{layer}.__init__() got an unexpected keyword argument {unknown[0]!r}; beyond the "
            f"named ones there are {', '.join(DEFAULTS)}."
        )
    for name in ("forget_bias", "weight_drop"):
        default = DEFAULTS.get(name)
        value = switches.get(name, default)
        if not (is_number(value) or value is default):
            raise CellError(f"{name} is a number, got {value!r}.")
    pairs = ((name, switches.get(name, default)) for name, default in DEFAULTS.items())
    found: Any = {name: value for name, value in pairs if value != DEFAULTS[name]}  # type: ignore[literal-required]
    return cast(Switches, found)


def makes_another_cell(given: Mapping[str, Any]) -> bool:
    """Whether any of these changes the equations."""
    return not given.keys() <= OF_STACK


def rewritten(spec: Spec, given: Switches) -> Spec:
    """The cell that these switches make of another one.

    Raises:
        CellError: one of them makes no sense for this cell.
    """
    steps: dict[str, Callable[[Spec, Any], Spec]] = {
        "peephole": lambda cell, _: transform.peephole(cell),
        "coupled": lambda cell, _: transform.couple(cell),
        "layer_norm": lambda cell, of: transform.layer_norm(cell, state=None if of is True else of),
        "cell_clip": transform.cell_clip,
        "proj_clip": transform.projection_clip,
        "recurrent_dropout": transform.recurrent_dropout,
        "activation": _curves,
        "gate_activation": lambda cell, f: transform.activations(cell, gate=f),
        "zoneout": _zoneout,
        "heads": transform.heads,
    }
    for name, step in steps.items():
        if name in given:
            spec = step(spec, given[name])  # type: ignore[literal-required]
    return spec


def _curves(spec: Spec, function: str | Function) -> Spec:
    found = dict.fromkeys(kinds(spec) & {"candidate", "output"} or {"candidate"}, function)
    return transform.activations(spec, **found)


def _zoneout(spec: Spec, rates: float | Mapping[str, float]) -> Spec:
    if not isinstance(rates, Mapping):
        rates = dict.fromkeys((s.name for s in spec.states), rates)
    return transform.zoneout(spec, **rates)


def shown(given: Mapping[str, Any]) -> str:
    """The switches as they stand in a layer's ``repr``."""
    texts = {n: name_of_function(v) if callable(v) else repr(v) for n, v in given.items()}
    return "".join(f", {name}={text}" for name, text in texts.items())
