"""The page of conformance: a row for every cell, with what the tests measure."""

import importlib
import re
from pathlib import Path

import pytest
from agreement import DIFFERENTIABLE, PAIRS, largest, words
from shared import CELLS
from tolerances import DIFFERENCES, EXACT

from gatework import paths
from gatework.cells import name_of

ROOT = Path(__file__).parent.parent
ROW = re.compile(
    r"^\| \[(\w+)\]\(cells/\1\.md\) \| (.+?) \| (\S+) \| (~?)(\S+) \| (.+?) \| (\S+) \| (\S+) \|$",
    re.MULTILINE,
)


def rows():
    return ROW.findall((ROOT / "docs" / "conformance.md").read_text(encoding="utf-8"))


def test_every_cell_has_a_row():
    """After a new cell: ``make conformance``, on a machine that does nothing else."""
    assert [name for name, *_ in rows()] == [name_of(cell) for cell in CELLS]


def test_each_row_names_the_witnesses_and_keeps_their_tolerance():
    names = {path.name for path in paths.PATHS}
    for name, witness, values, tilde, gradients, chosen, *ratios in rows():
        assert witness == words(name)
        assert float(values) <= EXACT["atol"]
        assert tilde == ("" if name in DIFFERENTIABLE else "~")
        assert float(gradients) <= (DIFFERENCES["rtol"] if tilde else EXACT["atol"])
        assert {*chosen.split(", ")} <= names
        assert all(float(ratio) > 0 for ratio in ratios)


@pytest.fixture
def script(monkeypatch):
    folder = ROOT / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the benchmarks do not come with the package")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module("conformance")


def test_the_page_counts_the_changes_that_the_tests_make(script):
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert page.splitlines()[-1] == script.noticed()


@pytest.mark.parametrize("name", ["gru_reset_before", "mgu"])
def test_the_script_measures_what_the_tests_measure(name, script):
    values, gradients = script.deviations(name)
    assert float(values) <= EXACT["atol"]
    assert gradients.startswith("~") == (name not in DIFFERENTIABLE)
    # One witness moved: the same function must show it.
    cell, witness = next(pair for pair in PAIRS if pair[0] == name)

    def moved(weights, x, states):
        output, finals = witness(weights, x, states)
        return output + 1e-6, finals

    seen = largest(script.agreement.values_of(cell, moved))
    assert 0.9e-6 < seen < 1.1e-6
