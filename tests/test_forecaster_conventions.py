"""The forecaster as scikit-learn wants estimators, and what a forecast depends on."""

import numpy as np
import pytest
from data_tools import NOT_FOR_SERIES, quick, sine, state
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import gatework as gw
from gatework.errors import GateworkError, ModelError

Y = sine(60, noise=0.3)


@parametrize_with_checks(
    [gw.Forecaster(hidden_size=2, horizon=1, context=1, validation=0.0, epochs=1)],
    expected_failed_checks=lambda _: NOT_FOR_SERIES,
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
