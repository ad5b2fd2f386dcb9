"""The report: complete in itself, sound HTML, readable in a browser, honest in words."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from cli_tools import AIR, TINY, done, shops
from data_tools import quick, sine, write
from report_cells import Odd, Swapped
from shared import each_untimed

from gatework.cells import name_of, resolve
from gatework.data import load_cube
from gatework.inspect import figures
from gatework.inspect.figures import COLOURS, TRUTH, losses
from gatework.inspect.report import render, summarise
from gatework.inspect.roles import state_roles
from gatework.tasks.evaluation import Evaluation

VOID = {"meta", "link", "br", "hr", "img", "input", "base"}
HOSTILE = ("<script>alert(1)</script>", "a&b;<b>", "quote\"s'", "</svg></title>",
           "_<b>&$_^{x}$ \\frac")  # fmt: skip


class Page(HTMLParser):
    """The tags, ids, references and texts of a page; ``wrong`` names tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.tags, self.ids, self.attributes = [], [], [], [], []
        self.texts = []
        self.feed(text)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        """All that is read, with single spaces."""
        return " ".join(" ".join(self.texts).split())


def sound(text):
    """The page, after the checks that every page has to pass."""
    page = Page(text)
    assert page.wrong == []
    assert [i for i, count in Counter(page.ids).items() if count > 1] == []
    outside = {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert not outside & set(page.tags)
    text = DRAWN.sub("", text)  # an image within the page, as matplotlib draws a map
    for tag, name, value in Page(text).attributes:
        assert not name.startswith("on"), (tag, name)  # no handler of an event
        if not name.startswith("xmlns"):
            assert "//" not in value, (tag, name, value)
        if name in ("href", "xlink:href", "src"):
            assert value.removeprefix("#") in page.ids, (tag, name, value)
    for name in re.findall(r"url\(([^)]*)\)", text):
        assert name.strip("'\"").removeprefix("#") in page.ids
    assert not re.search(r"@import|@font-face|javascript:", text)
    spaces = {f'xmlns{p}="{u}"' for p, u in SPACES.items()}
    assert "http" not in re.sub("|".join(map(re.escape, spaces)), "", text)
    return page


DRAWN = re.compile(r'xlink:href="data:image/png;base64,[^"]*"')
SPACES = {"": "http://www.w3.org/2000/svg", ":xlink": "http://www.w3.org/1999/xlink"}


def summary_of(data, held=10, **arguments):
    """What is found about a forecaster that was fitted in a moment."""
    model = quick(**arguments)
    cube = model.load_data(data)
    begin = cube.lengths - held
    model.fit(cube.until(begin))
    # As it comes back from the file: what is not JSON-ready must not get this far.
    return json.loads(json.dumps(summarise(model, cube, begin, "data.csv"), allow_nan=False))


def report(data, held=10, **arguments):
    """Its page, and that."""
    summary = summary_of(data, held, **arguments)
    return render(summary), summary


@pytest.fixture(scope="module")
def usual():
    return report(sine(noise=0.3))


def test_intervals_are_drawn_and_their_coverage_told(usual):
    page = sound(usual[0])
    assert "90% interval" in page.text
    assert usual[1]["evaluation"]["interval"]["says"] in page.text
    assert "direct form, point head" in page.text
    text, summary = report(sine(noise=0.3), validation=0.0, epochs=1)
    assert "90% interval" not in text
    assert "Intervals are measured on the validation part" in sound(text).text
    assert not any("interval" in window for window in summary["windows"])


def test_a_summary_of_an_earlier_version_is_still_rendered(usual):
    summary = json.loads(json.dumps(usual[1]))
    del summary["evaluation"]["interval"], summary["model"]["form"], summary["model"]["head"]
    for window in summary["windows"]:
        del window["interval"]
    page = sound(render(summary))
    assert "interval" not in page.text.lower()
    assert " head" not in page.text


def test_what_an_evaluation_measured_is_in_the_summary():
    cube = load_cube(sine(120, noise=0.3))
    model = quick(epochs=1).fit(cube.until(np.array([100])))
    summary = summarise(model, cube, np.array([100]), "waves")
    assert summary["evaluation"]["interval"]["asked"] == 0.9
    found = model.evaluate(cube, np.array([100]))
    assert summary["evaluation"]["interval"]["says"] == found.interval_words()
    low = [w["interval"]["low"] for w in summary["windows"]]
    shown = np.linspace(0, len(found.rows) - 1, 4).round().astype(int)
    np.testing.assert_array_equal(low, found.interval[shown, :, 0])
    assert "90% interval" in sound(render(summary)).text


@each_untimed
def test_every_cell_of_the_catalogue_has_a_report_with_its_gates_and_state(cell):
    inside = summary_of(sine(), cell=name_of(cell), epochs=1)["inside"]
    # The one part of the page in which cells differ; drawing all of it takes a second.
    drawn = Page(figures.inside(np.array(inside["series"]), inside["panels"], inside["title"]))
    assert not drawn.wrong
    shown = [panel["title"] for panel in inside["panels"]]
    for title in shown:
        assert title in drawn.text
    spec = resolve(cell)
    names = {title.split()[-1] for title in shown}
    between = {e.name for e in spec.equations if getattr(e.expr, "op", "") == "sigmoid"}
    gates = {name for name in between if not name.endswith("_next")}  # a state is none
    carried = {*state_roles(spec)}  # not what only echoes a gate, nor a stabiliser
    assert gates | carried <= names
    assert carried
    for panel in inside["panels"]:
        values = np.array(panel["values"])
        assert values.shape[1] == 6  # the context
        assert panel["signed"] or (values.min() >= 0 and values.max() <= 1)


def test_the_lstm_shows_forget_gate_input_gate_and_cell_state(usual):
    shown = [panel["title"] for panel in usual[1]["inside"]["panels"]]
    assert shown == ["forget gate f", "input gate i", "output gate o", "cell state c"]
    assert (
        "forget gate f : near 1 it keeps the cell state c, near 0 it clears c "
        "input gate i : near 1 it adds g to the cell state c, near 0 it adds nothing"
    ) in sound(usual[0]).text


def test_the_same_letter_says_something_else_of_another_cell():
    text, summary = report(sine(), cell=Swapped, epochs=1)
    shown = [panel["title"] for panel in summary["inside"]["panels"]]
    assert shown == ["update gate f", "output gate o", "cell state c"]
    page = sound(text)
    assert "f : near 1 it replaces the cell state c by g, near 0 it keeps c" in page.text
    assert "forget" not in page.text


def test_a_state_between_0_and_1_is_no_gate_and_an_older_one_is_shown():
    _, summary = report(sine(), cell=Odd, epochs=1)
    shown = [panel["title"] for panel in summary["inside"]["panels"]]
    assert shown == ["gate r", "hidden state h", "state g"]


def test_the_gates_shown_are_those_of_the_trained_network(usual):
    """Worked out step by step from the scaled context and the stored weights."""
    series = sine(noise=0.3)
    model = quick()
    cube = model.load_data(series)
    model.fit(cube.until(cube.lengths - 10))
    last = series[-9:-3]
    center, spread = series[:56].mean(), series[:56].std()
    scaled = torch.tensor((last - center) / spread, dtype=torch.float32)
    inputs = torch.stack([scaled - scaled[-1], torch.ones(6)], dim=1)
    weights = {k.removeprefix("recurrent."): v for k, v in model.network_.state_dict().items()}
    h = c = torch.zeros(4)
    forget, state = [], []
    for x in inputs:
        i, f, g, o = (weights["W_l0"] @ x + weights["U_l0"] @ h + weights["b_l0"]).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        forget.append(f.sigmoid())
        state.append(c)
    panels = {panel["title"]: np.array(panel["values"]) for panel in usual[1]["inside"]["panels"]}
    for title, found in (("forget gate f", forget), ("cell state c", state)):
        expected = torch.stack(found).numpy().T
        expected = expected[np.argsort(expected.mean(axis=1))]
        np.testing.assert_allclose(panels[title], expected, atol=2e-4)  # rounded to 4 digits


def test_the_page_says_what_was_measured(usual):
    text, summary = usual
    page = sound(text)
    evaluation = summary["evaluation"]
    assert evaluation["verdict"] in page.text
    for name in ("lstm", "naive"):
        assert f"{name} {evaluation['errors'][name]['mae']:.3g} " in page.text
    assert f"{evaluation['windows']} held-out windows, the same for every row" in page.text
    assert "One series of 80 steps" in page.text
    for heading in ("Forecast against truth", "Error by step of the horizon", "Training",
                    "A first look inside", "Data", "Model"):  # fmt: skip
        assert heading in page.text
    assert text.count('<svg class="wide"') == text.count('<svg class="narrow"') == 4
    assert text.count("<svg") == 8


def test_one_is_not_many():
    text, _ = report(sine(60), held=1, horizon=1, context=1, hidden_size=1)
    page = sound(text)
    assert "1 step ahead from 1 step · held out and scored below: the last 1 step of" in page.text
    assert "1 held-out window, the same for every row" in page.text
    assert "1 layer of 1 unit," in page.text
    assert "1 unit" in figure(text, "inside")
    words = Page(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)).text
    assert not re.search(r"\b1 (steps|units|windows|layers)\b", words)


