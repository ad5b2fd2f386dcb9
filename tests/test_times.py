"""Time stamps: the forms that are read, the steps that are found, and their arithmetic."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gatework.data.table import Table
from gatework.data.times import (
    Step,
    find_step,
    looks_like_times,
    plain,
    positions,
    read_times,
    spoilt_times,
)
from gatework.errors import DataError

# Twelve days with one that is behind the 12th of its month, so that day and month differ.
DAYS = pd.date_range("2023-01-28 14:05:00", periods=12, freq="D")
SECOND = 1_000_000


def stamps(values):
    return read_times(Table(pa.table({"t": values}), "T"), "t")


def read(values):
    return stamps(values).times


def refusal(values):
    with pytest.raises(DataError) as caught:
        read(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def step_of(values):
    return find_step([read(values)])


CLOCKS = ["", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p"]
DATES = ["%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%m/%d/%y", "%d-%m-%Y",
         "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%Y%m%d"]  # fmt: skip
ISO = [("%Y-%m-%d", clock) for clock in ("", " %H:%M", "T%H:%M:%S", " %H:%M:%S.%f")]


@pytest.mark.parametrize(("date", "clock"), [*ISO, *((d, c) for d in DATES for c in CLOCKS)])
def test_forms_of_dates(date, clock):
    expected = DAYS if clock else DAYS.normalize()
    assert (read([d.strftime(date + clock) for d in DAYS]) == expected.to_numpy()).all()


@pytest.mark.parametrize(
    ("values", "second"),
    [
        (["2020-01", "2020-02"], "2020-02-01"),
        (["2020-1", "2020-2"], "2020-02-01"),
        (["202001", "202002"], "2020-02-01"),
        (["2020-Jan", "2020-Feb"], "2020-02-01"),
        (["Jan 2020", "Feb 2020"], "2020-02-01"),
        (["2020Q1", "2020Q2"], "2020-04-01"),
        (["2020-Q1", "2020-Q2"], "2020-04-01"),
        (["2020", "2021"], "2021-01-01"),
        (["2020.0", "2021.0"], "2021-01-01"),
        (["2020-01-01T00:00:00Z", "2020-01-01T06:00:00Z"], "2020-01-01T06"),
        (["2020-01-01 00:00:00.00", "2020-01-01 00:00:00.25"], "2020-01-01T00:00:00.25"),
    ],
)
def test_further_forms(values, second):
    assert (read(values) == np.array(["2020-01-01", second], dtype="datetime64[us]")).all()


@pytest.mark.parametrize("numbers", [[202012, 202101], [20201231, 20210101], [2020, 2021]])
def test_dates_as_numbers_are_one_step_apart_however_they_are_stored(numbers):
    # Counted as they stand, 202101 would lie 89 steps behind 202012.
    for values in (numbers, [float(n) for n in numbers], [str(n) for n in numbers]):
        times = read(values)
        assert times.dtype.kind == "M"
        assert positions(times, find_step([times])).tolist() == [0, 1]


def test_eight_digits_that_are_no_dates_are_numbers():
    assert read([20201231, 20201232]).tolist() == [20201231, 20201232]


def test_day_and_month_are_told_apart_by_the_whole_column_or_not_at_all():
    assert read(["01/02/2020", "13/02/2020"])[0] == np.datetime64("2020-02-01")
    assert read(["01/02/2020", "01/13/2020"])[0] == np.datetime64("2020-01-02")
    assert "'01/02/2020' may be day/month or month/day" in refusal(["01/02/2020", "03/02/2020"])
    # Where both readings agree there is nothing to decide.
    assert read(["01/01/2020", "02/02/2020"])[1] == np.datetime64("2020-02-02")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["2020-01-01", "yesterday"], "row 2 holds 'yesterday'"),
        (["2020-01-01", "2020-02-30"], "row 2 holds '2020-02-30'"),
        (["2020-01-01", "02.01.2020", "2020-01-03"], "row 2 holds '02.01.2020'"),
        (["01.02.2020", "02.02.2020", "2020-02-03"], "row 3 holds '2020-02-03'"),
        (["2020-01-01", ""], "is empty in row 2"),
        (["2020-01-01", None], "is empty in row 2"),
        ([1, None], "is empty in row 2"),
        ([1.0, 2.5], "row 2 holds 2.5, expected a whole number"),
        ([1.0, 1e300], "row 2 holds 1e+300, expected a whole number"),
        (["1", "99999999999999999999"], "row 2 holds 99999999999999999999"),
        (["2020-01-01T00:00+01:00", "2020-01-01T01:00"], "row 2 holds '2020-01-01T01:00' without"),
        (["2020-01-01", "02.01.2020", "03.01.2020", "04.01.2020"], "row 1 holds '2020-01-01'"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values, reason):
    assert reason in refusal(values)


def test_offsets_of_summer_time_give_even_steps():
    berlin = pd.date_range("2023-03-25", periods=48, freq="h", tz="Europe/Berlin")
    texts = [stamp.isoformat() for stamp in berlin]
    assert len({t[-6:] for t in texts}) == 2  # both offsets occur
    for times in (read(texts), read(berlin)):
        assert times[0] == np.datetime64("2023-03-24T23:00")  # UTC
        assert find_step([times]) == Step("microseconds", 3600 * SECOND)
        assert positions(times, find_step([times])).tolist() == list(range(48))


@pytest.mark.parametrize(
    ("values", "words", "season"),
    [
        (pd.date_range("2020-01-01", periods=9, freq="MS"), "1 month", 12),
        (pd.date_range("2020-01-31", periods=9, freq="ME"), "1 month", 12),
        (pd.date_range("2020-01-15", periods=9, freq=pd.DateOffset(months=1)), "1 month", 12),
        (["2023-01-31 00:00", "2023-01-31 01:00", "2023-01-31 02:00"], "1 hour", 24),
        (pd.date_range("2020-01-01", periods=9, freq="QS"), "3 months", 4),
        (pd.date_range("2020-01-01", periods=9, freq="QE"), "3 months", 4),
        (pd.date_range("2020-01-01", periods=9, freq="YE"), "12 months", 1),
        (["2001", "2002", "2003"], "12 months", 1),
        (pd.date_range("2020-01-01", periods=9, freq="W"), "1 week", 52),
        (pd.date_range("2020-01-30", periods=9, freq="D"), "1 day", 7),
        (pd.date_range("2020-01-01", periods=9, freq="B"), "1 day", 7),
        (pd.date_range("2020-01-01", periods=9, freq="2D"), "2 days", 1),
        (pd.date_range("2020-01-01", periods=9, freq="12h"), "12 hours", 2),
        (pd.date_range("2020-01-01", periods=9, freq="h"), "1 hour", 24),
        (pd.date_range("2020-01-01", periods=9, freq="15min"), "15 minutes", 96),
        (pd.date_range("2020-01-01", periods=9, freq="min"), "1 minute", 60),
        (pd.date_range("2020-01-01", periods=9, freq="90s"), "90 seconds", 40),
        (pd.date_range("2020-01-01", periods=9, freq="s"), "1 second", 60),
        (pd.date_range("2020-01-01", periods=9, freq="100ms"), "100 milliseconds", 1),
        ([0, 1, 2], "1 row", 1),
        ([1577836800 + 3600 * i for i in range(9)], "3600", 1),
    ],
)
def test_steps_their_words_and_their_season(values, words, season):
    step = step_of(values)
    assert (step.words(), step.season) == (words, season)


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (pd.date_range("2020-01-01", periods=8, freq="B"), [0, 1, 2, 5, 6, 7, 8, 9]),
        (["2020-01", "2020-02", "2020-03", "2020-07"], [0, 1, 2, 6]),
        (["2020-01-31", "2020-02-29", "2020-03-31", "2020-05-31"], [0, 1, 2, 4]),
        ([10, 20, 30, 60], [0, 1, 2, 5]),
        ([-4, -3, -2, 0], [0, 1, 2, 4]),
    ],
)
def test_gaps_have_their_places(values, places):
    times = read(values)
    assert positions(times, find_step([times])).tolist() == places


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-01 00:00", "2020-01-01 01:00", "2020-01-01 02:00", "2020-01-01 02:07"],
        ["2020-01-02", "2020-01-05", "2020-01-08", "2020-01-12"],
        [0, 2, 4, 5],
    ],
)
def test_distances_that_are_no_multiples_are_not_regular(values):
    assert step_of(values) is None


def test_the_step_is_that_of_all_series_together():
    short, long = read(["2020-01-01", "2020-01-03"]), read(["2020-01-01", "2020-01-02"])
    assert find_step([short, long]) == Step("microseconds", 86400 * SECOND)


@pytest.mark.parametrize(
    ("start", "step"),
    [
        ("2020-01-01", Step("months")),
        ("2020-01-31", Step("months")),
        ("2021-02-28", Step("months")),
        ("2020-01-31T23:59:59", Step("months", 3)),
        ("2019-11-15T06:30", Step("months", 2)),
        ("1899-12-30", Step("microseconds", 86400 * SECOND)),
        ("2020-02-28T23:45", Step("microseconds", 900 * SECOND)),
        ("2020-01-01T00:00:00.1", Step("microseconds", 100_000)),
        (7, Step("rows", 5)),
    ],
)
def test_adding_steps_is_the_inverse_of_finding_places(start, step):
    origin = np.datetime64(start, "us") if isinstance(start, str) else start
    count = np.array([0, 1, 2, 3, 11, 12, 13, 40])
    times = step.add(origin, count)
    assert times[0] == origin
    assert positions(times, step).tolist() == count.tolist()


def test_ends_of_months_stay_ends_and_keep_their_clock():
    times = Step("months").add(np.datetime64("2020-01-31T23:59:59"), np.array([1, 2, 3]))
    assert times.astype("datetime64[s]").astype(str).tolist() == [
        "2020-02-29T23:59:59",
        "2020-03-31T23:59:59",
        "2020-04-30T23:59:59",
    ]


@pytest.mark.parametrize("day", [27, 28, 29, 30, 31])
@pytest.mark.parametrize("clock", ["", " 18:30"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("every", [1, 3])
def test_months_on_a_day_that_some_of_them_do_not_have(day, clock, first, every):
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29, 31, 30]  # from 2023 on
    months = [f"{2023 + i // 12}-{i % 12 + 1:02d}" for i in range(16)]
    texts = [f"{m}-{min(day, n)}{clock}" for m, n in zip(months, lengths, strict=True)]
    times = read(texts[first::every])
    step = find_step([times[:-2]])
    assert (step.kind, step.size) == ("months", every)
    assert positions(times, step).tolist() == list(range(len(times)))
    # ... and they go on in the same way, from wherever the series begins.
    assert (step.add(times[0], np.arange(len(times))) == times).all()


def test_a_step_is_the_same_on_whatever_day_of_the_month_and_was_once_saved_without_it():
    assert Step(kind="months", size=1) == Step("months", 1, 28) != Step("months", 3, 28)
    assert Step("months").add("2023-02-28", np.array([1]))[0] == np.datetime64("2023-03-31")
    assert Step("months", 1, 28).add("2023-02-28", np.array([1]))[0] == np.datetime64("2023-03-28")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["2020-01-01", "2020-01-02", "yesterday"], "row 3 holds 'yesterday'"),
        (["n/a", "01.02.2020", "02.02.2020", "03.02.2020"], "row 1 holds 'n/a'"),
        (["2020-01-01", "", "2020-01-03"], "empty in row 2"),
        (["20200101", "20200102", "20200132"], None),  # numbers all of them
        (["20200101", "20200102", "2020O103"], "row 3 holds '2020O103'"),
        (["Jan 2020", None, "Mar 2020"], "empty in row 2"),
        (["2020-01-01T00:00", "2020-01-02T00:00Z"], "row 1 holds '2020-01-01T00:00' without"),
        (["01/02/2020", "03/02/2020"], "may be day/month or month/day"),
        (pd.DatetimeIndex(["2020-01-01", None]), "empty in row 2"),
        (["2020-01-01", "2020-01-02", "2020-01-03"], None),
        (["2020-01-01", "", ""], None),  # few dates
        (["1.5", "2.5", "closed"], None),
        (["1600", "1700", "closed"], None),
        (["123456", "123457", "closed"], None),
        (["shop 1", "shop 2", ""], None),
        (["May", "May be", "Mayor"], None),
        ([1, None], None),
        ([True, None], None),
    ],
)
def test_a_column_of_dates_that_one_value_spoils(values, found):
    told = spoilt_times(Table(pa.table({"t": values}), "T"), "t")
    if found is None:
        assert told is None
    else:
        assert told.startswith("Column 't' looks like the time, but cannot be read. ")
        assert found in told


def test_plain_stamps_show_no_zeros():
    moments = np.array(["2020-01-01", "2020-01-02T00:00:01"], dtype="datetime64[us]")
    assert plain(moments[:1]).astype(str).tolist() == ["2020-01-01"]
    assert plain(moments).astype(str).tolist()[1] == "2020-01-02T00:00:01"
    assert plain(np.array([3, 4])).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (["2020-01-01", "2020-01-02"], True),
        (pd.date_range("2020", periods=2), True),
        (["20200101", "20200102"], True),
        (["1600", "1750"], False),  # prices look like years, so years have to be named
        ([" 1600", "1750 "], False),
        ([1, 2], False),
        (["north", "south"], False),
        (["2020-01-01", ""], False),
    ],
)
def test_columns_that_nobody_named(values, answer):
    assert looks_like_times(Table(pa.table({"t": values}), "T"), "t") is answer
