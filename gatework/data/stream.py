"""A Parquet file that is larger than memory, read a piece at a time: some whole series each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from gatework.data.columns import Columns, as_list
from gatework.data.cube import Cube, InPieces
from gatework.data.load import load_cube
from gatework.data.table import Table
from gatework.errors import DataError

BUFFER = 1_000_000  # rows
Change = Callable[[Cube], Cube]


@dataclass(frozen=True)
class Stream(InPieces):
    """Series of a long Parquet table, some of them in memory at a time; the pieces are cubes.

    The rows of each id have to stand together. A piece has as many whole series as fit into the
    buffer when they stand side by side, each as long as the longest; row groups are read for it
    and let go again. What stays in memory for the whole file is of the order of its ids, not of
    its rows.

    Attributes:
        path: the file.
        columns: which column is what; those that the first piece was found to have.
        cuts: the first row of each piece, and the number of rows.
        buffer: rows of a piece, at most.
        changes: what is done to each piece, one after the other (see ``through``).
    """

    path: Path
    columns: Columns
    cuts: tuple[int, ...]
    buffer: int
    changes: tuple[Change, ...] = ()
    _names: list[str] | None = field(default=None, repr=False)  # columns that are read; None: all
    _groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)

    @classmethod
    def open(cls, path: str | Path, columns: Columns, buffer: int = BUFFER) -> Self:
        """Look through the ids of a file.

        Args:
            path: a Parquet file.
            columns: which column is what; the id has to be named.
            buffer: rows that are in memory together, at most.

        Raises:
            DataError: it is no such file, its ids are not in order, or a series is longer than
                the buffer.
        """
        path = Path(path)
        if columns.id is None:
            raise DataError(f"To read {path} in pieces, name the column of ids.")
        with _opened(path) as file:
            if columns.id not in file.schema_arrow.names:
                raise DataError(f"{path} has no column {columns.id!r}.")
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            firsts = _first_rows(file, columns.id, path)
        groups = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        cuts = _cuts([*firsts, int(groups[-1])], buffer, path)
        stream = cls(path, columns, cuts, buffer, _groups=groups)
        found = stream[0].columns
        others = filter(None, [found.time, found.id])
        names = [*as_list(found.target or ()), *others, *found.inputs]
        return replace(stream, columns=found, _names=names)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def __getitem__(self, piece: int) -> Cube:
        if not 0 <= piece < len(self):
            raise IndexError(piece)
        first, end = self.cuts[piece], self.cuts[piece + 1]
        begin = int(np.searchsorted(self._groups, first, side="right")) - 1
        behind = int(np.searchsorted(self._groups, end, side="left"))
        with _opened(self.path) as file:
            rows = file.read_row_groups(list(range(begin, behind)), columns=self._names)
        rows = rows.slice(first - int(self._groups[begin]), end - first)
        cube = load_cube(Table(rows, f"{self.path} (rows {first + 1} to {end})"), self.columns)
        del rows
        pa.default_memory_pool().release_unused()
        for change in self.changes:
            cube = change(cube)
        return cube

    def __iter__(self) -> Iterator[Cube]:
        return (self[piece] for piece in range(len(self)))

    @property
    def notes(self) -> tuple[str]:
        """How it is read, in words."""
        return (self.words(),)

    def words(self) -> str:
        """The same as one sentence."""
        return f"{self.path} is read in {len(self)} pieces of at most {self.buffer} rows."

    def first_words(self) -> str:
        """What is said and scored where that is of the first piece alone, in words."""
        return f"This and the scores are of the first of {len(self)} pieces of {self.path}."

    def through(self, change: Change) -> Self:
        """The same with every piece as ``change`` makes it; it gets and gives whole series."""
        return replace(self, changes=(*self.changes, change))

    def until(self, ends: Callable[[Cube], NDArray[np.int64]]) -> Self:
        """The same with each series up to where ``ends`` says; nothing of the rest is in it."""
        return self.through(lambda cube: cube.until(ends(cube)))


def column_names(path: str | Path) -> list[str]:
    """The columns of a Parquet file.

    Raises:
        DataError: it is no such file.
    """
    with _opened(Path(path)) as file:
        names: list[str] = file.schema_arrow.names
        return names


def _opened(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} cannot be read as Parquet: {first}.") from error


def _first_rows(file: pyarrow.parquet.ParquetFile, name: str, path: Path) -> list[int]:
    """The first row of each id."""
    firsts: list[int] = []
    met, last, row = set(), None, 0
    for batch in file.iter_batches(columns=[name]):
        column = batch.column(0)
        if column.null_count:
            raise DataError(f"Column {name!r} of {path} is empty in some rows; give them an id.")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        runs = pc.run_end_encode(column)
        ends = np.asarray(runs.run_ends)
        for value, begin in zip(runs.values.to_pylist(), [0, *ends[:-1]], strict=True):
            if value == last:
                continue
            if value in met:
                raise DataError(
                    f"The rows of id {value!r} do not stand together in {path} (it comes again in "
                    f"row {row + begin + 1}). Sort the file by {name!r} first."
                )
            met.add(value)
            firsts.append(row + int(begin))
            last = value
        row += len(column)
    return firsts


def _cuts(firsts: list[int], buffer: int, path: Path) -> tuple[int, ...]:
    """Where pieces begin, so that each holds as many whole series as the buffer can."""
    sizes = np.diff(firsts)
    longest = int(sizes.max(initial=0))
    if not longest:
        raise DataError(f"{path} has no rows; nothing can be read from it.")
    if longest > buffer:
        raise DataError(
            f"A series of {path} has {longest} rows, more than the buffer of {buffer}. Use a "
            f"buffer that holds the longest series."
        )
    cuts, series, longest = [], 0, buffer + 1
    for first, size in zip(firsts, sizes.tolist(), strict=False):
        series, longest = series + 1, max(longest, size)
        if series * longest > buffer:  # side by side each takes as much as the longest
            cuts.append(first)
            series, longest = 1, size
    return (*cuts, firsts[-1])
