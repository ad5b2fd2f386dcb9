"""What is read from a cell: the NumPy step, its source text, LaTeX, tables."""

import ast
import inspect
import re
import textwrap

import golden_files
import numpy as np
import pytest
import torch
from shared import CELLS, EveryMatrix, EveryPrimitive, beside_of, each_cell, projection
from tolerances import EXACT, PERIODIC, SINGLE

import gatework.equations as eq
from gatework.cells import name_of, resolve
from gatework.equations import Cell, Input, State, matrix, tanh, vector
from gatework.equations.sizes import MATRICES, shape_of
from gatework.errors import CellError, ShapeError
from gatework.read import reference
from gatework.read.latex import latex
from gatework.read.table import Cost, cost, equations, summary

FEATURES, HIDDEN, BATCH = 5, 4, 3


class Crossed(Cell):
    """Matrices of one stem that multiply different things, and one that multiplies two."""

    x, h, c = Input(), State(), State()
    W, U_h, U_c, V = eq.Matrix(x), eq.Matrix(h), eq.Matrix(c), eq.Matrix(h)
    c_next = tanh(W @ x + U_h @ h + U_c @ c)
    h_next = tanh(V @ h + V @ c_next)


class Far(Cell):
    """Numbers that are whole and larger than any integer of torch's."""

    x, h = Input(), State()
    W, U = eq.Matrix(x), eq.Matrix(h)
    h_next = tanh((W @ x - 3 * h) * -2e20 / 1e20 + U @ h)


MORE = [*CELLS, EveryPrimitive, EveryMatrix, Crossed, Far]
more_cells = pytest.mark.parametrize("cell", MORE, ids=name_of)


def problem(cell, *batch):
    """Weights by name, input and states, in NumPy."""
    size = projection(cell)
    weights = reference.random_weights(cell, FEATURES, HIDDEN, **size, seed=1)
    random = np.random.default_rng(2)
    widths = {"H": HIDDEN, "P": size.get("proj_size")}
    states = [random.normal(size=(*batch, *shape_of(s.size, widths))) for s in resolve(cell).states]
    return weights, random.normal(size=(*batch, FEATURES)), states


# The step.


@more_cells
@pytest.mark.parametrize("batch", [(), (1,), (BATCH,)], ids=str)
def test_a_numpy_step_gives_every_gate_in_order_and_is_the_torch_step(cell, batch):
    weights, x, states = problem(cell, *batch)
    beside = beside_of(cell, x)
    gates = reference.step(cell, weights, x, *states, beside=beside)
    assert list(gates) == [e.name for e in cell.spec.equations]
    rows = [s.reshape(*batch, -1) for s in states]
    columns = (b.unsqueeze(-1) for b in beside.values())
    given = (x, *rows, *columns, *weights.values())
    tensors = [torch.from_numpy(np.asarray(v)) for v in given]
    theirs = reference.compiled(cell.spec, "torch")(*tensors)
    sizes = {e.name: e.size for e in cell.spec.equations}
    for name, value in gates.items():
        axes = 2 if sizes[name] in MATRICES else 1
        assert value.shape[:-axes] in (batch, ())  # which parameters alone have
        row = torch.from_numpy(value).reshape(*value.shape[:-axes], -1)
        torch.testing.assert_close(row, theirs[name], **EXACT)


@more_cells
def test_the_step_keeps_single_precision(cell):
    weights, x, states = problem(cell, BATCH)
    single = {n: w.astype(np.float32) for n, w in weights.items()}
    beside = beside_of(cell, x)
    truth = reference.step(cell, weights, x, *states, beside=beside)
    beside = {name: np.float32(b) for name, b in beside.items()}
    rows = (np.float32(s) for s in states)
    gates = reference.step(cell, single, np.float32(x), *rows, beside=beside)
    bounds = PERIODIC if beside else SINGLE
    for name, value in gates.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, truth[name], **bounds)


def test_the_step_takes_lists():
    gates = reference.step("rnn", {"W": [[1, 2]], "U": [[3]], "b": [4]}, [1, 1], [0])
    np.testing.assert_allclose(gates["h_next"], [np.tanh(7)], **EXACT)


def test_the_sigmoid_saturates_without_overflow():
    row = eq.ops.PRIMITIVES["sigmoid"]
    with np.errstate(all="raise"):
        ends = eval(row.numpy, {"np": np, "a": np.array([-1e4, 0.0, 1e4])})
    assert ends.tolist() == [0.0, 0.5, 1.0]


def call(cell="lstm", x=None, states=None, **changes):
    weights, right_x, right_states = problem(cell, BATCH)
    weights = {n: w for n, w in (weights | changes).items() if w is not None}
    states = right_states if states is None else states
    return reference.step(cell, weights, right_x if x is None else x, *states)


