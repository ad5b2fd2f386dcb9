"""The folder of a run and the table behind it: messy data, resume, damage, places to write to."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from cli_tools import AIR, TINY, call, done, messy, refused, shops
from data_tools import write

from gatework.training.progress import ProgressBar

MADE = ["checkpoint.safetensors", "config.json", "model.safetensors", "report.html", "summary.json"]
SHOPS = ("--target", "sold", "--time", "day", "--id", "shop")
MY_CELL = """
import gatework as gw
from gatework.equations import Input, State, Vector, matrix, sigmoid, tanh

class MyCell(gw.Cell):
    '''A leaky unit of one's own.'''

    x, h = Input(), State()
    W_a, W_h = matrix(2, x)
    U_a, U_h = matrix(2, h)
    b_a, b_h = Vector(), Vector()
    a = sigmoid(W_a @ x + U_a @ h + b_a)
    h_next = a * h + (1 - a) * tanh(W_h @ x + U_h @ h + b_h)
"""


def table(text):
    """The CSV on the terminal as a table."""
    return pyarrow.csv.read_csv(pa.py_buffer(text.encode()))


def contents(folder):
    """All files below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def air(tmp_path_factory):
    """The folder of a finished run on AirPassengers."""
    folder = tmp_path_factory.mktemp("air") / "run"
    done(*AIR, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    """A messy table, the folder of a finished run on it, and what the run printed."""
    folder = tmp_path_factory.mktemp("mess")
    data = write(folder, messy(), "shops.csv")
    words = ("fit", "forecast", data, *SHOPS, "--feature", "price", "--horizon", "7", *TINY)
    return data, folder / "run", done(*words, "--out", folder / "run").out


@pytest.fixture
def run(air, tmp_path):
    """A copy of the finished run that a test may damage."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name, data in contents(air).items():
        (folder / name).write_bytes(data)
    return folder


def test_the_output_says_what_is_wrong_with_a_messy_table(mess):
    data, folder, said = mess
    for words in (
        "2 series of 60 steps, one every 1 day, from 2021-01-01",
        "5 of 115 values of 'sold' are missing (empty or not finite)",
        "The rows of 1 of 2 ids are not in order of time; they were sorted.",
        "1 row with the time stamp of another row of the same id; the last of each is used.",
        "5 steps of 1 day absent from the table (gaps)",
    ):
        assert words in said
    assert sorted(contents(folder)) == MADE
    rows = table(done("predict", folder, data).out).to_pylist()
    assert [(r["id"], r["step"]) for r in rows] == [
        (name, step) for name in ("north", "south") for step in range(1, 8)
    ]
    assert str(rows[0]["time"]) == "2021-03-02"
    assert all(np.isfinite(r["sold"]) for r in rows)


def test_the_order_of_the_rows_and_the_kind_of_the_file_change_no_forecast(mess, tmp_path):
    data, folder, _ = mess
    expected = table(done("predict", folder, data).out)
    arrow = pyarrow.csv.read_csv(data)
    clean = [
        None if v in ("NaN", "", "n/a", None) else float(v)
        for v in arrow.column("sold").to_pylist()
    ]
    arrow = arrow.set_column(2, "sold", pa.array(clean, pa.float64()))
    turned = pa.concat_tables([arrow.slice(40), arrow.slice(0, 40)])
    pyarrow.parquet.write_table(turned, tmp_path / "shops.parquet")
    done("predict", folder, tmp_path / "shops.parquet", "--out", tmp_path / "next.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "next.parquet")
    assert read.column("id").to_pylist() == expected.column("id").to_pylist()
    np.testing.assert_array_equal(read.column("sold"), expected.column("sold"))


def test_fit_reads_parquet_with_several_targets(tmp_path):
    rng = np.random.default_rng(0)
    columns = {name: 50 + rng.normal(0, 1, 60).cumsum() for name in ("tea", "milk")}
    data = tmp_path / "wide.parquet"
    pyarrow.parquet.write_table(pa.table(columns), data)
    words = ("--target", "tea", "--target", "milk", "--horizon", "3", *TINY)
    done("fit", "forecast", data, *words, "--out", tmp_path / "run")
    rows = table(done("predict", tmp_path / "run", data).out).to_pylist()
    assert [r["id"] for r in rows] == ["tea"] * 3 + ["milk"] * 3
    assert len({r["value"] for r in rows}) == 6


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    """Rich reads [bold] and :car: in what it prints, and fails at [/x]."""
    target = "[bold]sold[/x] :car:"
    data = write(tmp_path, shops(target=target, ids=("[red]a :bus:", "b")), "[i] :dog:.csv")
    words = (data, "--target", target, "--id", "shop", "--time", "day", "--horizon", "5")
    out = tmp_path / "[bold]run[/y] :cat:"
    said = done("fit", "forecast", *words, *TINY, "--out", out).out
    assert f"target {target!r}" in said
    assert f"report: {out / 'report.html'}" in said
    checked = done("check", *words).out
    assert f"Column {target!r}: numbers" in checked
    assert f"{data}: 120 rows" in checked
    assert data in refused("check", data + "x")


def test_a_cell_of_ones_own_predicts_and_reports_without_its_file(tmp_path):
    file, run = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(MY_CELL)
    done(*AIR, "--cell", f"{file}:MyCell", "--out", run)
    before = done("predict", run, "airpassengers").out
    page = (run / "report.html").read_text()
    file.unlink()
    assert done("predict", run, "airpassengers").out == before
    done("report", run)
    assert (run / "report.html").read_text() == page
    assert "my_cell forecasts passengers" in page
    resumed = (*AIR, "--cell", f"{file}:MyCell", "--out", run, "--resume")
    assert "the file to exist" in refused(*resumed)


def test_the_options_reach_the_model(tmp_path):
    words = ("--cell", "gru", "--layers", "2", "--context", "9", "--season", "6", "--seed", "3",
             "--scaling", "log", "--batch-size", "16", "--learning-rate", "0.01",
             "--patience", "1", "--test", "14")  # fmt: skip
    done(*AIR, *words, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["context"], config["season"], config["cell"]["name"]) == (9, 6, "GRU")
    asked = {"num_layers": 2, "seed": 3, "scaling": "log", "batch_size": 16, "hidden_size": 4,
             "learning_rate": 0.01, "patience": 1, "epochs": 2, "horizon": 12}  # fmt: skip
    assert {k: config["parameters"][k] for k in asked} == asked
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["data"]["held_out"] == 14


def test_overwrite_starts_anew_and_leaves_what_is_not_its_own(air, run):
    (run / "own.txt").write_text("not ours")
    done(*AIR, "--seed", "5", "--overwrite", "--out", run)
    weights = (run / "model.safetensors").read_bytes()
    assert weights != (air / "model.safetensors").read_bytes()
    done(*AIR, "--overwrite", "--out", run)
    assert contents(run) == contents(air) | {"own.txt": b"not ours"}


@pytest.mark.parametrize("epochs", [0, 1])
def test_overwriting_that_is_stopped_leaves_both_runs(run, monkeypatch, epochs):
    before = contents(run)

    def stop(_, record):
        if record["epoch"] > epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "epoch", stop)
    result = call(*AIR, "--seed", "5", "--overwrite", "--out", run)
    assert result.status == 130
    monkeypatch.undo()
    assert f"stopped; {run} is as it was" in result.err
    assert contents(run) == before
    new = run.with_name("run.new")
    if epochs == 0:
        assert not new.exists()
    else:
        assert f"the new one goes on with --out {new} --resume" in result.err
        done(*AIR, "--seed", "5", "--resume", "--out", new)
        assert sorted(contents(new)) == MADE


def test_what_stands_where_an_overwriting_run_works_is_never_removed(run):
    new = run.with_name("run.new")
    new.mkdir()
    (new / "own.txt").write_text("not ours")
    before = contents(run.parent)
    assert f"{new} is there" in refused(*AIR, "--overwrite", "--out", run)
    assert contents(run.parent) == before


def test_overwriting_where_one_stands(run, monkeypatch):
    monkeypatch.chdir(run)
    done(*AIR, "--seed", "5", "--overwrite", "--out", ".")
    assert sorted(contents(run)) == MADE
    assert [p.name for p in run.parent.iterdir()] == ["run"]


def test_resume_with_more_epochs_is_the_same_as_that_many_at_once(run, tmp_path):
    two = done("predict", run, "airpassengers").out
    longer = (*AIR, "--epochs", "4", "--out")
    done(*longer, run, "--resume")
    done(*longer, tmp_path / "once")
    four = done("predict", run, "airpassengers").out
    assert four == done("predict", tmp_path / "once", "airpassengers").out != two


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--hidden-size", "5"), "hidden_size was 4, now it is 5"),
        (("--cell", "gru"), "cell was 'lstm ("),
        (("--seed", "1"), "seed was 0, now it is 1"),
        (("--batch-size", "7"), "batch_size was 64, now it is 7"),
        (("--horizon", "11"), "horizon was 12, now it is 11"),
        (("--test", "30"), 'data was "One series of '),
        (("--scaling", "log"), "scaling was 'standard', now it is 'log'"),
    ],
    ids=lambda v: v[0] if isinstance(v, tuple) else "",
)
def test_resume_with_other_settings_is_refused_and_leaves_the_run(run, words, reason):
    before = contents(run)
    assert reason in refused(*AIR, *words, "--resume", "--out", run)
    assert contents(run) == before


def test_resume_from_a_damaged_checkpoint(run):
    path = run / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    before = contents(run)
    assert "is no checkpoint of Gatework or is damaged" in refused(*AIR, "--resume", "--out", run)
    assert contents(run) == before


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"cell", b"scaler", b"step", b"parameters", b"names"],
)
def test_a_damaged_config(run, damage):
    """Not JSON, no object, or one that lacks an entry."""
    path = run / "config.json"
    if damage.isalpha():
        config = json.loads(path.read_text())
        del config[damage.decode()]
        damage = json.dumps(config).encode()
    path.write_bytes(damage)
    line = refused("predict", run, "airpassengers")
    assert str(run) in line
    assert "internal error" not in line


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("parameters", "hidden_size"), 5),
        (("parameters", "hidden_size"), "many"),
        (("parameters", "speed"), 1),
        (("parameters", "horizon"), 0),
        (("context",), None),
        (("scaler",), {"method": "standard"}),
        (("cell", "equations"), []),
        (("cell",), "lstm"),
        (("step",), {"moons": 1}),
        (("task",), "translate"),
        (("format",), 99),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(run, place, value):
    path = run / "config.json"
    config = json.loads(path.read_text())
    entry = config
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    path.write_text(json.dumps(config))
    assert str(run) in refused("predict", run, "airpassengers")


def test_damaged_or_absent_weights(run):
    path = run / "model.safetensors"
    weights = path.read_bytes()
    for damage in (weights[:-20], weights[20:], b"", b"no tensors"):
        path.write_bytes(damage)
        assert f"{path} cannot be loaded" in refused("predict", run, "airpassengers")
    path.unlink()
    assert f"{path} cannot be loaded" in refused("predict", run, "airpassengers")


def test_data_that_does_not_fit_the_model(mess, air, tmp_path):
    _, folder, _ = mess
    rows = [[row[i] for i in (0, 1, 2)] for row in shops()]
    assert "no column 'price'" in refused("predict", folder, write(tmp_path, rows))
    header, *rows = shops()
    rows = [header, *([*row[:3], f"a{row[3]}", ""] for row in rows)]
    assert "line 2 holds 'a1'" in refused("predict", folder, write(tmp_path, rows))
    days = [["month", "passengers"], *([f"2020-01-{d:02d}", d] for d in range(1, 31))]
    line = refused("predict", air, write(tmp_path, days))
    assert "fitted on steps of 1 month, the data has steps of 1 day" in line


def test_an_unfinished_run_has_no_report_and_no_forecast(run):
    for name in MADE[1:]:
        (run / name).unlink()
    assert "holds no finished run" in refused("report", run)
    assert "go on with an unfinished run by --resume" in refused("predict", run, "airpassengers")


def test_places_that_cannot_be_written_to(air, tmp_path):
    (tmp_path / "file").write_text("mine")
    # Nobody, not even root, makes folders below a file or in /proc.
    for place in (tmp_path / "file" / "run", "/proc/gatework/run"):
        refused(*AIR, "--out", place)
        refused("predict", air, "airpassengers", "--out", f"{place}.csv")
        refused("report", air, "--out", f"{place}.html")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        ("1e30", "is not finite after epoch 1"),
        ("1e38", "from 0 to 1e30"),
        ("nan", "--learning-rate"),
    ],
)
def test_a_learning_rate_that_is_far_too_large(tmp_path, rate, reason):
    out = tmp_path / "a" / "b"
    assert reason in refused(*AIR, "--learning-rate", rate, "--batch-size", "8", "--out", out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it may be asked for")
def test_a_device_that_is_not_there(tmp_path):
    line = refused(*AIR, "--device", "cuda", "--out", tmp_path / "run")
    assert "there is only 'cpu' here" in line
    assert list(tmp_path.iterdir()) == []


def test_as_a_process_an_error_of_fit_is_one_line_too(tmp_path):
    """Warnings and loggers write there as well, which is not seen from within pytest."""
    words = [*AIR, "--cell", "lsmt", "--out", str(tmp_path / "a" / "run")]
    result = subprocess.run(
        [sys.executable, "-m", "gatework", *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Did you mean 'lstm'?" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_listing_the_cells_loads_no_torch_and_stands_a_closed_pipe():
    code = (
        "import sys; from gatework.cli.main import run; sys.argv = ['gatework', 'cells']\n"
        "try: run()\nfinally: assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "torch was loaded" not in result.stderr
    assert "Traceback" not in result.stderr
