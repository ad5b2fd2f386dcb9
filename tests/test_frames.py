"""Tables that are no text: Parquet files, and data frames of pandas, polars and pyarrow."""

import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_tools import refusal

from gatework.data.table import numbers, read_table, texts
from gatework.data.times import read_times

NAN = float("nan")


# Parquet.


@pytest.mark.parametrize("name", ["data.parquet", "DATA.PARQUET", "data.pq"])
def test_parquet_keeps_its_types(tmp_path, name):
    frame = pa.table({"day": pa.array([0, 1], pa.date32()), "sold": [1.5, None]})
    pq.write_table(frame, tmp_path / name)
    table = read_table(tmp_path / name)
    assert np.array_equal(numbers(table, "sold"), [1.5, NAN], equal_nan=True)
    assert (
        read_times(table, "day").times.tolist() == frame["day"].cast(pa.timestamp("us")).to_pylist()
    )


def test_a_folder_name_with_a_sign_adds_no_column(tmp_path):
    (tmp_path / "year=2020").mkdir()
    pq.write_table(pa.table({"sold": [1.0]}), tmp_path / "year=2020" / "data.parquet")
    assert read_table(tmp_path / "year=2020" / "data.parquet").columns == ["sold"]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "other"])
def test_damaged_parquet(tmp_path, damage):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"sold": [float(i) for i in range(100)]}), path)
    whole = path.read_bytes()
    broken = {"cut": whole[:-9], "overwritten": whole[:30] + b"x" * 40 + whole[70:], "other": b"no"}
    path.write_bytes(broken[damage])
    assert "data.parquet cannot be read as a table" in refusal(lambda: read_table(path))


# Data frames.


def test_an_index_of_dates_is_a_column_and_another_without_a_name_is_not():
    days = pd.date_range("2020-01-01", periods=2)
    assert read_table(pd.DataFrame({"sold": [1, 2]}, index=days)).columns == ["index", "sold"]
    named = pd.DataFrame({"sold": [1, 2]}, index=pd.Index(["a", "b"], name="shop"))
    assert read_table(named).columns == ["shop", "sold"]
    filtered = pd.DataFrame({"sold": [1, 2, 3]})[lambda f: f.sold > 1]
    assert read_table(filtered).columns == ["sold"]


def test_an_index_of_several_levels_is_the_long_form():
    index = pd.MultiIndex.from_tuples([("A", "2020-01-01"), ("B", "2020-01-01")])
    frame = pd.DataFrame({"sold": [1, 2]}, index=index)
    assert read_table(frame).columns == ["level_0", "level_1", "sold"]
    assert read_table(frame.rename_axis(["shop", "day"])).columns == ["shop", "day", "sold"]


def test_an_index_that_is_also_a_column_is_read_once():
    frame = pd.DataFrame({"day": pd.date_range("2020", periods=2), "sold": [1, 2]})
    assert read_table(frame.set_index("day", drop=False)).columns == ["day", "sold"]


@pytest.mark.parametrize("place", ["index", "column"])
def test_periods_are_read_as_their_beginnings(place):
    frame = pd.DataFrame({"month": pd.period_range("2020-01", periods=2, freq="M"), "sold": [1, 2]})
    table = read_table(frame.set_index("month") if place == "index" else frame)
    assert read_times(table, "month").times.astype("datetime64[D]").astype(str).tolist() == [
        "2020-01-01",
        "2020-02-01",
    ]


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, None, 3], dtype="Int64"),
        pd.array([1, None, 3], dtype="Float32"),
        [decimal.Decimal("1"), None, decimal.Decimal("3")],
        pd.Categorical([1, None, 3]),
        pd.Categorical(["1", None, "3"]),
        ["1", None, "3"],
        [1, None, "3"],
        [1.0, float("inf"), 3.0],
    ],
    ids=["nullable whole", "nullable float", "decimal", "categories of numbers",
         "categories of texts", "texts", "mixed objects", "infinity"],
)  # fmt: skip
def test_kinds_of_numbers_in_pandas(column):
    table = read_table(pd.DataFrame({"sold": column}))
    assert np.array_equal(numbers(table, "sold"), [1, NAN, 3], equal_nan=True)


def test_text_among_numbers_of_a_frame_is_refused_with_its_row():
    table = read_table(pd.DataFrame({"sold": [1.0, "closed", 2]}))
    assert "row 2 holds 'closed'" in refusal(lambda: numbers(table, "sold"))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["sold", "sold"]), "same name"),
        (pd.DataFrame({"sold": [1j, 2]}), "cannot be read"),
        (pd.DataFrame(), "has no rows"),
        (pl.DataFrame({"sold": []}), "has no rows"),
    ],
)
def test_frames_that_cannot_be_used(frame, reason):
    assert reason in refusal(lambda: read_table(frame))


def test_columns_that_hold_no_numbers_are_named():
    table = read_table(pl.DataFrame({"sold": [[1], [2]]}))
    assert "expected numbers" in refusal(lambda: numbers(table, "sold"))


@pytest.mark.parametrize("kind", [pd.Categorical, list])
def test_ids_of_any_kind_become_text(kind):
    assert texts(read_table(pd.DataFrame({"shop": kind([10, 9])})), "shop").tolist() == ["10", "9"]


def test_all_kinds_of_frames_give_the_same():
    columns = {"shop": ["a", "b"], "sold": [1.0, None], "open": [True, False]}
    polars = pl.DataFrame(columns).with_columns(pl.col("shop").cast(pl.Categorical))
    for frame in (pd.DataFrame(columns), polars, pa.table(columns)):
        table = read_table(frame)
        assert table.columns == ["shop", "sold", "open"]
        assert texts(table, "shop").tolist() == ["a", "b"]
        assert np.array_equal(numbers(table, "sold"), [1, NAN], equal_nan=True)
        assert numbers(table, "open").tolist() == [1, 0]


def test_a_series_of_pandas_is_a_column():
    days = pd.date_range("2020-01-01", periods=2)
    assert read_table(pd.Series([1, 2], index=days, name="sold")).columns == ["index", "sold"]
    assert read_table(pd.Series([1, 2])).columns == ["value"]


def test_names_that_are_no_text_become_text():
    assert read_table(pd.DataFrame({0: [1], 1: [2]})).columns == ["0", "1"]


def test_the_frame_of_the_user_is_left_as_it_was():
    frame = pd.DataFrame({"sold": [1, "a"], "day": pd.period_range("2020", periods=2, freq="D")})
    before = frame.copy()
    read_table(frame)
    pd.testing.assert_frame_equal(frame, before)
