"""Windows, splits and scaling: cut as a plain loop would cut them, and blind to the future."""

import numpy as np
import pytest
import torch
from data_tools import named, quick, same_weights, sine
from sklearn.preprocessing import RobustScaler

from gatework.data import load_cube
from gatework.data.scaling import COMMON, Scaler
from gatework.data.splits import check_long_enough, check_plan, default_context, held_out, split
from gatework.data.windows import Windows, places
from gatework.errors import DataError

NAN = float("nan")


def ragged():
    """Three series of two features with missing values, of different lengths."""
    random = np.random.default_rng(0)
    series = [random.normal(size=(steps, 2)) for steps in (23, 9, 30)]
    for part in series:
        part[random.random(part.shape) < 0.3] = NAN
        part[-1] = 1.0  # seen, so that a repetition of it behind the end would be too
    return load_cube(series)


# Windows.


@pytest.mark.parametrize(("context", "horizon"), [(1, 1), (4, 3), (7, 2)])
@pytest.mark.parametrize("stride", [1, 3])
def test_places_are_those_of_a_plain_loop(context, horizon, stride):
    cube = ragged()
    begin = np.array([5, 0, 20])
    expected = []
    for row, length in enumerate(cube.lengths):
        first = max(begin[row], context)
        for origin in range(first, length - horizon + 1, stride):
            past = cube.values[row, origin - context : origin, 0]
            future = cube.values[row, origin : origin + horizon, 0]
            if not (np.isnan(past).all() or np.isnan(future).all()):
                expected.append((row, origin))
    rows, origins = places(cube, begin, cube.lengths, context, horizon, stride)
    assert list(zip(rows.tolist(), origins.tolist(), strict=True)) == expected
    assert expected


def test_no_place_at_all():
    rows, origins = places(ragged(), np.zeros(3, int), np.full(3, 4), 4, 3)
    assert (len(rows), len(origins)) == (0, 0)


@pytest.mark.parametrize(("context", "horizon"), [(1, 1), (5, 4), (40, 3)])
def test_batches_equal_slices_with_padding_and_masks(context, horizon):
    cube = ragged()
    # Every origin, also those with a context that begins before the series or at its end.
    pairs = [(row, o) for row, n in enumerate(cube.lengths) for o in range(1, n + 1)]
    rows, origins = (np.array(v) for v in zip(*pairs, strict=True))
    batch = Windows(torch.from_numpy(cube.values), rows, origins, context, horizon).batch(
        np.arange(len(rows))
    )
    for i, (row, origin) in enumerate(pairs):
        past = np.full((context, 2), NAN)
        for step in range(context):
            if origin - context + step >= 0:
                past[step] = cube.values[row, origin - context + step]
        future = np.full(horizon, NAN)
        for step in range(horizon):
            if origin + step < cube.lengths[row]:
                future[step] = cube.values[row, origin + step, 0]
        assert np.array_equal(batch.context[i], np.nan_to_num(past))
        assert np.array_equal(batch.seen[i], ~np.isnan(past))
        assert np.array_equal(batch.target[i], np.nan_to_num(future))
        assert np.array_equal(batch.known[i], ~np.isnan(future))


def test_a_batch_is_in_the_order_of_its_index():
    cube = load_cube(np.arange(20.0))
    rows, origins = places(cube, np.array([0]), cube.lengths, 3, 2)
    batch = Windows(torch.from_numpy(cube.values), rows, origins, 3, 2).batch(torch.tensor([4, 0]))
    assert batch.target.tolist() == [[7, 8], [3, 4]]


# Splits.


@pytest.mark.parametrize("validation", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("horizon", [1, 4])
def test_parts_do_not_overlap_in_time(validation, horizon):
    cube = ragged()
    begin = held_out(cube, horizon)
    cut = split(cube, horizon, validation, begin)
    edges = [(np.zeros(3, int), cut.train), (cut.train, cut.validation), (begin, cube.lengths)]
    last = np.zeros(3, int)
    for start, end in edges:
        rows, origins = places(cube, start, end, 2, horizon)
        for row in range(3):
            targets = [o + h for r, o in zip(rows, origins, strict=True) for h in range(horizon)
                       if r == row]  # fmt: skip
            if targets:
                assert min(targets) >= last[row]
                last[row] = max(targets) + 1
    assert (last > 0).any()


def test_the_test_part_is_a_share_and_holds_a_forecast():
    cube = load_cube([np.ones(100), np.ones(20), np.ones(3)])
    assert held_out(cube, 4).tolist() == [85, 16, 0]
    assert held_out(cube, 4, test=10).tolist() == [90, 10, 0]


def test_validation_is_a_share_and_holds_a_forecast():
    cube = load_cube([np.ones(100), np.ones(20), np.ones(3)])
    cut = split(cube, 6, 0.2)
    assert cut.train.tolist() == [80, 14, 0]
    assert cut.validation.tolist() == [100, 20, 3]
    assert split(cube, 6, 0.0).train.tolist() == [100, 20, 3]


@pytest.mark.parametrize(
    ("steps", "horizon", "season", "context"),
    [(200, 12, 12, 24), (200, 5, 1, 15), (40, 12, 12, 14), (14, 12, 12, 1), (12, 12, 12, 1)],
)
def test_the_default_context(steps, horizon, season, context):
    cut = split(load_cube(np.ones(steps)), horizon, 0.0)
    assert default_context(cut, horizon, season) == context


def test_series_that_are_too_short_are_named_and_all_of_them_refused():
    cube = load_cube([np.ones(30), np.ones(6), np.ones(5)])
    cut = split(cube, 2, 0.0)
    assert check_long_enough(cube, cut, 3, 2) == []
    assert (
        "1 of 3 series have no training window of 6 steps" in check_long_enough(cube, cut, 4, 2)[0]
    )
    with pytest.raises(DataError, match=r"context 40 \+ horizon 2 = 42 steps.*'0'.*has 30 steps"):
        check_long_enough(cube, cut, 40, 2)


def test_a_plan_counts_what_is_held_out():
    cube = load_cube(np.ones(50))
    context, short = check_plan(cube, 10, None, None, held_out(cube, 10))
    assert (context, short) == (10, [])
    with pytest.raises(DataError, match="has 50 steps, 16 of them for training, 34 for validation"):
        check_plan(cube, 17, None, None, held_out(cube, 17))


# Scaling.


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


# Nothing of the future.


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
