"""The report: one offline HTML file about a fitted forecaster.

``summarise`` gathers everything as JSON-ready data, ``render`` makes the page of it; so a report
can be made again without the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from gatework import __version__
from gatework.cells import name_of
from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.equations.spec import NEXT
from gatework.inspect import figures
from gatework.inspect.record import record
from gatework.inspect.roles import Role, gate_roles, state_roles
from gatework.read.table import equations
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast import Forecaster

SETTINGS = ("hidden_size", "num_layers", "horizon", "scaling", "seed")
SHOWN_WINDOWS = 4
SHOWN_UNITS = 48


def summarise(
    model: Forecaster, cube: Cube, begin: NDArray[np.int64], data_name: str
) -> dict[str, Any]:
    """Everything a report shows, JSON-ready.

    Args:
        model: a fitted forecaster.
        cube: the whole data, with the held-out part at the end of each series.
        begin: (N,) first held-out step of each series.
        data_name: what the data is called.
    """
    evaluation = model.evaluate(cube, begin)
    spec = model.cell_
    return {
        "data": {
            "name": data_name,
            "overview": overview(cube),
            "notes": list(dict.fromkeys([*cube.notes, *model.notes_])),
            "target": cube.names[0],
            "series": len(cube.ids),
            "held_out": int((cube.lengths - begin).max()),
        },
        "model": {
            "cell": name_of(spec),
            "doc": spec.doc.partition("\n")[0],
            "source": spec.source,
            "equations": equations(spec),
            **{key: model.model_.parameters[key] for key in SETTINGS},
            "context": model.context_,
            "parameters": sum(p.numel() for p in model.network_.parameters()),
        },
        "training": {"history": model.history_, "best_epoch": model.best_epoch_},
        "evaluation": evaluation.to_dict(),
        "windows": [_window(cube, evaluation, w, model.context_) for w in _chosen(evaluation)],
        "inside": _inside(model, cube, evaluation),
    }


def render(summary: Mapping[str, Any]) -> str:
    """The page, complete in itself: no script, no link, no font from elsewhere."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = _number
    template = environment.from_string(
        (files("gatework.inspect") / "report.html.j2").read_text(encoding="utf-8")
    )
    evaluation, inside = summary["evaluation"], _with_words(summary)
    names = list(evaluation["errors"])
    drawn = {
        "losses": figures.losses(summary["training"]["history"], summary["training"]["best_epoch"]),
        "forecasts": figures.forecasts(summary["windows"], names, summary["model"]["context"]),
        "by_step": figures.by_step(evaluation["by_step"], summary["data"]["target"]),
        "inside": figures.inside(
            np.array(inside["series"], dtype=float), inside["panels"], inside["title"]
        ),
    }
    # The figures are our own SVG, made of numbers and of text that matplotlib has escaped.
    svg = {name: Markup(text) for name, text in drawn.items()}
    return template.render(**{**summary, "inside": inside}, svg=svg, version=__version__)


def _with_words(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is inside; older summaries have letters only, for their words went by the letters."""
    inside: dict[str, Any] = summary["inside"]
    if "says" in inside:
        return inside
    panels = []
    for panel in inside["panels"]:
        kind, letter = "state" if panel["signed"] else "gate", panel["title"].split()[-1]
        shown = len(panel["values"])
        units = shown if shown < SHOWN_UNITS else summary["model"]["hidden_size"]
        panels.append(panel | {"title": f"{kind} {letter}", "units": units})
    return inside | {"panels": panels, "says": []}


def _chosen(evaluation: Evaluation) -> NDArray[np.int64]:
    """A few windows, spread over all series and the held-out time, the last one among them."""
    return _spread(len(evaluation.rows), SHOWN_WINDOWS)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the places 0 .. count - 1, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _window(cube: Cube, evaluation: Evaluation, window: int, context: int) -> dict[str, Any]:
    row, origin = int(evaluation.rows[window]), int(evaluation.origins[window])
    return {
        "title": _when(cube, row, origin),
        "context": _plain(cube.values[row, origin - context : origin, 0]),
        "truth": _plain(evaluation.truth[window]),
        "forecasts": {name: _plain(f[window]) for name, f in evaluation.forecasts.items()},
    }


def _when(cube: Cube, row: int, origin: int) -> str:
    name = figures.short(cube.ids[row])
    if not cube.has_times or cube.step.kind == "rows":
        return f"{name}, forecast from step {origin + 1}"
    stamp = cube.times(row, np.array([origin]))
    if cube.step.kind == "months" and stamp == stamp.astype("datetime64[M]"):
        stamp = stamp.astype("datetime64[M]")
    return f"{name}, forecast from {str(stamp[0]).replace('T', ' ')}"


def _inside(model: Forecaster, cube: Cube, evaluation: Evaluation) -> dict[str, Any]:
    """Gates and states of the first layer over the context of the last held-out window."""
    last = len(evaluation.rows) - 1
    windows = model.model_.windows(cube, evaluation.rows[[last]], evaluation.origins[[last]])
    batch = windows.batch(np.array([0]))
    network = model.network_
    device = next(network.parameters()).device
    with torch.no_grad():
        inputs, _ = network.inputs(batch.context.to(device), batch.seen.to(device))
        recording = record(network.recurrent, inputs)
    row, origin = int(evaluation.rows[last]), int(evaluation.origins[last])
    spec = recording.spec
    gates, states = gate_roles(spec), state_roles(spec)
    maps = [(role, recording[name], False) for name, role in gates.items()]
    maps += [(role, recording[name + NEXT], True) for name, role in states.items()]
    return {
        "title": f"input: {_when(cube, row, origin)}",
        "series": _plain(cube.values[row, origin - model.context_ : origin, 0]),
        "says": [[role.title, role.says] for role, _, _ in maps if role.says],
        "panels": [
            _panel(role, values[:, 0].flatten(1).cpu().numpy(), signed)
            for role, values, signed in maps
        ],
    }


def _panel(role: Role, values: NDArray[Any], signed: bool) -> dict[str, Any]:
    """One map, units sorted by their mean so that like stands by like."""
    order = np.argsort(values.mean(axis=0))
    kept = order[_spread(len(order), SHOWN_UNITS)]
    return {
        "title": role.title,
        "units": len(order),
        "values": np.round(values[:, kept].T.astype(float), 4).tolist(),
        "signed": signed,
    }


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers for JSON, which knows no NaN."""
    return [None if np.isnan(v) else float(v) for v in values]


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
