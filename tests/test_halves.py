"""Products in bfloat16 under autocast: values and gradients, beside torch's own."""

import ctypes

import pytest
import torch
from kernel_cases import SHAPES, case, run
from test_plan import CELLS

import gatework as gw
import gatework.equations as eq
from gatework.cells import resolve
from gatework.compile import make_plan
from gatework.compile.emit_c import emit
from gatework.compile.toolchain import HALF_FEATURE
from gatework.equations import transform
from gatework.paths import build, native, workspace
from gatework.read import reference

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

# Each number has 8 bits; what a product of rounded numbers errs by is random.
ROUNDED = {"rtol": 0, "atol": 0.02}


@pytest.fixture(autouse=True)
def _halves(monkeypatch):
    """Where the processor has no instruction for it, the same sums by others."""
    monkeypatch.setattr(build, "has_half", lambda: True)


def in_halves(*arguments, **options):
    with torch.autocast("cpu", torch.bfloat16):
        return run(*arguments, **options)


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_one_step_is_that_of_rounded_factors(spec, lengths, monkeypatch):
    layer, x, states = case(spec, (1, 5, 7, 33), torch.float32)
    ends = [1, 0, 1, 1, 0] if lengths else None
    got = in_halves(layer, "native", x, states, ends)
    exact = torch.nn.functional.linear

    def rounded(a, weight, bias=None):
        return exact(a.bfloat16().double(), weight.bfloat16().double()).float()

    reference.compiled.cache_clear()
    monkeypatch.setattr(torch.nn.functional, "linear", rounded)
    want = run(layer, "reference", x, states, ends)
    reference.compiled.cache_clear()
    for mine, truth in zip(got[: 1 + len(states)], want, strict=False):
        torch.testing.assert_close(mine.float(), truth, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["lstm", "peephole_lstm", "gru_reset_before", "projected_lstm"])
def test_values_and_gradients_are_near_those_in_single_precision(name, shape):
    layer, x, states = case(resolve(name), shape, torch.float32, num_layers=2, bidirectional=True)
    got = in_halves(layer, "native", x, states, None)
    for mine, plain in zip(got, run(layer, "native", x, states, None), strict=True):
        scale = plain.abs().max() + 1e-6
        torch.testing.assert_close(mine.float() / scale, plain / scale, **ROUNDED)


class Quotient(gw.Cell):
    """What its second product multiplies is 0 / 0 in the padding."""

    x, h = eq.Input(), eq.State()
    W, U, b = eq.Matrix(x), eq.Matrix(h), eq.Vector()
    h_next = eq.tanh(W @ x + U @ (h / b))


@pytest.mark.parametrize("cell", ["gru_reset_before", Quotient], ids=str)
def test_what_lies_behind_an_odd_size_is_not_read(cell, monkeypatch):
    layer, x, states = case(resolve(cell), (4, 7, 3, 33), torch.float32)
    want = in_halves(layer, "native", x, states, None)
    empty = workspace.Workspace.empty
    monkeypatch.setattr(workspace.Workspace, "empty", lambda *a: empty(*a).fill_(torch.nan))
    # torch fills all other memory that it takes in the same way.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        got = in_halves(layer, "native", x, states, None)
    finally:
        torch.use_deterministic_algorithms(False)
    for mine, before in zip(got, want, strict=True):
        assert before.isfinite().all()
        assert torch.equal(mine, before)


