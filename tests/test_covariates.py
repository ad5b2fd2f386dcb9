"""Covariates: past, known ahead, static; and categories."""

import numpy as np
import pandas as pd
import pytest
from cli_tools import TINY, done, refused
from data_tools import DAYS, ROLES, cube_of, notes, quick, same_weights, shops, write

import gatework as gw
from gatework.data import Columns, load_cube
from gatework.errors import DataError

NAN = float("nan")


# What is read.


def test_columns_stand_behind_the_target_in_the_order_of_their_roles():
    cube = load_cube(shops(), Columns(**ROLES))
    assert cube.names == ("sold", "rain", "price", "size", "kind")
    assert (cube.ahead, cube.static) == ((2,), (3, 4))
    assert cube.levels == {1: ("dry", "wet"), 4: ("city", "village")}
    assert "Column 'kind' is read as a category, of 2 different values." in cube.notes
    assert cube.values[:, 0, 3].tolist() == [0, 10, 20]
    assert cube.values[:, -1, 4].tolist() == [0, 1, 0]


def test_rows_that_hold_only_what_is_known_ahead_are_the_future():
    table = shops(30, ahead=4)
    table.loc[(table["shop"] == "b") & (table["day"] >= "2024-02-02"), "price"] = NAN
    cube = load_cube(table, Columns(**ROLES))
    assert cube.lengths.tolist() == [30, 30, 30]
    assert not np.isnan(cube.values[0, 30:, 2]).any()
    assert np.isnan(cube.values[0, 30:, 0]).all()
    assert "12 steps at the ends of 3 of 3 series hold only what is known ahead" in notes(cube)
    assert "missing" not in notes(cube).replace("4 of 90 values of 'price' are missing", "")
    # Nothing of it is left where the series are cut.
    assert cube.until(np.array([20, 30, 10])).values.shape[1] == 30


def test_an_empty_target_is_a_missing_value_where_nothing_is_known_ahead():
    cube = load_cube(shops(30, ahead=4), Columns(**ROLES | {"future": (), "features": "price"}))
    assert cube.lengths.tolist() == [34, 34, 34]
    assert "12 of 102 values of 'sold' are missing" in notes(cube)


def test_a_static_column_is_the_first_value_from_there_on():
    table = shops(10)
    table.loc[[0, 1, 5], "size"] = [NAN, NAN, 99.0]
    cube = load_cube(table, Columns(**ROLES))
    assert cube.values[0, :4, 3].tolist()[2:] == [0, 0]
    assert np.isnan(cube.values[0, :2, 3]).all()
    assert cube.values[0, 5, 3] == 0
    assert "'size' is named as static, but varies within 1 of 3 series" in notes(cube)


def test_arrays_have_covariates_too():
    values = np.random.default_rng(0).normal(size=(4, 50, 4))
    values[..., 2] = np.arange(4)[:, None] % 2
    values[..., 3] = np.arange(4)[:, None]
    values[:, 45:, :1] = NAN
    columns = Columns(future="x1", static=["x2", "x3"], categories="x2")
    cube = load_cube(values, columns)
    assert (cube.ahead, cube.static, cube.levels) == ((1,), (2, 3), {2: ("0", "1")})
    assert cube.lengths.tolist() == [45] * 4
    model = quick(future="x1", static=("x2", "x3"), categories="x2").fit(values)
    assert np.isfinite(model.predict(values)).all()
    with pytest.raises(DataError, match="have no input 'x9'; theirs are x1, x2, x3"):
        load_cube(values, Columns(future="x9"))


@pytest.mark.parametrize("values", [[3, 1, 3, 2], ["3", "1", "3", "2"], [3.0, 1.0, 3.0, 2.0]])
def test_numbers_are_categories_if_asked_for(values):
    table = pd.DataFrame({"y": np.arange(4.0), "size": values, "day": pd.to_datetime(DAYS[:4])})
    cube = load_cube(table, Columns("y", features="size", categories="size"))
    assert cube.levels == {1: ("1", "2", "3")}
    assert cube.values[0, :, 1].tolist() == [2, 0, 2, 1]
    assert load_cube(table, Columns("y", features="size")).levels == {}


def test_long_numbers_of_an_array_stay_different_categories():
    values = np.zeros((1, 4, 2))
    values[0, :, 1] = [1000001, 1000002, 1000003, 1000001]
    cube = load_cube(values, Columns(categories="x1"))
    assert cube.levels == {1: ("1000001", "1000002", "1000003")}


