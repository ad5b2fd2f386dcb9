"""``gatework fit classify``, ``predict`` and ``report``: what a new user types, messy files too."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from classify_tools import same_weights, waves
from cli_tools import TINY, call, done, refused
from data_tools import write

import gatework as gw
from gatework.data.archive import read_split

HEAD = "@problemName two\n@classLabel true slow fast\n@data\n"
FIT = ("fit", "classify")
MADE = ["checkpoint.safetensors", "config.json", "model.safetensors", "report.html", "summary.json"]


def ts(count=12, seed=0, features=2, head=HEAD):
    """A .ts file of ragged sequences of two classes."""
    X, y = waves(count, seed, features)
    rows = (":".join(",".join(f"{v:.4f}" for v in dim) for dim in x.T) for x in X)
    return head + "".join(f"{row}:{label}\n" for row, label in zip(rows, y, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a training and a test file, and a finished run on them; what it said."""
    folder = tmp_path_factory.mktemp("classify")
    write(folder, ts(), "Two_TRAIN.ts")
    write(folder, ts(6, seed=1), "Two_TEST.ts")
    return folder, done(*FIT, folder / "Two_TRAIN.ts", *TINY, "--out", folder / "run").out


def test_fit_scores_saves_and_reports(run):
    folder, said = run
    assert sorted(p.name for p in (folder / "run").iterdir()) == MADE
    model = gw.Classifier.load(folder / "run")
    train, test = read_split(folder / "Two_TRAIN.ts")
    expected = gw.Classifier(hidden_size=4, epochs=2, device="cpu").fit(train)
    np.testing.assert_array_equal(model.predict_proba(test), expected.predict_proba(test))
    found = expected.evaluate(test)
    for words in (
        "Two: 12 sequences of 8 to 13 steps and 2 features; 2 classes of 6 sequences.",
        "Scored on 6 sequences",
        found.verdict(),
    ):
        assert words in said
    for name, row in found.by_class().items():
        cells = [name, *(f"{row[k]:.1%}" for k in ("precision", "recall", "f1")), str(row["count"])]
        assert cells in [line.split() for line in said.splitlines()]
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["evaluation"]["confusion"] == found.confusion().tolist()


def test_every_option_reaches_the_classifier(run, tmp_path):
    folder, _ = run
    said = done(
        *FIT, folder, "--out", tmp_path / "run", "--cell", "gru", "--hidden-size", "3",
        "--layers", "2", "--bidirectional", "--pool", "max", "--convolution", "beside",
        "--balanced", "--scaling", "none", "--dropout", "0.1", "--epochs", "2", "--patience", "7",
        "--batch-size", "5", "--learning-rate", "0.01", "--seed", "3", "--device", "cpu",
        "--shuffle",
    )  # fmt: skip
    assert "The gru " in said.out
    expected = {
        "cell": "gru", "hidden_size": 3, "num_layers": 2, "bidirectional": True, "pool": "max",
        "convolution": "beside", "class_weight": "balanced", "scaling": "none", "dropout": 0.1,
        "epochs": 2, "patience": 7, "batch_size": 5, "learning_rate": 0.01, "seed": 3,
        "shuffle": True,
    }  # fmt: skip
    found = gw.Classifier.load(tmp_path / "run").get_params()
    assert {k: found[k] for k in expected} == expected
    assert "not empty" in refused(*FIT, folder, "--out", tmp_path / "run", *TINY)


