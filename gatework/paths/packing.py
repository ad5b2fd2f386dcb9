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

# first matrix -> (cell, which weights) -> copies of the matrices, and these packed
_kept: Any = WeakIdKeyDictionary()

_DIMS = ctypes.c_long * 7
# How many numbers in bfloat16 make a factor of a product, by torch's words for the precision of
# float32; "half" is that of autocast, which also lowers the large products around the steps.
PARTS = {"highest": 0, "high": 2, "medium": 1, "half": 1}


@dataclass(frozen=True)
class Library:
    """A compiled kernel."""

    kernel: Kernel
    forward: Callable[..., None]
    backward: Callable[..., None]
    pack: Callable[..., None]
    same: Callable[..., int]
    lanes: int
    precision: str = "highest"  # see PARTS

    @property
    def parts(self) -> int:
        """Numbers in bfloat16 for each factor; 0 where it is a real."""
        return PARTS[self.precision]

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
    place = (library.kernel.plan.spec, library.precision, key)
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
    spec = library.kernel.plan.spec
    plain = {s: g if g.is_contiguous() else g.contiguous() for s, g in groups.items()}
    places = {
        p.name: (stem, place)
        for stem, members in spec.groups.items()
        for place, p in enumerate(members)
    }
    found = {}
    for one in wanted:
        at = [places[m] for m in one.matrices]
        rows, columns = _matrix_shape(plain[at[0][0]], len(spec.groups[at[0][0]]))
        apart = rows * columns * plain[at[0][0]].element_size()
        addresses = [plain[stem].data_ptr() + place * apart for stem, place in at]
        found[one.name] = _packed(library, one, (rows, columns), addresses, plain[at[0][0]])
    return found


def _matrix_shape(group: Tensor, members: int) -> tuple[int, int]:
    rows, columns = group.shape
    return rows // members, columns


def _packed(
    library: Library, one: Packed, shape: tuple[int, int], addresses: list[int], like: Tensor
) -> Tensor:
    rows, columns = shape
    units, depth = (columns, rows) if one.transposed else (rows, columns)
    count, block = len(addresses), one.segment.repeat * library.lanes
    deep = -(-depth // 2) if library.parts else depth
    to = like.new_empty(max(1, library.parts), -(-units // block) * block * deep * count)
    dims = count, one.segment.repeat, units, depth, columns, one.transposed
    pointers = (ctypes.c_void_p * count)(*addresses)
    for part, each in enumerate(to):
        library.pack(_DIMS(*dims, part), pointers, ctypes.c_void_p(each.data_ptr()))
    return to
