"""Every cell against somebody else's computation of it, and proof that the comparison bites."""

from dataclasses import replace

import pytest
import torch
import witnesses
from agreement import (
    DIFFERENTIABLE,
    IDS,
    PAIRS,
    VALUES,
    differences_of,
    gradients_of,
    leaves,
    ours,
    problem,
    values_of,
)
from shared import CELLS, each_cell
from tolerances import DIFFERENCES, EXACT

from gatework.cells import name_of, resolve
from gatework.equations.expr import Apply, Expr, Number, Product, Ref, children, walk
from gatework.equations.ops import PRIMITIVES


def test_every_cell_has_a_witness():
    assert {name for name, _ in PAIRS} == {name_of(c) for c in CELLS}


@pytest.mark.parametrize(("name", "witness"), PAIRS, ids=IDS)
def test_values_are_the_witness_s(name, witness):
    for got, expected in values_of(name, witness):
        torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_the_witness_s(name):
    for got, expected in gradients_of(name, DIFFERENTIABLE[name]):
        torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("name", VALUES)
def test_gradients_are_the_differences_of_the_witness(name):
    for got, expected in differences_of(name, VALUES[name]):
        torch.testing.assert_close(got, expected, **DIFFERENCES)


@pytest.mark.parametrize("name", sorted({*VALUES} - {*DIFFERENTIABLE}))
def test_gradients_of_the_reference_are_its_own_differences(name):
    spec = resolve(name)
    weights, x, states = problem(name)

    def run(*tensors):
        named = dict(zip(weights, tensors, strict=False))
        output, finals = ours(spec, named, tensors[len(named)], tensors[len(named) + 1 :])
        return output, *finals

    assert torch.autograd.gradcheck(run, leaves(weights, x, states), fast_mode=True)


# Exact limits: what a saturated gate must do to the last bit.


def saturated(cell, **biases):
    weights, x, states = problem(cell)
    full = {name: torch.full_like(weights[name], value) for name, value in biases.items()}
    return weights | full, x, states


def test_gru_with_an_open_update_gate_keeps_its_state():
    for name in ("gru", "gru_reset_before"):
        weights, x, (h,) = saturated(name, b_z=witnesses.OPEN)
        output, _ = ours(resolve(name), weights, x, (h,))
        assert torch.equal(output, h.expand_as(output))


