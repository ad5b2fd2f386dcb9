"""What the networks of all tasks are made of: recurrent stacks, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gatework.equations import Spec
from gatework.layers import Recurrent


def stack(
    cell: Spec,
    inputs: int,
    hidden_size: int,
    num_layers: int,
    dropout: float = 0.0,
    forget_bias: float | None = None,
    bidirectional: bool = False,
) -> Recurrent:
    """Layers of any cell, each of ``hidden_size`` units.

    A cell with a projection has half as many outputs. Dropout is between layers, so a single
    layer has none.
    """
    return Recurrent(
        cell,
        inputs,
        hidden_size,
        num_layers,
        bidirectional=bidirectional,
        dropout=dropout if num_layers > 1 else 0.0,
        proj_size=max(1, hidden_size // 2) if "P" in cell.sizes else 0,
        forget_bias=forget_bias,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is random within is the same for the same seed; the user's numbers are left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
