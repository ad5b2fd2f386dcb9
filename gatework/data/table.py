"""Reading a table: CSV, Parquet, or a data frame (pandas, polars, pyarrow; through narwhals).

Everything becomes a pyarrow table. The columns of a CSV are read as text and turned into
numbers, times and ids by the functions below, so that a wrong value is found with its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from gatework.data.bundled import bundled_names, bundled_path
from gatework.data.csv_file import Records, is_number, read_csv
from gatework.data.packed import SEQUENCES, ending_of
from gatework.data.words import listed
from gatework.errors import DataError

# What people and programs write for "no value". Everything else that is no number is an error.
MISSING = (
    "", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "nil", "-", "?", "."
)  # fmt: skip
PARQUET = (".parquet", ".pq")
CURRENCIES = "$€£¥₹"
NO_NUMBER = " Correct it or leave it empty, or name another column."


@dataclass(frozen=True)
class Table:
    """A table in memory, what to call it in messages, and the records of its file, if a CSV."""

    arrow: pa.Table
    name: str
    records: Records | None = None

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
                f"{self.name} has no column {name!r}. Its columns: {listed(self.columns)}."
            )
        column = self.arrow.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):  # categories are read as what they are
            return column.cast(column.type.value_type)
        return column

    def place(self, row: int) -> str:
        """Where a row (from 0) stands, for messages: its line in the CSV, or its number from 1."""
        if self.records is None:
            return f"row {row + 1}"
        cells = [c[row].as_py() for c in self.arrow.columns]
        return self.records.place(row, cells.__eq__)


def read_table(data: Any) -> Table:
    """A table from a path (.csv, .csv.gz, .parquet ...), a bundled name or a data frame.

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
        data = _from_pandas(data)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"Expected a path, a bundled name or a data frame (pandas, polars, pyarrow), got "
            f"{type(data).__name__}."
        ) from error
    except nw.exceptions.DuplicateError as error:
        twice = " ".join(str(error).split())
        raise DataError(f"The data frame has columns of the same name: {twice}.") from error
    frame = frame.rename({c: str(c) for c in frame.columns if not isinstance(c, str)})
    try:
        return _checked(Table(frame.to_arrow(), "the data frame"))
    except pa.ArrowException as error:
        reason = " ".join(map(str, error.args))
        raise DataError(f"The data frame cannot be read: {reason}.") from error


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """One column as float64, NaN where the value is missing or not finite.

    Raises:
        DataError: text in the column (with its place), or a column of another kind.
    """
    column = table.column(name)
    kind = column.type
    if is_text(kind):
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
        DataError: a value is missing (with its place).
    """
    column = table.column(name)
    if not is_text(column.type):
        column = column.cast(pa.string())
    column = pc.utf8_trim_whitespace(column)
    empty = pc.fill_null(pc.equal(column, ""), True)
    if pc.any(empty).as_py():
        place = table.place(pc.index(empty, True).as_py())
        raise DataError(f"Column {name!r} of {table.name} is empty in {place}; give it an id.")
    return np.asarray(column.to_pylist(), dtype=np.str_)


def categories(table: Table, name: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """One column as categories: the place of each value among the names, NaN where missing.

    The names are in the order of text. Numbers are named by their shortest form, also amid text,
    so that a value has the same name in a CSV and in a typed table, whatever the others are. For
    the same reason truth values are True and False, as pandas writes them.
    """
    column = table.column(name)
    is_truth = pa.types.is_boolean(column.type)
    if is_truth:
        column = pc.if_else(column, "True", "False")
    if not is_truth and _is_numbers(table, name):
        values = numbers(table, name)
        shown, places = np.unique(values[~np.isnan(values)], return_inverse=True)
        names = np.array([f"{v:.15g}" for v in shown])
        missing = np.isnan(values)
    else:
        encoded = pc.utf8_trim_whitespace(column.cast(pa.string())).dictionary_encode()
        # The last one stands for null, whose code is -1.
        names = np.array([*map(_named, encoded.dictionary.to_pylist()), ""], dtype=np.str_)
        codes = pc.fill_null(encoded.indices, -1).to_numpy()
        missing = np.isin(np.char.lower(names), MISSING)[codes]
        places = codes[~missing]
    levels, order = np.unique(names[np.unique(places)], return_inverse=True)
    number = np.zeros(len(names), dtype=np.int64)
    number[np.unique(places)] = order
    found = np.full(len(missing), np.nan)
    found[~missing] = number[places]
    return found, tuple(map(str, levels))


def _named(text: str) -> str:
    """The name of a category: a number's shortest form, else the text itself."""
    return f"{float(text):.15g}" if is_number(text) else text


def _is_numbers(table: Table, name: str) -> bool:
    """Whether each value of a column is one number, and none is typed as a category."""
    if pa.types.is_dictionary(table.arrow.column(name).type):
        return False
    try:
        return not np.isnan(numbers(table, name)).all()
    except DataError:
        return False


