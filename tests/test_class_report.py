"""The report of a classifier: what it says and draws of told classes."""

import json
import re

import numpy as np
import pytest
from classify_tools import fitted, quick, waves
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from test_report import sound

from gatework.data.labelled import load_labelled
from gatework.inspect import figures
from gatework.inspect.class_report import summarise
from gatework.inspect.report import render


def report(model, X, y, scored=None):
    """The page of a fitted model, and its summary as it comes back from the file."""
    training = load_labelled(X, y)
    scored = training if scored is None else load_labelled(*scored)
    summary = json.loads(json.dumps(summarise(model, training, scored), allow_nan=False))
    return sound(render(summary)).text, summary


def test_it_shows_what_the_evaluation_finds():
    model, X, y = fitted()
    text, summary = report(model, X, y)
    found = model.evaluate(X, y)
    assert summary["evaluation"] == {**found.to_dict(), "unknown": []}
    for name, row in found.by_class().items():
        shares = (f"{row[key]:.1%}" for key in ("precision", "recall", "f1"))
        assert f"{name} {' '.join(shares)} {row['count']}" in text
    for words in (
        "lstm tells 2 classes of the data apart",
        "24 sequences of 8 to 13 steps and 2 features; 2 classes of 12 sequences.",
        "each sequence in both directions, pooled by 'attention', convolutions beside the layers",
        found.verdict(),
        f"feature 1 of sequence 24, of class {y[-1]}",
    ):
        assert words in text
    assert text.count("told class") == 2  # the wide and the narrow form


def test_the_counts_of_the_confusion_matrix_are_drawn():
    counts = np.array([[12, 0, 3], [1, 25, 0], [0, 0, 0]])
    svg = figures.confusion(counts, ["a", "_<b>&$_^{x}$", "c" * 40])
    text = re.sub(r"<[^>]*>", " ", svg)
    assert text.split().count("12") == text.split().count("25") == 2
    assert "_&lt;b&gt;&amp;…^{x}$" in text
    assert f"{'c' * 5}…{'c' * 5}" in text
    many = figures.confusion(np.eye(60, dtype=int), [f"class {i}" for i in range(60)])
    assert "class 7" not in many  # too many to be written
    assert "told class" in many


def test_the_counts_can_be_read_on_cells_of_every_colour():
    def light(colour):
        parts = np.array(colour[:3])
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722] + 0.05

    for share in np.linspace(0, 1, 201):
        letters = figures.ON_DARK if share > figures.DARK_FROM else figures.ON_LIGHT
        one, two = light(to_rgb(letters)), light(colormaps[figures.CELL_COLOURS](share))
        assert max(one, two) / min(one, two) >= 4.5  # WCAG 2, AA


def test_classes_that_training_never_saw_are_named():
    model, X, y = fitted()
    other = np.where(np.arange(len(y)) < 3, "<new>", y)
    text, summary = report(model, X, y, (X, other))
    assert summary["evaluation"]["unknown"] == ["<new>"]
    assert "Never seen in training, and so never told: <new>." in text
    assert "tells 2 classes" in text
    assert "<new> 0.0% 0.0% 0.0% 3" in text


@pytest.mark.parametrize("options", [{"shuffle": True}, {"convolution": "before"}])
def test_other_ways_to_read(options):
    X, y = waves(8)
    model = quick(**options, epochs=1).fit(X, y)
    text, summary = report(model, X, y)
    assert (summary["inside"] is None) == ("shuffle" in options)  # its steps are features
    assert ("its axes exchanged" in text) == ("shuffle" in options)
    assert ("A first look inside" in text) == ("shuffle" not in options)
