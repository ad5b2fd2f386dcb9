"""Random masks of a cell: drawn in training, at their mean in evaluation.

Those that a call brings are not made here; one that tells the first units of chunks is fixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from gatework.equations import Spec
from gatework.equations.sizes import VECTORS, width_of


def sizes_of(spec: Spec, states: Iterable[Tensor], features: int) -> dict[str, int]:
    """The sizes by their letters, from the states of a cell (..., size)."""
    found = {s.size: t.shape[-1] for s, t in zip(spec.states, states, strict=True)}
    return {size: width for size, width in found.items() if size in VECTORS} | {"F": features}


def draw(
    spec: Spec,
    sizes: Mapping[str, int],
    steps: int,
    batch: Sequence[int],
    training: bool,
    like: Tensor,
    brought: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The masks of a cell by name, (T, *batch, size); an axis of one goes for all.

    Args:
        spec: the cell.
        sizes: the sizes by their letters.
        steps: T.
        batch: the axes between time and features: (B,), or (B, *space).
        training: whether they are drawn, by torch's generator.
        like: a tensor of their dtype and device.
        brought: those that are there already, for which no random numbers are taken.
    """
    found = dict(brought or {})
    widths = {m.name: width_of(m.size, sizes, spec.heads) for m in spec.masks}
    for mask in spec.masks:
        if mask.name in found:
            continue
        if mask.chunk > 1:
            first = torch.arange(widths[mask.name], device=like.device) % mask.chunk == 0
            found[mask.name] = first.to(like.dtype).view(*(1,) * (1 + len(batch)), -1)
        elif training:
            rows = steps if mask.each == "step" else 1
            empty = like.new_empty(rows, *batch, widths[mask.name])
            found[mask.name] = empty.bernoulli_(mask.probability).mul_(mask.value)
        else:
            one = (1,) * (1 + len(batch))
            found[mask.name] = like.new_full((*one, widths[mask.name]), mask.mean)
    return {mask.name: found[mask.name] for mask in spec.masks}
