"""Mistakes at the command line: one line, exit status 2, and nothing left behind."""

import sys

import pytest
from cli_tools import HEADER, SMALL, table
from data_tools import write

from gatework.cli import main


def refused(result):
    """The one line on stderr of a refused command."""
    status, _, err = result
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return err


CONTENTS = {
    "good.csv": table(),
    "empty.csv": "",
    "header.csv": HEADER,
    "text.csv": table().replace("2020-01-08,a,", "2020-01-08,a,closed"),
    "brief.csv": table(steps=12),
    "ragged.csv": table() + "1,2\n",
    "bad_cell.py": "class Mine(:\n",
    "no_cell.py": "x = 1\n",
    "raises.py": "1 / 0\n",
    "wrong_cell.py": "from gatework import Cell\nclass Mine(Cell):\n    x = 3\n",
}


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        ("good.csv", "--target Sold", "no column 'Sold'. Its columns: day, shop, sold, price."),
        ("good.csv", "--target sold --time date --id shop", "no column 'date'"),
        ("good.csv", "--target sold --id store", "no column 'store'"),
        ("good.csv", "--target sold --id shop --feature prize", "no column 'prize'"),
        ("good.csv", "--target sold", "Name the column that tells them apart (id)"),
        ("good.csv", "--id shop", "which column of good.csv is the target"),
        ("good.csv", "--target shop", "is read as numbers, but line 2 holds 'a'"),
        ("good.csv", "--target sold --time sold", "as target and as time"),
        ("empty.csv", "--target sold", "empty.csv is empty"),
        ("header.csv", "--target sold", "has no rows"),
        ("absent.csv", "--target sold", "absent.csv does not exist"),
        (".", "--target sold", "is a folder"),
        ("ragged.csv", "--target sold", "line 100 has 2 values, the header has 4"),
        ("text.csv", "--target sold --id shop", "line 9 holds 'closed"),
        ("brief.csv", "--target sold --id shop", "No series is long enough"),
        ("airpassengers", "--horizon 200", "has 144 steps"),
        ("airpassengers", "--context 300", "context 300 + horizon 3"),
        ("airpassengers", "--test 2", "--test 2 steps hold no forecast of --horizon 3"),
        ("airpassengers", "--cell lsmt", "Did you mean 'lstm'?"),
        ("airpassengers", "--cell absent.py:Mine", "the file to exist"),
        ("airpassengers", "--cell bad_cell.py:Mine", "bad_cell.py: SyntaxError"),
        ("airpassengers", "--cell no_cell.py:Mine", "has no cell 'Mine'"),
        ("airpassengers", "--cell raises.py:Mine", "ZeroDivisionError"),
        ("airpassengers", "--cell wrong_cell.py:Mine", "Mine"),
        ("airpassengers", "--scaling minmax", "no scaling 'minmax'"),
        ("airpassengers", "--device abacus", "no device 'abacus'"),
        ("airpassengers", "--resume", "nothing to resume in new"),
        ("airpassengers", "--resume --overwrite", "give one of them"),
        ("airpassengers", "--horizon 0", "--horizon"),
        ("airpassengers", "--horizon many", "--horizon"),
        ("airpassengers", "--seed -1", "--seed"),
        ("airpassengers", "--speed 3", "No such option: --speed"),
    ],
)
def test_mistakes_of_fit(gatework, tmp_path, data, words, reason):
    for name, content in CONTENTS.items():
        write(tmp_path, content, name)
    before = sorted(tmp_path.rglob("*"))
    line = refused(gatework("fit", "forecast", data, *SMALL, "--out", "new", *words.split()))
    assert reason in line
    assert [p for p in sorted(tmp_path.rglob("*")) if "__pycache__" not in str(p)] == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("fit forecast", "Missing argument"),
        ("fit forecast airpassengers --horizon 3", "Missing option '--out'"),
        ("fit forecast airpassengers --out new", "Missing option '--horizon'"),
        ("fit tomorrow", "No such command 'tomorrow'"),
        ("predict", "Missing argument"),
        ("predict absent airpassengers", "absent holds no saved model"),
        ("report absent", "absent holds no finished run"),
        ("backtest absent airpassengers", "absent holds no saved model"),
        ("cells lsmt", "Did you mean 'lstm'?"),
        ("cells --latex", "LaTeX is of one cell"),
        ("check absent.csv", "absent.csv does not exist"),
    ],
)
def test_mistakes_of_other_commands(gatework, tmp_path, words, reason):
    assert reason in refused(gatework(*words.split()))
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_is_a_file_or_not_empty(gatework, tmp_path):
    (tmp_path / "taken").write_text("mine")
    fit = ["fit", "forecast", "airpassengers", *SMALL, "--out"]
    assert "--out taken is a file" in refused(gatework(*fit, "taken"))
    assert "taken" in refused(gatework(*fit, "taken/run"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    assert "--out full is not empty" in refused(gatework(*fit, "full"))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["full", "note.txt", "taken"]


def test_a_failure_after_the_first_checkpoint_leaves_what_was_there(gatework, tmp_path):
    fit = ["fit", "forecast", "airpassengers", *SMALL, "--learning-rate", "1e30", "--out"]
    (tmp_path / "empty").mkdir()
    for out in ("a/b/run", "empty"):
        assert "not finite after epoch 1" in refused(gatework(*fit, out))
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["empty"]


def test_overwriting_that_fails_leaves_the_old_run(gatework, run_folder):
    before = {p: p.read_bytes() for p in run_folder.rglob("*")}
    fit = ["fit", "forecast", "airpassengers", *SMALL, "--out", "run", "--overwrite"]
    for wrong in (("--horizon", "200"), ("--learning-rate", "1e30", "--epochs", "30")):
        refused(gatework(*fit, *wrong))
        assert {p: p.read_bytes() for p in run_folder.rglob("*")} == before
        assert list(run_folder.parent.iterdir()) == [run_folder]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("predict run airpassengers --out next.txt", "use .csv or .parquet"),
        ("predict run airpassengers --out absent/next.csv", "absent/next.csv cannot be written"),
        ("predict run absent.csv", "absent.csv does not exist"),
        ("predict run airpassengers --coverage 90", "coverage is a number between 0 and 1"),
        ("backtest run airpassengers --folds 90", "reach back 270 steps"),
        ("backtest run absent.csv", "absent.csv does not exist"),
        ("report run --out absent/page.html", "absent/page.html cannot be written"),
        ("report run --out run", "run cannot be written"),
    ],
)
@pytest.mark.usefixtures("run_folder")
def test_mistakes_after_a_fit(gatework, tmp_path, words, reason):
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert reason in refused(gatework(*words.split()))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("damage", ["{}", "[]", "{", '{"evaluation": {}, "inside": 3}'])
def test_a_damaged_summary(gatework, run_folder, damage):
    (run_folder / "summary.json").write_text(damage)
    assert "summary.json" in refused(gatework("report", "run"))


def test_a_bug_is_called_a_bug(gatework, monkeypatch):
    monkeypatch.setattr("gatework.data.doctor.check", lambda *_: 1 / 0)
    status, _, err = gatework("check", "airpassengers")
    assert status == 1
    assert err.startswith("internal error: ZeroDivisionError: division by zero. This is a bug")
    monkeypatch.setenv("GATEWORK_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["gatework", "check", "airpassengers"])
    with pytest.raises(ZeroDivisionError):
        main.run()
