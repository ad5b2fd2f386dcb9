"""From equations to lists of single operations, each computed once and put into its stage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from gatework.compile.plan import Let, Operand, Plan, Product, Stage
from gatework.equations import Spec
from gatework.equations import expr as nodes
from gatework.equations.expr import Expr, Ref, walk
from gatework.equations.ops import PRIMITIVES
from gatework.equations.sizes import VECTORS, shown
from gatework.errors import PlanError

FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "gated": lambda a, b: a * b if b else 0.0,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
}


class Sequence:
    """A growing list of operations in which nothing is computed twice."""

    def __init__(
        self, sizes: Mapping[str, str], taken: str = "t", known: Iterable[Let] = ()
    ) -> None:
        self.sizes = dict(sizes)
        self.lets: list[Let] = []
        self.taken = taken
        self._known = {(let.op, let.args): let.name for let in known}

    def let(self, op: str, args: tuple[Operand, ...], name: str | None = None) -> Operand:
        """The value of an operation: a known one if it was computed before."""
        if op in FOLDED and all(isinstance(a, float) for a in args):
            return FOLDED[op](*args)
        if (short := _simplified(op, args)) is not None:
            return short
        key = (op, args)
        if key not in self._known:
            name = name or f"{self.taken}__{len(self.lets)}"
            named = [a for a in args if isinstance(a, str)]
            if not named:
                raise PlanError(f"There is no kernel for {op} of plain numbers; write its value.")
            size = self.sizes[name] = size_of(op, [self.sizes[a] for a in named])
            self.lets.append(Let(name, op, args, size))
            self._known[key] = name
        return self._known[key]


def size_of(op: str, sizes: Iterable[str]) -> str:
    """The size of a result, of the sizes of the arguments that are no plain numbers."""
    size = min(sizes)  # capitals first: the vector's
    if PRIMITIVES[op].reduces:
        return size.lower()
    return size.upper() if op == "spread" else size


def flatten(spec: Spec) -> Plan:
    """The forward half of a cell's plan.

    Raises:
        PlanError: the cell has what no kernel can do.
    """
    if (what := without_kernel(spec)) is not None:
        raise PlanError(f"{spec.name} has no kernel: {what}.")
    return _Flattener(spec).plan()


def without_kernel(spec: Spec) -> str | None:
    """What in a cell the kernels have no form for, or ``None``."""
    for equation in spec.equations:
        for node in walk(equation.expr):
            if isinstance(node, nodes.Apply) and not PRIMITIVES[node.op].has_kernel:
                return node.op
    if spec.heads > 1:
        return f"the {spec.heads} heads side by side"
    for symbol in spec.states:
        if symbol.size not in VECTORS:
            return f"the state {symbol.name} of size {shown(symbol.size)}"
    for parameter in spec.parameters:
        if parameter.rows not in VECTORS:
            return f"the parameter {parameter.name} with one row"
    return None


def leaf_sizes(spec: Spec) -> dict[str, str]:
    """The sizes of input, states, masks and vectors."""
    sizes = {spec.input: "F"} | spec.given
    return sizes | {p.name: p.rows for p in spec.parameters if p.cols is None}


class _Flattener:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.constants = dict(spec.constants)
        self.rows = {p.name: p.rows for p in spec.parameters}
        self.sequence = Sequence(leaf_sizes(spec))
        self.products: dict[tuple[tuple[str, str], ...], Product] = {}
        self.vectors = {p.name for p in spec.parameters if p.cols is None}
        self.masks = {m.name for m in spec.masks}
        self.uses = Counter(
            node
            for equation in spec.equations
            for node in walk(equation.expr)
            if isinstance(node, nodes.Product)
        )
        self.values: dict[str, str] = {}

    def plan(self) -> Plan:
        for equation in self.spec.equations:
            value = self.value(equation.expr, equation.name)
            if not isinstance(value, str):
                raise PlanError(
                    f"{self.spec.name}: {equation.name} is {value:g} whatever its input; there is "
                    f"no kernel for that. Write the number where it is read."
                )
            self.values[equation.name] = value
        levels = self.levels()
        stages = []
        for level in range(1 + max(levels.values(), default=0)):
            stages += split(
                tuple(p for p in self.products.values() if levels[p.name] == level),
                [let for let in self.sequence.lets if levels[let.name] == level],
            )
        return Plan(self.spec, read_by(stages, self.values.values()), self.values)

    def value(self, expr: Expr, name: str | None = None) -> Operand:
        match expr:
            case nodes.Number(number):
                return number
            case Ref(text):
                if text in self.constants:
                    return self.constants[text]
                return self.values.get(text, text)
            case nodes.Product():
                return self.product((expr,))
            case nodes.Apply("add", _) if len(fused := self.alone(expr)) > 1:
                return self.sum(expr, fused, name)
            case nodes.Apply(op, args):
                return self.sequence.let(op, tuple(self.value(a) for a in args), name)
        raise TypeError(f"not a finished expression: {expr!r}")

    def alone(self, expr: Expr) -> tuple[nodes.Product, ...]:
        """The products among the terms of a sum that nothing else uses."""
        return tuple(t for t in _terms(expr) if isinstance(t, nodes.Product) and self.uses[t] == 1)

    def sum(self, expr: Expr, fused: tuple[nodes.Product, ...], name: str | None) -> Operand:
        """A sum of several products is one product of them all, summed in the same registers."""
        rest = [t for t in _terms(expr) if t not in fused]
        total: Operand = self.product(fused, None if rest else name)
        for number, term in enumerate(rest, start=1):
            last = name if number == len(rest) else None
            total = self.sequence.let("add", (total, self.value(term)), last)
        return total

    def product(self, factors: tuple[nodes.Product, ...], name: str | None = None) -> str:
        terms = []
        for factor in factors:
            value = self.value(factor.operand)
            assert isinstance(factor.matrix, Ref)
            if not isinstance(value, str) or value in self.vectors | self.masks:
                raise PlanError(
                    f"{self.spec.name} multiplies {factor.matrix.name} by {value}, which no state "
                    f"and no input goes into; there is no kernel for that. Learn the product "
                    f"itself, as a Vector."
                )
            terms.append((factor.matrix.name, value))
        key = tuple(terms)
        if key not in self.products:
            matrix, value = terms[0]
            number = sum(len(p.terms) > 1 for p in self.products.values())
            made_up = f"{matrix}__{value}" if len(terms) == 1 else f"p__{number}"
            product = Product(name or made_up, key, self.rows[matrix])
            self.sequence.sizes[product.name] = product.size
            self.products[key] = product
        return self.products[key].name

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
                    levels[name] = max(
                        level(o) + (o in lets or o in products) for o in products[name].operands
                    )
                else:
                    levels[name] = max(level(a) for a in lets[name].args)
            return levels[name]

        for name in (*lets, *products):
            level(name)
        return levels


def split(products: tuple[Product, ...], lets: list[Let]) -> list[Stage]:
    """A stage, cut wherever a mean, say, needs all units of what was computed in it.

    What needs nothing of the stage is left until it is used: so it crosses no cut in memory.
    """
    levels = dict.fromkeys((p.name for p in products), 0)
    for let in lets:
        before = [levels[a] for a in let.args if a in levels]
        levels[let.name] = max(before, default=0) + bool(let.over and before)
    by_name = {let.name for let in lets}
    for let in reversed(lets):
        users = [levels[u.name] for u in lets if let.name in u.args]
        is_free = not any(a in by_name for a in let.args) and not let.over
        if is_free and users and not any(u.over for u in lets if let.name in u.args):
            levels[let.name] = max(levels[let.name], min(users))
    parts = []
    for level in range(1 + max(levels.values(), default=0)):
        mine = tuple(let for let in lets if levels[let.name] == level)
        parts.append(Stage(products if level == 0 else (), mine))
    return parts


def read_by(stages: list[Stage], wanted: Iterable[Operand]) -> tuple[Stage, ...]:
    """The stages without what none of these is made of: nought times something, say."""
    wanted, kept = set(wanted), []
    for stage in reversed(stages):
        lets = []
        for let in reversed(stage.lets):
            if let.name in wanted:
                wanted.update(let.args)
                lets.append(let)
        products = tuple(p for p in stage.products if p.name in wanted)
        wanted.update(o for p in products for o in p.operands)
        kept.append(Stage(products, tuple(reversed(lets))))
    return tuple(reversed(kept))


def _terms(expr: Expr) -> Iterator[Expr]:
    """The terms of a sum, however it is bracketed."""
    match expr:
        case nodes.Apply("add", (a, b)):
            yield from _terms(a)
            yield from _terms(b)
        case _:
            yield expr


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
