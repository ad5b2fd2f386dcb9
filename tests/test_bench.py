"""``gatework bench`` and the rotation that it shares with the page of speed; never its figures."""

import importlib
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from cli_tools import done, refused
from shared import CELLS

from gatework.cells import name_of
from gatework.inspect import speed
from gatework.inspect.speed import INFERENCE, MODES, TRAINING, Measured
from gatework.paths import build, native

HERE = Path(__file__).parent
TINY = (3, 2, 4, 6)
SHAPE = ("--shape", "3,2,4,6", "--rounds", "1")
ROW = re.compile(r"^(inference|training) +(\S.*?) {2,}(\w+) +(\S+) +(\S.*?) {2,}(\S+) +(\S+)$")


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(speed, "BUDGET", 0)


@pytest.fixture
def script(monkeypatch):
    """The modules of the benchmark script."""
    folder = HERE.parent / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the benchmarks do not come with the package")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module


def rows(out):
    """Mode, layer, path, and the one that it is held against, of each row with times."""
    found = [ROW.match(line) for line in out.splitlines()]
    return [(m[1], m[2], m[3], m[5]) for m in found if m]


# The command.


def test_it_shows_both_layers_in_both_modes_and_what_they_ran_on():
    if build.compiler() is None:
        pytest.skip("there is no C compiler")
    out = done("bench", *SHAPE).out
    assert out.startswith(f"{speed.machine()}, float32.\n")
    assert "3,2,4,6" in out
    native = (INFERENCE, "LSTM")  # so few rows are torch's, but for its LSTM in inference
    assert rows(out) == [
        (mode, f"gw.{name}", "native" if (mode, name) == native else "vendor", f"nn.{name}")
        for mode in (INFERENCE, TRAINING)
        for name in ("LSTM", "GRU")
    ]
    assert "geometric mean" not in out


def test_several_shapes_have_a_mean():
    out = done("bench", *SHAPE, "--shape", "1,1,2,3", "--shape", "1,1,2,3").out
    assert len(rows(out)) == 8
    assert out.count("1,1,2,3") == 1
    assert out.index("geometric mean") > out.index("1,1,2,3")


@pytest.mark.parametrize(
    ("cell", "name"),
    [(f"{HERE / 'own_cell.py'}:LeakyGRU", "leaky_gru"), ("peephole_lstm", "peephole_lstm")],
    ids=["own", "catalogue"],
)
def test_a_cell_stands_beside_our_lstm_and_its_own_loop(cell, name):
    if build.compiler() is None:
        pytest.skip("there is no C compiler")
    for mode in MODES:
        found = [r[1:] for r in rows(done("bench", *SHAPE, "--cell", cell).out) if r[0] == mode]
        assert found == [
            ("gw.LSTM", "native" if mode == INFERENCE else "vendor", "nn.LSTM"),
            (name, "native", "gw.LSTM"),
            (name, "native", "its own loop"),
        ]


def test_where_kernels_cannot_run_it_says_why_and_what_runs(monkeypatch):
    why = "There is no C compiler here"
    monkeypatch.setattr(native.NativePath, "supports", lambda self, call: why)
    out = done("bench", *SHAPE, "--cell", "peephole_lstm").out
    assert f"note: no compiled kernels for gw.LSTM, peephole_lstm: {why}.\n" in out
    assert {r[2] for r in rows(out) if r[1] == "peephole_lstm"} == {"reference"}


def test_the_default_is_some_of_the_nine_shapes_and_all_are_all(monkeypatch):
    seen = []
    monkeypatch.setattr(speed, "measure", lambda m, c, shape, *rest: seen.append(shape))
    monkeypatch.setattr("gatework.cli.bench._table", lambda *_: "")
    done("bench")
    assert set(seen) < set(speed.SHAPES)
    seen.clear()
    done("bench", "--shape", "all")
    assert tuple(seen) == speed.SHAPES
    assert len(speed.SHAPES) == 9


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--shape 3,4", "'3,4' is no shape; give steps, batch, features and hidden units"),
        ("--shape 3,2,4,0", "'3,2,4,0' is no shape"),
        ("--shape 3,2,4,6.5", "'3,2,4,6.5' is no shape"),
        ("--shape 3,2,4,six", "four whole numbers above zero, as in 100,32,64,128"),
        ("--shape 3,2,4,-6", "is no shape"),
        ("--shape 1000000,100000,1,1", "GB of memory; this machine has"),
        (f"--shape {'9' * 5000},1,1,1", "is no shape"),
        ("--shape all --shape 1,1,1,1", "give it alone"),
        ("--shape", "requires an argument"),
        ("--cell lsmt", "Did you mean 'lstm'?"),
        ("--cell absent.py:Mine", "the file to exist"),
        ("--cell projected_lstm --shape 2,2,2,1", "below hidden_size=1"),
        ("--rounds 0", "--rounds"),
        ("--shapes 3,2,4,6", "No such option"),
    ],
)
def test_mistakes_are_one_line(words, reason):
    assert reason in refused("bench", *shlex.split(words))


