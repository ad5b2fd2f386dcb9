"""Classifier and Detector on a Parquet file in pieces: as from the whole, and nothing of later."""

import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from classify_tools import quick as classifier
from data_tools import same_weights
from detect_tools import KINDS
from detect_tools import quick as detector

from gatework.data.scaling import Scaler
from gatework.data.stream import Stream
from gatework.errors import DataError, TrainingError
from gatework.tasks.classify_cases import Parts
from gatework.tasks.detect_problem import DetectProblem
from gatework.tasks.judging import judged
from gatework.tasks.streaming import Streamed
from gatework.training import loop

NAN = float("nan")
PIECE = 80  # rows
WATCHED = {"target": "heat", "time": "hour", "id": "machine", "features": "load"}
NAMED = {"target": "state", "id": "machine", "features": ("heat", "load")}


@pytest.fixture(scope="module")
def table():
    """Machines that run slow or fast, whose hours and gaps differ."""
    random = np.random.default_rng(0)
    parts = []
    for number in range(14):
        steps = int(random.integers(22, 40))
        state = ("slow", "fast")[number % 2]
        phase = np.arange(steps) / (3 if state == "slow" else 1) + number
        parts.append(pd.DataFrame({
            "machine": f"m{number:02}",
            "hour": pd.date_range("2024-01-01", periods=steps, freq="h"),
            "heat": 50 + 10 * number + 5 * np.sin(phase) + random.normal(0, 0.3, steps),
            "load": random.normal(3, 1, steps),
            "state": state,
        }))  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    table.loc[[3, 4, 90, 200], "load"] = NAN
    table.loc[4, "heat"] = NAN
    return table.drop(index=[20, 21, 130]).reset_index(drop=True)


@pytest.fixture(scope="module")
def file(table, tmp_path_factory):
    return written(table, tmp_path_factory.mktemp("tasks") / "machines.parquet")


def written(table, path):
    table.to_parquet(path, row_group_size=23)
    return path


def problems(model, data, monkeypatch):
    """The problem that a model makes of data, which is not trained on."""
    made = []

    def look(problem, *more):
        made.append(problem)
        return loop.fit(problem, *more)

    monkeypatch.setattr("gatework.tasks.estimator.fit", look)
    model.fit(data)
    return made[0]


def same_examples(pieces, whole):
    """Whether a problem in pieces has the examples of the whole one, in their order."""
    assert isinstance(pieces, Streamed)
    assert len(pieces.train_parts) > 3
    whole.model.load_state_dict(pieces.model.state_dict())
    for part in ("train", "validation"):
        count = getattr(pieces, f"{part}_size")
        assert count == getattr(whole, f"{part}_size")
        index = torch.arange(count)
        with torch.no_grad():
            found, known = pieces.losses(index, part), whole.losses(index, part)
        torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-6)
        assert pieces.describe(count - 1, part) == whole.describe(count - 1, part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_learns_from_pieces_what_it_learns_from_the_whole(
    file, table, kind, monkeypatch
):
    model = detector(kind, **WATCHED, epochs=1)
    stream = model.open_stream(file, PIECE)
    assert len(stream) > 4
    pieces = problems(model, stream, monkeypatch)
    other = detector(kind, **WATCHED, epochs=1)
    same_examples(pieces, problems(other, table, monkeypatch))
    # Behind the training: of the same weights the same spread of errors and begins.
    other.network_.load_state_dict(model.network_.state_dict())
    cube = other.load_data(table)
    again = other.model_.calibrated([cube], lambda c: other._cut(c).train)
    np.testing.assert_allclose(model.model_.scatter, again.scatter, rtol=1e-5)
    assert model.model_.begins.keys() == again.begins.keys()
    for name, begin in again.begins.items():
        for key, value in vars(begin).items():
            found = getattr(model.model_.begins[name], key)
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6)
    scores = model.anomaly_scores(stream)
    np.testing.assert_allclose(scores, model.anomaly_scores(table), rtol=1e-9)
    assert np.array_equal(model.predict(stream), model.predict(table))
    assert model.predict_table(stream).equals(model.predict_table(table))