def test_a_number_amid_text_has_the_name_that_it_has_among_numbers():
    table = pd.DataFrame({"y": np.arange(4.0), "shop": ["01", "A1", "02", "01"]})
    cube = load_cube(table, Columns("y", features="shop", categories="shop"))
    assert cube.levels == {1: ("1", "2", "A1")}
    assert cube.values[0, :, 1].tolist() == [0, 2, 1, 0]
    numbers = load_cube(table.iloc[[0, 2]], cube.columns)
    assert numbers.levels == {1: ("1", "2")}


def test_what_is_hardly_numbers_is_a_category_and_a_slip_is_refused(tmp_path):
    texts = ["10", "big", "small", "", "big"]
    table = [("y", "size"), *zip(range(5), texts, strict=True)]
    cube = cube_of(tmp_path, table, target="y", features="size")
    assert cube.levels == {1: ("10", "big", "small")}
    assert "1 of 5 values of 'size' are missing" in notes(cube)
    table = [("y", "size"), *zip(range(4), ["1", "2", "x", "4"], strict=True)]
    with pytest.raises(DataError, match=r"'size' .* is read as numbers, but line 4 holds 'x'"):
        cube_of(tmp_path, table, target="y", features="size")


@pytest.mark.parametrize("empty", [[None, None], ["", "NA"], [NAN, NAN]])
def test_a_category_that_is_empty_is_missing_throughout(empty):
    table = pd.DataFrame({"y": [1.0, 2.0], "kind": empty})
    cube = load_cube(table, Columns("y", features="kind", categories="kind"))
    assert cube.levels == {1: ()}
    assert "2 of 2 values of 'kind' are missing" in notes(cube)


def test_typed_categories_are_categories():
    sizes = pd.Categorical([1, 2, 2, 1])
    table = pd.DataFrame({"y": np.arange(4.0), "size": sizes})
    assert load_cube(table, Columns("y", features="size")).levels == {1: ("1", "2")}


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"future": "sold"}, "'sold' of .* named twice, as target and as future"),
        ({"features": "price"}, "'price' of .* named twice, as feature and as future"),
        ({"categories": "moon"}, "'moon' is named as a category, and not as an input"),
        ({"static": "moon"}, "has no column 'moon'"),
    ],
)
def test_roles_that_cannot_be(roles, message):
    with pytest.raises(DataError, match=message):
        load_cube(shops(10), Columns(**ROLES | roles))


def test_the_id_may_be_a_static_category():
    cube = load_cube(shops(10), Columns(**ROLES | {"static": "shop"}))
    assert cube.levels[3] == ("a", "b", "c")


# What is forecast.


def fitted(table, **arguments):
    roles = {"hidden_size": 8, "epochs": 40, "learning_rate": 2e-2, "batch_size": 32}
    return quick(**{**ROLES, **roles, **arguments}).fit(table)


def test_what_is_known_ahead_makes_better_forecasts():
    table = shops(60, ahead=3)
    truth = shops(63).groupby("shop").tail(3)["sold"].to_numpy().reshape(3, 3)
    knows, guesses = fitted(table), fitted(table, future=(), features=("rain", "price"))
    last = table.dropna(subset="sold")
    errors = [np.abs(m.predict(d) - truth).mean() for m, d in ((knows, table), (guesses, last))]
    assert errors[0] < 1.5
    assert errors[1] > 2.5
    times = knows.predict_table(table)["time"].to_pylist()
    assert [str(t)[:10] for t in times[:3]] == ["2024-03-01", "2024-03-02", "2024-03-03"]


def test_a_forecast_reads_the_future_of_those_columns_only():
    table = shops(60, ahead=3)
    model = fitted(table, epochs=2)
    before = model.predict(table)
    for column, reads in (("price", True), ("size", False), ("kind", False)):
        other = table.copy()
        rows = other["day"] >= "2024-03-01"
        other.loc[rows, column] = "x" if column == "kind" else 7.0
        assert np.array_equal(model.predict(other), before) != reads
    # Without rows for it the future is not known, which is said and no error.
    cube = model.model_.load(table.dropna(subset="sold"))
    assert np.isfinite(model.predict(cube)).all()
    assert "'price' is not known for all of the next 3 steps of 3 of 3 series" in notes(cube)


def test_a_series_that_is_not_trained_on_teaches_no_category():
    table = shops(40)
    table = table[(table["shop"] != "b") | (table["day"] < "2024-01-12")]
    model = fitted(table, epochs=1)
    assert model.model_.encoding.categories[4] == ("city",)
    assert "1 of 3 series have no training window" in " ".join(model.notes_)


