"""Reading tables: what people and programs write, and what is refused in one line."""

import csv
import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest
from data_tools import refusal, write

from gatework.data.table import NO_NUMBER, is_numeric, number_like, numbers, read_table, texts

NAN = float("nan")


def read(folder, content, name="data.csv"):
    return read_table(write(folder, content, name))


def cells(table):
    return {name: table.column(name).to_pylist() for name in table.columns}


PLAIN = {"day": ["2020-01-01", "2020-01-02"], "sold": ["1", "2"]}


@pytest.mark.parametrize(
    "content",
    [
        "day,sold\n2020-01-01,1\n2020-01-02,2\n",
        "day,sold\n2020-01-01,1\n2020-01-02,2",
        "day;sold\n2020-01-01;1\n2020-01-02;2\n",
        "day\tsold\n2020-01-01\t1\n2020-01-02\t2\n",
        "day|sold\n2020-01-01|1\n2020-01-02|2\n",
        "day,sold\r\n2020-01-01,1\r\n2020-01-02,2\r\n",
        "day,sold\r2020-01-01,1\r2020-01-02,2\r",
        b"\xef\xbb\xbfday,sold\n2020-01-01,1\n2020-01-02,2\n",
        '"day","sold"\n"2020-01-01","1"\n"2020-01-02","2"\n',
        " day , sold \n2020-01-01,1\n2020-01-02,2\n",
        "\n\nday,sold\n2020-01-01,1\n\n2020-01-02,2\n\n\n",
        "day,sold\n2020-01-01,1\n2020-01-02,2\n,\n , \n",
    ],
    ids=["plain", "no last newline", "semicolons", "tabs", "bars", "CRLF", "CR", "byte order mark",
         "quotes", "spaces in the header", "blank lines", "rows without a value at the end"],
)  # fmt: skip
def test_a_csv_reads_the_same_in_every_dialect(tmp_path, content):
    assert cells(read(tmp_path, content)) == PLAIN


def test_delimiters_and_line_ends_inside_quotes_belong_to_the_value(tmp_path):
    table = read(tmp_path, '"a;b;c",two\n"x\ny","p, q"\n')
    assert cells(table) == {"a;b;c": ["x\ny"], "two": ["p, q"]}


def test_blank_lines_of_a_single_column_are_missing_values_but_for_the_ends(tmp_path):
    table = read(tmp_path, "\nsold\n1\n\n3\n\n\n")
    assert np.array_equal(numbers(table, "sold"), [1, NAN, 3], equal_nan=True)


def test_nameless_columns_are_called_by_their_place(tmp_path):
    # What spreadsheets and data frames write: empty columns behind, the index in front.
    assert read(tmp_path, ",sold,,\n0,1,,\n").columns == [
        "column 1",
        "sold",
        "column 3",
        "column 4",
    ]


def test_names_and_values_may_be_of_any_script(tmp_path):
    table = read(tmp_path, "größe,店铺\n1,北京\n2,Ōsaka\n")
    assert table.columns == ["größe", "店铺"]
    assert texts(table, "店铺").tolist() == ["北京", "Ōsaka"]


@pytest.mark.parametrize(
    "absent", ["", "  ", "NA", "n/a", "#N/A", "NaN", "nan", "<NA>", "NaT", "null", "None", "-", "?",
               ".", "inf", "-inf", "Infinity"]
)  # fmt: skip
def test_what_counts_as_missing(tmp_path, absent):
    table = read(tmp_path, f"day,sold\na,1.5\nb,{absent}\nc,3\n")
    assert np.array_equal(numbers(table, "sold"), [1.5, NAN, 3], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e5", 1e5), (" 7 ", 7), ("-2.5E-1", -0.25), ("+3", 3), ("1_000", 1000), (".5", 0.5),
     ("007", 7)],
)  # fmt: skip
def test_forms_of_numbers(tmp_path, text, value):
    table = read(tmp_path, f"day,sold\na,{text}\nb,1\n")
    assert numbers(table, "sold").tolist() == [value, 1]


def test_text_in_a_numeric_column_is_refused_with_its_row(tmp_path):
    table = read(tmp_path, "day,sold\na,1\n\nb,2\nc,closed\nd,4\n")
    line = refusal(lambda: numbers(table, "sold"))
    assert line.endswith(f"is read as numbers, but line 5 holds 'closed'.{NO_NUMBER}")
    assert not is_numeric(table, "sold")


