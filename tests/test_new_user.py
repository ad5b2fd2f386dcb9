"""Tables that nobody prepared, at the command line: what is wrong is said, and nothing is lost."""

import re

import numpy as np
import pandas as pd
import pytest
from cli_tools import TINY, call, done, refused
from data_tools import DAYS, cube_of, quick, sine, write

import gatework as gw
from gatework.data import Columns, load_cube
from gatework.data.archive import read_archive
from gatework.data.doctor import check
from gatework.errors import DataError
from gatework.inspect.figures import losses


def dated(values, days=DAYS):
    return [("day", "y"), *zip(days, values, strict=False)]


def test_days_of_a_spreadsheet_are_no_dates_and_that_is_said(tmp_path):
    rows = [("day", "y"), *((45292 + i, i) for i in range(30))]
    cube = cube_of(tmp_path, rows, time="day", target="y")
    assert cube.step.kind == "rows"
    (note,) = [n for n in cube.notes if "'day' holds whole numbers" in n]
    assert "days of a spreadsheet (45292 would be 2024-01-01)" in note


@pytest.mark.parametrize(
    ("first", "far", "words"),
    [
        (1704067200, 3600, "seconds since 1970 (1704067200 would be 2024-01-01)"),
        (1704067200000, 60000, "milliseconds since 1970"),
        (0, 1, None),
        (20000, 1, None),
    ],
)
def test_whole_numbers_that_may_be_dates(tmp_path, first, far, words):
    rows = [("t", "y"), *((first + far * i, i) for i in range(30))]
    said = [n for n in cube_of(tmp_path, rows, time="t", target="y").notes if "whole numbers" in n]
    assert bool(said) == bool(words)
    assert not words or words in said[0]


def test_days_with_a_fraction_are_named_as_numbers(tmp_path):
    rows = [("day", "y"), *((45292 + i / 24, i) for i in range(30))]
    with pytest.raises(DataError, match=r"line 3 holds 45292.041.*, expected a whole number, or"):
        cube_of(tmp_path, rows, time="day")


def test_one_word_amid_numbers_is_found_though_no_target_is_named(tmp_path):
    values = [str(v) for v in range(30)]
    values[5] = "broken"
    words = refused("check", write(tmp_path, dated(values)))
    assert "Column 'y' looks like numbers, but line 7 holds 'broken'." in words


def test_a_wild_value_is_shown_by_the_doctor(tmp_path):
    values = sine(60).round(3)
    calm = [f.text for f in check(write(tmp_path, dated(values)))]
    assert not any("far from all others" in text for text in calm)
    values[20] = 1e30
    (found,) = [f for f in check(write(tmp_path, dated(values))) if "far from all" in f.text]
    assert found.level == "warning"
    assert "'y' (1e+30, where half of them lie between" in found.text


def test_a_value_that_no_model_could_read_stops_a_run_before_its_training(tmp_path):
    values = sine(60)
    values[55] = 1e30  # in the part that is scored
    data = write(tmp_path, dated(values))
    result = call("fit", "forecast", data, "--horizon", "3", *TINY, "--out", tmp_path / "run")
    assert result.status == 2
    assert "Is that value right? If not, leave it empty." in result.err
    assert "epoch" not in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["forecast", "autoencoder"])
def test_a_detector_tells_a_value_that_no_model_could_read(kind):
    series = sine(100, noise=0.1)
    series[80], series[90] = 1e300, -1e30
    detector = gw.Detector(kind, context=4, hidden_size=4, epochs=1, device="cpu")
    detector.fit(series[:70])
    assert detector.predict(series)[0, 80] == -1
    stream = detector.stream()
    scores = np.array([stream.step(value) for value in series])
    np.testing.assert_allclose(scores, detector.anomaly_scores(series)[0], rtol=1e-9)


def test_what_the_fit_has_found_is_printed(tmp_path):
    walk = np.random.default_rng(0).normal(size=60).cumsum()
    path = write(tmp_path, dated(walk))
    out = done("fit", "forecast", path, "--horizon", "1", *TINY, "--out", tmp_path / "run").out
    notes = gw.Forecaster.load(tmp_path / "run").notes_
    assert any("merely repeat the last value" in note for note in notes)
    assert all(out.count(note) == 1 for note in notes)


ARFF = "@relation r\n@attribute a numeric\n@attribute class {1,2}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{ARFF}@data\n0.5,1\n0.7", "Is the whole file there?"),
        (f"{ARFF}@data\n", "holds no case behind @data."),
        (ARFF, "it ends before its cases."),
    ],
)
def test_an_arff_file_that_is_cut_off(tmp_path, text, reason):
    path = write(tmp_path, text, "P_TRAIN.arff")
    words = refused("fit", "classify", path, "--test", path, "--out", tmp_path / "run")
    assert "P_TRAIN.arff" in words
    assert reason in words


def test_classes_of_an_npz_are_the_same_in_every_kind_of_number(tmp_path):
    path = tmp_path / "a.npz"
    for kind in (int, float, np.float32, str):
        np.savez(path, X=np.zeros((3, 4)), y=np.array([0, 1, 1]).astype(kind))
        assert read_archive(path).labels.tolist() == ["0", "1", "1"]
    for bad in (0.5, np.nan):
        np.savez(path, X=np.zeros((3, 4)), y=np.array([0, bad, 1]))
        with pytest.raises(DataError, match=f"as text or a whole number, got {bad}"):
            read_archive(path)


