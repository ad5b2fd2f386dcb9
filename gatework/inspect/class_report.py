"""The report of a fitted classifier: told against true classes, and a look inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gatework.data.cube import pieces_of
from gatework.inspect import figures
from gatework.inspect.maps import maps, plain
from gatework.inspect.page import about_model
from gatework.inspect.record import record
from gatework.tasks.classify import Classifier

TASK = Classifier.task
SETTINGS = ("hidden_size", "num_layers", "scaling", "seed")


def summarise(model: Classifier, training: Any, scored: Any) -> dict[str, Any]:
    """Everything a report shows, JSON-ready.

    Args:
        model: a fitted classifier.
        training: what it was fitted to: labelled sequences, or a stream of them.
        scored: such to score it on.
    """
    learnt, told = model.gathered(training), model.gathered(scored)
    evaluation = model.evaluate(scored)
    unknown = evaluation.all_classes()[len(evaluation.classes) :]
    return {
        "task": TASK,
        "data": {
            "name": learnt.name,
            "training": learnt.overview(),
            "scored": told.overview(),
            "overview": f"Training: {learnt.overview()} Scored: {told.overview()}",
            "notes": list(dict.fromkeys([*model.notes_, *told.notes])),
        },
        "model": {**about_model(model, SETTINGS), "reads": _reads(model)},
        "training": {"history": model.history_, "best_epoch": model.best_epoch_},
        "evaluation": {**evaluation.to_dict(), "unknown": [str(name) for name in unknown]},
        "inside": None if model.network_.shuffle else _inside(model, scored, len(told.lengths)),
    }


def drawn(summary: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What the template shows, and its figures."""
    evaluation, inside = summary["evaluation"], summary["inside"]
    history, best = summary["training"]["history"], summary["training"]["best_epoch"]
    found = {
        "losses": figures.losses(history, best, "cross-entropy"),
        "confusion": figures.confusion(np.array(evaluation["confusion"]), evaluation["classes"]),
    }
    if inside:
        series = np.array(inside["series"], dtype=float)
        found["inside"] = figures.inside(
            series, inside["panels"], inside["title"], "step of the sequence", len(series)
        )
    return {**summary, "inside_of": "sequence"}, found


def _reads(model: Classifier) -> str:
    """How the network reads a sequence, in words."""
    given = model.model_.parameters
    words = ["each sequence in both directions" if given["bidirectional"] else "each sequence"]
    words += ["its axes exchanged"] if given["shuffle"] else []
    words += [f"pooled by {given['pool']!r}"]
    place = given["convolution"]
    words += [f"convolutions {place} the layers"] if place != "none" else []
    return ", ".join(words)


def _inside(model: Classifier, data: Any, count: int) -> dict[str, Any]:
    """Gates and states of the first layer over the last of so many scored sequences."""
    network = model.network_
    *_, end = pieces_of(data)
    scored = model.model_.load(end)
    last = len(scored) - 1
    inputs, lengths = model.model_.cases(scored.cube).batch(torch.tensor([last]))
    device = next(network.parameters()).device
    with torch.no_grad():
        steps, _ = network.steps_of(inputs.to(device), lengths)
        recording = record(network.recurrent, steps)
    assert scored.labels is not None  # they were scored
    return {
        "title": f"feature 1 of sequence {count}, of class {scored.labels[last]}",
        "series": plain(scored.cube.series(last)[:, 0]),
        **maps(recording),
    }