def test_a_classifier_learns_from_pieces_what_it_learns_from_the_whole(file, table, monkeypatch):
    model = classifier(**NAMED, epochs=1, class_weight="balanced")
    stream = model.open_stream(file, PIECE)
    pieces = problems(model, stream, monkeypatch)
    other = classifier(**NAMED, epochs=1, class_weight="balanced")
    same_examples(pieces, problems(other, table, monkeypatch))
    assert model.classes_.tolist() == ["fast", "slow"]
    assert model.model_.counts.tolist() == other.model_.counts.tolist() == [7, 7]
    assert model.model_.steps == other.model_.steps
    for key in ("center", "spread"):
        found, known = (getattr(m.scaler_, key) for m in (model, other))
        assert list(found) == list(known) == [""]
        np.testing.assert_allclose(found[""], known[""], rtol=1e-9)
    chances = model.predict_proba(stream)
    np.testing.assert_allclose(chances, model.predict_proba(table), rtol=1e-6)
    assert model.predict(stream).tolist() == model.predict(table).tolist()
    found = model.evaluate(stream)
    assert found.truth.tolist() == ["slow", "fast"] * 7
    assert model.score(stream) == found.accuracy() == model.score(table)


MODELS = {"detect": lambda **more: detector(**WATCHED, batch_size=4, **more),
          "classify": lambda **more: classifier(**NAMED, batch_size=3, **more)}  # fmt: skip


class Stop:
    """Ends a run amid an epoch, as a kill would."""

    def __init__(self, batches):
        self.left, self.epochs = batches, 0

    def start(self, *about):
        pass

    def epoch(self, record):
        self.epochs += 1

    def batch(self, examples):
        self.left -= 1
        if self.left < 0 and self.epochs:
            raise KeyboardInterrupt


each_task = pytest.mark.parametrize("task", MODELS)


@each_task
def test_a_run_in_two_parts_is_the_run_in_one_and_is_saved(file, tmp_path, task):
    def fit(epochs, folder, buffer=PIECE, **more):
        model = MODELS[task](epochs=epochs)
        return model.fit(model.open_stream(file, buffer), folder=tmp_path / folder, **more)

    whole = fit(3, "a")
    with pytest.raises(KeyboardInterrupt):
        fit(3, "b", watcher=Stop(batches=6))
    resumed = fit(3, "b", resume=True)
    assert same_weights(whole, resumed)
    assert whole.history_ == resumed.history_
    assert "pieces of at most 80 rows" in whole.notes_[0]
    with pytest.raises(TrainingError, match="another run: rows"):
        fit(4, "b", 60, resume=True)
    whole.save(tmp_path / "model")
    again = type(whole).load(tmp_path / "model")
    stream = again.open_stream(file, PIECE)
    assert np.array_equal(again.predict(stream), whole.predict(stream))
    assert again.get_params() == whole.get_params()


@each_task
def test_other_rows_are_another_run(file, table, tmp_path, task):
    """A changed value of the last piece is noticed, though the first looks the same."""
    model = MODELS[task](epochs=1)
    model.fit(model.open_stream(file, PIECE), folder=tmp_path)
    other = table.copy()
    other.loc[len(table) - 3, "load"] += 1
    changed = written(other, tmp_path / "other.parquet")
    with pytest.raises(TrainingError, match="another run: data"):
        model.fit(model.open_stream(changed, PIECE), folder=tmp_path, resume=True)


@each_task
def test_nothing_of_the_validation_part_reaches_the_scale_or_the_windows(
    file, table, tmp_path, task
):
    model = MODELS[task](epochs=1)
    model.fit(model.open_stream(file, PIECE))
    other = table.copy()
    if task == "detect":
        behind = table.groupby("machine").cumcount(ascending=False) < 4
    else:
        parts = Parts.drawn(np.arange(14) % 2 == 0, np.array([0, 14]), 0.2, 0)
        assert len(parts.validation) == 2
        behind = table["machine"].isin([f"m{n:02}" for n in parts.validation])
    other.loc[behind, ["heat", "load"]] *= -7
    changed = written(other, tmp_path / "other.parquet")
    again = MODELS[task](epochs=1)
    again.fit(again.open_stream(changed, PIECE))
    assert same_weights(model, again)
    one, two = (Scaler.to_dict(m.scaler_) for m in (model, again))
    assert one == two
    assert model.history_[0]["train"] == again.history_[0]["train"]
    assert model.history_[0]["validation"] != again.history_[0]["validation"]


