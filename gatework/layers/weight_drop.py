"""Dropout on the recurrent weights (Merity, Keskar & Socher 2017, arXiv:1708.02182)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import dropout

from gatework.equations import Spec
from gatework.equations.transform.draft import is_recurrent
from gatework.paths import Weights, vendor
from gatework.paths.call import Groups


class DroppedWeights:
    """The weights of a stack for one call, drawn once: forward and backward see the same.

    Args:
        spec: the cell.
        weights: the weights as they are.
        rows: layers and directions of the stack.
        p: probability of a zero; what stays is scaled by 1 / (1 - p).
    """

    def __init__(
        self, spec: Spec, weights: Weights, rows: Sequence[tuple[int, int]], p: float
    ) -> None:
        recurrent = {stem for stem, members in spec.groups.items() if is_recurrent(members[0])}
        self._groups = {
            row: {
                stem: dropout(group, p) if stem in recurrent else group
                for stem, group in weights.groups(*row).items()
            }
            for row in rows
        }

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the parameter groups by stem."""
        return self._groups[layer, direction]

    def tensors(self) -> list[Tensor]:
        """All groups of all rows."""
        return [group for groups in self._groups.values() for group in groups.values()]

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The stack in the order of torch's kernels."""
        rows = [vendor.to_torch(groups) for groups in self._groups.values()]
        return [tensor for row in rows for tensor in row], True
