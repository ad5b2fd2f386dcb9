"""Random masks of a cell: drawn in training, at their mean in evaluation.

Those that a call brings are not made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gatework.equations import Spec


def draw(
    spec: Spec,
    sizes: Mapping[str, int],
    steps: int,
    batch: Sequence[int],
    training: bool,
    like: Tensor,
) -> dict[str, Tensor]:
    """The masks of a cell by name, (T, *batch, size); an axis of one goes for all.

    Args:
        spec: the cell.
        sizes: the sizes by their letters.
        steps: T.
        batch: the axes between time and features: (B,), or (B, *space).
        training: whether they are drawn, by torch's generator.
        like: a tensor of their dtype and device.
    """
    found = {}
    for mask in spec.masks:
        if mask.is_brought:
            continue
        if training:
            rows = steps if mask.each == "step" else 1
            empty = like.new_empty(rows, *batch, _width(mask.size, sizes))
            found[mask.name] = empty.bernoulli_(mask.probability).mul_(mask.value)
        else:
            one = (1,) * (1 + len(batch))
            found[mask.name] = like.new_full((*one, _width(mask.size, sizes)), mask.mean)
    return found


def _width(size: str, sizes: Mapping[str, int]) -> int:
    """A small letter is one number of a row."""
    return 1 if size.islower() else sizes[size]