@pytest.mark.parametrize(
    ("name", "biases"),
    [
        ("lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("projected_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("peephole_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("coupled_lstm", {"b_i": -witnesses.OPEN}),
        ("lstm_1997", {"b_i": -witnesses.OPEN}),
        ("no_forget_gate_lstm", {"b_i": -witnesses.OPEN}),
        ("no_output_gate_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("no_output_activation_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("no_input_activation_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
        ("coupled_peephole_lstm", {"b_i": -witnesses.OPEN}),
        ("coupled_forget_lstm", {"b_f": witnesses.OPEN}),
        ("layer_norm_lstm", {"b_f": witnesses.OPEN, "b_i": -witnesses.OPEN}),
    ],
)
def test_the_error_carousel_carries_state_and_gradient_unchanged(name, biases):
    weights, x, (h, c) = saturated(name, **biases)
    _, (_, last) = ours(resolve(name), weights, x, (h, c))
    assert torch.equal(last, c)
    (gradient,) = torch.autograd.grad(last.sum(), c)
    assert torch.equal(gradient, torch.ones_like(c))


# Mutations: each small change of one equation must be seen by the comparison with the witness.

SWAPPED = ("sub", "div", "outer")
EXCHANGED = {"add": "sub", "sub": "add", "mul": "add", "sigmoid": "tanh", "tanh": "sigmoid"}
EXCHANGED |= {"relu": "tanh"}


def mutants(spec):
    """Every spec with one small change, and what was changed."""
    sizes = {spec.input: "F"} | {s.name: s.size for s in spec.states}
    shapes = {p.name: p.shape for p in spec.parameters}
    for position, equation in enumerate(spec.equations):
        for expr, what in changed(equation.expr, sizes, shapes):
            if not is_cell_s(expr, sizes | shapes):
                continue
            row = replace(equation, expr=expr)
            rows = (*spec.equations[:position], row, *spec.equations[position + 1 :])
            yield f"{equation.name}: {what}", replace(spec, equations=rows)
        sizes[equation.name] = equation.size
    for position, (name, value) in enumerate(spec.constants):
        rows = (*spec.constants[:position], (name, value + 1), *spec.constants[position + 1 :])
        yield f"{name}: {value} + 1", replace(spec, constants=rows)


def is_cell_s(expr, symbols):
    """Whether a definition may hold it: no function of plain numbers and constants."""
    return all(
        any(isinstance(leaf, Ref) and leaf.name in symbols for leaf in walk(node))
        for node in walk(expr)
        if isinstance(node, Apply) and not PRIMITIVES[node.op].infix
    )


def changed(expr, sizes, shapes):
    """The expression with one change, at every place in it."""
    yield from changed_here(expr, sizes, shapes)
    if getattr(expr, "op", "") == "units":
        return  # of its argument only the size counts
    for position, child in enumerate(children(expr)):
        for other, what in changed(child, sizes, shapes):
            parts = (*children(expr)[:position], other, *children(expr)[position + 1 :])
            yield (Product(*parts) if isinstance(expr, Product) else Apply(expr.op, parts)), what


def changed_here(expr: Expr, sizes, shapes):
    match expr:
        case Number(value):
            yield Number(value + 1), f"{value} + 1"
        case Ref(name):
            alike = sizes if name in sizes else shapes
            for other in alike:
                if other != name and alike[other] == alike.get(name):  # no constant is alike
                    yield Ref(other), f"{other} for {name}"
        case Apply(op, args):
            if op in SWAPPED:
                yield Apply(op, args[::-1]), f"{op} swapped"
            if op in EXCHANGED:
                yield Apply(EXCHANGED[op], args), f"{EXCHANGED[op]} for {op}"
            if PRIMITIVES[op].gives and len(args) > 1:
                pass  # either side has another size
            elif len(args) == 1:
                yield args[0], f"no {op}"
            else:
                yield args[0], f"{op}: the left side alone"
                yield args[1], f"{op}: the right side alone"


def agrees(computed, expected):
    """The comparison of the tests above, as a truth value."""
    (output, states), (theirs, finals) = computed, expected
    pairs = zip((output, *states), (theirs, *finals), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, **EXACT) for a, b in pairs)


def is_equal(cell, mutant):
    """Whether a change is none: a softmax is the same whatever number of its row is taken away."""
    pairs = zip(cell.spec.equations, mutant.equations, strict=True)
    ((old, new),) = [(a.expr, b.expr) for a, b in pairs if a != b] or [(None, None)]
    match old, new:
        case Apply("exp", (Apply("sub", (a, Apply("largest"))),)), Apply("exp", (b,)):
            shift = isinstance(b, Apply) and b.op in ("add", "sub") and b.args[1]
            moved = isinstance(shift, Apply) and shift.op == "largest"
            return a == (b.args[0] if moved else b)
    return False


@torch.no_grad()
@each_cell
def test_every_small_change_is_noticed(cell):
    missed = [pair for pair in mutants(cell.spec) if not is_equal(cell, pair[1])]
    for scales in ((2, 2), (1e-6, 2), (1e-6, 1e-6)):  # an epsilon shows where weights are small
        given = problem(cell, 3, *scales)
        expected = (DIFFERENTIABLE | VALUES)[name_of(cell)](*given)
        assert agrees(ours(cell.spec, *given), expected)
        missed = [(w, mutant) for w, mutant in missed if agrees(ours(mutant, *given), expected)]
    # No other change here gives an equal function, so no other is excused.
    assert [what for what, _ in missed] == []


def test_the_changes_are_many_and_different():
    found = [mutant for _, mutant in mutants(resolve("lstm"))]
    assert len(found) > 100
    assert len({*found}) == len(found)
    assert resolve("lstm") not in found
