"""The layers inside models that others compile or export."""

import subprocess
import sys

import pytest
import torch
from shared import LayerNormPeephole, Masked
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import gatework as gw
from gatework.paths import build, native


class Model(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size, 1)

    def forward(self, x, states=None, lengths=None):
        output, states = self.layer(x, states, lengths=lengths)
        if output.shape[-1] == self.layer.hidden_size:
            output = self.head(output)
        return (output, *(states if isinstance(states, tuple) else (states,)))


MADE = {
    "LSTM": lambda: gw.LSTM(5, 7),
    "LSTM, two layers, both directions": lambda: gw.LSTM(5, 7, 2, bidirectional=True),
    "LSTM, projected": lambda: gw.LSTM(5, 7, proj_size=3),
    "GRU, batch first": lambda: gw.GRU(5, 7, batch_first=True),
    "RNN, no bias": lambda: gw.RNN(5, 7, bias=False),
    "peephole_lstm": lambda: gw.Recurrent("peephole_lstm", 5, 7, 2),
    "means": lambda: gw.Recurrent(LayerNormPeephole, 5, 7),
    "masks": lambda: gw.Recurrent(Masked, 5, 7, proj_size=2),
    "on the reference": lambda: gw.Recurrent("peephole_lstm", 5, 7).half(),
}
made = pytest.mark.parametrize("name", MADE)


@pytest.fixture(autouse=True)
def _forget():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


MORE = {"RNN": lambda: gw.RNN(5, 7), "mlstm": lambda: gw.Recurrent("mlstm", 5, 7)}


def model_of(name):
    torch.manual_seed(0)
    model = Model((MADE | MORE)[name]()).eval()
    dtype = model.layer.weight_dtype()
    return model.to(dtype), torch.randn(4, 3, 5, dtype=dtype, requires_grad=True)


def gradients(results, model, x):
    total = sum(r.float().sin().sum() for r in results)
    wanted = [p for n, p in model.named_parameters() if "head" not in n]
    return [*results, *torch.autograd.grad(total, [x, *wanted])]


def close(mine, wanted):
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b)


@made
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]], ids=["whole", "lengths"])
def test_a_whole_graph_trains_as_the_plain_model(name, lengths):
    model, x = model_of(name)
    if lengths is not None:
        lengths = torch.tensor(lengths[: x.shape[1]] if "batch" not in name else [2, 0, 1, 3])
    want = gradients(model(x, None, lengths), model, x)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    close(gradients(compiled(x, None, lengths), model, x), want)
    with torch.no_grad():
        close(compiled(x, None, lengths), want[: -len(list(model.layer.parameters())) - 1])


@made
def test_initial_states_are_part_of_the_graph(name):
    model, x = model_of(name)
    _, *states = model(x)
    given = tuple(torch.randn_like(s).requires_grad_() for s in states)
    hx = given if len(given) > 1 else given[0]
    want = torch.autograd.grad(sum(r.float().sum() for r in model(x, hx)), given)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    close(torch.autograd.grad(sum(r.float().sum() for r in compiled(x, hx)), given), want)


def test_one_graph_serves_every_length_and_batch():
    model, x = model_of("peephole_lstm")
    count = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=count, fullgraph=True, dynamic=True)
    compiled(x)
    before = count.frame_count
    for steps, batch in ((4, 3), (9, 2), (2, 17), (31, 5)):
        x = torch.randn(steps, batch, 5, requires_grad=True)
        close(compiled(x), model(x))
    assert count.frame_count == before


@made
def test_an_exported_program_has_a_free_batch_and_length(name):
    model, x = model_of(name)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(model, (x.detach(),), dynamic_shapes=(free,))
        for steps, batch in ((4, 3), (11, 2), (2, 6)):
            x = torch.randn(steps, batch, 5, dtype=x.dtype)
            close(program.module()(x), model(x))


LOADS = """
import sys, torch, gatework.layers
program, x, want = (torch.export.load(sys.argv[1]), *torch.load(sys.argv[2]))
torch.testing.assert_close(program.module()(x)[0], want)
"""