@pytest.mark.parametrize("text", ["1,5", "1.234,56", "1,234.56", "-12,5", "1,234,567"])
def test_commas_in_numbers_are_refused_with_a_hint(tmp_path, text):
    table = read(tmp_path, f"day;sold\na;1\nb;{text}\n")
    line = refusal(lambda: numbers(table, "sold"))
    assert f"line 3 holds {text!r}" in line
    assert "write 1234.5" in line


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("12 %", " Leave the percent sign out."),
        ("-12.5%", " Leave the percent sign out."),
        ("$1200", " Leave the currency sign out."),
        ("-3.50 €", " Leave the currency sign out."),
        ("£ 1,200", "groups thousands, write 1234.5. Leave the currency sign out."),
        ("7,5 %", "is a decimal sign or groups thousands, write 1234.5. Leave the percent sign"),
        ("1\u00a0200,5", "write 1234.5."),
    ],
)
def test_signs_in_numbers_are_refused_with_a_hint(tmp_path, text, advice):
    table = read(tmp_path, f"day;sold\na;1\nb;{text}\n")
    assert advice in refusal(lambda: numbers(table, "sold"))


@pytest.mark.parametrize("text", ["01.02.2020", "1.2.3", "%", "$", "A1,2", "12 kg", "(5)"])
def test_other_texts_get_no_hint_about_numbers(tmp_path, text):
    table = read(tmp_path, f"day;sold\na;1\nb;{text}\n")
    assert refusal(lambda: numbers(table, "sold")).endswith(f"holds {text!r}.{NO_NUMBER}")
    assert number_like(table, "sold") is None


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["1,5", "2,5", "3"], "line 2 holds '1,5'. If its comma"),
        (["1", "", "3 %", "NA"], "line 4 holds '3 %'. Leave the percent sign out."),
        (["closed", "$5", "$6"], "line 3 holds '$5'. Leave the currency sign out."),
        (["closed", "$5"], None),
        (["no, none", "yes"], None),
        (["1", "2"], None),
        (["", "NA"], None),
    ],
)
def test_columns_that_look_like_numbers(tmp_path, values, first):
    table = read(tmp_path, "day;sold\n" + "".join(f"a;{v}\n" for v in values))
    told = number_like(table, "sold")
    assert told is None if first is None else first in told


# Places: lines as an editor counts them.

HARD = [
    ("day,sold\na,1\nb,X\n", 3),
    ("day,sold\na,1\n\n\nb,X\n", 5),
    ("\n\nday,sold\na,1\n\nb,X\n", 6),
    (",\nday,sold\na,1\nb,X\n", 4),
    ('"da\ny",sold\na,1\n"b\n\nb",1\nc,X\n', 7),
    ('day,sold\n"a\n",1\n"b ""c""",X\n', 4),
    ('day,sold\n5" pipe,1\n"a"b,X\n', 3),
    ("day;sold\r\na;1\r\n\r\nb;X\r\n", 4),
    ("day,sold\ra,1\r\rb,X\r", 4),
    ("\ufeffday,sold\na,1\nb,X\n", 3),
    ("sold\n1\n\nX\n", 4),
    ("\n\nsold\n1\n\n\nX\n", 7),
    ("day,sold\n" + "a,1\n" * 300_000 + "\nb,X\n", 300_003),
]


@pytest.mark.parametrize(("content", "line"), HARD, ids=range(len(HARD)))
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_value_is_named_with_the_line_of_the_file(tmp_path, content, line, packed):
    content, name = (
        (gzip.compress(content.encode()), "data.csv.gz") if packed else (content, "data.csv")
    )
    table = read(tmp_path, content, name)
    assert f"but line {line} holds 'X'" in refusal(lambda: numbers(table, "sold"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("day,sold\na,1\n\nb\n", 4),
        ("\n\nday,sold\na,1\nb\n", 5),
        ('day,sold\n"a\na",1\nb,2,3\n', 4),
        ("day,sold\n" + "a,1\n" * 300_000 + "\nb\n", 300_003),
    ],
    ids=["blank lines", "blank lines above", "line ends in quotes", "far down"],
)
def test_a_ragged_row_is_named_with_the_line_of_the_file(tmp_path, content, line):
    reason = refusal(lambda: read(tmp_path, content))
    assert f": line {line} has " in reason


def test_where_the_line_is_not_sure_it_is_the_record(tmp_path):
    table = read(tmp_path, "day,sold\na,1\n\nb,X\n")
    for content in ("day,sold\n\n\nother,1\nnow,X\n", "day,sold\n"):
        write(tmp_path, content)
        assert "but record 2 holds 'X'" in refusal(lambda: numbers(table, "sold"))
    (tmp_path / "data.csv").unlink()
    assert "but record 2 holds 'X'" in refusal(lambda: numbers(table, "sold"))
    long = read(tmp_path, "day,sold\n" + "a" * 200_000 + ",1\n\nb,X\n")
    before = csv.field_size_limit(100_000)  # which other packages raise for the whole process
    try:
        assert "but record 2 holds 'X'" in refusal(lambda: numbers(long, "sold"))
    finally:
        csv.field_size_limit(before)


