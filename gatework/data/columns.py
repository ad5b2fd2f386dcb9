"""Which column of the data is what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Names = str | Sequence[str]


@dataclass(frozen=True)
class Columns:
    """Which column is what. Several targets are several series, one per column (wide form).

    Attributes:
        target, time, id: see ``load_cube``.
        features: further inputs, known up to the present.
        future: inputs that are known for the steps to forecast too (a price list, holidays).
        static: inputs that do not vary within a series (the size of a shop).
        categories: inputs that are categories though they look like numbers; text is one anyway.
        elapsed: whether the time since the row before is a feature: the rows are not regular.
        settled: whether all this was found before, and nothing is to be found again.
    """

    target: Names | None = None
    time: str | None = None
    id: str | None = None
    features: Names = ()
    future: Names = ()
    static: Names = ()
    categories: Names = ()
    elapsed: bool = False
    settled: bool = False

    @property
    def inputs(self) -> list[str]:
        """The columns that are read beside the target, in their order."""
        return [*as_list(self.features), *as_list(self.future), *as_list(self.static)]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Columns:
        """The columns of ``vars(columns)`` as JSON keeps it; earlier forms have fewer of them.

        Raises:
            TypeError: it is not such data.
        """
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)

    def settle(self, target: Sequence[str], categories: Sequence[str], elapsed: bool) -> Columns:
        """With what was found, so that other data is read in the same way."""
        return replace(
            self,
            target=list(target),
            features=tuple(as_list(self.features)),
            future=tuple(as_list(self.future)),
            static=tuple(as_list(self.static)),
            categories=tuple(categories),
            elapsed=elapsed,
            settled=True,
        )


def as_list(names: Names) -> list[str]:
    """One name or several as a list."""
    return [names] if isinstance(names, str) else list(names)
