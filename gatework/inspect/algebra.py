"""A cell's equations multiplied out, with 0 or 1 in the place of a gate.

An equation becomes a sum of products; so ``f * c + i * g`` is ``c + i * g`` at f = 1, and of an
old state c it can be said what it is multiplied by and what is added to it. Whatever is neither a
sum nor a product stays as it is, a factor like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import mul

import numpy as np

from gatework.equations import Spec
from gatework.equations.expr import Apply, Expr, Number, Product, Ref, walk
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT, Equation
from gatework.read.table import equations

SUMS = ("add", "sub", "neg", "mul", "div", "square")
MOST_TERMS = 4  # of two brackets multiplied out; its square of any sum

# A sum of products: the factors of each, and the number before them. No terms: zero.
Terms = dict[tuple[Expr, ...], float]
ONE: Terms = {(): 1.0}


class TooLongError(Exception):
    """Multiplied out, an equation or a number in it would be too long to say anything by it."""


class Algebra:
    """The equations of a cell as sums of products, with numbers in the place of gates."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.equations = {e.name: e.expr for e in spec.equations}
        self.roots = {name: root for name in self.equations if (root := self.root(name))}
        self.gates = list(self.roots)
        self.equations = self.renamed()
        # By name of an equation: all that it reads however far off, and the states read bare.
        self.far: dict[str, frozenset[str]] = {}
        self.bare: dict[str, frozenset[str]] = {s.name: frozenset({s.name}) for s in spec.states}
        for name, expr in self.equations.items():
            self.far[name] = self.read_by(expr)
            self.bare[name] = frozenset() if name in self.roots else self.bare_in(expr)
        self.inlined = self.transparent()
        try:  # intermediate results are looked through, unless that makes everything long
            for name in self.equations:
                self.terms(Ref(name) if name in self.inlined else self.equations[name], {})
        except TooLongError:
            self.inlined = frozenset()

    def root(self, name: str) -> tuple[str, bool] | None:
        """For a gate the gate that it is made of, and whether it is 1 minus that one."""
        if name.endswith(NEXT):
            return None
        match self.equations.get(name):
            case Apply("sigmoid") | Apply("sub", (Number(1.0), Apply("sigmoid"))):
                return name, False
            case Apply("sub", (Number(1.0), Ref(other))) if root := self.root(other):
                return root[0], not root[1]
            case Ref(other):
                return self.root(other)
        return None

    def renamed(self) -> dict[str, Expr]:
        """The equations with a new state's own name for what is only called otherwise before."""
        names = {
            expr.name: name
            for name, expr in self.equations.items()
            if name.endswith(NEXT) and isinstance(expr, Ref)
            and expr.name in self.equations and expr.name not in self.roots
        }  # fmt: skip

        def turned(expr: Expr) -> Expr:
            match expr:
                case Ref(name):
                    return Ref(names.get(name, name))
                case Apply(op, args):
                    return Apply(op, tuple(turned(a) for a in args))
                case Product(matrix, operand):
                    return Product(matrix, turned(operand))
            return expr

        return {
            names.get(name, name): turned(expr)
            for name, expr in self.equations.items()
            if name not in names.values()
        }

    def ends(self, gate: str) -> tuple[dict[str, float], dict[str, float]]:
        """A gate and all that are the same or its opposite, where it is 1 and where it is 0."""
        base, flipped = self.roots[gate]
        kin = {n: f == flipped for n, (b, f) in self.roots.items() if b == base}
        high = {name: float(same) for name, same in kin.items()}
        return high, {name: 1 - value for name, value in high.items()}

    def transparent(self) -> frozenset[str]:
        """Sums and products on the way to a state: those that hold a gate or an old state."""
        found: set[str] = set()
        for name, expr in self.equations.items():
            is_sum = isinstance(expr, Ref) or (isinstance(expr, Apply) and expr.op in SUMS)
            is_own = name in self.roots or name.endswith(NEXT)  # shown by itself
            on_way = self.gates_in(expr) or self.bare[name] or names_in(expr) & found
            if is_sum and on_way and not is_own:
                found.add(name)
        return frozenset(found)

    def gates_in(self, expr: Expr) -> bool:
        """Whether a gate, with a name or without, stands in an expression."""
        return any(
            (isinstance(node, Ref) and node.name in self.roots)
            or (isinstance(node, Apply) and node.op == "sigmoid")
            for node in walk(expr)
        )

    def bare_in(self, expr: Expr) -> frozenset[str]:
        """The states of which each unit reads its own value here: by no matrix, by no gate."""
        match expr:
            case Ref(name):
                return self.bare.get(name, frozenset())
            case Apply(op, args) if not PRIMITIVES[op].mixes:
                return frozenset().union(*(self.bare_in(a) for a in args))
        return frozenset()

    def read_by(self, expr: Expr) -> frozenset[str]:
        """All symbols and equations that an expression uses, however far off."""
        names = names_in(expr)
        return frozenset(names.union(*(self.far.get(n, ()) for n in names)))

    def terms(self, expr: Expr, at: Mapping[str, float]) -> Terms:
        """The expression multiplied out, with the numbers in ``at`` for some of its names."""
        match expr:
            case Number(value):
                return _number(value)
            case Ref(name) if name in at:
                return _number(at[name])
            case Ref(name) if name in self.inlined:
                return self.terms(self.equations[name], at)
            case Apply("square", (a,)):
                return times(self.terms(a, at), self.terms(a, at))
            case Apply(op, args):
                return self.applied(op, [self.terms(a, at) for a in args])
            case Product(matrix, operand):
                inner = self.terms(operand, at)
                return atom(Product(matrix, self.expr(inner))) if inner else {}
        return atom(expr)

    def applied(self, op: str, args: list[Terms]) -> Terms:
        """An operation on what is already multiplied out."""
        match op:
            case "add":
                return _sum(args[0], args[1])
            case "sub":
                return _sum(args[0], args[1], -1)
            case "neg":
                return _sum({}, args[0], -1)
            case "mul":
                return times(args[0], args[1])
            case "div" if set(args[1]) == {()}:
                return times(args[0], _number(1 / args[1][()]))
            case "div" if args[1] and not args[0]:
                return {}
            case "div" if args[1] and args[0] == args[1]:
                return ONE
            case _ if PRIMITIVES[op].transposed:  # of equal numbers it makes unequal ones, but of 0
                if not args[0]:
                    return {}
            case _ if len(args) == 1 and set(args[0]) <= {()}:
                value = _computed(op, args[0].get((), 0.0))
                if np.isfinite(value):
                    return _number(value)
        return atom(Apply(op, tuple(self.expr(a) for a in args)))

    def expr(self, terms: Terms) -> Expr:
        """The terms as an expression again."""
        total: Expr | None = None
        for factors, value in terms.items():
            size = float(f"{abs(value):.12g}")  # 0.1 * 3 is 0.3 to a reader
            product = reduce(mul, (*([Number(size)] if size != 1 or not factors else []), *factors))
            if total is None:
                total = product if value > 0 else -product
            else:
                total = total + product if value > 0 else total - product
        return Number(0.0) if total is None else total

    def text(self, terms: Terms, name: str = "") -> str:
        """The terms as they would stand in a class body, with a name as an equation."""
        one = Equation(name, self.expr(terms), "")
        (line,) = equations(replace(self.spec, equations=(one,)))
        return line if name else line.removeprefix(" = ")

    def split(self, state: str, terms: Terms) -> tuple[Terms, Terms] | None:
        """What the old state is multiplied by in the new one's terms, and what is added to that.

        ``None`` where that is not all, since the rest reads the same unit's old state too.
        """
        old = Ref(state)
        kept: Terms = {}
        added: Terms = {}
        for factors, value in terms.items():
            others = list(factors)
            if old in others:
                others.remove(old)
            if any(state in self.bare_in(factor) for factor in others):
                return None
            (kept if len(others) < len(factors) else added)[tuple(others)] = value
        return kept, added

    def carried(self, state: str) -> tuple[Terms, Terms] | None:
        """What ``split`` finds in a state's own equation, ``None`` where that is too long."""
        try:
            return self.split(state, self.terms(self.equations[state + NEXT], {}))
        except TooLongError:
            return None


