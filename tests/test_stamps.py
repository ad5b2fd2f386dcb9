"""Stamps at midnight are written as those beside them are."""

import numpy as np
import pandas as pd

import gatework as gw
from gatework.data.columns import Columns
from gatework.data.load import load_cube
from gatework.inspect import detect_report, report

COLUMNS = Columns("y", "t", "id")
MIDNIGHT = pd.Timestamp("2024-01-02")


def hourly(**last):
    """For each id rows of every hour up to a stamp, so many of them."""
    parts = []
    for name, (end, count) in last.items():
        t = pd.date_range(end=end, periods=count, freq="h")
        parts.append(pd.DataFrame({"t": t, "id": name, "y": np.sin(np.arange(count))}))
    return pd.concat(parts)


def test_a_series_of_one_row_at_midnight_beside_one_of_hours():
    table = hourly(a=(MIDNIGHT + pd.Timedelta("5h"), 30), b=(MIDNIGHT, 1))
    model = gw.Detector(context=8, hidden_size=3, epochs=1, target="y", time="t", id="id")
    times = model.fit(table).predict_table(table)["time"]
    assert times.to_pylist() == [*table["t"].dt.to_pydatetime()]
    assert times[-1].as_py() == MIDNIGHT.to_pydatetime()


def test_reports_show_the_hour_of_midnight():
    cube = load_cube(hourly(a=(MIDNIGHT + pd.Timedelta("5h"), 30)), COLUMNS)
    place = 24  # of midnight
    assert detect_report._when(cube, 0, place) == "2024-01-02 00:00:00"
    assert detect_report._when(cube, 0, place + 1) == "2024-01-02 01:00:00"
    assert report._when(cube, 0, place).endswith("from 2024-01-02 00:00:00")


def test_reports_show_no_hour_of_days_and_no_day_of_months():
    frame = pd.DataFrame({"y": np.arange(9.0)})
    for freq, shown in (("D", "2024-01-03"), ("MS", "2024-03")):
        frame["t"] = pd.date_range("2024-01-01", periods=9, freq=freq)
        cube = load_cube(frame, Columns("y", "t"))
        assert report._when(cube, 0, 2).endswith(f"from {shown}")
    assert detect_report._when(cube, 0, 2) == "2024-03-01"
