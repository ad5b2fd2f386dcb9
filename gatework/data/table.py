"""Reading a table: CSV, Parquet, or a data frame (pandas, polars, pyarrow; through narwhals).

Everything becomes a pyarrow table. The columns of a CSV are read as text and turned into
numbers, times and ids by the functions below, so that a wrong value is found with its row.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from gatework.data.bundled import bundled_names, bundled_path
from gatework.errors import DataError

# What people write for "no value". Everything else that is no number is an error.
MISSING = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "?")
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A table in memory and what to call it in messages."""

    arrow: pa.Table
    name: str

    @property
    def columns(self) -> list[str]:
        """The column names, in order."""
        return list(self.arrow.column_names)

    def column(self, name: str) -> Any:
        """One column as a pyarrow array.

        Raises:
            DataError: there is no such column; the message lists those there are.
        """
        if name not in self.columns:
            raise DataError(
                f"{self.name} has no column {name!r}. Its columns: {', '.join(self.columns)}."
            )
        return self.arrow.column(name).combine_chunks()


def read_table(data: Any) -> Table:
    """A table from a path (.csv, .tsv, .txt, .parquet), a bundled name or a data frame.

    Raises:
        DataError: no such file, an empty one, or one that is no table; in one line.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, (str, Path)):
        return _from_path(data)
    if nw.dependencies.is_pandas_series(data):
        data = data.to_frame(data.name if data.name is not None else "value")
    if nw.dependencies.is_pandas_dataframe(data):
        if data.index.inferred_type == "period":
            data = data.set_axis(data.index.to_timestamp())
        # An index of dates, or one with a name, is a column that the user means.
        meant = data.index.name is not None or data.index.inferred_type == "datetime64"
        data = data.reset_index(drop=not meant)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"Expected a path, a bundled name or a data frame (pandas, polars, pyarrow), got "
            f"{type(data).__name__}."
        ) from error
    frame = frame.rename({c: str(c) for c in frame.columns if not isinstance(c, str)})
    return _checked(Table(frame.to_arrow(), "the data frame"))


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """One column as float64, NaN where the value is missing or not finite.

    Raises:
        DataError: text in the column (with its row, counted from 1 after the header), or a
            column of another kind.
    """
    column = table.column(name)
    kind = column.type
    if _is_text(kind):
        column = _text_to_numbers(table, name, column)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"Column {name!r} of {table.name} holds {kind} values, expected numbers.")
    values = np.array(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def texts(table: Table, name: str) -> NDArray[np.str_]:
    """One column as text, for ids.

    Raises:
        DataError: a value is missing (with its row).
    """
    column = table.column(name)
    if not _is_text(column.type):
        column = column.cast(pa.string())
    empty = pc.or_kleene(pc.is_null(column), pc.equal(pc.utf8_trim_whitespace(column), ""))
    empty = pc.fill_null(empty, True)
    if pc.any(empty).as_py():
        row = pc.index(empty, True).as_py() + 1
        raise DataError(f"Column {name!r} of {table.name} is empty in row {row}; give it an id.")
    return np.asarray(column.to_pylist(), dtype=np.str_)


def is_numeric(table: Table, name: str) -> bool:
    """Whether ``numbers`` can read the column and finds a number in it."""
    try:
        return bool(np.isfinite(numbers(table, name)).any())
    except DataError:
        return False


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _text_to_numbers(table: Table, name: str, column: Any) -> Any:
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    absent = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING))
    kept = pc.if_else(absent, pa.scalar(None, pa.string()), trimmed)
    try:
        return kept.cast(pa.float64())
    except pa.ArrowInvalid:
        pass  # find the row, since the message of the library does not name it
    for row, value in enumerate(kept.to_pylist(), start=1):
        if value is not None and not _is_number(value):
            hint = ""
            if re.fullmatch(r"-?[\d.]*\d,\d+", value):
                hint = " If its comma is a decimal sign or groups thousands, write 1234.5."
            raise DataError(
                f"Column {name!r} of {table.name} holds numbers, but row {row} holds {value!r}."
                f"{hint}"
            ) from None
    # Python reads a few forms of numbers that the library does not, 1_000 for one.
    return pa.array([None if v is None else float(v) for v in kept.to_pylist()], pa.float64())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_path(data: str | Path) -> Table:
    path = Path(data)
    name = str(data)
    if name in bundled_names() and not path.is_file():
        path = bundled_path(name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(
            f"{name} {what}. Give a CSV or Parquet file, or a bundled series: "
            f"{', '.join(bundled_names())}."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{name} is empty.")
    try:
        arrow = (
            pyarrow.parquet.read_table(path)
            if path.suffix in (".parquet", ".pq")
            else _read_csv(path)
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{name} cannot be read as a table: {first}") from error
    return _checked(Table(arrow, name))


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        delimiter = max(DELIMITERS, key=first.count)
        file.seek(0)
        header = next(csv.reader(file, delimiter=delimiter), [])
    names = [h.strip() for h in header]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise pa.ArrowInvalid(f"the header has {', '.join(map(repr, repeated))} more than once.")
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, ignore_empty_lines=len(names) > 1, newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _checked(table: Table) -> Table:
    if table.arrow.num_columns == 0 or table.arrow.num_rows == 0:
        raise DataError(f"{table.name} has no rows; nothing can be read from it.")
    return table
