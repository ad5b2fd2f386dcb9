"""docs/names.md: every name of ours on it exists and does what a layer takes."""

import inspect
import re
from pathlib import Path

import pytest

import gatework as gw
from gatework.cells import all_cells, name_of
from gatework.layers.switches import DEFAULTS

PAGE = Path(__file__).parent.parent / "docs" / "names.md"
TABLES = PAGE.read_text(encoding="utf-8").partition("## Orders")[0]
ROWS = [line for line in TABLES.splitlines() if line.startswith("| ") and "| Here |" not in line]
OURS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row.split("|")[-2])})
CELLS = {name_of(cell) for cell in all_cells()}
ARGUMENTS = {
    name: kind
    for kind in (gw.Recurrent, gw.LSTM, gw.RNN)
    for name in inspect.signature(kind).parameters
}


def test_the_page_was_read():
    assert len(ROWS) > 40
    assert len(OURS) > 35


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_exists(name):
    word, sign, value = name.partition("=")
    if name.startswith('"'):
        assert name.strip('"') in CELLS
    elif sign and word in DEFAULTS:
        given = {word: eval(value)}
        projected = {"proj_size": 4} if word == "proj_clip" else {}
        layer = gw.LSTM(8, 8, **given, **projected)
        assert f"{word}={given[word]!r}" in repr(layer) or DEFAULTS[word] == given[word]
    elif sign:
        assert word in ARGUMENTS
        own = ARGUMENTS[word] if word == "nonlinearity" else gw.LSTM
        arguments = {"input_size": 8, "hidden_size": 256, "num_layers": 2} | {word: eval(value)}
        assert getattr(own(**arguments), word) == eval(value)
    else:
        value = gw
        for part in name.split("."):
            value = getattr(value, part)
        assert callable(value)


@pytest.mark.parametrize("name", ["peepholes=True", "transform.zone_out", '"gru2"'])
def test_a_name_that_is_not_there_is_found(name):
    with pytest.raises((AssertionError, AttributeError)):
        test_a_name_of_ours_exists(name)


def test_switches_are_all_on_the_page_but_what_has_no_other_name():
    named = {name.partition("=")[0] for name in OURS}
    assert set(DEFAULTS) - named == {"layer_norm", "zoneout"}
