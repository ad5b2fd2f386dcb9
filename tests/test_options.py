"""The arguments of the estimators are options of the commands, but for a few that are named."""

import inspect

import numpy as np
import pytest
from cli_tools import refused

import gatework as gw
from gatework.cli import classify, detect, forecast
from gatework.cli.jobs import options_of

OTHER_WORDS = {"layers": "num_layers", "feature": "features", "category": "categories",
               "balanced": "class_weight"}  # fmt: skip
PYTHON_ALONE = {"weight_decay", "clip", "forget_bias"}
FORECASTERS = {"relative", "quantiles"}
TASKS = {gw.Forecaster: forecast, gw.Classifier: classify, gw.Detector: detect}


@pytest.mark.parametrize("estimator", TASKS, ids=lambda e: e.task)
def test_every_argument_is_an_option(estimator):
    options = {OTHER_WORDS.get(name, name) for name in options_of(TASKS[estimator].prepare)}
    lacking = inspect.signature(estimator).parameters.keys() - options
    assert lacking == PYTHON_ALONE | (FORECASTERS if estimator is gw.Forecaster else set())


def test_options_reach_the_models(tmp_path):
    given = {"validation": 0.3, "dropout": 0.1}
    np.savez(tmp_path / "two.npz", X_train=np.ones((6, 5)), y_train=[0, 1] * 3,
             X_test=np.ones((2, 5)), y_test=[0, 1])  # fmt: skip
    jobs = [
        forecast.prepare("airpassengers", horizon=12, loss="huber", **given),
        detect.prepare("airpassengers", **given),
        classify.prepare(tmp_path / "two.npz", **given),
    ]
    for job in jobs:
        assert (job.model.validation, job.model.dropout) == (0.3, 0.1)
    assert jobs[0].model.loss == "huber"
    assert forecast.prepare("airpassengers", horizon=12).model.validation == 0.2


def test_a_plan_knows_of_the_validation_part(tmp_path):
    """What leaves no training window is refused before any training."""
    words = ("fit", "forecast", "airpassengers", "--horizon", "12", "--context", "24")
    assert "for validation and test" in refused(
        *words, "--validation", "0.9", "--out", tmp_path / "run"
    )
