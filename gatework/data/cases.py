"""Labelled cases: sequences with a class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.cube import Cube
from gatework.data.series import from_series


@dataclass(frozen=True)
class Labelled:
    """Cases: N sequences of T steps and F features, and the class of each.

    Attributes:
        cube: the sequences; ``values`` (N, T, F) with NaN where missing, ``lengths`` (N,).
        labels: (N,) the class of each, text where they come from a file; ``None``: not known.
        name: what the data is called.
    """

    cube: Cube
    labels: NDArray[Any] | None = None
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.cube.ids)


def cases_of(
    series: Sequence[NDArray[np.float64]],
    labels: NDArray[Any] | None = None,
    name: str = "the data",
    notes: Sequence[str] = (),
) -> Labelled:
    """Cases of arrays (T, F), their padding cut off.

    Raises:
        DataError: a sequence without steps or features, or of other features than the first.
    """
    features = series[0].shape[1] if series and series[0].ndim == 2 else 0
    names = [f"feature {i}" for i in range(1, features + 1)]
    return Labelled(from_series([_trimmed(s) for s in series], names, notes), labels, name)


def _trimmed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the steps at the end that hold nothing; the first step stays."""
    if values.ndim != 2:
        return values  # refused by the cube, in its words
    seen = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: int(seen[-1]) + 1 if len(seen) else 1]
