"""Trials of a search are judged alike: on the same targets, by one measure, for every task."""

import inspect
import shlex

import numpy as np
import pytest
from cli_tools import done, refused, shops
from data_tools import named, quick, sine, write

import gatework as gw
from gatework.cli import classify, detect, forecast
from gatework.cli.tune import NOT_HERE, tune_command
from gatework.data.labelled import load_labelled
from gatework.errors import DataError
from gatework.inspect import report
from gatework.tasks import estimator, tuning
from gatework.tasks.judging import contexts_to_try, judged
from gatework.tasks.search_space import SEARCHED, Range

pytest.importorskip("optuna", reason="optuna is an extra: gatework[tune]")

TINY = {"hidden_size": 3, "epochs": 1, "device": "cpu"}
# Of 60, 20 and 14 steps: the validation parts begin at 48, 16 and 11.
PANEL = [sine(60), sine(20), sine(14)]


def targets(monkeypatch, data, context, contexts):
    """Rows and origins of the validation windows that a forecaster stops by."""
    kept = []
    loop = estimator.fit

    def look(problem, *more):
        kept.append(problem.parts["validation"])
        return loop(problem, *more)

    monkeypatch.setattr(estimator, "fit", look)
    quick(**TINY | {"horizon": 2, "context": context}).fit(named(data), contexts=contexts)
    monkeypatch.undo()
    return list(zip(kept[0].rows.tolist(), kept[0].origins.tolist(), strict=True))


def test_models_of_every_context_are_validated_on_the_same_windows(monkeypatch):
    gap = sine(60)
    gap[49:55] = np.nan  # with 4 steps of context nothing is seen at 53, 54 and 55
    for data in (PANEL, [gap, *PANEL[1:]]):
        own = [targets(monkeypatch, data, context, None) for context in (4, 13)]
        assert own[0] != own[1]
        alike = [targets(monkeypatch, data, context, (4, 13)) for context in (4, 9, 13)]
        assert alike[0] == alike[1] == alike[2] == sorted(set(own[0]) & set(own[1]))
    origins = [*range(48, 59), *range(16, 19)]
    assert [origin for _, origin in targets(monkeypatch, PANEL, 4, (4, 13))][:14] == origins


def test_a_search_judges_by_these_windows_and_says_so(tmp_path):
    model = quick(**TINY | {"horizon": 2, "epochs": 2, "context": 4})
    trials = tuning.search(model, named(PANEL), {"context": (4, 13)}, 2, tmp_path)
    for trial in trials:
        again = quick(**TINY | {"horizon": 2, "epochs": 2} | trial.arguments)
        again.fit(named(PANEL), contexts=(4, 13))
        assert trial.loss == min(record["validation"] for record in again.history_)
    by = judged(model, named(PANEL), {"context": (4, 13)})
    assert by.words == (
        "the last 14 windows of 2 series, the same for every context from 4 to 13 steps (2 more "
        "have room for the shortest alone)"
    )


def test_a_longer_context_is_tried_where_it_leaves_half_of_the_windows():
    model = quick(horizon=2, context=10)
    assert contexts_to_try(model, named([sine(60)])) == (10, 5, 20)
    assert contexts_to_try(model, named([sine(60), *[sine(18)] * 5])) == (10, 5)


def test_contexts_that_share_no_window_are_not_compared(tmp_path):
    short = [sine(26), sine(26)]
    for contexts, words in (
        ((4, 999), r"^No series is long enough: a window is context 999"),
        (Range(4, 40), r"^No series is long enough"),
    ):
        with pytest.raises(DataError, match=words):
            tuning.search(quick(), named(short), {"context": contexts}, 2, tmp_path)
    late = np.r_[np.full(30, np.nan), sine(30)]
    late[40:] = np.nan  # nothing is known in the validation part
    with pytest.raises(DataError, match="no example can be spared"):
        tuning.search(quick(), named([late]), {"hidden_size": (2, 3)}, 2, tmp_path)


