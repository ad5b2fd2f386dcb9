"""Labelled cases of a long table: a row for each step, a column of ids and one of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cases import Labelled
from gatework.data.columns import Columns, Names, as_list
from gatework.data.cube import Cube
from gatework.data.load import load_cube
from gatework.data.table import read_table
from gatework.data.words import listed, some
from gatework.errors import DataError


@dataclass(frozen=True)
class LongCases:
    """Which column of a long table is what, where its series are cases.

    Attributes:
        target: the class, the same in all rows of a case; ``None``: not known.
        time: time stamps; ``None``: found, or the rows are consecutive steps.
        id: which case a row is of.
        features: what is read.
    """

    target: str | None
    time: str | None
    id: str | None
    features: Names

    def columns(self, there: Sequence[str]) -> Columns:
        """The columns of a table as ``load_cube`` takes them, the class as a category.

        Args:
            there: the columns that the table has; the class need not be one of them.

        Raises:
            DataError: no ids or features are named.
        """
        if self.id is None:
            raise DataError("A long table of sequences has a column that tells them apart (id).")
        first, *others = as_list(self.features) or [""]
        if not first:
            raise DataError(
                f"Name the columns of a long table that are read (features); it has "
                f"{listed(there)}."
            )
        if self.target in (first, *others):
            raise DataError(f"Column {self.target!r} is named as the class and as a feature.")
        label = [self.target] if self.target and self.target in there else []
        # Settled: a classifier watches numbers alone, and no distance between rows.
        return Columns(first, self.time, self.id, (*others, *label), categories=label, settled=True)

    def read(self, data: Any) -> Labelled:
        """The cases of a table: a path, or a data frame.

        Raises:
            DataError: it cannot be read, or a case has no class or several.
        """
        table = read_table(data)
        return self.labelled(load_cube(table, self.columns(table.columns)), table.name)

    def labelled(self, cube: Cube, name: str = "the data") -> Labelled:
        """The cases of a cube whose last feature is their class, if it has a category at all.

        Raises:
            DataError: a case has no class or several.
        """
        if self.target is None or self.target not in cube.names[1:]:
            return Labelled(_trimmed(cube), None, name)
        place = cube.names.index(self.target)
        codes, levels = cube.values[..., place], np.array(cube.levels[place], dtype=np.str_)
        there: NDArray[np.bool_] = ~np.isnan(codes)
        known: NDArray[np.bool_] = np.any(there, axis=1)
        if not known.any():
            return Labelled(_without(cube, place), None, name)
        if not known.all():
            absent = [cube.ids[row] for row in np.flatnonzero(~known)]
            raise DataError(
                f"{len(absent)} of {len(known)} sequences of {name} have no class in column "
                f"{self.target!r}: {some(absent)}. Give them one, or leave them out."
            )
        first = np.take_along_axis(codes, there.argmax(axis=1)[:, None], axis=1)
        varied = (there & (codes != first)).any(axis=1)
        if varied.any():
            row = int(varied.argmax())
            found = levels[np.unique(codes[row, there[row]]).astype(np.int64)]
            raise DataError(
                f"A sequence is of one class, and {cube.ids[row]!r} of {name} is of several by "
                f"column {self.target!r}: {some(found.tolist())}."
            )
        return Labelled(_without(cube, place), levels[first[:, 0].astype(np.int64)], name)


def _without(cube: Cube, place: int) -> Cube:
    """The cube without its last feature, which is the class."""
    assert place == len(cube.names) - 1
    notes = tuple(note for note in cube.notes if repr(cube.names[place]) not in note)
    values, names = cube.values[..., :place], cube.names[:place]
    return _trimmed(replace(cube, values=values, names=names, levels={}, notes=notes))


def _trimmed(cube: Cube) -> Cube:
    """Without the steps at the ends of the series that hold nothing; a first step stays."""
    seen: NDArray[np.bool_] = np.any(~np.isnan(cube.values), axis=2)
    ends = np.where(np.any(seen, axis=1), seen.shape[1] - seen[:, ::-1].argmax(axis=1), 1)
    return cube.until(ends.astype(np.int64))
