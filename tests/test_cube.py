"""The cube: every table and array becomes series on one grid, and the notes say what was done."""

import numpy as np
import pandas as pd
import pytest
import torch
from data_tools import DAYS, cube_of, refusal, write

from gatework.data import Columns, bundled_names, load_cube
from gatework.data.doctor import check
from gatework.errors import DataError

NAN = float("nan")
HEAD = [("day", "shop", "sold", "price")]


def rows(*series, start=0):
    """Rows of the long form: of each (shop, values) one row a day."""
    return HEAD + [
        (DAYS[start + i], shop, value, 10 + i)
        for shop, values in series
        for i, value in enumerate(values)
    ]


def equal(found, expected):
    assert np.array_equal(np.asarray(found, float), np.asarray(expected, float), equal_nan=True)


# Tables.


def test_the_long_form(tmp_path):
    cube = cube_of(tmp_path, rows(("b", [1, 2]), ("a", [3, 4, 5])), target="sold", id="shop")
    assert cube.ids == ("a", "b")
    assert cube.names == ("sold",)
    assert cube.lengths.tolist() == [3, 2]
    equal(cube.values[..., 0], [[3, 4, 5], [1, 2, NAN]])
    assert cube.times(1, np.array([0, 2])).astype(str).tolist() == [DAYS[0], DAYS[2]]


def test_the_wide_form_has_a_series_for_each_target(tmp_path):
    table = [("day", "north", "south")] + [(d, i, -i) for i, d in enumerate(DAYS[:3])]
    cube = cube_of(tmp_path, table, target=["north", "south"])
    assert (cube.ids, cube.names) == (("north", "south"), ("value",))
    equal(cube.values[..., 0], [[0, 1, 2], [0, -1, -2]])


def test_several_targets_of_several_ids(tmp_path):
    cube = cube_of(
        tmp_path, rows(("a", [1, 2]), ("b", [3, 4])), target=["sold", "price"], id="shop"
    )
    assert cube.ids == ("a/sold", "a/price", "b/sold", "b/price")
    equal(cube.values[..., 0], [[1, 2], [10, 11], [3, 4], [10, 11]])


@pytest.mark.parametrize("features", ["price", ["price"], ("price",)])
def test_features_stand_behind_the_target(tmp_path, features):
    cube = cube_of(tmp_path, rows(("a", [1, 2])), target="sold", features=features)
    assert cube.names == ("sold", "price")
    equal(cube.values[0], [[1, 10], [2, 11]])


def test_gaps_and_missing_values_are_nan_and_counted(tmp_path):
    table = rows(("a", [1, "", "NA", 4, "inf", 6, 7]))
    del table[6]  # the sixth day
    cube = cube_of(tmp_path, table, target="sold")
    equal(cube.series(0)[:, 0], [1, NAN, NAN, 4, NAN, NAN, 7])
    notes = " ".join(cube.notes)
    assert "3 of 6 values of 'sold' are missing" in notes
    assert "1 step of 1 day absent from the table (gaps)" in notes


def test_rows_out_of_order_and_repeated_ones(tmp_path):
    table = [*HEAD, *rows(("a", [1, 2, 3, 4]))[:0:-1], (DAYS[1], "a", 99, 0)]
    cube = cube_of(tmp_path, table, target="sold")
    equal(cube.series(0)[:, 0], [1, 99, 3, 4])
    notes = " ".join(cube.notes)
    assert "not in order of time; they were sorted" in notes
    assert "1 row with the time stamp of another row; the last of each is used" in notes


def test_an_orderly_table_has_no_such_notes(tmp_path):
    assert cube_of(tmp_path, rows(("a", [1, 2, 3])), target="sold", time="day").notes == ()


def test_a_series_may_start_later_and_be_off_the_grid_of_the_others(tmp_path):
    table = rows(("a", [1, 2, 3])) + rows(("b", [4, 5]), start=2)[1:]
    cube = cube_of(tmp_path, table, target="sold", id="shop")
    assert [str(cube.times(i, np.array([0]))[0]) for i in range(2)] == [DAYS[0], DAYS[2]]
    equal(cube.values[..., 0], [[1, 2, 3], [4, 5, NAN]])


def test_several_series_in_one_column_are_refused(tmp_path):
    table = rows(*[(shop, range(5)) for shop in "abc"])
    line = refusal(lambda: cube_of(tmp_path, table, target="sold"))
    assert "10 of 15 rows" in line
    assert "(id)" in line


def test_a_wrong_date_makes_no_endless_grid(tmp_path):
    table = [*rows(("a", range(9))), ("2220-01-01", "a", 5, 0)]
    cube = cube_of(tmp_path, table, target="sold", time="day")
    assert cube.lengths.tolist() == [10]
    assert "between 2020-01-09 and 2220-01-01: is that date right?" in cube.notes[-1]


