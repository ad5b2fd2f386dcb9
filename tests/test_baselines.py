"""What a model is held against: by hand, and beside scikit-learn's ridge regression."""

import numpy as np
import pytest
import torch
from data_tools import named, quick, sine
from sklearn.linear_model import Ridge

import gatework as gw
from gatework.data import load_cube
from gatework.data.windows import Windows, places
from gatework.errors import ModelError
from gatework.tasks import baselines, saving
from gatework.tasks.baselines import LinearModel, Reader, naive_forecasts
from gatework.tasks.inputs import Layout

NAN = float("nan")
Y = sine(60, noise=0.3)


def test_naive_and_seasonal_by_hand():
    y = np.array([1, 2, 3, 4, 5, 6, NAN, 8, 9, NAN, 11, 12, 13, 14])
    found = naive_forecasts(load_cube(y), np.array([0, 0]), np.array([7, 10]), 5, 4)
    # The last value before step 7 is the 6 of step 5, before step 10 the 9 of step 8.
    assert found["naive"].tolist() == [[6] * 5, [9] * 5]
    # Four steps back, and eight for the fifth; step 6 is missing, so 10 takes what 2 had,
    # and step 13 that of 9, which is missing: that of 5.
    assert found["seasonal naive"].tolist() == [[4, 5, 6, 3, 4], [3, 8, 9, 6, 3]]


def test_drift_by_hand():
    y = np.array([NAN, 2, 5, 3, 8, NAN, 1, 1])
    found = naive_forecasts(load_cube(y), np.array([0, 0, 0]), np.array([6, 2, 1]), 3, 1)["drift"]
    # From 2 at step 1 to 8 at step 4: 2 a step; the forecasts are 2, 3 and 4 steps behind it.
    assert found[0].tolist() == [12, 14, 16]
    assert found[1].tolist() == [2, 2, 2]  # one value makes no line
    assert np.isnan(found[2]).all()


def test_no_season_no_seasonal_row_and_no_earlier_season_the_last_value():
    cube = load_cube(np.arange(1.0, 9))
    found = naive_forecasts(cube, np.array([0]), np.array([3]), 2, 1)
    assert list(found) == ["naive", "drift"]
    found = naive_forecasts(cube, np.array([0]), np.array([3]), 4, 5)
    assert found["seasonal naive"].tolist() == [[3, 3, 1, 2]]


def windows_of(values, context=5, horizon=3):
    cube = load_cube(values)
    found = places(cube, np.zeros_like(cube.lengths), cube.lengths, context, horizon)
    return Windows(torch.from_numpy(cube.values), *found, context, horizon)


@pytest.mark.parametrize("relative", [True, False])
def test_the_linear_model_is_scikit_learns_ridge(relative):
    random = np.random.default_rng(0)
    windows = windows_of(random.normal(5, 1, (3, 30, 2)))
    inputs = [windows.scaled[r, o - 5 : o].numpy().copy() for r, o in _each(windows)]
    outputs = [windows.scaled[r, o : o + 3, 0].numpy().copy() for r, o in _each(windows)]
    levels = [x[-1, 0] if relative else 0.0 for x in inputs]
    for x, level in zip(inputs, levels, strict=True):
        x[:, 0] -= level
    outputs = [y - level for y, level in zip(outputs, levels, strict=True)]
    ridge = Ridge().fit([x.ravel() for x in inputs], outputs)
    expected = ridge.predict([x.ravel() for x in inputs]) + np.array(levels)[:, None]
    model = LinearModel.fit(windows, Reader(Layout((0, 1)), relative))
    np.testing.assert_allclose(model.forecast(windows), expected, rtol=1e-9)


def _each(windows):
    return zip(windows.rows, windows.origins, strict=True)


def test_windows_with_unknown_steps_do_not_count():
    y = sine(40, noise=0.5)
    gap = y.copy()
    gap[20] = NAN
    windows = windows_of(gap[None])
    rows = [o for _, o in _each(windows) if not o <= 20 < o + 3]
    x = np.array([np.nan_to_num(gap[o - 5 : o]) for o in rows])
    ridge = Ridge().fit(x, [gap[o : o + 3] for o in rows])
    reader = Reader(Layout(), relative=False)
    model = LinearModel.fit(windows, reader)
    np.testing.assert_allclose(model.weight.numpy(), ridge.coef_.T, rtol=1e-9, atol=1e-12)
    assert LinearModel.fit(windows_of([y[:6], [*y[:6], NAN, NAN]]), reader) is None


