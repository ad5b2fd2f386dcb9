"""What the reports of all tasks share: the page, and the words about a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from gatework import __version__
from gatework.cells import name_of
from gatework.read.table import equations
from gatework.tasks.estimator import Estimator


def page(template: str, shown: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """A report, complete in itself: no script, no link, no font from elsewhere.

    Args:
        template: the task's own part of the page; ``report.html.j2`` holds the rest.
        shown: JSON-ready data.
        drawn: figures by name, as SVG.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=FunctionLoader(_text)
    )
    environment.filters["number"], environment.filters["share"] = _number, _share
    # The figures are our own SVG, made of numbers and of text that matplotlib has escaped.
    svg = {name: Markup(text) for name, text in drawn.items()}
    shown = {"search": None, **shown}  # only some models were searched for
    return environment.get_template(template).render(**shown, svg=svg, version=__version__)


def about_model(model: Estimator, settings: Sequence[str]) -> dict[str, Any]:
    """A fitted model's cell, some of its arguments and its size, JSON-ready."""
    spec = model.model_.cell
    return {
        "cell": name_of(spec),
        "doc": spec.doc.partition("\n")[0],
        "source": spec.source,
        "equations": equations(spec),
        **{key: model.model_.parameters[key] for key in settings},
        "parameters": sum(p.numel() for p in model.network_.parameters()),
    }


def _text(name: str) -> str:
    return (files("gatework.inspect") / name).read_text(encoding="utf-8")


def _share(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
