"""The data flow of one step: few nodes that a reader knows, out of any cell's equations.

A sum that holds a product with a matrix is one ``layer`` box, with the function that squashes it
and one port for each thing it multiplies. A sum or product of several values is a ``join``, whose
ports say which of them are taken away or divide. Whatever reads one value alone is one ``map``,
however many operations it has. Parameters, constants and masks are written where they act.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.ops import PRIMITIVES, Primitive
from gatework.equations.spec import NEXT, Spec
from gatework.read.render import Spelling, render

HOLE = Ref("·")  # what a map reads
LONGEST = 18  # letters of a map; a longer one is drawn in its parts
LONGEST_FUNCTION = 12  # and of the function of a layer
SIGNS = {"add": "-", "sub": "-", "neg": "-", "mul": "/", "div": "/"}
INVERSE = ("sub", "div", "neg")
SHOWN = {"-": "−", "*": "×", "/": "/", "+": "+"}


@dataclass(frozen=True)
class Port:
    """Where a value enters a node: which node gives it, and what is done to it there."""

    source: int
    mark: str = ""


@dataclass(frozen=True)
class Node:
    """One thing to draw.

    Attributes:
        kind: ``input``, ``state``, ``next``, ``layer``, ``join`` or ``map``.
        text: the function of a layer, the sign of a join, the formula of a map, else the name.
        ports: what it reads.
        name: the equation whose value it is, where that is no state.
        added: what a layer adds besides what its ports bring, such as a bias.
    """

    kind: str
    text: str
    ports: tuple[Port, ...] = ()
    name: str = ""
    added: tuple[str, ...] = ()


def flow(spec: Spec) -> tuple[Node, ...]:
    """The nodes of one step: states and input first, next states last, each after what it reads."""
    return _Flow(spec).nodes_of_step()


Terms = list[tuple[bool, Expr]]  # with whether it is subtracted, or divides


class _Flow:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.nodes: list[Node] = []
        self.named: dict[str, int] = {}
        self.made: dict[Expr, int] = {}
        self.fixed = {p.name for p in spec.parameters}
        self.fixed |= {name for name, _ in spec.constants} | {
            m.name for m in spec.masks if not m.is_brought
        }

    def nodes_of_step(self) -> tuple[Node, ...]:
        for state in self.spec.states:
            self.named[state.name] = self.new(Node("state", state.name))
        for name in (self.spec.input, *self.spec.beside):
            self.named[name] = self.new(Node("input", name))
        for equation in self.spec.equations:
            if not self.moves(equation.expr) and not equation.name.endswith(NEXT):
                self.fixed.add(equation.name)
                continue
            place = self.named[equation.name] = self.node(equation.expr)
            old = self.nodes[place]
            if old.ports and not (equation.name.endswith(NEXT) or old.name):
                self.nodes[place] = replace(old, name=equation.name)
        for state in self.spec.states:
            self.new(Node("next", state.name, (Port(self.named[state.name + NEXT]),)))
        return tuple(self.nodes)

    def new(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def moves(self, expr: Expr) -> bool:
        """Whether it depends on more than parameters: on a state or what comes with a step."""
        return any(isinstance(n, Ref) and n.name not in self.fixed for n in walk(expr))

    def node(self, expr: Expr) -> int:
        """The node that gives an expression's value; equal ones are drawn once."""
        if isinstance(expr, Ref) and expr.name in self.named:
            return self.named[expr.name]
        if expr not in self.made:
            self.made[expr] = self.drawn(expr)
        return self.made[expr]

    def drawn(self, expr: Expr) -> int:
        if not self.moves(expr):
            return self.new(Node("map", _text(expr)))
        if (only := self.only_value(expr)) is not None:
            formula = _text(_put(expr, only, HOLE))
            if len(formula) <= LONGEST:
                return self.new(Node("map", _short(formula), (Port(self.named[only.name]),)))
        core, around = self.peeled(expr)
        formula = _text(around)
        is_layer = not isinstance(core, Ref) and self.is_layer(core)
        if is_layer and len(formula) <= LONGEST_FUNCTION:
            return self.layer(core, "" if around == HOLE else _short(formula))
        if isinstance(core, Ref):
            place = self.named[core.name]
        else:
            place = self.layer(core, "") if is_layer else self.join(core)
        return place if around == HOLE else self.new(Node("map", _short(formula), (Port(place),)))

    def only_value(self, expr: Expr) -> Ref | None:
        """The one value that an expression reads, where it reads it through no matrix."""
        nodes = [*walk(expr)]
        moving = {n for n in nodes if isinstance(n, Ref) and n.name not in self.fixed}
        through = any(isinstance(n, Product) for n in nodes)
        return None if through or len(moving) != 1 else next(iter(moving))

    def peeled(self, expr: Expr) -> tuple[Expr, Expr]:
        """What is left when all that has one argument is taken off, and what was taken off."""
        around: Expr = HOLE
        while isinstance(expr, Apply) and not self.is_layer(expr):
            terms = _terms(expr)
            moving = [t for t in terms if self.moves(t[1])]
            if len(moving) > 1:
                fixed = [t for t in terms if not self.moves(t[1])]
                if expr.op not in SIGNS:  # a function of two values
                    return expr, around
                return expr, _put(around, HOLE, _joined(expr.op, fixed))
            ((_, inner),) = moving
            around = _put(around, HOLE, _put(expr, inner, HOLE))
            expr = inner
        return expr, around

    def is_layer(self, expr: Expr) -> bool:
        """Whether one of its terms is a product with a matrix."""
        return any(isinstance(self.scaled(term)[1], Product) for _, term in _sum(expr))

    def scaled(self, term: Expr) -> tuple[list[str], Expr]:
        """A term as parameters and numbers times something; as it is where that cannot be."""
        if not (isinstance(term, Apply) and term.op == "mul"):
            return [], term
        factors = _terms(term)
        moving = [f for inverse, f in factors if self.moves(f) and not inverse]
        if len(moving) != 1 or any(inverse for inverse, _ in factors):
            return [], term
        return [_text(f, tight=True) for _, f in factors if f is not moving[0]], moving[0]

    def layer(self, expr: Expr, function: str) -> int:
        ports, added = [], []
        for minus, term in _sum(expr):
            sign = "−" if minus else ""
            if not self.moves(term):
                added.append((sign or "+") + " " + _text(term))
                continue
            scale, value = self.scaled(term)
            if isinstance(value, Product) and isinstance(value.matrix, Ref):
                scale, value = [*scale, value.matrix.name], value.operand
            ports.append(Port(self.node(value), sign + " ".join(scale) or "+"))
        return self.new(Node("layer", function, tuple(ports), added=tuple(added)))

    def join(self, expr: Expr) -> int:
        assert isinstance(expr, Apply)
        if expr.op not in SIGNS:
            ports = [Port(self.node(arg)) for arg in expr.args]
            return self.new(Node("join", _text(expr).partition("(")[0], tuple(ports)))
        mark = {"-": "−", "/": "÷"}[SIGNS[expr.op]]
        terms = [(inverse, t) for inverse, t in _terms(expr) if self.moves(t)]
        ports = [Port(self.node(t), mark if inverse else "") for inverse, t in terms]
        return self.new(Node("join", "×" if mark == "÷" else "+", tuple(ports)))