def test_wide_contexts_are_read_by_the_target_alone(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1, 40, 3))
    alone = LinearModel.fit(windows_of(values[..., :1]), Reader(Layout(), relative=True))
    reader = Reader(Layout((0, 1, 2)), relative=True)
    monkeypatch.setattr(baselines, "WIDEST", 14)  # of 15
    model = LinearModel.fit(windows_of(values), reader)
    assert torch.equal(model.weight, alone.weight)
    (said,) = reader.words(5, 3)
    assert "at most 14 numbers of a window, and this one holds 15: it reads the last 5" in said
    monkeypatch.setattr(baselines, "WIDEST", 2)
    model = quick(context=5, epochs=1, features="x1").fit(values[..., :2])
    assert any("this one holds 10: it reads the last 2 values of the" in n for n in model.notes_)
    assert not reader.words(0, 3)
    assert LinearModel.fit(windows_of(values), reader).weight.shape == (2, 3)
    monkeypatch.setattr(baselines, "MOST_WINDOWS", 10)
    monkeypatch.setattr(baselines, "AT_ONCE", 3)
    few = LinearModel.fit(windows_of(values), reader)
    assert few.weight.isfinite().all()
    assert not torch.equal(few.weight, alone.weight[-2:])


def test_a_forecaster_is_held_against_what_was_fitted_on_its_training_windows():
    series = [Y, 5 * sine(70, noise=0.2, seed=1)]
    model = quick(season=8, epochs=1).fit(named(series))
    said = model.predict_baselines(named(series))
    assert list(said) == ["naive", "seasonal naive", "drift", "linear"]
    np.testing.assert_array_equal(said["naive"], [[y[-1]] * 3 for y in series])
    np.testing.assert_array_equal(said["seasonal naive"], [y[-8:-5] for y in series])
    # By hand, in the user's units: the training part is all but the last 20 %.
    x, y = [], []
    for position, values in enumerate(series):
        center, spread = (v[0] for v in model.scaler_.of(named(series), position))
        scaled = (values[: len(values) - round(len(values) * 0.2)] - center) / spread
        for origin in range(6, len(scaled) - 2):
            x.append(scaled[origin - 6 : origin] - scaled[origin - 1])
            y.append(scaled[origin : origin + 3] - scaled[origin - 1])
    ridge = Ridge().fit(x, y)
    for values, found in zip(series, said["linear"], strict=True):
        spread = np.std(values[: len(values) - round(len(values) * 0.2)])
        step = ridge.predict([(values[-6:] - values[-1]) / spread])[0] * spread
        np.testing.assert_allclose(found, values[-1] + step, rtol=1e-5)
    evaluation = model.evaluate(named(series), np.array([57, 67]))
    assert list(evaluation.forecasts) == ["lstm", *said]


def test_a_series_with_nothing_to_see_has_no_linear_forecast():
    found = quick(epochs=1).fit([Y, Y]).predict_baselines([Y, [*Y[:-6], *[NAN] * 6]])
    assert np.isfinite(found["linear"][0]).all()
    assert np.isnan(found["linear"][1]).all()


@pytest.mark.parametrize("options", [{}, {"scaling": "log", "relative": False}])
def test_the_linear_model_is_saved(tmp_path, options):
    model = quick(epochs=1, **options).fit(Y)
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    assert np.array_equal(
        loaded.predict_baselines(Y)["linear"], model.predict_baselines(Y)["linear"]
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: {**a, "linear.bias": np.zeros(4)},
        lambda a: {"linear.weight": a["linear.weight"]},
        lambda a: {**a, "linear.weight": np.zeros(3)},
        lambda a: {"linear.weight": np.zeros((7, 3)), "linear.bias": np.zeros(3)},
    ],
)
def test_a_damaged_linear_model_is_refused_in_one_line(tmp_path, damage):
    model = quick(epochs=1).fit(Y)
    fitted = model.model_
    saving.save_model(
        tmp_path, "forecast",
        fitted.to_config() | {"history": [], "best_epoch": 1, "notes": []},
        fitted.network, damage(fitted.arrays()),
    )  # fmt: skip
    with pytest.raises(ModelError, match="is damaged") as caught:
        gw.Forecaster.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_linear_model_reads_what_is_known_of_the_future_and_no_category():
    random = np.random.default_rng(0)
    cube = load_cube(random.normal(size=(1, 40, 4)))
    found = places(cube, np.zeros_like(cube.lengths), cube.lengths, 5, 3)
    windows = Windows(torch.from_numpy(cube.values), *found, 5, 3, ahead=(2, 3))
    layout = Layout(numbers=(0, 1), plain=(3,), categories=((2, 7),), ahead=(2, 3))
    reader = Reader(layout, relative=False)
    x = [
        np.r_[v[o - 5 : o, 0], v[o - 5 : o, [1, 3]].ravel(), v[o : o + 3, 3]]
        for v, o in ((cube.values[0], o) for o in windows.origins)
    ]
    y = [cube.values[0, o : o + 3, 0] for o in windows.origins]
    model = LinearModel.fit(windows, reader)
    assert reader.size(5, 3) == len(x[0]) == len(model.weight)
    np.testing.assert_allclose(model.forecast(windows), Ridge().fit(x, y).predict(x), rtol=1e-9)
