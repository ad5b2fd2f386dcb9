"""The catalogue finds its cells by itself, and a cell may be asked for in four ways."""

import re

import pytest
from shared import CELLS, each_cell

import gatework as gw
from gatework.cells import name_of, resolve
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
        "coupled_lstm", "gru", "gru_reset_before", "lstm", "lstm_1997", "peephole_lstm",
        "projected_lstm", "relu_rnn", "rnn",
    ]  # fmt: skip


@each_cell
def test_a_cell_is_found_by_name_class_and_description(cell):
    for way in (cell, cell.spec, name_of(cell), name_of(cell).upper().replace("_", "-")):
        assert resolve(way) is cell.spec


@each_cell
def test_a_cell_names_paper_year_and_convention(cell):
    assert re.search(r"(19|20)\d\d", cell.spec.source)
    assert cell.spec.convention
    assert cell.spec.doc.partition("\n")[0].endswith(".")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("lsmt", r"No cell is called 'lsmt'\. Did you mean 'lstm'\? There are: coupled_lstm, gru,"),
        ("qqq", r"No cell is called 'qqq'\. There are"),
        (3, "a Cell class or a name, got 3"),
        (gw.Cell, "a Cell class or a name"),
        (gw.LSTM, "a Cell class or a name"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def (", "mine.py: SyntaxError"),
        ("import nothing_of_this_name", "mine.py: ModuleNotFoundError: No module"),
        (MINE + "class Bad(Cell):\n    x, h = Input(), State()\n", "^Bad: state h has no next"),
    ],
)
def test_a_user_s_file_that_fails_says_how(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(CellError, match=message):
        resolve(f"{path}:Mine")