def test_rows_of_frames_are_counted_from_one():
    table = read_table(pd.DataFrame({"sold": ["1", "X"]}))
    assert "but row 2 holds 'X'" in refusal(lambda: numbers(table, "sold"))


# The header.


@pytest.mark.parametrize(
    "header",
    ["2020-01-01,112", "112", "2020-01-01 00:00;1.5", "1,2,3,4", "2020-01,7", "01.02.2020;7",
     "2020-Q1,5", '"1","2"', "-1.5\t2e3", "0,1"],
)  # fmt: skip
def test_a_first_line_of_data_is_no_header(tmp_path, header):
    line = refusal(lambda: read(tmp_path, f"\n{header}\n{header}\n"))
    assert "looks like data, not like names of columns; add a line with their names" in line


@pytest.mark.parametrize(
    "header", ["day,2020", "shop,2020-01-01,2020-02-01", ",0,1", "2020-01-01 sold,1", "x1"]
)
def test_headers_may_hold_some_numbers(tmp_path, header):
    count = header.count(",") + 1
    assert len(read(tmp_path, f"{header}\n" + ",".join("1" * count)).columns) == count


def test_a_text_with_a_comma_gets_no_hint_about_numbers(tmp_path):
    table = read(tmp_path, "day;sold\na;1\nb;no, none\n")
    assert "1234.5" not in refusal(lambda: numbers(table, "sold"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (b"\xef\xbb\xbf", "cannot be read as a table: Empty CSV file"),
        ("\n\n", "has no rows"),
        ("day,sold\n", "has no rows"),
        ("day,sold\n\n,\n", "has no rows"),
        ("day,sold\na,1\nb,2,3\n", "line 3 has 3 values, the header has 2"),
        ("day,sold\na,1\n\nb\n", "line 4 has 1 values, the header has 2"),
        ("day,sold,sold\na,1,2\n", "the header has 'sold' more than once"),
        ("größe,sold\na,1\n".encode("latin-1"), "not UTF-8 text"),
        ("day,sold\n" + "a,1\n" * 30000 + "ö,2\n", None),
        (("day,sold\n" + "a,1\n" * 30000 + "ö,2\n").encode("latin-1"), "not UTF-8 text"),
        ("day,sold\na,1\n".encode("utf-16"), "not UTF-8 text"),
        (bytes(range(256)) * 8, "not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text"),
    ],
    ids=["empty", "only a mark", "only newlines", "only a header", "only empty rows", "long row",
         "short row", "name twice", "latin-1 header", "UTF-8 far down", "latin-1 far down",
         "UTF-16", "bytes", "picture"],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_one_line(tmp_path, content, reason):
    if reason is None:  # the same rows in the right encoding
        assert read(tmp_path, content).arrow.num_rows == 30001
    else:
        assert reason in refusal(lambda: read(tmp_path, content))


def test_a_packed_csv_is_unpacked(tmp_path):
    content = gzip.compress(b"day,sold\n2020-01-01,1\n2020-01-02,2\n")
    assert cells(read(tmp_path, content, "data.csv.gz")) == PLAIN
    assert "cannot be read" in refusal(lambda: read(tmp_path, content[:20], "data.csv.gz"))


def test_of_very_many_columns_some_are_listed(tmp_path):
    names = [f"c{i}" for i in range(500)]
    table = read(tmp_path, [names, range(500)])
    line = refusal(lambda: numbers(table, "sold"))
    assert line.endswith("Its columns: c0, " + ", ".join(names[1:20]) + " ... (500 in all).")


def test_no_such_file_and_a_folder(tmp_path):
    assert "does not exist" in refusal(lambda: read_table(tmp_path / "absent.csv"))
    assert "is a folder" in refusal(lambda: read_table(str(tmp_path)))
    assert "airpassengers, sunspots" in refusal(lambda: read_table("airpasengers"))


@pytest.mark.parametrize("data", [None, 3, {"sold": [1]}, pl.LazyFrame({"sold": [1]})])
def test_what_is_no_data_is_named(data):
    assert f"got {type(data).__name__}" in refusal(lambda: read_table(data))


def test_a_wrong_name_lists_the_columns(tmp_path):
    table = read(tmp_path, "day,shop,sold\na,b,1\n")
    assert refusal(lambda: numbers(table, "Sold")).endswith("Its columns: day, shop, sold.")


def test_ids_are_trimmed_and_never_empty(tmp_path):
    table = read(tmp_path, "shop,sold\nA ,1\n A,2\n")
    assert texts(table, "shop").tolist() == ["A", "A"]
    table = read(tmp_path, "shop,sold\nA,1\n ,2\n")
    assert "empty in line 3" in refusal(lambda: texts(table, "shop"))
