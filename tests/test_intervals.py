"""Conformal intervals: ranks and coverage by hand, and what an evaluation measures of them."""

import json

import numpy as np
import pytest
from data_tools import named, quick, sine

import gatework as gw
from gatework.data import load_cube
from gatework.data.splits import split
from gatework.data.windows import Windows
from gatework.errors import DataError
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.forecast_model import ForecastModel
from gatework.tasks.intervals import MOST, Calibration
from gatework.tasks.problem import problem_of

NAN = float("nan")
Y = sine(120, noise=0.3)
COUNTS = np.random.default_rng(0).negative_binomial(1, 0.5, (4, 90)).astype(float)


def test_scores_are_errors_in_units_of_the_uncertainty_below_and_above():
    truth = np.array([[3.0, NAN], [7.0, 1.0], [5.0, 9.0]])
    point = np.full((3, 2), 5.0)
    found = Calibration.fit(truth, point, np.full((3, 2), 4.0), np.full((3, 2), 0.5))
    np.testing.assert_array_equal(found.scores, [[0, 1], [0.5, 8], [4, NAN]])
    # Of 3 scores the 2nd makes 1/2, of 2 scores the 2nd 1/2 too.
    np.testing.assert_array_equal(found.factors(0.5), [0.5, 8])


def test_the_rank_is_the_smallest_that_makes_the_coverage():
    scores = Calibration(np.arange(1.0, 20)[:, None])  # 19 of them: each is worth 1/20
    for coverage, rank in ((0.05, 1), (0.5, 10), (0.9, 18), (0.901, 19), (0.95, 19)):
        assert scores.factors(coverage) == [rank]
    with pytest.raises(DataError, match=r"0.96 needs 24 validation windows .* with 19: it is at"):
        scores.factors(0.96)
    with pytest.raises(DataError, match="there is no interval"):
        Calibration(np.full((4, 1), NAN)).factors(0.5)


@pytest.mark.parametrize("count", [40, 5000])
def test_the_coverage_of_values_alike_is_the_asked_one(count):
    random = np.random.default_rng(0)
    steps = 300  # each is a trial of its own
    ones = np.ones((count, steps))
    scores = Calibration.fit(random.normal(size=(count, steps)), 0 * ones, ones, ones)
    assert len(scores.scores) == min(count, MOST)
    fresh = np.abs(random.normal(size=(400, steps)))
    for coverage in (0.5, 0.9):
        measured = (fresh <= scores.factors(coverage)).mean()
        assert measured == pytest.approx(coverage, abs=0.015)


def test_thinning_keeps_each_step_by_its_own_count():
    values = np.random.default_rng(0).normal(size=(3000, 3))
    values[500:, 0] = NAN  # fewer than are kept
    values[2000:, 1] = NAN
    ones = np.ones_like(values)
    found = Calibration.fit(values, 0 * ones, ones, ones)
    assert (~np.isnan(found.scores)).sum(axis=0).tolist() == [500, MOST, MOST]
    for step, count in enumerate((500, 2000, 3000)):
        scores = np.sort(np.abs(values[:count, step]))
        assert found.factors(0.9)[step] == scores[int(np.ceil((count + 1) * 0.9)) - 1]


@pytest.mark.parametrize("head", ["point", "quantile", "normal", "student_t", "negative_binomial"])
def test_every_head_has_intervals_around_its_forecast(head, tmp_path):
    data = COUNTS if head == "negative_binomial" else named([Y, 9 * Y])
    model = quick(head=head, epochs=3).fit(data)
    forecast = model.predict(data)[..., None]
    narrow, wide = model.predict_interval(data, 0.5), model.predict_interval(data, 0.9)
    assert narrow.shape == (*forecast.shape[:2], 2)
    assert (wide[..., :1] <= narrow[..., :1]).all()
    assert (narrow[..., :1] <= forecast).all()
    assert (forecast <= narrow[..., 1:]).all()
    assert (narrow[..., 1:] <= wide[..., 1:]).all()
    if head == "negative_binomial":
        assert wide.min() == 0
    else:  # as wide as each series is
        ratio = np.diff(wide[1]) / np.diff(wide[0])
        np.testing.assert_allclose(ratio, 9, rtol=1e-3)
    model.save(tmp_path)
    assert np.array_equal(gw.Forecaster.load(tmp_path).predict_interval(data, 0.9), wide)


