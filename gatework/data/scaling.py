"""Scaling: fitted on the training part only, stored with the model, undone on the forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.words import check_choice
from gatework.errors import DataError

METHODS = ("standard", "robust", "log", "none")
PER = ("series", "global")
QUARTILES = 1.349  # between those of a normal distribution lie so many standard deviations
ROUNDING = 1e-12
LARGEST = 1e15  # in the model's units; float32 must hold its square, and sums of that
ALIKE = 10  # spreads that differ by a larger factor do not go with one scale
COMMON = ""  # the key of all series together; no id is empty
LEAST = 2  # values that tell how far a series varies

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Scaler:
    """Centre and spread of each feature of each series.

    ``standard`` takes mean and standard deviation, ``robust`` the median and the distance of the
    quartiles (in units that make it the deviation of a normal distribution; where the quartiles
    are equal the deviation from the median), ``log`` first takes log(1 + target) and then standard.

    A series with an id is scaled by its own training part, if that has ``LEAST`` values of the
    target; else it counts as new. Those without one, out of an array, cannot be told from each
    other later, so they share one scale: a forecast depends on what the model reads, and not on
    how much more was passed with it. ``per="global"`` has one scale for all. What a series does
    not tell by itself (the spread of a constant feature, anything of one that is static or
    missing) is that of all together. Categories have none.
    """

    method: str
    center: Mapping[str, Array]  # by id, and of all series together; (F,)
    spread: Mapping[str, Array]  # likewise
    per: str = "series"

    @classmethod
    def fit(
        cls,
        cube: Cube,
        ends: Places,
        method: str = "standard",
        levels: bool = True,
        per: str = "series",
    ) -> Scaler:
        """Fit on the first ``ends[n]`` steps of each series.

        Args:
            cube: the series.
            ends: (N,) where the training part of each series ends.
            method: one of ``METHODS``.
            levels: whether the common spread of the target leaves the levels of the series out,
                for a model that reads each one relative to its level.
            per: one of ``PER``.

        Raises:
            DataError: an unknown method, or values that have no logarithm or are too large.
        """
        check_choice("scaling", method, METHODS)
        check_choice("per", per, PER)
        before = _before(cube, ends, method)
        center, spread = np.zeros(before.shape[2]), np.ones(before.shape[2])
        for feature in _scaled_places(cube, method):
            seen, counts = _seen(before[..., feature])
            if not len(seen):
                continue
            around_levels = levels and feature == 0
            with np.errstate(over="ignore", invalid="ignore"):
                (center[feature],), (width,) = _moments(seen, [len(seen)], method)
                if around_levels:
                    centers, _ = _moments(seen, counts, method)
                    deviations = seen - np.repeat(centers, counts)
                    (width,) = _spreads(seen, deviations, [len(seen)], method)
            if not np.isfinite([center[feature], width]).all():
                raise DataError(
                    f"The values reach {np.abs(seen).max():.3g}, which is too large to be "
                    f"scaled. Bring them to another unit."
                )
            spread[feature] = width or 1.0
        common = cls(method, {COMMON: center}, {COMMON: spread}, per)
        return common.extended(cube, ends, LEAST)

    @classmethod
    def joined(
        cls,
        pieces: Iterable[tuple[Cube, Places]],
        method: str = "standard",
        levels: bool = True,
        per: str = "series",
    ) -> Scaler:
        """``fit`` on pieces of the data, each gone through once and then let go.

        Raises:
            DataError: as ``fit``; or the method is ``robust``, which needs all values at once.
        """
        if method == "robust":
            raise DataError(
                "Quartiles need all values at once; read in pieces, scaling is 'standard', 'log' "
                "or 'none'."
            )
        check_choice("per", per, PER)
        first: Scaler | None = None
        total: Array = np.zeros(())
        told: dict[str, tuple[Array, Array]] = {}
        for cube, ends in pieces:
            own = cls.fit(cube, ends, method, levels, "global")
            first = own if first is None else first
            total = total + _sums(cube, ends, method, first)
            if per == "series":
                told |= _told(cube, ends, method, LEAST)
        if first is None:
            raise DataError("There is no piece to fit a scale on.")
        center, spread = _common(total, first.center[COMMON], levels and method != "none")
        return cls(method, {COMMON: center}, {COMMON: spread}, per)._with(told)

    def extended(self, cube: Cube, ends: Places, least: int = 1) -> Scaler:
        """Together with the ids that it lacks, by the first ``ends[n]`` steps of each.

        One with fewer than ``least`` values of the target there is lacking still.
        """
        lacking = [i for i, name in enumerate(cube.ids) if name not in self.center]
        if self.per == "global" or not cube.named or not lacking:
            return self
        return self._with(_told(cube.at(lacking), ends[lacking], self.method, least))

    def _with(self, told: Mapping[str, tuple[Array, Array]]) -> Scaler:
        """Together with series by what each tells; for the rest they go by all together."""
        center, spread = self.center[COMMON], self.spread[COMMON]
        return Scaler(
            self.method,
            {**self.center, **{n: np.where(np.isnan(c), center, c) for n, (c, _) in told.items()}},
            {**self.spread, **{n: np.where(s > 0, s, spread) for n, (_, s) in told.items()}},
            self.per,
        )

    def scaled(self, cube: Cube, cut: bool = False) -> NDArray[np.float32]:
        """The cube in the model's units, (N, T, F); NaN stays NaN.

        Args:
            cube: the series.
            cut: have what is further from the centre than a model can read as far as it can.

        Raises:
            DataError: a value is too far from the centre, and it is not cut.
        """
        values = _logged(cube, cube.values, self.method)
        moments = [self.of(cube, position) for position in range(len(cube.ids))]
        center, spread = (np.stack(part)[:, None] for part in zip(*moments, strict=True))
        with np.errstate(over="ignore"):
            scaled: Array = (values - center) / spread
        if cut:
            scaled = scaled.clip(-LARGEST, LARGEST)
        large = (np.abs(scaled) > LARGEST).any(axis=(1, 2))
        if large.any():
            first = int(large.argmax())
            what, do = (
                ("without scaling", "Use scaling 'standard', or another unit.")
                if self.method == "none"
                else ("of its scale", "Is that value right? If not, leave it empty.")
            )
            raise DataError(
                f"Series {cube.ids[first]!r} reaches {np.nanmax(np.abs(values[first])):.3g}, which "
                f"is too large for a model {what}. {do}"
            )
        return scaled.astype(np.float32)

    def unscaled(self, cube: Cube, rows: NDArray[np.int64], values: NDArray[Any]) -> Array:
        """Targets in the model's units, (M, ...) with the series of each, in the user's units."""
        moments = {int(row): self.of(cube, int(row)) for row in np.unique(rows)}
        shape = (-1,) + (1,) * (values.ndim - 1)
        center = np.array([moments[int(row)][0][0] for row in rows]).reshape(shape)
        spread = np.array([moments[int(row)][1][0] for row in rows]).reshape(shape)
        result: Array = values.astype(np.float64) * spread + center
        return np.expm1(result) if self.method == "log" else result

    def of(self, cube: Cube, position: int) -> tuple[Array, Array]:
        """Centre and spread of one series, (F,) each; the common ones where it has none."""
        name = cube.ids[position] if cube.named else COMMON
        key = name if name in self.center else COMMON
        return self.center[key], self.spread[key]

    def notes(self, cube: Cube, ends: NDArray[np.int64]) -> list[str]:
        """What the scaling of these training parts may do to a model, in words."""
        shared = self.per == "global" or not cube.named
        if not shared or self.method == "none":
            return []
        each = _moments(*_seen(_before(cube, ends, self.method)[..., 0]), self.method)[1]
        each = each[each > 0]  # constant series have no spread that could be another one
        # Where levels are not taken off, the common spread is that of the levels too.
        scale, width = self.spread[COMMON][0], np.max(each, initial=0)
        if not len(each) or max(width, scale) <= ALIKE * min(each):
            return []
        why = "have no ids and share one scale" if not cube.named else "share one scale (per)"
        if width > ALIKE * min(each):
            found = f"but they vary between {min(each):.3g} and {width:.3g}"
        else:
            found = f"as wide as their levels ({scale:.3g}), and one varies by {min(each):.3g} only"
        way = (
            "Give them ids (a table with an id column, or a dict of arrays), and each one is "
            "scaled by itself."
            if not cube.named
            else "With per='series' each one is scaled by itself."
        )
        return [f"The series {why}, {found}: the small ones will be forecast badly. {way}"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "method": self.method,
            "per": self.per,
            "center": {k: v.tolist() for k, v in self.center.items()},
            "spread": {k: v.tolist() for k, v in self.spread.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scaler:
        """The scaler of ``to_dict``'s data.

        Raises:
            ValueError: it is not such data.
        """
        per = data.get("per", "series")  # earlier models do not say
        if (
            data["method"] not in METHODS
            or per not in PER
            or data["center"].keys() != data["spread"].keys()
        ):
            raise ValueError("the scaling is incomplete")
        center, spread = (
            {k: np.array(v, dtype=np.float64) for k, v in data[part].items()}
            for part in ("center", "spread")
        )
        if COMMON not in center:
            raise ValueError("the common scale is absent")
        return cls(data["method"], center, spread, per)


def enough(values: Array, ends: Places) -> NDArray[np.bool_]:
    """Which series (N, T, F) have ``LEAST`` steps with a value among their first ``ends[n]``."""
    seen = ~np.isnan(values).all(axis=2) & (np.arange(values.shape[1]) < ends[:, None])
    found: NDArray[np.bool_] = seen.sum(axis=1) >= LEAST
    return found


def _told(cube: Cube, ends: Places, method: str, least: int) -> dict[str, tuple[Array, Array]]:
    """Centre and spread (F,) of each series by itself; NaN and 0 where it does not tell them.

    Those with fewer than ``least`` values of the target are left out.
    """
    before = _before(cube, ends, method)
    center, spread = np.full(before[:, 0].shape, np.nan), np.zeros(before[:, 0].shape)
    for feature in set(_scaled_places(cube, method)) - set(cube.static):
        moments = _moments(*_seen(before[..., feature]), method)
        center[:, feature], spread[:, feature] = moments
    counts = (~np.isnan(before[..., 0])).sum(axis=1)
    each = zip(cube.ids, center, spread, counts, strict=True)
    return {name: (c, s) for name, c, s, count in each if count >= least}


def _scaled_places(cube: Cube, method: str) -> list[int]:
    """The features that a method scales: those that are numbers."""
    return [] if method == "none" else [i for i in range(len(cube.names)) if i not in cube.levels]


def _before(cube: Cube, ends: Places, method: str) -> Array:
    """The first ``ends[n]`` steps of each series, (N, T, F), NaN behind them; logs are taken."""
    values = cube.values[:, : max(1, int(ends.max(initial=0)))]
    behind = np.arange(values.shape[1]) >= ends[:, None]
    return _logged(cube, np.where(behind[..., None], np.nan, values), method)


def _logged(cube: Cube, values: Array, method: str) -> Array:
    """The values with the target's logarithm taken, where the method says so."""
    if method != "log":
        return values
    wrong = np.argwhere(values[..., 0] <= -1)
    if len(wrong):
        row, step = wrong[0]
        raise DataError(
            f"Series {cube.ids[row]!r} holds {values[row, step, 0]:g}; scaling 'log' takes "
            f"log(1 + y) and needs values above -1. Use scaling 'standard'."
        )
    result = values.copy()
    result[..., 0] = np.log1p(values[..., 0])
    return result