def test_times_without_a_regular_step_count_rows(tmp_path):
    table = [("at", "sold"), ("2020-01-01 00:00", 1), ("2020-01-01 01:00", 2),
             ("2020-01-01 02:00", 3), ("2020-01-01 02:07", 4)]  # fmt: skip
    cube = cube_of(tmp_path, table)
    equal(cube.series(0)[:, 0], [1, 2, 3, 4])
    assert cube.step.kind == "rows"
    assert cube.times(0, np.array([3, 4])).astype(str).tolist() == [
        "2020-01-01T02:07:00", "2020-01-01T03:07:00"  # behind the end by the usual hour
    ]  # fmt: skip
    assert "not regular; the rows are taken as consecutive" in cube.notes[-1]


def test_whole_numbers_are_times_too(tmp_path):
    cube = cube_of(tmp_path, [("t", "y"), (10, 1), (20, 2), (40, 4)], target="y", time="t")
    equal(cube.series(0)[:, 0], [1, 2, NAN, 4])
    assert cube.times(0, np.array([4])).tolist() == [50]


def test_what_is_left_out_is_found_and_said(tmp_path):
    cube = cube_of(tmp_path, [("day", "shop", "sold"), (DAYS[0], "a", 1), (DAYS[1], "a", 2)])
    assert cube.names == ("sold",)
    assert cube.has_times
    assert cube.notes == (
        "Column 'sold' is taken as the target, the only numeric one.",
        "Column 'day' is taken as the time, the only one with dates.",
    )


def test_two_columns_of_dates_are_named(tmp_path):
    cube = cube_of(tmp_path, [("from", "to", "y"), (DAYS[0], DAYS[1], 1), (DAYS[1], DAYS[2], 2)])
    assert "several hold dates (from, to); the rows are taken" in cube.notes[-1]


def test_a_column_of_prices_near_1700_is_not_taken_as_years(tmp_path):
    table = [("day", "y", "price"), *((d, i, 1650 + 37 * i % 90) for i, d in enumerate(DAYS))]
    cube = cube_of(tmp_path, table, target="y")
    equal(cube.series(0)[:, 0], range(60))
    assert cube.step.words() == "1 day"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"target": "Sold"}, "no column 'Sold'. Its columns: day, shop, sold, price."),
        ({"target": "sold", "time": "Day"}, "no column 'Day'"),
        ({"target": "sold", "id": "store"}, "no column 'store'"),
        ({"target": "sold", "features": "prize"}, "no column 'prize'"),
        ({}, "which column"),
        ({"target": "shop"}, "is read as numbers, but line 2 holds 'a'"),
        ({"target": "sold", "time": "sold"}, "as target and as time"),
        ({"target": ["sold", "sold"]}, "named twice, as target and as target"),
        ({"target": "sold", "features": "sold"}, "named twice, as target and as feature"),
        ({"target": "sold", "time": "shop"}, "line 2 holds 'a', which is no date"),
    ],
)
def test_wrong_columns_are_refused_in_one_line(tmp_path, columns, reason):
    assert reason in refusal(lambda: cube_of(tmp_path, rows(("a", [1, 2])), **columns))


def test_a_target_without_any_number(tmp_path):
    table = [("day", "y", "z"), (DAYS[0], "", 1), (DAYS[1], "NA", 2)]
    assert "'y' of" in refusal(lambda: cube_of(tmp_path, table, target="y"))


def test_the_bundled_series_know_their_columns():
    for name in bundled_names():
        cube = load_cube(name)
        assert cube.step.words() == "1 month"
        assert cube.notes == ()
        assert not np.isnan(cube.values).any()
    assert load_cube("airpassengers").values[0, :3, 0].tolist() == [112, 118, 132]


def test_a_file_called_like_a_bundled_series_is_the_file(tmp_path, monkeypatch):
    write(tmp_path, [("y",), (1,), (2,)], "sunspots")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no column 'sunspots'"):
        load_cube("sunspots")


# Arrays.


@pytest.mark.parametrize(
    "data",
    [
        [1, 2, NAN],
        [1, 2, None],
        [[1, 2, NAN]],
        np.array([1, 2, np.inf]),
        np.array([[1, 2, NAN]], dtype=np.float32),
        np.array([[[1], [2], [NAN]]]),
        np.ma.array([1, 2, 3], mask=[0, 0, 1]),
        np.array([[1, 2, None]], dtype=object),
        torch.tensor([1.0, 2.0, NAN], requires_grad=True),
        torch.tensor([1.0, 2.0, NAN], dtype=torch.bfloat16),
        [torch.tensor([1.0, 2.0, NAN], requires_grad=True)],
        (np.array([1, 2, NAN]),),
    ],
    ids=lambda d: type(d).__name__,
)
def test_forms_of_one_series(data):
    cube = load_cube(data)
    equal(cube.values, [[[1], [2], [NAN]]])
    assert (cube.ids, cube.names, cube.step.kind) == (("0",), ("y",), "rows")
    assert "1 of 3 values of 'y' are missing" in cube.notes[0]


def test_ragged_lists_keep_their_lengths():
    cube = load_cube([np.ones((2, 2)), np.ones((3, 2))])
    assert cube.lengths.tolist() == [2, 3]
    assert cube.names == ("y", "x1")
    assert np.isnan(cube.values[0, 2]).all()
    assert cube.series(0).shape == (2, 2)


