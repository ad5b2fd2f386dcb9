"""From equations to lists of single operations, each computed once and put into its stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from gatework.compile.plan import Let, Operand, Plan, Product, Stage
from gatework.equations import Spec
from gatework.equations import expr as nodes
from gatework.equations.expr import Expr, Ref

FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
}


class Sequence:
    """A growing list of operations in which nothing is computed twice."""

    def __init__(self, sizes: Mapping[str, str], taken: str = "t") -> None:
        self.sizes = dict(sizes)
        self.lets: list[Let] = []
        self.taken = taken
        self._known: dict[tuple[str, tuple[Operand, ...]], str] = {}

    def let(self, op: str, args: tuple[Operand, ...], name: str | None = None) -> Operand:
        """The value of an operation: a known one if it was computed before."""
        if op in FOLDED and all(isinstance(a, float) for a in args):
            return FOLDED[op](*args)
        if (short := _simplified(op, args)) is not None:
            return short
        key = (op, args)
        if key not in self._known:
            name = name or f"{self.taken}__{len(self.lets)}"
            size = next(self.sizes[a] for a in args if isinstance(a, str))
            self.sizes[name] = size
            self.lets.append(Let(name, op, args, size))
            self._known[key] = name
        return self._known[key]


def flatten(spec: Spec) -> Plan:
    """The forward half of a cell's plan."""
    return _Flattener(spec).plan()


def leaf_sizes(spec: Spec) -> dict[str, str]:
    """The sizes of input, states and vectors."""
    sizes = {spec.input: "F"} | {s.name: s.size for s in spec.states}
    return sizes | {p.name: p.rows for p in spec.parameters if p.cols is None}


class _Flattener:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.constants = dict(spec.constants)
        self.rows = {p.name: p.rows for p in spec.parameters}
        self.sequence = Sequence(leaf_sizes(spec))
        self.products: dict[tuple[str, str], Product] = {}
        self.values: dict[str, str] = {}

    def plan(self) -> Plan:
        for equation in self.spec.equations:
            value = self.value(equation.expr, equation.name)
            assert isinstance(value, str)  # an equation of numbers alone is refused at definition
            self.values[equation.name] = value
        levels = self.levels()
        before = [p for p in self.products.values() if p.operands == (self.spec.input,)]
        within = [p for p in self.products.values() if p.operands != (self.spec.input,)]
        stages = []
        for level in range(1 + max(levels.values(), default=0)):
            stages.append(
                Stage(
                    tuple(p for p in within if levels[p.name] == level),
                    tuple(let for let in self.sequence.lets if levels[let.name] == level),
                )
            )
        return Plan(self.spec, tuple(before), tuple(stages), self.values)

    def value(self, expr: Expr, name: str | None = None) -> Operand:
        match expr:
            case nodes.Number(number):
                return number
            case Ref(text):
                if text in self.constants:
                    return self.constants[text]
                return self.values.get(text, text)
            case nodes.Product(Ref(matrix), operand):
                return self.product(matrix, operand)
            case nodes.Apply(op, args):
                return self.sequence.let(op, tuple(self.value(a) for a in args), name)
        raise TypeError(f"not a finished expression: {expr!r}")

    def product(self, matrix: str, operand: Expr) -> str:
        value = self.value(operand)
        assert isinstance(value, str)
        if (matrix, value) not in self.products:
            size = self.rows[matrix]
            product = Product(f"{matrix}__{value}", ((matrix, value),), size)
            self.sequence.sizes[product.name] = size
            self.products[matrix, value] = product
        return self.products[matrix, value].name

    def levels(self) -> dict[str, int]:
        """The stage of each value: a product of something computed in a stage is in the next."""
        levels: dict[str, int] = {}
        lets = {let.name: let for let in self.sequence.lets}
        products = {p.name: p for p in self.products.values()}

        def level(name: Operand) -> int:
            if not isinstance(name, str) or (name not in lets and name not in products):
                return 0
            if name not in levels:
                if name in products:
                    (operand,) = products[name].operands
                    levels[name] = level(operand) + (
                        1 if operand in lets or operand in products else 0
                    )
                else:
                    levels[name] = max(level(a) for a in lets[name].args)
            return levels[name]

        for name in (*lets, *products):
            level(name)
        return levels


def _simplified(op: str, args: tuple[Operand, ...]) -> Operand | None:
    """What needs no operation at all: times one, plus nothing."""
    match op, args:
        case ("mul", (1.0, other)) | ("mul", (other, 1.0)) | ("add", (0.0, other)):
            return other
        case ("add", (other, 0.0)) | ("sub", (other, 0.0)) | ("div", (other, 1.0)):
            return other
        case ("mul", (0.0, _)) | ("mul", (_, 0.0)):
            return 0.0
    return None


def is_zero(value: Operand) -> bool:
    """Whether a value is the number nought."""
    return isinstance(value, float) and math.isclose(value, 0.0, abs_tol=0.0)
