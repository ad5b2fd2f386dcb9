"""What can be searched for: the arguments of each task, by ranges and choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatework.errors import DataError


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, each factor (or, if not ``log``, each step) as likely.

    Raises:
        DataError: they are in no order, or not above zero where factors are to be as likely.
    """

    low: float
    high: float
    whole: bool = True
    log: bool = True

    def __post_init__(self) -> None:
        begins = self.low > 0 if self.log else self.low >= 0
        if not begins or not self.low <= self.high < math.inf:
            above = "above zero" if self.log else "zero"
            raise DataError(f"A range goes from {above} upwards, got {self.low}:{self.high}.")

    def nearest(self, given: float | None) -> float:
        """What in the range is nearest to a number; without one its middle."""
        if given is None:
            middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
            return round(middle) if self.whole else middle
        return min(max(given, self.low), self.high)


Kind = Range | tuple[Any, ...]  # of an argument: a range, or what to choose from
Space = Mapping[str, Kind]


@dataclass(frozen=True)
class Argument:
    """An argument that can be searched for.

    Attributes:
        of: what its values are: ``int``, ``float``, ``bool`` or ``str``.
        unasked: what is tried where the user says nothing; ``None``: only what he asks for;
            words: it depends on the cells or the data (``tuning.space_of``).
        log: whether factors count, not steps.
    """

    of: type
    unasked: Any = None
    log: bool = True

    def range(self, low: str, high: str) -> Range:
        """The range between two numbers.

        Raises:
            ValueError: they are none; a DataError, if they are in no order.
        """
        kind = int if self.of is int else float
        return Range(kind(low), kind(high), self.of is int, self.log)

    def value(self, text: str) -> Any:
        """One value.

        Raises:
            ValueError: it is none of that kind.
        """
        if self.of is bool:
            return ("no", "yes").index(text.lower()) == 1
        return self.of(text)


# Only what leaves the validation loss a measure of the same thing: neither a scaling nor a head,
# whose losses are in units of their own, nor a detector's window, which is what it rebuilds.
EVERY = {
    "cell": Argument(str, "those that torch has a kernel for"),
    "hidden_size": Argument(int, Range(8, 128)),
    "num_layers": Argument(int, Range(1, 3)),
    "learning_rate": Argument(float, Range(3e-4, 3e-2, whole=False)),
    "batch_size": Argument(int),
    "dropout": Argument(float, log=False),
    "weight_decay": Argument(float),
    "schedule": Argument(str),
    "clip": Argument(float),
    "forget_bias": Argument(float, log=False),
}
SEARCHED: Mapping[str, Mapping[str, Argument]] = {
    "forecast": EVERY | {"context": Argument(int, "1, 2 and 4 seasons"), "form": Argument(str)},
    "classify": EVERY
    | {
        "bidirectional": Argument(bool, (False, True)),
        "pool": Argument(str),
        "convolution": Argument(str),
    },
    "detect": EVERY,
}
