"""The proof that a memory is linear: what it says holds in numbers, what it refuses does not."""

from dataclasses import replace

import pytest
import torch
from shared import CELLS, EveryPrimitive, LayerNormPeephole, Masked
from test_plan import T, inputs
from tolerances import EXACT

from gatework.cells import resolve
from gatework.compile.linear import Linear, linear
from gatework.equations import (
    Cell,
    Constant,
    Input,
    Mask,
    Matrix,
    State,
    Vector,
    matrix,
    maximum,
    mean,
    sigmoid,
    tanh,
    vector,
)
from gatework.equations.expr import Number, Product, Ref, walk
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT
from gatework.read import reference


class Scanned(Cell):
    """All that is accepted: three scanned states, two with nothing added, a chain of outputs."""

    x, h, c, d, e = Input(), State("P"), State(), State("P"), State()
    k = Constant(0.75)
    keep = Mask(0.5)
    W_a, W_b = matrix(2, x)
    A = Matrix(x, rows="P")
    v, u = vector(2)

    g = sigmoid(W_a @ x - mean(W_b @ x))
    shift = c - (k - c) / 2
    c_next = -(g * (2 * shift - v) * keep) / (1 + g) + W_b @ x * u
    d_next = k * d
    e_next = -e
    late = tanh(d + d_next * (A @ x))
    h_next = late - mean(A @ x)


class Copied(Cell):
    """A state that only holds the last input back; an output that reads its old value."""

    x, h, p = Input(), State(), State()
    W, V = matrix(2, x)
    p_next = W @ x
    h_next = tanh(V @ x + p) * p_next


class Summed(Cell):
    """Nothing forgotten, as in the error carousel of an LSTM without a recurrent matrix."""

    x, c = Input(), State()
    W = Matrix(x)
    c_next = c + W @ x


class Chained(Cell):
    x, h, c = Input(), State(), State()
    W, v = Matrix(x), Vector()
    c_next = v * c + W @ x
    h_next = v * h + c_next


class Squared(Cell):
    x, c = Input(), State()
    W = Matrix(x)
    c_next = c * (1 - c) + W @ x


class Divided(Cell):
    x, c = Input(), State()
    W = Matrix(x)
    c_next = W @ x / (2 + c)


class Averaged(Cell):
    x, c = Input(), State()
    W = Matrix(x)
    c_next = c - mean(c) + W @ x


class Projected(Cell):
    x, h, c = Input(), State(), State()
    W, V = Matrix(x), Matrix(c)
    c_next = 0.5 * c + W @ x
    h_next = V @ c_next


class Recurrent(Cell):
    x, c = Input(), State()
    W, U = Matrix(x), Matrix(c)
    c_next = U @ c + W @ x


class Crossed(Cell):
    x, c, d = Input(), State(), State()
    W = Matrix(x)
    c_next = 0.5 * c + d
    d_next = 0.5 * d + W @ x * c


class Highest(Cell):
    """The largest number so far, which fades; a gate that sees it; what is kept by that gate."""

    x, h, c, p = Input(), State(), State(), State()
    W_p, W_c, v = Matrix(x), Matrix(x), Vector()
    U, R = Matrix(p), Matrix(c)
    p_next = maximum(W_p @ x, p - v * v)
    f = sigmoid(U @ p - mean(p_next))
    c_next = f * c + W_c @ x
    h_next = tanh(R @ c) + p_next


class Doubled(Cell):
    x, p = Input(), State()
    W = Matrix(x)
    p_next = maximum(2 * p, W @ x)


YES = (Scanned, Copied, Summed, Chained, Projected, Highest)
NO = {
    Crossed: "Crossed: c_next reads the state d, and c depends on it.",
    Doubled: "Doubled: p_next takes the maximum of what depends on p.",
    Squared: "Squared: c_next multiplies what depends on a state by what depends on a state.",
    Divided: "Divided: c_next divides by what depends on a state.",
    Averaged: "Averaged: c_next takes the mean of what depends on a state.",
    Recurrent: "Recurrent: c_next multiplies the matrix U by what depends on a state.",
}
MORE = (EveryPrimitive, LayerNormPeephole, Masked)
SPECS = [cell.spec for cell in (*CELLS, *YES, *NO, *MORE)]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
FORMS = {spec.name: linear(spec) for spec in SPECS}
each_linear = pytest.mark.parametrize(
    "spec", [s for s in SPECS if isinstance(FORMS[s.name], Linear)], ids=lambda s: s.name
)


def test_which_cells_of_the_catalogue_are_linear():
    found = {cell.__name__ for cell in CELLS if isinstance(FORMS[cell.__name__], Linear)}
    assert found == {"MLSTM", "MinGRU", "MinLSTM", "QRNN", "SRU2017"}


def test_the_form_of_a_cell_with_an_output():
    form = FORMS["QRNN"]
    (scan,) = form.scans
    assert form.order == ("z", "f", "o", scan, "h_next")
    assert (scan.state, scan.kind) == ("c", "sums")
    assert (scan.a, scan.b) == (Ref("f"), (1 - Ref("f")) * Ref("z"))