def test_intervals_of_the_point_head_by_hand():
    model = quick(epochs=1, scaling="log").fit(Y)
    center, spread = (v[0] for v in model.scaler_.of(load_cube(Y), 0))
    errors = []
    for origin in range(96, 118):  # the validation part is the last fifth
        said = model.predict(Y[:origin])[0]
        scaled = [(np.log1p(v) - center) / spread for v in (said, Y[origin : origin + 3])]
        errors.append(np.abs(scaled[0] - scaled[1]))
    reach = np.sort(errors, axis=0)[int(np.ceil(23 * 0.8)) - 1] * spread
    middle = np.log1p(model.predict(Y)[0])
    expected = np.expm1(np.stack([middle - reach, middle + reach], axis=-1))
    np.testing.assert_allclose(model.predict_interval(Y, 0.8)[0], expected, rtol=1e-4)


def test_an_evaluation_measures_the_coverage():
    truth = np.array([[1.0, 5.0], [2.0, NAN], [9.0, 5.0]])
    low, high = np.array([[0.0, 5], [3, 0], [9, 6]]), np.array([[2.0, 8], [4, 9], [9, 7]])
    found = Evaluation(
        "own", {"own": truth, "naive": truth}, truth, None, None, 1,
        interval=np.stack([low, high], axis=-1), coverage=0.75,
    )  # fmt: skip
    assert found.covered().tolist() == [2 / 3, 1 / 2]
    assert found.interval_words() == (
        "Intervals of 75%: 60.0% of 5 values lie within, the mean width is 1.4."
    )
    said = found.to_dict()["interval"]
    assert (said["asked"], said["measured"]) == (0.75, 0.6)
    assert json.dumps(said)


def test_intervals_are_evaluated_on_the_windows_of_the_forecasts():
    model = quick(epochs=3).fit(Y[:100])
    found = model.evaluate(Y, np.array([100]), coverage=0.8)
    for window, origin in enumerate(found.origins):
        alone = model.predict_interval(Y[:origin], 0.8)[0]
        np.testing.assert_allclose(found.interval[window], alone, rtol=1e-4)
    assert found.interval_words().startswith("Intervals of 80%: ")


def test_without_a_validation_part_there_are_no_intervals(tmp_path):
    model = quick(epochs=1, validation=0.0).fit(Y)
    model.save(tmp_path)
    for one in (model, gw.Forecaster.load(tmp_path)):
        with pytest.raises(DataError, match="fitted without one"):
            one.predict_interval(Y)
        found = one.evaluate(Y)
        assert found.interval is None
        assert "fitted without one" in found.interval_words() == found.to_dict()["interval"]["says"]
        with pytest.raises(DataError, match="fitted without one"):
            found.covered()


def test_a_small_validation_part_is_told():
    model = quick(epochs=1).fit(Y[:40])  # 8 steps, 6 windows
    assert "0.9 needs 9 validation windows" in model.evaluate(Y).interval_words()
    assert model.predict_interval(Y, 0.85).shape == (1, 3, 2)
    with pytest.raises(DataError, match=r"with 6: it is at most 0\.857"):
        model.predict_interval(Y)


@pytest.mark.parametrize("coverage", [0, 1, 90, -0.5, NAN, "much", None])
def test_coverages_that_cannot_be(coverage):
    model = quick(epochs=1).fit(Y)
    with pytest.raises(DataError, match="coverage is a number between 0 and 1"):
        model.predict_interval(Y, coverage)


def test_a_series_with_nothing_to_see_has_no_interval():
    found = quick(epochs=1).fit([Y, Y]).predict_interval([Y, [*Y[:-6], *[NAN] * 6]])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_a_table_with_intervals():
    model = quick(epochs=1).fit(Y)
    table = model.predict_table(Y, coverage=0.8)
    assert table.column_names == ["id", "time", "step", "y", "low", "high"]
    low, high = model.predict_interval(Y, 0.8)[0].T
    assert table["low"].to_pylist() == low.tolist()
    assert table["high"].to_pylist() == high.tolist()


def test_a_value_on_the_edge_lies_within():
    zeros = np.zeros((2, 60))  # all scores are the same, so each value is at the edge
    model = quick(head="negative_binomial", epochs=2, device="cpu").fit(zeros)
    assert model.evaluate(zeros).interval_words().startswith("Intervals of 90%: 100.0% of ")


def test_calibration_takes_windows_in_batches(monkeypatch):
    model = quick(epochs=1, head="normal").fit(Y).model_
    cube = load_cube(Y)
    windows = problem_of(model, cube, split(cube, 3, 0.5)).parts["validation"]
    whole, largest = model.calibrated(cube, windows).calibration, []
    batch = Windows.batch
    monkeypatch.setattr(Windows, "batch", lambda w, i: largest.append(len(i)) or batch(w, i))
    monkeypatch.setattr(ForecastModel._said, "__defaults__", (16,))
    parts = model.calibrated(cube, windows).calibration
    assert max(largest) == 16
    assert sum(largest) == len(windows) > 32
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-5)
    everything = windows.batch(np.arange(len(windows)))
    targets = windows.targets().nan_to_num()
    assert np.array_equal(targets, everything.target)
