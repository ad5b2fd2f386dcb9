"""Split conformal intervals: as wide as the errors on the validation part say.

Vovk et al. 2005; Lei et al. 2018, arXiv:1604.04173, with errors divided by how uncertain the head
says it is, below and above. For a series the promise is no theorem, since its future need not be
like its past: a measured coverage stands beside the asked one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gatework.errors import DataError

Array = NDArray[np.float64]
MOST = 999  # scores that are kept of each step; more are thinned out


@dataclass(frozen=True)
class Calibration:
    """How far off the forecasts of the validation part were, in units of their uncertainty.

    Attributes:
        scores: (S, H), rising; NaN behind the last one of a step.
    """

    scores: Array

    @classmethod
    def fit(cls, truth: Array, point: Array, below: Array, above: Array) -> Self:
        """From forecasts of M windows, (M, H) each, with their uncertainty below and above."""
        error = truth - point
        scores = np.sort(np.where(error > 0, error / above, -error / below), axis=0)
        if len(scores) <= MOST:
            return cls(scores)
        counts = (~np.isnan(scores)).sum(axis=0)
        kept = np.full((MOST, scores.shape[1]), np.nan)
        for step, count in enumerate(counts):
            # Of more than MOST those whose ranks among MOST mean no smaller a coverage.
            share = np.arange(1, MOST + 1) / (MOST + 1)
            place = _rank(share, count) if count > MOST else np.arange(1, count + 1)
            kept[: len(place), step] = scores[place - 1, step]
        return cls(kept)

    def factors(self, coverage: float) -> Array:
        """How many times its uncertainty an interval reaches from the point, (H,).

        Raises:
            DataError: there are too few validation windows for such a coverage.
        """
        counts = (~np.isnan(self.scores)).sum(axis=0)
        rank = _rank(coverage, counts)
        if (rank > counts).any():
            few = int(counts.min())
            most = f"it is at most {few / (few + 1):.3g}" if few else "there is no interval"
            needed = int(np.ceil(coverage / (1 - coverage) - 1e-9))
            raise DataError(
                f"A coverage of {coverage:g} needs {needed} "
                f"validation windows for each step, the model was fitted with {few}: {most}. Use "
                f"more data or a larger validation part."
            )
        factors: Array = np.take_along_axis(self.scores, rank[None] - 1, axis=0)[0]
        return factors

    def arrays(self) -> dict[str, Array]:
        """What was fitted, by name."""
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], horizon: int) -> Self:
        """The calibration of ``arrays()``.

        Raises:
            KeyError, ValueError: they do not fit the horizon.
        """
        scores = arrays["scores"]
        if scores.ndim != 2 or scores.shape[1] != horizon:
            raise ValueError(f"a calibration of shape {scores.shape}")
        return cls(scores)


def check_coverage(coverage: object) -> float:
    """A coverage as a number between 0 and 1.

    Raises:
        DataError: it is none.
    """
    if not isinstance(coverage, (int, float, np.number)) or not 0 < coverage < 1:
        raise DataError(f"coverage is a number between 0 and 1, got {coverage!r}.")
    return float(coverage)


def _rank(coverage: float | Array, counts: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Which score, from 1, counted in order of size, makes the coverage; less rounding."""
    rank: NDArray[np.int64] = np.ceil((counts + 1) * np.asarray(coverage) - 1e-9).astype(np.int64)
    return rank
