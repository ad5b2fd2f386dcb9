"""Values of a stack of layers over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from gatework.equations import Spec
from gatework.errors import CellError


@dataclass(frozen=True)
class Recording:
    """Values of a stack at every step by name: ``recording["f"]``, or ``recording.at(1)["f"]``.

    Values are (T, B, size), or (B, T, size) for a batch_first layer, zero behind a sequence's
    end; of one sequence without a batch axis they are (T, size). ``gatework.record`` gives every
    equation, where the new states are ``h_next``, ``c_next`` and so on; ``return_states=True``
    gives the states after each step, as ``h`` and ``c``.
    """

    spec: Spec
    rows: list[dict[str, Tensor]]
    num_directions: int

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.rows[0].items())
        return f"Recording({self.spec.name}, {len(self.rows)} x ({rows}))"

    def at(self, layer: int = 0, direction: int = 0) -> dict[str, Tensor]:
        """All values of one layer and direction, by name."""
        return self.rows[layer * self.num_directions + direction]

    def __getitem__(self, name: str) -> Tensor:
        first = self.rows[0]
        if name not in first:
            there = ", ".join(first)
            raise CellError(f"{self.spec.name} has no {name!r} at every step; it has {there}.")
        return first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows[0])
