"""A cell's parameters and cost per step, as numbers and as plain text."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from gatework.cells import CellLike, name_of, resolve
from gatework.equations.expr import Apply, Expr, Product, Ref
from gatework.equations.ops import PRIMITIVES
from gatework.equations.sizes import MATRICES, of_kind, shown
from gatework.equations.spec import Parameter, Spec
from gatework.read.render import Spelling, render


@dataclass(frozen=True)
class Cost:
    """What one step of one sequence costs."""

    parameters: int
    multiply_adds: int  # in products of matrices and vectors
    elementwise: int  # primitives, one per unit


@dataclass(frozen=True)
class Amount:
    """A number that grows with the sizes: how often each product of size letters is in it."""

    terms: Mapping[str, Fraction]  # "FH" -> 4 is 4 F H; "" is a plain number

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number at these sizes."""
        return int(sum(n * math.prod(sizes[c] for c in term) for term, n in self.terms.items()))

    def __str__(self) -> str:
        """As a formula, the largest products first: ``4 F H + 4 H² + 4 H``."""
        order = sorted(self.terms, key=lambda term: (-len(term), term))
        parts = (_times(self.terms[term], term) for term in order)
        return " + ".join(parts) or "0"


def _times(count: Fraction, letters: str) -> str:
    power = f"{letters[0]}²" if len(letters) == 2 and len({*letters}) == 1 else " ".join(letters)
    return " ".join(part for part in ("" if count == 1 and letters else str(count), power) if part)


def amounts(cell: CellLike) -> tuple[Amount, Amount, Amount]:
    """What ``cost`` counts, for all sizes: parameters, multiply-adds, elementwise operations."""
    spec = resolve(cell)
    shapes = {p.name: p.shape for p in spec.parameters}
    products: defaultdict[str, Fraction] = defaultdict(Fraction)
    elementwise: defaultdict[str, Fraction] = defaultdict(Fraction)
    for equation in spec.equations:
        for node, letter in _sized(equation.expr, equation.size, shapes):
            if isinstance(node, Product) and isinstance(node.matrix, Ref):
                rows = shapes[node.matrix.name]
                products[_term(rows)] += _of_heads(spec, rows[0])
            elif isinstance(node, Apply):
                row = PRIMITIVES[node.op]
                summed = max(row.takes, key=len) if row.sums else ""
                size = of_kind(summed, letter) if summed else letter
                (products if summed else elementwise)[_term(size)] += _of_heads(spec, size)
    parameters: defaultdict[str, Fraction] = defaultdict(Fraction)
    for p in spec.parameters:  # of a block-diagonal matrix the blocks are kept, of a chunk one row
        parameters[_term(p.shape)] += _of_heads(spec, p.rows) / (p.blocks * p.chunk)
    return Amount(parameters), Amount(products), Amount(elementwise)


def _of_heads(spec: Spec, size: str) -> Fraction:
    """How often a value is there: one number for each head, and of a matrix the heads' blocks."""
    if size == "h":
        return Fraction(spec.heads)
    return Fraction(1, spec.heads) if size in MATRICES else Fraction(1)


def _term(shape: Iterable[str]) -> str:
    """The letters of a product of sizes; one number of a row has none."""
    return "".join(sorted(size for size in shape if size.isupper()))


def cost(cell: CellLike, input_size: int, hidden_size: int, proj_size: int = 0) -> Cost:
    """Parameters and operations per step and sequence at the given sizes."""
    sizes = {"F": input_size, "H": hidden_size, "P": proj_size}
    return Cost(*(amount.at(sizes) for amount in amounts(cell)))


def _sized(
    expr: Expr, size: str, shapes: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[Expr, str]]:
    """Every node with its size letter: what a matrix multiplies has the size of its columns."""
    yield expr, size
    match expr:
        case Product(Ref(matrix), operand):
            yield from _sized(operand, shapes[matrix][1], shapes)
        case Apply(op, args):
            row = PRIMITIVES[op]
            kinds = row.takes or ("n" if row.reduces else "",) * len(args)
            for arg, kind in zip(args, kinds, strict=True):
                yield from _sized(arg, of_kind(kind, size) if kind else size, shapes)


def summary(
    cell: CellLike, input_size: int = 32, hidden_size: int = 64, proj_size: int = 16
) -> str:
    """One cell as plain text: source, equations, parameters and cost per step."""
    spec = resolve(cell)
    at = {"F": input_size, "H": hidden_size, "P": proj_size}
    sizes = {letter: at[letter] for letter in "FHP" if letter in spec.sizes}
    total = cost(spec, **{_ARGUMENT[k]: v for k, v in sizes.items()})
    lines = [f"{name_of(spec)}  ({spec.name})", "", spec.doc.partition("\n")[0]]
    lines += [f"source      {spec.source}"] if spec.source else []
    lines += [f"convention  {spec.convention}"] if spec.convention else []
    lines += ["", "equations   (h is the state before the step, h_next after it)"]
    lines += [f"  {line}" for line in equations(spec)]
    lines += [f"  {name} = {value:g}" for name, value in spec.constants]
    lines += ["", "parameters"]
    for stem, members in spec.groups.items():
        shape = " x ".join(stored(members[0], spec.heads))
        names = ", ".join(p.name for p in members)
        lines.append(f"  {stem:<4}{len(members)} x ({shape}):  {names}")
    where = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
    lines += [
        "",
        f"cost per step and sequence at {where}",
        f"  parameters                    {total.parameters:>10,}",
        f"  multiply-adds in products     {total.multiply_adds:>10,}",
        f"  elementwise operations        {total.elementwise:>10,}",
    ]
    return "\n".join(lines)


def stored(parameter: Parameter, heads: int = 1) -> list[str]:
    """The sizes of a parameter as a layer stores it: blocks alone, one row for a chunk."""
    parts = zip(parameter.shape, (parameter.chunk, parameter.blocks), strict=False)
    sizes = [shown(size) if count == 1 else f"{shown(size)}/{count}" for size, count in parts]
    return [str(heads), *sizes[1:]] if parameter.rows == "h" else sizes


def equations(spec: Spec) -> list[str]:
    """The equations as they stand in the class body."""
    spelling = Spelling(
        name=lambda name: name,
        apply=lambda row, args: (
            f"{row.name}({', '.join(args)})"
            if not row.infix
            else f"{row.infix}{args[0]}"
            if row.arity == 1
            else f"{args[0]} {row.infix} {args[1]}"
        ),
        product=lambda m, operand: f"{m} @ {operand}",
        encloses=lambda row: not row.infix,
        products={},
    )
    width = max(len(e.name) for e in spec.equations)
    return [f"{e.name:<{width}} = {render(e.expr, spelling)}" for e in spec.equations]


_ARGUMENT = {"F": "input_size", "H": "hidden_size", "P": "proj_size"}