def figure(text, name, kind="wide"):
    """The SVG of one figure, by its name within the ids."""
    return next(f for f in re.findall(r"<svg.*?</svg>", text, re.DOTALL) if f"{name}-{kind}-" in f)


def test_the_grey_line_is_what_the_model_read(usual):
    """No more of the past is drawn than the 6 steps of the context, and it is said so."""
    text, summary = usual
    for window in summary["windows"]:
        assert len(window["context"]) == 6
    assert "The context is what the model read: 6 steps before each forecast." in text
    for kind in ("wide", "narrow"):
        drawn = figure(text, "forecasts", kind)
        assert ">context</text>" in drawn
        lines = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {TRUTH}; stroke-width: 1.2', drawn)
        assert [line.count("L") for line in lines] == [5] * 4 + [2]  # the last: the legend


@pytest.mark.parametrize(("units", "label"), [(7, "units,"), (60, "48 of 60 units,")])
def test_the_rows_of_a_map_are_ranks_and_have_no_numbers(units, label):
    text, summary = report(sine(), hidden_size=units, epochs=1)
    panels = summary["inside"]["panels"]
    assert {panel["units"] for panel in panels} == {units}
    drawn = figure(text, "inside")
    assert drawn.count(f">{label}</tspan>") + drawn.count(f">{label}</text>") == len(panels)
    assert drawn.count(">sorted by mean<") == len(panels)
    _, above, *maps = re.split(r'<g id="inside-wide-axes_\d+">', drawn)
    assert "ytick" in above
    assert "ytick" not in "".join(maps[: len(panels)])
    assert "sorted by their own mean" in text


