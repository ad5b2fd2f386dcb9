"""The calendar: the place of each step in the hour, the day, the week and the year."""

import numpy as np
import pandas as pd
import pytest
from data_tools import cube_of

from gatework.data import load_cube
from gatework.data.calendar import PARTS, angles, chosen_parts, moments
from gatework.errors import DataError

PLACES = {  # by hand, of a moment of pandas
    "minute": lambda t: (t.minute * 60 + t.second) / 3600,
    "hour": lambda t: (t.hour * 3600 + t.minute * 60 + t.second) / 86400,
    "weekday": lambda t: t.weekday() / 7,
    "day": lambda t: (t.day - 1) / t.days_in_month,
    "month": lambda t: (t.month - 1) / 12,
    "yearday": lambda t: (t.day_of_year - 1) / (366 if t.is_leap_year else 365),
}


def table(times):
    return pd.DataFrame({"t": times, "y": np.arange(float(len(times)))})


def cube(times):
    return load_cube(table(times))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("step", ["7min", "5h", "1D", "1MS"])
def test_places_in_the_calendar_are_those_of_pandas(part, step):
    times = pd.date_range("2023-11-29 06:20:30", periods=200, freq=step)
    turn = [2 * np.pi * PLACES[part](t) for t in times]
    ahead = 20  # steps that the table does not have
    found = angles(cube(times[:-ahead]), (part,), len(times))[0]
    np.testing.assert_allclose(found, np.stack([np.sin(turn), np.cos(turn)], axis=1), atol=1e-6)


def test_the_clock_is_that_of_the_zone():
    times = pd.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Berlin")
    found = moments(cube(times), 50)[0]
    later = pd.date_range("2024-03-30", periods=50, freq="h", tz="Europe/Berlin")
    assert (found == later.tz_localize(None).to_numpy()).all()  # one hour of the 31st is left out


def test_series_that_begin_at_different_times(tmp_path):
    rows = [("day", "shop", "sold"), ("2024-01-01", "a", 1), ("2024-01-02", "a", 2)]
    rows += [("2024-01-04", "b", 3), ("2024-01-05", "b", 4)]
    found = moments(cube_of(tmp_path, rows, target="sold", id="shop"), 3)
    assert found.astype("datetime64[D]").astype(str).tolist() == [
        ["2024-01-01", "2024-01-02", "2024-01-03"],
        ["2024-01-04", "2024-01-05", "2024-01-06"],
    ]


def test_irregular_rows_have_a_calendar_up_to_their_end():
    times = pd.to_datetime(["2024-01-01 03:00", "2024-01-01 10:40", "2024-01-03 12:00"])
    irregular = cube(times)
    assert irregular.step.kind == "rows"
    found = angles(irregular, ("hour",), 4)[0]
    turn = 2 * np.pi * (10 + 2 / 3) / 24
    np.testing.assert_allclose(found[1], [np.sin(turn), np.cos(turn)], atol=1e-6)
    assert found[3].tolist() == [0, 0]  # no place in the day


@pytest.mark.parametrize(
    ("step", "count", "train", "expected"),
    [
        ("10min", 300, 300, ("minute", "hour")),
        ("h", 200, 200, ("hour", "weekday")),
        ("h", 200, 100, ("hour",)),
        ("D", 800, 800, ("weekday", "yearday")),
        ("7D", 100, 100, ("yearday",)),
        ("MS", 30, 30, ("yearday",)),
        ("YS", 30, 30, ()),
        ("D", 30, 1, ()),
    ],
)
def test_the_usual_parts_go_by_the_step_and_the_training_part(step, count, train, expected):
    data = cube(pd.date_range("2020-01-01", periods=count, freq=step))
    assert chosen_parts(data, np.array([train]), True) == expected


def test_what_cannot_be_read_is_refused():
    data, ends = cube(pd.date_range("2020-01-01", periods=30)), np.array([30])
    assert chosen_parts(data, ends, "month") == ("month",)
    assert chosen_parts(data, ends, ["day", "hour"]) == ("day", "hour")
    with pytest.raises(DataError, match="no part of the calendar 'moon'; choose of minute, hour"):
        chosen_parts(data, ends, ["moon"])
    rows = load_cube(np.arange(30.0))
    for asked in (True, ("hour",)):
        with pytest.raises(DataError, match=r"needs time stamps, and there are none\. Name"):
            chosen_parts(rows, ends, asked)
    with pytest.raises(DataError, match=r"reads the calendar \(hour\); the data has no time"):
        angles(rows, ("hour",), 30)
