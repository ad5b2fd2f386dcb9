"""Checkpoints: a run that was stopped ends with the numbers of one that was not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_tools import equal_runs, quick, same_weights, sine
from safetensors import safe_open
from safetensors.torch import save_file

import gatework as gw
from gatework.errors import TrainingError
from gatework.training import checkpoint, files

Y = sine(60, noise=0.3)
PLAIN = {"epochs": 6, "batch_size": 8}
# Dropout between layers draws from the random state in every batch.
DROPOUT = PLAIN | {"num_layers": 2, "dropout": 0.5}


class Stopper:
    """A watcher that interrupts a run after so many batches, as Ctrl-C would."""

    def __init__(self, batches, error=KeyboardInterrupt):
        self.left = batches
        self.error = error

    def start(self, epochs, train_size, done):
        self.done = done

    def batch(self, examples):
        self.left -= 1
        if self.left == 0:
            raise self.error

    def epoch(self, record):
        pass


# Resume.


@pytest.mark.parametrize("arguments", [PLAIN, DROPOUT], ids=["plain", "dropout"])
@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path, arguments, cut):
    whole = quick(**arguments).fit(Y)
    steps = -(-len(whole_windows()) // arguments["batch_size"])
    with pytest.raises(KeyboardInterrupt):
        quick(**arguments).fit(Y, folder=tmp_path, watcher=Stopper(cut * steps + 2))
    assert checkpoint.epochs_done(tmp_path / checkpoint.NAME) == cut
    equal_runs(quick(**arguments).fit(Y, folder=tmp_path, resume=True), whole)


def whole_windows():
    """The training windows of Y: 48 steps behind the validation part, 6 read and 3 forecast."""
    return range(48 - 6 - 3 + 1)


def test_more_epochs_later_are_the_same_as_at_once(tmp_path):
    quick(**DROPOUT | {"epochs": 3}).fit(Y, folder=tmp_path)
    again = quick(**DROPOUT).fit(Y, folder=tmp_path, resume=True)
    equal_runs(again, quick(**DROPOUT).fit(Y))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    first = quick(**PLAIN).fit(Y, folder=tmp_path)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    equal_runs(quick(**PLAIN).fit(Y, folder=tmp_path, resume=True), first)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_resuming_after_an_early_stop_stays_stopped(tmp_path):
    arguments = PLAIN | {"epochs": 60, "patience": 2, "learning_rate": 0.5}
    first = quick(**arguments).fit(Y, folder=tmp_path)
    assert len(first.history_) < 60
    equal_runs(quick(**arguments | {"epochs": 90}).fit(Y, folder=tmp_path, resume=True), first)


def test_the_weights_of_the_best_epoch_survive_an_interruption(tmp_path):
    # The best epoch lies before the cut, so its weights come from the checkpoint.
    arguments = PLAIN | {"epochs": 40, "patience": 0, "learning_rate": 1.0}
    whole = quick(**arguments).fit(Y)
    assert whole.best_epoch_ < 39
    quick(**arguments | {"epochs": whole.best_epoch_ + 1}).fit(Y, folder=tmp_path)
    equal_runs(quick(**arguments).fit(Y, folder=tmp_path, resume=True), whole)


CASES = np.random.default_rng(0).normal(size=(24, 7)) + (np.arange(24) % 2)[:, None]


def fit_forecast(**run):
    return quick(**DROPOUT).fit(Y, **run)


def fit_classify(**run):
    model = gw.Classifier(hidden_size=4, device="cpu", **DROPOUT | {"batch_size": 4})
    return model.fit(CASES, np.arange(24) % 2, **run)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_resume import {fit}
import torch
torch.set_num_threads(1)
class Stuck:
    batches = 0
    def start(self, *a): pass
    def epoch(self, record): pass
    def batch(self, examples):
        self.batches += 1
        if self.batches == 13:
            print("in the middle of the third epoch", flush=True)
            time.sleep(600)
{fit}(folder={folder!r}, watcher=Stuck())
"""


@pytest.mark.parametrize("fit", [fit_forecast, fit_classify])
def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path, fit):
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path), fit=fit.__name__)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "in the middle of the third epoch\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert checkpoint.epochs_done(tmp_path / checkpoint.NAME) == 2
    resumed, whole = fit(folder=tmp_path, resume=True), fit()
    assert same_weights(resumed, whole)
    assert resumed.history_ == whole.history_
    assert len(whole.history_) == DROPOUT["epochs"]