def _sums(cube: Cube, ends: Places, method: str, about: Scaler) -> Array:
    """Of each feature count, sum and sum of squares about a centre, and the latter about levels.

    The centre is that of the first piece, so that nothing cancels. Features without a scale have
    no count. (4, F).
    """
    before = _before(cube, ends, method)
    sums = np.zeros((4, before.shape[2]))
    for feature in _scaled_places(cube, method):
        seen, counts = _seen(before[..., feature])
        own, _ = _moments(seen, counts, "standard")
        away = seen - about.center[COMMON][feature]
        sums[:, feature] = (
            len(seen),
            away.sum(),
            np.square(away).sum(),
            np.square(seen - np.repeat(own, counts)).sum(),
        )
    return sums


def _common(sums: Array, about: Array, levels: bool) -> tuple[Array, Array]:
    """Centre and spread of all pieces together, by ``_sums``."""
    count = np.maximum(sums[0], 1)
    mean = sums[1] / count
    squares = sums[2] / count - np.square(mean)
    if levels:
        squares[0] = sums[3, 0] / count[0]
    deviation = np.sqrt(np.maximum(squares, 0))
    center: Array = about + mean
    large = deviation > ROUNDING * np.maximum(np.abs(center), np.abs(mean))
    return center, np.where(large, deviation, 1.0)


