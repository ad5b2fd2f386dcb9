"""Time zones: stamps come back as they were written, and days are those of the local clock."""

from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from data_tools import cube_of, quick

from gatework.data import Columns, load_cube
from gatework.data.doctor import overview
from gatework.data.zones import Zone
from gatework.errors import DataError

BERLIN = "Europe/Berlin"
T_Y = Columns("y", "t")
SUMMER = pd.date_range("2024-03-27", periods=12, tz=BERLIN)  # the clock is put forward on the 31st
WINTER = pd.date_range("2024-10-26 20:00", periods=12, freq="h", tz=BERLIN)  # and back on the 27th
MONTHS = pd.date_range("2024-01-31", periods=12, freq="ME", tz=BERLIN)


def frame(stamps):
    return pd.DataFrame({"t": stamps, "y": np.arange(float(len(stamps)))})


def cube_of_texts(folder, stamps):
    return cube_of(folder, [("t", "y"), *((t, i) for i, t in enumerate(stamps))], time="t")


@pytest.mark.parametrize(
    ("stamps", "words"), [(SUMMER, "1 day"), (WINTER, "1 hour"), (MONTHS, "1 month")]
)
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_a_zone_is_kept(stamps, words, kind):
    cube = load_cube(kind(frame(stamps[:9])), T_Y)
    assert (cube.step.words(), cube.lengths.tolist(), cube.notes) == (words, [9], ())
    assert cube.times_after(3).type == pa.timestamp("s", BERLIN)
    assert cube.times_after(3).to_pylist() == list(stamps[9:].to_pydatetime())
    # What the clock shows, for reports and messages.
    assert (cube.times(0, np.arange(12)) == stamps.tz_localize(None).to_numpy()).all()


@pytest.mark.parametrize("end", ["+02:00", "+0200", "-03:30", "+05", "Z", "+00:00"])
@pytest.mark.parametrize("between", "T ")
@pytest.mark.parametrize("freq", ["h", "15min", "D", "W", "MS", "ME", "QE"])
def test_text_with_an_offset_comes_back_as_it_was(tmp_path, end, between, freq):
    days = pd.date_range("2024-01-01", periods=12, freq=freq)
    texts = [f"{str(d)[:10]}{between}{str(d)[11:]}{end}" for d in days]
    cube = cube_of_texts(tmp_path, texts[:9])
    assert cube.times_after(3).to_pylist() == texts[9:]
    assert (cube.times(0, np.arange(9)) == days[:9].to_numpy()).all()
    assert not any("regular" in note or "offset" in note for note in cube.notes)


def test_fractions_of_seconds_stay_in_text(tmp_path):
    texts = [f"2024-01-01T00:00:00.{i}00000+02:00" for i in range(1, 6)]
    assert cube_of_texts(tmp_path, texts[:3]).times_after(2).to_pylist() == texts[3:]


def test_local_days_with_two_offsets_are_counted_on_the_clock(tmp_path):
    cube = cube_of_texts(tmp_path, [stamp.isoformat() for stamp in SUMMER[:9]])
    assert (cube.step.words(), cube.lengths.tolist()) == ("1 day", [9])
    note = cube.notes[-1]
    assert "several offsets from UTC (+01:00, +02:00); days are counted on the local clock" in note
    # Nobody knows when the clock is put forward next, so no offset is made up.
    assert "without an offset" in note
    assert cube.times_after(2).to_pylist() == [d.date() for d in SUMMER[9:11]]


def test_hours_with_two_offsets_are_counted_in_utc(tmp_path):
    cube = cube_of_texts(tmp_path, [str(stamp) for stamp in WINTER[:9]])
    assert (cube.step.words(), cube.lengths.tolist()) == ("1 hour", [9])
    assert "forecasts are dated with that of the last one, +01:00" in cube.notes[-1]
    assert cube.times_after(2).to_pylist() == [str(stamp) for stamp in WINTER[9:11]]


@pytest.mark.parametrize("text", [False, True])
def test_days_that_are_even_in_utc_alone(tmp_path, text):
    days = pd.date_range("2024-03-27", periods=12, tz="UTC")
    shown = days.tz_convert(BERLIN)
    cube = cube_of_texts(tmp_path, map(str, shown)) if text else load_cube(frame(shown), T_Y)
    assert (cube.step.words(), cube.lengths.tolist()) == ("1 day", [12])
    assert "even in UTC but not on the local clock" in cube.notes[-1]
    expected = ["2024-04-08 00:00:00Z"] if text else [datetime.fromisoformat("2024-04-08T00Z")]
    assert cube.times_after(1).to_pylist() == expected


