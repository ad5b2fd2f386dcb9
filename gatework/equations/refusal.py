"""How a mistake is told while the class body of a cell is still running.

A symbol knows neither its name nor its cell; the frame of the class body knows both, and the
line. It is looked for only when there is a mistake to tell.
"""

from __future__ import annotations

import difflib
import dis
import importlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from gatework.errors import CellError


class Body(dict[str, Any]):
    """The namespace of a class body that is running."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = cell


def refusal(message: str, kind: type[CellError] = CellError) -> CellError:
    """The error to raise, with file, line and cell in front where a class body is running."""
    found = _running()
    if found is not None:
        frame, body = found
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        message = f"{line}: {body.cell}: {message}"
    return kind(message)


def name_in_body(value: object) -> str | None:
    """What the running class body calls a value, if it has a name there."""
    found = _running()
    return next((n for n, v in found[1].items() if v is value), None) if found else None


def names_waiting(module: str) -> int | None:
    """How many names wait left of ``a, b = f(...)`` while ``f`` of this module runs, if any do.

    Python itself would only say "too many values to unpack", and no object can notice that it
    is unpacked into too few names; so the caller's next instruction is looked at.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == module:
        frame = frame.f_back
    if frame is None:
        return None
    last = frame.f_lasti
    after = next((i for i in dis.get_instructions(frame.f_code) if i.offset > last), None)
    return after.arg if after is not None and after.opname == "UNPACK_SEQUENCE" else None


def functions() -> str:
    """The functions of a cell, as they are imported from gatework.equations."""
    row = importlib.import_module("gatework.equations.ops").Primitive
    return ", ".join(name for name, value in _public().items() if isinstance(value, row))


def where_from(name: str) -> str:
    """What to do about the name of a function: import it, or take another one."""
    if is_public(name):
        return f"Write `from gatework.equations import {name}`."
    near = difflib.get_close_matches(name, _public(), n=1, cutoff=0.8)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}The functions of a cell are {functions()}; import them from gatework.equations."


def is_public(name: str) -> bool:
    """Whether gatework.equations has this name to import."""
    return name in _public()


def _public() -> dict[str, Any]:
    # By name and late, because those modules are built on this one.
    equations = importlib.import_module("gatework.equations")
    return {name: getattr(equations, name) for name in equations.__all__}


def _running() -> tuple[FrameType, Body] | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        namespace: object = frame.f_locals  # of a class body: the namespace itself
        if isinstance(namespace, Body):
            return frame, namespace
        frame = frame.f_back
    return None
