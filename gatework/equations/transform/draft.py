"""A cell while it is rewritten: what every transform is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

from gatework.equations.cell import Cell
from gatework.equations.expr import Apply, Expr, Product, Ref, finite, is_number, walk
from gatework.equations.misuse import shown
from gatework.equations.spec import (
    NEXT,
    Equation,
    MaskSymbol,
    Parameter,
    Spec,
    StateSymbol,
    check_names,
)
from gatework.equations.symbols import Start
from gatework.errors import CellError

CURVES = ("tanh", "relu")  # what candidates and outputs are bent by
SQUASHED = ("sigmoid", "exp", "softplus", *CURVES)


class Draft:
    """The parts of a cell by name, in their order; ``finish`` makes a cell of them again.

    Args:
        cell: a cell class or a description.
        label: what is done to it, as it stands in the new cell's name.

    Raises:
        CellError: from here and from all methods, where the cell does not allow what is asked.
    """

    def __init__(self, cell: type[Cell] | Spec, label: str) -> None:
        spec = getattr(cell, "spec", cell)
        self.label = label
        if not isinstance(spec, Spec):
            raise CellError(f"{label} takes a Cell class or its spec, got {cell!r}.")
        self.spec = spec
        self.states = {s.name: s for s in spec.states}
        self.parameters = {p.name: p for p in spec.parameters}
        self.constants = dict(spec.constants)
        self.masks = {m.name: m for m in spec.masks}
        self.equations = {e.name: e for e in spec.equations}

    def fail(self, message: str) -> NoReturn:
        """Refuse, with the cell and the transform before what is wrong."""
        raise CellError(f"{self.spec.name}: {self.label}: {message}")

    @property
    def output(self) -> StateSymbol:
        """The state that the layer gives out."""
        return next(iter(self.states.values()))

    def state(self, name: str) -> StateSymbol:
        """A state by its name."""
        if name not in self.states:
            self.fail(f"there is no state {name}; the states are {', '.join(self.states)}.")
        return self.states[name]

    def has(self, name: str) -> bool:
        """Whether something in the cell has the name."""
        parts = (self.states, self.parameters, self.constants, self.masks, self.equations)
        return name == self.spec.input or any(name in part for part in parts)

    def new(self, name: str) -> str:
        """The name, if nothing in the cell has it."""
        if self.has(name):
            self.fail(
                f"the cell has the name {name} already. Was this done before? Else rename it."
            )
        return name

    def free(self, name: str) -> str:
        """The name, or one like it that nothing in the cell has: for values in between."""
        while self.has(name):
            name += "0"
        return name

    def vector(self, name: str, size: str = "H", start: Start | None = None) -> Ref:
        """A learned vector more."""
        self.parameters[self.new(name)] = Parameter(name, size, start=start)
        return Ref(name)

    def dropout(self, name: str, size: str, p: float, each: str) -> Ref:
        """A mask more that is 0 with a probability, else what keeps the mean."""
        self.masks[self.new(name)] = MaskSymbol(name, size, 1 - p, 1 / (1 - p), each)
        return Ref(name)

    def first(self, name: str, size: str, chunk: int) -> Ref:
        """A mask more that tells the first unit of each chunk."""
        self.masks[self.new(name)] = MaskSymbol(name, size, 1.0, 1.0, "sequence", chunk=chunk)
        return Ref(name)

    def let(self, name: str, expr: Expr, size: str, before: str | None = None) -> Ref:
        """A named equation more: before another one, or at the end."""
        added = Equation(self.new(name), expr, size)
        rest = list(self.equations.values())
        place = len(rest) if before is None else list(self.equations).index(before)
        self.equations = {e.name: e for e in (*rest[:place], added, *rest[place:])}
        return Ref(name)

    def put(self, name: str, expr: Expr) -> None:
        """Another right-hand side for an equation."""
        self.equations[name] = replace(self.equations[name], expr=expr)

    def rewrite(self, change: Callable[[Expr], Expr | None]) -> int:
        """Replace, in all equations, every node for which ``change`` gives another one.

        Returns:
            How many were replaced.
        """
        count = 0

        def counted(node: Expr) -> Expr | None:
            nonlocal count
            made = change(node)
            count += made is not None
            return made

        for name, equation in list(self.equations.items()):
            self.put(name, mapped(equation.expr, counted))
        return count

    def call_new(self, state: str, inner: str) -> Ref:
        """Give a state's new value the name ``inner``, for all that read it."""
        old, whole = state + NEXT, self.new(inner)
        self.rewrite(lambda node: Ref(whole) if node == Ref(old) else None)
        made = {e.name: replace(e, name=whole) if e.name == old else e for e in self.all()}
        self.equations = {e.name: e for e in made.values()}
        return Ref(whole)

    def all(self) -> Iterator[Equation]:
        """The equations in their order."""
        yield from list(self.equations.values())

    def reaches_product(self, expr: Expr) -> bool:
        """Whether a matrix product stands here with no squashing function in between."""
        if isinstance(expr, Product):
            return True
        if isinstance(expr, Ref) and expr.name in self.equations:
            return self.reaches_product(self.equations[expr.name].expr)
        if isinstance(expr, Apply) and expr.op not in SQUASHED:
            return any(self.reaches_product(a) for a in expr.args)
        return False

    def finish(self, convention: str, source: str = "") -> Spec:
        """The new cell, without what no next state needs any more."""
        needed = self.needed()
        sources = (self.spec.source, *([source] if source not in self.spec.source else []))
        spec = replace(
            self.spec,
            name=f"{self.spec.name} + {self.label}",
            source="; ".join(filter(None, sources)),
            convention="; ".join(filter(None, (self.spec.convention, convention))),
            torch_kernel="",
            torch_backend="",
            states=tuple(self.states.values()),
            parameters=tuple(p for n, p in self.parameters.items() if n in needed),
            constants=tuple(pair for pair in self.constants.items() if pair[0] in needed),
            masks=tuple(m for n, m in self.masks.items() if n in needed),
            equations=tuple(e for e in self.all() if e.name in needed),
        )
        check_names(spec)
        return spec

    def needed(self) -> set[str]:
        """All names that a next state is made of."""
        reached: set[str] = set()
        waiting = [state + NEXT for state in self.states]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                if name in self.equations:
                    nodes = walk(self.equations[name].expr)
                    waiting += [node.name for node in nodes if isinstance(node, Ref)]
        return reached


