"""The cube: N series, T steps, F features, on one regular grid; missing values are NaN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gatework.data import uneven
from gatework.data.columns import Columns
from gatework.data.times import Step, plain
from gatework.data.zones import Zone, whole
from gatework.errors import DataError


class InPieces:
    """Data of which a part is in memory at a time; its pieces are cubes."""

    def __iter__(self) -> Iterator[Cube]:
        """The pieces, in their order."""
        raise NotImplementedError


def pieces_of(data: Any) -> Iterable[Any]:
    """The pieces of data that comes in some, else the data itself alone."""
    return data if isinstance(data, InPieces) else [data]


def check_whole(data: Any) -> None:
    """Refuse data of which not all is in memory.

    Raises:
        DataError: it comes in pieces.
    """
    if isinstance(data, InPieces):
        raise DataError(
            f"{type(data).__name__} holds its data in pieces, which only fit and what is told of "
            f"each series by itself take so. Give one piece (stream[0]), or one after another (for "
            f"piece in stream), or the file itself where it fits into memory."
        )


@dataclass(frozen=True)
class Cube:
    """Series side by side; the target is feature 0.

    Attributes:
        values: (N, T, F) float64 in the user's units; NaN where missing or behind the end.
        lengths: (N,) steps of each series.
        ids: (N,) names of the series.
        names: (F,) names of the features.
        starts: (N,) time stamp of each first step (whole numbers where there are none); with a
            zone it is what the clock shows if the step is of whole days, and else UTC.
        step: the distance between steps.
        notes: what was found and done, one sentence each.
        has_times: whether the starts are times, or numbers of a time column.
        named: whether the ids mean something; those of arrays are mere places.
        columns: which column of the table is what, also where that was found and not given.
        zone: the time zone of the stamps, if they have one.
        static, ahead: places of the features that do not vary within a series, and of those that
            are known for the steps behind its end; these alone may have values there.
        levels: of each feature that is a category, by its place, the names of its values, which
            stand as 0, 1, 2 ... in ``values``.
        stamps: (N, T) what the clock showed at each step, or its number, where the steps are not
            regular (see ``data.uneven``).
    """

    values: NDArray[np.float64]
    lengths: NDArray[np.int64]
    ids: tuple[str, ...]
    names: tuple[str, ...]
    starts: tuple[Any, ...]
    step: Step
    notes: tuple[str, ...] = ()
    has_times: bool = False
    named: bool = True
    columns: Columns = field(default_factory=Columns)
    zone: Zone | None = None
    static: tuple[int, ...] = ()
    ahead: tuple[int, ...] = ()
    levels: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    stamps: NDArray[Any] | None = None

    def times(self, series: int, index: NDArray[np.int64]) -> NDArray[Any]:
        """The time stamps of some steps of one series, also of steps behind its end.

        Where the table has a zone, they are what its clock shows; an array holds no zone. Behind
        the end of rows that are not regular they are a guess, the usual distance from each other.
        """
        if self.stamps is not None:
            distance = uneven.usual(self.stamps)
            return plain(uneven.at(self.stamps[series], index, distance))
        moved = self.step.add(self.starts[series], index)
        if self.zone is not None and not self.step.whole_days:
            moved = self.zone.clock(moved)
        return plain(moved)

    def times_after(self, steps: int) -> pa.Array:
        """The time stamps of the ``steps`` steps after each end, (N * steps,), as the table's."""
        ahead = np.arange(steps)
        return self._stamped([end + ahead for end in self.lengths])

    def all_times(self) -> pa.Array:
        """The time stamps of all steps, one series behind the other, as the table's."""
        return self._stamped([np.arange(steps) for steps in self.lengths])

    def _stamped(self, index: Sequence[NDArray[np.int64]]) -> pa.Array:
        """Stamps of some steps of each series; of one type, whatever the steps of one show."""
        if self.stamps is not None:
            return self._shown(index)
        parts = zip(self.starts, index, strict=True)
        moved = np.concatenate([self.step.add(start, steps) for start, steps in parts])
        if self.zone is not None:
            return self.zone.written(self.zone.moments(moved) if self.step.whole_days else moved)
        # Hours are shown by every step of hours, not by those alone that are no midnight.
        is_shorter = self.step.kind == "microseconds" and not self.step.whole_days
        return pa.array(whole(moved) if is_shorter else plain(moved))

    def _shown(self, index: Sequence[NDArray[np.int64]]) -> pa.Array:
        """Stamps of irregular rows, of some steps of each series; empty where not known."""
        assert self.stamps is not None
        each, distance = zip(self.stamps, index, strict=True), uneven.usual(self.stamps)
        found = np.concatenate([uneven.at(row, steps, distance) for row, steps in each])
        return pa.array(plain(found), mask=~uneven.known(found))

    def until(self, ends: NDArray[np.int64]) -> Cube:
        """The first ``ends[n]`` steps of each series; nothing of the rest is in it."""
        longest = int(ends.max())
        values = self.values[:, :longest].copy()
        behind = np.arange(longest) >= ends[:, None]
        values[behind] = np.nan
        stamps = None
        if self.stamps is not None:
            stamps = uneven.without(self.stamps[:, :longest], behind)
        return replace(self, values=values, lengths=ends.astype(np.int64), stamps=stamps)

    def at(self, rows: Sequence[int]) -> Cube:
        """Some of the series, in that order."""
        return replace(
            self,
            values=self.values[rows],
            lengths=self.lengths[rows],
            ids=tuple(self.ids[row] for row in rows),
            starts=tuple(self.starts[row] for row in rows),
            stamps=None if self.stamps is None else self.stamps[rows],
        )

    def series(self, position: int) -> NDArray[np.float64]:
        """One series without what is behind its end, (T, F)."""
        return self.values[position, : self.lengths[position]]