@pytest.mark.parametrize("precision", ["half", "high"])
def test_blocks_are_read_in_pairs(precision, monkeypatch):
    """A block that begins or ends within a pair is read with what is nought beside it."""
    monkeypatch.setattr(native, "precision_of", lambda call: precision)
    case_of = lambda cell: case(cell, (3, 9, 3, 35), torch.float32)  # of the same weights
    layer, x, states = case_of(transform.heads(resolve("gru"), 5))
    whole, *_ = case_of(resolve("gru"))
    with torch.no_grad():
        for stem, tensor in layer.groups(0, 0).items():
            getattr(whole, f"{stem}_l0").copy_(tensor)
    got, want = (run(one, "native", x, states, None)[:2] for one in (layer, whole))
    for mine, dense in zip(got, want, strict=True):
        torch.testing.assert_close(mine, dense)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_it_errs_no_more_than_torch_in_halves(kind):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(16, 64)
    ours = getattr(gw, kind)(16, 64, path="native")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(100, 8, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got, want = ours(x)[0], theirs(x)[0]
    truth = theirs.double()(x.double())[0]
    assert got.dtype == want.dtype
    assert (got - truth).abs().max() <= 2 * (want - truth).abs().max()


def test_what_an_earlier_layer_left_in_bfloat16_is_taken():
    first, second = gw.LSTM(5, 16, path="native"), gw.GRU(16, 8, path="native")
    x = torch.randn(20, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        between, (state, _) = first(x)
        output, _ = second(between, state[..., :8].contiguous())
    assert (between.dtype, output.dtype) == (torch.bfloat16, torch.bfloat16)
    output.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in first.parameters())


def test_without_autocast_and_in_double_precision_nothing_is_rounded():
    layer, x, states = case(resolve("gru"), (4, 3, 2, 5), torch.float64)
    want = run(layer, "native", x, states, None)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(layer, "native", x, states, None)
    for mine, plain in zip(got, want, strict=True):
        assert torch.equal(mine, plain)


PRODUCT = """
void one_product(const real *weights, const uint32_t *pair, real *sum)
{
    vec_store(sum, product(vec_load(sum), *pair, vec_load(weights)));
}
"""


def test_the_instruction_and_its_replacement_agree(tmp_path):
    if HALF_FEATURE not in build._features():
        pytest.skip("the processor has no instruction for products of bfloat16")
    _, text = emit(make_plan(resolve("rnn")), parts=1)
    other = text.replace("__AVX512BF16__", "NO_INSTRUCTION")
    sums = []
    for version in (text, other):
        function = build.load(version + PRODUCT, 4, build.half_options(False)).one_product
        torch.manual_seed(0)
        sums.append(torch.randn(16))
        weights, pair = torch.randn(32).bfloat16(), torch.randn(2).bfloat16()
        function(*(ctypes.c_void_p(t.data_ptr()) for t in (weights, pair, sums[-1])))
    torch.testing.assert_close(*sums, rtol=1e-6, atol=1e-6)
    assert native.library(resolve("rnn"), torch.float32, "half").parts == 1


def test_recordings_and_states_come_with_lowered_results():
    layer, x = gw.LSTM(3, 4, path="native"), torch.randn(5, 2, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output, _, sequences = layer(x, return_states=True)
        recorded = gw.record(layer, x)
    assert output.dtype == torch.bfloat16
    for found in (sequences["h"], recorded["h_next"], recorded["o"] * sequences["c"].tanh()):
        torch.testing.assert_close(found, output.float(), rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("path", "has_half"), [("auto", True), ("reference", True), ("reference", False)]
)
def test_what_is_asked_of_the_steps_does_not_change_the_dtype(path, has_half, monkeypatch):
    monkeypatch.setattr(build, "has_half", lambda: has_half)
    torch.manual_seed(0)
    lstm = gw.LSTM(3, 11, 2, bidirectional=True, path=path)
    gru, x = gw.GRU(3, 11, path="reference"), torch.randn(6, 2, 3)
    resets, seen = torch.rand(6, 2) < 0.3, torch.rand(6, 2) < 0.7
    padding = torch.arange(6).unsqueeze(1) < torch.tensor([6, 2])
    calls = [
        {"resets": resets},
        {"mask": seen},
        {"mask": padding},
        {"lengths": [6, 2]},
        {"resets": resets, "return_states": True},
    ]
    for options in calls:
        exact = lstm(x, **options)
        with torch.autocast("cpu", torch.bfloat16):
            output, states, *_ = lstm(x, **options)
            assert gru(x, **options)[0].dtype == torch.float32
        assert {v.dtype for v in (output, *states)} == {torch.bfloat16}
        torch.testing.assert_close(output.float(), exact[0], rtol=0.02, atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        lstm.checkpoint = 2
        assert lstm(x, resets=resets)[0].dtype == torch.bfloat16
    double = gw.LSTM(3, 11, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert double(x.double(), resets=resets)[0].dtype == torch.float64


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_an_input_in_bfloat16_gives_torchs_dtypes_on_every_path(kind):
    x, every = torch.randn(4, 2, 3).bfloat16(), torch.tensor([[True, True]] * 3 + [[False, True]])
    theirs = getattr(torch.nn, kind)(3, 11)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        want = theirs(x)[0].dtype
        for path in ("auto", "native", "reference"):
            layer = getattr(gw, kind)(3, 11, path=path)
            assert layer(x)[0].dtype == want
            assert layer(x, mask=every)[0].dtype == want
            assert layer(x, resets=every)[0].dtype == want


def test_segments_run_again_in_the_precision_of_the_first_run():
    torch.manual_seed(0)
    layer, x = gw.GRU(3, 16, path="native"), torch.randn(6, 2, 3, requires_grad=True)
    found = []
    for layer.checkpoint in (None, 2):
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(x)[0].square().sum()
        found.append(torch.autograd.grad(loss, x)[0])  # outside, as is the rule
    exact = torch.autograd.grad(layer(x)[0].square().sum(), x)[0]
    assert (found[0] - exact).abs().max() > 1e-4
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)
