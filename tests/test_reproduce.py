"""``gatework reproduce``: the table of published figures, and running one."""

import re
import runpy
from pathlib import Path

import pytest
from cli_tools import call, done, refused

from gatework.cli import reproduce

ROOT = Path(__file__).parent.parent
FIGURES = reproduce._registry(ROOT) if (ROOT / reproduce.REGISTRY).is_file() else {}
SCRIPT = """
import sys
import gatework
print("measured", sys.argv[1:], flush=True)
sys.exit(3 if "fail" in sys.argv else 0)
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A small clone that one stands in, the package being installed elsewhere."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks" / "small.py").write_text(SCRIPT)
    row = 'script = "small.py"\narguments = ["--only", "a b"]\npage = "docs/p.md"\nminutes = 1\n'
    (tmp_path / "benchmarks" / "figures.toml").write_text(
        f'[one]\n{row}section = "One"\n[two]\n{row}section = "Two"\ndata = "absent_set"\n'
    )
    (tmp_path / "docs" / "p.md").write_text("# P\n\n## One\n\n1.5 ± 0.1\n\n## Two\n\n2.5\n")
    monkeypatch.setattr(reproduce, "HOME", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FIGURES)
def test_each_published_figure_has_its_script_and_its_section(name):
    figure = FIGURES[name]
    assert (ROOT / "benchmarks" / figure.script).is_file()
    assert "±" in reproduce.section(ROOT / figure.page, figure.section)
    assert figure.minutes > 0


def test_the_results_list_every_figure():
    """After a change of figures.toml: python benchmarks/pages.py."""
    pages = runpy.run_path(str(ROOT / "benchmarks" / "pages.py"))
    listed = reproduce.section(ROOT / "docs" / "results.md", pages["ALL"])
    assert listed == pages["all_figures"]()
    assert re.findall(r"`gatework reproduce (\S+)` \|", listed) == [*FIGURES]


def test_without_a_name_the_figures_are_listed(clone):
    said = done("reproduce").out
    assert [line.split()[0] for line in said.splitlines()] == ["name", "one", "two"]


def test_what_is_measured_stands_beside_what_is_published(clone, capfd):
    result = call("reproduce", "one", "--seeds", "1")
    measured = capfd.readouterr().out
    assert result.status == 0
    assert "measured ['--only', 'a b', '--seeds', '1']" in measured
    assert result.out.startswith(
        "python benchmarks/small.py --only a b --seeds 1  (about 1 minute on"
    )
    assert result.out.endswith("Published in docs/p.md:\n\n1.5 ± 0.1\n")


def test_what_cannot_be_run_is_refused(clone, monkeypatch):
    assert "no figure 'three'; choose one of one, two." in refused("reproduce", "three")
    assert "needs the data set absent_set" in refused("reproduce", "two")
    assert "small.py ended with status 3" in refused("reproduce", "one", "fail")
    monkeypatch.chdir(clone / "docs")
    assert "not in the installed package; clone it" in refused("reproduce")
