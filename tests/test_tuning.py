"""The search for arguments: what is tried, what is kept, a search that was killed and goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli_tools import call, done, refused
from data_tools import quick, sine

import gatework as gw
from gatework.data.labelled import load_labelled
from gatework.errors import DataError, TrainingError
from gatework.inspect import report, search_figure
from gatework.tasks import tuning
from gatework.tasks.search_space import Range
from gatework.tasks.tuning import best, search, trials_done

optuna = pytest.importorskip("optuna", reason="optuna is an extra: gatework[tune]")

Y = sine(60, noise=0.3)
SPACE = {
    "cell": ("lstm", "gru"),
    "hidden_size": Range(2, 9),
    "learning_rate": Range(1e-3, 1e-1, whole=False),
    "context": (4, 6),
}
MODEL = {"epochs": 3, "device": "cpu", "batch_size": 16}
COMMAND = (
    *("tune", "forecast", "airpassengers", "--horizon", "6", "--device", "cpu", "--layers", "1"),
    *("--hidden-size", "2:6", "--cell", "gru", "--context", "6", "--context", "12"),
    *("--epochs", "2", "--trials", "3"),
)


def searched(folder, trials=4, resume=False, model=MODEL, data=Y, **more):
    return search(quick(**model), data, SPACE, trials, folder, resume, **more)


def test_a_search_tries_the_models_own_arguments_first_and_finds_the_smallest_loss(tmp_path):
    told = []
    trials = searched(tmp_path, tell=lambda number, trial: told.append((number, trial)))
    assert told == list(enumerate(trials, start=1))
    first = {"cell": "lstm", "hidden_size": 4, "learning_rate": 0.003, "context": 6}
    assert trials[0].arguments == first
    assert len({str(t.arguments) for t in trials}) == 4
    for trial in trials:
        assert trial.arguments["hidden_size"] in range(2, 10)
        fitted = quick(**MODEL | trial.arguments).fit(Y)
        losses = [r["validation"] for r in fitted.history_]
        assert trial.loss == pytest.approx(min(losses), rel=1e-12)
    assert best(trials).loss == min(t.loss for t in trials)


def test_a_search_takes_every_seed(tmp_path):
    model = quick(**MODEL | {"epochs": 1, "seed": 2**63 - 1})
    assert len(search(model, Y, {"hidden_size": (2, 4)}, 2, tmp_path)) == 2


class CutError(Exception):
    """As a kill would, in the middle of a trial."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing has stopped."""
    return searched(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("done_before", [0, 2])
def test_a_search_that_was_cut_short_goes_on_to_the_same_trials(
    tmp_path, monkeypatch, whole, done_before
):
    epoch = tuning._Judge.epoch

    def stop(judge, record):
        epoch(judge, record)
        if judge.trial.number == done_before and record["epoch"] == 2:
            raise CutError

    monkeypatch.setattr(tuning._Judge, "epoch", stop)
    with pytest.raises(CutError):
        searched(tmp_path / "cut")
    monkeypatch.undo()
    assert trials_done(tmp_path / "cut") == done_before
    assert searched(tmp_path / "cut", resume=True) == whole
    assert searched(tmp_path / "cut", resume=True) == whole  # nothing is left to do


def test_a_trial_that_others_were_better_than_is_stopped(tmp_path):
    rates = {"learning_rate": (0.03, 1e-9)}
    model = quick(**MODEL | {"epochs": 8, "patience": 0, "learning_rate": 0.03})
    trials = search(model, Y, rates, 16, tmp_path)
    stopped = [t for t in trials if t.state == "pruned"]
    assert stopped
    assert {t.arguments["learning_rate"] for t in stopped} == {1e-9}
    assert all(t.epochs < 8 for t in stopped)
    assert best(trials).arguments["learning_rate"] == 0.03


def test_a_trial_that_cannot_be_is_told_and_passed_over(tmp_path):
    steep = {"learning_rate": (0.003, 1e30)}
    trials = search(quick(**MODEL), Y, steep, 6, tmp_path)
    refusals = [t for t in trials if t.state == "refused"]
    assert refusals
    assert all("not finite" in t.why and t.loss is None for t in refusals)
    assert best(trials).arguments == {"learning_rate": 0.003}
    assert trials_done(tmp_path) == len(trials) - len(refusals)
    with pytest.raises(DataError, match=r"All 2 trials were refused; the last: .* not finite"):
        search(quick(**MODEL), Y, {"learning_rate": (1e29, 1e30)}, 2, tmp_path / "none")


def test_another_search_is_not_gone_on_with(tmp_path):
    searched(tmp_path, 1)
    for changed in ({"data": Y + 1}, {"model": MODEL | {"horizon": 2}}):
        with pytest.raises(TrainingError, match=r"is another search: (data|horizon) was"):
            searched(tmp_path, 1, True, **changed)
    (tmp_path / tuning.NAME).write_bytes(b"no database, but rather long text " * 99)
    with pytest.raises(TrainingError, match=r"tuning.db is no search of Gatework or is damaged"):
        searched(tmp_path, 1, True)
    assert trials_done(tmp_path) == 0


def test_without_a_validation_part_there_is_nothing_to_judge_by(tmp_path):
    with pytest.raises(DataError, match="validation=0 leaves none"):
        searched(tmp_path, model=MODEL | {"validation": 0.0})
    model = gw.Classifier(hidden_size=3, epochs=1, device="cpu")  # one sequence of each class
    data = load_labelled(np.arange(36.0).reshape(4, 9), [0, 1, 2, 3])
    with pytest.raises(DataError, match="no example can be spared for it"):
        search(model, data, {"hidden_size": (3, 4)}, 2, tmp_path / "classify")


def test_without_optuna_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refused(*COMMAND, "--out", tmp_path / "run")
    assert "needs optuna, which is not installed; pip install 'gatework[tune]'" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["0:4", "9:4", "a:b", "", ":", "3:nan", "1.5:3"])