def test_predict_writes_classes_and_probabilities(run, tmp_path):
    folder, _ = run
    model = gw.Classifier.load(folder / "run")
    data = folder / "Two_TEST.ts"
    printed = done("predict", folder / "run", data).out
    table = pyarrow.csv.read_csv(pa.py_buffer(printed.encode()))
    assert table.column_names == ["sequence", "class", "p(fast)", "p(slow)"]
    assert table["sequence"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert table["class"].to_pylist() == model.predict(data).tolist()
    expected = model.predict_proba(data)
    np.testing.assert_array_equal(table["p(slow)"].to_numpy(), expected[:, 1])
    for name in ("out.csv", "out.parquet"):
        said = done("predict", folder / "run", data, "--out", tmp_path / name)
        assert said.out == f"6 classes written to {tmp_path / name}\n"
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").equals(table)
    assert (tmp_path / "out.csv").read_text() == printed


def test_predict_reads_sequences_without_classes(run, tmp_path):
    folder, _ = run
    data = write(tmp_path, "@classLabel false\n@data\n1,2,3:4,?,6\n2:1\n", "new.ts")
    result = done("predict", folder / "run", data)
    assert len(result.out.splitlines()) == 3
    assert "note: 1 of 4 values of 'feature 2' are missing" in result.err
    X = np.array([[[1, 4], [2, np.nan], [3, 6]], [[2, 1], [np.nan] * 2, [np.nan] * 2]])
    np.save(tmp_path / "new.npy", X)
    assert done("predict", folder / "run", tmp_path / "new.npy").out == result.out


def test_the_report_is_written_again(run, tmp_path):
    folder, _ = run
    done("report", folder / "run", "--out", tmp_path / "again.html")
    page = (tmp_path / "again.html").read_text()
    assert page == (folder / "run" / "report.html").read_text()


def test_a_run_goes_on_to_the_same_model(run, tmp_path):
    folder, _ = run
    out = shutil.copytree(folder / "run", tmp_path / "run")
    done(
        *FIT,
        folder,
        "--hidden-size",
        "4",
        "--epochs",
        "4",
        "--device",
        "cpu",
        "--out",
        out,
        "--resume",
    )
    whole = gw.Classifier(hidden_size=4, epochs=4, device="cpu").fit(folder / "Two_TRAIN.ts")
    assert same_weights(gw.Classifier.load(out), whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the file ends without @data"),
        (b"\x00\xff\xfe" * 50, "line 1: got"),
        (HEAD + "1,hello,2:3,4,5:slow\n", "line 4: 'hello' is no number"),
        (HEAD + "1,2:3,4:slow\n2,3:4,5:slow\n", "all are of one class, 'slow'"),
        (ts(features=1), "training sequences have 1 feature, those of Two 2"),
        (HEAD + "1e300,2:1,2:slow\n1,3:1,2:fast\n", "too large to be scaled"),
        ("@classLabel false\n@data\n1,2:3,4\n", "has no classes to learn from"),
        ("@targetLabel true\n@data\n1,2:3,4:0.5\n", "these cases have a number each"),
        ("day,value\n2020-01-01,3\n", "expected @key values"),
    ],
)
def test_training_files_that_cannot_be_are_refused_before_training(run, tmp_path, content, reason):
    data = write(tmp_path, content, "bad.ts")
    test = run[0] / "Two_TEST.ts"
    assert reason in refused(*FIT, data, "--test", test, *TINY, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "more", "reason"),
    [
        ("@classLabel false\n@data\n1,2:3,4\n", (), "test has no classes to score against"),
        (ts(features=3), (), "training sequences have 2 features, those of test 3"),
        (HEAD + f"{'1,' * 30}2:1:slow\n", ("--shuffle",), "at most the 13 steps"),
        (HEAD, (), "no case stands behind @data"),
    ],
)
def test_test_files_that_cannot_be_are_refused_before_training(
    run, tmp_path, content, more, reason
):
    test = write(tmp_path, content, "test.ts")
    said = refused(*FIT, run[0], "--test", test, *TINY, *more, "--out", tmp_path / "run")
    assert reason in said
    assert "trained" not in said


def test_a_test_file_may_hold_classes_and_gaps_of_its_own(run, tmp_path):
    head = HEAD.replace("fast", "fast still")
    content = ts(4, head=head) + "?,1:0,?:still\n?:?:slow\n"
    words = (*FIT, run[0], "--test", write(tmp_path, content, "test.ts"), *TINY)
    said = done(*words, "--out", tmp_path / "run").out
    assert "3 classes of 1 to 3 sequences" in said
    assert ["still", "0.0%", "0.0%", "0.0%", "1"] in [line.split() for line in said.splitlines()]
    assert "values of 'feature 1' are missing" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("absent.ts",), "There is no file absent.ts"),
        (("absent",), "There is no file absent"),
        ((".",), ". holds no NAME_TRAIN file"),
        (("sales.csv",), "ends in '.csv'; labelled series are .ts, .arff, .npz, .npy"),
        (("one.ts",), "Say by --test on which file to score; one.ts has no NAME_TEST"),
        (("one.ts", "--test", "one.ts", "--pool", "median"), "pool is one of 'last', 'mean'"),
        (("one.ts", "--test", "one.ts", "--scaling", "log"), "There is no scaling 'log'"),
        (("one.ts", "--test", "one.ts", "--cell", "lstmm"), "Did you mean 'lstm'?"),
        (("one.ts", "--test", "one.ts", "--dropout", "1"), "dropout is a share in [0, 1)"),
        (("one.ts", "--test", "one.ts", "--resume"), "There is nothing to resume"),
    ],
)
def test_commands_that_cannot_be(tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ts(4), "one.ts")
    write(tmp_path, "a,b\n", "sales.csv")
    assert reason in refused(*FIT, *words, "--epochs", "1", "--out", "run")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("absent.ts", "There is no file"),
        ("other.ts", "training sequences have 2 features, those of other 1"),
        ("sales.csv", "ends in '.csv'"),
        ("both.npz", "holds a training and a test part; name one"),
        (".", "There is no file ."),
    ],
)
def test_data_that_a_model_cannot_read(run, tmp_path, monkeypatch, data, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ts(4, features=1), "other.ts")
    write(tmp_path, "a,b\n", "sales.csv")
    np.savez(tmp_path / "both.npz", X_train=np.zeros((2, 3)), X_test=np.zeros((2, 3)))
    result = call("predict", run[0] / "run", data)
    assert (result.status, result.out) == (2, "")
    assert reason in result.err.splitlines()[-1]
    assert "Traceback" not in result.err
