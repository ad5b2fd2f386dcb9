"""Scaling: against formulas by hand, there and back."""

import numpy as np
import pytest
from data_tools import named, ragged, sine
from sklearn.preprocessing import RobustScaler

from gatework.data import load_cube
from gatework.data.scaling import COMMON, Scaler
from gatework.errors import DataError

NAN = float("nan")


def all_of(cube):
    return Scaler.fit(cube, cube.lengths, "standard")


@pytest.mark.parametrize("method", ["standard", "robust", "log", "none"])
def test_scaling_there_and_back(method):
    cube = load_cube([np.exp(sine(40) / 4), 1000 + sine(30), np.full(20, 7.0)])
    scaler = Scaler.fit(cube, cube.lengths, method)
    scaled = scaler.scaled(cube)
    assert np.array_equal(np.isnan(scaled), np.isnan(cube.values))
    for row in range(3):
        there = scaled[[row], : cube.lengths[row], 0]
        back = scaler.unscaled(cube, np.array([row]), there)
        # The scaled cube is float32.
        np.testing.assert_allclose(back[0], cube.series(row)[:, 0], rtol=2e-6)


def test_standard_scaling_is_the_textbook_formula_on_the_training_part():
    y = sine(40, noise=1.0)
    y[3] = NAN
    cube = load_cube(np.stack([y, y * 2], axis=1)[None])
    scaled = Scaler.fit(cube, np.array([30]), "standard").scaled(cube)
    part = cube.values[0, :30]
    expected = (cube.values[0] - np.nanmean(part, axis=0)) / np.nanstd(part, axis=0)
    np.testing.assert_allclose(scaled[0], expected, rtol=1e-5, atol=1e-6)


def test_log_scaling_is_of_the_target_only():
    y = np.exp(sine(40, noise=0.5) / 4)
    cube = named(np.stack([y, -y], axis=1)[None])
    scaler = Scaler.fit(cube, cube.lengths, "log")
    logs = np.log1p(y)
    np.testing.assert_allclose(
        scaler.scaled(cube)[0, :, 0], (logs - logs.mean()) / logs.std(), atol=1e-5
    )
    assert scaler.center["0"][1] == pytest.approx(-y.mean())


@pytest.mark.parametrize("value", [0.3, -1e9 / 3, 0.0])
def test_a_constant_series_is_centred_and_not_scaled(value):
    # NumPy's deviation of ten times 0.3 is 5.6e-17, and nothing to divide by.
    scaler = all_of(named(np.full(10, value)))
    assert scaler.spread["0"].tolist() == [1.0]
    assert np.abs(scaler.scaled(named(np.full(10, value)))).max() < 1e-6


def test_a_small_spread_on_a_large_level_is_a_spread():
    y = 1e5 + 1e-3 * sine(40)
    assert all_of(named(y)).spread["0"][0] == pytest.approx(y.std())


@pytest.mark.parametrize("worst", [-1.0, -5.0])
def test_log_refuses_what_has_no_logarithm(worst):
    cube = named([sine(20), np.array([1.0, worst, NAN])])
    with pytest.raises(DataError, match=f"Series '1' holds {worst:g}; scaling 'log'"):
        Scaler.fit(cube, cube.lengths, "log")
    assert Scaler.fit(named([0.0, -0.99]), np.array([2]), "log")


def test_values_whose_square_is_too_large_are_refused():
    with pytest.raises(DataError, match="reach 1e\\+307, which is too large to be scaled"):
        all_of(named(np.array([1e307, -1e307, 1e307])))


@pytest.mark.parametrize("method", ["none", "standard"])
def test_what_float32_could_not_hold_is_refused(method):
    scaler = Scaler.fit(named([sine(30)]), np.array([30]), method)
    with pytest.raises(DataError, match="Series '0' reaches 1e\\+38, which is too large"):
        scaler.scaled(named([np.r_[sine(30), 1e38]]))


def test_constant_series_ask_for_no_ids():
    cube = load_cube([np.full(30, 5.0), 100 * sine(30)])
    assert all_of(cube).notes(cube, cube.lengths) == []


def test_an_unknown_method():
    cube = named([1.0, 2.0])
    with pytest.raises(DataError, match="no scaling 'minmax'; choose one of standard, robust"):
        Scaler.fit(cube, cube.lengths, "minmax")


def test_a_new_series_is_scaled_by_what_lies_before_its_first_forecast():
    known = all_of(named(sine(40)))
    new = named([sine(40), np.arange(100.0)])
    scaler = known.extended(new, np.array([40, 10]))
    assert scaler.center["0"] == known.center["0"]
    assert scaler.center["1"].tolist() == [4.5]  # the mean of 0 .. 9
    assert "1" not in known.center