def test_every_task_says_what_it_is_judged_on():
    sizes = {"hidden_size": (3, 4)}
    cases = load_labelled(np.arange(90.0).reshape(10, 9), [0, 1] * 5)
    assert judged(gw.Classifier(), cases, sizes).words.startswith("2 of the 10 sequences, ")
    gap = sine(50)
    gap[45] = np.nan
    said = judged(gw.Detector(), gap, sizes).words
    assert said == "the last 9 steps with a value of 1 series"


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "Nothing is searched for"),
        ({"scaling": ("log", "none")}, "scaling cannot be searched for: .*one measure"),
        ({"head": ("point", "normal")}, "head cannot be searched for"),
        ({"form": ("direct", "nonesuch")}, "nonesuch"),
        ({"cell": ("lstm", "phased_lstm")}, "no task gives a cell more than its input"),
        ({"hidden_size": (4, 0)}, "hidden_size is a whole number above zero, got 0"),
        ({"dropout": Range(0.0, 1.5, whole=False, log=False)}, r"dropout is a share in \[0, 1\)"),
    ],
)
def test_what_cannot_be_searched_for_is_said_before_anything_is_fitted(tmp_path, space, words):
    with pytest.raises(DataError, match=words):
        tuning.search(quick(), sine(60), space, 2, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", [forecast, classify, detect], ids=lambda task: task.__name__[13:])
def test_tune_takes_every_option_of_fit(task):
    name = task.__name__.rpartition(".")[2]
    options = inspect.signature(task.prepare).parameters.keys()
    own = inspect.signature(tune_command(task.prepare, name)).parameters.keys()
    assert options - set(NOT_HERE) == own - {"out", "trials", "resume", "overwrite"}


def test_what_is_searched_for_is_an_argument_of_the_estimator():
    for model in (gw.Forecaster(), gw.Classifier(), gw.Detector()):
        assert SEARCHED[model.task].keys() <= model.get_params().keys()


def by_hand(out):
    """The words of the command that a search has printed last."""
    *_, last = out.strip().splitlines()
    assert last.startswith("by hand: gatework ")
    return shlex.split(last)[3:]


def test_the_command_that_is_told_fits_the_same_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path, shops(steps=40), "my shops.csv")
    columns = ("--target", "sold", "--time", "day", "--id", "shop", "--future", "price")
    words = ("--static", "remark", "--calendar", "weekday", "--head", "normal", "--per", "global")
    asked = ("--form", "direct", "--form", "recursive", "--context", "4:8", "--layers", "1")
    rest = ("--cell", "gru", "--hidden-size", "2:4", "--trials", "2", "--epochs", "1")
    horizon = ("--horizon", "3", "--device", "cpu")
    said = done("tune", "forecast", data, *columns, *words, *asked, *rest, *horizon, "--out", "run")
    assert "the same for every context from 4 to 8 steps" in said.out
    assert said.out.count("note: Of the calendar weekday are read.") == 1  # found by the fit
    hand = by_hand(said.out)
    assert {"--form", "--context", "--learning-rate", "my shops.csv"} <= {*hand, hand[2][-12:]}
    monkeypatch.setattr(report, "render", lambda summary: "")  # drawn once
    done(*hand)
    files = [tmp_path / run / "model.safetensors" for run in ("run", "by-hand")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert shlex.join(hand[2:]) in (tmp_path / "run" / "report.html").read_text().replace(
        "&#39;", "'"
    )
    assert done("predict", "run", data).out.startswith('"id","time","step","sold"')


def test_a_detector_is_searched_for_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "render", lambda summary: "")  # drawn in test_detect_cli
    values = "y\n" + "".join(f"{v:.3f}\n" for v in sine(60, noise=0.2))
    words = ("--trials", "2", "--epochs", "1", "--context", "8", "--hidden-size", "2:5")
    fixed = ("--cell", "gru", "--layers", "1", "--device", "cpu", "--out", "run")
    said = done("tune", "detect", write(tmp_path, values), *words, *fixed).out
    assert "Trials are judged on the last 6 steps with a value of 1 series." in said
    assert said.count("trial ") == 3
    fitted = gw.Detector.load("run")
    hand = by_hand(said)
    for option in ("hidden_size", "learning_rate"):
        given = hand[hand.index(f"--{option.replace('_', '-')}") + 1]
        assert float(given) == getattr(fitted, option)
    assert hand[hand.index("--cell") + 1] == "gru"


BAD = {
    "text": "day,y\n" + "".join(f"2020-01-{d:02},much\n" for d in range(1, 20)),
    "row": "day,y\n2020-01-01,3\n",
    "short": "day,y\n" + "".join(f"2020-01-{d:02},{d}\n" for d in range(1, 8)),
    "good": "day,y\n" + "".join(f"2020-01-{d:02},{d % 5}\n" for d in range(1, 31)),
}


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("text", (), "no numeric column"),
        ("row", (), "long enough"),
        ("short", (), "long enough"),
        ("good", ("--target", "nonesuch"), "nonesuch"),
        ("good", ("--future", "nonesuch"), "nonesuch"),
        ("good", ("--form", "direct", "--form", "sideways"), "sideways"),
        ("good", ("--context", "2", "--context", "99"), "context 99"),
        ("good", ("--context", "few"), "--context takes LOW:HIGH or values in whole numbers"),
        ("good", ("--hidden-size", "0"), "hidden_size is a whole number above zero, got 0"),
        ("good", ("--scaling", "log", "--scaling", "none", "--head", "odd"), "odd"),
        ("good", ("--buffer", "99"), "No such option"),
        ("absent", (), "absent.csv"),
    ],
)
def test_messy_input_costs_one_line_and_leaves_nothing(tmp_path, name, more, words):
    path = tmp_path / f"{name}.csv"
    if name in BAD:
        path.write_text(BAD[name])
    line = refused("tune", "forecast", path, "--horizon", "3", *more, "--out", tmp_path / "run")
    assert words in line
    assert not (tmp_path / "run").exists()


def test_where_every_argument_has_one_value_there_is_nothing_to_search_for(tmp_path):
    words = ("--bidirectional", "no", "--cell", "gru", "--hidden-size", "3", "--layers", "1")
    x = np.random.default_rng(0).normal(size=(20, 5))
    np.savez(tmp_path / "x.npz", X_train=x, y_train=[0, 1] * 10, X_test=x, y_test=[0, 1] * 10)
    command = ("tune", "classify", tmp_path / "x.npz", *words, "--out", tmp_path / "run")
    assert "Nothing is searched for" in refused(*command, "--learning-rate", "0.01")
    assert "--bidirectional takes yes or no, got 'maybe'" in refused(
        *command[:3], "--bidirectional", "maybe", "--out", tmp_path / "run"
    )
