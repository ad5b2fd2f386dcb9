"""The networks of the detector: one forecasts the next step, one rebuilds what it has read.

Both read each step as three numbers of every feature: the last value that was seen, its change
from the step before, and whether the step has a value. Both say what they expect of each step, in
the model's units, and are trained on the distance from what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatework.equations import Spec
from gatework.tasks.stacks import seeded, stack

REACH = 10.0  # spreads; what an input is further away the networks need not tell apart
PART = 4096  # steps of a long series that are read at once

Array = NDArray[np.float64]


class NextStep(nn.Module):
    """Forecasts, in every step, the next one; it reads a whole series without a break.

    The forecast is a change of the last value that was seen. Shapes: inputs (T, B, 3F), expected
    values (T, B, F), where row t is what is expected of step t + 1.
    """

    ahead = 1

    def __init__(
        self, cell: Spec, features: int, hidden_size: int, num_layers: int, **options: Any
    ) -> None:
        super().__init__()
        self.features = features
        self.recurrent = stack(cell, 3 * features, hidden_size, num_layers, **options)
        self.head = nn.Linear(self.recurrent.output_size, features)

    def forward(self, inputs: Tensor) -> Tensor:
        """What is expected of each next step."""
        output, _ = self.recurrent(self.bounded(inputs))
        return self.expected(inputs, output)

    def along(self, inputs: Tensor) -> Tensor:
        """The same of one long series, (T, 3F) to (T, F), with the memory of a part of it."""
        states, found = None, []
        for part in torch.split(inputs.unsqueeze(1), PART):
            output, states = self.recurrent(self.bounded(part), states)
            found.append(self.expected(part, output).squeeze(1))
        return torch.cat(found)

    def expected(self, inputs: Tensor, output: Tensor) -> Tensor:
        """The same from the outputs of the recurrent stack."""
        expected: Tensor = inputs[..., : self.features] + self.head(output)
        return expected

    def bounded(self, inputs: Tensor) -> Tensor:
        """What the recurrent stack reads."""
        return inputs.clamp(-REACH, REACH)


class Rebuild(nn.Module):
    """Reads a window, keeps one vector of it, and rebuilds the window from that, its end first.

    The encoder and decoder of Malhotra et al. 2016 (arXiv:1607.00148), with one difference: the
    decoder is given the vector in every step, not its own last value, so that any cell will do.
    Shapes: inputs (L, B, 3F), rebuilt values (L, B, F).
    """

    ahead = 0

    def __init__(
        self, cell: Spec, features: int, hidden_size: int, num_layers: int, **options: Any
    ) -> None:
        super().__init__()
        self.recurrent = stack(cell, 3 * features, hidden_size, num_layers, **options)
        size = self.recurrent.output_size
        self.decoder = stack(cell, size, hidden_size, num_layers, **options)
        self.head = nn.Linear(self.decoder.output_size, features)

    def forward(self, inputs: Tensor) -> Tensor:
        """The window as it is rebuilt."""
        output, _ = self.recurrent(inputs.clamp(-REACH, REACH))
        rebuilt, _ = self.decoder(output[-1].expand(len(inputs), -1, -1))
        values: Tensor = self.head(rebuilt).flip(0)
        return values


KINDS: Mapping[str, type[NextStep] | type[Rebuild]] = {"forecast": NextStep, "autoencoder": Rebuild}


def make_network(cell: Spec, features: int, parameters: Mapping[str, Any]) -> NextStep | Rebuild:
    """The untrained network of an estimator's arguments; the same for the same seed."""
    with seeded(parameters["seed"]):
        return KINDS[parameters["kind"]](
            cell,
            features,
            int(parameters["hidden_size"]),
            int(parameters["num_layers"]),
            dropout=parameters["dropout"],
            forget_bias=parameters["forget_bias"],
        )


def observed(values: Array, before: Array | None = None) -> Array:
    """What the networks read of a series, (T, 3F).

    A change is one between neighbours that both have a value, and else 0: what has come up in a
    gap did not come in one step.

    Args:
        values: (T, F) in the model's units, NaN where missing.
        before: (3F,) what was read of the step before; ``None``: the series begins here.
    """
    steps, features = np.arange(len(values))[:, None], values.shape[1]
    start, _, there = np.split(np.zeros(3 * features) if before is None else before, 3)
    seen = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(seen, steps, -1))
    filled = np.where(last < 0, start, np.take_along_axis(values, np.maximum(last, 0), axis=0))
    neighbours = seen & np.concatenate([there[None] > 0, seen[:-1]])
    change = np.diff(filled, axis=0, prepend=start[None]) * neighbours
    return np.concatenate([filled, change, seen], axis=1)
