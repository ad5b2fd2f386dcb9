"""A cell's page: equations, diagram, size and cost, when to use it; as HTML or as Markdown."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from latex2mathml.converter import convert
from markupsafe import Markup

from gatework import __version__
from gatework.cells import CellLike, name_of, resolve
from gatework.equations.sizes import shown
from gatework.equations.spec import Spec
from gatework.read.diagram import diagram
from gatework.read.latex import latex, sides
from gatework.read.table import amounts, stored

EXAMPLE = {"F": 32, "H": 64, "P": 16}  # the sizes at which a page shows numbers
COUNTED = ("parameters", "multiply-adds in products", "elementwise operations")


def html(cell: CellLike) -> str:
    """One offline file: no script, no link, no font from elsewhere.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.

    Raises:
        CellError: there is no such cell.
    """
    spec = resolve(cell)
    # Both are our own text, in which all names are identifiers.
    equations = [
        (Markup(_mathml(left)), Markup(_mathml(f"= {right}"))) for left, right in sides(spec)
    ]
    drawing = diagram(spec)
    width = re.search(r' width="(\d+)"', drawing)
    assert width is not None  # which every diagram has
    more = {"equations": equations, "diagram": Markup(drawing), "width": int(width[1])}
    return _rendered("page.html.j2", spec, **more)


def markdown(cell: CellLike, picture: str) -> str:
    """The page as Markdown with LaTeX, as GitHub shows it.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.
        picture: where its diagram lies, as seen from the page.

    Raises:
        CellError: there is no such cell.
    """
    spec = resolve(cell)
    return _rendered("page.md.j2", spec, latex=latex(spec), picture=picture)


def _rendered(template: str, spec: Spec, **more: Any) -> str:
    environment = Environment(
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    text = (files("gatework.read") / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(**_facts(spec), **more, version=__version__)


def _facts(spec: Spec) -> dict[str, Any]:
    """What both forms of a page show."""
    sizes = {letter: size for letter, size in EXAMPLE.items() if letter in spec.sizes | {"F"}}
    return {
        "name": name_of(spec),
        "title": spec.name,
        "doc": re.sub(r"``([^`]*)``", r"\1", spec.doc),
        "texts": [
            (title, text)
            for title, text in (
                ("When to use it", spec.use),
                ("Source", spec.source),
                ("Of several forms, this one", spec.convention),
                ("Who computes it otherwise", spec.deviations),
            )
            if text
        ],
        "at": ", ".join(f"{letter} = {size}" for letter, size in sizes.items()),
        "costs": [
            (what, str(amount), f"{amount.at(sizes):,}")
            for what, amount in zip(COUNTED, amounts(spec), strict=True)
        ],
        "groups": [
            (stem, " × ".join(stored(members[0], spec.heads)), ", ".join(p.name for p in members))
            for stem, members in spec.groups.items()
        ],
        "states": ", ".join(f"{s.name} ({shown(s.size)})" for s in spec.states),
        "projects": "P" in spec.sizes,
    }


def _mathml(text: str) -> str:
    return str(convert(text)).replace("<math ", '<math displaystyle="true" ', 1)
