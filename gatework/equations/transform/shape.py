"""Other wiring for any cell: projection, clips, coupled gates, peepholes, heads."""

from __future__ import annotations

from dataclasses import replace

from gatework.equations.cell import Cell
from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.ops import maximum, minimum
from gatework.equations.sizes import VECTORS
from gatework.equations.spec import NEXT, Equation, Parameter, Spec, StateSymbol
from gatework.equations.transform.draft import Draft, is_recurrent, positive_number, written


def project(cell: type[Cell] | Spec) -> Spec:
    """A shorter output: what the cell has as its output is multiplied by a matrix.

    The matrices that multiplied the output multiply the projected one, of size P. An output that
    is also read unit by unit (the old state of a GRU) is carried on beside it, as ``m``.

    Raises:
        CellError: the cell is projected already, or no matrix multiplies its output.
    """
    draft = Draft(cell, "project")
    output, size = draft.output.name, draft.output.size
    if size == "P":
        draft.fail(f"the output {output} is projected already.")
    old, inner = Ref(output), draft.new("m")
    turned: set[str] = set()

    def shorten(node: Expr) -> Expr | None:
        if isinstance(node, Product) and node.operand == old and isinstance(node.matrix, Ref):
            turned.add(node.matrix.name)
            return Product(node.matrix, node.operand)
        return Ref(inner) if node == old else None

    is_carried = draft.rewrite(shorten) > sum(
        node.operand == old
        for e in draft.all()
        for node in walk(e.expr)
        if isinstance(node, Product)
    )
    if not turned:
        draft.fail(f"no matrix multiplies the output {output} itself.")
    for name in turned:
        draft.parameters[name] = replace(draft.parameters[name], cols="P")
    matrix = draft.new("V")
    draft.parameters[matrix] = Parameter(matrix, "P", "H")
    whole = draft.call_new(output, inner + NEXT if is_carried else inner)
    draft.let(output + NEXT, Product(Ref(matrix), whole), "P")
    states = [StateSymbol(output, "P"), *([StateSymbol(inner, "H")] if is_carried else [])]
    draft.states = {s.name: s for s in (*states, *list(draft.states.values())[1:])}
    return draft.finish("the output projected", "Sak, Senior & Beaufays 2014, arXiv:1402.1128")


def cell_clip(cell: type[Cell] | Spec, limit: float, state: str = "c") -> Spec:
    """A state kept within ±limit; all that reads its new value reads the clipped one.

    Raises:
        CellError: the cell has no such state, it is clipped already, or the limit is not above 0.
    """
    draft = Draft(
        cell, f"cell_clip({written(limit)}{'' if state == 'c' else f', state={state!r}'})"
    )
    _clip(draft, draft.state(state).name, limit)
    return draft.finish(f"{state} clipped before anything reads it, as TensorFlow 1's cell_clip")


def projection_clip(cell: type[Cell] | Spec, limit: float) -> Spec:
    """The projected states kept within ±limit.

    Raises:
        CellError: the cell has no projection, or the limit is not above 0.
    """
    draft = Draft(cell, f"projection_clip({written(limit)})")
    projected = [s.name for s in draft.states.values() if s.size == "P"]
    if not projected:
        draft.fail("no state is projected. Use project(cell) first, or proj_size.")
    for state in projected:
        _clip(draft, state, limit)
    return draft.finish("the projection clipped, as TensorFlow 1's proj_clip")


def _clip(draft: Draft, state: str, limit: float) -> None:
    bound = positive_number(draft.label, limit)
    expr = draft.equations[state + NEXT].expr
    if isinstance(expr, Apply) and expr.op == minimum.name:
        draft.fail(f"{state} is clipped already.")
    draft.put(state + NEXT, minimum(maximum(expr, -bound), bound))


def couple(cell: type[Cell] | Spec, keep: str = "f") -> Spec:
    """One gate for input and forgetting: ``i = 1 - f``, so that what is forgotten is filled.

    Args:
        cell: a cell whose input and forget gate are called i and f.
        keep: the gate that stays: ``"f"`` (TensorFlow 1) or ``"i"`` (Greff et al. 2015, ONNX).

    Raises:
        CellError: the cell does not have these two as sigmoids.
    """
    draft = Draft(cell, f"couple(keep={keep!r})" if keep != "f" else "couple")
    if keep not in ("i", "f"):
        draft.fail(f"keep is 'i' or 'f', got {keep!r}.")
    other = "f" if keep == "i" else "i"
    if not {"i", "f"} <= {e.name for e in _gates(draft)}:
        draft.fail("there are no gates i and f that are sigmoids.")
    draft.put(other, 1 - Ref(keep))
    names = list(draft.equations)
    if names.index(other) < names.index(keep):
        _move(draft, other, behind=keep)
    return draft.finish(f"coupled, {other} = 1 - {keep}", "Greff et al. 2015, arXiv:1503.04069")