def test_ranges_that_cannot_be_are_refused(tmp_path, text):
    assert "--hidden-size" in refused(*COMMAND, "--hidden-size", text, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_killed_search_goes_on_to_the_same_model(tmp_path):
    words = [*COMMAND, "--out", "run"]
    command = [sys.executable, "-c", "from gatework.cli.main import run; run()", *words]
    path, environment = tmp_path / "run", os.environ | {"OMP_NUM_THREADS": "1"}
    # So many epochs that the second trial lasts until it is killed.
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        while "trial 1/3" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert trials_done(path) in (1, 2)
    assert not (path / "model.safetensors").exists()
    assert "is not empty; add --resume" in refused(*COMMAND, "--out", path)
    resumed = done(*COMMAND, "--out", path, "--resume").out
    assert resumed.count("trial 3/3") == 1
    done(*COMMAND, "--out", tmp_path / "whole")
    for name in ("model.safetensors", "summary.json", "report.html"):
        assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    summary = json.loads((path / "summary.json").read_text())["search"]
    assert len(summary["trials"]) == 3
    page = (path / "report.html").read_text()
    assert page.count('class="wide"') == page.count('class="narrow"') == 5
    assert "3 trials, judged by the validation loss" in page
    assert call("predict", path, "airpassengers").status == 0


def test_a_classifier_is_searched_for_too(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render", lambda summary: "")  # drawn in test_report_browser
    random = np.random.default_rng(0)
    y = np.arange(24) % 2
    x = random.normal(size=(24, 9)) + y[:, None]
    np.savez(tmp_path / "cases_TRAIN.npz", X=x, y=y.astype(str))
    np.savez(tmp_path / "cases_TEST.npz", X=x, y=y.astype(str))
    words = ("--trials", "2", "--epochs", "2", "--hidden-size", "2:4", "--layers", "1")
    run = tmp_path / "run"
    said = done(
        "tune", "classify", tmp_path / "cases_TRAIN.npz", *words, "--device", "cpu", "--out", run
    ).out
    assert "trial 2/2: cell " in said
    assert "bidirectional" in said
    assert sorted(p.name for p in run.iterdir())[-1] == "tuning.db"


def test_a_search_that_cannot_begin_leaves_no_folder(tmp_path):
    run = tmp_path / "run"
    assert "No cell is called 'nonesuch'" in refused(*COMMAND, "--cell", "nonesuch", "--out", run)
    assert "999" in refused(*COMMAND[:-8], "--context", "999", "--out", run)
    assert not run.exists()


def test_several_processes_do_not_search(tmp_path, monkeypatch):
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert "start it without torchrun" in refused(*COMMAND, "--out", tmp_path / "run")


@pytest.mark.parametrize("loss", [0.5, None])
def test_the_picture_of_one_trial_and_of_names_that_look_like_markup(loss):
    trials = [{"arguments": {"cell": "a<b>&", "rate": 0.1}, "loss": 0.5, "state": "done"}]
    trials += [{"arguments": {"cell": "c", "rate": 0.2}, "loss": loss, "state": "done"}]
    svg = search_figure.parallel({"trials": trials, "best": 0})
    assert svg.count("<svg") == 2
    assert "a&lt;b&gt;&amp;" in svg


def test_axes_are_in_the_scale_that_was_searched_and_choices_have_names():
    ranks = np.array([0.0, 1.0])
    factors = {"low": 8, "high": 128, "log": True, "whole": True}
    sizes = search_figure.Scale([32, 128], factors, ranks)
    assert sizes.places == pytest.approx([0.5, 1.0])
    assert [text for _, text in sizes.ticks] == ["8", "16", "32", "64", "128"]
    steps = factors | {"low": 0.0, "high": 0.5, "log": False, "whole": False}
    assert search_figure.Scale([0.125, 0.5], steps, ranks).places == pytest.approx([0.25, 1.0])
    one = search_figure.Scale([3.0, 3.0], factors | {"low": 3.0, "high": 3.0}, ranks)
    assert np.isfinite(one.places).all()
    layers = search_figure.Scale([1, 3], factors | {"low": 1, "high": 3}, ranks)
    assert [text for _, text in layers.ticks] == ["1", "2", "3"]
    names = search_figure.Scale([True, False], [False, True], ranks)
    assert [text for _, text in names.ticks] == ["no", "yes"]
    assert names.places[0] > 0.5 > names.places[1]
