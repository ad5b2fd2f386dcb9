"""The catalogue finds its cells by itself, and a cell may be asked for in four ways."""

import re
import sys

import pytest
import torch
from shared import CELLS, each_cell

import gatework as gw
from gatework.cells import name_of, resolve
from gatework.cells.rhn import rhn
from gatework.errors import CellError

MINE = """
from __future__ import annotations
from dataclasses import dataclass
from gatework.equations import *

@dataclass
class Settings:  # a user's file may hold anything
    size: int = 3

class Mine(Cell):
    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    h_next = tanh(W @ x + U @ h)
"""


def test_the_catalogue_is_complete_and_sorted():
    assert [name_of(c) for c in CELLS] == [
        "coupled_forget_lstm", "coupled_lstm", "coupled_peephole_lstm", "full_gate_lstm", "gru",
        "gru_reset_before", "ind_rnn", "janet", "layer_norm_basic_lstm", "layer_norm_lstm",
        "lstm", "lstm_1997", "mgu", "min_gru", "min_lstm", "mlstm", "mut_1", "mut_2", "mut_3",
        "nas_cell",
        "no_forget_gate_lstm", "no_input_activation_lstm", "no_input_gate_lstm",
        "no_output_activation_lstm", "no_output_gate_lstm", "on_lstm", "peephole_lstm",
        "phased_lstm", "projected_lstm", "qrnn", "relu_rnn", "rhn", "rnn", "scrn", "slstm", "sru",
        "sru_2017", "ugrnn",
    ]  # fmt: skip


def test_a_highway_network_has_any_depth():
    assert rhn(3).spec == resolve("rhn")
    assert rhn(3).spec.parameters == resolve("rhn").parameters
    assert [len(rhn(depth).spec.equations) for depth in (1, 2, 5)] == [3, 6, 15]
    assert gw.Recurrent(rhn(5), 3, 4)(torch.ones(2, 1, 3))[0].shape == (2, 1, 4)
    for depth in (0, 1.5, True, "3"):
        with pytest.raises(CellError, match="a whole number from 1 on, got"):
            rhn(depth)


@each_cell
def test_a_cell_is_found_by_name_class_and_description(cell):
    for way in (cell, cell.spec, name_of(cell), name_of(cell).upper().replace("_", "-")):
        assert resolve(way) is cell.spec


@each_cell
def test_a_cell_names_paper_year_convention_and_its_use(cell):
    assert re.search(r"(19|20)\d\d", cell.spec.source)
    assert cell.spec.convention
    assert re.fullmatch(r"[A-Z].{40,}\.", cell.spec.use)
    assert re.fullmatch(r"\S.{10,}\.", cell.spec.deviations)
    assert cell.spec.doc.partition("\n")[0].endswith(".")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "lsmt",
            r"No cell is called 'lsmt'\. Did you mean 'lstm'\? There are: coupled_forget_lstm, ",
        ),
        ("qqq", r"No cell is called 'qqq'\. There are"),
        (3, "a Cell class or a name, got 3"),
        (gw.Cell, "a Cell class or a name"),
        ("missing.py:Mine", r"expected file\.py:Class"),
        ("missing.py", r"expected file\.py:Class"),
    ],
)
def test_what_is_no_cell_is_refused(asked, message):
    with pytest.raises(CellError, match=message):
        resolve(asked)


def test_a_cell_comes_from_the_user_s_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    assert resolve(f"{path}:Mine").name == "Mine"
    with pytest.raises(CellError, match=r"has no cell 'Yours'\. Its cells: Mine\."):
        resolve(f"{path}:Yours")
    with pytest.raises(CellError, match=r"has no cell 'Cell'"):
        resolve(f"{path}:Cell")