def peephole(cell: type[Cell] | Spec, state: str = "c") -> Spec:
    """Gates that look at the cell state, each unit at its own: ``p_i * c`` in the gate's sum.

    A gate that the new state is made with sees the old one, another one (the output gate) the new.

    Raises:
        CellError: the cell has no such state, it is its output, no gates, or peepholes already.
    """
    draft = Draft(cell, "peephole" if state == "c" else f"peephole(state={state!r})")
    name = draft.state(state).name
    if name == draft.output.name:
        draft.fail(f"{name} is the output, which the gates see already.")
    gates = _gates(draft)
    if not gates:
        draft.fail("there are no gates (named sigmoids of products).")
    before = _made_of(draft, name + NEXT)
    for gate in gates:
        is_late = gate.name not in before
        weight = draft.vector(f"p_{gate.name}", gate.size)
        seen = weight * Ref(name + NEXT if is_late else name)
        assert isinstance(gate.expr, Apply)
        draft.put(gate.name, Apply(gate.expr.op, (_before_bias(draft, gate.expr.args[0], seen),)))
        if is_late:
            _move(draft, gate.name, behind=name + NEXT)
    return draft.finish(
        "diagonal peepholes, the output gate sees the new state", "Gers & Schmidhuber 2002, JMLR 3"
    )


def heads(cell: type[Cell] | Spec, n: int) -> Spec:
    """Matrices from states to units in ``n`` blocks: each head of units sees itself alone.

    Head k has the units k*H/n up to (k+1)*H/n; a layer stores (H, H/n) for each matrix. Matrices
    of the input, vectors and projections stay whole.

    Where a state is a matrix or one number, each head is a cell of its own on its part of the
    units: it has its own matrix (H/n, H/n) and numbers, and a mean goes over its units alone.

    Raises:
        CellError: n is no whole number above 1, the cell has heads already, nothing in it goes
            from unit to unit, or it has both such a state and a projection.
    """
    draft = Draft(cell, f"heads({n})")
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        draft.fail("the number of heads is a whole number above 1.")
    own = [s.name for s in draft.states.values() if s.size not in VECTORS]
    found = [p for p in draft.parameters.values() if is_recurrent(p)]
    if draft.spec.heads > 1 or any(p.blocks > 1 for p in found):
        draft.fail("there are heads already.")
    if not found and not own:
        draft.fail("no matrix multiplies a state.")
    if own and "P" in draft.spec.sizes:
        draft.fail(f"each head has its own {own[0]}, and a projection would join them.")
    for p in found:
        draft.parameters[p.name] = replace(p, blocks=n)
    cells, blocks = f"{n} heads, each on its part of the units", f"recurrent matrices of {n} blocks"
    spec = draft.finish(cells if own else blocks, "Beck et al. 2024, arXiv:2405.04517")
    return replace(spec, heads=n) if own else spec


def _gates(draft: Draft) -> list[Equation]:
    """The named sigmoids that products reach."""
    return [
        e
        for e in draft.all()
        if isinstance(e.expr, Apply)
        and e.expr.op == "sigmoid"
        and draft.reaches_product(e.expr.args[0])
    ]


def _made_of(draft: Draft, name: str) -> set[str]:
    """All that an equation reads, however far off."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        equation = draft.equations.get(waiting.pop())
        nodes = walk(equation.expr) if equation else ()
        new = {n.name for n in nodes if isinstance(n, Ref)} - found
        found |= new
        waiting += new
    return found


def _before_bias(draft: Draft, total: Expr, term: Expr) -> Expr:
    """A sum with a term more, in front of the bias, where the papers write it."""
    match total:
        case Apply("add", (rest, Ref(name))) if name in draft.spec.biases:
            return (rest + term) + Ref(name)
    return total + term


def _move(draft: Draft, name: str, behind: str) -> None:
    """Put an equation directly behind another one."""
    moved = draft.equations.pop(name)
    order = list(draft.equations.values())
    place = list(draft.equations).index(behind) + 1
    draft.equations = {e.name: e for e in (*order[:place], moved, *order[place:])}
