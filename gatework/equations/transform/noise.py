"""Noise on the recurrence, in training: zoneout and recurrent dropout of any cell."""

from __future__ import annotations

from gatework.equations.cell import Cell
from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.spec import NEXT, Equation, MaskSymbol, Spec
from gatework.equations.symbols import EACH
from gatework.equations.transform.draft import CURVES, Draft, mapped, probability, written

PLACES = ("candidate", "state")


def zoneout(cell: type[Cell] | Spec, **rates: float) -> Spec:
    """States that keep their old value at random, unit by unit and step by step.

    ``zoneout(LSTM, h=0.1, c=0.5)``. In training a unit keeps its old value with the state's
    rate; in evaluation it is the mean of the two. What reads a state's new value within the step
    (the output of an LSTM its c) reads the value before zoneout, as in the paper.

    Args:
        cell: a cell class or a description.
        rates: by the names of the states; a state that is not named or has rate 0 stays.

    Raises:
        CellError: no such state, it is zoned out already, or a rate is no probability.
    """
    label = f"zoneout({', '.join(f'{n}={written(r)}' for n, r in rates.items())})"
    draft = Draft(cell, label)
    if not rates:
        draft.fail(f"give a rate by a state's name, as in zoneout(cell, {draft.output.name}=0.1).")
    for state, rate in rates.items():
        size = draft.state(state).size
        if not probability(label, rate):
            continue
        zone = Ref(draft.new(f"zone_{state}"))
        draft.masks[zone.name] = MaskSymbol(zone.name, size, float(rate), 1.0, "step")
        new = draft.call_new(state, draft.free(f"{state}_new"))
        draft.let(state + NEXT, zone * Ref(state) + (1 - zone) * new, size)
    return draft.finish(
        "zoneout at the mean in evaluation", "Krueger et al. 2016, arXiv:1606.01305"
    )


def recurrent_dropout(
    cell: type[Cell] | Spec, p: float, each: str = "step", at: str = "candidate"
) -> Spec:
    """Dropout within the recurrence, scaled so that the mean stays.

    Args:
        cell: a cell class or a description.
        p: probability of a zero.
        each: whether masks are drawn for each ``"step"`` anew or once a ``"sequence"``.
        at: ``"candidate"``: on what is about to be written to a state, the tanh of products, so
            that the memory itself loses nothing (Semeniuta et al. 2016); ``"state"``: on every
            state where a matrix multiplies it, one mask for all gates (Gal & Ghahramani 2016,
            who draw it once a sequence).

    Raises:
        CellError: the cell has no candidate beside its states, or multiplies no state.
    """
    draft = Draft(cell, f"recurrent_dropout({written(p)}, each={each!r}, at={at!r})")
    if at not in PLACES or each not in EACH:
        draft.fail(f"at is one of {', '.join(PLACES)}, each one of {', '.join(EACH)}.")
    probability(draft.label, p, below_one=True)
    if at == "candidate":
        _on_candidates(draft, p, each)
        return draft.finish("dropout on the candidate", "Semeniuta et al. 2016, arXiv:1603.05118")
    _on_states(draft, p, each)
    return draft.finish(
        "dropout on the state that products read", "Gal & Ghahramani 2016, arXiv:1512.05287"
    )


def _on_candidates(draft: Draft, p: float, each: str) -> None:
    def is_candidate(node: Expr) -> bool:
        is_curve = isinstance(node, Apply) and node.op in CURVES
        return is_curve and draft.reaches_product(node.args[0])  # type: ignore[attr-defined]

    found = 0
    for equation in draft.all():

        def change(node: Expr, of: Equation = equation) -> Expr | None:
            if not is_candidate(node) or (of.name.endswith(NEXT) and node is of.expr):
                return None
            name = f"drop_{of.name}"
            several = f"{name}{len(draft.masks) + 1}"
            return draft.dropout(several if name in draft.masks else name, of.size, p, each) * node

        made = mapped(equation.expr, change)
        found += made != equation.expr
        draft.put(equation.name, made)
    if not found:
        draft.fail(
            "no candidate (a tanh or relu of products) stands beside a state that is carried. "
            "Use at='state', and do this before the activations are changed."
        )


def _on_states(draft: Draft, p: float, each: str) -> None:
    operands = [
        node.operand for e in draft.all() for node in walk(e.expr) if isinstance(node, Product)
    ]
    read = {n.name for o in operands for n in walk(o) if isinstance(n, Ref)}
    states = [s for s in draft.states.values() if s.name in read]
    if not states:
        draft.fail("no matrix multiplies a state; there is nothing to drop.")
    first = next(iter(draft.equations))
    for state in states:
        drop = draft.dropout(f"drop_{state.name}", state.size, p, each)
        old = Ref(state.name)
        dropped = Ref(draft.new(f"dropped_{state.name}"))

        def inside(node: Expr, old: Ref = old, dropped: Ref = dropped) -> Expr | None:
            return dropped if node == old else None

        def change(node: Expr, inside: object = inside) -> Expr | None:
            if isinstance(node, Product):
                return Product(node.matrix, mapped(node.operand, inside))  # type: ignore[arg-type]
            return None

        draft.rewrite(change)
        draft.let(dropped.name, drop * old, state.size, before=first)
