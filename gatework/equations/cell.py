"""A class body becomes a frozen cell description, and checks itself while doing so.

Names are captured from the class body in the order of assignment, so the reference, the LaTeX
and the recorder have every gate's name for nothing. Each error names the cell and the symbol
and says what to do.
"""

from __future__ import annotations

import inspect
import math
import operator
from typing import Any, NoReturn

from gatework.equations.body import TEXTS, ClassBody
from gatework.equations.expr import (
    FORMS,
    Apply,
    Expr,
    Number,
    Product,
    Ref,
    Symbol,
    is_number,
    walk,
)
from gatework.equations.ops import PRIMITIVES, Primitive
from gatework.equations.sizes import VECTORS, joint, mixed, single
from gatework.equations.spec import (
    NEXT,
    TAKEN,
    Equation,
    MaskSymbol,
    Parameter,
    Spec,
    StateSymbol,
    brought,
)
from gatework.equations.symbols import Beside, Constant, Input, Mask, Matrix, State, Vector
from gatework.errors import CellError

RESERVED = {*TEXTS, "spec", *TAKEN}


class CellMeta(type):
    """Makes ``spec`` out of the class body of a cell, and keeps the class from being changed."""

    spec: Spec

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> dict[str, Any]:
        return ClassBody(name) if bases else {}

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> CellMeta:
        if not bases:
            return super().__new__(cls, name, bases, dict(body))
        if bases != (Cell,):
            raise CellError(
                f"{name}: a cell derives from Cell alone, not from another cell. "
                f"Write its equations out."
            )
        namespace = dict(body)
        namespace["spec"] = _Finisher(name, namespace, body).finish()
        return super().__new__(cls, name, bases, namespace)

    def __setattr__(cls, name: str, value: Any) -> None:
        if not name.startswith("__"):
            raise CellError(f"{cls.__name__} is frozen; write a new cell to change {name}.")
        super().__setattr__(name, value)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise CellError(
            f"{cls.__name__} is a definition, not a layer. "
            f"Use gatework.Recurrent({cls.__name__}, input_size, hidden_size)."
        )


class Cell(metaclass=CellMeta):
    """Base of every cell: a class body of symbols and equations.

    ``source`` names the paper, ``convention`` which of several forms this is, ``use`` when to take
    it, ``deviations`` who computes it otherwise. For each state ``h`` there is an equation
    ``h_next``; the first state is the output. ``Cell.spec`` is the finished description.

    Raises:
        CellError: at the definition, when the equations cannot be right.
    """

    source: str = ""
    convention: str = ""
    use: str = ""
    deviations: str = ""
    torch_kernel: str = ""
    torch_backend: str = ""


