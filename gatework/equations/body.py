"""The namespace of a class body: refuses what goes wrong name by name."""

from __future__ import annotations

import builtins
import sys
from typing import Any, NoReturn

from gatework.equations.expr import FORMS, Expr, Symbol
from gatework.equations.misuse import shown
from gatework.equations.refusal import Body, is_public, where_from
from gatework.equations.spec import NEXT
from gatework.equations.symbols import State
from gatework.errors import CellError

TEXTS = ("source", "convention", "use", "deviations", "torch_kernel", "torch_backend")


class ClassBody(Body):
    """Holds what the body sets, and knows what it has read."""

    def __init__(self, cell: str) -> None:
        super().__init__(cell)
        self.read: set[str] = set()

    def fail(self, message: str) -> NoReturn:
        """Refuse, with the cell's name before what is wrong."""
        raise CellError(f"{self.cell}: {message}")

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> NoReturn:
        frame = sys._getframe(2)  # the class body, behind __getitem__
        known = name in frame.f_globals or hasattr(builtins, name)
        if known or name in frame.f_code.co_freevars or name.startswith("__"):
            raise KeyError(name)
        if is_public(name):
            self.fail(f"{name} is not imported. {where_from(name)}")
        self.fail(
            f"{name} is used before it is set. Declare it (Input, State, Matrix, Vector) or move "
            f"its equation up. {where_from(name)}"
        )

    def __setitem__(self, name: str, value: Any) -> None:
        if name in TEXTS and not isinstance(value, str):
            if isinstance(value, Expr):
                self.fail(f"{name} is text about the cell. Give this symbol another name.")
            self.fail(f"{name} is text, got {shown(value)}. Write it in quotes.")
        if isinstance(value, type) and issubclass(value, Symbol):
            kind = value.__name__
            brackets = FORMS[kind][0].partition(" = ")[2]
            self.fail(f"{name} is {kind} without brackets. Write `{name} = {brackets}`.")
        if name in self and (isinstance(value, Expr) or isinstance(self[name], Expr)):
            if isinstance(self[name], State) and not isinstance(value, Symbol):
                self.fail(f"{name} is a State and is set again. Write `{name}{NEXT} = ...`.")
            self.fail(f"{name} is set twice. Give the second one its own name.")
        super().__setitem__(name, value)
