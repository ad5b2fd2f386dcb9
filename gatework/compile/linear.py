"""The proof that a cell's memory is linear: then all its steps can be computed as scans.

Accepted is a cell whose states can be found for all steps one after the other, each by one of two
recurrences, unit by unit, from what is known by then: the input, masks and parameters, the states
found before it, and all that is computed of these.

    sums    s_next = a * s + b
    peaks   s_next = maximum(s + a, b)

So ``h_next = (1 - z) * h + z * n`` is accepted where z and n see the input alone, and
``h_next = o * tanh(c_next)``, which reads no h, beside a c that is. Refused is a gate that sees the
state which it gates, by a matrix or unit by unit, and two states that read each other.
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
    """One state by its recurrence; a and b may be plain numbers, ``kind`` is sums or peaks.

    The others are of peaks in an interrupted cell, see ``interruption``. Where ``live`` is 0 the
    step is skipped: there the state is ``s + kept``. Where ``goes_on`` is 0 it is set anew: there
    s is 0, whatever it was.
    """

    state: str
    a: Expr
    b: Expr
    kind: str = "sums"
    goes_on: Expr = ONE
    live: Expr = ONE
    kept: Expr = ZERO


@dataclass(frozen=True)
class Linear:
    """In which order a linear cell is computed, all steps at once.

    Attributes:
        order: names of equations, which read what is known by then, and scans, which make a state
            known before and after each step.
    """

    order: tuple[str | Scan, ...]

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The scanned states, each after those that it reads."""
        return tuple(item for item in self.order if isinstance(item, Scan))


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
        read = {n.name for e in self.equations.values() for n in walk(e) if isinstance(n, Ref)}
        self.waiting = [state.name for state in spec.states if state.name in read]
        # What is not known for all steps yet.
        self.unknown = {*self.equations, *self.waiting}
        self.lines: dict[tuple[str, str], Line] = {}

    def moves(self, expr: Expr) -> bool:
        """Whether a value depends on a state that is not known yet."""
        return any(isinstance(node, Ref) and node.name in self.unknown for node in walk(expr))

    def form(self) -> Linear:
        order: list[str | Scan] = []
        while True:
            nexts = {state + NEXT for state in self.waiting}
            for name, expr in self.equations.items():
                if name in self.unknown - nexts and not self.moves(expr):
                    order.append(name)
                    self.unknown.remove(name)
            if not self.waiting:
                return Linear(tuple(order))
            order.append(self.next_scan())

    def next_scan(self) -> Scan:
        """The first state that can be found from what is known; it is known from now on."""
        reasons = []
        for state in self.waiting:
            self.lines.clear()  # which what was not known made longer
            try:
                scan = self.scan(state)
            except _NotLinearError as reason:
                reasons.append(reason)
                continue
            self.waiting.remove(state)
            self.unknown -= {state, state + NEXT}
            return scan
        raise reasons[0]

    def scan(self, state: str) -> Scan:
        """The recurrence of a state."""
        name = state + NEXT
        return self.peaks(name, state) or Scan(state, *self.line(name, state))

    def peaks(self, name: str, state: str) -> Scan | None:
        """The recurrence of the largest numbers, where it is one; also in an interrupted cell."""
        expr = self.equations[name]
        live: Expr = ONE
        kept: Expr | None = None
        match expr:
            case Apply("add", (Apply("gated", (Ref(made), gate)), Apply("gated", (old, other)))):
                if other == 1 - gate and made in self.equations:
                    expr, live, kept = self.equations[made], gate, old
        match expr:
            case Apply("maximum", (left, right)):
                sides = [self.split(side, state, name) for side in (left, right)]
                for (factor, a), (none, b) in (sides, sides[::-1]):
                    goes_on = _gate(factor)
                    slope, rest = (
                        self.split(kept, state, name) if kept is not None else (factor, ZERO)
                    )
                    if goes_on is not None and none == ZERO and slope == factor:
                        return Scan(state, a, b, "peaks", goes_on, live, rest)
        return None

    def needs_all(self, expr: Expr) -> str | None:
        """What in an expression takes all units of something that depends on a state."""
        for node in walk(expr):
            match node:
                case Product(Ref(matrix), operand) if self.moves(operand):
                    return f"multiplies the matrix {matrix} by what depends on a state"
                case Apply(op, args) if PRIMITIVES[op].mixes and any(map(self.moves, args)):
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
            case "mul" | "gated" | "div" if c == ZERO:
                return _made(op, a, d), _made(op, b, d)
            case "mul" if a == ZERO:
                return _made(op, b, c), _made(op, b, d)
        what = "divides" if op == "div" else "multiplies what depends on a state"
        raise _NotLinearError(f"{where} {what} by what depends on a state.")


def _gate(factor: Expr) -> Expr | None:
    """The mask of a factor that is 1 where the mask is and 0 where that is; else ``None``."""
    match factor:
        case Number(1.0):
            return ONE
        case Apply("gated", (Number(1.0), mask)):
            return mask
    return None


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
        case ("gated", (Number(0.0), _)):
            return ZERO
        # Outermost, so that nothing of what a gate shuts out reaches the gradient by a factor.
        case ("mul" | "div", (Apply("gated", (inner, gate)), other)) | (
            "mul",
            (other, Apply("gated", (inner, gate))),
        ):
            return _made("gated", _made(op, inner, other), gate)
    return Apply(op, args)


def _folded(op: str, args: tuple[Expr, ...]) -> Number | None:
    values = [arg.value for arg in args if isinstance(arg, Number)]
    if len(values) < len(args) or (op == "div" and values[1] == 0):
        return None
    value = FOLDED[op](*values)
    return Number(value) if math.isfinite(value) else None
