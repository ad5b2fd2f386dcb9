"""What a forecast of one step is: a number, quantiles, or a distribution.

A head turns what the last layer gives for a step, (B, H, ``size``), into the parameters of its
distribution, and knows their loss, their point forecast and their quantiles. All of it is in the
model's units; ``units`` (B, 2), centre and spread of each series, lead to the user's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, distributions
from torch.nn.functional import softplus

from gatework.data.cube import Cube
from gatework.data.words import check_choice
from gatework.errors import DataError

Array = NDArray[np.float64]
NARROWEST = 1e-6  # of a scale, so that no logarithm and no quotient breaks

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mae": lambda error: error.abs(),
    "mse": lambda error: error.square(),
    "huber": lambda error: torch.where(error.abs() < 1, 0.5 * error.square(), error.abs() - 0.5),
}


class Head(ABC):
    """One kind of forecast.

    Attributes:
        size: numbers that the last layer gives for each step, P.
        draws: whether values can be drawn from it.
        lowest: the smallest value there is, in the user's units.
    """

    size: int
    draws = True
    lowest = -np.inf

    @abstractmethod
    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """Parameters (B, H, P) from numbers of any size.

        Args:
            raw: (B, H, P) from the last layer.
            level: (B, 1), what was taken off the target of the context.
            mean: (B, 1), the mean of the context in the user's units.
        """

    @abstractmethod
    def loss(self, found: Tensor, target: Tensor, units: Tensor) -> Tensor:
        """The loss of each step, (B, H)."""

    @abstractmethod
    def point(self, found: Tensor, units: Tensor) -> Tensor:
        """The forecast as one number a step, (B, H)."""

    @abstractmethod
    def widths(self, found: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """How uncertain the point is below and above, (B, H) each and above zero."""

    def quantiles(self, found: Tensor, units: Tensor, levels: Sequence[float]) -> Tensor:
        """Quantiles (B, H, Q) of parameters on the CPU, in float64.

        Raises:
            DataError: the head does not know them.
        """
        each = [p.numpy()[..., None] for p in found.unbind(-1)]
        return torch.from_numpy(self._quantiles(each, units.numpy(), np.asarray(levels)))

    @abstractmethod
    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array: ...

    def draw(self, found: Tensor, units: Tensor) -> Tensor:
        """One value for each step, (B, H), by torch's generator."""
        raise NotImplementedError


