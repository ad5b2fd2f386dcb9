"""The proof that a cell's memory is linear: then all its steps can be computed as one scan.

Accepted is a cell whose states are of two kinds. Scanned states: ``s_next = a * s + b``, unit by
unit, where a and b read the input, masks and parameters, but no state. Outputs: states that no
equation reads, pointwise functions of the scanned states, before the step or after it, and of all
that reads no state.

So ``h_next = (1 - z) * h + z * n`` is accepted where z and n see the input alone, and
``h_next = o * c_next`` beside a scanned c is an output. Refused is a gate that sees a state, by a
matrix or unit by unit; a matrix product or a mean of what depends on a state, anywhere; and a
scanned state that reads another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gatework.compile.flatten import FOLDED
from gatework.equations import Spec
from gatework.equations.expr import Apply, Expr, Number, Product, Ref, walk
from gatework.equations.ops import ONE, PRIMITIVES, ZERO
from gatework.equations.spec import NEXT

Line = tuple[Expr, Expr]  # the a and b of a * state + b


@dataclass(frozen=True)
class Scan:
    """One scanned state: ``state_next = a * state + b``; a and b may be plain numbers."""

    state: str
    a: Expr
    b: Expr


@dataclass(frozen=True)
class Linear:
    """In which order a linear cell is computed, all steps at once.

    Attributes:
        before: the equations that read no state, in their order; a and b refer to them.
        scans: the scanned states, in no particular order: none reads another.
        after: the other equations, in their order: pointwise, once the scanned states are known
            before and after each step.
    """

    before: tuple[str, ...]
    scans: tuple[Scan, ...]
    after: tuple[str, ...]


class _NotLinearError(Exception):
    """Says why not."""


def linear(spec: Spec) -> Linear | str:
    """The linear form of a cell, or in words why it has none."""
    try:
        return _Prover(spec).form()
    except _NotLinearError as reason:
        return f"{spec.name}: {reason}"


class _Prover:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.equations = {e.name: e.expr for e in spec.equations}
        self.moved = {state.name for state in spec.states}  # all that depends on a state
        for name, expr in self.equations.items():
            if self.moves(expr):
                self.moved.add(name)
        self.lines: dict[tuple[str, str], Line] = {}

    def moves(self, expr: Expr) -> bool:
        """Whether a value depends on a state as it was before the step."""
        return any(isinstance(node, Ref) and node.name in self.moved for node in walk(expr))

    def form(self) -> Linear:
        read = {n.name for e in self.equations.values() for n in walk(e) if isinstance(n, Ref)}
        scanned = [state.name for state in self.spec.states if state.name in read]
        scans = tuple(Scan(state, *self.line(state + NEXT, state)) for state in scanned)
        nexts = {state + NEXT for state in scanned}
        after = tuple(n for n in self.equations if n in self.moved and n not in nexts)
        for name in after:
            self.check_pointwise(name)
        return Linear(tuple(n for n in self.equations if n not in self.moved), scans, after)

    def check_pointwise(self, name: str) -> None:
        """Refuse an equation that needs a state at other units than its own."""
        if (reason := self.needs_all(self.equations[name])) is not None:
            raise _NotLinearError(f"{name} {reason}.")

    def needs_all(self, expr: Expr) -> str | None:
        """What in an expression takes all units of something that depends on a state."""
        for node in walk(expr):
            match node:
                case Product(Ref(matrix), operand) if self.moves(operand):
                    return f"multiplies the matrix {matrix} by what depends on a state"
                case Apply(op, args) if PRIMITIVES[op].over and self.moves(args[0]):
                    return f"takes the {op} of what depends on a state"
        return None

    def line(self, name: str, state: str) -> Line:
        """The a and b of an equation."""
        if (name, state) not in self.lines:
            self.lines[name, state] = self.split(self.equations[name], state, name)
        return self.lines[name, state]

    def split(self, expr: Expr, state: str, where: str) -> Line:
        """The a and b of an expression in the equation ``where``."""
        if not self.moves(expr):
            return ZERO, expr
        match expr:
            case Ref(name) if name == state:
                return ONE, ZERO
            case Ref(name) if name in self.equations:
                return self.line(name, state)
            case Ref(name):
                raise _NotLinearError(f"{where} reads the state {name}, and {state} depends on it.")
            case Apply(op, args) if op in FOLDED:
                lines = [self.split(arg, state, where) for arg in args]
                return self.combined(op, lines[0], lines[-1], where)
        assert isinstance(expr, (Apply, Product))
        function = expr.op if isinstance(expr, Apply) else "product"
        reason = self.needs_all(expr) or f"takes the {function} of what depends on {state}"
        raise _NotLinearError(f"{where} {reason}.")

    def combined(self, op: str, left: Line, right: Line, where: str) -> Line:
        """The a and b of a sum, a product and so on of two lines."""
        (a, b), (c, d) = left, right
        match op:
            case "add" | "sub":
                return _made(op, a, c), _made(op, b, d)
            case "neg":
                return _made(op, a), _made(op, b)
            case "mul" | "div" if c == ZERO:
                return _made(op, a, d), _made(op, b, d)
            case "mul" if a == ZERO:
                return _made(op, b, c), _made(op, b, d)
        what = "divides" if op == "div" else "multiplies what depends on a state"
        raise _NotLinearError(f"{where} {what} by what depends on a state.")


def _made(op: str, *args: Expr) -> Expr:
    """An operation, left out where its arguments are numbers or it changes nothing."""
    match op, args:
        case _, (Number(), *_) if (number := _folded(op, args)) is not None:
            return number
        case ("add", (Number(0.0), other)) | ("mul", (Number(1.0), other)):
            return other
        case ("add" | "sub", (other, Number(0.0))) | ("mul" | "div", (other, Number(1.0))):
            return other
        case "sub", (Number(0.0), other):
            return Apply("neg", (other,))
        case ("mul", (Number(0.0), _)) | ("mul", (_, Number(0.0))) | ("div", (Number(0.0), _)):
            return ZERO
    return Apply(op, args)


def _folded(op: str, args: tuple[Expr, ...]) -> Number | None:
    values = [arg.value for arg in args if isinstance(arg, Number)]
    if len(values) < len(args) or (op == "div" and values[1] == 0):
        return None
    value = FOLDED[op](*values)
    return Number(value) if math.isfinite(value) else None
