"""Weights in the order in which kernels read them; kept while nothing is trained."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from gatework.compile.kernel import Kernel, Packed
from gatework.paths.call import by_name

# first matrix -> (cell, which weights) -> copies of the matrices, and these packed
_kept: Any = WeakIdKeyDictionary()

_SIX = ctypes.c_long * 6


@dataclass(frozen=True)
class Library:
    """A compiled kernel."""

    kernel: Kernel
    forward: Callable[..., None]
    backward: Callable[..., None]
    pack: Callable[..., None]
    lanes: int

    def padded(self, size: int) -> int:
        """A size filled up to whole vectors."""
        return -(-size // self.lanes) * self.lanes


def kept_weights(
    library: Library, groups: Mapping[str, Tensor], wanted: tuple[Packed, ...], key: str
) -> dict[str, Tensor]:
    """Packed weights, of an earlier call where nothing has changed them since."""
    matrices = [t for t in groups.values() if t.dim() == 2]
    if not matrices:
        return {}
    place = (library.kernel.plan.spec, key)
    try:
        stored = _kept[matrices[0]]
    except KeyError:
        stored = _kept[matrices[0]] = {}
    if place in stored:
        before, packed = stored[place]
        # Not by version: fused optimisers, .data and NumPy change weights without a new one.
        if all(map(torch.equal, matrices, before)):
            found: dict[str, Tensor] = packed
            return found
    found = packed_weights(library, groups, wanted)
    stored[place] = [m.detach().clone() for m in matrices], found
    return found


def packed_weights(
    library: Library, groups: Mapping[str, Tensor], wanted: Iterable[Packed]
) -> dict[str, Tensor]:
    """The weights of some tiles, packed now."""
    weights = by_name(library.kernel.plan.spec, groups)
    return {one.name: _packed(library, one, [weights[m] for m in one.matrices]) for one in wanted}


def _packed(library: Library, one: Packed, matrices: list[Tensor]) -> Tensor:
    strides = {m.stride() for m in matrices}
    if len(strides) > 1 or matrices[0].stride(1) != 1:
        matrices = [m.contiguous() for m in matrices]
    rows, columns = matrices[0].shape
    units, depth = (columns, rows) if one.transposed else (rows, columns)
    block = one.segment.repeat * library.lanes
    to = matrices[0].new_empty(-(-units // block) * block * depth * len(matrices))
    dims = len(matrices), one.segment.repeat, units, depth, matrices[0].stride(0), one.transposed
    pointers = (ctypes.c_void_p * len(matrices))(*(m.data_ptr() for m in matrices))
    library.pack(_SIX(*dims), pointers, ctypes.c_void_p(to.data_ptr()))
    return to
