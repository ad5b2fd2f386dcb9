"""The report: one offline HTML file about a fitted model.

``summarise`` gathers everything as JSON-ready data, ``render`` makes the page of it; so a report
can be made again without the data. Here stands the forecaster's, ``class_report`` has that of the
classifier, ``detect_report`` that of the detector, and ``page`` what they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.inspect import class_report, detect_report, figures, search_figure
from gatework.inspect.maps import SHOWN_UNITS, maps, plain, spread
from gatework.inspect.page import about_model, page
from gatework.inspect.record import record
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast import Forecaster

SETTINGS = ("hidden_size", "num_layers", "horizon", "form", "head", "scaling", "seed")
SHOWN_WINDOWS = 4


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
            **about_model(model, SETTINGS),
            "context": model.context_,
        },
        "training": {"history": model.history_, "best_epoch": model.best_epoch_},
        "evaluation": evaluation.to_dict(),
        "windows": [_window(cube, evaluation, w, model.context_) for w in _chosen(evaluation)],
        "inside": _inside(model, cube, evaluation),
    }


def render(summary: Mapping[str, Any]) -> str:
    """The page, complete in itself: no script, no link, no font from elsewhere."""
    task = summary.get("task", Forecaster.task)  # older summaries do not say
    shown, drawn = DRAWN[task](summary)
    if search := summary.get("search"):
        drawn["search"] = search_figure.parallel(search)
    return page(f"{task}.html.j2", shown, drawn)


def _drawn(summary: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What the template shows, and its figures."""
    evaluation, inside = summary["evaluation"], _with_words(summary)
    names = list(evaluation["errors"])
    return {**summary, "inside": inside, "inside_of": "context"}, {
        "losses": figures.losses(summary["training"]["history"], summary["training"]["best_epoch"]),
        "forecasts": figures.forecasts(summary["windows"], names, summary["model"]["context"]),
        "by_step": figures.by_step(evaluation["by_step"], summary["data"]["target"]),
        "inside": figures.inside(
            np.array(inside["series"], dtype=float), inside["panels"], inside["title"]
        ),
    }


DRAWN = {
    Forecaster.task: _drawn,
    class_report.TASK: class_report.drawn,
    detect_report.TASK: detect_report.drawn,
}


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
    return spread(len(evaluation.rows), SHOWN_WINDOWS)


def _window(cube: Cube, evaluation: Evaluation, window: int, context: int) -> dict[str, Any]:
    row, origin = int(evaluation.rows[window]), int(evaluation.origins[window])
    return {
        "title": _when(cube, row, origin),
        "context": plain(cube.values[row, origin - context : origin, 0]),
        "truth": plain(evaluation.truth[window]),
        "forecasts": {name: plain(f[window]) for name, f in evaluation.forecasts.items()},
        **_interval(evaluation, window),
    }


def _interval(evaluation: Evaluation, window: int) -> dict[str, Any]:
    if evaluation.interval is None:
        return {}
    low, high = evaluation.interval[window].T
    name = f"{evaluation.coverage:.0%} interval"
    return {"interval": {"name": name, "low": plain(low), "high": plain(high)}}


def _when(cube: Cube, row: int, origin: int) -> str:
    name = figures.short(cube.ids[row])
    if not cube.has_times or (cube.step.kind == "rows" and cube.stamps is None):
        return f"{name}, forecast from step {origin + 1}"
    # Beside the next one, so that midnight has its hour where others have theirs.
    stamp = cube.times(row, np.array([origin, origin + 1]))
    if cube.step.kind == "months" and (stamp == stamp.astype("datetime64[M]")).all():
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
        recording = record(network.recurrent, network.reads(batch.to(device)))
    row, origin = int(evaluation.rows[last]), int(evaluation.origins[last])
    return {
        "title": f"input: {_when(cube, row, origin)}",
        "series": plain(cube.values[row, origin - model.context_ : origin, 0]),
        **maps(recording),
    }
