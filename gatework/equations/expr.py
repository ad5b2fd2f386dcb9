"""Expression nodes: what stands between the equals signs of a cell.

In a class body the leaves are declared symbols (``Input``, ``State``, ``Matrix``, ``Vector``,
``Constant``). When the cell is finished they are replaced by ``Ref(name)``, so that the
finished equations are plain data: comparable, and writable as JSON.

Sizes are letters: ``F`` input features, ``H`` hidden units, ``P`` projected units. A size of
``None`` is a plain number, which goes with every size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

from gatework.errors import CellError

SIZES = {"F": "input features", "H": "hidden units", "P": "projected units"}


class Expr:
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
        if power != 2:
            raise CellError(
                f"** takes only the exponent 2 in a cell, got {power!r}; multiply it out."
            )
        return Apply("square", (self,))

    # NumPy must not take its functions apart over a symbol: np.tanh(x) then fails at once.
    __array_ufunc__ = None

    def __abs__(self) -> Apply:
        return Apply("abs", (self,))

    def __lt__(self, other: object) -> bool:
        return bool(self)

    __le__ = __gt__ = __ge__ = __lt__

    def __bool__(self) -> bool:
        raise CellError(
            "A cell's equations hold symbols, not values: `if`, `and`, `or` and comparisons "
            "cannot be used on them. Write the choice as arithmetic on gates."
        )


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A plain number in an equation."""

    value: float


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """A named symbol or an earlier equation, in a finished cell."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply(Expr):
    """An elementwise primitive (a row of ``ops.PRIMITIVES``) applied to its arguments."""

    op: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Product(Expr):
    """``matrix @ operand``; in a finished cell ``matrix`` is a ``Ref`` to a declared matrix."""

    matrix: Expr
    operand: Expr


class Symbol(Expr):
    """A declared leaf. It has no name of its own: the class body gives it one."""

    __slots__ = ()


class Input(Symbol):
    """The input x_t of one step, (B, F)."""

    __slots__ = ()
    size = "F"


class State(Symbol):
    """A state carried from step to step, (B, H); the first one declared is the output.

    A state ``h`` needs an equation ``h_next``. ``State("P")`` has the projected size.
    """

    __slots__ = ("size",)

    def __init__(self, size: str = "H") -> None:
        if size == "F":
            raise CellError("A state has size 'H' or 'P': each layer has other input features.")
        self.size = _checked_size(size)


class Vector(Symbol):
    """A learned vector: a bias, or a weight for each unit; (H,)."""

    __slots__ = ("size",)

    def __init__(self, size: str = "H") -> None:
        self.size = _checked_size(size)


class Matrix(Symbol):
    """A learned matrix that takes something shaped like ``source`` to ``rows`` values."""

    __slots__ = ("rows", "source")

    def __init__(self, source: Expr, rows: str = "H") -> None:
        if not isinstance(source, Expr):
            raise CellError(
                f"Matrix takes the symbol that it will multiply, as in Matrix(x); got {source!r}."
            )
        self.source = source
        self.rows = _checked_size(rows)


class Constant(Symbol):
    """A fixed number with a name, so that the LaTeX and the table can show it."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = finite(value)


def matrix(count: int, source: Expr, rows: str = "H") -> tuple[Matrix, ...]:
    """Declare several matrices at once.

    ``W_r, W_z = matrix(2, x)``; their gates are packed in this order.
    """
    return tuple(Matrix(source, rows) for _ in range(count))


def vector(count: int, size: str = "H") -> tuple[Vector, ...]:
    """Declare several vectors at once.

    ``b_r, b_z = vector(2)``; their gates are packed in this order.
    """
    return tuple(Vector(size) for _ in range(count))


@overload
def lift(value: Expr) -> Expr: ...
@overload
def lift(value: float) -> Expr: ...
def lift(value: Any) -> Expr:
    """Make a node of an operand: numbers become ``Number``, nodes stay as they are."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Number(finite(value))
    raise CellError(
        f"An equation holds symbols and numbers; got {type(value).__name__}: {value!r}."
    )


def finite(value: float) -> float:
    """The number, which generated text must be able to spell."""
    if not math.isfinite(value):
        raise CellError(f"An equation holds finite numbers; got {value!r}.")
    return float(value)


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


def _checked_size(size: str) -> str:
    if size not in SIZES:
        known = ", ".join(f"{letter!r} ({text})" for letter, text in SIZES.items())
        raise CellError(f"Unknown size {size!r}; the sizes are {known}.")
    return size
