"""The command line on long tables of the classifier and the detector, whole and in pieces."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from cli_tools import TINY, done, refused

import gatework as gw
from gatework.data.labelled import load_labelled
from gatework.data.long_cases import LongCases
from gatework.inspect import report

WAYS = {
    "detect": ("--target", "heat", "--feature", "load", "--context", 8),
    "classify": ("--target", "state", "--feature", "heat", "--feature", "load",
                 "--convolution", "none"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The pages are drawn in the tests of the reports."""
    monkeypatch.setattr(report, "render", lambda summary: "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training and a test file, in Parquet and in CSV."""
    folder = tmp_path_factory.mktemp("long")
    for seed, name in enumerate(("train", "test")):
        random, parts = np.random.default_rng(seed), []
        for number in range(10):
            steps = int(random.integers(20, 30))
            state = ("slow", "fast")[number % 2]
            phase = np.arange(steps) / (3 if state == "slow" else 1) + number
            heat = 5 * np.sin(phase) + random.normal(0, 0.3, steps)
            load = random.normal(3, 1, steps)
            parts.append(pd.DataFrame({
                "machine": f"m{number}", "heat": heat, "load": load, "state": state,
            }))  # fmt: skip
        table = pd.concat(parts, ignore_index=True)
        table.to_parquet(folder / f"{name}.parquet", row_group_size=31)
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def words(task, folder, out, kind="parquet", *more):
    test = ("--test", folder / f"test.{kind}") if task == "classify" else ()
    data = folder / f"train.{kind}"
    return ("fit", task, data, "--id", "machine", *WAYS[task], *test, *TINY, *more, "--out", out)


@pytest.mark.parametrize("task", WAYS)
def test_a_file_in_pieces_is_fitted_told_and_reported(folder, tmp_path, task):
    said = done(*words(task, folder, tmp_path / "run", "parquet", "--buffer", 80)).out
    assert "pieces of" in said
    model, data = tmp_path / "run", folder / "test.parquet"
    whole, pieces = (done("predict", model, data, *more) for more in ((), ("--buffer", 80)))
    assert "pieces of at most 80 rows" in pieces.err
    one, two = (r.out.splitlines() for r in (whole, pieces))
    assert [row.split(",")[:2] for row in one] == [row.split(",")[:2] for row in two]
    table = tmp_path / "told.parquet"
    assert f"{len(two) - 1} " in done("predict", model, data, "--buffer", 80, "--out", table).out
    assert pyarrow.parquet.read_table(table).num_rows == len(two) - 1
    summary = json.loads((model / "summary.json").read_text())
    if task == "classify":
        assert "10 sequences of" in said
        assert summary["evaluation"]["sequences"] == 10
        classifier = gw.Classifier.load(model)
        assert classifier.score(data) == summary["evaluation"]["accuracy"]
        assert two[1].startswith('"m0",')
    else:
        assert "the scores are of the first of" in said


def test_a_long_table_is_read_from_csv_as_from_parquet(folder, tmp_path):
    """``--buffer`` is for Parquet alone; without it both are tables."""
    for kind in ("csv", "parquet"):
        done(*words("classify", folder, tmp_path / kind, kind))
    files = [(tmp_path / kind / "model.safetensors").read_bytes() for kind in ("csv", "parquet")]
    assert files[0] == files[1]


def test_what_cannot_be_costs_one_line(folder, tmp_path):
    def line(*more, task="classify", data="train.parquet"):
        test = ("--test", folder / "test.parquet") if task == "classify" else ()
        return refused("fit", task, folder / data, *test, *TINY, *more, "--out", tmp_path / "no")

    cut, heat = ("--buffer", 80), ("--feature", "heat")
    watched = ("--id", "machine", "--target", "heat", *cut)
    assert "cannot be read as Parquet" in line(*watched, task="detect", data="train.csv")
    assert "more than the buffer of 9" in line(*watched, "--buffer", 9, task="detect")
    several = line("--id", "machine", "--target", "load", *heat)
    assert "is of one class, and 'm0' of" in several
    assert "by column 'load'" in several
    named = ("--id", "machine", "--target", "state")
    assert "(features); it has machine, heat" in line(*named)
    assert "no column 'mood'" in line(*named, "--feature", "mood")
    assert "named as the class and as a feature" in line(*named, "--feature", "state", *cut)
    lacking = ("--test", folder / "none.parquet", *cut)
    pd.read_parquet(folder / "test.parquet").drop(columns="state").to_parquet(lacking[1])
    assert "none.parquet has no classes to score against" in line(*named, *heat, *lacking)
    assert "has no class" in line("--id", "machine", "--target", "mood", *heat)
    assert "name the columns (target, id and features)" in line("--target", "state", *heat)
    assert "tells them apart (id)" in line("--target", "state", *heat, *cut)
    assert "has no column 'who'" in line("--id", "who", "--target", "state", *heat, *cut)
    assert "Say by --test on which file" in refused(
        "fit", "classify", folder / "train.parquet", *named, *heat, *cut, "--out", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists()


def test_truth_values_are_the_same_classes_in_csv_and_parquet(folder, tmp_path):
    table = pd.read_parquet(folder / "train.parquet")
    table["state"] = table["state"] == "slow"
    table.to_parquet(tmp_path / "truth.parquet")
    table.to_csv(tmp_path / "truth.csv", index=False)
    long = LongCases("state", None, "machine", "heat")
    files = (tmp_path / f"truth.{kind}" for kind in ("csv", "parquet"))
    one, two = (load_labelled(file, None, long) for file in files)
    assert one.labels.tolist() == two.labels.tolist() == ["True", "False"] * 5
