"""``gatework fit detect`` and what follows it, as a new user types it."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_tools import DAYS, sine, write

import gatework as gw
from gatework.cli import main
from gatework.inspect.detect_report import summarise
from gatework.inspect.report import render

SMALL = ["--hidden-size", "3", "--context", "8", "--epochs", "2"]
COLUMNS = ["--target", "sold", "--time", "day", "--id", "shop"]


def table():
    """Two shops with a gap, empty and infinite numbers; the second has a spike on its 50th day."""
    rows = ["day,shop,sold\n"]
    for shop, phase in (("a", 0), ("[b]", 2)):
        for i, (day, y) in enumerate(zip(DAYS, sine(60, phase=phase, noise=0.2), strict=True)):
            spike = 60 if (shop, i) == ("[b]", 49) else y
            value = {4: "", 9: "inf"}.get(i, f"{spike:.3f}")
            rows += [] if i == 20 else [f"{day},{shop},{value}\n"]
    return "".join(rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run in ``run`` beside its data."""
    folder = tmp_path_factory.mktemp("detect")
    data = write(folder, table())
    words = ["fit", "detect", data, *COLUMNS, *SMALL, "--quiet", "5", "--out", str(folder / "run")]
    main.app(words, standalone_mode=False)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """That as ./run and ./data.csv."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("kind", ["forecast", "autoencoder"])
def test_fit_finds_the_spike_and_says_so(gatework, tmp_path, kind):
    data = write(tmp_path, table())
    status, out, err = gatework(
        "fit", "detect", data, *COLUMNS, *SMALL, "--kind", kind, "--out", "run"
    )
    assert status == 0, err
    assert "2 series of 60 steps, one every 1 day" in out
    assert "Learns from the first 50% of each series and scores all of it." in out
    assert re.search(r"^\[b\] +2020-02-19 +60 +\S+ *$", out, re.M), out
    assert re.search(r"Anomalous steps: \d+ of the 60 learnt from and \d+ of the 60 later", out)
    files = ["checkpoint.safetensors", "config.json", "model.safetensors", "report.html"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [*files, "summary.json"]
    model = gw.Detector.load("run")
    assert model.kind == kind


def test_fit_is_the_estimator_on_the_first_part(gatework, run):
    cube = gw.Detector(target="sold", time="day", id="shop").load_data("data.csv")
    model = gw.Detector(
        hidden_size=3, context=8, epochs=2, quiet=5, target="sold", time="day", id="shop"
    ).fit(cube.until(np.array([30, 30])))
    expected = model.anomaly_scores(cube)
    np.testing.assert_array_equal(gw.Detector.load("run").anomaly_scores(cube), expected)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_writes_what_the_estimator_tells(gatework, run, suffix):
    status, out, err = gatework("predict", "run", "data.csv", "--out", f"told{suffix}")
    assert (status, out) == (0, f"120 steps written to told{suffix}\n")
    assert "4 of 118 values of 'sold' are missing" in err
    expected = gw.Detector.load("run").predict_table("data.csv").to_pydict()
    assert sum(expected["anomaly"]) >= 1
    if suffix == ".parquet":
        assert pq.read_table(f"told{suffix}").to_pydict() == expected
    else:
        rows = (run / "told.csv").read_text().splitlines()
        assert rows[0] == '"id","time","score","anomaly","sold"'
        assert len(rows) == 121


def test_predict_knows_the_columns_that_fit_has_found(gatework, tmp_path):
    rows = [f"{day},{y:.3f}" for day, y in zip(DAYS, sine(60, noise=0.2), strict=True)]
    plain = write(tmp_path, "day,sold\n" + "\n".join(rows), "plain.csv")
    more = write(tmp_path, "day,sold,open\n" + ",1\n".join(rows) + ",1", "more.csv")
    assert gatework("fit", "detect", plain, *SMALL, "--out", "run")[0] == 0
    status, out, err = gatework("predict", "run", more, "--out", "told.csv")
    assert (status, out) == (0, "60 steps written to told.csv\n"), err


def test_the_report_shows_the_anomaly_and_is_made_again_from_its_summary(gatework, run):
    page = (run / "run" / "report.html").read_text()
    assert "Scores over time" in page
    assert "2020-02-19" in page
    assert "forecasts each next step" in page
    assert "<script" not in page
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", page)
    status, out, _ = gatework("report", "run", "--out", "again.html")
    assert (status, out) == (0, "report: again.html\n")
    assert (run / "again.html").read_text() == page


def test_a_long_series_is_drawn_by_its_extremes(run):
    summary = json.loads((run / "run" / "summary.json").read_text())
    assert len(summary["series"]) == 2
    values = sine(9000)
    values[4567] = 99
    cube = gw.Detector().load_data(values)
    model = gw.Detector(hidden_size=2, epochs=1, context=8).fit(values[:200])
    long = summarise(model, cube, np.array([200]), "long")
    (shown,) = long["series"]
    assert len(shown["steps"]) <= 1500
    assert shown["values"][shown["steps"].index(4568)] == 99
    assert 4568 in shown["found"]
    assert "9,000" not in long["verdict"]
    assert "8,800 later" in long["verdict"]
    assert "<svg" in render(long)


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("y\n1\n", [], "error"),
        ("y\n1\n2\n3\n", ["--train", "0.3"], "more data are needed"),
        ("a,b\n1,2\n3,4\n", [], "Say which column"),
        ("y\nx\nz\n", [], "no numeric column"),
        ("y\n1\n2\n3\n", ["--kind", "magic"], "There is no kind 'magic'"),
        ("y\n1\n2\n3\n", ["--contamination", "0.9"], "contamination is 'auto' or a share"),
        ("y\n1\n2\n3\n", ["--cell", "nope"], "nope"),
        ("y\n1\n2\n3\n", ["--train", "2"], "--train"),
        ("y\n1\n2\n3\n", ["--target", "z"], "z"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(gatework, tmp_path, content, more, words):
    data = write(tmp_path, content)
    status, _, err = gatework("fit", "detect", data, *SMALL, *more, "--out", "run")
    assert status == 2
    assert err.count("\n") == 1
    assert words in err
    assert "internal" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["y\n1\n2\n3\n", "y\n" + "5\n" * 30, "y\n1\n2\n\n4\nNA\n6\n"])
def test_few_or_constant_rows_are_scored(gatework, tmp_path, content):
    data = write(tmp_path, content)
    status, out, err = gatework("fit", "detect", data, *SMALL, "--train", "1", "--out", "run")
    assert status == 0, err
    assert "Anomalous steps: 0 of the" in out


def test_another_task_s_data_is_refused_in_words(gatework, run):
    write(run, "a\n1\n2\n", "other.csv")
    status, _, err = gatework("predict", "run", "other.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert "sold" in err
