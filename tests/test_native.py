"""The native path: kernels against the reference, values and all gradients."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from golden_files import check as check_golden
from test_plan import CELLS
from tolerances import EXACT, SINGLE
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import gatework as gw
from gatework.cells import resolve
from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.equations import Cell, Input, Matrix, State, Vector, tanh
from gatework.errors import PathError
from gatework.paths import build, kernel_run, native, workspace

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

# T, B, F, H: one row and many, remainders of every tile, sizes off and on a whole vector.
SHAPES = [(1, 1, 3, 5), (2, 2, 4, 16), (50, 7, 3, 33), (5, 33, 6, 20), (3, 13, 1, 64)]


def run(layer, path, x, states, lengths, seed=0):
    """Output and final states, and the gradients of a random function of all of them."""
    layer.path = path
    output, final = layer(x, states[0] if len(states) == 1 else tuple(states), lengths=lengths)
    results = [output, *((final,) if len(states) == 1 else final)]
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}  # the same numbers in every precision
    weights = [torch.randn(r.shape, **draw).to(r.dtype) for r in results]
    loss = sum((r * w).sum() for r, w in zip(results, weights, strict=True))
    wanted = [t for t in (*layer.parameters(), x, *states) if t.requires_grad]
    return [r.detach() for r in results] + list(torch.autograd.grad(loss, wanted))


def case(spec, shape, dtype, **options):
    torch.manual_seed(0)
    steps, batch, features, hidden = shape
    proj = 2 if "P" in spec.sizes else 0
    layer = gw.Recurrent(spec, features, hidden, proj_size=proj, dtype=dtype, **options)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    x = torch.randn(steps, batch, features, dtype=dtype, requires_grad=True)
    sizes = {"H": hidden, "P": proj}
    states = [
        torch.randn(rows, batch, sizes[s.size], dtype=dtype, requires_grad=True)
        for s in spec.states
    ]
    return layer, x, states


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_values_and_gradients_are_the_references(spec, shape, lengths):
    layer, x, states = case(spec, shape, torch.float64, num_layers=2, bidirectional=True)
    ends = torch.randint(0, shape[0] + 1, (shape[1],)) if lengths else None
    got = run(layer, "native", x, states, ends)
    for mine, truth in zip(got, run(layer, "reference", x, states, ends), strict=True):
        torch.testing.assert_close(mine, truth, **EXACT)


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_single_precision_is_as_good_as_the_reference_in_it(spec):
    layer, x, states = case(spec, (50, 7, 3, 33), torch.float32)
    got = run(layer, "native", x, states, None)
    layer64, x64 = layer.double(), x.detach().double().requires_grad_()
    states64 = [s.detach().double().requires_grad_() for s in states]
    for mine, truth in zip(got, run(layer64, "reference", x64, states64, None), strict=True):
        scale = truth.abs().max()
        torch.testing.assert_close(mine.double() / scale, truth / scale, **SINGLE)


def test_single_precision_errs_no_more_than_torch():
    torch.manual_seed(0)
    ours = gw.LSTM(16, 64, path="native")
    theirs = torch.nn.LSTM(16, 64)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(100, 8, 16)
    with torch.no_grad():
        got, want = ours(x)[0].double(), theirs(x)[0].double()
        truth = theirs.double()(x.double())[0]
    assert (got - truth).abs().max() <= 2 * (want - truth).abs().max()


def test_input_that_is_not_contiguous_and_gradients_of_some_only():
    layer, x, states = case(resolve("peephole_lstm"), (6, 5, 4, 20), torch.float64)
    x = x.detach().transpose(0, 1).contiguous().transpose(0, 1)
    states = [s.detach() for s in states]
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    layer.U_l0.requires_grad_(True)
    got = run(layer, "native", x, states, None)
    for mine, truth in zip(got, run(layer, "reference", x, states, None), strict=True):
        torch.testing.assert_close(mine, truth, **EXACT)


def test_autocast_does_not_lower_the_kernels_precision():
    layer, x, states = case(resolve("peephole_lstm"), (4, 3, 2, 5), torch.float32)
    want = run(layer, "native", x, states, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(layer, "native", x, states, None)
    for mine, plain in zip(got, want, strict=True):
        assert torch.equal(mine, plain)


def test_input_changed_in_place_is_noticed():
    layer, x, states = case(resolve("peephole_lstm"), (4, 3, 2, 5), torch.float32)
    layer.path = "native"
    x = x.detach()
    output, _ = layer(x, tuple(states))
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_second_derivatives():
    layer, x, states = case(resolve("gru_reset_before"), (3, 2, 2, 4), torch.float64)
    layer.path = "native"
    assert torch.autograd.gradgradcheck(lambda a, h: layer(a, h)[0], (x, states[0]))


def test_threads_and_batches_do_not_change_a_row():
    layer, x, states = case(resolve("peephole_lstm"), (30, 64, 8, 64), torch.float32)
    layer.path = "native"
    before = torch.get_num_threads()
    outputs = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            with torch.no_grad():
                outputs.append(layer(x, tuple(states))[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*outputs)


def test_padding_may_hold_anything():
    layer, x, _ = case(resolve("peephole_lstm"), (4, 3, 2, 5), torch.float64)
    layer.path = "native"
    lengths = [4, 0, 2]
    dirty = x.detach().clone()
    dirty[2:, 2] = torch.nan
    dirty[:, 1] = torch.inf
    assert torch.equal(layer(x, lengths=lengths)[0], layer(dirty, lengths=lengths)[0])


def test_automatic_choice_takes_it_for_cells_that_torch_has_not(caplog):
    with caplog.at_level("INFO", logger="gatework"):
        gw.Recurrent("coupled_lstm", 3, 4)(torch.randn(2, 2, 3))
    assert native.library.cache_info().currsize > 0


def test_without_a_compiler_the_reference_runs_and_an_explicit_choice_says_why(monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: None)
    native.library.cache_clear()
    native._unbuildable.cache_clear()
    layer = gw.Recurrent("peephole_lstm", 3, 4)
    x = torch.randn(2, 2, 3)
    layer(x)
    layer.path = "native"
    with pytest.raises(PathError, match="no C compiler"):
        layer(x)
    native._unbuildable.cache_clear()


def test_compiler_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: ("false",))
    monkeypatch.setattr(build, "_version", lambda command: "1")
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path))
    with pytest.raises(PathError, match="false failed"):
        build.load("int x;", 4)


def test_cache_that_cannot_be_written_falls_back_to_the_temporary_folder(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GATEWORK_CACHE", str(blocked / "cache"))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))
    library = build.load("int answer(void) { return 42; }", 4)
    assert library.answer() == 42
    assert list(tmp_path.glob("gatework-*/*.so"))


TWO_BUILDS = """
import sys, torch, gatework as gw
torch.manual_seed(0)
y, _ = gw.Recurrent("peephole_lstm", 3, 4, path="native")(torch.ones(2, 2, 3))
print(y.sum().item())
"""


def test_two_processes_may_build_at_once(tmp_path):
    command = [sys.executable, "-c", TWO_BUILDS]
    environment = {**build.os.environ, "GATEWORK_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [p.communicate(timeout=120)[0] for p in both]
    assert outputs[0] == outputs[1] != ""
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_plans_and_kernels_are_reviewed_text(name):
    kernel, text = emit(make_plan(resolve(name)))
    check_golden(f"{name}.plan.txt", str(kernel.plan))
    own = text[text.index("INLINE vec op_") :]  # what stands before it is vectors.h
    check_golden(f"{name}.c", own)


FUNCTIONS = """
void apply(const real *a, real *y, long n)
{
    for (long i = 0; i < n; i += LANES) vec_store(y + i, NAME(vec_load(a + i)));
}
"""


@pytest.mark.parametrize("name", ["vec_exp", "vec_tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_activations_are_within_four_units_in_the_last_place(name, dtype):
    header = (build.Path(native.__file__).parent.parent / "compile" / "vectors.h").read_text()
    size = torch.empty(0, dtype=dtype).element_size()
    library = build.load(header + FUNCTIONS.replace("NAME", name), size)
    near = torch.linspace(-20, 20, 2**18, dtype=torch.float64)
    tiny = torch.logspace(-30, 0, 2**12, dtype=torch.float64)
    a = torch.cat([near, tiny, -tiny]).to(dtype)
    y = torch.empty_like(a)
    library.apply(
        build.ctypes.c_void_p(a.data_ptr()),
        build.ctypes.c_void_p(y.data_ptr()),
        build.ctypes.c_long(len(a)),
    )
    # float64 is compared with torch's own, which is within one unit.
    truth = getattr(torch, name.removeprefix("vec_"))(a.double())
    unit = truth.abs() * torch.finfo(dtype).eps
    error = ((y.double() - truth).abs() / unit.clamp(min=torch.finfo(dtype).tiny)).max()
    assert error <= 4


def test_infinities_and_nan_pass_through():
    layer = gw.Recurrent("rnn", 1, 1, bias=False, path="native")
    with torch.no_grad():
        layer.W_l0.fill_(1.0)
        y, _ = layer(torch.tensor([[[torch.inf]], [[-torch.inf]], [[torch.nan]]]))
    assert y[0].item() == 1
    assert y[1].item() == -1
    assert torch.isnan(y[2]).item()


def test_a_cell_that_the_compiler_cannot_take_runs_on_the_reference(monkeypatch):
    def refuse(*_):
        raise KeyError("b")

    monkeypatch.setattr(native, "emit", refuse)
    native.library.cache_clear()
    native._unbuildable.cache_clear()
    layer, x = gw.Recurrent("peephole_lstm", 3, 4), torch.randn(2, 2, 3)
    layer(x)
    layer.path = "native"
    with pytest.raises(PathError, match="compiler failed on this cell: KeyError"):
        layer(x)
    native._unbuildable.cache_clear()


# Inference keeps packed weights, and every call works in memory that others have used.


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_inference_is_what_training_computes_whatever_ran_before(spec):
    cases = [case(spec, shape, torch.float64, num_layers=2) for shape in SHAPES]
    for _ in range(2):
        for layer, x, states in cases:
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
    monkeypatch.setattr(kernel_run, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(kernel_run, "OWN_CACHE", 0)
    before = torch.get_num_threads()
    for spec in CELLS:
        layer, x, states = case(spec, (20, 3, 5, 70), torch.float64)
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            try:
                results.append(run(layer, "native", x, states, [20, 0, 7]))
            finally:
                torch.set_num_threads(before)
        for other in results[1:]:
            for mine, want in zip(other, results[0], strict=True):
                torch.testing.assert_close(mine, want, **EXACT)


@pytest.mark.parametrize("inside", [False, True])
def test_the_input_is_multiplied_in_the_steps_or_before_them(monkeypatch, inside):
    monkeypatch.setattr(kernel_run.Run, "multiplies_inside", lambda self: inside)
    monkeypatch.setattr(kernel_run, "AT_ONCE", 4096)  # several parts
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


def fake(layer, x):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return layer(mode.from_tensor(x))[0]


STANDING_IN = {
    "grad": lambda layer, x: torch.func.grad(lambda a: layer(a)[0].sum())(x),
    "vmap": lambda layer, x: torch.vmap(lambda a: layer(a)[0], 1, 1)(x.unsqueeze(1))[:, 0],
    "jvp": lambda layer, x: torch.func.jvp(lambda a: layer(a)[0], (x,), (x,))[1],
    "functional_call": by_functional_call,
    "fake": fake,
    "meta": lambda layer, x: layer.to("meta")(x.to("meta"))[0],
    "trace": lambda layer, x: torch.jit.trace(layer, (x,))(x)[0],
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", STANDING_IN)
def test_tensors_that_stand_in_for_others_never_reach_a_kernel(name):
    x = torch.randn(4, 2, 3)
    results = []
    for path in ("auto", "reference"):
        torch.manual_seed(0)
        results.append(STANDING_IN[name](gw.Recurrent("peephole_lstm", 3, 5, path=path), x))
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
    with pytest.raises(PathError, match="the same at every step"):
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