def test_what_is_only_a_number_is_one():
    a = {
        name: {s.state: s.a for s in FORMS[name].scans} for name in ("Scanned", "Copied", "Summed")
    }
    assert a["Scanned"]["e"] == Number(-1.0)
    assert a["Scanned"]["d"] == Ref("k")
    assert (a["Copied"]["p"], a["Summed"]["c"]) == (Number(0.0), Number(1.0))
    assert [s.b for s in FORMS["Scanned"].scans if s.state != "c"] == [Number(0.0)] * 2


@pytest.mark.parametrize(("cell", "reason"), NO.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_the_reason_names_the_equation(cell, reason):
    assert linear(cell.spec) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sru", "SRU: f takes the sigmoid of what depends on c."),
        ("ind_rnn", "IndRNN: h_next takes the relu of what depends on h."),
        ("lstm", "LSTM: o multiplies the matrix U_o by what depends on a state."),
    ],
)
def test_a_gate_that_sees_a_state_is_the_reason(name, reason):
    assert linear(resolve(name)) == reason


def test_a_simple_recurrent_unit_without_its_gates_view_of_the_state_is_linear():
    zero = {"v_f": Number(0.0), "v_r": Number(0.0)}

    def without(expr):
        if isinstance(expr, Ref):
            return zero.get(expr.name, expr)
        if isinstance(expr, Product | Number):
            return expr
        args = tuple(without(arg) for arg in expr.args)
        if expr.op == "mul" and Number(0.0) in args:
            return Number(0.0)
        return type(expr)(expr.op, args)

    spec = resolve("sru")
    rows = tuple(replace(e, expr=without(e.expr)) for e in spec.equations)
    form = linear(replace(spec, equations=rows))
    assert [item for item in form.order if item not in form.scans] == ["f", "r", "h_next"]


# Numbers.


def value(expr, at):
    """An expression's value; a name that is not given is an error: a state in a or b."""
    match expr:
        case Number(number):
            return torch.tensor(number, dtype=torch.float64)
        case Ref(name):
            return at[name]
        case Product(Ref(name), operand):
            return value(operand, at) @ at[name].T
    row = PRIMITIVES[expr.op]
    values = dict(zip("ab", (value(arg, at) for arg in expr.args), strict=False))
    text = row.torch or (f"a {row.infix} b" if row.arity == 2 else f"{row.infix} a")
    return eval(text, {"torch": torch} | values)


RECURRENCES = {
    "sums": lambda s, a, b: a * s + b,
    "peaks": lambda s, a, b: torch.maximum(s + a, b),
}


def stepped(spec, weights, x, states, masks):
    """All equations of one step, by the reference."""
    step = reference.compiled(spec, "torch")
    return step(x, *states.values(), *masks.values(), *weights.values())


@each_linear
def test_all_steps_at_once_are_the_steps_one_by_one(spec):
    """And each state is exactly by its recurrence, from whatever state."""
    form, exprs = FORMS[spec.name], {e.name: e.expr for e in spec.equations}
    weights, x, states, masks = inputs(spec)
    constants = {name: torch.tensor(number).double() for name, number in spec.constants}
    for scale in (1.0, 0.0, -3.0, 100.0):
        now = {name: scale * state for name, state in states.items()}
        at = {spec.input: x} | weights | masks | constants
        for item in form.order:
            if isinstance(item, str):
                at[item] = value(exprs[item], at)
                continue
            first = now[item.state]
            whole = torch.zeros(T, *first.shape, dtype=torch.float64)
            a, b = value(item.a, at) + whole, value(item.b, at) + whole
            known = [first]
            for t in range(T):
                known.append(RECURRENCES[item.kind](known[t], a[t], b[t]))
            at |= {item.state: torch.stack(known[:-1]), item.state + NEXT: torch.stack(known[1:])}
        for t in range(T):
            gates = stepped(spec, weights, x[t], now, masks)
            now = {name: gates[name + NEXT] for name in now}
            for name, state in now.items():
                made = at[name + NEXT]
                torch.testing.assert_close(made[t] if made.dim() > 2 else made, state, **EXACT)


def second_difference(spec):
    """How far the step is from affine in all its states together."""
    weights, x, states, masks = inputs(spec)
    step = reference.compiled(spec, "torch")

    def at(way):
        moved = [v + way * torch.cos(torch.arange(v.numel())).view_as(v) for v in states.values()]
        gates = step(x[0], *moved, *masks.values(), *weights.values())
        return torch.cat([gates[name + NEXT].flatten() for name in states])

    return (at(1.0) - 2 * at(0.0) + at(-1.0)).abs().max()


def multiplies_a_state(spec):
    """Whether a matrix product or a mean takes anything that depends on a state."""
    moved = {s.name for s in spec.states}
    for equation in spec.equations:
        for node in walk(equation.expr):
            inner = {n.name for n in walk(node) if isinstance(n, Ref)}
            is_mean = getattr(node, "op", "") == "mean"
            if (isinstance(node, Product) or is_mean) and inner & moved:
                return True
        if {n.name for n in walk(equation.expr) if isinstance(n, Ref)} & moved:
            moved.add(equation.name)
    return False


@pytest.mark.parametrize(
    "spec",
    [s for s in SPECS if isinstance(FORMS[s.name], str) and s is not Crossed.spec],
    ids=lambda s: s.name,
)
def test_a_refused_cell_bends_or_multiplies(spec):
    assert multiplies_a_state(spec) or second_difference(spec) > 1e-3
