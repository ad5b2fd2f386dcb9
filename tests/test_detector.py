"""The detector: it finds what is odd, looks at nothing to come, and streams as it scores."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from data_tools import DAYS, named, sine
from detect_tools import each_kind, quick, two_features

from gatework.data.splits import Split
from gatework.errors import DataError, ModelError
from gatework.tasks.detect_network import observed
from gatework.tasks.detect_problem import DetectProblem

NAN = float("nan")
Y = sine(90, noise=0.3)


@functools.cache
def odd():
    """A sine with noise, a spike at 350, missing values, and another level from 450 on."""
    values = sine(500, noise=0.3)
    values[350] += 6
    values[200:204] = NAN
    values[450:] += 4
    return values


@functools.cache
def learned(kind):
    """A detector that has learnt the first 300 steps of that."""
    model = quick(kind, hidden_size=16, context=16, epochs=40, learning_rate=1e-2, memory=200)
    return model.fit(odd()[:300])


# Finding.


def test_a_forecast_finds_the_spike_and_the_new_level():
    scores = learned("forecast").anomaly_scores(odd())[0]
    assert scores.shape == (500,)
    assert scores[:450].argmax() == 350
    assert scores[350] > 3.5
    assert scores[450:480].max() > 3.5
    told = np.flatnonzero(learned("forecast").predict(odd())[0] < 0)
    assert 350 in told
    assert ((told >= 350) & (told <= 370) | (told >= 450)).all()
    assert (scores[200:204] == 0).all()  # nothing is seen there


def test_an_autoencoder_finds_the_window_with_the_spike():
    scores = learned("autoencoder").anomaly_scores(odd())[0]
    # Windows with a gap in them are odd, too.
    assert 350 <= 230 + scores[230:440].argmax() < 350 + 16
    assert scores[450:480].max() > 3.5
    assert (scores[:15] < 3.5).all()


def test_learning_makes_the_expected_better():
    model = learned("forecast")
    assert model.history_[-1]["validation"] < 0.5 * model.history_[0]["validation"]
    errors = errors_of(model.model_, scaled(model, odd()))
    mean_error = np.nanmean(np.abs(errors))
    assert mean_error < 0.5 * np.nanmean(np.abs(np.diff(scaled(model, odd())[:, 0])))


def errors_of(model, values):
    return np.concatenate(list(model.errors(model.exact(), values)))


def scaled(model, values):
    return model.model_.scaled(model.load_data(values))[0]


@each_kind
def test_no_score_looks_ahead(kind):
    model = learned(kind)
    other = odd().copy()
    other[400:] = other[400:][::-1] * 3
    one, two = (model.anomaly_scores(values)[0] for values in (odd(), other))
    np.testing.assert_array_equal(one[:400], two[:400])
    assert (one[400:] != two[400:]).any()


@each_kind
def test_what_is_not_passed_to_fit_does_not_reach_the_model(kind):
    cube = named([sine(90, noise=0.3), sine(70, phase=1)])
    other = named([np.append(sine(90, noise=0.3)[:60], [1e6] * 30), sine(70, phase=1)])
    ends = np.array([60, 50])
    one, two = (quick(kind).fit(c.until(ends)) for c in (cube, other))
    assert str(one.model_.to_config()) == str(two.model_.to_config())
    states = [m.network_.state_dict() for m in (one, two)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@each_kind
def test_a_short_training_part_is_learnt_without_what_follows(kind):
    values = sine(12, noise=0.3)
    other = np.append(values[:10], [5.0, -5.0])  # of 12 steps 2 are for validation
    losses = [quick(kind, context=16).fit([v]).history_ for v in (values, other)]
    assert [h["train"] for h in losses[0]] == [h["train"] for h in losses[1]]


@each_kind
def test_a_part_counts_its_own_steps_each_of_them_and_no_others(kind):
    series, cut = two_features(), Split(np.array([60, 4]), np.array([90, 60]))
    model = quick(kind).fit(series)
    cube, network = model.load_data(series), model.network_
    scaled = model.scaler_.scaled(cube)
    problem = DetectProblem.of(network, cube, scaled, cut, 8)
    covered = set()
    for part, begin, end in (("train", 0, cut.train), ("validation", cut.train, cut.validation)):
        windows = problem.parts[part]
        losses = problem.losses(torch.arange(len(windows.rows)), part).detach().numpy()
        pairs = zip(windows.rows.tolist(), windows.starts.tolist(), losses, strict=True)
        for row, start, loss in pairs:
            first, last = (begin if part == "train" else begin[row]), end[row]
            inputs = torch.from_numpy(observed(scaled[row].astype(float))).float()
            read = np.minimum(np.arange(start, start + 8), last - 1)  # nothing behind the part
            window = inputs[read].unsqueeze(1)
            expected = network(window)[:, 0].detach().numpy()
            errors = []
            for step, values in enumerate(expected, start + network.ahead):
                if first <= step < last:
                    errors += list(np.abs(values - scaled[row, step]))
                    covered.add((part, row, step))
            assert loss == pytest.approx(np.nanmean(errors), rel=1e-4)
    parts = [("train", r, s) for r in (0, 1) for s in range(network.ahead, cut.train[r])]
    parts += [("validation", r, s) for r in (0, 1) for s in range(cut.train[r], cut.validation[r])]
    assert covered == set(parts)


# What the errors are.


def test_the_network_reads_the_last_value_its_change_and_a_mask():
    values = np.array([[NAN], [3.0], [5.0], [NAN], [9.0], [8.0]])
    # A change is known between neighbours alone.
    by_hand = [[0, 0, 0], [3, 0, 1], [5, 2, 1], [5, 0, 0], [9, 0, 1], [8, -1, 1]]
    whole = observed(values)
    np.testing.assert_array_equal(whole, by_hand)
    for cut in range(1, 6):
        rest = observed(values[cut:], before=whole[cut - 1])
        np.testing.assert_array_equal(rest, by_hand[cut:])


def test_a_forecast_is_made_of_the_steps_before_it():
    model = quick().fit(Y).model_
    values, network = model.scaled(model.load(Y))[0], model.exact()
    found = errors_of(model, values)
    assert np.isnan(found[0]).all()
    for step in (1, 2, 40, 89):
        with torch.no_grad():
            before = torch.from_numpy(observed(values[:step])).unsqueeze(1)
            expected = network(before)[-1, 0].numpy()
        np.testing.assert_allclose(found[step, 0], values[step] - expected, atol=1e-12)


def test_a_long_series_is_read_in_parts(monkeypatch):
    model = quick().fit(Y)
    whole = model.anomaly_scores(Y)
    monkeypatch.setattr("gatework.tasks.detect_network.PART", 7)
    np.testing.assert_allclose(model.anomaly_scores(Y), whole, atol=1e-9)


def test_a_window_is_rebuilt_of_itself():
    model = quick("autoencoder").fit(Y).model_
    values, network = model.scaled(model.load(Y))[0], model.exact()
    found = errors_of(model, values)
    assert np.isnan(found[:7]).all()
    inputs = observed(values)
    for step in (7, 50, 89):
        window = slice(step - 7, step + 1)
        with torch.no_grad():
            rebuilt = network(torch.from_numpy(inputs[window]).unsqueeze(1))[:, 0].numpy()
        np.testing.assert_allclose(found[step], values[window] - rebuilt, atol=1e-12)


def test_distances_are_mahalanobis_of_the_features_that_are_there():
    model = quick().fit(two_features()).model_
    assert model.scatter.shape == (2, 2)
    a, b = np.array([1.0, -2.0]), np.array([NAN, 3.0])
    full = a @ np.linalg.inv(model.scatter) @ a / 2
    alone = 9 / model.scatter[1, 1]
    found = model.distances(np.array([[a, a], [a, b], [b, [NAN, NAN]], [[NAN, NAN]] * 2]))
    by_hand = np.sqrt([full, (full + alone) / 2, alone, NAN])
    np.testing.assert_allclose(found, by_hand)


# Streams.


@each_kind
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2, "quiet": 6, "short": 0}])
def test_a_stream_gives_the_scores_of_the_whole(kind, options):
    series = two_features()
    model = quick(kind, memory=40, **options).fit(series)
    scores = model.anomaly_scores(series)
    for values, expected in zip(series, scores, strict=True):
        stream = model.stream()
        found = [stream.step(value) for value in values]
        np.testing.assert_allclose(found, expected[: len(values)], atol=1e-6)
        assert max(found) > 0.5
    assert stream.threshold == model.threshold_


@each_kind
def test_a_stream_stays_as_small_as_it_is_and_goes_on_elsewhere(kind):
    model = quick(kind, memory=25, quiet=4).fit(Y)
    stream, sizes = model.stream(), []
    for value in np.tile(Y, 2):
        stream.step(value)
        sizes.append(sum(t.numel() for t in stream.state_dict().values()))
    assert len(set(sizes[60:])) == 1
    other = model.stream()
    other.load_state_dict(stream.state_dict())
    later = [[one.step(value) for value in Y[:30]] for one in (stream, other)]
    assert later[0] == later[1]


def test_a_stream_knows_its_series_and_refuses_others():
    model = quick().fit({"a": Y, "b": 100 * Y, "empty": np.full(90, NAN)})
    assert model.stream("empty").step(3.0) == 0.0
    whole = model.anomaly_scores({"b": 100 * Y})[0]
    stream = model.stream("b")
    np.testing.assert_allclose([stream.step(v) for v in 100 * Y], whole, atol=1e-6)
    with pytest.raises(DataError, match="has not met the series 'c'"):
        model.stream("c")
    with pytest.raises(DataError, match="got 2 for 1 features"):
        stream.step([1.0, 2.0])
    with pytest.raises(DataError, match="is a number or some"):
        stream.step("warm")
    with pytest.raises(ModelError, match="no state of a stream"):
        stream.load_state_dict({"last": torch.zeros(3)})
    assert stream.step(float("inf")) == 0.0  # missing


# Messy data.


@each_kind
@pytest.mark.parametrize(
    "data",
    [[1.0, 2.0, 3.0], np.ones(50), np.append(np.ones(49), NAN), [Y, [5.0, 6.0]],
     np.where(np.arange(90) % 3 == 0, Y, NAN), 1e9 * Y, [Y, np.full(90, NAN)]],
)  # fmt: skip
def test_short_constant_and_empty_series_are_scored(kind, data):
    scores = quick(kind, epochs=1).fit(data).anomaly_scores(data)
    assert np.isfinite(scores[~np.isnan(scores)]).all()
    assert not np.isnan(scores[0]).any()


@pytest.mark.parametrize("data", [[1.0], [NAN, NAN, NAN], [1.0, NAN, NAN]])
def test_data_without_two_steps_are_refused(data):
    with pytest.raises(DataError):
        quick().fit(data)


def test_a_short_series_is_told():
    assert "1 of 2 series have fewer than 8 steps" in quick().fit([Y, Y[:6]]).notes_[-1]


def test_a_table_with_times_and_ids():
    frame = pd.DataFrame(
        {"day": DAYS * 2, "shop": ["a"] * 60 + ["b"] * 60, "sold": np.tile(Y[:60], 2)}
    )
    frame = frame.drop(index=[10, 11])
    model = quick(target="sold", time="day", id="shop").fit(frame)
    table = model.predict_table(frame).to_pandas()
    assert list(table) == ["id", "time", "score", "anomaly", "sold"]
    assert len(table) == 120  # the gap is there, without a value
    assert table["sold"].isna().to_list() == [False] * 10 + [True] * 2 + [False] * 108
    assert [str(t) for t in table["time"][:60]] == DAYS
    np.testing.assert_allclose(table["score"], model.anomaly_scores(frame).ravel())
    assert ((table["score"] > model.threshold_) == table["anomaly"]).all()
    with pytest.raises(DataError, match="steps of 1 day, the data has steps of 1 hour"):
        model.predict(frame.assign(day=pd.date_range("2020-01-01", periods=118, freq="h")))
    with pytest.raises(DataError, match="1 features"):
        model.predict(np.zeros((1, 9, 2)))


def test_irregular_rows_are_told_by_their_stamps():
    days = pd.to_datetime(DAYS).to_series().reset_index(drop=True).drop(index=range(5, 50, 4))
    days += pd.to_timedelta(np.arange(len(days)) ** 2, unit="min")
    frame = pd.DataFrame({"day": days, "sold": Y[: len(days)]})
    model = quick(target="sold", time="day").fit(frame)
    assert model.predict_table(frame)["time"].to_pylist() == days.to_list()
