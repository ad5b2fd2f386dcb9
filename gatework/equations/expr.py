"""Expression nodes: what stands between the equals signs of a cell.

In a class body the leaves are declared symbols (``Input``, ``State``, ``Matrix``, ``Vector``,
``Constant``, ``Mask``, ``Beside``). When the cell is finished they are replaced by
``Ref(name)``, so that the finished equations are plain data: comparable, and writable as JSON.

Sizes are letters: ``F`` input features, ``H`` hidden units, ``P`` projected units, ``HH`` a matrix.
A small letter is one number for the whole vector, such as its mean. A size of ``None`` is a plain
number, which goes with every size.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ParamSpec, TypeGuard, TypeVar, overload

from gatework.equations import sizes
from gatework.equations.misuse import Valueless, shown
from gatework.equations.refusal import names_waiting, refusal

EACH = ("step", "sequence")
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

Start = float | tuple[float, float]  # a number, or the two between which it is drawn
P = ParamSpec("P")
R = TypeVar("R")


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


def _declaration(make: Callable[P, R]) -> Callable[P, R]:
    """Tell a wrong call of a declaration by how it is written."""

    @functools.wraps(make)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        try:
            return make(*args, **options)
        except TypeError:
            kind, _, method = make.__qualname__.partition(".")
            given = [shown(a) for a in args[1 if method else 0 :]]
            given += [f"{name}={shown(value)}" for name, value in options.items()]
            call, (form, hint) = f"{kind}({', '.join(given)})", FORMS[kind]
            raise refusal(f"{call} declares nothing. Write `{form}`{hint}.") from None

    return checked


class Input(Symbol):
    """The input x_t of one step, (B, F)."""

    __slots__ = ()
    size = "F"

    @_declaration
    def __init__(self) -> None:
        pass


class State(Symbol):
    """A state carried from step to step, (B, H); the first one declared is the output.

    A state ``h`` needs an equation ``h_next``. ``State("P")`` has the projected size,
    ``State("HH")`` is a matrix, ``State("h")`` one number.
    """

    __slots__ = ("size",)

    @_declaration
    def __init__(self, size: str = "H") -> None:
        if size == "F":
            raise refusal("A state has size 'H' or 'P': each layer has other input features.")
        self.size = _checked_size(size, sizes.OF_STATE)


class Vector(Symbol):
    """A learned vector: a bias, or a weight for each unit; (H,). ``Vector("h")`` is one number.

    ``Vector(start=1.0)`` begins at this number where a layer is made, as the gain of a
    normalisation must; ``Vector(start=(0.0, 3.0))`` is drawn uniformly between the two. Others
    begin as the layer's initialisation has it. ``Vector(chunk=10)`` has one number for each ten
    neighbouring units.
    """

    __slots__ = ("chunk", "size", "start")

    @_declaration
    def __init__(self, size: str = "H", start: Start | None = None, chunk: int = 1) -> None:
        self.size, self.chunk = _checked_size(size, sizes.OF_PARAMETER), checked_chunk(chunk)
        self.start = None if start is None else checked_start(start)


class Matrix(Symbol):
    """A learned matrix that takes something shaped like ``source`` to ``rows`` values.

    ``Matrix(x, rows="h")`` has one row: it makes one number of a vector. ``Matrix(x, chunk=10)``
    has one row for each ten neighbouring units, which all get what it makes.
    """

    __slots__ = ("chunk", "rows", "source")

    @_declaration
    def __init__(self, source: Expr, rows: str = "H", chunk: int = 1) -> None:
        if not isinstance(source, Expr):
            raise refusal(
                f"Matrix takes the symbol that it will multiply, as in Matrix(x); "
                f"got {shown(source)}."
            )
        self.source = source
        self.rows, self.chunk = _checked_size(rows, sizes.OF_PARAMETER), checked_chunk(chunk)


class Constant(Symbol):
    """A fixed number with a name, so that the LaTeX and the table can show it."""

    __slots__ = ("value",)

    @_declaration
    def __init__(self, value: float) -> None:
        self.value = finite(value)


class Mask(Symbol):
    """Random in training: ``value`` with a probability, else 0; its mean in evaluation.

    ``Mask(0.9, 1 / 0.9)`` is the mask of dropout, ``Mask(0.1)`` that of zoneout. It is drawn for
    each unit and row, and for each ``"step"`` anew or once a ``"sequence"``.
    """

    __slots__ = ("chunk", "each", "probability", "size", "value")

    @_declaration
    def __init__(
        self, probability: float, value: float = 1.0, each: str = "step", size: str = "H"
    ) -> None:
        self.probability, self.value = finite(probability), finite(value)
        if not 0 <= self.probability <= 1:
            raise refusal(f"A probability lies in [0, 1]; got {shown(probability)}.")
        if each not in EACH:
            raise refusal(f"A mask is drawn each {' or '.join(EACH)}; got {shown(each)}.")
        self.each, self.size, self.chunk = each, _checked_size(size, sizes.ALL), 1


class First(Mask):
    """1 for the first unit of each chunk of so many neighbours, else 0; it is never drawn.

    What is multiplied by it counts once for each chunk, in a sum over the units.
    """

    __slots__ = ()

    @_declaration
    def __init__(self, chunk: int, size: str = "H") -> None:
        super().__init__(1.0, each="sequence", size=_checked_size(size, sizes.VECTORS))
        self.chunk = checked_chunk(chunk)


class Beside(Symbol):
    """One number of each row and step that the caller brings beside the input, such as its time.

    A layer takes it by its name, ``layer(x, beside={"t": times})``. It goes with values of this
    size; there is no gradient by it.
    """

    __slots__ = ("size",)

    @_declaration
    def __init__(self, size: str = "H") -> None:
        self.size = sizes.single(_checked_size(size, sizes.VECTORS))


@_declaration
def matrix(count: int, source: Expr, rows: str = "H", chunk: int = 1) -> tuple[Matrix, ...]:
    """Declare several matrices at once.

    ``W_r, W_z = matrix(2, x)``; their gates are packed in this order.
    """
    return tuple(Matrix(source, rows, chunk) for _ in range(_checked_count(count, "matrix")))


@_declaration
def vector(
    count: int, size: str = "H", start: Start | None = None, chunk: int = 1
) -> tuple[Vector, ...]:
    """Declare several vectors at once.

    ``b_r, b_z = vector(2)``; their gates are packed in this order.
    """
    return tuple(Vector(size, start, chunk) for _ in range(_checked_count(count, "vector")))


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


def checked_start(start: Any) -> Start:
    """Where a parameter begins: a number, or two in their order.

    Raises:
        TypeError: neither of the two.
        CellError: a number is infinite or NaN, or the second one is below the first.
    """
    if not isinstance(start, (tuple, list)):
        return finite(start)
    if len(start) != 2:
        raise TypeError(f"expected two numbers, got {shown(start)}")
    low, high = map(finite, start)
    if low > high:
        raise refusal(f"A start is drawn between a lower and a higher number; got {shown(start)}.")
    return low, high


def checked_chunk(chunk: Any) -> int:
    """How many neighbouring units share one number.

    Raises:
        TypeError: it is no whole number.
        CellError: it is below 1.
    """
    if isinstance(chunk, bool):
        raise TypeError(f"expected a whole number, got {shown(chunk)}")
    count: int = operator.index(chunk)
    if count < 1:
        raise refusal(f"A chunk has a whole number of units, from 1 on; got {count}.")
    return count


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


def _checked_size(size: str, allowed: Mapping[str, str]) -> str:
    if size not in allowed:
        known = ", ".join(f"{letter!r} ({text})" for letter, text in allowed.items())
        raise refusal(
            f"Unknown size {shown(size)}; the sizes are {known}. "
            f"Their numbers are given to the layer."
        )
    return size


def _checked_count(count: int, kind: str) -> int:
    count = operator.index(count)  # a TypeError where the arguments are swapped
    if count < 1:
        raise TypeError(count)
    waiting = names_waiting(__name__)
    if waiting is not None and waiting != count:
        raise refusal(
            f"{kind}({count}, ...) makes {count}, and {waiting} name(s) stand before the `=`. "
            f"Make the two agree."
        )
    return count