class Point(Head):
    """One number, by a loss of its error: ``"mae"`` leads to medians, ``"mse"`` to means."""

    size, draws = 1, False

    def __init__(self, loss: str) -> None:
        self.by = loss  # its name: a function without one cannot be pickled

    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """The number itself, from its level."""
        return raw + level.unsqueeze(-1)

    def loss(self, found: Tensor, target: Tensor, units: Tensor) -> Tensor:
        """That of the error which was asked for."""
        return LOSSES[self.by](found[..., 0] - target)

    def point(self, found: Tensor, units: Tensor) -> Tensor:
        """The number."""
        return found[..., 0]

    def widths(self, found: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """One: an error of any size is as likely everywhere."""
        return torch.ones_like(found[..., 0]), torch.ones_like(found[..., 0])

    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array:
        raise DataError(
            "The head 'point' knows no quantiles. Use predict_interval, or fit with the head "
            "'quantile', 'normal', 'student_t' or 'negative_binomial'."
        )


class Quantile(Head):
    """Quantiles, trained by the pinball loss (Koenker & Bassett 1978); the point is the median."""

    draws = False

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = np.array(levels, dtype=np.float64)
        self.size = len(levels)
        self.middle = int(np.flatnonzero(self.levels == 0.5)[0])

    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """The quantiles, in order of size: they do not cross."""
        return (raw + level.unsqueeze(-1)).sort(dim=-1).values

    def loss(self, found: Tensor, target: Tensor, units: Tensor) -> Tensor:
        """The pinball loss, the mean over the quantiles."""
        error, levels = target.unsqueeze(-1) - found, torch.from_numpy(self.levels).to(found)
        return torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)

    def point(self, found: Tensor, units: Tensor) -> Tensor:
        """The median."""
        return found[..., self.middle]

    def widths(self, found: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """From the median to the lowest and to the highest quantile."""
        middle = found[..., self.middle]
        low, high = middle - found[..., 0], found[..., -1] - middle
        return low.clamp(min=NARROWEST), high.clamp(min=NARROWEST)

    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array:
        known = self.levels
        if levels.min() < known[0] or levels.max() > known[-1]:
            raise DataError(
                f"The quantile head was fitted for quantiles from {known[0]:g} to {known[-1]:g}, "
                f"and knows none outside; got {levels.tolist()}. Fit with quantiles=(...) that "
                f"reach further, or use predict_interval."
            )
        # Between two of those that were fitted, on the line between them.
        after = np.clip(np.searchsorted(known, levels), 1, len(known) - 1)
        share = (levels - known[after - 1]) / (known[after] - known[after - 1])
        values = np.concatenate(found, axis=-1)
        return values[..., after - 1] * (1 - share) + values[..., after] * share


class Normal(Head):
    """A normal distribution; the point is its mean."""

    size = 2

    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """Mean and standard deviation."""
        return torch.stack([raw[..., 0] + level, softplus(raw[..., 1]) + NARROWEST], dim=-1)

    def loss(self, found: Tensor, target: Tensor, units: Tensor) -> Tensor:
        """The negative logarithm of the density."""
        return -self._of(found).log_prob(target)  # type: ignore[no-any-return]

    def point(self, found: Tensor, units: Tensor) -> Tensor:
        """The mean."""
        return found[..., 0]

    def widths(self, found: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """The scale, on both sides."""
        return found[..., 1], found[..., 1]

    def draw(self, found: Tensor, units: Tensor) -> Tensor:
        """One value of each distribution."""
        return self._of(found).sample()  # type: ignore[no-any-return]

    def _of(self, found: Tensor) -> Any:
        location, scale = found.unbind(-1)
        return distributions.Normal(location, scale, validate_args=False)

    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array:
        return stats.norm.ppf(levels, *found)  # type: ignore[no-any-return]


class StudentT(Normal):
    """Student's t with more than 2 degrees of freedom: outliers cost less than with a normal."""

    size = 3

    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """Location, scale and degrees of freedom."""
        freedom = 2 + softplus(raw[..., 2:]) + NARROWEST
        return torch.cat([super().parameters(raw, level, mean), freedom], dim=-1)

    def _of(self, found: Tensor) -> Any:
        location, scale, freedom = found.unbind(-1)
        return distributions.StudentT(freedom, location, scale, validate_args=False)

    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array:
        location, scale, freedom = found
        return stats.t.ppf(levels, freedom, location, scale)  # type: ignore[no-any-return]


class NegativeBinomial(Head):
    """A negative binomial of counts, by mean m and dispersion a (variance m + a m^2).

    The mean is a multiple of 1 + the mean of the context, as in DeepAR (Salinas et al. 2017,
    arXiv:1704.04110): counts are scaled by their size alone, and never shifted.
    """

    size, lowest = 2, 0.0

    def parameters(self, raw: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        """Mean and dispersion of the counts, in the user's units."""
        m = softplus(raw[..., 0]) * (1 + mean) + NARROWEST
        return torch.stack([m, softplus(raw[..., 1]) + 1e-4], dim=-1)

    def loss(self, found: Tensor, target: Tensor, units: Tensor) -> Tensor:
        """The negative logarithm of the probability of the count."""
        center, spread = units.unsqueeze(-1).unbind(1)
        # Scaled and back, so whole numbers only but for rounding.
        counts = (target * spread + center).round()
        return -self._of(found).log_prob(counts)  # type: ignore[no-any-return]

    def point(self, found: Tensor, units: Tensor) -> Tensor:
        """The mean."""
        return self._scaled(found[..., 0], units)

    def widths(self, found: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """The standard deviation, on both sides."""
        m, a = found.unbind(-1)
        width = (m + a * m.square()).sqrt() / units[:, 1:]
        return width, width

    def draw(self, found: Tensor, units: Tensor) -> Tensor:
        """One count of each distribution, in the model's units."""
        return self._scaled(self._of(found).sample(), units)

    def _scaled(self, counts: Tensor, units: Tensor) -> Tensor:
        return (counts - units[:, :1]) / units[:, 1:]

    def _of(self, found: Tensor) -> Any:
        m, a = found.unbind(-1)
        return distributions.NegativeBinomial(1 / a, logits=(m * a).log(), validate_args=False)

    def _quantiles(self, found: list[Array], units: Array, levels: Array) -> Array:
        m, a = found
        counts = stats.nbinom.ppf(levels, 1 / a, 1 / (1 + m * a))
        center, spread = units[:, 0, None, None], units[:, 1, None, None]
        return (counts - center) / spread  # type: ignore[no-any-return]


COUNTS = "negative_binomial"
HEADS: dict[str, type[Head]] = {
    "point": Point,
    "quantile": Quantile,
    "normal": Normal,
    "student_t": StudentT,
    COUNTS: NegativeBinomial,
}


def make_head(name: str, loss: str, quantiles: Sequence[float]) -> Head:
    """The head of an estimator's arguments."""
    given: dict[str, Any] = {"point": loss, "quantile": quantiles}
    return HEADS[name](*([given[name]] if name in given else []))


def check_head(name: str, loss: str, quantiles: Any, scaling: str) -> None:
    """Refuse arguments that do not go together.

    Raises:
        DataError: in one line, which and why.
    """
    check_choice("head", name, HEADS)
    check_choice("loss", loss, LOSSES)
    if name != "point" and loss != "mae":
        raise DataError(
            f"loss={loss!r} is for the head 'point'; the head {name!r} has a loss of its own. "
            f"Leave one of the two out."
        )
    if name == COUNTS and scaling == "log":
        raise DataError(
            "The head 'negative_binomial' is for counts, which the scaling 'log' bends. Use "
            "scaling 'standard' or 'none'."
        )
    levels = check_levels(quantiles, "quantiles")
    if list(levels) != sorted(set(levels)) or 0.5 not in levels[1:-1]:
        raise DataError(
            f"quantiles rise, with 0.5 amid them, as in (0.1, 0.5, 0.9); got {quantiles!r}."
        )


def check_levels(levels: Any, name: str) -> tuple[float, ...]:
    """Levels of quantiles as numbers between 0 and 1.

    Raises:
        DataError: they are none.
    """
    try:
        found = tuple(float(level) for level in levels)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < level < 1 for level in found):
        raise DataError(f"{name} are numbers between 0 and 1, got {levels!r}.")
    return found


def check_counts(cube: Cube) -> None:
    """Refuse series that are no counts.

    Raises:
        DataError: the series and its value are named.
    """
    for name, values in zip(cube.ids, cube.values[..., 0], strict=True):
        wrong = values[(values < 0) | (values != np.round(values))]
        wrong = wrong[~np.isnan(wrong)]
        if len(wrong):
            raise DataError(
                f"The head 'negative_binomial' is for counts (0, 1, 2, ...), and series {name!r} "
                f"holds {wrong[0]:g}. Use the head 'normal' or 'student_t'."
            )