@pytest.mark.parametrize("own", [0.5, 2.0, 3.0], ids=["better", "equal", "worse"])
def test_the_verdict_is_in_words_in_both_directions(usual, own):
    truth = np.zeros((5, 3))
    found = Evaluation("lstm", {"lstm": truth + own, "naive": truth + 2.0}, truth,
                       np.zeros(5, int), np.arange(5), 1)  # fmt: skip
    summary = usual[1] | {"evaluation": found.to_dict()}
    page = sound(render(summary))
    (shown,) = [v for tag, name, v in page.attributes if name == "class" and "verdict" in v]
    if own < 2:
        assert "The lstm beats the naive forecast: MAE 0.5 against 2 (75% less)" in page.text
        assert shown == "verdict"
    else:
        assert f"The lstm does not beat the naive forecast: MAE {own:g} against 2" in page.text
        assert "use the naive forecast" in page.text
        assert shown == "verdict bad"


def test_a_cell_called_beats_does_not_win_by_its_name(usual):
    truth = np.zeros((5, 3))
    found = Evaluation("beats", {"beats": truth + 3.0, "naive": truth + 2.0}, truth,
                       np.zeros(5, int), np.arange(5), 1)  # fmt: skip
    windows = [
        w | {"forecasts": w["forecasts"] | {"beats": w["truth"]}} for w in usual[1]["windows"]
    ]
    text = render(usual[1] | {"evaluation": found.to_dict(), "windows": windows})
    assert 'class="verdict bad"' in text


