"""The order of an epoch: all training examples or some of them, anew in every epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def epoch_order(parts: Sequence[int], count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """So many examples in any order, each once; those of a part stand together.

    All that is drawn is drawn by the generator, so its state alone says what comes.

    Args:
        parts: examples of each part; they are numbered through.
        count: how many are drawn, each set of them as likely as any other; all are shuffled.
        generator: random numbers.
    """
    edges = np.concatenate([[0], np.cumsum(parts)]).astype(np.int64)
    drawn = None if count >= edges[-1] else _drawn(int(edges[-1]), count, generator)
    for part in torch.randperm(len(parts), generator=generator).tolist():
        begin, end = int(edges[part]), int(edges[part + 1])
        if drawn is None:
            own = begin + torch.randperm(end - begin, generator=generator)
        else:
            own = drawn[(drawn >= begin) & (drawn < end)]
        if len(own):
            yield own


def _drawn(total: int, count: int, generator: torch.Generator) -> Tensor:
    """Some of the first whole numbers in any order, in memory by their count and not the total."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.tensor(random.Random(seed).sample(range(total), count))
