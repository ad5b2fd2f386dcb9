"""Values of layers over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from gatework.equations import Spec
from gatework.errors import CellError, ShapeError


@dataclass(frozen=True)
class Values:
    """What one layer in one direction has at every step, by name."""

    spec: Spec
    by_name: Mapping[str, Tensor]


@dataclass(frozen=True)
class Recording:
    """Values of layers at every step by name: ``recording["f"]``, or ``recording.at(1)["f"]``.

    Values are (T, B, size), or (B, T, size) for a batch_first layer, zero behind a sequence's
    end; of one sequence without a batch axis they are (T, size). ``gatework.record`` gives every
    equation, where the new states are ``h_next``, ``c_next`` and so on; ``return_states=True``
    gives the states after each step, as ``h`` and ``c``.

    Layers may be of different cells and widths: the layers of a ``Stack`` are counted through,
    and a ``Bidirectional`` has two directions. A name alone is that of the first layer; ``named``
    tells them apart.
    """

    layers: Sequence[Sequence[Values]]  # and directions

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.rows[0].items())
        return f"Recording({self.spec.name}, {len(self.rows)} x ({rows}))"

    @property
    def spec(self) -> Spec:
        """The cell of the first layer."""
        return self._values(0, 0).spec

    @property
    def rows(self) -> list[Mapping[str, Tensor]]:
        """All values by name, of each layer and direction in the order of the states."""
        return [values.by_name for directions in self.layers for values in directions]

    def at(self, layer: int = 0, direction: int = 0) -> Mapping[str, Tensor]:
        """All values of one layer and direction, by name.

        Raises:
            CellError: there is no such layer, or it has no such direction.
        """
        return self._values(layer, direction).by_name

    def named(self) -> dict[str, Tensor]:
        """All values of all layers, named as their parameters are: ``f_l0``, ``f_l1_reverse``."""
        return {
            f"{name}_l{layer}{'_reverse' if direction else ''}": value
            for layer, directions in enumerate(self.layers)
            for direction, values in enumerate(directions)
            for name, value in values.by_name.items()
        }

    def __getitem__(self, name: str) -> Tensor:
        first = self._values(0, 0)
        if name not in first.by_name:
            there = ", ".join(first.by_name)
            raise CellError(f"{first.spec.name} has no {name!r} at every step; it has {there}.")
        return first.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values(0, 0).by_name)

    def _values(self, layer: int, direction: int) -> Values:
        if not 0 <= layer < len(self.layers) or not 0 <= direction < len(self.layers[layer]):
            counts = ", ".join(str(len(directions)) for directions in self.layers)
            raise CellError(
                f"There is no layer {layer}, direction {direction}: the recording has "
                f"{len(self.layers)} layer(s), of {counts} direction(s); both are counted from 0."
            )
        return self.layers[layer][direction]

    def changed(self, change: Callable[[Tensor], Tensor]) -> Recording:
        """The same with every value changed."""
        return Recording(
            [
                [Values(one.spec, {n: change(v) for n, v in one.by_name.items()}) for one in row]
                for row in self.layers
            ]
        )


def rows_of_layers(
    spec: Spec, rows: Sequence[Mapping[str, Tensor]], num_directions: int
) -> Recording:
    """The recording of a stack of one cell, of whose layers and directions each is a row."""
    values = [Values(spec, row) for row in rows]
    begins = range(0, len(values), num_directions)
    return Recording([values[begin : begin + num_directions] for begin in begins])


def one_above_the_other(recordings: Sequence[Recording]) -> Recording:
    """The recording of layers that follow each other."""
    return Recording([row for recording in recordings for row in recording.layers])


def side_by_side(one: Recording, other: Recording) -> Recording:
    """The recording of two directions.

    Raises:
        ShapeError: they have not as many layers as each other.
    """
    counts = len(one.layers), len(other.layers)
    if counts[0] != counts[1]:
        raise ShapeError(
            f"The forward direction has {counts[0]} layer(s) and the backward one {counts[1]}: "
            f"their values do not lie side by side. Record the two alone."
        )
    pairs = zip(one.layers, other.layers, strict=True)
    return Recording([[*forward, *backward] for forward, backward in pairs])


def refusal(layer: object) -> str:
    """Why something cannot be recorded, and what to do instead."""
    if isinstance(layer, nn.RNNBase):
        name = layer.mode.partition("_")[0]  # RNN_TANH is an RNN
        return (
            f"torch.nn.{name} does not show its gates. Make a gatework.{name} with the same "
            f"arguments, give it the weights by load_state_dict(layer.state_dict()), and record "
            f"that."
        )
    kind = type(layer)
    return (
        f"record takes a layer over sequences (gatework.Recurrent, a drop-in for torch.nn, a "
        f"Bidirectional or a Stack of such), got {kind.__module__}.{kind.__qualname__}."
    )