def _sum(expr: Expr) -> Terms:
    is_sum = isinstance(expr, Apply) and SIGNS.get(expr.op) == "-"
    return _terms(expr) if is_sum else [(False, expr)]


def _terms(expr: Expr) -> Terms:
    """The terms of a sum, the factors of a product, else the argument."""
    if not isinstance(expr, Apply):
        return [(False, expr)]
    kind = SIGNS.get(expr.op)
    if kind is None:
        return [(False, arg) for arg in expr.args]
    found: Terms = []
    for place, arg in enumerate(expr.args):
        inverse = expr.op in INVERSE and place == len(expr.args) - 1
        alike = isinstance(arg, Apply) and SIGNS.get(arg.op) == kind
        inner = _terms(arg) if alike else [(False, arg)]
        found += [(inverse != turned, term) for turned, term in inner]
    return found


def _joined(op: str, fixed: Terms) -> Expr:
    """The hole with further terms or factors, which need no wire."""
    expr: Expr = HOLE
    plain, turned = ("add", "sub") if SIGNS[op] == "-" else ("mul", "div")
    for inverse, term in fixed:
        expr = Apply(turned if inverse else plain, (expr, term))
    return expr


def _put(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with one part replaced wherever it stands."""
    if expr == old:
        return new
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_put(a, old, new) for a in expr.args))
    return expr


def _text(expr: Expr, tight: bool = False) -> str:
    space = "" if tight else " "

    def apply(row: Primitive, args: list[str]) -> str:
        if row.infix:
            sign = SHOWN[row.infix]
            return sign + args[0] if row.arity == 1 else f"{space}{sign}{space}".join(args)
        return _FORMS.get(row.name, f"{row.name}({', '.join(args)})").format(*args)

    spelling = Spelling(
        name=lambda name: name,
        apply=apply,
        product=lambda matrix, operand: f"{matrix} {operand}",
        encloses=lambda row: not row.infix,
        products={},
    )
    text = render(expr, spelling)
    return f"({text})" if tight and isinstance(expr, Apply) and PRIMITIVES[expr.op].infix else text


_FORMS = {"sigmoid": "σ({0})", "sqrt": "√({0})", "square": "({0})²", "abs": "|{0}|"}
_FORMS |= {"maximum": "max({0}, {1})", "minimum": "min({0}, {1})"}


def _short(formula: str) -> str:
    """A function of the hole alone is its name."""
    formula = formula.replace("(·)²", "·²")
    alone = re.fullmatch(r"(\w+)\(·\)", formula)
    return alone[1] if alone else formula
