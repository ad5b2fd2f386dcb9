"""Nothing of the time to come: not in what is fitted, nor in windows, nor in forecasts."""

import numpy as np
import pandas as pd
import pytest
from data_tools import ROLES, named, quick, same_weights, shops, sine

from gatework.data import Columns, load_cube
from gatework.data.encoding import Encoding
from gatework.data.scaling import Scaler
from gatework.data.splits import held_out, split

NAN = float("nan")


@pytest.mark.parametrize("scaling", ["standard", "robust", "log"])
@pytest.mark.parametrize("per", ["series", "global"])
def test_whatever_comes_after_the_cut_nothing_fitted_changes(scaling, per):
    table = shops(60, seed=1)
    table.loc[[5, 6, 70], ["sold", "rain"]] = None  # gaps, and a category that is missing
    other = table.copy()
    ends = other["shop"].map({"a": 45, "b": 30, "c": 40})
    after = other["day"] >= np.datetime64("2024-01-01") + pd.to_timedelta(ends, "D")
    random = np.random.default_rng(9)
    count = after.sum()
    other.loc[after, "sold"] = random.uniform(0, 1e6, count)
    other.loc[after, "rain"] = random.choice(["hail", "fog", None], count)
    other.loc[after, "price"] = random.choice([NAN, -1e5, 1e5], count)
    other.loc[after, "size"] = 1e6
    other.loc[after, "kind"] = "desert"
    models = []
    for data in (table, other):
        cube = load_cube(data, Columns(**ROLES))
        model = quick(**ROLES, scaling=scaling, per=per, calendar=True, epochs=2)
        models.append(model.fit(cube.until(np.array([45, 30, 40]))))
    one, two = models
    assert one.scaler_.to_dict() == two.scaler_.to_dict()
    assert one.model_.encoding == two.model_.encoding
    assert one.model_.encoding.gaps == (0,)
    assert one.history_ == two.history_
    assert same_weights(one, two)


def test_the_encoding_is_of_the_training_part():
    # What a cube holds behind the cut, which is not cut off here, reaches nothing that is fitted.
    table = shops(60)
    late = table["day"] >= np.datetime64("2024-01-01") + 45
    table.loc[late, "rain"] = "hail"
    table.loc[late, "sold"] = NAN
    cube = load_cube(table, Columns(**ROLES))
    found = Encoding.fit(cube, np.full(3, 45), calendar=True)
    assert found.categories == {1: ("dry", "wet"), 4: ("city", "village")}
    assert found.gaps == ()
    assert found.calendar == ("weekday",)
    assert Encoding.fit(cube, np.full(3, 50)).categories[1] == ("dry", "hail", "wet")
    again = Encoding.from_dict(found.to_dict())
    assert again == found


def disturbed(y, start, end):
    """The same series with every value of a part replaced."""
    other = y.copy()
    other[start:end] = -500 + 1000 * np.random.default_rng(9).random(end - start)
    return other


@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_the_validation_part_does_not_reach_into_training(scaling):
    y = sine(80, noise=0.3)
    train = split(load_cube(y), 3, 0.25).train[0]
    assert train == 60
    fits = [
        quick(validation=0.25, scaling=scaling, epochs=1).fit(series)
        for series in (y, disturbed(y, train, 80))
    ]
    # One epoch, so that the choice of the best one, which may differ, is no choice.
    assert same_weights(*fits)
    assert fits[0].scaler_.to_dict() == fits[1].scaler_.to_dict()
    assert fits[0].history_[0]["train"] == fits[1].history_[0]["train"]
    assert fits[0].history_[0]["validation"] != fits[1].history_[0]["validation"]


def test_what_is_held_out_reaches_into_nothing():
    y = sine(80, noise=0.3)
    fits = []
    for series in (y, disturbed(y, 68, 80)):
        cube = load_cube(series)
        fits.append(quick(epochs=3).fit(cube.until(held_out(cube, 3, 12))))
    assert same_weights(*fits)
    assert fits[0].history_ == fits[1].history_


@pytest.mark.parametrize("method", ["standard", "robust", "log", "none"])
@pytest.mark.parametrize("per", ["series", "global"])
def test_a_scale_is_of_each_series_up_to_its_own_end(method, per):
    ends = np.array([20, 50, 35])
    calm = np.stack([sine(60, noise=0.3, seed=seed) for seed in range(3)])
    wild = np.stack([disturbed(y, end, 60) for y, end in zip(calm, ends, strict=True)])
    one, two = (Scaler.fit(named(np.abs(y)), ends, method, per=per) for y in (calm, wild))
    assert one.to_dict() == two.to_dict()


def test_a_disturbed_training_part_does_matter():
    # The tests above would pass for a forecaster that ignores its data.
    y = sine(80, noise=0.3)
    assert not same_weights(quick().fit(y), quick().fit(disturbed(y, 50, 55)))


@pytest.mark.parametrize("known", [True, False])
def test_a_forecast_does_not_depend_on_what_follows_it(known):
    y = sine(80, noise=0.3)
    model = quick().fit(named([y]) if known else [sine(80), sine(80, phase=1)])
    cubes = [named([part]) if known else load_cube([part]) for part in (y, disturbed(y, 40, 80))]
    one, two = (model.evaluate(cube, np.array([40])).forecasts for cube in cubes)
    for name in one:
        assert np.array_equal(one[name][0], two[name][0]), name
        assert not np.array_equal(one[name][5], two[name][5]), name
