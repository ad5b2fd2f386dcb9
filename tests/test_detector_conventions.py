"""The detector as scikit-learn wants estimators, and its saved form."""

import json
import shutil

import numpy as np
import pytest
from data_tools import NOT_FOR_SERIES, sine
from detect_tools import each_kind, quick, two_features
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import gatework as gw
from gatework.errors import GateworkError, ModelError

NAN = float("nan")
Y = sine(90, noise=0.3)


NOT_APPLICABLE = NOT_FOR_SERIES | {
    "check_outliers_fit_predict": "each step of a series is told, not each row",
    "check_outliers_train": "the same",
    "check_classifier_data_not_an_array": "what is no array yet is to be made one",
}


@parametrize_with_checks(
    [gw.Detector(hidden_size=2, context=1, memory=20, validation=0.0, epochs=1)],
    expected_failed_checks=lambda _: NOT_APPLICABLE,
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_is_a_detector_of_outliers():
    model = quick(contamination=0.05)
    assert is_outlier_detector(model)
    data = [Y, Y[:70]]
    told = model.fit_predict(data)
    assert told.shape == (2, 90)
    assert (told[1, 70:] == 0).all()
    assert 1 <= (told == -1).sum() <= 0.05 * 160
    decided = model.decision_function(data)
    np.testing.assert_array_equal(decided, model.score_samples(data) - model.offset_)
    np.testing.assert_array_equal(told[~np.isnan(decided)] == -1, decided[~np.isnan(decided)] < 0)
    np.testing.assert_array_equal(model.score_samples(data), -model.anomaly_scores(data))
    assert model.offset_ == -model.threshold_


def test_parameters_clone_and_not_fitted():
    model = quick(quiet=3)
    assert clone(model).get_params() == model.get_params()
    for use in (model.predict, model.anomaly_scores, lambda _: model.stream()):
        with pytest.raises(NotFittedError, match="This Detector is not fitted yet"):
            use(Y)


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("kind", "magic", "choose one of forecast, autoencoder"),
        ("scaling", "log", "choose one of standard, none"),
        ("short", -1, "zero or above"),
        ("memory", 19, "from 20 on"),
        ("quiet", 1.5, "zero or above"),
        ("contamination", 0.7, r"share in \(0, 0.5\]"),
        ("contamination", "some", r"'auto' or a share"),
        ("context", 0, "above zero"),
    ],
)
def test_arguments_that_cannot_be_are_refused(argument, value, words):
    with pytest.raises(GateworkError, match=words):
        quick(**{argument: value}).fit(Y)


def test_the_same_seed_gives_the_same_scores_and_resuming_too(tmp_path):
    one = quick(epochs=3).fit(Y)
    quick(epochs=1).fit(Y, folder=tmp_path)
    resumed = quick(epochs=3).fit(Y, folder=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.anomaly_scores(Y), one.anomaly_scores(Y))
    assert (quick(epochs=3, seed=1).fit(Y).anomaly_scores(Y) != one.anomaly_scores(Y)).any()


# The saved form.


@each_kind
def test_a_saved_detector_scores_as_before(kind, tmp_path):
    data = {"a": two_features()[0], "b": two_features()[1]}
    model = quick(kind, contamination=0.1, quiet=2).fit(data)
    model.save(tmp_path)
    loaded = gw.Detector.load(tmp_path)
    assert loaded.get_params() == model.get_params()
    assert loaded.threshold_ == model.threshold_
    np.testing.assert_array_equal(loaded.anomaly_scores(data), model.anomaly_scores(data))
    one, other = loaded.stream("a"), model.stream("a")
    assert [one.step(v) for v in data["a"]] == [other.step(v) for v in data["a"]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    quick().fit(Y).save(folder)
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [("scatter", [[1.0, 2.0]]), ("scatter", None), ("begins", {}), ("begins", {"": {}}),
     ("begins", {"": {"level": [0.0, 1.0], "errors": [], "moves": []}}), ("threshold", "high"),
     ("task", "forecast"), ("names", ["y", "z"]), ("parameters", {}), ("cell", {})],
)  # fmt: skip
def test_a_tampered_configuration_is_refused_in_one_line(saved, tmp_path, key, value):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ModelError) as caught:
        gw.Detector.load(tmp_path)
    assert "\n" not in str(caught.value)