def _seen(values: Array) -> tuple[Array, Places]:
    """The values of series (N, T) that are not missing, in a row, and how many each has."""
    there = ~np.isnan(values)
    return values[there], there.sum(axis=1)


def _moments(seen: Array, counts: Sequence[int] | Places, method: str) -> tuple[Array, Array]:
    """Centre and spread of pieces of a row; NaN and 0 of one without values.

    What comes out for a piece depends on that piece alone, to the last bit.
    """
    counts = np.asarray(counts)
    center = np.full(len(counts), np.nan)
    if not len(seen):
        return center, np.zeros(len(counts))
    if method == "robust":
        center[counts > 0] = _quantile(seen, counts, 0.5)
    else:
        center[counts > 0] = np.add.reduceat(seen, _starts(counts)) / counts[counts > 0]
    return center, _spreads(seen, seen - np.repeat(center, counts), counts, method)


def _spreads(seen: Array, deviations: Array, counts: Sequence[int] | Places, method: str) -> Array:
    """The spread of pieces of a row that has values; 0 of a constant one."""
    counts = np.asarray(counts)
    some, starts = counts > 0, _starts(counts)
    result = np.zeros(len(counts))
    found = np.sqrt(np.add.reduceat(np.square(deviations), starts) / counts[some])
    if method == "robust":
        lower, upper = (_quantile(deviations, counts, q) for q in (0.25, 0.75))
        found = np.where(upper > lower, (upper - lower) / QUARTILES, found)
    # What float64 rounds is no spread.
    rounding = ROUNDING * np.maximum.reduceat(np.abs(seen), starts)
    result[some] = np.where(found > rounding, found, 0.0)
    return result


def _quantile(values: Array, counts: Places, share: float) -> Array:
    """A quantile of each piece of a row that has values, by linear interpolation."""
    pieces = np.repeat(np.arange(len(counts)), counts)
    ordered = values[np.lexsort((values, pieces))]
    place = share * (counts[counts > 0] - 1)
    below = np.floor(place).astype(np.int64)
    lower, upper = (ordered[_starts(counts) + np.minimum(b, counts[counts > 0] - 1)]
                    for b in (below, below + 1))  # fmt: skip
    result: Array = lower + (place - below) * (upper - lower)
    return result


def _starts(counts: Places) -> Places:
    """Where the pieces begin that have values."""
    starts: Places = (np.cumsum(counts) - counts)[counts > 0]
    return starts
