"""The data doctor on columns that are nearly what somebody means, and its exit."""

import pandas as pd
import pytest
from cli_tools import call, refused
from data_tools import DAYS, cube_of, write

from gatework.data import Columns
from gatework.data.doctor import check
from gatework.errors import DataError


def found(folder, rows, **columns):
    """Level and text of each finding."""
    return [(f.level, f.text) for f in check(write(folder, rows), Columns(**columns))]


def dated(bad, at=2):
    days = list(DAYS[:20])
    days[at] = bad
    return [("day", "y"), *((d, i) for i, d in enumerate(days))]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("2020-02-30", "line 4 holds '2020-02-30', which is no date"), ("", "is empty in line 4")],
)
def test_a_time_column_that_one_cell_spoils(tmp_path, bad, reason):
    findings = found(tmp_path, dated(bad))
    (level, text), *_ = [f for f in findings if "'day' looks like the time" in f[1]]
    assert level == "warning"
    assert reason in text
    # A run says so too, in its note ...
    note = cube_of(tmp_path, dated(bad)).notes[-1]
    assert note.startswith("No time column is given; the rows are taken as consecutive steps.")
    assert reason in note
    # ... and where the column is named it is an error.
    with pytest.raises(DataError, match=reason):
        cube_of(tmp_path, dated(bad), time="day")
    assert found(tmp_path, dated(bad), time="day")[-1][0] == "error"
    assert not any("time stamps" in text for _, text in found(tmp_path, dated(bad), time="day"))


def test_a_second_column_of_dates_is_mended_in_silence_by_the_first(tmp_path):
    rows = [("day", "y", "paid"), *((d, i, d if i else "") for i, d in enumerate(DAYS))]
    cube = cube_of(tmp_path, rows)
    assert cube.step.words() == "1 day"
    assert not any("paid" in note for note in cube.notes)


@pytest.mark.parametrize(
    ("write_number", "advice"),
    [
        ("{:.1f}", None),
        ("{:.1f} %", "Leave the percent sign out."),
        ("${:.2f}", "Leave the currency sign out."),
        ("{:.1f} €", "Leave the currency sign out."),
        ("1{:03.0f},5", "If its comma is a decimal sign or groups thousands, write 1234.5."),
    ],
)
def test_numbers_that_are_written_as_people_do(tmp_path, write_number, advice):
    rows = "day;price\n" + "".join(f"{d};{write_number.format(i)}\n" for i, d in enumerate(DAYS))
    findings = [(f.level, f.text) for f in check(write(tmp_path, rows))]
    if advice is None:
        assert {level for level, _ in findings} == {"ok", "note"}
        return
    (level, text) = next(f for f in findings if "'price'" in f[1])
    first = write_number.format(0)
    assert level == "warning"
    assert f"Column 'price' looks like numbers, but line 2 holds {first!r}. {advice}" in text
    level, text = findings[-1]
    assert level == "error"
    assert "it has no numeric column. Column 'price' looks like numbers" in text


def test_ids_are_ids_whatever_they_look_like(tmp_path):
    rows = [("day", "shop", "y"), *((d, 1 + i % 2, i) for i, d in enumerate(DAYS))]
    findings = found(tmp_path, rows, target="y", id="shop")
    assert ("ok", "Column 'shop': ids, 2 different.") in findings


def test_a_table_without_a_header_is_refused(tmp_path):
    with pytest.raises(DataError, match="looks like data, not like names of columns"):
        found(tmp_path, dated("2021-01-01")[1:])


def test_an_error_of_the_doctor_is_the_one_line_of_every_command(tmp_path):
    path = write(tmp_path, dated("2020-01-03"))
    result = call("check", path, "--target", "gone")
    assert result.status == 2
    assert "no column 'gone'" not in result.out
    assert "no column 'gone'" in refused("check", path, "--target", "gone")
    healthy = call("check", path, "--target", "y")
    assert (healthy.status, healthy.err) == (0, "")


def test_frames_have_rows(tmp_path):
    days = pd.to_datetime(DAYS).to_series().reset_index(drop=True)
    days[4] = None
    findings = check(pd.DataFrame({"day": days, "y": range(60)}), Columns("y"))
    assert any(f.level == "warning" and "is empty in row 5" in f.text for f in findings)


def test_a_time_column_of_plain_numbers_is_said_to_be_one(tmp_path):
    path = write(tmp_path, "t,y\n" + "".join(f"{i / 7},{i % 5}\n" for i in range(30)))
    said = " ".join(f.text for f in check(path, Columns("y", time="t")))
    assert "Column 't': numbers, not time stamps." in said