@pytest.mark.parametrize(
    "arguments",
    [{"horizon": 1}, {"context": 1}, {"horizon": 10}, {"num_layers": 2}, {"hidden_size": 60},
     {"validation": 0.0}, {"epochs": 1}, {"horizon": 1, "context": 1, "hidden_size": 1}],
    ids=str,
)  # fmt: skip
def test_odd_sizes(arguments):
    """Horizon 10 leaves one window; 60 units are more than are drawn."""
    text, summary = report(sine(60), **arguments)
    sound(text)
    assert len(summary["evaluation"]["by_step"]["lstm"]) == arguments.get("horizon", 3)
    assert summary["evaluation"]["windows"] == 11 - arguments.get("horizon", 3)


def ticks(svg):
    """The numbers below the horizontal axis: those before its label."""
    return re.findall(r">([\d.]+)</text>", svg[: svg.index(">epoch<")])


def test_epochs_are_whole_numbers_and_a_single_one_is_seen():
    history = [{"epoch": e, "train": 100.0 * e, "validation": 150.0 * e} for e in (1, 2)]
    assert ticks(losses(history, 1)) == ["1", "2"]
    assert ticks(losses(history[:1], 1)) == ["1"]
    # A line through one point is nothing; it needs a marker, which is drawn by reference.
    assert len(re.findall(rf"<use [^>]*fill: {COLOURS[0]}", losses(history[:1], 1))) == 2 * 2
    assert f"fill: {COLOURS[0]}" not in losses(history, 1)


def test_missing_values_in_the_windows_shown():
    series = sine(60)
    series[[5, 20, 47, 52, 53, 58, 59]] = np.nan
    text, summary = report(series)
    page = sound(text)
    assert "7 of 60 values of 'y' are missing" in page.text
    assert "nan" not in page.text.lower().split()
    assert any(None in window["truth"] for window in summary["windows"])


def test_a_series_that_never_changes():
    """All errors are 0, the scale of every axis too; the model beats nobody."""
    text, summary = report(np.full(60, 7.0))
    sound(text)
    assert "does not beat" in summary["evaluation"]["verdict"]


def test_hostile_names_are_text(tmp_path):
    for name in HOSTILE:
        rows = shops(target=name, ids=(name, "$x^2$"))
        rows = [[f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in row] for row in rows]
        data = write(tmp_path, rows)
        words = ("--target", name, "--id", "shop", "--time", "day", "--horizon", "5", "--overwrite")
        done("fit", "forecast", data, *words, *TINY, "--out", tmp_path / "run")
        page = sound((tmp_path / "run" / "report.html").read_text())
        assert f"lstm forecasts {name}" in page.text
        assert f"{name}, forecast from 2021-" in page.text
        assert "$x^2$, forecast from 2021-" in page.text


def test_a_summary_of_an_older_version_has_letters_for_words(usual):
    """Its words went by the letter, and it held more of the past than the model read."""
    text, summary = usual
    words = {"forget gate f": "reset gate f", "input gate i": "input gate i",
             "output gate o": "gate o", "cell state c": "cell state c"}  # fmt: skip
    panels = [
        {"title": words[p["title"]], "values": p["values"], "signed": p["signed"]}
        for p in summary["inside"]["panels"]
    ]
    inside = {k: v for k, v in summary["inside"].items() if k != "says"} | {"panels": panels}
    windows = [w | {"context": [1e6] * 6 + w["context"]} for w in summary["windows"]]
    again = render(summary | {"inside": inside, "windows": windows})
    page = sound(again)
    for title in ("gate f", "gate i", "gate o", "state c"):
        assert f">{title}<" in again
    assert not re.search("(reset|input|cell) (gate|state)", page.text)
    assert figure(again, "forecasts") == figure(text, "forecasts")


def test_report_makes_the_same_page_again(tmp_path):
    done(*AIR, "--out", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    sound(page)
    assert done("report", tmp_path / "run", "--out", tmp_path / "again.html").out.startswith("rep")
    assert (tmp_path / "again.html").read_text() == page