STATE = np.zeros((BATCH, HIDDEN))
WRONG_STEPS = {
    "a weight is missing": ({"W_f": None}, CellError, "LSTM: weights lack W_f"),
    "a weight is unknown": ({"W_q": STATE}, CellError, "LSTM has no weight W_q"),
    "rows": ({"b_f": np.zeros(HIDDEN + 1)}, ShapeError, r"b_f has shape \(5,\).*H=4 as in W_i"),
    "columns": ({"W_f": np.zeros((4, 6))}, ShapeError, r"W_f has shape \(4, 6\).*F=5 as in W_i"),
    "axes": ({"W_f": np.zeros(HIDDEN)}, ShapeError, r"W_f has shape \(4,\), expected \('H', 'F'\)"),
    "input": ({"x": np.zeros((BATCH, 6))}, ShapeError, r"x has shape \(6,\).*F=5"),
    "a number": ({"x": 1.0}, ShapeError, r"x has shape \(\)"),
    "too few states": ({"states": [STATE]}, ShapeError, r"carries 2 state\(s\) \(h, c\), got 1"),
    "too many": ({"states": [STATE] * 3}, ShapeError, r"carries 2 state\(s\) \(h, c\), got 3"),
    "state": ({"states": [STATE, np.zeros((3, 9))]}, ShapeError, r"c has shape \(9,\).*H=4"),
    "batches": ({"states": [STATE, STATE[:2]]}, ShapeError, "different batch"),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_a_wrong_step_says_what_it_got(name):
    changes, kind, message = WRONG_STEPS[name]
    with pytest.raises(kind, match=message):
        call(**changes)


def test_random_weights_are_torch_s_bounds_and_their_own():
    weights = reference.random_weights("projected_lstm", 3, 16, 2, seed=5)
    assert {n: w.shape for n, w in weights.items() if n in ("W_i", "U_i", "b_i", "V")} == {
        "W_i": (16, 3),
        "U_i": (16, 2),
        "b_i": (16,),
        "V": (2, 16),
    }
    everything = np.concatenate([w.ravel() for w in weights.values()])
    assert 0.24 < np.abs(everything).max() <= 0.25
    assert len(np.unique(everything)) == everything.size
    with pytest.raises(ShapeError, match="needs proj_size"):
        reference.random_weights("projected_lstm", 3, 16)


# The text that runs.


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_the_source_of_the_gru_reads_as_it_should(backend, packed):
    text = reference.source("gru", backend, packed=packed)
    golden_files.check(f"gru_{backend}{'_packed' if packed else ''}.txt", text)


@more_cells
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_packed_step_is_the_plain_one(cell, backend):
    weights, x, states = problem(cell, BATCH)
    spec = cell.spec
    groups = {s: np.concatenate([weights[p.name] for p in g]) for s, g in spec.groups.items()}
    ready = reference.packed_products(spec)
    rows = [s.reshape(BATCH, -1) for s in states]
    values = {f"{s}__{spec.input}": x @ g.T for s, g in groups.items() if ready.get(s) == "x"}
    values |= groups | {spec.input: x} | dict(zip(_names(spec.states), rows, strict=True))
    beside = {name: b.numpy() for name, b in beside_of(cell, x).items()}
    values |= {name: b[:, None] for name, b in beside.items()}
    arguments = [values[name] for name in reference.packed_arguments(spec)]
    if backend == "torch":
        arguments = [torch.from_numpy(a) for a in arguments]
    packed = reference.compiled(spec, backend, packed=True)(*arguments)
    plain = reference.step(cell, weights, x, *states, beside=beside)
    assert list(packed) == list(plain)
    for name, value in plain.items():
        np.testing.assert_allclose(np.asarray(packed[name]).ravel(), value.ravel(), **EXACT)


def _names(symbols):
    return [s.name for s in symbols]


def test_what_is_packed_is_what_multiplies_one_symbol():
    assert reference.packed_products(resolve("lstm")) == {"W": "x", "U": "h"}
    assert reference.packed_products(resolve("gru_reset_before")) == {"W": "x"}
    assert reference.packed_products(Crossed.spec) == {"W": "x"}
    assert not reference.uses_input(resolve("gru"))
    assert reference.uses_input(EveryPrimitive.spec)


# The equations as text.


def written(cell):
    """The equations of a class body, by name, as the file has them."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cell))).body
    assigned = {}
    for node in (n for n in body.body if isinstance(n, ast.Assign)):
        match node.targets[0], node.value:
            case ast.Tuple(names), ast.Tuple(values):
                assigned |= {n.id: v for n, v in zip(names, values, strict=True)}
            case ast.Name(name), value:
                assigned[name] = value
    names = {e.name for e in cell.spec.equations}
    return {name: ast.dump(value) for name, value in assigned.items() if name in names}


def printed(lines):
    pairs = (line.split("=", 1) for line in lines)
    return {n.strip(): ast.dump(ast.parse(text.strip(), mode="eval").body) for n, text in pairs}


class Brackets(Cell):
    """Every place where brackets decide."""

    x, h = Input(), State()
    W, V = matrix(2, x)
    U = eq.Matrix(h)
    a, b = vector(2)
    k = W @ x - (V @ x - b)
    j = k - V @ x - b
    m = k * (U @ h) / (a * b) / (a / b)
    n = k + (j + m) * -(a + b) * (a * (b * k))
    o = -k * a - -b + 1 / (2.5 - (a - 1)) + (-2) * a
    p = U @ (n * o) * k * (U @ h * k) + (U @ h) * m
    h_next = tanh(p - (a + (b - tanh(-(U @ h)))))


@pytest.mark.parametrize("cell", [*CELLS, Brackets], ids=name_of)
def test_the_printed_equations_are_those_of_the_class_body(cell):
    assert printed(equations(cell.spec)) == written(cell)


def test_brackets_mean_the_same_in_the_numpy_text():
    weights, x, (h,) = problem(Brackets, BATCH)
    gates = reference.step(Brackets, weights, x, h)
    W, V, U, a, b = (weights[n] for n in ("W", "V", "U", "a", "b"))
    k = x @ W.T - (x @ V.T - b)
    m = k * (h @ U.T) / (a * b) / (a / b)
    n = k + (k - x @ V.T - b + m) * -(a + b) * (a * (b * k))
    np.testing.assert_allclose(gates["m"], m, **EXACT)
    np.testing.assert_allclose(gates["n"], n, **EXACT)
    p = ((n * gates["o"]) @ U.T) * k * ((h @ U.T) * k) + (h @ U.T) * m
    np.testing.assert_allclose(gates["p"], p, **EXACT)


# LaTeX and tables.


@pytest.mark.parametrize("cell", [*CELLS, EveryPrimitive, EveryMatrix, Brackets], ids=name_of)
def test_latex_is_whole(cell):
    text = latex(cell)
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\left") == text.count(r"\right")
    assert "next" not in text
    first, *lines, last = text.splitlines()
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    left = [line.partition(" &= ")[0] for line in lines]
    parts = [e.name.removesuffix("_next").split("_") for e in cell.spec.equations]
    sign = {name: rf"\{name}" for name in ("tau", "phi", "alpha", "beta", "epsilon")}
    expected = [f"{sign.get(stem, stem)}_{{{','.join([*below, 't'])}}}" for stem, *below in parts]
    assert left == expected + [sign.get(name, name) for name, _ in cell.spec.constants]
    assert [line.endswith(r" \\") for line in lines] == [True] * (len(lines) - 1) + [False]


def test_latex_of_the_gru_reads_as_it_should():
    golden_files.check("gru.tex", latex("gru") + "\n")


def test_cost_is_what_one_counts_by_hand():
    # LSTM, F=3, H=4: four gates of two products, two sums and a function; c: 3, h: 2.
    assert cost("lstm", 3, 4) == Cost(4 * (12 + 16 + 4), 4 * (12 + 16), (4 * 3 + 3 + 2) * 4)
    # GRU: r and z 3 each, n 5, h 4; d_n is one more vector.
    assert cost("gru", 3, 4) == Cost(3 * (12 + 16 + 4) + 4, 3 * (12 + 16), (3 + 3 + 5 + 4) * 4)
    # Of the projection: V is P x H, the states that the gates see have P=2.
    assert cost("projected_lstm", 3, 4, 2) == Cost(4 * (12 + 8 + 4) + 8, 4 * (12 + 8) + 8, 17 * 4)


def test_an_operand_inside_a_product_costs_its_own_size():
    class Inner(Cell):
        x, h = Input(), State()
        W, s = eq.Matrix(x), eq.Vector("F")
        h_next = tanh(W @ (s * x)) * h

    assert cost(Inner, 10, 3).elementwise == 10 + 2 * 3


@each_cell
def test_the_summary_shows_source_equations_and_numbers(cell):
    text = summary(cell)
    assert cell.spec.source in text
    assert cell.spec.convention in text
    for line in equations(cell.spec):
        assert line in text
    assert f"{cost(cell, 32, 64, 16).parameters:,}" in text
