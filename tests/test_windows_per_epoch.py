"""Epochs of some windows: drawn anew, each once, by the seed alone; validated on spread ones."""

from itertools import chain

import numpy as np
import pytest
import torch
from cli_tools import SMALL, done, refused
from data_tools import quick, same_weights, sine
from detect_tools import quick as detector
from test_resume import Stopper

from gatework.errors import DataError, TrainingError
from gatework.inspect import report
from gatework.tasks.judging import judged
from gatework.tasks.problem import ForecastProblem
from gatework.training.drawn import Drawn
from gatework.training.epoch_order import epoch_order

Y = [sine(60, noise=0.3), sine(53, phase=1.0, noise=0.3)]


def test_every_example_is_as_likely_and_none_comes_twice():
    parts, count, epochs = [5, 0, 7, 4], 6, 3000
    generator, seen = torch.Generator().manual_seed(0), np.zeros(16)
    together = np.zeros((16, 16))
    for _ in range(epochs):
        orders = [order.tolist() for order in epoch_order(parts, count, generator)]
        drawn = list(chain(*orders))
        assert len(set(drawn)) == len(drawn) == count
        for order in orders:
            assert len({np.searchsorted([5, 12], i, side="right") for i in order}) == 1
        seen[drawn] += 1
        together[np.ix_(drawn, drawn)] += 1
    share = count / 16
    assert np.abs(seen / epochs - share).max() < 5 * np.sqrt(share * (1 - share) / epochs)
    pair = share * (count - 1) / 15
    apart = together[~np.eye(16, dtype=bool)] / epochs
    assert np.abs(apart - pair).max() < 5 * np.sqrt(pair * (1 - pair) / epochs)


def test_of_very_many_examples_few_are_drawn_in_little_memory():
    (one,) = epoch_order([10**13], 5, torch.Generator().manual_seed(0))
    assert len(one) == 5
    assert int(one.max()) > 10**12


def looked_at(monkeypatch):
    """The windows of each part that a run looks at."""
    found, losses = {"train": [], "validation": []}, ForecastProblem.losses

    def look(problem, index, part):
        found[part].append(index.tolist())
        return losses(problem, index, part)

    monkeypatch.setattr(ForecastProblem, "losses", look)
    return found


def test_an_epoch_has_so_many_windows_others_each_time(monkeypatch):
    found = looked_at(monkeypatch)
    model = quick(epochs=3, batch_size=8, windows_per_epoch=12).fit(Y)
    assert list(map(len, found["train"])) == [8, 4] * 3
    epochs = [set(chain(*found["train"][i : i + 2])) for i in (0, 2, 4)]
    assert all(len(epoch) == 12 for epoch in epochs)
    assert len(epochs[0] | epochs[1] | epochs[2]) > 20
    count = len(model.history_)
    assert found["validation"] == [found["validation"][0]] * count
    (one, *_), all_of_them = found["validation"], 19
    assert one == [i * all_of_them // 12 for i in range(12)]
    assert (
        "An epoch trains on 12 of 74 windows, drawn anew; it is validated on 12 of 19."
        in model.notes_
    )


def test_more_than_there_are_is_all():
    assert same_weights(quick(windows_per_epoch=999).fit(Y), quick().fit(Y))
    assert not quick(windows_per_epoch=999).fit(Y).notes_[-1].startswith("An epoch")
    assert not same_weights(quick(windows_per_epoch=20).fit(Y), quick().fit(Y))


@pytest.mark.parametrize("make", [quick, detector], ids=["fc", "detect"])
def test_a_run_that_was_stopped_amid_an_epoch_goes_on_to_the_same_bits(tmp_path, make):
    arguments = {"epochs": 4, "batch_size": 3, "windows_per_epoch": 7}
    whole = make(**arguments).fit(Y)
    with pytest.raises(KeyboardInterrupt):
        make(**arguments).fit(Y, folder=tmp_path, watcher=Stopper(3 + 2))
    resumed = make(**arguments).fit(Y, folder=tmp_path, resume=True)
    assert same_weights(whole, resumed)
    assert whole.history_ == resumed.history_
    with pytest.raises(TrainingError, match="windows_per_epoch was 7, now it is 8"):
        make(**arguments | {"windows_per_epoch": 8}).fit(Y, folder=tmp_path, resume=True)


def test_going_on_compares_with_the_same_windows():
    model = quick(epochs=1, windows_per_epoch=9).fit(Y)
    before = model.history_[-1]["validation"]
    (said,) = (n for n in model.continue_fit(Y).notes_ if "on the new data" in n)
    assert f"{before:.4g} before" in said


def test_an_example_is_described_by_its_place_among_all():
    class Named:
        train_size, validation_size = 30, 30

        def describe(self, index, part):
            return f"{part} {index}"

    drawn = Drawn(Named(), 10)
    assert drawn.describe(4, "validation") == "validation 12"
    assert drawn.describe(4, "train") == "train 4"


def test_a_search_says_on_how_many_windows_it_judges():
    space = {"hidden_size": (2, 3)}
    model = quick(windows_per_epoch=12)
    assert judged(model, Y, space).words.startswith("12 of the last 19 windows of 2 series")
    model = detector(windows_per_epoch=5)
    assert judged(model, Y, space).words.endswith("of 2 series, in at most 5 windows")


def test_the_command_line_has_it_and_refuses_none(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render", lambda summary: "")
    air = ("airpassengers", *SMALL, "--device", "cpu")
    run = ("--windows-per-epoch", 10, "--out", tmp_path / "run")
    said = done("fit", "forecast", *air, *run).out
    assert "note: An epoch trains on 10 of " in said
    assert "'--windows-per-epoch'" in refused(
        "fit", "forecast", *air, "--windows-per-epoch", 0, "--out", tmp_path / "no"
    )
    with pytest.raises(DataError, match="windows_per_epoch is a whole number above zero, got 0"):
        quick(windows_per_epoch=0).fit(Y)
