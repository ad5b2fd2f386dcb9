"""Pages of cells: what is committed is what the cells give, and each page says what there is."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from shared import EveryMatrix, EveryPrimitive, Masked, each_cell, each_compiled

from gatework.cells import name_of, resolve
from gatework.cli.main import run
from gatework.compile import make_plan
from gatework.read.page import html, markdown
from gatework.read.table import amounts, cost

CHROMIUM = Path("/usr/bin/chromium")
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DOCS / "cells.py"))


def test_the_committed_pages_are_what_the_cells_give(script):
    """After a change of a cell, of its texts or of a page: ``make docs``, and look at the diff."""
    wanted = script["pages"]()
    there = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "cells").iterdir()}
    assert sorted(there) == sorted(wanted)
    assert [name for name in wanted if there[name] != wanted[name]] == []


def test_every_family_holds_cells_that_there_are(script):
    for names in script["FAMILIES"].values():
        assert [name_of(resolve(name)) for name in names] == [*names]
    listed = re.findall(r"^\| \[(\w+)\]", script["index"](), re.MULTILINE)
    assert sorted(listed) == sorted({*listed})


def test_a_cell_in_no_family_stands_among_the_others(script, monkeypatch):
    without = {k: v for k, v in script["FAMILIES"].items() if k != "GRU"}
    monkeypatch.setitem(script["index"].__globals__, "FAMILIES", without)
    assert "| [gru](gru.md) |" in script["index"]().partition("## Others\n")[2]


@each_cell
def test_a_page_is_whole_and_offline(cell):
    text = html(cell)
    spec = cell.spec
    body = text.partition("<body>")[2]
    for said in (spec.name, spec.use, spec.source, spec.convention, spec.deviations):
        assert said.replace("&", "&amp;").replace("'", "&#39;") in body
    assert len(re.findall("<math ", body)) == 2 * (len(spec.equations) + len(spec.constants))
    for fragment in re.findall(r"<math .*?</math>", body, re.DOTALL):
        ElementTree.fromstring(re.sub(r"&(?!#|amp;|lt;|gt;)", "&amp;", fragment))
    assert "<svg " in body
    assert re.findall(r"(?:src|href)=|url\(|<script", text) == []
    assert "\\" not in re.sub(r"<annotation.*?</annotation>", "", body)


def test_cells_of_ones_own_have_pages():
    for cell in (EveryPrimitive, EveryMatrix, Masked):
        assert "<svg " in html(cell)
        assert "When to use it" not in html(cell)
        assert "\\begin{aligned}" in markdown(cell, "x.svg")


def test_formulas_are_the_counts_at_any_size():
    parameters, products, elementwise = map(str, amounts("lstm"))
    assert parameters == "4 F H + 4 H² + 4 H"
    assert products == "4 F H + 4 H²"
    assert elementwise == "17 H"
    assert str(amounts("rnn")[0]) == "F H + H² + H"


def test_formulas_of_a_memory_that_is_a_matrix():
    assert str(amounts("mlstm")[0]) == "4 F H + 2 F + 4 H + 2"
    assert str(amounts("mlstm")[1]) == "4 F H + H² + 2 F + H"  # C q and n q
    assert str(amounts("mlstm")[2]) == "4 H² + 17 H + 10"  # v kᵀ, i times it, f C, their sum
    assert "C (H × H)" in markdown("mlstm", "x.svg")


@each_compiled
def test_formulas_agree_with_the_plan(cell):
    """The plan computes equal products once and elementwise ones too, so it may have fewer."""
    sizes = {"F": 3, "H": 7, "P": 2}
    shapes = {p.name: p.shape for p in cell.spec.parameters}
    stages = make_plan(cell.spec).stages
    products = {term for s in stages for p in s.products for term in p.terms}
    counted = sum(sizes[shapes[m][0]] * sizes[shapes[m][1]] for m, _ in products)
    assert counted == amounts(cell)[1].at(sizes) == cost(cell, 3, 7, 2).multiply_adds


def test_the_command_writes_a_page(tmp_path, monkeypatch, capsys):
    path = tmp_path / "g.html"
    for words, status in ((["gru", "--page", path], (0, None)), (["--page", path], (2,))):
        monkeypatch.setattr(sys, "argv", ["gatework", "cells", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code in status
    assert path.read_text(encoding="utf-8") == html("gru")
    assert "a page is of one cell" in capsys.readouterr().err


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")
def test_a_page_fits_small_screens_and_its_diagram_can_be_read():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 800})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("lstm", "layer_norm_lstm"):
            page.set_content(html(name))
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            scale = page.evaluate(
                "(s => s.clientWidth / s.viewBox.baseVal.width)(document.querySelector('svg'))"
            )
            assert 0.79 < scale <= 1
            backs = []
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
                shown = "getComputedStyle(document.querySelector('svg text')).fill"
                backs.append(page.evaluate(shown))
            assert len({*backs}) == 4
        browser.close()
    assert asked == []
