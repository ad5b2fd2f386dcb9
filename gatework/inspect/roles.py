"""What the gates of a cell do, worked out from its equations.

A gate lies between 0 and 1. Each end is put in its place, the equations are multiplied out, and
what is left is said in words: ``f * c + i * g`` is ``c + i * g`` at f = 1 and ``i * g`` at f = 0,
so f keeps c or clears it. A gate gets the name that the literature has for such a place in the
equations, whatever its letter; where nothing matches, it is a gate and the equations are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gatework.equations import Spec
from gatework.equations.expr import Expr, Ref
from gatework.equations.spec import NEXT
from gatework.inspect.algebra import ONE, Algebra, Terms, TooLongError, atom, names_in, times

# By what the literature calls so: f of f * c, z of z * h + (1 - z) * n, i of c + i * g, what
# hides the old state from new content, what multiplies the shown state.
FORGET, UPDATE, INPUT = "forget gate", "update gate", "input gate"
RESET, OUTPUT, UNNAMED = "reset gate", "output gate", "gate"
ORDER = (FORGET, UPDATE, INPUT, RESET, OUTPUT, UNNAMED)
MOST_LETTERS = 120  # of equations as words


@dataclass(frozen=True)
class Role:
    """What a gate or a state is called, and what can be said of it (perhaps nothing)."""

    name: str
    title: str
    says: str


def gate_roles(spec: Spec) -> dict[str, Role]:
    """Every gate of a cell, that is every equation between 0 and 1, by its letter.

    The forget gate comes first where there is one, then those of ``ORDER``.
    """
    algebra = Algebra(spec)
    found = {}
    for gate in algebra.gates:
        effects = list(_effects(algebra, gate))
        names = {name for name, _ in effects if name}
        name = names.pop() if len(names) == 1 else UNNAMED
        found[gate] = Role(name, f"{name} {gate}", "; ".join(text for _, text in effects if text))
    return dict(sorted(found.items(), key=lambda item: ORDER.index(item[1].name)))


def state_roles(spec: Spec) -> dict[str, Role]:
    """The states that carry something of their old value over as it is; all, if none does."""
    algebra = Algebra(spec)
    found, kept = {}, {}
    for state in (s.name for s in spec.states):
        name = _state_name(algebra, state)
        found[state] = Role(name, f"{name} {state}", "")
        parts = algebra.carried(state)
        if parts is None or not parts[0]:
            continue
        says = ""
        if not algebra.gates_in(algebra.expr(parts[0])):
            whole = parts[0] == ONE
            part = "all of it" if whole else algebra.text(times(parts[0], atom(Ref(state))))
            says = f"every step keeps {part}{' and adds to it' if whole and parts[1] else ''}"
        kept[state] = replace(found[state], says=says)
    return kept or found


def _effects(algebra: Algebra, gate: str) -> Iterator[tuple[str, str]]:
    """For each equation that a gate has a part in: the gate's name by it, and what it does.

    The words are about the gate together with its opposite, the name is for where it stands
    itself; empty where it does not.
    """
    ends = algebra.ends(gate)
    alone = {gate: 1.0}, {gate: 0.0}
    for name, expr in algebra.equations.items():
        if name in algebra.inlined or name in ends[0]:
            continue
        try:
            words = _effect(algebra, name, ends)[1]
            yield _effect(algebra, name, alone)[0], words
        except TooLongError:
            if names_in(expr) & ends[0].keys():
                yield UNNAMED, ""


def _effect(
    algebra: Algebra, name: str, at: tuple[dict[str, float], dict[str, float]]
) -> tuple[str, str]:
    """The gate's name by one equation and what it does there, from the equation's two ends."""
    high, low = (algebra.terms(algebra.equations[name], end) for end in at)
    if high == low:
        return "", ""
    state = name.removesuffix(NEXT)
    if state != name:
        above, below = algebra.split(state, high), algebra.split(state, low)
        if above and below and (above[0] or below[0]):
            return _on_state(algebra, state, above, below)
    seen = [algebra.read_by(algebra.expr(terms)) for terms in (high, low)]
    output, *others = [s.name for s in algebra.spec.states]
    shown = [s for s in others if s + NEXT in seen[0] - seen[1]]
    if shown and name in (output + NEXT, *algebra.far[output + NEXT]):
        what = " and ".join(_full(algebra, s) for s in shown)
        end = "does not" if low else "is 0"
        return OUTPUT, f"near 1 {state} shows {what}, near 0 {state} {end}"
    hidden = [s for s in (output, *others) if s in seen[0] - seen[1]]
    if hidden and low:
        what = " and ".join(_full(algebra, s) for s in hidden)
        is_new = name not in algebra.roots and not algebra.bare[name] & set(hidden)
        words = f"near 1 it lets {name} see {what}, near 0 it does not"
        return RESET if is_new else UNNAMED, words
    words = f"near 1 {algebra.text(high, name)}, near 0 {algebra.text(low, name)}"
    return UNNAMED, words if len(words) <= MOST_LETTERS else ""


def _on_state(
    algebra: Algebra, state: str, high: tuple[Terms, Terms], low: tuple[Terms, Terms]
) -> tuple[str, str]:
    """What a gate does to a state that is carried on: it keeps, adds or replaces."""
    name = UNNAMED
    if high[1] == low[1]:
        name = UNNAMED if low[0] else FORGET
        words = [_kept(algebra, state, kept) for kept, _ in (high, low)]
    elif high[0] == low[0]:
        # What is added in any case is none of this gate's doing.
        own = {f: value for f, value in high[1].items() if low[1].get(f) != value}
        other = {f: value for f, value in low[1].items() if high[1].get(f) != value}
        is_new = all(any(not _is_gate(algebra, f) for f in factors) for factors in own)
        name = INPUT if is_new and not other else UNNAMED
        words = [
            f"adds {algebra.text(p)} to {_full(algebra, state)}" if p else "adds nothing"
            for p in (own, other)
        ]
    else:
        if sorted((bool(k), bool(n)) for k, n in (high, low)) == [(False, True), (True, False)]:
            name = UPDATE
        words = [_moved(algebra, state, *end) for end in (high, low)]
    full = _full(algebra, state)
    if full in words[0]:
        words[1] = words[1].replace(full, state)
    return name, f"near 1 it {words[0]}, near 0 it {words[1]}"


def _state_name(algebra: Algebra, state: str) -> str:
    """The output is the hidden state; one behind it that carries itself on, the cell state."""
    output = algebra.spec.states[0].name
    if state == output:
        return "hidden state"
    parts = algebra.carried(state)
    shown = state + NEXT in algebra.far[output + NEXT]
    return "cell state" if shown and parts is not None and parts[0] else "state"


def _full(algebra: Algebra, state: str) -> str:
    """A state as it is first spoken of."""
    return f"the {_state_name(algebra, state)} {state}"


def _kept(algebra: Algebra, state: str, kept: Terms) -> str:
    if not kept:
        return f"clears {_full(algebra, state)}"
    if kept == ONE:
        return f"keeps {_full(algebra, state)}"
    return f"keeps {algebra.text(times(kept, atom(Ref(state))))}"


def _moved(algebra: Algebra, state: str, kept: Terms, added: Terms) -> str:
    if not added:
        return _kept(algebra, state, kept)
    if not kept:
        return f"replaces {_full(algebra, state)} by {algebra.text(added)}"
    return f"{_kept(algebra, state, kept)} and adds {algebra.text(added)}"


def _is_gate(algebra: Algebra, factor: Expr) -> bool:
    return isinstance(factor, Ref) and factor.name in algebra.roots
