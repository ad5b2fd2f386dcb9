"""Saved models: the same forecasts after loading, no pickle, and damage refused in one line."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from data_tools import named, quick, same_weights, sine
from make_saved_models import FOLDER, MODELS
from shared import each_untimed
from tolerances import SINGLE

import gatework as gw
from gatework.cells import resolve
from gatework.data import load_cube
from gatework.errors import ModelError

HERE = Path(__file__).parent
Y = sine(60, noise=0.3)
SERIES = [Y, Y[:40] * 100]


def equal_models(one, two, data=SERIES):
    assert same_weights(one, two)
    assert np.array_equal(one.predict(data), two.predict(data))
    assert one.evaluate(data).to_dict() == two.evaluate(data).to_dict()
    for name in ("context_", "season_", "horizon_", "cell_", "history_", "best_epoch_", "notes_"):
        assert getattr(one, name) == getattr(two, name), name
    for name in ("step", "names", "season"):
        assert getattr(one.model_, name) == getattr(two.model_, name), name


@each_untimed
def test_a_model_of_any_cell_comes_back_equal(cell, tmp_path):
    model = quick(cell=cell).fit(SERIES)
    model.save(tmp_path / "model")
    loaded = gw.Forecaster.load(tmp_path / "model")
    equal_models(loaded, model)
    assert resolve(loaded.cell) == cell.spec


@pytest.mark.parametrize(
    "arguments",
    [
        {"scaling": "log", "loss": "huber", "seed": 3},
        {"scaling": "none", "relative": False},
        {"num_layers": 3, "dropout": 0.2, "forget_bias": 1.5},
        {"hidden_size": np.int64(5), "learning_rate": np.float32(0.01), "horizon": np.int32(2)},
        {"context": None, "season": 4, "validation": 0.0, "device": "cpu"},
    ],
    ids=["log", "raw", "layers", "numpy numbers", "defaults"],
)
def test_models_of_other_arguments_come_back_equal(arguments, tmp_path):
    model = quick(**arguments).fit(SERIES)
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    equal_models(loaded, model)
    assert loaded.get_params() == model.get_params()


def test_a_model_of_a_table_knows_its_columns(tmp_path):
    model = quick(target="passengers", time="month").fit("airpassengers")
    model.save(str(tmp_path))
    loaded = gw.Forecaster.load(str(tmp_path))
    assert loaded.predict_table("airpassengers").equals(model.predict_table("airpassengers"))
    equal_models(loaded, model, "airpassengers")


def test_a_loaded_model_can_be_fitted_again(tmp_path):
    model = quick().fit(Y)
    model.save(tmp_path)
    equal_models(gw.Forecaster.load(tmp_path).fit(SERIES), quick().fit(SERIES))


def test_a_users_own_cell_needs_no_file_after_saving(tmp_path):
    source = shutil.copy(HERE / "own_cell.py", tmp_path / "mine.py")
    model = quick(cell=f"{source}:LeakyGRU").fit(SERIES)
    model.save(tmp_path / "model")
    Path(source).unlink()
    equal_models(gw.Forecaster.load(tmp_path / "model"), model)


def test_a_file_that_is_edited_after_fitting_changes_nothing(tmp_path):
    source = Path(shutil.copy(HERE / "own_cell.py", tmp_path / "mine.py"))
    model = quick(cell=f"{source}:LeakyGRU").fit(SERIES)
    before = model.cell_
    source.write_text(source.read_text().replace("0.9 *", "0.1 *"))
    model.save(tmp_path / "model")
    assert gw.Forecaster.load(tmp_path / "model").cell_ == before == model.cell_
    assert resolve(f"{source}:LeakyGRU") != before


def test_an_own_cell_with_a_name_of_the_catalogue_stays_itself(tmp_path):
    text = (HERE / "own_cell.py").read_text().replace("LeakyGRU", "GRU")
    (tmp_path / "mine.py").write_text(text)
    model = quick(cell=f"{tmp_path / 'mine.py'}:GRU").fit(SERIES)
    model.save(tmp_path / "model")
    loaded = gw.Forecaster.load(tmp_path / "model")
    equal_models(loaded, model)
    assert resolve(loaded.cell) != resolve("gru")


def test_a_saved_model_is_safetensors_and_json_only(tmp_path):
    quick().fit(SERIES).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    assert (config["format"], config["task"]) == (1, "forecast")
    weights = (tmp_path / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", weights[:8])[0]
    assert "head.bias" in json.loads(weights[8 : 8 + size])
    # A pickle of protocol 2 or above begins so, and pickles of older ones end in this.
    for content in (weights, (tmp_path / "config.json").read_bytes()):
        assert not content.startswith((b"\x80", b"PK"))


def test_saving_over_a_model_replaces_it(tmp_path):
    quick(hidden_size=9).fit(Y).save(tmp_path)
    model = quick().fit(SERIES)
    model.save(tmp_path)
    equal_models(gw.Forecaster.load(tmp_path), model)


# Damage.


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    quick().fit(named(SERIES)).save(folder)
    return folder


def changed(config, path, value):
    """A configuration with one entry replaced, or removed."""
    *way, last = path.split(".")
    inner = config
    for key in way:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [(name, KeyError) for name in ("cell", "parameters", "context", "season", "step", "names",
                                   "scaler", "columns", "history", "best_epoch", "notes",
                                   "cell.equations", "scaler.method", "scaler.center", "task",
                                   "format")]
    + [("format", 2), ("format", "1"), ("format", None), ("task", "classify"), ("cell", {}),
       ("cell", "lstm"), ("cell.equations", []), ("parameters.hidden_size", 5),
       ("parameters.hidden_size", -4), ("parameters.hidden_size", "4"),
       ("parameters.horizon", 10**12), ("parameters.num_layers", 2), ("parameters.code", "x"),
       ("parameters", []), ("context", "six"), ("context", -1), ("context", None),
       ("step", {"kind": "months", "length": 3}), ("names", ["y", "z"]), ("names", 3),
       ("scaler", None), ("scaler.center", {"0": ["x"]}), ("scaler.method", "minmax"),
       ("scaler.spread", {}), ("columns", {"moon": 1}), ("columns", None)],
)  # fmt: skip
def test_a_tampered_configuration_is_refused_in_one_line(saved, tmp_path, path, value):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(ModelError) as caught:
        gw.Forecaster.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"", "cannot be read"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"\xff\xfe", "cannot be read"),
        ("config.json", b"[]", "is no configuration"),
        ("config.json", None, "holds no saved model"),
        ("model.safetensors", b"", "cannot be loaded"),
        ("model.safetensors", b"x" * 300, "cannot be loaded"),
        ("model.safetensors", None, "cannot be loaded"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(saved, tmp_path, name, content, reason):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        gw.Forecaster.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_cut_are_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match="cannot be loaded"):
        gw.Forecaster.load(tmp_path)


def test_no_folder_at_all():
    with pytest.raises(ModelError, match="holds no saved model"):
        gw.Forecaster.load("absent")


# Models of older versions. Written by make_saved_models.py, and never again.


@pytest.mark.parametrize("name", MODELS)
def test_a_model_saved_by_version_one_forecasts_as_it_did(name):
    model = gw.Forecaster.load(FOLDER / name)
    recorded = json.loads((FOLDER / name / "forecasts.json").read_text())
    cube = load_cube("airpassengers")
    np.testing.assert_allclose(model.predict(cube), recorded["predict"], **SINGLE)
    evaluation = model.evaluate(cube, np.array([140]))
    np.testing.assert_allclose(
        evaluation.forecasts[evaluation.model], recorded["evaluate"], **SINGLE
    )
    # A model that says nothing would pass: these forecasts are near the truth.
    assert evaluation.errors()[evaluation.model].mape < 40
