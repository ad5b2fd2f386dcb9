"""Reading a CSV file, all cells as text, and finding its rows again in the file."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

DELIMITERS = ",;\t|"
NOT_TEXT = "it is not UTF-8 text; save it as CSV with the encoding UTF-8"
# A name that is a date; numbers are found by reading them.
DATE = r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ]\d.*)?|\d{4}[ -]?[Qq][1-4]"


@dataclass(frozen=True)
class Records:
    """The records of a CSV: what lies between two line ends that are not inside quotes."""

    path: Path
    delimiter: str
    alone: bool  # one column only: a blank line is a record without a value
    skipped: int = 0  # records before the first row of the table: the header, and blank ones

    def place(self, row: int, fits: Callable[[list[str]], bool]) -> str:
        """Where a row (from 0) stands: its line, as an editor counts them.

        Where the cells that are found there do not fit, it is the number of the record.
        """
        line = self._line(self.skipped + row, fits)
        return f"record {row + 1}" if line is None else f"line {line}"

    def _line(self, number: int, fits: Callable[[list[str]], bool]) -> int | None:
        try:
            with _opened(self.path) as file:
                reader = csv.reader(file, delimiter=self.delimiter)
                line, count = 1, 0
                for found in reader:
                    if found or self.alone:
                        if count == number:
                            return line if fits(found or [""]) else None
                        count += 1
                    line = reader.line_num + 1
        except (OSError, ValueError, csv.Error):
            pass  # it was readable a moment ago; then the number of the record must do
        return None


def read_csv(path: Path) -> tuple[pa.Table, Records]:
    """All cells as text; the first record that is not blank gives the names of the columns.

    Raises:
        pyarrow.ArrowInvalid: it is no CSV, or has no line of names; says why.
    """
    with pa.input_stream(str(path), compression="detect") as file:  # by the name: .gz, .bz2 ...
        start = re.sub(r'"[^"]*"', "", _decoded(file.read(1 << 16)))
    first = next((line for line in start.splitlines() if line.strip("\ufeff \t")), "")
    delimiter = max(DELIMITERS, key=first.count)
    records = Records(path, delimiter, delimiter not in first)
    ragged: list[Any] = []
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            autogenerate_column_names=True,
            use_threads=False,  # rows are numbered only then
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            ignore_empty_lines=not records.alone,
            newlines_in_values=True,
            invalid_row_handler=lambda row: ragged.append(row) or "error",  # type: ignore[func-returns-value]
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types={f"f{i}": pa.string() for i in range(first.count(delimiter) + 1)},
            strings_can_be_null=False,
        ),
    }
    try:
        table = pyarrow.csv.read_csv(path, **options)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(_reason(error, ragged, records)) from error
    begin, end = _without_blank_ends(table)
    table = table.slice(begin, end - begin)
    names = _names([str(c[0]).strip() if table.num_rows else "" for c in table.columns])
    return table.rename_columns(names).slice(1), replace(records, skipped=begin + 1)


def _opened(path: Path) -> io.TextIOWrapper:
    binary = pa.input_stream(str(path), compression="detect")
    return io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")


def _names(header: list[str]) -> list[str]:
    """The names of the columns: the header's, and where it is empty their places."""
    if header and all(map(_is_value, header)):
        shown = ", ".join(map(repr, header[:3])) + (", ..." if len(header) > 3 else "")
        raise pa.ArrowInvalid(
            f"its first line ({shown}) looks like data, not like names of columns; add a line with "
            f"their names above it"
        )
    names = [n or f"column {i}" for i, n in enumerate(header, start=1)]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise pa.ArrowInvalid(f"the header has {', '.join(map(repr, repeated))} more than once")
    return names


def _is_value(name: str) -> bool:
    return is_number(name) or re.fullmatch(DATE, name) is not None


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: pa.ArrowInvalid, ragged: list[Any], records: Records) -> str:
    """Why a CSV cannot be read, with the line on which that is."""
    if not ragged:
        return NOT_TEXT if "UTF8" in str(error) else str(error)
    row = ragged[0]
    header = replace(records, skipped=1)
    place = header.place(row.number - 2, lambda cells: len(cells) == row.actual_columns)
    return f"{place} has {row.actual_columns} values, the header has {row.expected_columns}"


def _decoded(start: bytes) -> str:
    """The beginning of a text file, which may end within a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(NOT_TEXT) from error
    if "\0" in text:
        raise pa.ArrowInvalid(NOT_TEXT)
    return text


def _without_blank_ends(table: pa.Table) -> tuple[int, int]:
    """Where the rows begin and end: those without any value at the ends are no steps."""
    filled = np.zeros(table.num_rows, dtype=bool)
    for column in table.columns:
        filled |= pc.not_equal(pc.utf8_trim_whitespace(column), "").to_numpy()
    rows = np.flatnonzero(filled)
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
