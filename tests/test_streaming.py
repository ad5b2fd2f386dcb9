"""A Parquet file in pieces: the same series, scales, windows and losses as from the whole."""

import numpy as np
import pandas as pd
import pytest
import torch
from cli_tools import done, refused
from data_tools import quick, same_weights

from gatework.data import Columns, load_cube
from gatework.data.encoding import Encoding
from gatework.data.scaling import Scaler
from gatework.data.splits import split
from gatework.data.stream import Stream
from gatework.errors import DataError, TrainingError
from gatework.tasks.problem import problem_of
from gatework.tasks.streaming import PARTS, Streamed
from gatework.training.epoch_order import epoch_order

NAN = float("nan")
ROLES = {"target": "sold", "time": "day", "id": "shop", "features": "rain", "future": "price",
         "static": "size"}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twelve shops in one file of small row groups, which begin amid them."""
    random = np.random.default_rng(0)
    parts = []
    for number in range(12):
        steps = int(random.integers(25, 45))
        parts.append(pd.DataFrame({
            "shop": f"s{number:02}",
            "day": pd.date_range("2024-01-01", periods=steps),
            "sold": random.normal(100 * (number + 1), 1 + number, steps),
            "rain": random.choice(["dry", "wet", None] if number > 5 else ["dry"], steps),
            "price": random.normal(0, 1, steps),
            "size": float(number),
        }))  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    table.loc[3, "price"] = NAN
    path = tmp_path_factory.mktemp("stream") / "shops.parquet"
    table.to_parquet(path, row_group_size=17)
    return path


def opened(file, buffer=100):
    return Stream.open(file, Columns(**ROLES), buffer)


def test_pieces_are_whole_series(file):
    stream, whole = opened(file), load_cube(file, Columns(**ROLES))
    assert len(stream) > 3
    cubes = list(stream)
    assert [name for cube in cubes for name in cube.ids] == list(whole.ids)
    for cube in cubes:
        assert cube.lengths.sum() <= 100
        for position, name in enumerate(cube.ids):
            known = whole.series(whole.ids.index(name))
            numbers = [0, 2, 3]
            assert np.array_equal(cube.series(position)[:, numbers], known[:, numbers], True)
            assert np.array_equal(_names(cube, position), _names(whole, whole.ids.index(name)))
    assert len(Stream.open(file, Columns(**ROLES))) == 1


def _names(cube, position):
    codes = cube.series(position)[:, 1]
    return ["" if np.isnan(code) else cube.levels[1][int(code)] for code in codes]


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize(("method", "per"), [("standard", "series"), ("log", "global"),
                                             ("none", "series")])  # fmt: skip
def test_scales_are_those_of_the_whole(file, method, per, levels):
    whole = load_cube(file, Columns(**ROLES))
    known = Scaler.fit(whole, split(whole, 3, 0.2).train, method, levels, per)
    pieces = ((cube, split(cube, 3, 0.2).train) for cube in opened(file))
    found = Scaler.joined(pieces, method, levels, per)
    assert found.center.keys() == known.center.keys()
    for name in known.center:
        for one, two in ((found.center, known.center), (found.spread, known.spread)):
            np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-9)


def test_an_encoding_is_that_of_the_whole(file):
    whole = load_cube(file, Columns(**ROLES))
    known = Encoding.fit(whole, whole.lengths, True)
    found = Encoding.joined([Encoding.fit(cube, cube.lengths, True) for cube in opened(file)])
    assert found == known
    assert known.categories == {1: ("dry", "wet", "")}
    assert known.gaps == (2,)


def streamed(file, **arguments):
    """A fitted model, and its windows from pieces and from the whole table."""
    model = quick(**ROLES, **arguments).fit(opened(file))
    stream, whole = opened(file), load_cube(file, Columns(**ROLES))

    def load(number):
        return problem_of(model.model_, stream[number], split(stream[number], 3, 0.2))

    loaded = [load(number) for number in range(len(stream))]
    sizes = {part: [len(problem.parts[part]) for problem in loaded] for part in PARTS}
    pieces = Streamed(model.network_, load, sizes)
    return model, pieces, problem_of(model.model_, whole, split(whole, 3, 0.2))


def test_losses_are_those_of_the_whole(file):
    _, pieces, whole = streamed(file)
    for part in PARTS:
        count = len(whole.parts[part])
        assert sum(pieces.sizes[part]) == count
        order = torch.randperm(count, generator=torch.Generator().manual_seed(3))[:60].sort().values
        with torch.no_grad():
            found, known = pieces.losses(order, part), whole.losses(order, part)
        torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-6)
        assert pieces.describe(int(order[-1]), part) == whole.describe(int(order[-1]), part)


def test_an_epoch_has_every_window_once_in_another_order_each_time(file):
    _, pieces, _ = streamed(file)
    generator = torch.Generator().manual_seed(0)
    parts, size = pieces.train_parts, pieces.train_size
    one, two = (list(epoch_order(parts, size, generator)) for _ in range(2))
    for orders in (one, two):
        everything = torch.cat(orders)
        assert torch.equal(everything.sort().values, torch.arange(pieces.train_size))
        assert sorted(map(len, orders)) == sorted(parts)
    assert not torch.equal(torch.cat(one), torch.cat(two))


def test_a_streamed_fit_learns_is_saved_and_goes_on(file, tmp_path):
    options = {**ROLES, "batch_size": 16, "calendar": ("weekday",)}
    whole = quick(epochs=3, **options).fit(opened(file), folder=tmp_path / "a")
    quick(epochs=1, **options).fit(opened(file), folder=tmp_path / "b")
    resumed = quick(epochs=3, **options).fit(opened(file), folder=tmp_path / "b", resume=True)
    assert same_weights(whole, resumed)
    assert whole.history_ == resumed.history_
    assert whole.history_[-1]["train"] < whole.history_[0]["train"]
    assert f"is read in {len(opened(file))} pieces of at most 100 rows" in whole.notes_[0]
    whole.save(tmp_path / "model")
    again = type(whole).load(tmp_path / "model")
    for cube in opened(file):
        assert np.array_equal(again.predict(cube), whole.predict(cube))
    with pytest.raises(TrainingError, match="another run: rows"):
        quick(epochs=4, **options).fit(opened(file, 60), folder=tmp_path / "b", resume=True)


def test_forecasts_of_pieces_are_those_of_the_whole(file):
    model = quick(**ROLES, epochs=1, head="normal").fit(opened(file))
    stream, whole = opened(file), load_cube(file, model.model_.columns)
    for say in (model.predict, model.predict_quantiles, model.predict_interval):
        np.testing.assert_allclose(say(stream), say(whole), rtol=1e-5)
    told, known = model.predict_table(stream, 0.5), model.predict_table(whole, 0.5)
    assert told.column_names == known.column_names
    assert told["id"].to_pylist() == known["id"].to_pylist()
    assert told["time"].to_pylist() == known["time"].to_pylist()
    np.testing.assert_allclose(told["high"], known["high"], rtol=1e-5)


def test_what_takes_no_pieces_says_what_to_do(file):
    stream = opened(file)
    model = quick(**ROLES, epochs=1).fit(stream)
    for refuses in (model.evaluate, model.continue_fit, model.backtest):
        with pytest.raises(DataError, match=r"Stream holds its data in pieces, which only fit and"):
            refuses(stream)


def test_a_validation_part_that_is_empty_is_said(file, tmp_path):
    model = quick(**ROLES, epochs=1)
    assert not any("validation part" in n for n in model.fit(opened(file)).notes_)
    table = pd.read_parquet(file)
    place = table.groupby("shop").cumcount(ascending=False)
    table.loc[place < 10, "sold"] = NAN
    path = tmp_path / "gap.parquet"
    table.to_parquet(path)
    (said,) = (n for n in model.fit(opened(path)).notes_ if "The validation part" in n)
    assert "holds no window with a known value; every epoch is trained" in said
    assert model.set_params(validation=0.0).fit(opened(path)).notes_.count(said) == 0


def test_the_command_line_fits_a_long_file_in_pieces(file, tmp_path):
    command = ["fit", "forecast", file, "--target", "sold", "--id", "shop", "--horizon", 3,
               "--epochs", 1, "--hidden-size", 4, "--context", 5]  # fmt: skip
    said = done(*command, "--buffer", 100, "--out", tmp_path / "run").out
    assert f"are of the first of {len(opened(file))} pieces of" in said
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "more than the buffer" in refused(*command, "--buffer", 20, "--out", tmp_path / "b")
    whole = done("predict", tmp_path / "run", file)
    pieces = done("predict", tmp_path / "run", file, "--buffer", 100)
    assert [row.split(",")[:3] for row in pieces.out.splitlines()] == [
        row.split(",")[:3] for row in whole.out.splitlines()
    ]
    assert "pieces of at most 100 rows" in pieces.err


def test_the_test_part_can_be_cut_off(file):
    stream = opened(file).until(lambda cube: cube.lengths - 5)
    whole = load_cube(file, Columns(**ROLES))
    lengths = np.concatenate([cube.lengths for cube in stream])
    assert lengths.tolist() == (whole.lengths - 5).tolist()


def test_files_that_cannot_be_read_in_pieces(file, tmp_path):
    def refusal(buffer=100, path=file, **roles):
        with pytest.raises(DataError) as caught:
            Stream.open(path, Columns(**ROLES | roles), buffer)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "name the column of ids" in refusal(id=None)
    assert "has no column 'moon'" in refusal(id="moon")
    assert "rows, more than the buffer of 20" in refusal(20)
    assert "cannot be read as Parquet" in refusal(path=tmp_path / "absent.parquet")
    mixed = tmp_path / "mixed.parquet"
    pd.read_parquet(file).sort_values("day", kind="stable").to_parquet(mixed)
    assert "The rows of id 's00' do not stand together" in refusal(path=mixed)
    assert "(it comes again in row 13). Sort the file by 'shop' first." in refusal(path=mixed)
    with pytest.raises(DataError, match="Quartiles need all values at once"):
        quick(**ROLES, scaling="robust").fit(opened(file))
    with pytest.raises(DataError, match="long enough for a window of context 90"):
        quick(**ROLES, context=90).fit(opened(file))