def test_a_new_category_has_a_row_of_its_own():
    table = shops()
    model = fitted(table, epochs=2)
    new, newer = table.copy(), table.copy()
    new.loc[new["shop"] == "a", "kind"] = "island"
    newer.loc[newer["shop"] == "a", "kind"] = "moon"
    cube = model.model_.load(new)
    assert "1 of 3 categories of 'kind' are new to the model, and the same to it: 'island'" in (
        notes(cube)
    )
    forecasts = [model.predict(t) for t in (table, new, newer)]
    assert not np.array_equal(forecasts[0][0], forecasts[1][0])
    assert np.array_equal(forecasts[1], forecasts[2])
    assert np.array_equal(forecasts[0][1:], forecasts[1][1:])


def test_codes_are_those_of_the_model_whatever_else_the_data_holds():
    table = shops()
    model = fitted(table, epochs=2)
    alone = table[table["shop"] == "b"]  # of "village" alone, which is number 0 there
    assert np.array_equal(model.predict(alone)[0], model.predict(table)[1])


def test_a_model_of_all_of_it_comes_back_equal(tmp_path):
    table = shops(60, ahead=3)
    model = fitted(table, epochs=2, calendar=("weekday", "day"), scaling="robust", per="global")
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    assert same_weights(loaded, model)
    assert np.array_equal(loaded.predict(table), model.predict(table))
    assert loaded.get_params() == model.get_params()
    assert loaded.model_.encoding == model.model_.encoding
    assert "Of the calendar weekday, day are read." in model.notes_


def test_other_kinds_of_columns_are_refused():
    table = shops()
    model = fitted(table, epochs=1)
    table["kind"] = 3.0
    assert np.isfinite(model.predict(table)).all()  # a category named 3, which is new
    table["price"] = "cheap"
    with pytest.raises(DataError, match="'price' of the data frame is read as numbers, but row 1"):
        model.predict(table)
    cube = load_cube(np.zeros((1, 60, 5)))
    with pytest.raises(DataError, match="categories of the model are x1, x4, those of the data no"):
        model.predict(cube)


def test_the_calendar_makes_a_weekly_pattern_known():
    days = np.arange(200)
    weekly = np.where(days % 7 == 0, 10.0, 0.0)
    random = np.random.default_rng(0)
    table = pd.DataFrame({
        "day": pd.date_range("2024-01-01", periods=200),
        "sold": weekly + random.normal(0, 0.1, 200),
    })  # fmt: skip
    # Two steps of context cannot tell which day of the week it is.
    options = {"context": 2, "horizon": 7, "epochs": 60, "hidden_size": 12, "learning_rate": 2e-2}
    errors = []
    for calendar in (("weekday",), False):
        model = quick(**options, calendar=calendar).fit(table[:180])
        errors.append(model.evaluate(table, np.array([180])).errors()["lstm"].mae)
    assert errors[0] < 0.6
    assert errors[1] > 1


# The command line.


def test_the_command_line_takes_every_role_of_a_column(tmp_path):
    path = tmp_path / "shops.csv"
    shops(60, ahead=3).to_csv(path, index=False)
    roles = ["--target", "sold", "--id", "shop", "--feature", "rain", "--future", "price",
             "--static", "size", "--static", "kind", "--category", "size"]  # fmt: skip
    checked = done("check", path, *roles, "--horizon", 3).out
    assert "9 steps at the ends of 3 of 3 series hold only what is known ahead" in checked
    run = tmp_path / "run"
    done("fit", "forecast", path, *roles, "--calendar", "auto", "--scaling", "robust", "--per",
         "global", "--horizon", 3, "--out", run, *TINY)  # fmt: skip
    forecasts = done("predict", run, path).out.splitlines()
    assert len(forecasts) == 1 + 9
    assert '"a",2024-03-01,1,' in forecasts[1].replace(" 00:00:00", "")
    model = gw.Forecaster.load(run)
    assert model.model_.encoding.calendar == ("weekday",)
    assert model.model_.encoding.categories[3] == ("0", "10", "20")
    refused("fit", "forecast", path, *roles, "--calendar", "moon", "--horizon", 3, "--out",
            tmp_path / "other")  # fmt: skip


# Many ids.


def test_thousands_of_ids_are_read_and_scaled_at_once(tmp_path):
    path = write(tmp_path, [("shop", "day", "y"), *((f"s{i:04}", DAYS[t], i + t % 3)
                 for i in range(2000) for t in range(12))])  # fmt: skip
    model = quick(context=3, horizon=2, epochs=1, target="y", time="day", id="shop").fit(path)
    forecast = model.predict(path)
    assert forecast.shape == (2000, 2)
    assert np.abs(forecast.mean(axis=1) - np.arange(2000) - 1).max() < 3
