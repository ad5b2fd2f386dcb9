"""The symbols that a class body declares: what the equations of a cell are written in.

Sizes are letters: ``F`` input features, ``H`` hidden units, ``P`` projected units, ``HH`` a matrix.
A small letter is one number for the whole vector, such as its mean. A size of ``None`` is a plain
number, which goes with every size.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from gatework.equations import sizes
from gatework.equations.expr import FORMS, Expr, Symbol, finite
from gatework.equations.misuse import shown
from gatework.equations.refusal import names_waiting, refusal

EACH = ("step", "sequence")
Start = float | tuple[float, float]  # a number, or the two between which it is drawn
P = ParamSpec("P")
R = TypeVar("R")


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