def test_an_exported_program_runs_where_its_cell_is_unknown(tmp_path):
    model, x = model_of("means")  # a cell of these tests
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (x.detach(),)), tmp_path / "model.pt2")
        torch.save([x.detach(), model(x)[0]], tmp_path / "numbers.pt")
    command = [sys.executable, "-c", LOADS, tmp_path / "model.pt2", tmp_path / "numbers.pt"]
    subprocess.run(command, check=True, cwd=tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["LSTM, two layers, both directions", "GRU, batch first", "RNN"])
def test_autocast_around_the_graph(name, dtype, monkeypatch):
    monkeypatch.setattr(build, "has_half", lambda: True)
    model, x = model_of(name)
    x = x.detach().to(dtype).requires_grad_()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    found = {}
    for path, run in (("native", model), ("auto", compiled)):
        model.layer.path = path
        with torch.autocast("cpu", torch.bfloat16):
            found[path] = run(x)
        found[path] = gradients(found[path], model, x)
    close(found["auto"], found["native"])  # also in dtype
    plain = gradients(model(x.float()), model, x)
    apart = zip(plain, found["auto"], strict=True)
    assert max((a - b.float()).abs().max() for a, b in apart) > 1e-4  # of what close allows


@pytest.mark.parametrize("name", ["LSTM", "RNN"])
def test_results_are_lowered_as_without_a_graph_where_no_kernel_is(name, monkeypatch):
    monkeypatch.setattr(build, "has_half", lambda: False)
    model, x = model_of(name)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
        want = model(x)
    assert [g.dtype for g in got] == [w.dtype for w in want]


def test_autocast_where_no_kernel_runs_inside():
    model, x = model_of("mlstm")
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
        want = model(x)
    close(got, want)
    for mine, eager in zip(gradients(got, model, x), gradients(want, model, x), strict=True):
        # Eager adds up the gradients by x in bfloat16, as its one cast of x is kept.
        torch.testing.assert_close(mine, eager, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("name", ["LSTM", "GRU, batch first"])
def test_torchs_switch_for_float32_holds_in_a_graph(name, monkeypatch):
    """Tiles done in C, and what torch.compile must watch: the way from "highest" and back."""
    if build.compiler() is None or build.instruction_set().name != build.HALF_SET:
        pytest.skip("tiles are used beside 512-bit vectors alone")
    if not build.has_tiles():
        monkeypatch.setenv("GATEWORK_CFLAGS", "-DTILES_IN_C")
        monkeypatch.setattr(build, "has_tiles", lambda: True)
        monkeypatch.setattr(build, "has_half", lambda: True)
    native.library.cache_clear()
    native.unbuildable.cache_clear()
    model, x = model_of(name)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    found = {}
    try:
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            found[precision] = gradients(model(x), model, x)
            close(gradients(compiled(x), model, x), found[precision])
    finally:
        torch.set_float32_matmul_precision("highest")
        native.library.cache_clear()
        native.unbuildable.cache_clear()
    with pytest.raises(AssertionError):
        close(found["medium"], found["highest"])


def test_lengths_beyond_the_steps_are_those_of_the_steps():
    model, x = model_of("LSTM, two layers, both directions")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        close(compiled(x, None, torch.tensor([9, -1, 4])), model(x, None, [4, 0, 4]))


def test_masks_are_drawn_in_the_graph():
    model, x = model_of("masks")
    compiled = torch.compile(model.train(), backend="aot_eager", fullgraph=True)
    first, second = compiled(x)[0], compiled(x)[0]
    assert not torch.equal(first, second)
    model.eval()
    close(compiled(x), model(x))


def test_inductor_makes_the_same():
    model, x = model_of("peephole_lstm")
    want = gradients(model(x), model, x)
    compiled = torch.compile(model, fullgraph=True)
    close(gradients(compiled(x), model, x), want)


def test_a_path_that_cannot_be_traced_runs_beside_the_graph():
    model, x = model_of("LSTM")
    model.layer.path = "vendor"
    close(torch.compile(model, backend="aot_eager")(x), model(x))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(model, backend="aot_eager", fullgraph=True)(x)
