"""From an expression to text, with brackets only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatework.equations.expr import Apply, Expr, Number, Product, Ref
from gatework.equations.ops import ATOM, PRIMITIVES, TERM, Primitive


@dataclass(frozen=True)
class Spelling:
    """How one notation writes names, primitives and matrix products.

    ``products`` may replace whole products, by (matrix name, operand name), with a name.
    """

    name: Callable[[str], str]
    apply: Callable[[Primitive, list[str]], str]
    product: Callable[[str, str], str]
    encloses: Callable[[Primitive], bool]
    products: Mapping[tuple[str, str], str]


def render(expr: Expr, spelling: Spelling) -> str:
    """The expression as text."""
    return _render(expr, spelling)[0]


def _render(expr: Expr, spelling: Spelling) -> tuple[str, int]:
    match expr:
        case Ref(name):
            return spelling.name(name), ATOM
        case Number(value):
            text = repr(value).removesuffix(".0")  # 1e+300 stays: torch takes no such whole number
            return (f"({text})" if value < 0 else text), ATOM
        case Product(Ref(matrix), operand):
            if isinstance(operand, Ref) and (matrix, operand.name) in spelling.products:
                return spelling.products[matrix, operand.name], ATOM
            inner, level = _render(operand, spelling)
            inner = inner if level == ATOM else f"({inner})"
            return spelling.product(spelling.name(matrix), inner), TERM
        case Apply(op, args):
            return _apply(PRIMITIVES[op], args, spelling)
    raise TypeError(f"not a finished expression: {expr!r}")


def _apply(row: Primitive, args: tuple[Expr, ...], spelling: Spelling) -> tuple[str, int]:
    if spelling.encloses(row):
        return spelling.apply(row, [render(a, spelling) for a in args]), ATOM
    texts = []
    for position, arg in enumerate(args):
        text, level = _render(arg, spelling)
        # Operations of one rank are read from the left, so the right side must bind tighter.
        texts.append(text if level >= row.precedence + position else f"({text})")
    return spelling.apply(row, texts), row.precedence
