"""``reads_target=False``: forecasts that follow from the other inputs alone."""

import numpy as np
import pandas as pd
import pytest
from cli_tools import done
from data_tools import quick, sine

import gatework as gw
from gatework.cli import forecast
from gatework.cli.jobs import typed
from gatework.data import Columns, load_cube
from gatework.data.splits import split
from gatework.errors import DataError
from gatework.tasks.judging import judged
from gatework.tasks.problem import validated

NAN = float("nan")
ROLES = {"target": "flow", "time": "day", "id": "basin", "future": "rain"}
ARGUMENTS = ROLES | {"reads_target": False, "horizon": 1, "context": 5}


def basins(steps=120, ahead=0, seed=0):
    """Rivers that hold half of what they held, and half of the rain."""
    random = np.random.default_rng(seed)
    parts = []
    for number, basin in enumerate("ab"):
        rain = random.exponential(1.0, steps + ahead)
        flow = np.zeros(steps + ahead)
        for day in range(steps + ahead):
            flow[day] = 0.5 * flow[max(day - 1, 0)] + 0.5 * (1 + number) * rain[day]
        days = pd.date_range("2024-01-01", periods=steps + ahead)
        part = pd.DataFrame({"basin": basin, "day": days, "flow": flow, "rain": rain})
        part.loc[steps:, "flow"] = NAN
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    return quick(**ARGUMENTS, epochs=20, learning_rate=0.03).fit(basins())


def test_no_value_of_the_past_reaches_the_forecast(fitted):
    table = basins(steps=90, ahead=1, seed=1)
    other = table.assign(flow=np.where(table["flow"].isna(), NAN, 7.0))
    some = table.assign(flow=np.where(table["day"] < "2024-03-30", NAN, table["flow"]))
    wanted = fitted.predict(table)
    assert np.isfinite(wanted).all()
    assert np.array_equal(fitted.predict(other), wanted)
    assert np.array_equal(fitted.predict(some), wanted)
    for name in ("linear", "naive"):
        same = np.allclose(*(fitted.predict_baselines(t)[name] for t in (table, other)))
        assert same == (name == "linear")
    reader = quick(**ARGUMENTS | {"reads_target": True}).fit(basins())
    assert not np.allclose(reader.predict(other), reader.predict(table))


def test_what_the_rain_says_is_found(fitted):
    """The flow is a sum over the rain of days, which a linear model of it finds by itself."""
    evaluation = fitted.evaluate(basins(seed=2), np.full(2, 20))
    errors = {name: found.rmse for name, found in evaluation.errors().items()}
    spread = evaluation.truth.std()
    assert errors["linear"] < 0.1 * spread
    assert errors["lstm"] < 0.5 * errors["naive"]


def test_windows_without_any_past_are_forecast(fitted):
    cube = load_cube(basins(seed=2), Columns(**ROLES))
    cube.values[:, :100, 0] = NAN
    evaluation = fitted.evaluate(cube, np.full(2, 100))
    assert len(evaluation.truth) == 40
    assert np.isfinite(evaluation.forecasts["lstm"]).all()
    assert np.isfinite(evaluation.forecasts["linear"]).all()


def test_a_saved_model_says_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = gw.Forecaster.load(tmp_path / "model")
    table = basins(ahead=1)
    assert again.get_params()["reads_target"] is False
    assert np.array_equal(again.predict(table), fitted.predict(table))
    assert np.array_equal(
        again.predict_baselines(table)["linear"], fitted.predict_baselines(table)["linear"]
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"form": "recursive"}, "form 'recursive' is fed its own forecasts"),
        ({"form": "encoder_decoder"}, "Use the form 'direct'."),
        ({"head": "negative_binomial"}, "multiplies the mean of the past"),
        ({"future": (), "horizon": 1}, "there is nothing to read. Name features"),
        ({"reads_target": "no"}, "reads_target is True or False, got 'no'"),
    ],
)
def test_what_cannot_be_is_refused(given, said):
    table = basins(40).drop(columns="rain") if "future" in given else basins(40)
    with pytest.raises(DataError, match=said):
        quick(**ARGUMENTS | given).fit(table)


def test_windows_that_are_too_wide_for_a_linear_model_leave_it_a_constant(monkeypatch):
    monkeypatch.setattr("gatework.tasks.baselines.WIDEST", 4)
    model = quick(**ARGUMENTS, epochs=1).fit(basins(60))
    found = model.predict_baselines(basins(60, ahead=1))["linear"]
    means = basins(60).groupby("basin")["flow"].apply(lambda v: v[:48].mean())
    assert np.allclose(found[:, 0], means, rtol=0.2)
    assert model.model_.linear.weight.shape == (0, 1)


def test_windows_to_judge_by_need_nothing_seen_of_the_target():
    rain = sine(60)
    runoff = np.where(np.arange(60) // 6 == 8, np.nan, rain)  # 48 to 53: nothing of it is seen
    data = np.stack([runoff, rain], axis=1)[None]
    counts = []
    for reads in (True, False):
        model = gw.Forecaster(horizon=2, context=4, features="x1", reads_target=reads)
        cube = model.load_data(data)
        kept = validated(cube, split(cube, 2, model.validation), (4, 4), 2, blind=not reads)
        counts.append(len(kept[0]))
        assert judged(model, data, {"context": (4,)}).words.startswith(
            f"the last {counts[-1]} window"
        )
    assert counts[1] > counts[0]


def test_the_command_line_says_it_too(tmp_path):
    table = tmp_path / "basins.csv"
    basins(60).to_csv(table, index=False)
    columns = ("--target", "flow", "--time", "day", "--id", "basin", "--feature", "rain")
    small = ("--horizon", 2, "--context", 4, "--hidden-size", 3, "--epochs", 1, "--device", "cpu")
    run = tmp_path / "run"
    done("fit", "forecast", table, *columns, *small, "--no-reads-target", "--out", run)
    model = gw.Forecaster.load(run)
    assert model.get_params()["reads_target"] is False
    assert model.network_.inputs.layout.numbers == (1,)
    assert "linear" in done("backtest", run, table, "--folds", 1).out
    given = {"data": "basins.csv", "horizon": 2, "reads_target": False}
    assert "--horizon 2 --no-reads-target --out" in typed("forecast", forecast.prepare, given, {})
    given |= {"reads_target": True}
    assert "reads-target" not in typed("forecast", forecast.prepare, given, {})
