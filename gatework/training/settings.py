"""How to train: the settings of the one loop, and their defaults for every task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Labelled sequences are often few: with 16 a step, 50 of them make 3 steps of an epoch.
CASES_A_STEP = 16


# What the learning rate is multiplied by when a share of all steps is done. The cosine is that of
# Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", without them.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: passes over the training part, at most.
        batch_size: examples per step.
        learning_rate, weight_decay: of AdamW.
        schedule: how the learning rate goes: ``"constant"``, or ``"cosine"``, along half a cosine
            down to 0 at the end of ``epochs``.
        clip: largest norm of the gradient; 0: no clipping.
        patience: epochs without a better validation loss before stopping; 0: never stop early.
        seed: of everything random.
        device: ``"cpu"``, ``"cuda"`` ...; ``None``: the best there is.
    """

    epochs: int = 300
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    schedule: str = "constant"
    clip: float = 1.0
    patience: int = 30
    seed: int = 0
    device: str | None = None

    def rate(self, done: float) -> float:
        """The learning rate when a share of all steps is done."""
        return self.learning_rate * SCHEDULES[self.schedule](done)