def is_category(table: Table, name: str) -> bool:
    """Whether a column is one of categories: it is typed so, or text that is hardly numbers."""
    kind = table.arrow.column(name).type if name in table.columns else None
    if kind is not None and pa.types.is_dictionary(kind):
        return True
    column = table.column(name)
    if not is_text(column.type):
        return False
    counts = pc.value_counts(pc.utf8_trim_whitespace(column.cast(pa.string()).drop_null()))
    texts, sizes = (counts.field(i).to_pylist() for i in range(2))
    seen = [(t, n) for t, n in zip(texts, sizes, strict=True) if t.lower() not in MISSING]
    like = sum(n for t, n in seen if is_number(t) or _advice(t))
    return bool(2 * like < sum(n for _, n in seen))


def is_numeric(table: Table, name: str) -> bool:
    """Whether ``numbers`` can read the column and finds a number in it."""
    try:
        return bool(np.isfinite(numbers(table, name)).any())
    except DataError:
        return False


def number_like(table: Table, name: str) -> str | None:
    """What keeps a column from being one of numbers that most of it seems to be, if it does."""
    column = table.column(name)
    if not is_text(column.type):
        return None
    values = [value or "" for value in column.to_pylist()]
    present = [row for row, value in enumerate(values) if value.strip().lower() not in MISSING]
    odd = [row for row in present if not is_number(values[row])]
    text = sum(not _advice(values[row]) for row in odd)
    if not odd or 2 * text >= len(present):
        return None
    row = next((row for row in odd if _advice(values[row])), odd[0])
    value = values[row].strip()
    return (
        f"Column {name!r} looks like numbers, but {table.place(row)} holds {value!r}."
        f"{_advice(value)}"
    )


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is one of text."""
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
    for row, value in enumerate(kept.to_pylist()):
        if value is not None and not is_number(value):
            raise DataError(
                f"Column {name!r} of {table.name} is read as numbers, but {table.place(row)} holds "
                f"{value!r}.{_advice(value) or NO_NUMBER}"
            ) from None
    # Python reads a few forms of numbers that the library does not, 1_000 for one.
    return pa.array([None if v is None else float(v) for v in kept.to_pylist()], pa.float64())


def _advice(value: str) -> str:
    """What to do with a text that is a number but for the way it is written; else nothing."""
    bare = value.strip(f" \u00a0\u202f+-%{CURRENCIES}")
    if not re.fullmatch(r"[\d.,\s]*\d", bare):
        return ""
    advice = ""
    if "," in bare:
        advice += " If its comma is a decimal sign or groups thousands, write 1234.5."
    if "%" in value:
        advice += " Leave the percent sign out."
    if any(sign in value for sign in CURRENCIES):
        advice += " Leave the currency sign out."
    return advice


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
    _check_no_archive(path, name)
    records = None
    try:
        if path.suffix.lower() in PARQUET:
            arrow = pyarrow.parquet.ParquetFile(path).read()
        else:
            arrow, records = read_csv(path)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{name} cannot be read as a table: {first}.") from error
    return _checked(Table(arrow, name, records))


def _check_no_archive(path: Path, name: str) -> None:
    """Refuse sequences with classes, which some readers of text would take for a table."""
    if ending_of(path) in SEQUENCES:
        raise DataError(
            f"{name} is no table but an archive of sequences, which a Classifier reads "
            f"(gatework fit classify). Elsewhere save it as CSV or Parquet, or in Python give the "
            f"arrays themselves."
        )


def _from_pandas(data: Any) -> Any:
    """A pandas frame as Arrow can take it: columns only, each of one kind."""
    index = data.index
    # An index of dates, with a name or of several levels is a column that the user means.
    meant = index.inferred_type in ("datetime64", "period") or index.nlevels > 1
    meant = meant or index.name is not None
    data = data.reset_index(drop=not meant or bool(set(index.names) & set(data.columns)))
    for place, kind in enumerate(data.dtypes):
        column = data.iloc[:, place]
        if str(kind).startswith("period"):
            data.isetitem(place, column.dt.to_timestamp())
        elif getattr(kind, "char", "") == "O" and not (_fits_arrow(column) and _same_zone(column)):
            data.isetitem(place, column.map(str, na_action="ignore"))
    return data


def _fits_arrow(column: Any) -> bool:
    try:
        pa.array(column, from_pandas=True)
    except pa.ArrowException:
        return False
    return True


def _same_zone(column: Any) -> bool:
    """Whether Arrow reads what is in the column: it takes moments to be of one zone, unasked."""
    return len({str(v.tzinfo) for v in column.dropna() if hasattr(v, "tzinfo")}) <= 1


def _checked(table: Table) -> Table:
    if table.arrow.num_columns == 0 or table.arrow.num_rows == 0:
        raise DataError(f"{table.name} has no rows; nothing can be read from it.")
    return table


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """The tables of pieces as that of the whole."""
    schema = finest([table.schema for table in tables])
    return pa.concat_tables(table.cast(schema) for table in tables)


def finest(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Of tables of the same columns that of all: its times are as fine as the finest of them."""

    def fineness(field: pa.Field) -> tuple[bool, str]:
        # Days, seconds, microseconds: in the order of their names too.
        return pa.types.is_timestamp(field.type), str(field.type)

    return pa.schema([max(fields, key=fineness) for fields in zip(*schemas, strict=True)])