def test_the_help_has_an_example():
    assert "Example: gatework bench" in " ".join(done("bench", "--help").out.split())


# The rotation.


class Noted:
    """A contender that writes down its turns."""

    peers = ()

    def __init__(self, name, log):
        self.name, self.log = name, log

    def works(self, shape):
        return {mode: lambda m=mode: self.log.append((self.name, m)) for mode in MODES}


def test_everyone_has_a_turn_in_every_round(monkeypatch):
    monkeypatch.setattr(speed, "MOST_CALLS", 0)
    log, ticks, measured = [], [], Measured()
    contenders = [Noted("a", log), Noted("b", log)]
    speed.measure(measured, contenders, TINY, 3, lambda: ticks.append(1))
    turns = [("a", INFERENCE), ("a", TRAINING), ("b", INFERENCE), ("b", TRAINING)]
    calls = [log[0], *(then for before, then in pairwise(log) if before != then)]
    assert calls == 4 * turns  # one to warm up, then the rounds
    assert len(ticks) == len(calls)
    assert {len(s) for s in measured.seconds.values()} == {3}


def test_a_ratio_is_the_median_within_the_rounds():
    measured = Measured()
    for mine, theirs in ((1, 2), (10, 30), (1, 8)):  # the second round was disturbed
        measured.add(TINY, INFERENCE, "mine", mine)
        measured.add(TINY, INFERENCE, "theirs", theirs)
    assert measured.ratio(TINY, INFERENCE, "mine", "theirs") == 3
    assert measured.milliseconds(TINY, INFERENCE, "theirs") == 8000
    assert speed.geometric_mean([0.5, 2, 8]) == pytest.approx(2)


def test_every_peer_takes_part_and_names_are_unique():
    names = [c.name for c in speed.CONTENDERS]
    assert len(set(names)) == len(names)
    assert {peer for c in speed.CONTENDERS for peer in c.peers} <= set(names)
    assert set(speed.PLAIN) <= set(speed.CONTENDERS)


@pytest.mark.parametrize("contender", speed.CONTENDERS, ids=lambda c: c.name)
def test_contenders_run_on_the_path_of_their_name(contender):
    if contender.title.startswith("native") and build.compiler() is None:
        pytest.skip("there is no C compiler")
    for mode, work in contender.works(TINY).items():
        work()
        path = contender.path(TINY, mode)
        if contender.title.startswith("native"):
            assert path == "native"
        else:
            assert bool(path) == contender.title.startswith("gw.")


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_any_cell_can_be_measured(cell):
    *_, loop, own = speed.contenders_of(cell)
    assert own.peers == ("gw.LSTM", loop.name)
    for mode in MODES:
        assert loop.path(TINY, mode) == "reference"
        loop.works(TINY)[mode]()


# The page.


def test_the_page_has_all_that_was_measured(script, tmp_path, monkeypatch):
    page = script("speed_page")
    shapes = [TINY, (1, 1, 2, 3)]
    measured = Measured()
    others = [p for p in page.PEERS if p.name == "JAX"]
    for shape in shapes:
        for number, one in enumerate([*speed.CONTENDERS, *others]):
            for mode in MODES:
                measured.add(shape, mode, one.name, 1 / (number + 1))
    head = page.head(7, 100, "JAX 1.0 (so)")
    memories = page.memory_table(("a", "b"), {TINY: ["1 MB", "2 MB"]})
    streams = page.stream_table({32: (2e-3, 1e-3, 1e-4)})
    text = page.page(head, measured, shapes, memories, streams, page.tail(["ONNX Runtime"]))
    assert text.startswith("# Speed\n")
    assert text.count("\n| JAX / nn.LSTM | ") == 2
    assert "ONNX Runtime /" not in text
    assert "Beside torch: JAX 1.0 (so)." in text
    assert "Not measured here: ONNX Runtime (not installed)" in text
    assert "| gw.LSTM / nn.LSTM | 2.00 | 2.00 | **2.00** |" in text
    assert "| 32 | 2000 us | 1000 us | 100.0 us | 20.0 | 10.0 |" in text
    page.pictures(measured, shapes, tmp_path)
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(pictures)


@pytest.mark.parametrize("number", [0, 1], ids=["onnx", "jax"])
def test_peers_from_outside_compute_what_nn_lstm_computes(script, number):
    peers = script("peers")
    peer = peers.PEERS[number]
    if peer not in peers.installed():
        pytest.skip(f"{peer.name} is not installed")
    for work in peer.works(TINY).values():  # compares, and raises where they differ
        work()