class _Finisher:
    """Turns the namespace of one class body into a ``Spec``."""

    def __init__(self, cell: str, namespace: dict[str, Any], body: dict[str, Any]) -> None:
        self.cell = cell
        # A class that is made without a body, by type(...), has read what it holds.
        self.read = body.read if isinstance(body, ClassBody) else set(namespace)
        self.namespace = namespace
        self.named: dict[str, Expr] = {}
        self.names: dict[int, str] = {}
        self.sizes: dict[int, str | None] = {}

    def fail(self, message: str) -> NoReturn:
        raise CellError(f"{self.cell}: {message}")

    def finish(self) -> Spec:
        self.collect()
        inputs = self.of_type(Input)
        states = self.of_type(State)
        if len(inputs) != 1:
            self.fail(f"a cell has one Input, got {len(inputs)}. Declare it as `x = Input()`.")
        if not states:
            self.fail("a cell has at least one State. Declare it as `h = State()`.")
        self.check_next(states)
        texts = {key: self.namespace.get(key, "") for key in TEXTS}
        spec = Spec(
            name=self.cell,
            doc=inspect.cleandoc(self.namespace.get("__doc__") or ""),
            **texts,
            input=next(iter(inputs)),
            states=tuple(StateSymbol(n, s.size) for n, s in states.items()),
            parameters=tuple(self.parameters()),
            constants=tuple((n, c.value) for n, c in self.of_type(Constant).items()),
            masks=(
                *(
                    MaskSymbol(n, m.size, m.probability, m.value, m.each, chunk=m.chunk)
                    for n, m in self.of_type(Mask).items()
                ),
                *(brought(n, b.size) for n, b in self.of_type(Beside).items()),
            ),
            equations=tuple(self.equations()),
        )
        self.check_used(spec)
        return spec

    def collect(self) -> None:
        """Give every node in the body its name; refuse what is no part of an equation."""
        for name, value in self.namespace.items():
            if name in TEXTS or (name.startswith("__") and name.endswith("__")):
                continue
            if is_number(value) and not name.endswith(NEXT):
                if name not in self.read:
                    self.fail(f"{name} is a number that nothing reads. Use it or delete it.")
                continue  # the equations hold its value; it needs no name in them
            if not isinstance(value, Expr):
                self.refuse_foreign(name, value)
            if name in RESERVED:
                self.fail(f"{name} is reserved. Give this symbol another name.")
            if name.startswith("_") or "__" in name:
                self.fail(f"{name}: a leading or double underscore is reserved. Rename it.")
            delayed = isinstance(value, State) and name.endswith(NEXT)  # g_next = h
            if isinstance(value, Symbol) and id(value) in self.names and not delayed:
                self.fail(
                    f"{name} and {self.names[id(value)]} are the same symbol. Declare each one."
                )
            self.named[name] = value
            self.names.setdefault(id(value), name)

    def refuse_foreign(self, name: str, value: Any) -> NoReturn:
        """Say what to write for a value that is no symbol, equation or number."""
        advice = "Move it out of the class."
        if isinstance(value, Primitive):
            advice = f"Write the function with its argument, as in `{name} = {value.name}(...)`."
        elif isinstance(value, (tuple, list)):
            advice = f"Give each symbol its own name, as in `{FORMS['matrix'][0]}`."
        self.fail(
            f"{name} is a {type(value).__name__}; a cell's body holds only symbols, equations "
            f"and numbers. {advice}"
        )

    def of_type(self, kind: type) -> dict[str, Any]:
        return {
            n: v for n, v in self.named.items() if isinstance(v, kind) and self.names[id(v)] == n
        }

    def check_next(self, states: dict[str, State]) -> None:
        for name in states:
            if name + NEXT not in self.named:
                self.fail(f"state {name} has no next value. Add `{name}{NEXT} = ...`.")
        for name, value in self.named.items():
            if not name.endswith(NEXT):
                continue
            state = name.removesuffix(NEXT)
            if isinstance(value, Symbol) and not isinstance(value, State):
                self.fail(f"{name} is a declared symbol. Set it by an equation.")
            if state not in states:
                self.fail(f"{name} is set, but {state} is no State. Declare `{state} = State()`.")
            size = self.size(value, name)
            if size != states[state].size:
                self.fail(
                    f"{name} has size {_shown(size)}, but state {state} has size "
                    f"{states[state].size}. Make the two agree."
                )

    def parameters(self) -> list[Parameter]:
        found = []
        for name, value in self.named.items():
            if isinstance(value, Vector):
                found.append(Parameter(name, value.size, start=value.start, chunk=value.chunk))
            elif isinstance(value, Matrix):
                cols = self.size(value.source, name)
                if cols is None or cols.islower():
                    self.fail(f"{name} multiplies a plain number. Use a vector instead.")
                if cols not in VECTORS:
                    self.fail(f"{name} multiplies a matrix. Multiply a vector made of it.")
                found.append(Parameter(name, value.rows, cols, chunk=value.chunk))
        return found

    def equations(self) -> list[Equation]:
        found = []
        for name, value in self.named.items():
            if isinstance(value, Symbol) and not (name.endswith(NEXT) and isinstance(value, State)):
                continue
            size = self.size(value, name)
            if size is None:
                self.fail(f"{name} is made of numbers alone. Use a Constant or a plain number.")
            first = self.names[id(value)] == name
            expr = self.finished(value, top=True) if first else Ref(self.names[id(value)])
            found.append(Equation(name, expr, size))
        return found

    def finished(self, expr: Expr, top: bool = False) -> Expr:
        """The expression with every named node replaced by a reference to it."""
        name = self.names.get(id(expr))
        if name is not None and not top:
            return Ref(name)
        match expr:
            case Apply(op, args):
                return Apply(op, tuple(self.finished(a) for a in args))
            case Product(matrix, operand):
                return Product(self.finished(matrix), self.finished(operand))
        return expr

    def size(self, expr: Expr, where: str) -> str | None:
        """The size letter of an expression (None: a number), checked on the way."""
        if id(expr) not in self.sizes:
            if not isinstance(expr, Symbol):  # an equation's mistake is its own
                where = self.names.get(id(expr), where)
            self.sizes[id(expr)] = self.computed_size(expr, where)
        return self.sizes[id(expr)]

    def computed_size(self, expr: Expr, where: str) -> str | None:
        match expr:
            case Number() | Constant():
                size = None
            case Input() | State() | Vector() | Mask() | Beside():
                size = expr.size
            case Matrix():
                self.fail(
                    f"{where}: {self.label(expr)} is a matrix and stands without `@`. "
                    f"Write `{self.label(expr)} @ ...`."
                )
            case Product():
                size = self.product_size(expr, where)
            case Apply():
                size = self.apply_size(expr, where)
            case _:
                self.fail(f"{where}: {expr!r} is no expression.")
        if isinstance(expr, Symbol) and id(expr) not in self.names:
            self.fail(
                f"{where} uses a {type(expr).__name__} that has no name in this cell. "
                f"Declare it in the body first, as in `{FORMS[type(expr).__name__][0]}`."
            )
        return size

    def product_size(self, expr: Product, where: str) -> str:
        left, right = expr.matrix, expr.operand
        if isinstance(right, Matrix) and not isinstance(left, Matrix):
            self.fail(
                f"{where}: in {self.label(expr)} the matrix stands on the wrong side. "
                f"Write `{self.label(right)} @ {self.label(left)}`."
            )
        if not isinstance(left, Matrix):
            self.fail(
                f"{where}: the left side of @ is a declared matrix, got {self.label(left)}. "
                f"For an elementwise product write *, for a matrix among the states times(C, q)."
            )
        if id(left) not in self.names:
            self.fail(
                f"{where} uses a Matrix that has no name in this cell. "
                f"Declare it in the body first, as in `W = Matrix(x)`."
            )
        takes, got = self.size(left.source, where), self.size(right, where)
        if takes != got:
            self.fail(
                f"{where}: {self.label(left)} @ {self.label(right)} cannot be: "
                f"{self.label(left)} takes size {_shown(takes)}, {self.label(right)} has size "
                f"{_shown(got)}. Declare {self.label(left)} with matrix(..., {self.label(right)})."
            )
        return left.rows

    def apply_size(self, expr: Apply, where: str) -> str | None:
        row, given = PRIMITIVES[expr.op], [self.size(a, where) for a in expr.args]
        known = [s for s in given if s is not None]
        if not known and not row.infix:
            self.fail(f"{where}: {expr.op} of a plain number. Write its value.")
        self.check_number(expr, where)
        if row.gives:
            return self.mixed_size(expr, where, given)
        size = joint(known) if known else None
        if known and size is None:
            parts = f"{self.parts(expr, where)}. Bring one to the other's size with a matrix"
            self.fail(f"{where}: {expr.op} of different sizes: {parts}.")
        if row.over and size is not None:
            if size.islower():
                self.fail(f"{where}: {self.label(expr)} is taken of one number. Leave it out.")
            return single(size) if row.reduces else size
        return size

    def mixed_size(self, expr: Apply, where: str, given: list[str | None]) -> str:
        """The size of a product of vectors and matrices that no weight stands in."""
        row = PRIMITIVES[expr.op]
        size = mixed(row.takes, row.gives, given)
        if size is None:
            wanted = " and ".join({"n": "a vector H", "nn": "a matrix HH"}[n] for n in row.takes)
            self.fail(f"{where}: {expr.op} takes {wanted}; {self.parts(expr, where)}.")
        return size

    def parts(self, expr: Apply, where: str) -> str:
        """The sizes of the arguments, for an error."""
        return ", ".join(f"{self.label(a)} has {_shown(self.size(a, where))}" for a in expr.args)

    def check_number(self, expr: Apply, where: str) -> None:
        """Refuse arithmetic on numbers and constants that gives no finite number."""
        if expr.op == "div" and self.value(expr.args[1]) == 0:
            divisor = self.label(expr.args[1])
            zero = divisor if isinstance(expr.args[1], Number) else f"{divisor}, which is 0"
            self.fail(f"{where} divides by {zero}. Divide by another number, or leave it out.")
        value = self.value(expr)
        if value is not None and not math.isfinite(value):
            self.fail(f"{where}: {self.label(expr)} is {value}. Take numbers with a finite result.")

    def value(self, expr: Expr) -> float | None:
        """The value of an expression of numbers and constants alone, else None."""
        match expr:
            case Number(value):
                return value
            case Constant():
                return expr.value
            case Apply(op, args):
                values = [self.value(a) for a in args]
                if None not in values and PRIMITIVES[op].infix:
                    python = {"div": "truediv"}.get(op, op)
                    return float(getattr(operator, python)(*values))
        return None

    def label(self, expr: Expr) -> str:
        """How an expression is called in an error."""
        name = self.names.get(id(expr))
        if name is not None:
            return name
        if isinstance(expr, Number):
            return f"{expr.value:g}"
        if isinstance(expr, Symbol):
            return f"an unnamed {type(expr).__name__}"
        if isinstance(expr, Apply):
            return f"{expr.op}({', '.join(self.label(a) for a in expr.args)})"
        if isinstance(expr, Product):
            return f"{self.label(expr.matrix)} @ {self.label(expr.operand)}"
        return repr(expr)

    def check_used(self, spec: Spec) -> None:
        """Every symbol and equation must reach a next state.

        The output alone need not be read back, where another state carries the memory.
        """
        uses = {
            e.name: {node.name for node in walk(e.expr) if isinstance(node, Ref)}
            for e in spec.equations
        }
        reached: set[str] = set()
        waiting = [state.name + NEXT for state in spec.states]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting.extend(uses.get(name, ()))
        output, *others = (state.name for state in spec.states)
        if reached.intersection(others):
            reached.add(output)
        for name in self.named:
            if name not in reached:
                self.fail(f"{name} reaches no next state. Use it or delete it.")


def _shown(size: str | None) -> str:
    return "of a number" if size is None or size.islower() else size
