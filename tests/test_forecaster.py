"""The forecaster: what it learns, and how it is judged beside baselines."""

import functools

import numpy as np
import pytest
import torch
from data_tools import named, quick, sine
from shared import each_untimed

import gatework as gw
from gatework.cells import name_of
from gatework.data.splits import Split
from gatework.errors import DataError
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.inputs import last_seen

NAN = float("nan")
Y = sine(60, noise=0.3)


@functools.cache
def learned():
    """A forecaster that has learnt a sine with a trend, whose last 48 steps it has not seen."""
    cube = named([sine(240) + 0.02 * np.arange(240)])
    model = quick(hidden_size=16, horizon=8, context=16, season=8, epochs=60, learning_rate=1e-2)
    return model.fit(cube.until(np.array([192]))), cube


# Learning.


def test_it_learns_a_sine_and_beats_the_naive_forecasts():
    model, cube = learned()
    evaluation = model.evaluate(cube, np.array([192]))
    errors = {name: e.mae for name, e in evaluation.errors().items()}
    assert list(errors) == ["lstm", "naive", "seasonal naive", "drift", "linear"]
    # The trend alone costs the seasonal forecast 8 steps of 0.02.
    assert errors["seasonal naive"] == pytest.approx(0.16)
    assert errors["lstm"] < 0.12
    assert errors["naive"] > 2
    assert model.history_[model.best_epoch_ - 1]["train"] < 0.1 * model.history_[0]["train"]


@each_untimed
def test_every_cell_fits_and_forecasts(cell):
    model = quick(cell=cell, num_layers=2).fit([Y, Y + 5])
    forecast = model.predict([Y, Y + 5])
    assert forecast.shape == (2, 3)
    assert np.isfinite(forecast).all()
    assert [r["epoch"] for r in model.history_] == [1, 2]
    assert model.evaluate(Y).model == name_of(cell)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("scaling", ["standard", "log", "none"])
@pytest.mark.parametrize("loss", ["mae", "mse", "huber"])
def test_all_losses_and_scalings_learn(relative, scaling, loss):
    options = {"relative": relative, "scaling": scaling, "loss": loss, "learning_rate": 1e-2}
    history = quick(epochs=12, **options).fit(Y).history_
    assert history[-1]["train"] < history[0]["train"]


def test_relative_forecasts_follow_the_level_of_the_series():
    model = quick(scaling="none").fit(Y)
    np.testing.assert_allclose(model.predict(Y + 1000), model.predict(Y) + 1000, atol=1e-3)


def test_new_series_are_forecast_at_their_own_level():
    model = quick().fit([Y, Y + 5])
    forecast = model.predict([Y * 100, Y - 5000])
    assert (np.abs(forecast[0] - 1000) < 500).all()
    assert (np.abs(forecast[1] + 4990) < 10).all()


def test_the_last_seen_value_is_the_level():
    values = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 7.0], [0.0, 0.0, 0.0]])
    seen = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert last_seen(values, seen).tolist() == [[2.0], [7.0], [0.0]]


def test_unknown_targets_cost_nothing():
    gap = Y.copy()
    gap[30] = NAN
    model = quick(epochs=1).fit(gap)
    cut = Split(np.array([48]), np.array([60]))
    problem = model._problem(model.model_, model.load_data(gap), cut)
    batch = problem.parts["train"].batch(np.arange(problem.train_size))
    found = problem.model(batch, problem.units.expand(problem.train_size, 2))[..., 0]
    error = (found - batch.target).abs().detach().numpy()
    error[batch.known.numpy() == 0] = NAN
    assert np.isnan(error).sum() == 3  # three windows forecast step 30, each as another step
    losses = problem.losses(torch.arange(problem.train_size), "train").detach()
    np.testing.assert_allclose(losses, np.nanmean(error, axis=1), rtol=1e-6)


def test_features_are_read():
    features = np.stack([Y, np.roll(Y, -1)], axis=1)[None]
    model = quick().fit(features)
    changed = features.copy()
    changed[0, -2, 1] += 50
    assert not np.array_equal(model.predict(features), model.predict(changed))


def test_many_series_of_many_lengths():
    random = np.random.default_rng(0)
    sizes = random.integers(20, 60, 150)
    series = {f"s{i}": sine(n, phase=i, noise=0.2) * (1 + i) for i, n in enumerate(sizes)}
    model = quick().fit(series)
    forecast = model.predict(series)
    assert forecast.shape == (150, 3)
    levels = np.array([s.mean() for s in series.values()])
    assert (np.abs(forecast.mean(axis=1) - levels) < 0.5 * levels).all()
    assert model.notes_ == []


def test_series_that_do_not_go_with_one_scale_are_pointed_out():
    def said(data, **arguments):
        notes = quick(epochs=1, **arguments).fit(data).notes_
        return " ".join(note for note in notes if "one scale" in note)

    assert "they vary between" in said([Y, 20 * Y])
    assert "Give them ids" in said([Y, 20 * Y])
    assert not said([Y, 2 * Y])
    note = said({"large": 20 * Y, "small": Y}, per="global")
    assert note.startswith("The series share one scale (per), but they vary between 2.")
    assert note.endswith("With per='series' each one is scaled by itself.")
    # As wide as each other, but far apart: a model that reads levels sees two flat lines.
    far = {"high": Y + 1000, "low": Y}
    assert not said(far, per="global")
    assert not said(far, relative=False)
    assert "as wide as their levels (500), and one varies by 2." in said(
        far, per="global", relative=False
    )


def test_a_series_shorter_than_the_context_is_padded():
    model = quick().fit([Y, Y])
    assert np.isfinite(model.predict([Y, Y[:2]])).all()


def test_a_series_with_nothing_to_see_has_no_forecast():
    blind = np.r_[Y[:-6], [NAN] * 6]
    forecast = quick().fit([Y, Y]).predict([Y, blind])
    assert np.isfinite(forecast[0]).all()
    assert np.isnan(forecast[1]).all()


# Judgement.


def test_errors_by_hand():
    truth = np.array([[1.0, 2.0, NAN], [0.0, 4.0, 5.0]])
    model = np.array([[2.0, 2.0, 9.0], [1.0, 1.0, 5.0]])
    evaluation = Evaluation("own", {"own": model, "naive": truth + 1}, truth, None, None, 1)
    errors = evaluation.errors()["own"]
    assert errors.mae == pytest.approx((1 + 0 + 1 + 3 + 0) / 5)
    assert errors.rmse == pytest.approx(np.sqrt((1 + 0 + 1 + 9 + 0) / 5))
    assert errors.mape == pytest.approx(100 * (1 / 1 + 0 + 3 / 4 + 0) / 4)  # without the truth 0
    assert errors.smape == pytest.approx(100 * (2 / 3 + 0 + 2 / 1 + 6 / 5 + 0) / 5)
    assert evaluation.by_step()["own"].tolist() == [1, 1.5, 0]
    assert evaluation.skill() == pytest.approx(1 - 1 / 1)


@pytest.mark.parametrize(
    ("off", "words", "skill"),
    [
        (1.0, "The own beats the naive forecast: MAE 1 against 2 (50% less) on 4 held-out windows.",
         0.5),
        (3.0, "The own does not beat the naive forecast: MAE 3 against 2 on 4 held-out windows. "
              "As it stands, use the naive forecast.", -0.5),
        (2.0, "The own does not beat the naive forecast: MAE 2 against 2 on 4 held-out windows. "
              "As it stands, use the naive forecast.", 0.0),
    ],
)  # fmt: skip
def test_the_verdict_in_both_directions(off, words, skill):
    truth = np.zeros((4, 3))
    rows = {"own": truth + off, "naive": truth + 2, "seasonal naive": truth - 5}
    evaluation = Evaluation("own", rows, truth, None, None, 2)
    assert evaluation.verdict() == words
    assert evaluation.skill() == pytest.approx(skill)


def test_a_perfect_baseline():
    truth = np.ones((1, 2))
    for off, skill in ((0.0, 0.0), (1.0, -np.inf)):
        assert (
            Evaluation("own", {"own": truth + off, "naive": truth}, truth, None, None, 1).skill()
            == skill
        )


def test_evaluation_uses_the_same_windows_for_every_row():
    model, cube = learned()
    evaluation = model.evaluate(cube, np.array([192]), stride=5)
    assert evaluation.origins.tolist() == list(range(192, 233, 5))
    for name, forecast in evaluation.forecasts.items():
        assert forecast.shape == evaluation.truth.shape == (9, 8), name
    np.testing.assert_array_equal(evaluation.truth[3], cube.values[0, 207:215, 0])
    np.testing.assert_array_equal(
        evaluation.forecasts["seasonal naive"][3], cube.values[0, 199:207, 0]
    )


def test_evaluating_is_predicting_from_each_origin():
    model, cube = learned()
    evaluation = model.evaluate(cube, np.array([230]))
    for origin, forecast in zip(evaluation.origins, evaluation.forecasts["lstm"], strict=True):
        alone = model.predict(cube.until(np.array([origin])))[0]
        np.testing.assert_allclose(forecast, alone, rtol=1e-5)


def test_the_score_is_the_skill_over_all_windows():
    model = quick().fit(Y)
    assert model.score(Y) == model.evaluate(Y).skill() <= 1
    with pytest.raises(DataError, match="No window to evaluate"):
        model.evaluate(Y[:8])


def test_held_out_is_said_only_of_windows_behind_a_given_step():
    model = quick().fit(Y[:50])
    assert "held-out" not in model.evaluate(Y).verdict()
    assert "may be among them" in model.evaluate(Y).verdict()
    assert "held-out" in model.evaluate(Y, begin=np.array([50])).verdict()


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"stride": 0}, "stride is a whole number above zero, got 0"),
        ({"begin": 50}, r"one whole number for each of 1 series, \(N,\), got int64 \(\)"),
        ({"begin": [50, 50]}, r"each of 1 series, \(N,\), got int64 \(2,\)"),
        ({"begin": [50.5]}, r"got float64 \(1,\)"),
    ],
)
def test_places_to_evaluate_at_that_cannot_be(where, reason):
    model = quick(epochs=1).fit(Y)
    with pytest.raises(DataError, match=reason):
        model.evaluate(Y, **where)
    assert len(model.evaluate(Y, begin=[50]).truth) == len(Y) - 50 - model.horizon + 1


@pytest.mark.parametrize("estimator", [gw.Forecaster, gw.Classifier, gw.Detector])
def test_a_cell_that_reads_more_than_its_input_is_refused_in_one_line(estimator):
    values, classes = np.random.default_rng(0).normal(size=(4, 60)), [0, 1, 0, 1]
    with pytest.raises(DataError, match="reads t beside its input, and no task gives"):
        estimator(cell="phased_lstm", epochs=1).fit(values, classes)
