"""The house rules that can be read off the source: floors, names, docstrings, lint, types."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from gatework.cells import all_cells, name_of

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gatework"
FACADE = PACKAGE / "__init__.py"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
FLOORS = (
    "errors", "equations", "cells", "read", "compile", "paths", "layers", "convert",
    "data", "training", "tasks", "inspect", "serve", "studio", "cli", "__main__",
)  # fmt: skip


def each_file(files):
    """A test for each of these files."""
    return pytest.mark.parametrize("path", files, ids=lambda p: str(p.relative_to(PACKAGE)))


def floor(module):
    """The floor of a module's dotted name."""
    parts = module.split(".")
    return FLOORS.index(parts[1] if len(parts) > 1 else parts[0])


def imported(tree):
    """The modules of this package that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "gatework")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [a.name for a in node.names]
            if node.module == "gatework":  # dunders are facts about the package, on no floor
                yield from (f"gatework.{name}" for name in names if not name.startswith("__"))
            elif node.module.startswith("gatework."):
                yield node.module


def is_climbing(source, target):
    """Whether an import of module ``target`` in module ``source`` goes up."""
    return floor(target) > floor(source)


@each_file([p for p in FILES if p != FACADE])
def test_imports_go_downward_only(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert [m for m in imported(TREES[path]) if is_climbing(own, m)] == []


def test_the_rule_of_the_floors_bites():
    text = "def f():\n    from gatework import cells, __version__\nimport gatework.cli.main"
    modules = list(imported(ast.parse(text)))
    assert modules == ["gatework.cli.main", "gatework.cells"]
    assert [is_climbing("gatework.paths.vendor", m) for m in modules] == [True, False]
    assert is_climbing("gatework.errors", "gatework.equations.spec")


# Cells are known by name in their own files, the drop-ins and the converters alone.

NAMES = {n for cell in all_cells() for n in (cell.__name__, name_of(cell))}
PLACES = {PACKAGE / "layers" / f for f in ("__init__.py", "drop_in.py", "single_step.py")}
PLACES |= {FACADE, *(PACKAGE / "cells").iterdir()}
# Converters read the names that other frameworks have for their layers.
PLACES |= set((PACKAGE / "convert").glob("*.py"))


def names_of_cells(tree):
    """Identifiers and whole texts that are a cell's name; prose and choices of users are not."""
    choices = {id(d) for node in ast.walk(tree) for d in cell_defaults(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found = [name]
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found = [name]
            case ast.alias(name=name, asname=other):
                found = [name, other]
            case ast.Constant(value=str(text)) if id(node) not in choices:
                found = [text.strip()]
            case _:
                continue
        yield from (name for name in found if name in NAMES)


def cell_defaults(node):
    """The defaults of arguments and fields called ``cell``: of a user who does not choose."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return [node.value] if ast.unparse(node.target) == "cell" else []
    if not isinstance(node, ast.arguments):
        return []
    arguments = [*node.posonlyargs, *node.args]
    pairs = [
        *zip(arguments[len(arguments) - len(node.defaults) :], node.defaults, strict=True),
        *zip(node.kwonlyargs, node.kw_defaults, strict=True),
    ]
    return [default for argument, default in pairs if argument.arg == "cell" and default]


@each_file([p for p in FILES if p not in PLACES])
def test_no_cell_is_named_outside_its_place(path):
    assert list(names_of_cells(TREES[path])) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("if name == 'gru': pass", ["gru"]),
        ("from gatework.cells.gru import GRU as G", ["GRU"]),
        ("nn.LSTM", ["LSTM"]),
        ("def f(x, cell='lstm', *, path='lstm'): pass", ["lstm"]),
        ("class A:\n    cell: str = 'lstm'\n    kind: str = 'gru'", ["gru"]),
        ("def f(cell='lstm'):\n    '''Takes an LSTM, as \"lstm\".'''", []),
    ],
)
def test_the_rule_of_the_names_bites(text, found):
    assert list(names_of_cells(ast.parse(text))) == found


# Docstrings.


def public(tree, prefix=""):
    """Every public definition of a module: functions, classes and their methods."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        if any("overload" in ast.dump(d) for d in getattr(node, "decorator_list", ())):
            continue
        yield f"{prefix}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node, f"{node.name}.")


@each_file(FILES)
def test_public_things_have_a_docstring_with_one_line_first(path):
    wrong = []
    for name, node in (("module", TREES[path]), *public(TREES[path])):
        first = (ast.get_docstring(node) or "").partition("\n\n")[0]
        if "\n" in first or not first.endswith((".", "?", "``")):
            wrong.append(name)
    assert wrong == []


# Tools.


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=" ".join,
)
def test_the_tool_finds_nothing(command):
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    run = [sys.executable, "-m", *command]
    result = subprocess.run(run, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