def mapped(expr: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with nodes replaced, from the outside in; what is put in stays as it is."""
    made = change(expr)
    if made is not None:
        return made
    match expr:
        case Apply(op, args):
            return Apply(op, tuple(mapped(a, change) for a in args))
        case Product(matrix, operand):
            return Product(matrix, mapped(operand, change))
    return expr


def written(value: object) -> str:
    """A number as it stands in the name of what is made; else what is about to be refused."""
    return f"{value:g}" if is_number(value) else shown(value)


def probability(label: str, value: float, below_one: bool = False) -> float:
    """The number, if it is a probability."""
    if not is_number(value) or not 0 <= value <= 1 or (below_one and value == 1):
        interval = "[0, 1)" if below_one else "[0, 1]"
        raise CellError(f"{label}: a probability lies in {interval}, got {shown(value)}.")
    return finite(value)


def positive_number(label: str, value: float) -> float:
    """The number, if it is above zero."""
    if not is_number(value) or not value > 0:
        raise CellError(f"{label}: a number above zero is expected, got {shown(value)}.")
    return finite(value)


def is_recurrent(parameter: Parameter) -> bool:
    """Whether a parameter is a matrix from states to units, so no input's and no projection."""
    return parameter.rows == "H" and parameter.cols in ("H", "P")
