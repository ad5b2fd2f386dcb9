"""The scan path against the steps one by one, and its recurrence against a loop by hand."""

import logging
from dataclasses import replace

import pytest
import torch
from shared import CELLS, randoms, recurrent, tuple_of
from test_linear import Chained, Copied, Highest, Projected, Scanned, Summed
from tolerances import EXACT, HALF, SINGLE
from torch.autograd import gradcheck, gradgradcheck

import gatework as gw
from gatework import paths
from gatework.compile.linear import Linear
from gatework.equations import Cell, Input, Matrix, State, Vector, exp, sigmoid, tanh
from gatework.errors import PathError
from gatework.paths import operators, recurrence, reference, scan

STEPS, BATCH, FEATURES, HIDDEN = 6, 3, 4, 5
LENGTHS = (None, [4, 0, 6])


class Leaky(Cell):
    """A leaky integrator with a learned rate of its own for each unit, squashed on its way out."""

    x, y, s = Input(), State(), State()
    W, rate = Matrix(x), Vector()
    keep = sigmoid(rate)
    s_next = keep * s + (1 - keep) * (W @ x)
    y_next = tanh(s_next) - s


class Growing(Cell):
    """What grows without an end, also where there is no input."""

    x, h = Input(), State()
    W, b = Matrix(x), Vector()
    a = exp(W @ x + 300 + b)
    h_next = a * h + W @ x


LINEAR = [c for c in CELLS if isinstance(scan.proven(c.spec), Linear)]
each_linear = pytest.mark.parametrize(
    "cell",
    [*LINEAR, Scanned, Copied, Summed, Chained, Projected, Highest, Leaky],
    ids=lambda c: c.__name__,
)


@pytest.fixture(params=["compiled", "in torch"])
def way(request, monkeypatch):
    """Both ways to run the recurrence; the compiled one on three threads, as far as there are."""
    if request.param == "in torch":
        monkeypatch.setattr(recurrence, "library", lambda real_bytes: None)
    elif recurrence.library(8) is None:
        pytest.skip("there is no C compiler")
    monkeypatch.setattr(recurrence, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(recurrence, "threads", lambda: 3)


def everything(layer, path, x, states, lengths):
    """Output, final states, and the gradients of a loss that weighs all of them differently."""
    layer.path = path
    torch.manual_seed(7)  # of the masks
    output, finals = layer(x, states if len(states) > 1 else states[0], lengths=lengths)
    results = [output, *tuple_of(finals)]
    flat = torch.cat([r.flatten() for r in results])
    loss = flat @ torch.linspace(-1, 1, len(flat), dtype=flat.dtype)
    given = [x, *states, *layer.parameters()]
    return [*results, *torch.autograd.grad(loss, given, materialize_grads=True)]


def inputs(layer, steps=STEPS):
    """An input and initial states, to be differentiated."""
    (x,) = randoms((steps, BATCH, FEATURES), seed=1)
    shapes = [s.shape for s in tuple_of(layer.state(batch=BATCH))]
    return x, tuple(randoms(*shapes, seed=2))


def same(got, expected):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("lengths", LENGTHS, ids=["whole", "lengths"])
@each_linear
def test_all_steps_at_once_are_the_steps_one_by_one(cell, lengths):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True, dropout=0.5)
    x, states = inputs(layer)
    found, expected = (
        everything(layer, path, x, states, lengths) for path in ("scan", "reference")
    )
    same(found, expected)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_both_ways_give_the_same_for_any_number_of_steps(steps):
    for cell in (Leaky, Scanned):
        layer = recurrent(cell, FEATURES, HIDDEN)
        x, states = inputs(layer, steps)
        same(*(everything(layer, path, x, states, None) for path in ("scan", "reference")))


@each_linear
def test_two_calls_are_one(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, path="scan").eval()
    x, states = inputs(layer)
    output, finals = layer(x, states if len(states) > 1 else states[0])
    first, between = layer(x[:2], states if len(states) > 1 else states[0])
    second, last = layer(x[2:], between)
    same([torch.cat([first, second]), *tuple_of(last)], [output, *tuple_of(finals)])


@pytest.mark.parametrize("lengths", LENGTHS, ids=["whole", "lengths"])
@each_linear
def test_a_recording_is_the_reference_s(cell, lengths):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True).eval()
    x, _ = inputs(layer)
    rows = []
    for path in ("scan", "reference"):
        layer.path = path
        rows.append(gw.record(layer, x, lengths=lengths).rows)
    for found, expected in zip(*rows, strict=True):
        assert list(found) == [e.name for e in cell.spec.equations if e.name in found]
        assert {*found} == {*expected} == {e.name for e in cell.spec.equations}
        for name, value in expected.items():
            assert value.shape[:2] == (STEPS, BATCH)
            torch.testing.assert_close(found[name], value, **EXACT)


