"""A cell's equations as LaTeX."""

from __future__ import annotations

from gatework.cells import CellLike, resolve
from gatework.equations.ops import ATOM, Primitive
from gatework.equations.spec import NEXT, Spec
from gatework.read.render import Spelling, render

LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi "
    "psi omega"
)
GREEK = frozenset(LETTERS.split())


def latex(cell: CellLike) -> str:
    r"""The equations of a cell as one ``aligned`` environment.

    The state before the step is written ``h_{t-1}``, after it ``h_t``; ``\odot`` is the
    elementwise product. The text goes between ``$$`` signs.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.
    """
    lines = [f"{left} &= {right}" for left, right in sides(cell)]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def sides(cell: CellLike) -> list[tuple[str, str]]:
    """The two sides of each equation, and of each constant, as LaTeX."""
    spec = resolve(cell)
    spelling = _spelling(spec)
    found = [(spelling.name(e.name), render(e.expr, spelling)) for e in spec.equations]
    return found + [(symbol(name), f"{value:g}") for name, value in spec.constants]


def symbol(name: str, time: str = "") -> str:
    """One name as LaTeX: ``W_i`` is ``W_{i}``, with a time ``f`` is ``f_{t}``."""
    stem, _, below = name.partition("_")
    text = f"\\{stem}" if stem in GREEK else stem if len(stem) == 1 else f"\\mathrm{{{stem}}}"
    below = f"\\{below}" if below in GREEK else below.replace("_", r"\_")
    index = ",".join(part for part in (below, time) if part)
    return f"{text}_{{{index}}}" if index else text


def _spelling(spec: Spec) -> Spelling:
    times = {spec.input: "t"} | {s.name: "t-1" for s in spec.states}
    times |= {e.name: "t" for e in spec.equations}

    def name(text: str) -> str:
        return symbol(text.removesuffix(NEXT) if text in times else text, times.get(text, ""))

    def apply(row: Primitive, args: list[str]) -> str:
        if row.name == "mul" and any(a.replace(".", "").isdigit() for a in args):
            return " ".join(args)  # a number times a vector is no elementwise product
        return row.latex.format(*args)

    return Spelling(
        name=name,
        apply=apply,
        product=lambda matrix, operand: f"{matrix} {operand}",
        encloses=lambda row: row.precedence == ATOM or row.name == "div",
        products={},
    )