def test_one_piece_at_a_time_is_held(file, monkeypatch):
    made, sizes = [], []

    def of(*arguments, original=DetectProblem.of):
        assert not any(reference() for reference in made)
        problem = original(*arguments)
        made.append(weakref.ref(problem))
        sizes.append(problem.values.shape[0] * problem.values.shape[1])
        return problem

    monkeypatch.setattr(DetectProblem, "of", of)
    model = detector(**WATCHED, epochs=2)
    stream = model.open_stream(file, PIECE)
    model.fit(stream)
    assert max(sizes) <= PIECE + 3 * 3  # three hours are gaps, of which steps are made
    assert len(made) > 3 * len(stream)


def test_a_piece_of_one_row_has_the_step_of_the_others(file, table, tmp_path):
    one = table.iloc[:1].assign(machine="new", hour=pd.Timestamp("2024-02-01"))
    path = written(pd.concat([table, one], ignore_index=True), tmp_path / "one.parquet")
    model = detector(**WATCHED, epochs=1)
    stream = model.open_stream(path, 40)
    assert stream[len(stream) - 1].lengths.tolist() == [1]
    model.fit(stream)
    assert model.predict_table(stream).column("time")[-1].as_py() == one["hour"].iloc[0]


def test_what_is_found_in_every_piece_is_said_once(file, table, tmp_path):
    path = written(table.drop(columns="hour"), tmp_path / "rows.parquet")
    model = detector(**WATCHED | {"time": None}, epochs=1)
    model.fit(model.open_stream(path, PIECE))
    told = [note for note in model.notes_ if "consecutive steps" in note]
    assert told == ["From row 1: No time column is given; the rows are taken as consecutive steps."]


def test_series_of_very_different_lengths_do_not_blow_a_piece_up(tmp_path):
    lengths = [3] * 20 + [60] + [3] * 20 + [50, 50]
    ids = np.repeat([f"{i:03}" for i in range(len(lengths))], lengths)
    table = pd.DataFrame({"machine": ids, "heat": np.arange(float(len(ids)))})
    model = detector(target="heat", id="machine")
    stream = model.open_stream(written(table, tmp_path / "odd.parquet"), 100)
    cubes = list(stream)
    assert [n for cube in cubes for n in cube.lengths.tolist()] == lengths
    assert max(cube.values.size for cube in cubes) <= 100
    assert isinstance(stream, Stream)


def test_a_search_reads_long_tables_and_refuses_pieces(file, table):
    model, space = MODELS["classify"](), {"hidden_size": (2, 3)}
    found = judged(model, table, space)
    assert found.words == "2 of the 14 sequences, drawn class by class"
    assert judged(model, str(file), space).words == found.words
    for task in MODELS.values():
        with pytest.raises(DataError, match="a file in pieces is fitted, not searched on"):
            judged(task(), task().open_stream(file, PIECE), space)


def test_what_cannot_be_had_from_pieces_says_so(file, table, tmp_path):
    model = detector(**WATCHED, contamination=0.1)
    with pytest.raises(DataError, match="read in pieces, it is 'auto'"):
        model.fit(model.open_stream(file, PIECE))
    model = classifier(**NAMED)
    stream = model.open_stream(file, PIECE)
    with pytest.raises(DataError, match="brings its classes"):
        model.fit(stream, ["slow"] * 14)
    several = table.copy()
    several.loc[len(table) - 1, "state"] = "slow"
    changed = written(several, tmp_path / "several.parquet")
    with pytest.raises(DataError, match=r"'m13' .* is of several .* 'state': 'fast', 'slow'"):
        model.fit(model.open_stream(changed, PIECE))
    some = table.assign(state=table["state"].where(table["machine"] < "m10", None))
    changed = written(some, tmp_path / "some.parquet")
    with pytest.raises(DataError, match="no class"):
        model.fit(model.open_stream(changed, PIECE))
    with pytest.raises(DataError, match="no class in a column 'mood'"):
        model.set_params(target="mood").fit(model.open_stream(file, PIECE))
