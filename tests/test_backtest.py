"""Backtests, training on with new data, and warnings in words."""

import numpy as np
import pytest
from data_tools import named, quick, same_weights, sine, state

import gatework as gw
from gatework.data import load_cube
from gatework.errors import DataError, ModelError, TrainingError
from gatework.tasks.diagnosis import drifts, repeats

NAN = float("nan")
Y = sine(60, noise=0.3)
WALK = np.random.default_rng(0).normal(size=(1, 160)).cumsum(axis=1)


# Backtests.


def test_each_fold_is_a_fit_on_what_lies_before_it():
    series = [Y, 5 * Y[:52]]
    model = quick()
    found = model.backtest(named(series), folds=3, stride=4)
    assert not hasattr(model, "model_")  # it stays as it was
    assert found.rows.tolist() == [0, 1] * 3
    assert found.origins.tolist() == [49, 41, 53, 45, 57, 49]
    for fold, back in enumerate((11, 7, 3)):
        cut = [y[: len(y) - back] for y in series]
        alone = quick().fit(named(cut))
        rows = slice(2 * fold, 2 * fold + 2)
        np.testing.assert_array_equal(found.forecasts["lstm"][rows], alone.predict(named(cut)))
        linear = alone.predict_baselines(named(cut))["linear"]
        np.testing.assert_allclose(found.forecasts["linear"][rows], linear, rtol=1e-6)
        truth = [y[len(y) - back : len(y) - back + 3] for y in series]
        np.testing.assert_array_equal(found.truth[rows], truth)
    assert "on 6 held-out windows" in found.verdict()
    assert found.interval.shape == (6, 3, 2) or "validation windows" in found.interval_words()


def test_without_refit_the_first_fold_is_the_only_fit():
    found = quick().backtest(Y, folds=4, refit=False)
    model = quick().fit(Y[:48])
    assert found.origins.tolist() == [48, 51, 54, 57]
    for place, forecast in zip(found.origins, found.forecasts["lstm"], strict=True):
        np.testing.assert_allclose(forecast, model.predict(Y[:place])[0], rtol=1e-5)


def test_nothing_behind_a_forecast_can_reach_it():
    changed = Y.copy()
    changed[54:] = 1e3
    one, two = (quick(epochs=1).backtest(y, folds=3, refit=True) for y in (Y, changed))
    for name, forecast in one.forecasts.items():
        np.testing.assert_array_equal(forecast[:2], two.forecasts[name][:2])


def test_a_series_that_is_too_short_is_left_out_of_early_folds():
    found = quick(epochs=1).backtest(named([Y, Y[:12]]), folds=4, stride=3)
    assert found.rows.tolist() == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"folds": 0}, "folds is a whole number above zero"),
        ({"stride": 0.5}, "stride is a whole number above zero"),
        ({"folds": 40}, "reach back 120 steps, and the longest series has 60"),
        ({"folds": 17}, "No series is long enough"),
        ({"coverage": 2}, "coverage is a number"),
    ],
)
def test_backtests_that_cannot_be(options, reason):
    with pytest.raises(DataError, match=reason) as caught:
        quick(epochs=1).backtest(Y, **options)
    assert "\n" not in str(caught.value)


# Training on.


def test_training_on_begins_with_the_weights_there_are():
    model = quick(epochs=4).fit(named([Y]))
    before, scaler, first = state(model), model.scaler_, model.history_
    later = named([sine(90, noise=0.3, seed=5)])
    model.set_params(learning_rate=1e-12, weight_decay=0.0, epochs=1).continue_fit(later)
    for name, weights in state(model).items():
        np.testing.assert_allclose(weights, before[name], atol=1e-9)
    assert model.scaler_.to_dict() == scaler.to_dict()
    assert model.history_[:4] == first
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4, 5]


def test_training_on_learns_from_the_new_data():
    model = quick(hidden_size=8, epochs=10, learning_rate=1e-2).fit(Y)
    new = sine(120, period=5, noise=0.1)
    before = model.evaluate(new, np.array([100])).errors()["lstm"].mae
    model.set_params(epochs=20).continue_fit(new[:100])
    assert model.evaluate(new, np.array([100])).errors()["lstm"].mae < 0.8 * before
    assert "of 6 steps as they were" in model.notes_[0]
    assert any("The validation loss on the new data is" in note for note in model.notes_)
    assert model.best_epoch_ > 10
    assert model.context_ == 6


