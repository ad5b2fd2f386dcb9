"""The native path: kernels against the reference, values and all gradients."""

import subprocess
import sys

import pytest
import torch
from golden_files import check as check_golden
from kernel_cases import SHAPES, case, run
from shared import LayerNormPeephole, Masked
from test_plan import CELLS
from tolerances import EXACT, EXACT_PERIODIC, PERIODIC, SINGLE

import gatework as gw
import gatework.equations as eq
from gatework.cells import name_of, resolve
from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.equations import transform
from gatework.errors import PathError
from gatework.paths import build, native

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_values_and_gradients_are_the_references(spec, shape, lengths):
    layer, x, states = case(spec, shape, torch.float64, num_layers=2, bidirectional=True)
    ends = torch.randint(0, shape[0] + 1, (shape[1],)) if lengths else None
    got = run(layer, "native", x, states, ends)
    bounds = EXACT_PERIODIC if spec.beside else EXACT
    for mine, truth in zip(got, run(layer, "reference", x, states, ends), strict=True):
        torch.testing.assert_close(mine, truth, **bounds)


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_single_precision_is_as_good_as_the_reference_in_it(spec):
    layer, x, states = case(spec, (50, 7, 3, 33), torch.float32)
    got = run(layer, "native", x, states, None)
    layer64, x64 = layer.double(), x.detach().double().requires_grad_()
    states64 = [s.detach().double().requires_grad_() for s in states]
    bounds = PERIODIC if spec.beside else SINGLE
    for mine, truth in zip(got, run(layer64, "reference", x64, states64, None), strict=True):
        scale = truth.abs().max().clamp(min=1e-30)  # all zero: by an old output that is not read
        torch.testing.assert_close(mine.double() / scale, truth / scale, **bounds)


# Blocks that end within a vector, and that are smaller than one.
@pytest.mark.parametrize(("units", "heads"), [(35, 5), (24, 12)])
def test_of_block_diagonal_matrices_each_column_reads_its_own_block(units, heads):
    spec = transform.heads(resolve("lstm"), heads)
    layer, x, states = case(spec, (3, 9, 3, units), torch.float64, num_layers=2)
    got = run(layer, "native", x, states, None)
    for mine, truth in zip(got, run(layer, "reference", x, states, None), strict=True):
        torch.testing.assert_close(mine, truth, **EXACT)
    _, text = emit(make_plan(spec))
    assert text.count("const long first_") == 5  # U h, and each gate on the way back
    assert "const long first_" not in emit(make_plan(resolve("lstm")))[1]


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


class Counting(gw.Cell):
    """Its second state has no gradient by the input or the first one."""

    x, h, c = eq.Input(), eq.State(), eq.State()
    W, U = eq.Matrix(x), eq.Matrix(h)
    c_next = 0.5 * c + 1
    h_next = eq.tanh(W @ x + U @ h) / c_next


def test_second_derivatives_where_a_state_has_none():
    layer, x, states = case(Counting.spec, (2, 2, 2, 3), torch.float64, path="native")
    layer.requires_grad_(False)
    states = tuple(s.detach() for s in states)
    assert torch.autograd.gradgradcheck(lambda a: layer(a, states)[0], (x,))


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
    native.unbuildable.cache_clear()
    layer = gw.Recurrent("peephole_lstm", 3, 4)
    x = torch.randn(2, 2, 3)
    layer(x)
    layer.path = "native"
    with pytest.raises(PathError, match="no C compiler"):
        layer(x)
    native.unbuildable.cache_clear()


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


GOLDEN = [resolve("lstm"), resolve("gru_reset_before"), LayerNormPeephole.spec, Masked.spec]


@pytest.mark.parametrize("spec", GOLDEN, ids=name_of)
def test_plans_and_kernels_are_reviewed_text(spec):
    name = name_of(spec)
    kernel, text = emit(make_plan(spec))
    check_golden(f"{name}.plan.txt", str(kernel.plan))
    own = text[text.index(f"/* {spec.name}, made from") :]  # what stands before it is for all
    check_golden(f"{name}.c", own)


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
    native.unbuildable.cache_clear()
    layer, x = gw.Recurrent("peephole_lstm", 3, 4), torch.randn(2, 2, 3)
    layer(x)
    layer.path = "native"
    with pytest.raises(PathError, match="compiler failed on this cell: KeyError"):
        layer(x)
    native.unbuildable.cache_clear()