# Checkpoints.


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    quick(**PLAIN | {"epochs": 2}).fit(Y, folder=tmp_path)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    write = Path.write_bytes

    def full(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="cannot be written: No space left"):
        quick(**PLAIN).fit(Y, folder=tmp_path, resume=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.NAME]
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
    equal_runs(quick(**PLAIN).fit(Y, folder=tmp_path, resume=True), quick(**PLAIN).fit(Y))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(13, "denied")])
def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch, error):
    path = tmp_path / "note.txt"
    files.write_whole(path, "old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises((OSError, KeyboardInterrupt)):
        files.write_whole(path, "new")
    monkeypatch.undo()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"note.txt": "old"}


@pytest.mark.parametrize(
    ("arguments", "data", "named"),
    [
        ({"hidden_size": 5}, Y, "hidden_size was 4, now it is 5"),
        ({"learning_rate": 0.1}, Y, "learning_rate was 0.003, now it is 0.1"),
        ({"cell": "gru"}, Y, r"cell was 'lstm \(\w+\)', now it is 'gru \(\w+\)'"),
        ({"seed": 7}, Y, "seed was 0, now it is 7"),
        ({"context": 5}, Y, "context was 6, now it is 5"),
        ({"batch_size": 9}, Y, "batch_size was 8, now it is 9"),
        ({"scaling": "none"}, Y, "scaling was 'standard', now it is 'none'"),
        ({}, Y + np.r_[np.zeros(59), 1], "data was .*"),
    ],
    ids=lambda v: str(v)[:30] if isinstance(v, dict) else "",
)
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, arguments, data, named):
    quick(**PLAIN | {"epochs": 1}).fit(Y, folder=tmp_path)
    with pytest.raises(TrainingError, match=f"another run: {named}"):
        quick(**PLAIN | arguments).fit(data, folder=tmp_path, resume=True)


def test_numpy_numbers_as_arguments_make_the_same_run(tmp_path):
    arguments = {"hidden_size": np.int64(4), "learning_rate": np.float64(3e-3), "epochs": 2}
    quick(**PLAIN | arguments).fit(Y, folder=tmp_path)
    equal_runs(quick(**PLAIN).fit(Y, folder=tmp_path, resume=True), quick(**PLAIN).fit(Y))


def rewritten(path, change):
    """A checkpoint whose tensors or header are changed."""
    with safe_open(path, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  (no dict)
        about = json.loads(file.metadata()["gatework"])
    change(tensors, about)
    save_file(tensors, path, {"gatework": json.dumps(about)})


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint at all, but rather long"),
    "foreign": lambda path: save_file({"a": torch.zeros(1)}, path),
    "no weights": lambda path: rewritten(path, lambda t, _: t.pop("model.head.bias")),
    "shape": lambda path: rewritten(
        path, lambda t, _: t.update({"model.head.bias": torch.ones(9)})
    ),
    "no random state": lambda path: rewritten(path, lambda t, _: t.pop("random.torch")),
    "no progress": lambda path: rewritten(path, lambda _, about: about.pop("progress")),
    "no identity": lambda path: rewritten(path, lambda _, about: about.pop("identity")),
    "odd format": lambda path: rewritten(path, lambda _, about: about.update(format="x")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path, damage):
    quick(**PLAIN | {"epochs": 1}).fit(Y, folder=tmp_path)
    DAMAGE[damage](tmp_path / checkpoint.NAME)
    with pytest.raises(TrainingError, match="is no checkpoint of Gatework or is damaged") as caught:
        quick(**PLAIN).fit(Y, folder=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path):
    quick(**PLAIN | {"epochs": 1}).fit(Y, folder=tmp_path)
    rewritten(tmp_path / checkpoint.NAME, lambda _, about: about.update(format=99))
    with pytest.raises(TrainingError, match="newer Gatework"):
        quick(**PLAIN).fit(Y, folder=tmp_path, resume=True)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(TrainingError, match=r"no checkpoint .* to resume from"):
        quick().fit(Y, folder=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="name the folder"):
        quick().fit(Y, resume=True)