def test_a_cut_npz_is_named_without_advice_about_pickles(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.zeros((3, 40)), y=np.arange(3))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read: [^.]*\.$"):
        read_archive(path)
    np.savez(path, X=np.array([[1], [2, 3]], dtype=object), y=[0, 1])
    with pytest.raises(DataError, match="pad them with NaN"):
        read_archive(path)


def test_a_class_that_only_the_test_has_is_counted_in_whole_sequences():
    X = np.random.default_rng(0).normal(size=(12, 5, 1))
    model = gw.Classifier(hidden_size=4, epochs=1, convolution="none", device="cpu")
    model.fit(X, np.tile(["a", "b"], 6))
    counts = {k: row["count"] for k, row in model.evaluate(X, ["c"] * 12).by_class().items()}
    assert counts == {"a": 0, "b": 0, "c": 12}
    assert all(isinstance(count, int) for count in counts.values())


def test_one_is_counted_in_the_singular(tmp_path):
    path = write(tmp_path, dated([5.0]))
    assert load_cube(path, Columns()).lengths.tolist() == [1]
    texts = [f.text for f in check(path)]
    assert any("1 row, 2 columns" in text for text in texts)
    assert any("One series of 1 step;" in text for text in texts)


@pytest.mark.parametrize(
    ("make", "name", "value", "words"),
    [
        (gw.Forecaster, "hidden_size", True, "a whole number above zero"),
        (gw.Forecaster, "relative", "yes", "True or False"),
        (gw.Forecaster, "calendar", 5, "True, False, or names of its parts"),
        (gw.Forecaster, "features", 5, "the name of a column, or several"),
        (gw.Forecaster, "static", [1], "the name of a column, or several"),
        (gw.Detector, "target", 5, "the name of a column, or several"),
        (gw.Detector, "time", ["day"], "the name of a column"),
    ],
)
def test_arguments_of_another_kind_are_refused(make, name, value, words):
    with pytest.raises(DataError, match=f"^{name} is {words}.*, got "):
        make(**{name: value}).fit(sine())


def test_names_may_come_as_the_columns_of_a_data_frame():
    table = pd.DataFrame({"y": sine(30), "a": sine(30, 5)})
    model = gw.Forecaster(
        horizon=2, hidden_size=4, epochs=1, device="cpu", target="y", features=table.columns[1:]
    )
    assert model.fit(table).predict(table).shape == (1, 2)


def test_of_many_series_the_wrong_one_is_named():
    many = [np.zeros((5, 2)) for _ in range(10_000)]
    for wrong, words in ((np.zeros((5, 1)), "number 7001 has 1"), ([], r"\(0, 1\) as number 7001")):
        with pytest.raises(DataError, match=f"{words}.$") as caught:
            load_cube([*many[:7000], wrong, *many])
        assert len(str(caught.value)) < 200


def test_a_folder_that_cannot_be_made_is_named_before_the_training(tmp_path):
    path, taken = write(tmp_path, dated(sine(60))), tmp_path / "taken"
    taken.write_text("")
    result = call("fit", "forecast", path, "--horizon", "3", *TINY, "--out", taken / "a" / "run")
    assert result.status == 2
    assert result.err == f"error: --out {taken}/a/run cannot be made: Not a directory.\n"
    words = refused("cells", "gru", "--page", taken / "g.html")
    assert words == f"error: {taken}/g.html cannot be written: Not a directory.\n"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.11, 0.9, ["0.2", "0.5"]),
        (2.0, 11.0, ["2", "5", "10"]),
        (1e-3, 3.0, ["0.001", "0.01", "0.1", "1"]),
    ],
)
def test_losses_of_different_size_are_marked_with_numbers(low, high, shown):
    history = [{"epoch": i, "train": v, "validation": v} for i, v in enumerate((high, low), 1)]
    drawn = losses(history, 2)
    assert "math" not in drawn
    assert set(shown) <= set(re.findall(r">([^<>]+)</text>", drawn))


@pytest.mark.parametrize("role", ["target", "time", "id"])
def test_names_of_columns_beside_arrays_are_refused(role):
    with pytest.raises(DataError, match=f"{role}='sold' names a column of a table"):
        quick(**{role: "sold"}).fit(np.zeros((2, 40)))


def test_features_that_arrays_do_not_have_are_refused():
    with pytest.raises(DataError, match="no input 'price'; theirs are x1"):
        quick(features="price").fit(np.zeros((2, 40, 2)))


@pytest.mark.parametrize("name", ["a.npy", "a_TRAIN.ts", "a.arff", "a.ts.gz"])
@pytest.mark.parametrize("task", ["forecast", "detect"])
def test_an_archive_given_as_a_table_is_named_as_what_it_is(tmp_path, name, task):
    (tmp_path / name).write_text("1,2,3\n4,5,6\n")  # as text it would pass for a table
    more = ("--horizon", "2") if task == "forecast" else ()
    line = refused("fit", task, tmp_path / name, *more, "--out", tmp_path / "run")
    assert f"{name} is no table but an archive of sequences" in line
    assert "gatework fit classify" in line