def names_in(expr: Expr) -> set[str]:
    """All symbols and equations that stand in an expression."""
    return {node.name for node in walk(expr) if isinstance(node, Ref)}


def _computed(op: str, value: float) -> float:
    """A primitive of a plain number, by its row of the table."""
    with np.errstate(all="ignore"):
        return float(eval(PRIMITIVES[op].numpy, {"np": np, "a": np.array([value])})[0])


def _number(value: float) -> Terms:
    return {(): value} if value else {}


def atom(expr: Expr) -> Terms:
    """What is not taken apart any further."""
    return {(expr,): 1.0}


def _sum(a: Terms, b: Terms, sign: float = 1) -> Terms:
    total = dict(a)
    for factors, value in b.items():
        total[factors] = total.get(factors, 0) + sign * value
    if len(total) > MOST_TERMS**2 or not all(np.isfinite(v) for v in total.values()):
        raise TooLongError
    return {factors: value for factors, value in total.items() if value}


def times(a: Terms, b: Terms) -> Terms:
    """The product of two sums."""
    if len(a) > 1 and len(b) > 1 and len(a) * len(b) > MOST_TERMS:
        raise TooLongError
    total: Terms = {}
    for left, x in a.items():
        for right, y in b.items():
            # In one order, so that equal products are found to be equal.
            total = _sum(total, {tuple(sorted((*left, *right), key=repr)): x * y})
    return total
