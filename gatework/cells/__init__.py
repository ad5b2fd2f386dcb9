"""The catalogue: one short file per cell, found by being here.

A cell is asked for by class, by name (``"peephole_lstm"``) or, for one's own, by file and
class (``"my_cells.py:MyCell"``).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from gatework.equations import Cell, Spec
from gatework.equations.refusal import Body, where_from
from gatework.errors import CellError

CellLike = str | type[Cell] | Spec


def __getattr__(name: str) -> type[Cell]:
    """Any cell by the name of its class: ``from gatework.cells import LSTM``."""
    for cell in all_cells():
        if cell.__name__ == name:
            return cell
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def all_cells() -> tuple[type[Cell], ...]:
    """Every cell of the catalogue, in alphabetical order of the names."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found += [v for v in vars(module).values() if _is_cell(v, module.__name__)]
    return tuple(sorted(found, key=name_of))


def name_of(cell: type[Cell] | Spec) -> str:
    """The name a cell is asked for by: ``PeepholeLSTM`` is ``peephole_lstm``.

    What transforms have added to the name stays as it is: ``lstm + zoneout(h=0.1)``.
    """
    name = cell.name if isinstance(cell, Spec) else cell.__name__
    name, *added = name.split(" + ")
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+", name)
    return " + ".join(["_".join(words).lower(), *added])


def resolve(cell: CellLike) -> Spec:
    """The description of a cell given as class, description, name or ``file.py:Class``.

    Raises:
        CellError: there is no such cell, or the file cannot be read.
    """
    if isinstance(cell, Spec):
        return cell
    if isinstance(cell, type) and issubclass(cell, Cell) and cell is not Cell:
        return cell.spec
    if isinstance(getattr(cell, "spec", None), (Spec, property)):
        raise CellError(
            f"{getattr(cell, '__name__', type(cell).__name__)} is a layer. Its cell is asked for "
            f"by name, as in 'lstm'; `gatework cells` lists them."
        )
    if not isinstance(cell, str):
        raise CellError(f"A cell is a Cell class or a name, got {cell!r}.")
    if ":" in cell or cell.endswith(".py"):
        return _from_file(cell).spec
    by_name = {name_of(c): c for c in all_cells()}
    key = cell.lower().replace("-", "_")
    if key not in by_name:
        near = difflib.get_close_matches(key, by_name, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CellError(
            f"No cell is called {cell!r}.{hint} There are: {', '.join(by_name)}; "
            f"one's own is given as file.py:Class."
        )
    return by_name[key].spec


def _from_file(reference: str) -> type[Cell]:
    path_text, _, name = reference.rpartition(":")
    path = Path(path_text or reference)
    if not path_text or path.suffix != ".py" or not path.is_file():
        raise CellError(f"{reference!r} is no cell: expected file.py:Class, and the file to exist.")
    module = _loaded(path)
    cell = getattr(module, name, None)
    if not _is_cell(cell):
        cells = [n for n, v in vars(module).items() if _is_cell(v, module.__name__)]
        raise CellError(f"{path} has no cell {name!r}. Its cells: {', '.join(cells) or 'none'}.")
    return cell


def _loaded(path: Path) -> ModuleType:
    """The user's file as a module, under a name that no other module has."""
    module_spec = importlib.util.spec_from_file_location(f"_gatework_user_{path.stem}", path)
    assert module_spec is not None  # a .py file has both
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # dataclasses in the user's file look themselves up
    folder = path.resolve().parent
    try:
        with _neighbours(folder):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's file may fail in any way
        lines = [
            f"{Path(part.filename).name}:{part.lineno}"
            for part in traceback.extract_tb(error.__traceback__)
            if part.filename.endswith(".py") and Path(part.filename).resolve().parent == folder
        ]
        line, text = lines[-1] if lines else path.name, _told(error)
        message = text if text.startswith(f"{line}: ") else f"{line}: {text}"
        raise CellError(message) from error
    return module


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Let a file import the modules that lie beside it, and forget them afterwards.

    The folder stands last on the path, so that a ``random.py`` in it hides no other module. Its
    modules are forgotten because the next file's folder may have others of the same names.
    """
    if any(Path(entry).resolve() == folder for entry in sys.path):
        yield
        return
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.append(str(folder))
    importlib.invalidate_caches()  # a neighbour may have been written a moment ago
    try:
        yield
    finally:
        if str(folder) in sys.path:  # unless the file has taken it away itself
            sys.path.remove(str(folder))
        for top in {name.partition(".")[0] for name in sys.modules} - before:
            file = getattr(sys.modules.get(top), "__file__", None)
            if file and Path(file).resolve().parent in (folder, folder / top):
                for name in [n for n in sys.modules if n.partition(".")[0] == top]:
                    del sys.modules[name]


def _told(error: BaseException) -> str:
    """The error of a user's file in words, with what to do where that is known."""
    if isinstance(error, CellError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, NameError) and error.name:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if any(isinstance(f.f_locals, Body) and error.name in f.f_locals for f in frames):
            return (
                f"{text}. A comprehension or a function in the body of a cell does not see its "
                f"symbols; write its parts out."
            )
        return f"{text}. {where_from(error.name)}"
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "gatework":
        return f"{text}. {where_from('')}"
    return text


def _is_cell(value: object, module: str | None = None) -> TypeGuard[type[Cell]]:
    if not (isinstance(value, type) and issubclass(value, Cell) and value is not Cell):
        return False
    return module is None or value.__module__ == module