def test_series_without_an_id_share_one_scale():
    low, high = sine(40, noise=1.0), 1000 + sine(50, noise=9.0)
    parts = low[:30], high[:40]
    cube, ends = load_cube([low, high]), np.array([30, 40])
    together = np.concatenate(parts)
    other = load_cube([np.arange(60.0)])
    center, spread = Scaler.fit(cube, ends, levels=False).of(other, 0)
    assert (center[0], spread[0]) == pytest.approx((together.mean(), together.std()))
    # Without their levels: how far each one strays from its own mean.
    center, spread = Scaler.fit(cube, ends).of(other, 0)
    around = np.concatenate([part - part.mean() for part in parts])
    assert (center[0], spread[0]) == pytest.approx((together.mean(), around.std()))


def test_the_place_of_a_series_in_an_array_is_no_id():
    named_ones = named([sine(40), 50 * sine(40)])  # with the ids "0" and "1"
    scaler = all_of(named_ones)
    center, spread = scaler.of(load_cube([sine(40)]), 0)
    assert (center[0], spread[0]) == (scaler.center[COMMON][0], scaler.spread[COMMON][0])
    assert center[0] != scaler.center["0"][0]
    array = load_cube([sine(40), sine(40)])
    assert list(all_of(array).extended(array, array.lengths).center) == [COMMON]


def test_an_array_of_one_series_is_scaled_as_that_series():
    y = sine(40, noise=1.0)
    array, table = (Scaler.fit(c, np.array([30])).of(c, 0) for c in (load_cube([y]), named([y])))
    np.testing.assert_allclose(array, table, rtol=1e-12)


def test_constant_series_without_an_id_are_not_scaled():
    scaler = all_of(load_cube([np.full(10, 0.3), np.full(9, 1e9 / 3)]))
    assert scaler.of(load_cube([np.ones(3)]), 0)[1].tolist() == [1.0]


def test_a_series_without_a_training_value_counts_as_new():
    cube = named([sine(30), np.r_[np.full(20, NAN), np.full(10, 1000.0)]])
    assert list(Scaler.fit(cube, np.array([20, 20])).center) == [COMMON, "0"]


def test_a_scaler_survives_as_plain_data():
    scaler = all_of(ragged())
    again = Scaler.from_dict(scaler.to_dict())
    assert np.array_equal(again.scaled(ragged()), scaler.scaled(ragged()), equal_nan=True)


@pytest.mark.parametrize("steps", [3, 7, 40])
def test_robust_scaling_is_that_of_the_median_and_the_quartiles(steps):
    y = np.random.default_rng(1).standard_cauchy((3, steps, 2))
    y[1, steps // 2] = NAN
    cube = named(y)
    scaler = Scaler.fit(cube, cube.lengths, "robust")
    for row, name in enumerate(cube.ids):
        witness = RobustScaler().fit(y[row])
        np.testing.assert_allclose(scaler.center[name], witness.center_, rtol=1e-12)
        np.testing.assert_allclose(scaler.spread[name], witness.scale_ / 1.349, rtol=1e-9)
    together = RobustScaler().fit(y.reshape(-1, 2))
    np.testing.assert_allclose(scaler.center[COMMON], together.center_, rtol=1e-12)
    np.testing.assert_allclose(scaler.spread[COMMON][1], together.scale_[1] / 1.349, rtol=1e-9)


def test_one_wild_value_does_not_matter_to_robust_scaling():
    y = sine(60, noise=0.5)
    wild = y.copy()
    wild[10] = 1e6
    calm, other = (Scaler.fit(named(v), np.array([60]), "robust") for v in (y, wild))
    np.testing.assert_allclose(other.of(named(y), 0), calm.of(named(y), 0), rtol=0.05)


def test_mostly_equal_values_are_scaled_robustly_by_their_deviation():
    y = np.r_[np.zeros(30), 5.0]
    assert Scaler.fit(named(y), np.array([31]), "robust").spread["0"][0] == pytest.approx(
        np.sqrt(25 / 31)
    )


def test_one_scale_for_all_series_if_asked_for():
    low, high = sine(40, noise=1.0), 1000 + sine(50, noise=9.0)
    cube = named([low, high])
    scaler = Scaler.fit(cube, cube.lengths, levels=False, per="global")
    assert list(scaler.center) == [COMMON]
    assert scaler.of(cube, 0)[0][0] == pytest.approx(np.r_[low, high].mean())
    assert Scaler.from_dict(scaler.to_dict()).per == "global"
    with pytest.raises(DataError, match="no per 'id'; choose one of series, global"):
        Scaler.fit(cube, cube.lengths, per="id")


@pytest.mark.parametrize("method", ["standard", "robust"])
def test_a_series_is_scaled_the_same_beside_any_others(method):
    random = np.random.default_rng(0)
    series = {f"s{i}": random.normal(i, 1 + i, random.integers(1, 300)) for i in range(40)}
    together = load_cube(series)
    scaler = Scaler.fit(together, together.lengths, method)
    for name, values in series.items():
        alone = load_cube({name: values})
        found = Scaler.fit(alone, alone.lengths, method)
        assert found.center[name] == scaler.center[name]
        assert found.spread[name] == scaler.spread[name]
