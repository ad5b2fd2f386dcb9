"""Layer normalisation of any cell."""

from __future__ import annotations

from collections.abc import Iterator

from gatework.equations.cell import Cell
from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.ops import mean, sqrt, square
from gatework.equations.spec import NEXT, Spec
from gatework.equations.transform.draft import CURVES, Draft, mapped, positive_number

EPSILON = "epsilon"
SOURCE = "Ba, Kiros & Hinton 2016, arXiv:1607.06450"


def layer_norm(cell: type[Cell] | Spec, *, state: str | None = None, epsilon: float = 1e-5) -> Spec:
    """Each gate's sum of matrix products, normalised over its units, with a learned gain.

    In ``W_i @ x + U_i @ h + p_i * c + b_i`` the products together become
    ``gamma_i * (a - mean(a)) / sqrt(var(a) + epsilon)``; the gain begins at one, the peephole
    stays outside, and the cell's own bias is the shift. Products that do not stand in one sum
    (the two of a GRU's candidate) are normalised each by itself, a projection is not.

    Args:
        cell: a cell class or a description.
        state: a state, such as ``"c"``, that is normalised too, with gain and shift, where the
            output reads it through tanh; what is carried on is the state as it was.
        epsilon: added to the variance.

    Raises:
        CellError: the cell has no products, is normalised already, or shows no such state.
    """
    draft = Draft(cell, "layer_norm" if state is None else f"layer_norm(state={state!r})")
    draft.constants[draft.new(EPSILON)] = positive_number(f"{draft.label}: epsilon", epsilon)
    if not _normalise_sums(draft):
        draft.fail("no matrix product makes units of this cell; there is nothing to normalise.")
    if state is not None:
        _normalise_state(draft, draft.state(state).name)
    return draft.finish("each gate's products normalised together, the bias is the shift", SOURCE)


def _normalise_sums(draft: Draft) -> int:
    count = 0
    for equation in draft.all():

        def change(node: Expr, where: str = equation.name) -> Expr | None:
            nonlocal count
            products = [t for t in terms(node) if _makes_units(draft, t)]
            if not products:
                return None
            count += 1
            total, *others = products
            for product in others:
                total = total + product
            made: Expr = _normalised(draft, total, _suffix(draft, products), "H", where)
            for term in terms(node):
                if not _makes_units(draft, term):
                    made = made + mapped(term, change)
            return made

        draft.put(equation.name, mapped(equation.expr, change))
    return count


def _normalise_state(draft: Draft, state: str) -> None:
    new, output = Ref(state + NEXT), draft.output.name + NEXT
    shown = [
        (e.name, node)
        for e in draft.all()
        for node in walk(e.expr)
        if isinstance(node, Apply) and node.op in CURVES and node.args == (new,)
    ]
    if len(shown) != 1:
        draft.fail(
            f"{output} does not read {new.name} through one {' or '.join(CURVES)}; leave state out."
        )
    where, node = shown[0]
    size = draft.states[state].size
    made = _normalised(draft, new, state, size, where) + draft.vector(f"beta_{state}", size, 0.0)
    draft.put(
        where,
        mapped(
            draft.equations[where].expr,
            lambda n: Apply(node.op, (made,)) if n is node else None,
        ),
    )


def _normalised(draft: Draft, value: Expr, suffix: str, size: str, before: str) -> Expr:
    if not isinstance(value, Ref):
        value = draft.let(f"sum_{suffix}", value, size, before)
    centred = draft.let(f"centred_{suffix}", value - mean(value), size, before)
    gain = draft.vector(f"gamma_{suffix}", size, start=1.0)
    return gain * centred / sqrt(mean(square(centred)) + Ref(EPSILON))


def _suffix(draft: Draft, products: list[Expr]) -> str:
    """What W_i and U_i share; the matrix itself where another sum has that already."""
    names = [
        p.matrix.name for p in products if isinstance(p, Product) and isinstance(p.matrix, Ref)
    ]
    found = {name.partition("_")[2] for name in names}
    short = found.pop() if len(found) == 1 else ""
    return short if short and f"gamma_{short}" not in draft.parameters else names[0]


def _makes_units(draft: Draft, node: Expr) -> bool:
    """Whether a node is a matrix product that is no projection."""
    if not isinstance(node, Product) or not isinstance(node.matrix, Ref):
        return False
    return draft.parameters[node.matrix.name].rows == "H"


def terms(expr: Expr) -> Iterator[Expr]:
    """The terms of a sum, in their order."""
    match expr:
        case Apply("add", (a, b)):
            yield from terms(a)
            yield from terms(b)
        case _:
            yield expr