BODY = "class Bad(Cell):\n    x, h = Input(), State()\n"
BAD = MINE + BODY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def (", r"^mine.py: SyntaxError: .*line 1"),
        ("\nimport nothing_of_this_name", "^mine.py:2: ModuleNotFoundError: No module"),
        ("1 / 0", "^mine.py:1: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "^mine.py:1: SystemExit: 3"),
        (BAD, "^mine.py:14: Bad: state h has no next"),
        (BAD + "    h_next = h ** 0.5", r"^mine.py:16: Bad: \*\* takes only the exponent 2"),
        (
            BAD + "    h_next = gelu(h)",
            "^mine.py:16: Bad: gelu is used before it is set.*exp, fl",
        ),
        (
            MINE + "def squash(g):\n    return gelu(g)\n" + BODY + "    h_next = squash(h)",
            "^mine.py:15: NameError: name 'gelu' is not defined. The functions of a cell are abs_, "
            ".*import them from gatework.equations",
        ),
        (
            MINE.replace("import *", "import Cell, Input, Matrix, State"),
            "^mine.py:13: Mine: tanh is not imported. Write `from gatework.equations import tanh`",
        ),
        (
            BAD + "    Ws = [Matrix(x) for _ in range(2)]",
            "^mine.py:16: NameError: name 'x' is not defined. A comprehension .* does not see its",
        ),
        (
            "from gatework.equations import gelu",
            "^mine.py:1: ImportError: cannot import name 'gelu'.*The functions of a cell are ",
        ),
    ],
)
def test_a_user_s_file_that_fails_says_how(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(CellError, match=message):
        resolve(f"{path}:Mine")


GATES = """
from gatework.equations import tanh
def gate(*terms):
    return tanh(sum(terms)){}
"""
WITH_GATES = MINE.replace("@dataclass", "from helper_gates import gate\n@dataclass", 1).replace(
    "tanh(W @ x + U @ h)", "gate(W @ x, U @ h)"
)


def test_a_user_s_file_imports_its_neighbours_and_leaves_no_trace(tmp_path):
    found = []
    for folder, change in (("one", ""), ("two", " * 0.5")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper_gates.py").write_text(GATES.format(change))
        path = tmp_path / folder / "mine.py"
        path.write_text(WITH_GATES)
        before = list(sys.path)
        found.append(resolve(f"{path}:Mine"))
        assert sys.path == before
        assert "helper_gates" not in sys.modules
    assert found[0] != found[1]  # each has the neighbour of its own folder


def test_a_neighbour_on_the_path_stays_loaded(tmp_path, monkeypatch):
    (tmp_path / "helper_gates.py").write_text(GATES.format(""))
    (tmp_path / "mine.py").write_text(WITH_GATES)
    monkeypatch.syspath_prepend(tmp_path)
    resolve(f"{tmp_path / 'mine.py'}:Mine")
    assert sys.modules.pop("helper_gates").gate
    assert str(tmp_path) in sys.path


def test_a_mistake_in_a_neighbour_is_told_with_its_line(tmp_path):
    (tmp_path / "helper_gates.py").write_text(GATES.format(" ** 3"))
    (tmp_path / "mine.py").write_text(WITH_GATES)
    with pytest.raises(CellError, match=r"^helper_gates.py:4: mine.py:14: Mine: \*\* takes only"):
        resolve(f"{tmp_path / 'mine.py'}:Mine")
    assert "helper_gates" not in sys.modules  # the next try reads the mended file


@pytest.mark.parametrize("name", ["colorsys", "random"])  # one that is not loaded, one that is
def test_a_user_s_file_hides_no_module_of_its_name(tmp_path, monkeypatch, name):
    if name == "colorsys":
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = sys.modules.get(name)
    path = tmp_path / f"{name}.py"
    path.write_text(f"{MINE}\nimport {name}\nassert {name}.__file__ != __file__")
    assert resolve(f"{path}:Mine").name == "Mine"
    assert before is None or sys.modules[name] is before
    assert not sys.modules[name].__file__.startswith(str(tmp_path))


@pytest.mark.parametrize("cell", [gw.LSTM, gw.LSTM(2, 3), gw.Recurrent])
def test_a_layer_is_no_cell(cell):
    with pytest.raises(CellError, match=r"is a layer\. Its cell is asked for by name"):
        resolve(cell)


@each_cell
def test_a_cell_may_be_imported_from_the_catalogue(cell):
    assert getattr(gw.cells, cell.__name__) is cell
    with pytest.raises(AttributeError, match="no attribute 'Absent'"):
        _ = gw.cells.Absent