def test_new_ids_are_scaled_by_themselves_and_told():
    model = quick(epochs=1).fit(named([Y]))
    both = named([Y, 100 * Y])
    model.continue_fit(both)
    assert "with 2 series, 1 of them new ('1')" in model.notes_[0]
    center, spread = (v[0] for v in model.scaler_.of(both, 1))
    np.testing.assert_allclose([center, spread], [100 * Y[:48].mean(), 100 * Y[:48].std()])
    one, hundred = model.predict(both)
    np.testing.assert_allclose(100 * one, hundred, rtol=1e-4)


def test_weights_that_were_better_are_kept():
    model = quick(hidden_size=8, epochs=20, learning_rate=1e-2).fit(Y)
    before, epoch = state(model), model.best_epoch_
    model.set_params(epochs=1, learning_rate=3.0, clip=0.0).continue_fit(Y)
    assert all(np.array_equal(before[k], v) for k, v in state(model).items())
    assert model.best_epoch_ == epoch
    assert any("No epoch made it better on the new data" in note for note in model.notes_)


def test_a_failure_leaves_the_model_as_it_was(tmp_path):
    model = quick(epochs=1).fit(Y)
    before, said = state(model), model.predict(Y)
    with pytest.raises(TrainingError):
        model.set_params(learning_rate=1e30).continue_fit(Y)
    with pytest.raises(DataError, match="No series is long enough"):
        model.continue_fit(Y[:9])
    assert all(np.array_equal(before[k], v) for k, v in state(model).items())
    assert np.array_equal(model.predict(Y), said)
    with pytest.raises(ModelError, match="call fit"):
        quick().continue_fit(Y)


def test_a_loaded_model_goes_on_as_the_one_that_was_saved(tmp_path):
    model = quick(epochs=2).fit(Y)
    model.save(tmp_path)
    later = sine(90, noise=0.3, seed=5)
    loaded = gw.Forecaster.load(tmp_path).continue_fit(later)
    assert same_weights(loaded, model.continue_fit(later))
    assert loaded.notes_ == model.notes_
    loaded.save(tmp_path / "again")
    again = gw.Forecaster.load(tmp_path / "again")
    assert np.array_equal(again.predict_interval(later, 0.8), model.predict_interval(later, 0.8))


# Warnings.


def test_a_forecast_that_repeats_the_last_value_is_told():
    said = quick(horizon=1, epochs=3).fit(WALK).notes_
    assert any("merely repeat the last value: their correlation" in note for note in said)
    wave = sine(160, noise=0.1)
    said = quick(horizon=2, context=10, hidden_size=8, epochs=30, learning_rate=2e-2).fit(wave)
    assert said.notes_ == []


def test_repeats_by_hand():
    random = np.random.default_rng(0)
    truth = random.normal(size=300).cumsum()
    last, near = np.r_[0, truth[:-1]], 0.01 * random.normal(size=300)
    assert "and their error is 100% of the naive one" in repeats(truth, last, last + near)[0]
    assert repeats(truth, last, truth + near) == []
    assert repeats(truth, last, 0.7 * last + 0.3 * truth) == []  # like it, and yet better
    noise = random.normal(size=300)  # of noise the best forecast is no last value
    assert repeats(noise, np.r_[0, noise[:-1]], near) == []
    assert repeats(np.ones(9), np.ones(9), np.ones(9)) == []


def test_a_model_that_is_good_for_one_step_only_is_told():
    options = {"horizon": 40, "hidden_size": 8, "epochs": 3, "learning_rate": 2e-2}
    walks = np.random.default_rng(2).normal(size=(4, 300)).cumsum(axis=1)
    said = quick(form="recursive", **options).fit(walks).notes_
    assert any("Fed its own forecasts over 40 steps the model errs" in note for note in said)
    assert not any("Fed its own" in note for note in quick(**options).fit(walks).notes_)
    wave = sine(160, noise=0.1)
    model = quick(form="recursive", hidden_size=8, epochs=30, learning_rate=2e-2).fit(wave)
    assert model.notes_ == []


def test_drifts_by_hand():
    truth = np.zeros(10)
    assert "the model errs 4.0 times as much" in drifts(truth, truth + 4, truth - 1, 5)[0]
    assert drifts(truth, truth + 2.9, truth - 1, 5) == []
    assert drifts(truth, truth, truth, 5) == []


def test_a_missing_linear_baseline_is_told():
    gaps = load_cube([[*Y[:7], NAN, Y[8], *[NAN, Y[3]] * 12] for _ in range(3)])
    model = quick(epochs=1, validation=0.0, horizon=2).fit(gaps)
    assert "linear" not in model.predict_baselines(gaps)
    assert any("no linear baseline" in note for note in model.notes_)