# What stands behind a sequence's end.


def test_a_state_that_would_grow_behind_the_end_harms_no_gradient():
    layer = recurrent(Growing, FEATURES, HIDDEN)
    x, states = inputs(layer)
    found = everything(layer, "scan", x, states, [2, 0, 1])
    assert all(t.isfinite().all() for t in found)
    assert found[1].abs().max() > 1e200
    for one, other in zip(found, everything(layer, "reference", x, states, [2, 0, 1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


# Choice and refusals.


@pytest.mark.parametrize("cell", ["lstm", "sru", "ind_rnn"])
def test_a_cell_that_is_not_linear_is_refused_with_the_proof_s_reason(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, path="scan")
    reason = scan.proven(layer.spec).partition(": ")[2].rstrip(".")
    with pytest.raises(PathError) as error:
        layer(inputs(layer)[0])
    assert str(error.value) == f"{layer.spec.name} cannot run here. scan: {reason}."


def test_kernels_come_first_and_python_last(caplog, monkeypatch):
    monkeypatch.setattr(paths, "_logged", set())
    caplog.set_level(logging.INFO, "gatework")
    layer = recurrent("min_gru", FEATURES, HIDDEN)
    x, _ = inputs(layer)
    assert paths.choose(layer.prepare(x)[0]).name == "native"
    monkeypatch.setattr(paths.native, "unbuildable", lambda *_: "there is no C compiler")
    assert paths.choose(layer.prepare(x)[0]).name == "scan"
    assert caplog.messages[-1] == (
        "MinGRU runs on the scan path (native: there is no C compiler; "
        "vendor: torch has no kernel with these equations)"
    )


def test_what_cannot_run_at_once_says_why():
    layer = recurrent("min_gru", FEATURES, HIDDEN, path="scan")
    with pytest.raises(PathError, match="scan: the input is empty"):
        layer(torch.zeros(STEPS, 0, FEATURES, dtype=torch.float64))
    with pytest.raises(PathError, match=r"scan: the recurrence needs tensors .* torch.func"):
        torch.func.jacrev(lambda x: layer(x)[0].sum())(inputs(layer)[0].detach())
    with (
        pytest.raises(PathError, match="scan: the recurrence has no forward-mode"),
        torch.autograd.forward_ad.dual_level(),
    ):
        layer(inputs(layer)[0])


# Precision.


def test_rounding_does_not_add_up_over_many_steps():
    layer = gw.Recurrent("min_lstm", 2, 19, path="scan")
    x = torch.randn(3000, 2, 2)
    double = gw.Recurrent("min_lstm", 2, 19, path="scan").double()
    double.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[0].double(), double(x.double())[0], **SINGLE)


def test_autocast_lowers_products_and_no_state():
    layer = gw.Recurrent("min_gru", FEATURES, 16, path="scan")
    x = torch.randn(40, 2, FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        output, final = layer(x)
    exact = layer(x)[0]
    assert output.dtype == final.dtype == torch.float32
    torch.testing.assert_close(output, exact, **HALF["bfloat16"])
    assert not torch.equal(output, exact)


def test_bfloat16_throughout_has_its_own_precision():
    layer = gw.Recurrent("min_gru", FEATURES, 16)
    lower = gw.Recurrent("min_gru", FEATURES, 16, dtype=torch.bfloat16)
    lower.load_state_dict(layer.state_dict())
    x = torch.randn(9, 2, FEATURES)
    assert paths.choose(lower.prepare(x.bfloat16())[0]).name == "scan"
    torch.testing.assert_close(lower(x.bfloat16())[0].float(), layer(x)[0], **HALF["bfloat16"])


# The recurrence alone.


def by_hand(a, b, first):
    states = []
    for t in range(len(b)):
        first = a[t] * first + b[t]
        states.append(first)
    return torch.stack(states)


def strided(form, steps, units):
    """A factor (T, B, H): with memory of its own, a part of it, or one step or row for all."""
    if form == "whole":
        return randoms((steps, 2, units), seed=3)[0]
    if form == "part":
        return randoms((steps, 2, 2 * units), seed=3)[0][..., units:]
    if form == "turned":
        return randoms((units, 2, steps), seed=3)[0].permute(2, 1, 0)
    shape = {"one step": (1, 2, units), "one row": (steps, 1, units), "number": (1, 1, 1)}[form]
    return randoms(shape, seed=3)[0].expand(steps, 2, units)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("units", [1, 37])
@pytest.mark.parametrize("form", ["whole", "part", "turned", "one step", "one row", "number"])
def test_the_recurrence_is_a_loop_however_its_factors_lie(form, units):
    b, first = randoms((5, 2, units), (2, units), seed=4)
    found, expected = (f(strided(form, 5, units), b, first) for f in (recurrence.scan, by_hand))
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.usefixtures("way")
def test_the_recurrence_can_be_differentiated_twice():
    a, b, first = randoms((4, 2, 3), (4, 2, 3), (2, 3))
    assert gradcheck(recurrence.scan, (a, b, first))
    assert gradgradcheck(recurrence.scan, (a, b, first))
    one_for_all = randoms((3,))[0]
    assert gradcheck(lambda v: recurrence.scan(v.expand(4, 2, 3), b, first), one_for_all)


def test_the_kernels_second_derivatives_are_the_scan_s(monkeypatch):
    layer = recurrent("min_gru", FEATURES, HIDDEN)
    x, states = inputs(layer, 4)
    called = []
    monkeypatch.setattr(
        scan, "run_steps", lambda *a, run=scan.run_steps: called.append(1) or run(*a)
    )
    found = []
    for layer.path in ("native", "reference"):
        (once,) = torch.autograd.grad(layer(x, states[0])[0].sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(once.square().sum(), [x, *layer.parameters()]))
    same(*found)
    assert called


def test_the_operators_scan_where_they_have_no_kernel(monkeypatch):
    layer = recurrent("qrnn", FEATURES, HIDDEN)
    x, states = inputs(layer)
    monkeypatch.setattr(operators, "_has_kernel", lambda given: False)
    monkeypatch.setattr(reference, "run_steps", None)
    output = operators.run(layer.prepare(x, states)[0]).output
    given = [x, *states, *layer.parameters()]
    found = torch.autograd.grad(output.sin().sum(), given, materialize_grads=True)
    monkeypatch.undo()
    layer.path = "reference"
    expected, _ = layer(x, states)
    same([output], [expected])
    same(found, torch.autograd.grad(expected.sin().sum(), given, materialize_grads=True))


def test_a_scan_runs_beside_a_compiled_graph():
    layer = recurrent("min_gru", FEATURES, HIDDEN, path="scan")
    x, _ = inputs(layer)
    compiled = torch.compile(lambda x: layer(2 * x)[0] + 1, backend="eager")
    same([compiled(x)], [layer(2 * x)[0] + 1])


def test_torch_s_own_check_of_operators_passes():
    a, b, first = randoms((4, 2, 3), (4, 2, 3), (2, 3))
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.gatework.scan, (a, b, first), test_utils=tests)
    torch.library.opcheck(torch.ops.gatework.scan_back, (a, first, b, b), test_utils=tests)


@pytest.mark.parametrize("steps", range(1, 10))
def test_the_largest_of_all_steps_is_a_loop_by_hand(steps):
    a, b, first = randoms((steps, 2, 3), (steps, 2, 3), (2, 3), seed=steps)
    known = [first]
    for t in range(steps):
        known.append(torch.maximum(known[-1] + a[t], b[t]))
    found, expected = recurrence.peaks(a, b, first), torch.stack(known[1:])
    same([found], [expected])
    losses = ((v * v.detach().cos()).sum() for v in (found, expected))
    same(*(torch.autograd.grad(loss, [a, b, first]) for loss in losses))


def test_matrices_of_too_many_steps_are_not_written_out(monkeypatch):
    layer = recurrent("mlstm", FEATURES, HIDDEN)
    x, _ = inputs(layer)
    call = layer.prepare(x)[0]
    monkeypatch.setitem(scan.MOST, "cpu", STEPS * BATCH * HIDDEN**2 - 1)
    for more in ({"record": True}, {"every_state": True}):
        assert paths.choose(replace(call, **more)).name == "reference"
    layer.path = "scan"
    with pytest.raises(PathError, match="matrices of all its steps are 450 numbers, above 449"):
        layer(x, return_states=True)
    assert paths.choose(call).name == "scan"
    assert scan.ScanPath().supports(recurrent("qrnn", FEATURES, HIDDEN).prepare(x)[0]) is None
