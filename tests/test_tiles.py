"""Products of whole tiles (AMX) and torch's switch for the precision of float32.

Few processors have the tiles: here their instructions are done in C (``TILES_IN_C``), and by the
processor as well where it can.
"""

import pytest
import torch
from kernel_cases import case, run
from shared import QUICK
from test_plan import CELLS

import gatework as gw
from gatework.cells import resolve
from gatework.paths import build, native

if build.compiler() is None or build.instruction_set().name != build.HALF_SET:
    pytest.skip("tiles are used beside 512-bit vectors alone", allow_module_level=True)

TILES = [True] if not build.has_tiles() else [True, False]
SHAPES = [(3, 2, 40, 33), (3, 7, 3, 33), (2, 37, 70, 65), (2, 17, 64, 64)]


@pytest.fixture(autouse=True, params=TILES, ids=lambda in_c: "in C" if in_c else "processor")
def _tiles(request, monkeypatch):
    if request.param:
        monkeypatch.setenv("GATEWORK_CFLAGS", f"-DTILES_IN_C {QUICK}")
    monkeypatch.setattr(build, "has_tiles", lambda: True)
    monkeypatch.setattr(build, "has_half", lambda: True)
    native.library.cache_clear()
    native.unbuildable.cache_clear()
    yield
    torch.set_float32_matmul_precision("highest")
    native.library.cache_clear()
    native.unbuildable.cache_clear()


def test_they_work():
    assert build.load(build.emit_probe(), 4, build.half_options(tiles=True)).tiles_work() == 1


def errors(layer, x, states, ends=None):
    """The largest error of each result, beside the largest number of it."""
    got = run(layer, "native", x, states, ends)
    wide = [t.detach().double().requires_grad_() for t in (x, *states)]
    truth = run(layer.double(), "reference", wide[0], wide[1:], ends)
    layer.float()
    return [((g - t).abs().max() / (t.abs().max() + 1e-9)) for g, t in zip(got, truth, strict=True)]


# Of a time that is many periods large few digits are left in single precision, whatever multiplies.
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spec", [s for s in CELLS if not s.beside], ids=lambda s: s.name)
def test_two_parts_are_nearly_single_precision(spec, shape):
    layer, x, states = case(spec, shape, torch.float32)
    torch.set_float32_matmul_precision("high")
    assert max(errors(layer, x, states)) < 2e-5


@pytest.mark.parametrize("precision", ["medium", "half"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "projected_lstm"])
def test_one_part_gives_the_sums_of_pairs(name, shape, precision, monkeypatch):
    layer, x, states = case(resolve(name), shape, torch.float32)
    ends = [t % (shape[0] + 1) for t in range(shape[1])]

    def results():
        native.library.cache_clear()
        monkeypatch.setattr(native, "precision_of", lambda call: precision)
        return run(layer, "native", x, states, ends)

    got = results()
    monkeypatch.setattr(build, "has_tiles", lambda: False)
    for mine, pairs in zip(got, results(), strict=True):
        assert mine.dtype == pairs.dtype
        torch.testing.assert_close(mine.float(), pairs.float(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_two_parts_err_at_most_ten_times_as_much_as_torch(kind):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(64, 96)
    ours = getattr(gw, kind)(64, 96, path="native")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(50, 16, 64)
    with torch.no_grad():
        want = theirs(x)[0]
        torch.set_float32_matmul_precision("high")
        got = ours.train()(x)[0]
    truth = theirs.double()(x.double())[0]
    error = (got - truth).abs().max()
    assert 0 < error <= 10 * (want - truth).abs().max()


def test_the_switch_is_torchs():
    layer = gw.LSTM(64, 64)
    x = torch.randn(4, 40, 64)
    given = {}
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        given[precision] = layer(x)[0].detach()
    off = {p: (v - given["highest"]).abs().max().item() for p, v in given.items()}
    assert 0 == off["highest"] < off["high"] < 1e-4 < off["medium"] < 1e-2


def test_double_precision_has_no_switch():
    layer = gw.LSTM(8, 8, path="native").double()
    x = torch.randn(4, 20, 8, dtype=torch.float64)
    want = layer(x)[0]
    torch.set_float32_matmul_precision("medium")
    assert torch.equal(layer(x)[0], want)
