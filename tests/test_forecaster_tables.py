"""The forecaster and tables: what it reads of them, what it gives, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from data_tools import DAYS, quick, same_weights, sine

import gatework as gw
from gatework.errors import CellError, DataError

NAN = float("nan")
Y = sine(60, noise=0.3)


def frame(*shops, steps=40):
    return pd.DataFrame(
        [
            (d, s, y, i % 7)
            for s in shops
            for i, (d, y) in enumerate(zip(DAYS, sine(steps), strict=False))
        ],
        columns=["day", "shop", "sold", "price"],
    )


def test_forecasts_as_a_table_continue_the_time_of_each_series():
    data = pd.concat([frame("a"), frame("b", steps=45)])
    model = quick(target="sold", id="shop", time="day").fit(data)
    table = model.predict_table(data).to_pydict()
    assert table["id"] == ["a"] * 3 + ["b"] * 3
    assert [str(t) for t in table["time"]] == DAYS[40:43] + DAYS[45:48]
    assert table["step"] == [1, 2, 3] * 2
    np.testing.assert_array_equal(np.reshape(table["sold"], (2, 3)), model.predict(data))


def test_a_target_called_like_another_column_of_that_table():
    data = frame("a").rename(columns={"sold": "step"})
    table = quick(target="step", time="day").fit(data).predict_table(data)
    assert table.column_names == ["id", "time", "step", "forecast"]
    assert table["step"].to_pylist() == [1, 2, 3]


def test_rows_without_a_forecast_are_empty_in_the_table():
    blind = frame("a", "b")
    blind.loc[(blind["shop"] == "b") & (blind.index > 70), "sold"] = NAN
    table = quick(target="sold", id="shop").fit(frame("a", "b")).predict_table(blind)
    assert [v is None for v in table["sold"].to_pylist()] == [False] * 3 + [True] * 3


def test_columns_that_were_found_are_those_that_are_read_later(tmp_path):
    data = frame("a")[["day", "sold"]]
    model = quick().fit(data)
    model.save(tmp_path)
    wider = frame("a")[["price", "day", "sold"]]
    for one in (model, gw.Forecaster.load(tmp_path)):
        assert np.array_equal(one.predict(wider), model.predict(data))
        assert one.predict_table(wider).column_names[1:] == ["time", "step", "sold"]
        with pytest.raises(DataError, match="no column 'sold'"):
            one.predict("sunspots")


def test_a_single_row_is_dated_by_the_step_of_the_model():
    model = quick(target="sold", id="shop", time="day").fit(frame("a"))
    table = model.predict_table(frame("a", "b").drop_duplicates("shop", keep="last"))
    assert [str(t) for t in table["time"].to_pylist()[:3]] == DAYS[40:43]


def test_one_feature_may_be_given_as_text(tmp_path):
    model = quick(target="sold", features="price").fit(frame("a"))
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    assert loaded.features == "price"
    assert same_weights(loaded.fit(frame("a")), model)
    one, two = (quick(target="sold", features=f).fit(frame("a")) for f in ("price", ["price"]))
    assert one.model_.names == two.model_.names == ("sold", "price")
    assert same_weights(one, two)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.drop(columns="price"), "no column 'price'"),
        (lambda f: f.assign(day=pd.date_range("2020", periods=len(f), freq="h")),
         "fitted on steps of 1 day, the data has steps of 1 hour"),
        (lambda f: f.assign(sold="many"), "row 1 holds 'many'"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_the_model(change, reason):
    model = quick(target="sold", time="day", features=["price"]).fit(frame("a"))
    with pytest.raises(DataError, match=reason):
        model.predict(change(frame("a")))


def test_other_features_than_in_training():
    with pytest.raises(DataError, match=r"fitted on 1 features \['y'\], the data has 2"):
        quick().fit(Y).predict(np.ones((1, 60, 2)))


@pytest.mark.parametrize("arguments", [{"horizon": 100, "context": None}, {"context": 80}])
def test_windows_longer_than_the_series(arguments):
    with pytest.raises(DataError, match="No series is long enough: a window is context") as caught:
        quick(**arguments).fit(Y)
    assert "\n" not in str(caught.value)


def test_nothing_but_missing_values_in_reach():
    sparse = np.full(60, NAN)
    sparse[[0, 59]] = 1.0
    with pytest.raises(DataError, match="too many values are missing"):
        quick().fit(sparse)


def test_an_unknown_cell():
    with pytest.raises(CellError, match="Did you mean 'lstm'"):
        quick(cell="lsmt").fit(Y)
