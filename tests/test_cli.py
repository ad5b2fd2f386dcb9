"""The command line: what a new user types, and what they see."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_tools import COLUMNS, SMALL, table
from data_tools import DAYS, write

import gatework as gw
from gatework.cells import all_cells, name_of
from gatework.cli import forecast
from gatework.training import checkpoint

HERE = Path(__file__).parent


def fitted(gatework, *more, data="airpassengers"):
    status, out, err = gatework("fit", "forecast", data, *SMALL, "--out", "run", *more)
    assert status == 0, err
    return out


# What is meant to happen.


def test_fit_scores_saves_and_reports(gatework, tmp_path):
    out = fitted(gatework)
    assert "One series of 144 steps, one every 1 month, from 1949-01-01" in out
    assert "Reads 6 steps, forecasts 3." in out
    rows = re.findall(
        r"^(lstm|naive|seasonal naive|drift|linear) +(\S+) +(\S+) +(\S+) +(\S+) *$", out, re.M
    )
    assert [r[0] for r in rows] == ["lstm", "naive", "seasonal naive", "drift", "linear"]
    assert re.search(r"The lstm (does not beat|beats) the [a-z ]+ forecast: MAE", out)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "model.safetensors",
        "report.html",
        "summary.json",
    ]
    errors = json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation"]["errors"]
    assert [f"{errors[r[0]]['mae']:.4g}" for r in rows] == [r[1] for r in rows]


def test_fit_is_the_estimator_on_what_is_not_held_out(gatework, tmp_path):
    fitted(gatework, "--test", "20", "--seed", "5", "--scaling", "log", "--cell", "gru")
    cube = gw.Forecaster().load_data("airpassengers")
    model = gw.Forecaster("gru", 3, horizon=3, context=6, epochs=2, seed=5, scaling="log")
    model.fit(cube.until(np.array([124])))
    loaded = gw.Forecaster.load(tmp_path / "run")
    assert np.array_equal(loaded.predict(cube), model.predict(cube))
    errors = json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation"]["errors"]
    expected = model.evaluate(cube, np.array([124])).errors()
    assert {k: v["mae"] for k, v in errors.items()} == {k: v.mae for k, v in expected.items()}


def test_missing_values_gaps_and_short_series_are_counted(gatework, tmp_path):
    content = table() + f"{DAYS[0]},tiny,1,1\n{DAYS[1]},tiny,2,2\n"
    out = fitted(gatework, *COLUMNS, "--feature", "price", data=write(tmp_path, content))
    assert "note: 6 of 100 values of 'sold' are missing (empty or not finite)" in out
    assert "note: 2 steps of 1 day absent from the table (gaps)" in out
    assert "note: 1 of 3 series have no training window of 9 steps" in out
    assert "'tiny'" in out


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_writes_what_the_estimator_predicts(gatework, tmp_path, suffix):
    data = write(tmp_path, table())
    fitted(gatework, *COLUMNS, data=data)
    status, out, err = gatework("predict", "run", data, "--out", f"next{suffix}")
    assert (status, out) == (0, f"6 forecasts written to next{suffix}\n")
    assert "6 of 98 values of 'sold' are missing" in err
    expected = gw.Forecaster.load("run").predict_table(data).to_pydict()
    if suffix == ".parquet":
        assert pq.read_table(f"next{suffix}").to_pydict() == expected
    else:
        lines = [line.split(",") for line in Path("next.csv").read_text().splitlines()]
        assert lines[0] == ['"id"', '"time"', '"step"', '"sold"']
        assert lines[1][:3] == ['"a"', DAYS[50], "1"]
        assert [float(line[3]) for line in lines[1:]] == expected["sold"]


@pytest.mark.usefixtures("run_folder")
def test_intervals_and_backtests_of_a_fitted_model(gatework):
    status, out, err = gatework("predict", "run", "airpassengers", "--coverage", "0.8")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == '"id","time","step","passengers","low","high"'
    table = gw.Forecaster.load("run").predict_table("airpassengers", 0.8)
    values = [[float(v) for v in line.split(",")[3:]] for line in out.splitlines()[1:]]
    assert values == [list(row.values())[3:] for row in table.to_pylist()]
    status, out, _ = gatework("backtest", "run", "airpassengers", "--folds", "2", "--no-refit")
    expected = gw.Forecaster.load("run").backtest("airpassengers", 2, refit=False)
    assert status == 0
    assert expected.verdict() in out
    assert expected.interval_words() in out


@pytest.mark.usefixtures("run_folder")
def test_predict_without_a_file_prints_nothing_but_the_table(gatework):
    status, out, err = gatework("predict", "run", "airpassengers")
    assert (status, err) == (0, "")
    assert [line.split(",")[1] for line in out.splitlines()] == [
        '"time"',
        "1961-01-01",
        "1961-02-01",
        "1961-03-01",
    ]


def test_predict_says_which_series_have_no_forecast(gatework, tmp_path):
    fitted(gatework, *COLUMNS, data=write(tmp_path, table()))
    blind = table() + "".join(f"{DAYS[i]},a,,0\n" for i in range(50, 58))
    status, out, err = gatework("predict", "run", write(tmp_path, blind))
    assert status == 0
    assert "1 series without a value in their last 6 steps have no forecast" in err
    assert out.splitlines()[1].endswith(",1,")


def test_report_writes_the_same_page_again(gatework, run_folder):
    page = (run_folder / "report.html").read_text()
    assert gatework("report", "run", "--out", "again.html")[0] == 0
    assert Path("again.html").read_text() == page
    (run_folder / "report.html").unlink()
    assert gatework("report", "run")[:2] == (0, "report: run/report.html\n")
    assert (run_folder / "report.html").read_text() == page


def test_cells_lists_all_and_shows_one(gatework):
    status, out, _ = gatework("cells")
    assert status == 0
    assert all(name_of(cell) in out for cell in all_cells())
    status, out, _ = gatework("cells", "peephole_lstm")
    assert status == 0
    assert re.search(r"^ +f += sigmoid\(", out, re.M)
    assert gatework("cells", "peephole_lstm", "--latex")[1].count("\\sigma") >= 3
    assert "sigmoid(W_z" in gatework("cells", f"{HERE / 'own_cell.py'}:LeakyGRU")[1]


def test_check_is_the_doctor(gatework, tmp_path):
    status, out, err = gatework("check", write(tmp_path, table()), *COLUMNS, "--horizon", 3)
    assert (status, err) == (0, "")
    assert "note  6 of 98 values of 'sold' are missing" in out
    status, _, err = gatework("check", write(tmp_path, table()), *COLUMNS, "--horizon", 30)
    assert status == 2
    assert err.startswith("error: No series is long enough")


def test_wide_tables(gatework, tmp_path):
    rows = "".join(f"{d},{i % 5},{i % 3}\n" for i, d in enumerate(DAYS))
    data = write(tmp_path, "day,north,south\n" + rows)
    out = fitted(gatework, "--target", "north", "--target", "south", data=data)
    assert "2 series of 60 steps" in out
    assert gatework("predict", "run", data)[1].count('"south"') == 3


def test_an_own_cell(gatework):
    out = fitted(gatework, "--cell", f"{HERE / 'own_cell.py'}:LeakyGRU")
    assert "leaky_gru" in out
    assert gatework("predict", "run", "airpassengers")[0] == 0


def test_version_and_bare_commands(gatework):
    assert gatework("--version") == (0, f"gatework {gw.__version__}\n", "")
    for words in ((), ("fit",)):
        status, out, err = gatework(*words)
        assert (status, err) == (2, "")
        assert "Usage: gatework" in out


@pytest.mark.parametrize(
    "command", ["fit forecast", "predict", "backtest", "report", "cells", "check"]
)
def test_every_help_has_an_example(gatework, command):
    status, out, _ = gatework(*command.split(), "--help")
    assert status == 0
    assert f"Example: gatework {command}" in " ".join(out.split())


# In a process of its own.


def command(*words):
    return [str(Path(sys.executable).with_name("gatework")), *words]


def test_the_installed_command(tmp_path):
    done = subprocess.run(
        command("check", "absent.csv"), capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: absent.csv does not exist")


def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_numbers(gatework, tmp_path):
    words = ["fit", "forecast", "airpassengers", *SMALL, "--patience", "0"]
    with subprocess.Popen(
        # More epochs than any machine could train before the signal.
        command(*words, "--epochs", "1000000", "--out", "run"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        path = tmp_path / "run" / checkpoint.NAME
        while process.poll() is None and not (path.is_file() and checkpoint.epochs_done(path) >= 2):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert "stopped; go on with the same command and --resume (in run)" in err
    assert "Traceback" not in err
    assert [p.name for p in (tmp_path / "run").iterdir()] == [checkpoint.NAME]
    epochs = checkpoint.epochs_done(path) + 2
    for out, more in (("run", ["--resume"]), ("whole", [])):
        got = gatework(*words, "--epochs", epochs, "--out", out, *more)
        assert got[0] == 0, got
    for name in ("model.safetensors", "summary.json", "report.html"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_defaults_are_those_of_the_estimator():
    options = inspect.signature(forecast.prepare).parameters
    arguments = gw.Forecaster().get_params()
    # A validation part that is not asked for is that of the estimator (test_options).
    same = set(options) & set(arguments) - {"horizon", "validation"}
    assert len(same) > 10
    for name in same:
        default = options[name].default
        assert (default or ()) == (arguments[name] or ()) or default == arguments[name], name
    assert options["layers"].default == arguments["num_layers"]