@pytest.mark.parametrize(
    "data",
    [[], [[]], np.zeros((0, 3)), np.zeros((2, 0)), np.zeros((1, 1, 1, 1)), np.array(["a"]),
     np.array([1j]), [np.ones((2, 2)), np.ones((2, 3))], [[1, 2], 3], {}, {"a": 1.0, "b": 2.0}],
    ids=["empty", "no steps", "no series", "series of no steps", "four axes", "text", "complex",
         "other features", "number among series", "empty by id", "numbers by id"],
)  # fmt: skip
def test_arrays_that_are_no_series(data):
    refusal(lambda: load_cube(data))


def test_a_cube_is_its_own_cube():
    cube = load_cube("airpassengers")
    assert load_cube(cube) is cube


def test_until_holds_nothing_of_the_rest():
    cube = load_cube([np.arange(5.0), np.arange(8.0)])
    part = cube.until(np.array([0, 6]))
    assert part.lengths.tolist() == [0, 6]
    assert part.values.shape == (2, 6, 1)
    equal(part.values[..., 0], [[NAN] * 6, range(6)])
    assert (part.ids, part.names, part.starts, part.step) == (
        cube.ids,
        cube.names,
        cube.starts,
        cube.step,
    )


# The data doctor.


def findings(folder, content, horizon=None, context=None, **columns):
    return check(write(folder, content), Columns(**columns), horizon, context)


def level(found, text):
    """The level of the one finding with a text."""
    levels = [f.level for f in found if text in f.text]
    assert len(levels) == 1, [f.text for f in found]
    return levels[0]


def test_a_healthy_table_has_nothing_but_good_findings(tmp_path):
    found = findings(tmp_path, rows(("a", range(40))), 3, target="sold", time="day", id="shop")
    assert {f.level for f in found} == {"ok"}
    assert level(found, "40 rows, 4 columns") == "ok"
    assert level(found, "numbers from 0 to 39") == "ok"
    assert level(found, "'day': time stamps") == "ok"
    assert level(found, "One series of 40 steps, one every 1 day, from 2020-01-01") == "ok"
    # 6 steps for the test and 7 for validation leave 27, and half of 27 - 3 is 12.
    assert level(found, "Every series holds training windows of 12 + 3 steps") == "ok"


def test_troubles_of_columns(tmp_path):
    table = [("day", "y", "same", "empty", "spoilt", "text")]
    table += [(d, i, 7, "", i if i != 4 else "closed", "x") for i, d in enumerate(DAYS)]
    found = findings(tmp_path, table, target="y")
    assert level(found, "'same': numbers from 7 to 7; constant") == "warning"
    assert level(found, "'empty': no value at all") == "warning"
    assert level(found, "line 6 holds 'closed'") == "warning"
    assert level(found, "'text': text, 1 different value") == "ok"


def test_troubles_of_series(tmp_path):
    table = rows(
        ("good", range(40)),
        ("flat", [5] * 40),
        ("void", [""] * 40),
        ("holes", [i if i < 10 or i > 25 else "" for i in range(40)]),
        ("brief", range(4)),
    )
    found = findings(tmp_path, table, 3, target="sold", id="shop")
    assert level(found, "Constant series (1 of 5): 'flat'.") == "warning"
    assert level(found, "Series without any value (1 of 5): 'void'.") == "warning"
    assert level(found, "Long runs of missing values: 'holes' (16 steps).") == "warning"
    assert level(found, "not trained on: 'brief'.") == "warning"
    assert level(found, "56 of 164 values of 'sold' are missing") == "note"


@pytest.mark.parametrize("horizon", [13, 20, 500])
def test_series_that_a_run_would_refuse_are_an_error(tmp_path, horizon):
    # The test and the validation part take 13 steps of 39 each, so no window of 13 + 1 is left.
    found = findings(tmp_path, rows(("a", range(39))), horizon, target="sold")
    assert level(found, "No series is long enough") == "error"


def test_errors_of_the_table_are_findings_too(tmp_path):
    found = findings(tmp_path, rows(("a", [1, "x", 3])), target="sold")
    assert found[-1].level == "error"
    assert "line 3 holds 'x'" in found[-1].text
    assert (
        level(findings(tmp_path, rows(("a", [1, 2])), target="gone"), "no column 'gone'") == "error"
    )


def test_the_doctor_looks_at_frames_and_arrays_as_well():
    frame = pd.DataFrame({"day": DAYS, "y": np.arange(60.0)})
    assert level(check(frame), "60 rows, 2 columns") == "ok"
    assert level(check(np.arange(60.0)), "One series of 60 steps") == "ok"
    with pytest.raises(DataError, match="does not exist"):
        check("absent.csv")


def test_a_dict_holds_series_by_their_ids():
    cube = load_cube({"a": [1.0, 2.0], 7: np.ones((3, 1))})
    assert (cube.ids, cube.named, cube.lengths.tolist()) == (("a", "7"), True, [2, 3])
    with pytest.raises(DataError, match="at least one step"):
        load_cube({})
    with pytest.raises(DataError, match="same id as text"):
        load_cube({1: [1.0], "1": [2.0]})
