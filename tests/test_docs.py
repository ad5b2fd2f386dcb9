"""The docs run: every Python block in order, and every gatework command, of each page."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from gatework.cli.main import run
from gatework.errors import GateworkError

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OTHERS = ("keras", "onnx", "optuna")  # what the package does without


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "docs"}
    try:
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), namespace)
    except (ModuleNotFoundError, GateworkError) as error:
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        name = getattr(missing, "name", None)
        if name not in OTHERS:
            raise
        pytest.skip(f"{name} is not installed")


def commands(page: Path) -> list[str]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [line for line in lines if line.startswith("gatework ")]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_commands_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code in (0, None), capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "forecast.csv").is_file()


def test_the_readme_and_the_page_of_forecasts_have_commands():
    assert all(len(commands(ROOT / name)) >= 3 for name in ("README.md", "docs/forecast.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_point_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []
