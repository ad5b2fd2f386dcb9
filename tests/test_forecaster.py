"""The forecaster: it learns, keeps scikit-learn's conventions, and is judged beside baselines."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from data_tools import DAYS, named, quick, same_weights, sine, state
from shared import each_untimed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import gatework as gw
from gatework.cells import name_of
from gatework.data.splits import Split
from gatework.errors import CellError, DataError, GateworkError, ModelError
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


# Conventions of scikit-learn.

NOT_APPLICABLE = {
    "check_n_features_in": "X is series, not a table of samples and features",
    "check_n_features_in_after_fitting": "the same",
    "check_fit2d_1feature": "X of one column is series of one step, refused as too short",
    "check_fit1d": "one axis is one series, and welcome",
    "check_fit2d_predict1d": "the same",
    "check_estimators_nan_inf": "missing values are masked, not refused",
    "check_dtype_object": "objects that are numbers are welcome; others are refused in our words",
    "check_estimators_empty_data_messages": "refused in our words",
    "check_estimator_sparse_tag": "sparse matrices are refused in our words",
    "check_estimator_sparse_array": "the same",
    "check_estimator_sparse_matrix": "the same",
}


@parametrize_with_checks(
    [gw.Forecaster(hidden_size=2, horizon=1, context=1, validation=0.0, epochs=1)],
    expected_failed_checks=lambda _: NOT_APPLICABLE,
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_parameters_clone_and_repr():
    model = quick(cell="gru", hidden_size=5).fit(Y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "network_")
    assert copy.set_params(hidden_size=7).hidden_size == 7
    assert repr(model).startswith("Forecaster(cell='gru', context=6, epochs=2")
    with pytest.raises(ValueError, match="Invalid parameter 'units'"):
        model.set_params(units=3)


def test_fitting_changes_no_argument():
    model = quick(features=[])
    before = model.get_params()
    assert model.fit(Y) is model
    assert model.get_params() == before


def test_pipelines_and_searches_over_series():
    # Rows are series: folds train on some of them and score on the others.
    series = np.stack([sine(60, phase=i, noise=0.1) for i in range(6)])
    pipeline = Pipeline([("forecast", quick())]).fit(series)
    assert pipeline.predict(series).shape == (6, 3)
    search = GridSearchCV(quick(), {"hidden_size": np.array([2, 3])}, cv=2, error_score="raise")
    assert search.fit(series).predict(series).shape == (6, 3)
    assert cross_val_score(quick(), series, cv=3, error_score="raise").shape == (3,)


def test_a_forecast_depends_on_the_series_and_not_on_its_place():
    series = [sine(60) * 100, sine(60, phase=2), sine(50, phase=3) + 1000]
    model = quick().fit(series)
    everything = model.predict(series)
    for i in range(3):
        np.testing.assert_allclose(model.predict([series[i]])[0], everything[i], rtol=1e-6)
    np.testing.assert_allclose(model.predict(series[::-1]), everything[::-1], rtol=1e-6)


@pytest.mark.parametrize("relative", [True, False])
def test_a_forecast_depends_on_the_context_alone(relative):
    series = [sine(60, noise=0.3), 5 + sine(70, phase=1, noise=0.3)]
    model = quick(relative=relative).fit(series)
    for data in (series, [sine(90, phase=2) * 10]):
        ends = [y[-model.context_ :] for y in data]
        np.testing.assert_array_equal(model.predict(data), model.predict(ends))


def test_arguments_that_are_set_after_fitting_change_no_forecast(tmp_path):
    model = quick(cell="gru").fit(Y)
    before, score = model.predict(Y), model.score(Y)
    model.set_params(horizon=5, context=9, hidden_size=7, cell="lstm", relative=False, target="z")
    assert np.array_equal(model.predict(Y), before)
    assert model.score(Y) == score
    assert model.predict_table(Y).num_rows == 3
    model.save(tmp_path)
    assert np.array_equal(gw.Forecaster.load(tmp_path).predict(Y), before)


@pytest.mark.parametrize(
    ("arguments", "data"),
    [({"context": 500}, Y), ({"learning_rate": 1e30}, Y), ({"scaling": "log"}, -Y), ({}, "absent")],
    ids=["too short", "breaks", "no logarithm", "no data"],
)
def test_a_fit_that_fails_leaves_the_earlier_one(arguments, data):
    model = quick().fit(Y)
    before, weights = vars(model).copy(), state(model)
    with pytest.raises(GateworkError):
        model.set_params(**arguments).fit(data)
    after = vars(model)
    assert {k: v for k, v in after.items() if k.endswith("_")} == {
        k: v for k, v in before.items() if k.endswith("_")
    }
    assert all(np.array_equal(weights[k], v) for k, v in state(model).items())


@pytest.mark.parametrize("method", ["predict", "score", "evaluate", "predict_table"])
def test_before_fitting(method):
    with pytest.raises(NotFittedError, match="call fit"):
        getattr(quick(), method)(Y)
    with pytest.raises(ModelError, match="call fit"):
        getattr(quick(), method)(Y)
    with pytest.raises(ModelError, match="call fit"):
        quick().save("nowhere")


# Tables.


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


@pytest.mark.parametrize("estimator", [gw.Forecaster, gw.Classifier, gw.Detector])
def test_a_cell_that_reads_more_than_its_input_is_refused_in_one_line(estimator):
    values, classes = np.random.default_rng(0).normal(size=(4, 60)), [0, 1, 0, 1]
    with pytest.raises(DataError, match="reads t beside its input, and no task gives"):
        estimator(cell="phased_lstm", epochs=1).fit(values, classes)
