"""Expression nodes: what stands between the equals signs of a cell.

In a class body the leaves are declared symbols, see ``symbols``. When the cell is finished they are
replaced by ``Ref(name)``, so that the finished equations are plain data: comparable, and writable
as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeGuard, overload

from gatework.equations.misuse import Valueless, shown
from gatework.equations.refusal import refusal

# How each declaration is written, and what goes between its brackets, for the errors.
FORMS = {
    "Input": ("x = Input()", "; its size is given to the layer"),
    "State": ("h = State()", "; its size is given to the layer"),
    "Vector": ("b = Vector()", "; its size is given to the layer"),
    "Matrix": ("W = Matrix(x)", ", with the symbol that it multiplies"),
    "Constant": ("k = Constant(0.5)", ", with a number"),
    "Mask": ("keep = Mask(0.9)", ", with the probability of a one"),
    "First": ("first = First(10)", ", with how many units make a chunk"),
    "Beside": ("t = Beside()", "; its numbers come with every call"),
    "matrix": ("W_i, W_f = matrix(2, x)", ": first how many, then what they multiply"),
    "vector": ("b_i, b_f = vector(2)", ", with how many"),
}


class Expr(Valueless):
    """Base of all nodes; holds the operators. ``*`` is elementwise, ``@`` the matrix product."""

    __slots__ = ()

    def __add__(self, other: Expr | float) -> Apply:
        return Apply("add", (self, lift(other)))

    def __radd__(self, other: float) -> Apply:
        return Apply("add", (lift(other), self))

    def __sub__(self, other: Expr | float) -> Apply:
        return Apply("sub", (self, lift(other)))

    def __rsub__(self, other: float) -> Apply:
        return Apply("sub", (lift(other), self))

    def __mul__(self, other: Expr | float) -> Apply:
        return Apply("mul", (self, lift(other)))

    def __rmul__(self, other: float) -> Apply:
        return Apply("mul", (lift(other), self))

    def __truediv__(self, other: Expr | float) -> Apply:
        return Apply("div", (self, lift(other)))

    def __rtruediv__(self, other: float) -> Apply:
        return Apply("div", (lift(other), self))

    def __neg__(self) -> Apply:
        return Apply("neg", (self,))

    def __matmul__(self, other: Expr) -> Product:
        return Product(self, lift(other))

    def __pow__(self, power: float) -> Apply:
        if not is_number(power) or power != 2:
            roots = {0.5: f"write sqrt({shown(self)})", -1: f"write 1 / {shown(self)}"}
            advice = roots.get(power) if is_number(power) else None
            raise refusal(
                f"** takes only the exponent 2 in a cell, got {shown(power)}; "
                f"{advice or 'multiply it out'}."
            )
        return Apply("square", (self,))

    def __abs__(self) -> Apply:
        return Apply("abs", (self,))


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A plain number in an equation."""

    value: float


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """A named symbol or an earlier equation, in a finished cell."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Apply(Expr):
    """An elementwise primitive (a row of ``ops.PRIMITIVES``) applied to its arguments."""

    op: str
    args: tuple[Expr, ...]

    def __eq__(self, other: object) -> bool:
        _refuse_unfinished(self)
        return type(other) is Apply and self.op == other.op and self.args == other.args

    def __hash__(self) -> int:
        return hash((self.op, self.args))


@dataclass(frozen=True, slots=True, eq=False)
class Product(Expr):
    """``matrix @ operand``; in a finished cell ``matrix`` is a ``Ref`` to a declared matrix."""

    matrix: Expr
    operand: Expr

    def __eq__(self, other: object) -> bool:
        _refuse_unfinished(self)
        if type(other) is not Product:
            return False
        return self.matrix == other.matrix and self.operand == other.operand

    def __hash__(self) -> int:
        return hash((self.matrix, self.operand))


class Symbol(Expr):
    """A declared leaf. It has no name of its own: the class body gives it one."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return bool(self)  # which refuses, as it does for <

    __hash__ = object.__hash__


def _refuse_unfinished(expr: Expr) -> None:
    """Refuse ``==`` on an equation of a running class body; finished ones are plain data.

    An expression holds symbols or references, never both, so one leaf tells. Looked for in few
    steps: caches that are keyed by a cell ask at every call of a layer.
    """
    while True:
        if type(expr) is Apply:
            first, last = expr.args[0], expr.args[-1]
            expr = last if type(first) is Number else first
        elif type(expr) is Product:
            expr = expr.matrix
        else:
            break
    if isinstance(expr, Symbol):
        bool(expr)


@overload
def lift(value: Expr) -> Expr: ...
@overload
def lift(value: float) -> Expr: ...
def lift(value: Any) -> Expr:
    """Make a node of an operand: numbers become ``Number``, nodes stay as they are."""
    if isinstance(value, Expr):
        return value
    if is_number(value):
        return Number(finite(value))
    if isinstance(value, type) and issubclass(value, Symbol):
        form, _ = FORMS[value.__name__]
        raise refusal(f"{value.__name__} stands without brackets. Write `{form}`.")
    advice = "Write a number, or declare what is learned (Vector, Matrix)."
    if callable(value):
        advice = "Write a function with its argument, as in tanh(h)."
    raise refusal(
        f"An equation holds symbols and numbers; got {type(value).__name__}: {shown(value)}. "
        f"{advice}"
    )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, Python's or NumPy's; a truth value is none."""
    return not isinstance(value, bool) and isinstance(value, Real)


def finite(value: Any) -> float:
    """The number, which generated text must be able to spell.

    Raises:
        TypeError: it is no number.
        CellError: it is infinite or NaN.
    """
    if not is_number(value):
        raise TypeError(f"expected a number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise refusal(f"An equation holds finite numbers; got {shown(value)}. Write another one.")
    return number


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of an expression, the node itself first."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The nodes directly under one."""
    if isinstance(expr, Apply):
        return expr.args
    if isinstance(expr, Product):
        return (expr.matrix, expr.operand)
    return ()
