"""Categories, gaps and the calendar: what the columns of windows are, by the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.calendar import angles, chosen_parts
from gatework.data.cube import Cube
from gatework.errors import DataError

UNKNOWN = 0  # the number of a category that training has not seen
MISSING = ""  # the name of a category that is missing; no other has it


@dataclass(frozen=True)
class Encoding:
    """What the columns of windows are, fitted on the training part.

    Attributes:
        width: F, the features of the cube; behind them come sines and cosines of the calendar.
        ahead: features that are known for the steps to forecast.
        gaps: features whose values are missing now and then.
        categories: of each feature that is a category the names that training has seen, in the
            order of their numbers, which begin at 1.
        calendar: the parts of the calendar that are read.
        regular: whether the steps are, so that the calendar is known ahead.
    """

    width: int
    ahead: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()
    categories: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    calendar: tuple[str, ...] = ()
    regular: bool = True

    @classmethod
    def fit(
        cls, cube: Cube, ends: NDArray[np.int64], calendar: bool | str | Sequence[str] = False
    ) -> Encoding:
        """Fit on the first ``ends[n]`` steps of each series.

        Raises:
            DataError: the calendar cannot be read (see ``chosen_parts``).
        """
        steps = np.arange(cube.values.shape[1])
        inside = steps < ends[:, None]
        later = inside & (steps > 0)  # what is told apart by a row before is missing in the first
        gaps, categories = [], {}
        for place in range(len(cube.names)):
            column = cube.values[..., place]
            if place in cube.levels:
                categories[place] = _names(column[inside], cube.levels[place])
            elif place not in cube.static and np.isnan(column[later]).any():
                gaps.append(place)
        return cls(
            len(cube.names),
            cube.ahead,
            tuple(gaps),
            categories,
            chosen_parts(cube, ends, calendar),
            cube.stamps is None,
        )

    @classmethod
    def joined(cls, pieces: Sequence[Encoding]) -> Encoding:
        """That of all pieces of the data together."""
        first = pieces[0]
        categories = {}
        for place in first.categories:
            names: set[str] = set().union(*(piece.categories[place] for piece in pieces))
            rest = [MISSING] if MISSING in names else []
            categories[place] = (*sorted(names - {MISSING}), *rest)
        longest = max((piece.calendar for piece in pieces), key=len)
        gaps = tuple(sorted(set().union(*(piece.gaps for piece in pieces))))
        return replace(first, gaps=gaps, categories=categories, calendar=longest)

    def encoded(self, cube: Cube, scaled: NDArray[np.float32], horizon: int) -> NDArray[np.float32]:
        """The columns of windows, (N, T + horizon, F + 2 * parts), of a scaled cube.

        Raises:
            DataError: the cube has other categories, or no time stamps.
        """
        if cube.levels.keys() != self.categories.keys():
            ours, theirs = (
                ", ".join(cube.names[place] for place in of if place < len(cube.names)) or "none"
                for of in (self.categories, cube.levels)
            )
            raise DataError(f"The categories of the model are {ours}, those of the data {theirs}.")
        steps = scaled.shape[1] + (horizon if self.ahead or self.calendar else 0)
        longer = np.full((len(scaled), steps, self.width), np.nan, dtype=np.float32)
        longer[:, : scaled.shape[1]] = scaled
        for place, names in self.categories.items():
            numbers = {name: number for number, name in enumerate(names, start=1)}
            known = [numbers.get(name, UNKNOWN) for name in (*cube.levels[place], MISSING)]
            codes = np.nan_to_num(longer[..., place], nan=len(known) - 1)
            longer[..., place] = np.array(known)[codes.astype(np.int64)]
        return np.concatenate([longer, angles(cube, self.calendar, steps)], axis=2)

    def words(self) -> list[str]:
        """What is read of the calendar, in words."""
        return [f"Of the calendar {', '.join(self.calendar)} are read."] if self.calendar else []

    def notes(self, cube: Cube, horizon: int) -> list[str]:
        """What this model does not know of new data, in words."""
        notes = []
        for place, names in self.categories.items():
            new = [name for name in cube.levels.get(place, ()) if name not in names]
            if new:
                shown = ", ".join(map(repr, new[:5])) + (" ..." if len(new) > 5 else "")
                notes.append(
                    f"{len(new)} of {len(cube.levels[place])} categories of {cube.names[place]!r} "
                    f"are new to the model, and the same to it: {shown}."
                )
        steps = cube.lengths[:, None] + np.arange(horizon)
        for place in self.ahead:
            padded = np.pad(cube.values[..., place], ((0, 0), (0, horizon)), constant_values=np.nan)
            count = int(np.isnan(np.take_along_axis(padded, steps, axis=1)).any(axis=1).sum())
            if count:
                notes.append(
                    f"{cube.names[place]!r} is not known for all of the next {horizon} steps of "
                    f"{count} of {len(cube.ids)} series; add rows for them, with an empty target."
                )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {**vars(self), "categories": [[p, list(n)] for p, n in self.categories.items()]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Encoding:
        """The encoding of ``to_dict``'s data.

        Raises:
            KeyError, TypeError, ValueError: it is not such data.
        """
        return cls(
            int(data["width"]),
            tuple(map(int, data["ahead"])),
            tuple(map(int, data["gaps"])),
            {int(place): tuple(map(str, names)) for place, names in data["categories"]},
            tuple(map(str, data["calendar"])),
            bool(data["regular"]),
        )


def _names(column: NDArray[np.float64], levels: Sequence[str]) -> tuple[str, ...]:
    """The names in a column of categories; last the one for those that are missing, if any are."""
    missing = np.isnan(column)
    found = [levels[int(code)] for code in np.unique(column[~missing])]
    return (*found, *([MISSING] if missing.any() else []))
