"""Rows without a regular step: their own stamps in what is told of them, and likely ones behind."""

import numpy as np
import pandas as pd
from cli_tools import done
from data_tools import DAYS, cube_of, notes, quick

import gatework as gw
from gatework.data import Columns, load_cube
from gatework.data.load import ELAPSED
from gatework.data.uneven import usual

HOURS = np.array([0, 3, 6, 10, 12, 15, 19, 21, 24, 27, 31, 33, 36, 40, 42, 45.0])
TIMES = pd.Timestamp("2024-05-01") + pd.to_timedelta(HOURS, unit="h")


def table(times=TIMES, shops=("a", "b")):
    """Two shops, the second of which ends four rows earlier."""
    parts = [
        pd.DataFrame({"time": times[: len(times) - 4 * i], "shop": s, "y": np.arange(16.0 - 4 * i)})
        for i, s in enumerate(shops)
    ]
    return pd.concat(parts, ignore_index=True)


def after(last, count, distance="3h"):
    return [last + (k + 1) * pd.Timedelta(distance) for k in range(count)]


def test_forecasts_are_dated_by_the_usual_distance():
    model = quick(target="y", id="shop").fit(table())
    told = model.predict_table(table())
    assert told["time"].to_pylist() == [*after(TIMES[15], 3), *after(TIMES[11], 3)]
    assert told["id"].to_pylist() == ["a"] * 3 + ["b"] * 3
    says = model.model_.load(table()).notes[-1]
    assert says.endswith("they are dated by the usual distance, 3 hours.")


def test_stamps_that_are_known_ahead_are_kept():
    future = table().assign(price=1.0)
    future.loc[13:15, "y"] = np.nan
    future.loc[26:, "y"] = np.nan  # two rows, one fewer than the horizon
    model = quick(target="y", id="shop", future="price").fit(future)
    told = model.predict_table(future)["time"].to_pylist()
    assert told == [*TIMES[13:16], *TIMES[10:12], *after(TIMES[11], 1)]
    whole = future[future["shop"] == "a"]
    assert not any("dated" in note for note in model.model_.load(whole).notes)


def test_whole_numbers_go_on_by_whole_numbers():
    numbers = table(np.array([1, 5, 9, 12, 16, 20, 24, 27, 31, 35, 39, 43, 47, 51, 55, 59]))
    cube = load_cube(numbers, Columns("y", "time", "shop"))
    assert cube.times_after(2).to_pylist() == [63, 67, 47, 51]
    assert cube.all_times().to_pylist() == numbers["time"].to_list()
    assert cube.until(np.array([2, 3])).times_after(1).to_pylist() == [9, 13]
    detector = gw.Detector(hidden_size=4, context=4, epochs=1, time="time", id="shop")
    told = detector.fit(numbers).predict_table(numbers)
    assert told["time"].to_pylist() == numbers["time"].to_list()


def test_distances_are_rounded_and_single_rows_have_none():
    def of(*seconds):
        return usual(np.array([seconds], "datetime64[s]").astype("datetime64[us]"))

    assert of(0, 5431, 10862) == 91 * 60_000_000
    assert of(0, 25 * 3600, 50 * 3600 + 100) == 25 * 3600 * 1_000_000
    assert of(7) is None
    cube = load_cube(table(), Columns("y", "time", "shop")).until(np.array([1, 1]))
    assert cube.times_after(2).to_pylist() == [None] * 4
    assert cube.times(0, np.array([0]))[0] == TIMES[0]


def test_the_command_line_says_how_it_dates(tmp_path):
    path, run = tmp_path / "shops.csv", tmp_path / "run"
    table().to_csv(path, index=False)
    done("fit", "forecast", path, "--target", "y", "--id", "shop", "--horizon", 2, "--context", 3,
         "--epochs", 1, "--hidden-size", 4, "--out", run)  # fmt: skip
    told = done("predict", run, path)
    assert "a,2024-05-03 00:00:00,1," in told.out.replace('"', "").replace("T", " ")
    assert "dated by the usual distance, 3 hours." in told.err
    assert "forecast from 2024-05-0" in (run / "report.html").read_text()


NAN = float("nan")


def irregular(steps=80, seed=0):
    """A value that grows with the time that has gone by, at times of any distance."""
    random = np.random.default_rng(seed)
    hours = np.cumsum(random.integers(1, 50, steps) + random.integers(0, 3600, steps) / 3600)
    times = np.datetime64("2024-01-01") + (hours * 3600).astype("timedelta64[s]")
    return pd.DataFrame({"time": times, "y": hours / 10 + random.normal(0, 0.1, steps)})


def test_the_time_since_the_row_before_is_a_feature(tmp_path):
    table = irregular()
    cube = load_cube(table)
    assert cube.names == ("y", ELAPSED)
    gaps = table["time"].diff().dt.total_seconds().to_numpy()
    np.testing.assert_allclose(cube.values[0, :, 1], np.log1p(gaps))
    assert "are not regular" in notes(cube)
    model = quick(calendar=("hour",)).fit(table)
    # Another piece is read in the same way, also where it happens to be regular.
    piece = pd.DataFrame({"time": pd.date_range("2024-06-01", periods=9, freq="h"), "y": 1.0})
    assert model.model_.load(piece).names == cube.names
    assert np.isfinite(model.predict(piece)).all()
    later = piece.copy()
    later.loc[8, "time"] += pd.Timedelta(days=3)
    assert not np.array_equal(model.predict(later), model.predict(piece))
    model.save(tmp_path)
    assert np.array_equal(gw.Forecaster.load(tmp_path).predict(piece), model.predict(piece))


def test_irregular_rows_have_a_future_too():
    table = irregular().assign(price=1.0)
    table.loc[75:, "y"] = NAN
    cube = load_cube(table, Columns("y", future="price"))
    assert cube.names == ("y", "price", ELAPSED)
    assert cube.lengths.tolist() == [75]
    assert np.isnan(cube.values[0, 75:, 2]).all()
    assert (cube.values[0, 75:, 1] == 1).all()


def test_a_regular_model_reads_irregular_rows_as_rows():
    regular = pd.DataFrame({"time": pd.to_datetime(DAYS), "y": np.arange(60.0)})
    model = quick().fit(regular)
    cube = model.model_.load(irregular())
    assert cube.names == ("y",)
    assert "are not regular" in notes(cube)


def test_whole_numbers_without_a_regular_step(tmp_path):
    cube = cube_of(tmp_path, [("t", "y"), (1, 0), (4, 1), (7, 2), (12, 3)], target="y", time="t")
    assert cube.names == ("y", ELAPSED)
    np.testing.assert_allclose(cube.values[0, 1:, 1], np.log1p([3, 3, 5]))


def test_the_note_says_that_the_distance_is_read_only_where_it_is():
    rows = pd.DataFrame({"t": TIMES, "y": np.arange(16.0)})
    words = "the time since the row before is read"
    assert words in " ".join(load_cube(rows, Columns("y", "t")).notes)
    cube = gw.Detector(target="y", time="t").load_data(rows)
    assert cube.names == ("y",)
    assert words not in " ".join(cube.notes)
    assert "not regular; the rows are taken as consecutive steps. Bring" in " ".join(cube.notes)