@pytest.mark.parametrize(
    ("zone", "start"), [("America/Santiago", "2023-08-30"), (BERLIN, "2024-03-28 02:30")]
)
def test_a_time_of_day_that_the_clock_leaves_out(zone, start):
    days = pd.date_range(start, periods=9).tz_localize(zone, nonexistent="shift_forward")
    assert len(set(days.time)) == 2
    for known in (3, 7):  # before that day, and behind it
        cube = load_cube(frame(days[:known]), T_Y)
        assert cube.step.words() == "1 day"
        assert cube.times_after(2).to_pylist() == list(days[known : known + 2].to_pydatetime())


def test_shops_in_different_zones_have_the_same_days(tmp_path):
    rows = [("t", "shop", "y")]
    rows += [(f"2024-01-0{i}T00:00:00{z}", z, i) for z in ("+09:00", "-08:00") for i in range(1, 9)]
    cube = cube_of(tmp_path, rows, target="y", time="t", id="shop")
    assert (cube.step.words(), cube.lengths.tolist()) == ("1 day", [8, 8])
    assert [str(d) for d in cube.times_after(1).to_pylist()] == ["2024-01-09"] * 2


def test_uneven_and_absurd_stamps_with_a_zone_are_told_by_the_clock():
    uneven = SUMMER[:3].append(SUMMER[3:4] + pd.Timedelta("10min"))
    cube = load_cube(frame(uneven), T_Y)
    assert (cube.step.kind, cube.zone) == ("rows", None)
    assert "not regular;" in cube.notes[-1]
    shown = uneven.tz_localize(None)  # 1 day, 1 day, 10 minutes: the median is a day
    assert cube.times_after(1).to_pylist() == [shown[3] + pd.Timedelta("24h")]
    absurd = load_cube(frame(WINTER[:3].append(WINTER[:1] + pd.Timedelta(days=36500))), T_Y)
    assert "nothing lies between 2024-10-26T22:00:00 and 2124" in absurd.notes[-1]


def test_stamps_with_and_without_a_zone_are_refused(tmp_path):
    with pytest.raises(DataError, match="line 4 holds '2024-01-03 00:00Z' with a time zone, line"):
        cube_of_texts(tmp_path, ["2024-01-01", "2024-01-02", "2024-01-03 00:00Z"])
    objects = [pd.Timestamp("2024-01-01", tz=BERLIN), pd.Timestamp("2024-01-02")]
    for order in (1, -1):
        with pytest.raises(DataError, match=r"with a time zone, row \d holds"):
            load_cube(frame(pd.Series(objects[::order], dtype=object)), T_Y)


def test_moments_of_several_zones_in_one_column_of_objects():
    objects = [pd.Timestamp(f"2024-01-0{i}", tz=z) for i, z in enumerate((BERLIN, "Asia/Tokyo"), 1)]
    cube = load_cube(frame(pd.Series(objects, dtype=object)), T_Y)
    assert "several offsets from UTC (+01:00, +09:00)" in cube.notes[-1]
    assert cube.step.words() == "1 day"


def test_a_zone_that_nobody_knows():
    stamps = pa.array([0, 3600], pa.timestamp("s", "Moon/Tycho"))
    with pytest.raises(DataError, match="'Moon/Tycho' is not in the zone database") as caught:
        load_cube(pa.table({"t": stamps, "y": [1, 2]}), T_Y)
    assert "\n" not in str(caught.value)


def test_a_clock_and_its_moments():
    moments = np.array(["2024-03-31T00:59", "2024-03-31T01:00"], dtype="datetime64[us]")
    shown = Zone(BERLIN).clock(moments)
    assert shown.astype(str).tolist() == [
        "2024-03-31T01:59:00.000000",
        "2024-03-31T03:00:00.000000",
    ]
    assert (Zone(BERLIN).moments(shown) == moments).all()
    twice = np.array(["2024-10-27T02:30"], dtype="datetime64[us]")
    assert Zone(BERLIN).moments(twice)[0] == np.datetime64("2024-10-27T00:30")  # the first time


@pytest.mark.parametrize(("stamps", "until"), [(SUMMER, "2024-03-27"), (WINTER, "2024-10-26")])
def test_the_overview_tells_the_local_day_and_the_zone(stamps, until):
    text = overview(load_cube(frame(stamps), T_Y))
    assert f"from {until} (time zone {BERLIN})" in text


@pytest.mark.parametrize("stamps", [SUMMER, WINTER, MONTHS])
def test_forecasts_are_dated_in_the_zone_of_the_table(stamps):
    model = quick(target="y", time="t", context=3, horizon=2, validation=0).fit(frame(stamps[:10]))
    table = model.predict_table(frame(stamps[:10]))
    assert table["time"].to_pylist() == list(stamps[10:].to_pydatetime())
