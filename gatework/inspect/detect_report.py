"""The report of a fitted detector: scores over time with the anomalies, and a look inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.doctor import overview
from gatework.inspect import detect_figure, figures
from gatework.inspect.maps import maps, plain
from gatework.inspect.page import about_model
from gatework.inspect.record import record
from gatework.tasks.detect import Detector
from gatework.tasks.detect_network import REACH, observed

TASK = Detector.task
SETTINGS = ("kind", "hidden_size", "num_layers", "context", "scaling", "seed", "short", "memory",
            "quiet")  # fmt: skip
SHOWN_SERIES = 4
SHOWN_ANOMALIES = 20
SHOWN_POINTS = 1500  # of a series; of a longer one the extremes of stretches


def summarise(
    model: Detector, cube: Cube, ends: NDArray[np.int64], data_name: str
) -> dict[str, Any]:
    """Everything a report shows, JSON-ready.

    Args:
        model: a fitted detector.
        cube: the whole data.
        ends: (N,) where the part of each series ends that was learnt from.
        data_name: what the data is called.
    """
    scores = model.anomaly_scores(cube)
    highest = np.where(np.isnan(scores), -1.0, scores)
    later = [float(row[end:].max(initial=-1.0)) for row, end in zip(highest, ends, strict=True)]
    shown = np.argsort(-np.array(later), kind="stable")[:SHOWN_SERIES]
    return {
        "task": TASK,
        "data": {
            "name": data_name,
            "overview": overview(cube),
            "notes": list(dict.fromkeys([*cube.notes, *model.notes_])),
            "target": cube.names[0],
            "series": len(cube.ids),
        },
        "model": {**about_model(model, SETTINGS), "threshold": model.threshold_},
        "training": {"history": model.history_, "best_epoch": model.best_epoch_},
        "verdict": _verdict(scores, model.threshold_, ends),
        "anomalies": _anomalies(cube, highest, model.threshold_),
        "series": [
            _series(cube, int(row), highest[row], int(ends[row]), model.threshold_) for row in shown
        ],
        "inside": _inside(model, cube, int(shown[0]), highest[int(shown[0])]),
    }


def drawn(summary: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What the template shows, and its figures."""
    inside, training = summary["inside"], summary["training"]
    values = np.array(inside["series"], dtype=float)
    return {**summary, "inside_of": "stretch"}, {
        "losses": figures.losses(training["history"], training["best_epoch"]),
        "scores": detect_figure.scores(summary["series"], summary["model"]["threshold"]),
        "inside": figures.inside(
            values, inside["panels"], inside["title"], "step of the stretch", len(values)
        ),
    }


def _verdict(scores: NDArray[np.float64], threshold: float, ends: NDArray[np.int64]) -> str:
    """How many steps are anomalous, of those learnt from and of the later ones, in words."""
    steps = np.arange(scores.shape[1])
    known = ~np.isnan(scores)
    parts = []
    for what, here in (
        ("learnt from", known & (steps < ends[:, None])),
        ("later", known & (steps >= ends[:, None])),
    ):
        found, count = int((scores[here] > threshold).sum()), int(here.sum())
        if count:
            parts.append(f"{found:,} of the {count:,} {what}")
    return f"Anomalous steps: {' and '.join(parts)} (score above {threshold:.3g})."


def _anomalies(cube: Cube, scores: NDArray[np.float64], threshold: float) -> list[dict[str, Any]]:
    """The highest scores above the threshold, in order of series and time."""
    rows, steps = np.nonzero(scores > threshold)
    kept = np.sort(np.argsort(-scores[rows, steps], kind="stable")[:SHOWN_ANOMALIES])
    return [
        {
            "series": cube.ids[row],
            "when": _when(cube, int(row), int(step)),
            "value": plain(cube.values[row, [step], 0])[0],
            "score": float(scores[row, step]),
        }
        for row, step in zip(rows[kept], steps[kept], strict=True)
    ]


def _when(cube: Cube, row: int, step: int) -> str:
    if not cube.has_times or (cube.step.kind == "rows" and cube.stamps is None):
        return f"step {step + 1}"
    # Beside the next one, so that midnight has its hour where others have theirs.
    return str(cube.times(row, np.array([step, step + 1]))[0]).replace("T", " ")


def _series(
    cube: Cube, row: int, scores: NDArray[np.float64], end: int, threshold: float
) -> dict[str, Any]:
    length = int(cube.lengths[row])
    values, own = cube.values[row, :length, 0], scores[:length]
    kept = _kept(values, own)
    found = np.flatnonzero(own > threshold)
    return {
        "title": figures.short(cube.ids[row]),
        "target": cube.names[0],
        "steps": (kept + 1).tolist(),
        "values": plain(values[kept]),
        "scores": plain(own[kept]),
        "end": end,
        "length": length,
        "found": (found + 1).tolist(),
        "found_values": plain(values[found]),
    }


def _kept(values: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which steps to draw: of each stretch its least and largest value and its highest score."""
    if len(values) <= SHOWN_POINTS:
        return np.arange(len(values))
    stretches = np.array_split(np.arange(len(values)), SHOWN_POINTS // 3)
    return np.unique(
        [
            part[place]
            for part in stretches
            for place in (
                np.argmin(np.nan_to_num(values[part], nan=np.inf)),
                np.argmax(np.nan_to_num(values[part], nan=-np.inf)),
                np.argmax(scores[part]),
            )
        ]
    )


def _inside(model: Detector, cube: Cube, row: int, scores: NDArray[np.float64]) -> dict[str, Any]:
    """Gates and states of the first layer around the highest score of a series."""
    context, length = model.model_.context, int(cube.lengths[row])
    top = int(np.argmax(scores[:length]))
    last = min(length, top + 1 + context // 4)
    first = max(0, last - context)
    read = observed(model.model_.scaled(cube)[row, first:last])
    network = model.network_
    inputs = torch.from_numpy(read).float().unsqueeze(1).clamp(-REACH, REACH)
    with torch.no_grad():
        recording = record(network.recurrent, inputs.to(next(network.parameters()).device))
    name = figures.short(cube.ids[row])
    return {
        "title": f"input: {name}, from {_when(cube, row, first)}",
        "series": plain(cube.values[row, first:last, 0]),
        **maps(recording),
    }
