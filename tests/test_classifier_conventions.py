"""The classifier as scikit-learn wants estimators, and its life in files: saved, resumed."""

import json

import numpy as np
import pytest
from classify_tools import ALL, fitted, quick, same_weights, waves
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import gatework as gw
from gatework.errors import GateworkError, ModelError

NOT_APPLICABLE = {
    "check_n_features_in": "X is sequences: its second axis is their steps",
    "check_n_features_in_after_fitting": "the same: a sequence may have any length",
    "check_classifiers_train": "the same; what else it checks is checked here",
    "check_dtype_object": "objects that are no numbers are refused in our words",
}


@parametrize_with_checks(
    [quick(epochs=6, learning_rate=5e-2, validation=0.0)],
    expected_failed_checks=lambda _: NOT_APPLICABLE,
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "names",
    [[3, -1], ["b", "a"], [True, False], [2.0, 1.0], np.array(["b", "a"], dtype=object)],
    ids=["int", "text", "bool", "float", "object"],
)
def test_classes_of_every_kind_come_back(names, tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 4, 2))
    y = np.array(names)[np.arange(6) % 2]
    model = quick(class_weight={names[0]: 1.0, names[1]: 2.0}).fit(X, y)
    assert model.classes_.dtype == y.dtype
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    told = model.predict(X)
    assert told.dtype == y.dtype
    assert told.tolist() == model.classes_[model.predict_proba(X).argmax(axis=1)].tolist()
    model.save(tmp_path)
    loaded = gw.Classifier.load(tmp_path)
    assert loaded.classes_.dtype == y.dtype
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.predict(X), told)


def test_clone_searches_and_folds_over_three_axes():
    X = np.random.default_rng(0).normal(size=(12, 4, 2))
    y = np.arange(12) % 2
    model = quick(cell="gru", pool="max").fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "network_")
    search = GridSearchCV(quick(), {"pool": ["last", "mean"]}, cv=2, error_score="raise")
    assert search.fit(X, y).predict(X).shape == (12,)
    assert cross_val_score(quick(), X, y, cv=3, error_score="raise").shape == (3,)


def test_fits_repeat_and_later_arguments_change_nothing():
    model, X, y = fitted()
    again = quick(**ALL).fit(X, y)
    assert same_weights(model, again)
    assert not same_weights(model, quick(**ALL, seed=1).fit(X, y))
    before = again.predict_proba(X)
    again.set_params(hidden_size=9, pool="last", shuffle=True, cell="rnn", class_weight="balanced")
    assert np.array_equal(again.predict_proba(X), before)


# Saving and resuming.


def test_a_saved_model_comes_back_equal(tmp_path):
    model, X, y = fitted()
    model.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = gw.Classifier.load(tmp_path)
    assert same_weights(loaded, model)
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.evaluate(X, y).to_dict() == model.evaluate(X, y).to_dict()
    assert (loaded.history_, loaded.best_epoch_, loaded.notes_) == (
        model.history_, model.best_epoch_, model.notes_
    )  # fmt: skip
    with pytest.raises(ModelError, match="holds a model for 'classify', expected 'forecast'"):
        gw.Forecaster.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", None), ("classes", {"kind": "<i8", "values": [1]}), ("counts", [1]),
     ("classes", {"kind": "x", "values": [1, 2]}), ("features", 0), ("features", 3),
     ("steps", "many"), ("scaler", {}), ("cell", {}), ("parameters", {}), ("history", KeyError)],
)  # fmt: skip
def test_a_tampered_configuration_is_refused_in_one_line(tmp_path, key, value):
    fitted()[0].save(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config[key] = value
    if value is KeyError:
        del config[key]
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        gw.Classifier.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_run_goes_on_to_the_same_numbers(tmp_path):
    X, y = waves()
    arguments = {**ALL, "dropout": 0.3, "batch_size": 8}
    whole = quick(**arguments, epochs=3).fit(X, y)
    quick(**arguments, epochs=1).fit(X, y, folder=tmp_path)
    resumed = quick(**arguments, epochs=3).fit(X, y, folder=tmp_path, resume=True)
    assert resumed.history_ == whole.history_
    assert same_weights(resumed, whole)
    other = {**arguments, "pool": "mean"}
    with pytest.raises(GateworkError, match="pool"):
        quick(**other, epochs=3).fit(X, y, folder=tmp_path, resume=True)
