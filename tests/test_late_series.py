"""Series whose training part says little: a late one, a constant one, an empty feature."""

import numpy as np
import pandas as pd
import pytest
from data_tools import named, sine

import gatework as gw
from gatework.data import load_cube
from gatework.data.scaling import COMMON, Scaler
from gatework.data.splits import split
from gatework.errors import DataError
from gatework.tasks.judging import judged
from gatework.tasks.surprise import KNOWN

NAN = float("nan")
STEPS = 60


def panel(late=None, unit=1.0):
    """Three series and, if asked for, a much larger one that has no value before a step."""
    series = {f"s{i}": 10 * i + sine(STEPS, noise=0.3) for i in range(3)}
    if late is not None:
        series["late"] = 1e5 * np.where(np.arange(STEPS) < late, NAN, 5 + sine(STEPS))
    return {name: unit * values for name, values in series.items()}


def fitted(data):
    return gw.Forecaster("gru", 4, horizon=2, context=6, epochs=2).fit(data)


@pytest.mark.parametrize("late", [STEPS - 12, STEPS - 13])  # with no and one value for training
def test_a_series_that_starts_late_spoils_no_other_one(late):
    alone, beside = fitted(panel()), fitted(panel(late))
    # The late one has gaps, so the networks differ by an input.
    losses = [model.history_[-1]["validation"] for model in (alone, beside)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    widths = np.diff(beside.predict_interval(panel(late)), axis=-1)[..., 0]
    others = np.diff(alone.predict_interval(panel()), axis=-1)[..., 0]
    np.testing.assert_allclose(widths[:3], others, rtol=0.2)
    # It is forecast by the scale that all of its values tell.
    assert 1e4 < widths[3].min() < widths[3].max() < 1e6
    assert any("fewer than two values" in n and "'late'" in n for n in beside.notes_)
    assert not any("fewer than two values" in note for note in alone.notes_)


def test_two_values_of_a_training_part_tell_a_scale():
    model = fitted(panel(STEPS - 14))
    values = panel(STEPS - 14)["late"][[STEPS - 14, STEPS - 13]]
    assert model.scaler_.center["late"][0] == pytest.approx(values.mean())
    assert model.scaler_.spread["late"][0] == pytest.approx(values.std())


def little_told():
    """Of three series one is constant, and one has no value of a feature in its training part."""
    values = np.stack([np.stack([sine(30, noise=0.5), 5 + sine(30, noise=2.0)], 1)] * 3)
    values[1, :20, 0] = 7.0
    values[2, :20, 1] = NAN
    return named(values), np.full(3, 20)


@pytest.mark.parametrize("method", ["standard", "robust", "log"])
def test_what_a_series_does_not_tell_is_that_of_all_together(method):
    cube, ends = little_told()
    if method == "log":
        cube.values[..., 0] += 10
    scaler = Scaler.fit(cube, ends, method)
    center, spread = scaler.center[COMMON], scaler.spread[COMMON]
    seven = cube.values[1, 0, 0]
    assert scaler.center["1"][0] == pytest.approx(np.log1p(seven) if method == "log" else seven)
    assert scaler.spread["1"][0] == spread[0] != 1
    assert (scaler.center["2"][1], scaler.spread["2"][1]) == (center[1], spread[1])
    assert scaler.spread["2"][0] != spread[0]


def test_the_unit_of_a_table_does_not_matter():
    cube, ends = little_told()
    large = named(1000 * cube.values)
    one, other = (Scaler.fit(c, ends).scaled(c) for c in (cube, large))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_pieces_tell_what_the_whole_does():
    cube, ends = little_told()
    whole = Scaler.fit(cube, ends)
    found = Scaler.joined((cube.at([row]), ends[[row]]) for row in range(3))
    for row in range(3):
        for one, two in zip(whole.of(cube, row), found.of(cube, row), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9)


def test_a_new_series_of_one_value_is_as_wide_as_all_together():
    known = Scaler.fit(*little_told())
    new = known.extended(load_cube({"new": np.array([[500.0, NAN]])}), np.array([1]))
    assert new.center["new"].tolist() == [500.0, known.center[COMMON][1]]
    assert new.spread["new"].tolist() == known.spread[COMMON].tolist()


def test_a_search_judges_on_the_same_series():
    model = gw.Forecaster("gru", 4, horizon=2, context=6)
    cube = load_cube(panel(STEPS - 12))
    words = judged(model, cube, {"hidden_size": (4, 8)}).words
    assert "of 3 series" in words
    assert split(cube, 2, 0.2).train.tolist() == [48] * 4


@pytest.mark.parametrize("kind", ["forecast", "autoencoder"])
def test_a_late_series_makes_no_detector_blind(kind):
    models = [
        gw.Detector(kind, "gru", 4, context=8, epochs=2).fit(panel(late))
        for late in (None, STEPS - 8)
    ]
    alone, beside = (model.model_ for model in models)
    np.testing.assert_allclose(beside.scatter, alone.scatter, rtol=1e-12)
    np.testing.assert_array_equal(beside.begins[COMMON].errors, alone.begins[COMMON].errors)
    assert models[1].history_ == models[0].history_
    assert np.isfinite(models[1].anomaly_scores(panel(STEPS - 8))).all()
    assert any("fewer than two values" in n and "'late'" in n for n in models[1].notes_)
    words = judged(
        gw.Detector(kind, context=8), load_cube(panel(STEPS - 8)), {"hidden_size": (4, 8)}
    )
    assert words.words == "the last 36 steps with a value of 3 series"


def test_a_series_of_one_step_beside_others_is_scored_and_dated():
    stamps = pd.date_range("2024-01-01", periods=40, freq="h")
    table = pd.DataFrame({"id": "a", "time": stamps, "y": sine(40, noise=0.3)})
    one = pd.DataFrame({"id": "b", "time": pd.to_datetime(["2024-01-05"]), "y": [3.0]})
    table = pd.concat([table, one], ignore_index=True)
    roles = {"target": "y", "time": "time", "id": "id"}
    model = gw.Detector(hidden_size=2, context=8, epochs=1, **roles).fit(table)
    found = model.predict_table(table)
    # Its one stamp is a midnight, and shown with its hour as the others are.
    assert found.column("time").to_pylist() == table["time"].dt.to_pydatetime().tolist()
    assert found.column("score").to_pylist()[-1] == 0.0
    with pytest.raises(DataError, match="no two steps with a value"):
        gw.Detector(hidden_size=2, context=4, epochs=1).fit([[NAN, NAN, 1.0, NAN, NAN, 2.0]])


def test_the_order_of_series_does_not_matter_to_what_a_detector_knows_of_all():
    loud, calm = (size * np.random.default_rng(0).normal(size=2600) for size in (10.0, 0.1))
    middles = []
    for data in ([loud, calm], [calm, loud]):
        model = gw.Detector("forecast", "gru", 2, context=8, epochs=1).fit(data).model_
        errors = np.sort(model.begins[COMMON].errors)
        middles.append((errors[100], errors[400]))
        assert len(errors) == KNOWN
    assert middles[0][1] > 10 * middles[0][0]  # of both
    np.testing.assert_allclose(*middles, rtol=0.2)
