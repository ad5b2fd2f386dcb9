"""Other functions in the place of sigmoid and tanh."""

from __future__ import annotations

from collections.abc import Callable

from gatework.equations.cell import Cell
from gatework.equations.expr import Apply, Expr, lift, walk
from gatework.equations.ops import PRIMITIVES, abs_, exp, maximum, minimum, relu, sigmoid
from gatework.equations.spec import Spec
from gatework.equations.transform.draft import CURVES, Draft, mapped

Function = Callable[[Expr], Expr]


def hard_sigmoid(a: Expr) -> Expr:
    """min(max(a + 3, 0), 6) / 6, as Keras 3 and torch."""
    return minimum(maximum(a + 3, 0), 6) / 6


def hard_sigmoid_onnx(a: Expr) -> Expr:
    """min(max(0.2 a + 0.5, 0), 1), as ONNX, TensorFlow 1 and Keras 2."""
    return minimum(maximum(0.2 * a + 0.5, 0), 1)


def hard_tanh(a: Expr) -> Expr:
    """min(max(a, -1), 1)."""
    return minimum(maximum(a, -1), 1)


def softsign(a: Expr) -> Expr:
    """One of slower ends than tanh: a / (1 + |a|)."""
    return a / (1 + abs_(a))


def elu(a: Expr) -> Expr:
    """The number itself above 0, exp(a) - 1 below."""
    return relu(a) + (exp(minimum(a, 0)) - 1)


def silu(a: Expr) -> Expr:
    """The number times its sigmoid."""
    return a * sigmoid(a)


def linear(a: Expr) -> Expr:
    """The number itself."""
    return a


FUNCTIONS: dict[str, Function] = {
    row.name: row
    for row in PRIMITIVES.values()
    if row.arity == 1 and not (row.infix or row.mixes) and row.name != "spread"
}
FUNCTIONS |= {
    f.__name__: f for f in (hard_sigmoid, hard_sigmoid_onnx, hard_tanh, softsign, elu, silu, linear)
}


def activations(
    cell: type[Cell] | Spec,
    *,
    gate: str | Function | None = None,
    candidate: str | Function | None = None,
    output: str | Function | None = None,
) -> Spec:
    """Other activations: of the gates, of what is written, of what is shown.

    Args:
        cell: a cell class or a description.
        gate: for every sigmoid: a name of ``FUNCTIONS``, or a function of one expression.
        candidate: for every tanh and relu of matrix products.
        output: for every other tanh and relu (of the cell state).

    Raises:
        CellError: no function has the name, or the cell has no such activation.
    """
    given = {"gate": gate, "candidate": candidate, "output": output}
    given = {kind: f for kind, f in given.items() if f is not None}
    shown = ", ".join(f"{kind}={name_of_function(f)}" for kind, f in given.items())
    draft = Draft(cell, f"activations({shown})")
    functions = {kind: _function(draft, f) for kind, f in given.items()}
    if not functions:
        draft.fail("give at least one of gate, candidate and output.")
    found = dict.fromkeys(functions, 0)

    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Apply) or (kind := _kind(before, node)) not in functions:
            return None
        found[kind] += 1
        inner = Apply(node.op, tuple(mapped(a, change) for a in node.args))
        return lift(functions[kind](inner.args[0]))

    before = Draft(cell, draft.label)  # the kinds are told by the equations as they were
    draft.rewrite(change)
    for kind, count in found.items():
        if not count:
            draft.fail(f"there is no {kind} activation to change.")
    return draft.finish(shown)


def kinds(cell: type[Cell] | Spec) -> set[str]:
    """Which of gate, candidate and output activations a cell has."""
    draft = Draft(cell, "activations")
    nodes = (node for e in draft.all() for node in walk(e.expr))
    return {_kind(draft, node) for node in nodes if isinstance(node, Apply)} - {""}


def _kind(draft: Draft, node: Apply) -> str:
    if node.op == "sigmoid":
        return "gate"
    if node.op not in CURVES:
        return ""
    return "candidate" if draft.reaches_product(node.args[0]) else "output"


def _function(draft: Draft, given: str | Function | None) -> Function:
    if callable(given):
        return given
    if not isinstance(given, str) or given not in FUNCTIONS:
        draft.fail(f"no function is called {given!r}; there are {', '.join(FUNCTIONS)}.")
    return FUNCTIONS[given]


def name_of_function(given: object) -> str:
    """What a function is called, given by name or itself."""
    return str(getattr(given, "__name__", getattr(given, "name", given)))
