"""The native path over many calls: kept weights, shared memory, threads, odd tensors."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from kernel_cases import SHAPES, case, run
from test_plan import CELLS
from tolerances import EXACT, SINGLE
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import gatework as gw
from gatework.cells import resolve
from gatework.equations import Cell, Input, Matrix, State, Vector, tanh
from gatework.errors import PathError
from gatework.paths import build, kernel_shape, workspace

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

# Inference keeps packed weights, and every call works in memory that others have used.


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_inference_is_what_training_computes_whatever_ran_before(spec):
    cases = [case(spec, shape, torch.float64, num_layers=2) for shape in SHAPES]
    for _ in range(2):
        for layer, x, states in cases:
            layer.eval()  # with masks at their mean
            want = run(layer, "native", x, states, None)[: 1 + len(states)]
            with torch.no_grad():
                output, final = layer(x, states[0] if len(states) == 1 else tuple(states))
            got = [output, *((final,) if len(states) == 1 else final)]
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_weights_that_change_are_noticed():
    layer, x, _ = case(resolve("peephole_lstm"), (6, 5, 4, 20), torch.float32)
    layer.path = "native"
    other = gw.Recurrent("peephole_lstm", 4, 20)
    with torch.no_grad():
        before = layer(x)[0]
        layer.U_l0 += 0.5
        changed = layer(x)[0]
        layer.load_state_dict(other.state_dict())
        loaded = layer(x)[0]
        layer.W_l0.data = layer.W_l0.data.clone().mul_(2)
        replaced = layer(x)[0]
        layer.path = "reference"
        torch.testing.assert_close(replaced, layer(x)[0], **SINGLE)
    assert not torch.allclose(before, changed)
    assert not torch.allclose(loaded, replaced)
    torch.testing.assert_close(loaded, other(x)[0], **SINGLE)


def test_several_python_threads_at_once():
    cases = [case(resolve("peephole_lstm"), shape, torch.float32) for shape in SHAPES]
    for layer, *_ in cases:
        layer.path = "native"

    def work(number):
        layer, x, states = cases[number % len(cases)]
        return run(layer, "native", x, states, None)

    alone = [work(i) for i in range(len(cases))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, range(80)))
    for number, got in enumerate(together):
        for mine, want in zip(got, alone[number % len(cases)], strict=True):
            assert torch.equal(mine, want)


def test_columns_shared_by_threads_give_the_same_numbers(monkeypatch):
    monkeypatch.setattr(kernel_shape, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(kernel_shape, "OWN_CACHE", 0)
    before = torch.get_num_threads()
    for spec in CELLS:
        layer, x, states = case(spec, (5, 3, 5, 70), torch.float64)
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            try:
                results.append(run(layer, "native", x, states, [5, 0, 2]))
            finally:
                torch.set_num_threads(before)
        for other in results[1:]:
            for mine, want in zip(other, results[0], strict=True):
                torch.testing.assert_close(mine, want, **EXACT)


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["whole", "lengths"])
def test_directions_done_at_once_give_the_same_numbers(monkeypatch, lengths):
    monkeypatch.setattr(kernel_shape, "WORTH_A_THREAD", 1)
    shapes = []
    make = kernel_shape.Shape.grid
    monkeypatch.setattr(kernel_shape.Shape, "grid", lambda s, g: shapes.append(s) or make(s, g))
    before = torch.get_num_threads()
    for spec in CELLS:
        kernel_shape._shapes.clear()
        layer, x, states = case(spec, (5, 3, 40, 70), torch.float64, 2, bidirectional=True)
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            try:
                results.append(run(layer, "native", x, states, lengths))
                with torch.no_grad():
                    for _ in range(2):  # the second one is prepared
                        output, _ = layer(x, tuple(states), lengths=lengths)
                        assert spec.masks or torch.equal(output, results[-1][0])
            finally:
                torch.set_num_threads(before)
        for other in results[1:]:
            for mine, want in zip(other, results[0], strict=True):
                torch.testing.assert_close(mine, want, **EXACT)
    assert {s.calls for s in shapes} == {1, 2}
    assert {s.rows * s.columns for s in shapes if s.calls == 2} == {1, 2}


@pytest.mark.parametrize("inside", [False, True])
def test_the_input_is_multiplied_in_the_steps_or_before_them(monkeypatch, inside):
    monkeypatch.setattr(kernel_shape.Shape, "multiplies_inside", lambda self, given: inside)
    monkeypatch.setattr(kernel_shape, "AT_ONCE", 4096)  # several parts
    for spec in CELLS:
        layer, x, states = case(spec, (50, 7, 3, 33), torch.float64, bidirectional=True)
        got = run(layer, "native", x, states, None)
        for mine, want in zip(got, run(layer, "reference", x, states, None), strict=True):
            torch.testing.assert_close(mine, want, **EXACT)


def test_memory_is_used_again_and_given_back():
    workspace.release_memory()
    layer = gw.Recurrent("peephole_lstm", 3, 40, path="native")
    x = torch.randn(50, 2, 3)
    for _ in range(3):
        layer(x)[0].sum().backward()
    kept = sum(block.nbytes() for block in workspace._free)
    layer(x)[0].sum().backward()
    assert kept == sum(block.nbytes() for block in workspace._free) > 0
    workspace.release_memory()
    assert workspace._free == []


def by_functional_call(layer, x):
    return functional_call(layer, dict(layer.named_parameters()), (x,))[0]


def ensemble(layer, x):
    several = {name: torch.stack([p, p]) for name, p in layer.named_parameters()}
    each = torch.vmap(lambda own: functional_call(layer, own, (x,))[0])
    return each(several)[1]


def fake(layer, x):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return layer(mode.from_tensor(x))[0]


STANDING_IN = {
    "grad": lambda layer, x: torch.func.grad(lambda a: layer(a)[0].sum())(x),
    "vmap": lambda layer, x: torch.vmap(lambda a: layer(a)[0], 1, 1)(x.unsqueeze(1))[:, 0],
    "ensemble": ensemble,
    "jvp": lambda layer, x: torch.func.jvp(lambda a: layer(a)[0], (x,), (x,))[1],
    "functional_call": by_functional_call,
    "fake": fake,
    "meta": lambda layer, x: layer.to("meta")(x.to("meta"))[0],
    "trace": lambda layer, x: torch.jit.trace(layer, (x,))(x)[0],
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", STANDING_IN)
@pytest.mark.parametrize("cell", ["peephole_lstm", "lstm"])
def test_tensors_that_stand_in_for_others_never_reach_a_kernel(cell, name):
    x = torch.randn(4, 2, 3)
    results = []
    for path in ("auto", "reference"):
        torch.manual_seed(0)
        layer = gw.Recurrent(cell, 3, 5, path=path)
        layer(x)  # what is remembered of plain calls is not for these
        results.append(STANDING_IN[name](layer, x))
    got, want = results
    assert got.shape == want.shape
    if name not in ("fake", "meta"):
        torch.testing.assert_close(got, want, **SINGLE)


# What would be wrong without a word.


def by_data(layer):
    layer.U_l0.data.mul_(1.5)


def by_numpy(layer):
    layer.U_l0.detach().numpy()[0, 0] += 3


def by_fused_optimizer(layer):
    optimizer = torch.optim.AdamW(layer.parameters(), 0.1, fused=True)
    layer(torch.ones(3, 1, 4))[0].sum().backward()
    optimizer.step()


@pytest.mark.parametrize("change", [by_data, by_numpy, by_fused_optimizer])
def test_weights_that_change_without_a_new_version_are_noticed(change):
    layer = gw.Recurrent("peephole_lstm", 4, 16, path="native")
    x = torch.randn(5, 2, 4)
    with torch.no_grad():
        before = layer(x)[0]
    change(layer)
    with torch.no_grad():
        after = layer(x)[0]
        layer.path = "reference"
        torch.testing.assert_close(after, layer(x)[0], **SINGLE)
    assert not torch.allclose(before, after)


def test_parametrised_weights():
    layer = weight_norm(gw.Recurrent("peephole_lstm", 4, 16, path="native"), "U_l0")
    x = torch.randn(5, 2, 4)
    for _ in range(3):
        with torch.no_grad():
            layer.parametrizations.U_l0.original0 += 1
            layer.path = "native"
            got = layer(x)[0]
            layer.path = "reference"
            torch.testing.assert_close(got, layer(x)[0], **SINGLE)


@pytest.mark.parametrize("make", [
    lambda: (gw.Recurrent("peephole_lstm", 4, 16, device="meta"), torch.randn(5, 2, 4)),
    lambda: (gw.Recurrent("peephole_lstm", 4, 16), torch.randn(5, 2, 4, dtype=torch.float64)),
    lambda: (gw.Recurrent("peephole_lstm", 4, 16), torch.randn(5, 0, 4)),
], ids=["meta weights", "other dtype", "no rows"])  # fmt: skip
def test_tensors_that_no_kernel_could_read_are_refused(make):
    layer, x = make()
    layer.path = "native"
    with torch.autocast("cpu"), pytest.raises(PathError, match=r"several dtypes|is empty"):
        layer(x)


def test_a_mixture_of_dtypes_is_refused():
    layer = gw.Recurrent("peephole_lstm", 4, 16, path="native")
    layer.U_l0.data = layer.U_l0.data.double()
    with pytest.raises(PathError, match="several dtypes"):
        layer(torch.randn(5, 2, 4))


def test_an_empty_batch_goes_backward():
    layer = gw.Recurrent("peephole_lstm", 4, 16)
    layer(torch.randn(5, 0, 4))[0].sum().backward()
    assert layer.U_l0.grad.abs().max() == 0


def test_forward_mode_derivatives_are_not_lost():
    layer, x = gw.Recurrent("peephole_lstm", 4, 5), torch.randn(3, 2, 4)
    with forward_ad.dual_level():
        output = layer(forward_ad.make_dual(x, torch.ones_like(x)))[0]
        assert forward_ad.unpack_dual(output).tangent.abs().max() > 0


def test_one_graph_in_several_threads():
    layer, x, states = case(resolve("peephole_lstm"), (50, 7, 3, 33), torch.float32)
    layer.path = "native"
    loss = layer(x, tuple(states))[0].square().sum()
    wanted = list(layer.parameters())
    alone = torch.autograd.grad(loss, wanted, retain_graph=True)
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(torch.autograd.grad, loss, wanted, None, True) for _ in range(24)]
    for task in tasks:
        assert all(map(torch.equal, task.result(), alone))


def test_lengths_that_are_changed_later_change_nothing():
    layer, x, states = case(resolve("peephole_lstm"), (6, 3, 3, 8), torch.float64)
    layer.path = "native"
    gradients = []
    for later in (None, 1):
        lengths = torch.tensor([6, 2, 4])
        loss = layer(x, tuple(states), lengths=lengths)[0].square().sum()
        if later is not None:
            lengths.fill_(later)
        gradients.append(torch.autograd.grad(loss, list(layer.parameters())))
    assert all(map(torch.equal, *gradients))


def test_a_graph_that_is_done_holds_no_memory_of_kernels():
    layer = gw.Recurrent("peephole_lstm", 4, 64, path="native")
    loss = layer(torch.randn(200, 8, 4))[0].sum()
    workspace.release_memory()
    loss.backward()
    assert sum(block.nbytes() for block in workspace._free) > 200 * 8 * 5 * 64 * 4
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_checkpointed_layers_hold_nothing_and_give_the_same():
    layer, x, states = case(resolve("peephole_lstm"), (6, 3, 3, 8), torch.float64)
    layer.path = "native"
    plain = torch.autograd.grad(layer(x, tuple(states))[0].sum(), list(layer.parameters()))
    output = checkpoint(lambda a: layer(a, tuple(states))[0], x, use_reentrant=False)
    again = torch.autograd.grad(output.sum(), list(layer.parameters()))
    assert all(map(torch.equal, plain, again))


class OfVector(Cell):
    """A product that is the same at every step."""

    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    b = Vector()
    h_next = tanh(W @ x + U @ b + h)


class OfNought(Cell):
    """A product of nothing."""

    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    h_next = tanh(W @ x + U @ (0 * h))


@pytest.mark.parametrize("cell", [OfVector, OfNought])
def test_products_that_no_kernel_computes_run_on_the_reference(cell):
    layer = gw.Recurrent(cell, 3, 4)
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    layer.path = "native"
    with pytest.raises(PathError, match="no state and no input goes into"):
        layer(torch.randn(5, 2, 3))


class Constantly(Cell):
    """A state that is made of a vector alone."""

    x, h, c = Input(), State(), State()
    W, U = Matrix(x), Matrix(h)
    b = Vector()
    c_next = 0.5 * b
    h_next = tanh(W @ x + U @ h + c)


def test_a_state_made_of_vectors_alone_has_its_rows_on_every_path():
    layer, x, states = case(Constantly.spec, (4, 3, 2, 5), torch.float64)
    got = run(layer, "native", x, states, None)
    for mine, want in zip(got, run(layer, "reference", x, states, None), strict=True):
        assert mine.shape == want.shape
        torch.testing.assert_close(mine, want, **EXACT)


THREADS = """
import sklearn.cluster, torch
from gatework.paths.team import threads
torch.set_num_threads(2)
assert threads() == 2
"""


def test_torchs_threads_are_found_beside_those_of_others():
    subprocess.run([sys.executable, "-c", THREADS], check=True)
