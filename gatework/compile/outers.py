"""Matrix states that grow by outer products: such a matrix need not be written out at every step.

Accepted is a cell, proven linear, in which each state that is a matrix is

    S_next = a * S + outer(u, v) + ...

with one number a of each row and step, and in which everything else reads its matrices through
``times`` alone: then a few steps of it are products of ordinary matrices. What is multiplied may
be any sum of such states and outer products, scaled by one number of each row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gatework.compile.linear import Linear, linear
from gatework.equations import Spec
from gatework.equations.expr import Apply, Expr, Number, Product, Ref
from gatework.equations.ops import MINUS_ONE, ONE, PRIMITIVES, ZERO
from gatework.equations.sizes import MATRICES
from gatework.equations.spec import NEXT

Pair = tuple[Expr, Expr]  # the u and v of an outer product


@dataclass(frozen=True)
class Outers:
    """One step of a state that is a matrix: ``a`` times what it was, and outer products."""

    state: str
    a: Expr
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class OfOuters:
    """A linear cell whose matrices are only read by vectors.

    Attributes:
        form: in which order the cell is computed.
        steps: the matrix states by name.
        equations: all equations that are no matrices. ``times`` reads a state in them, or its
            next value, and nothing else.
    """

    form: Linear
    steps: dict[str, Outers]
    equations: dict[str, Expr]


def of_outers(spec: Spec) -> OfOuters | str:
    """The form of a cell with a matrix, or in words why it has none."""
    form = linear(spec)
    if isinstance(form, str):
        return form
    try:
        return _Reader(spec).form(form)
    except _OtherError as reason:
        return f"{spec.name}: {reason}"


class _OtherError(Exception):
    """Says why not."""


@dataclass
class _Sum:
    """A matrix as a sum: so many times each state, and outer products."""

    states: dict[str, Expr] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def scaled(self, op: str, by: Expr) -> _Sum:
        """Each part times (divided by, gated by) one number of a row."""
        states = {name: _made(op, factor, by) for name, factor in self.states.items()}
        return _Sum(states, [(Apply(op, (u, by)), v) for u, v in self.pairs])

    def plus(self, other: _Sum) -> _Sum:
        """The sum of both."""
        states = dict(self.states)
        for name, factor in other.states.items():
            before = states.get(name)
            states[name] = factor if before is None else Apply("add", (before, factor))
        return _Sum(states, [*self.pairs, *other.pairs])


def _made(op: str, a: Expr, b: Expr) -> Expr:
    return b if op == "mul" and a == ONE else Apply(op, (a, b))


class _Reader:
    def __init__(self, spec: Spec) -> None:
        self.equations = {e.name: e.expr for e in spec.equations}
        sizes = spec.given | {e.name: e.size for e in spec.equations}
        self.matrices = {name for name, size in sizes.items() if size in MATRICES}
        self.states = [s.name for s in spec.states if s.size in MATRICES]

    def form(self, form: Linear) -> OfOuters:
        if not self.states:
            raise _OtherError("no state is a matrix.")
        steps = {name: self.step(name) for name in self.states}
        others = {
            name: self.reading(expr, name)
            for name, expr in self.equations.items()
            if name not in self.matrices
        }
        return OfOuters(form, steps, others)

    def step(self, state: str) -> Outers:
        found = self.sum(self.equations[state + NEXT], state + NEXT)
        if set(found.states) - {state}:
            raise _OtherError(f"{state}{NEXT} reads another matrix.")
        return Outers(state, found.states.get(state, ZERO), tuple(found.pairs))

    def is_matrix(self, expr: Expr) -> bool:
        match expr:
            case Ref(name):
                return name in self.matrices
            case Apply(op, args):
                row = PRIMITIVES[op]
                if row.mixes:
                    return row.gives == "nn"
                return any(map(self.is_matrix, args))
        return False

    def sum(self, expr: Expr, where: str) -> _Sum:
        """A matrix as a sum, in the equation ``where``."""
        match expr:
            case Number(0.0):
                return _Sum()
            case Ref(name) if name in self.states:
                return _Sum({name: ONE})
            case Ref(name) if name in self.equations:
                return self.sum(self.equations[name], where)
            case Apply("outer", (u, v)):
                return _Sum(pairs=[(self.reading(u, where), self.reading(v, where))])
            case Apply("add", (left, right)):
                return self.sum(left, where).plus(self.sum(right, where))
            case Apply("sub", (left, right)):
                other = self.sum(right, where).scaled("mul", MINUS_ONE)
                return self.sum(left, where).plus(other)
            case Apply("neg", (other,)):
                return self.sum(other, where).scaled("mul", MINUS_ONE)
            case Apply("mul", (by, matrix)) if not self.is_matrix(by):
                return self.sum(matrix, where).scaled("mul", self.reading(by, where))
            case Apply("mul" | "gated" | "div" as op, (matrix, by)) if not self.is_matrix(by):
                return self.sum(matrix, where).scaled(op, self.reading(by, where))
        raise _OtherError(f"{where} has a matrix that is no sum of states and outer products.")

    def reading(self, expr: Expr, where: str) -> Expr:
        """A value that is no matrix, in which nothing but states is read by vectors."""
        match expr:
            case Ref(name) if name in self.matrices:
                raise _OtherError(f"{where} reads the matrix {name} other than by times.")
            case Product(matrix, operand):
                return Product(matrix, self.reading(operand, where))
            case Apply("times", (matrix, vector)):
                return self.read(matrix, self.reading(vector, where), where)
            case Apply(op, args):
                return Apply(op, tuple(self.reading(arg, where) for arg in args))
        return expr

    def read(self, matrix: Expr, vector: Expr, where: str) -> Expr:
        """The product of a matrix and a vector by those of states."""
        if isinstance(matrix, Ref) and matrix.name in self.known():
            return Apply("times", (matrix, vector))
        found = self.sum(matrix, where)
        terms: list[Expr] = [
            _made("mul", factor, Apply("times", (Ref(name), vector)))
            for name, factor in found.states.items()
        ]
        terms += [Apply("mul", (u, Apply("dot", (v, vector)))) for u, v in found.pairs]
        total: Expr = Apply("mul", (ZERO, vector)) if not terms else terms[0]
        for term in terms[1:]:
            total = Apply("add", (total, term))
        return total

    def known(self) -> Iterable[str]:
        """The states and their next values."""
        return {*self.states, *(name + NEXT for name in self.states)}
