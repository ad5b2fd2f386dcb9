"""Cells whose states are set anew, or left as they are, at steps that the caller names.

Both are rewritings of the equations by masks of one number for each row, which the caller brings:
so they run wherever a cell runs, at the same speed. A mask of ones changes nothing, and one of
noughts lets nothing through, not even a NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from gatework.equations.expr import Apply, Expr, Product, Ref
from gatework.equations.ops import gated
from gatework.equations.sizes import single
from gatework.equations.spec import NEXT, Equation, Spec, StateSymbol, brought


@dataclass(frozen=True)
class Interrupted:
    """A rewritten cell.

    Attributes:
        spec: the cell; its states are those of the old one, and with ``with_origins`` what each
            of them is set to, in the same order.
        masks: those that the caller brings, one for each size. 1: go on as ever.
    """

    spec: Spec
    masks: tuple[str, ...]


@lru_cache(maxsize=64)
def with_resets(spec: Spec) -> Interrupted:
    """The cell whose states are zero before a step wherever the masks are 0.

    A product of a state is scaled instead of the state: U @ (k h) = k (U @ h) for one number k
    of a row. So the product waits for nothing.
    """
    letters = {s.size for s in spec.states} | {p.rows for p in spec.parameters if p.cols}
    masks = _masks(spec, "goes_on", letters)
    sizes = {s.name: s.size for s in spec.states}
    rows = {p.name: p.rows for p in spec.parameters}

    def rewritten(expr: Expr) -> Expr:
        match expr:
            case Ref(name) if name in sizes:
                return gated(expr, masks[single(sizes[name])])
            case Product(Ref(matrix), Ref(name)) if name in sizes:
                return gated(expr, masks[single(rows[matrix])])
            case Product(matrix, operand):
                return Product(matrix, rewritten(operand))
            case Apply(op, args):
                return Apply(op, tuple(map(rewritten, args)))
        return expr

    equations = [replace(e, expr=rewritten(e.expr)) for e in spec.equations]
    return _made(spec, masks, equations)


@lru_cache(maxsize=64)
def with_origins(spec: Spec) -> Interrupted:
    """The cell whose states are set to given ones before a step wherever the masks are 0.

    What they are set to are states that never change: so there is one for each row, and a
    gradient by it.
    """
    masks = _masks(spec, "goes_on", {s.size for s in spec.states})
    names = _Names(spec)
    origins = {s.name: StateSymbol(names.new(f"{s.name}_origin"), s.size) for s in spec.states}
    begun = {s.name: Ref(names.new(f"{s.name}_before")) for s in spec.states}
    before = [
        Equation(
            begun[s.name].name,
            _chosen(masks[single(s.size)], Ref(s.name), Ref(origins[s.name].name)),
            s.size,
        )
        for s in spec.states
    ]

    equations = [*before, *(replace(e, expr=_with_refs(e.expr, begun)) for e in spec.equations)]
    equations += [Equation(s.name + NEXT, Ref(s.name), s.size) for s in origins.values()]
    return _made(replace(spec, states=(*spec.states, *origins.values())), masks, equations)


@lru_cache(maxsize=64)
def with_skips(spec: Spec) -> Interrupted:
    """The cell whose states stay as they are over a step wherever the masks are 0."""
    masks = _masks(spec, "is_live", {s.size for s in spec.states})
    names = _Names(spec)
    # Other equations read what the step would have made, which a skipped step may not have.
    made = {s.name + NEXT: Ref(names.new(f"{s.name}_made")) for s in spec.states}
    equations = [
        Equation(made[e.name].name if e.name in made else e.name, _with_refs(e.expr, made), e.size)
        for e in spec.equations
    ]
    equations += [
        Equation(
            s.name + NEXT, _chosen(masks[single(s.size)], made[s.name + NEXT], Ref(s.name)), s.size
        )
        for s in spec.states
    ]
    return _made(spec, masks, equations)


class _Names:
    """Names that a cell has not."""

    def __init__(self, spec: Spec) -> None:
        self.taken = {spec.input, *spec.given, *(p.name for p in spec.parameters)}
        self.taken |= {e.name for e in spec.equations} | {name for name, _ in spec.constants}
        self.taken |= set(spec.groups)

    def new(self, name: str) -> str:
        while name in self.taken or name + NEXT in self.taken:
            name += "0"
        self.taken.add(name)
        return name


def _masks(spec: Spec, stem: str, letters: Iterable[str]) -> dict[str, Ref]:
    """A mask of one number of a row for each size, by the small letter."""
    names = _Names(spec)
    small = sorted({single(letter) for letter in letters})
    return {letter: Ref(names.new(f"{stem}_{letter}")) for letter in small}


def _made(spec: Spec, masks: Mapping[str, Ref], equations: list[Equation]) -> Interrupted:
    symbols = [brought(m.name, size) for size, m in masks.items()]
    named = [s for s in symbols if any(_reads(e.expr, s.name) for e in equations)]
    made = replace(spec, equations=tuple(equations), masks=(*spec.masks, *named))
    return Interrupted(made, tuple(s.name for s in named))


def _with_refs(expr: Expr, others: Mapping[str, Ref]) -> Expr:
    """The expression that reads other values in the place of some."""
    match expr:
        case Ref(name):
            return others.get(name, expr)
        case Product(matrix, operand):
            return Product(matrix, _with_refs(operand, others))
        case Apply(op, args):
            return Apply(op, tuple(_with_refs(a, others) for a in args))
    return expr


def _reads(expr: Expr, name: str) -> bool:
    match expr:
        case Apply(_, args):
            return any(_reads(a, name) for a in args)
        case Product(_, operand):
            return _reads(operand, name)
    return expr == Ref(name)


def _chosen(mask: Ref, one: Expr, other: Expr) -> Expr:
    """One value where the mask is 1, the other where it is 0."""
    return gated(one, mask) + gated(other, 1 - mask)
