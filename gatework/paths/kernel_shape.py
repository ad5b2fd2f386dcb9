"""What a call of a kernel looks like before any number is known: sizes, threads, how it is cut.

Sizes: T steps, B rows, F, H and P as in the equations. Arrays are padded to whole vectors of
``lanes`` units.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatework.compile.emit_c import NUMBERS
from gatework.compile.kernel import Layout, padded
from gatework.paths.call import Given
from gatework.paths.packing import Library
from gatework.paths.team import threads

# Multiply-adds of a call below which a second thread costs more than it brings.
WORTH_A_THREAD = 150_000
# Weights that are larger than this do not stay in a processor's own cache: then every thread has
# its own columns of them instead of its own rows.
OWN_CACHE = 1 << 20
# What is worked out before and after the steps is done for so many steps at once that it still
# lies in the cache when it is read.
AT_ONCE = 4 << 20


class Sizes:
    """How long everything is; steps and rows may be symbols of a compiler.

    Attributes:
        sizes: by letter; a small one is one number of each row.
        padded: what they take in memory.
        is_whole: whether the output may be the caller's own memory: nothing of it is padding.
    """

    def __init__(self, library: Library, given: Given) -> None:
        self.library, self.kernel, self.plan = library, library.kernel, library.kernel.plan
        self.spec = given.spec
        self.steps, self.batch, features = given.x.shape
        self.sizes = {"F": features, "H": 0, "P": 0}
        for stem, members in self.spec.groups.items():
            rows, *rest = given.groups[stem].shape
            self.sizes.update(zip(members[0].shape, (rows // len(members), *rest), strict=True))
        for state in self.spec.states:
            self.sizes[state.size] = given.first[state.name].shape[-1]
        self.padded = {letter: library.padded(size) for letter, size in self.sizes.items()}
        self.padded |= dict.fromkeys(map(str.lower, self.sizes), library.lanes)
        self.sizes |= dict.fromkeys(map(str.lower, self.sizes), 1)
        output = self.spec.states[0].size
        self.is_whole = given.lengths is None and self.padded[output] == self.sizes[output]

    def held(self) -> dict[str, tuple[int, int, int]]:
        """The arrays that only the forward pass can give to the backward pass, (T, B, width)."""
        widths = {f"seq_{s.name}": self.padded[s.size] for s in self.spec.states}
        if self.is_whole:
            del widths[f"seq_{self.spec.states[0].name}"]  # that is the output
        if self.kernel.saved.names:
            widths["saved"] = self.width(self.kernel.saved)
        return {name: (self.steps, self.batch, width) for name, width in widths.items()}

    def width(self, layout: Layout) -> int:
        """The length of a row of a layout."""
        return sum(self.padded[s] for s in layout.sizes)

    def columns_of(self, layout: Layout) -> dict[str, slice]:
        """Where the values of a layout lie on its last axis."""
        found, begin = {}, 0
        for name, size in zip(layout.names, layout.sizes, strict=True):
            found[name] = slice(begin, begin + self.sizes[size])
            begin += self.padded[size]
        return found

    def halves(self, tensor: Tensor) -> Tensor:
        """What stands in one of torch's products, in the precision of products."""
        return tensor.bfloat16() if self.library.precision == "half" else tensor

    def pad(self, tensor: Tensor, size: str) -> Tensor:
        """The last axis filled up to whole vectors; contiguous."""
        missing = self.padded[size] - self.sizes[size]
        if size.islower():  # one number of a row is the same in every lane
            return tensor.expand(*tensor.shape[:-1], self.padded[size])
        return pad(tensor, (0, missing)) if missing else tensor.contiguous()

    def plain(self, tensor: Tensor, size: str) -> Tensor:
        """A copy without the padding."""
        return tensor[..., : self.sizes[size]].clone()

    def beside(self, layout: Layout, values: Mapping[str, Tensor]) -> Tensor:
        """Values side by side on the last axis, padded; other axes of one are repeated."""
        parts = [
            self.pad(values[name], size)
            for name, size in zip(layout.names, layout.sizes, strict=True)
        ]
        wide = [max(sizes) for sizes in zip(*(p.shape[:-1] for p in parts), strict=True)]
        return torch.cat([p.expand(*wide, -1) for p in parts], dim=-1)


def useful_threads(given: Given, calls: int) -> int:
    """How many threads so many calls have work for."""
    steps, batch, _ = given.x.shape
    work = calls * steps * batch * sum(w.numel() for w in given.groups.values())
    return int(max(1, min(threads(), work // WORTH_A_THREAD)))


def stays_in_cache(given: Given) -> bool:
    """Whether all weights lie in a processor's own cache."""
    return sum(w.numel() for w in given.groups.values()) * given.x.element_size() <= OWN_CACHE


def are_at_once(given: Sequence[Given]) -> bool:
    """Whether both directions of a layer are better done at once, each on its own threads.

    With few rows there is nothing else to share: threads that share columns meet at every step.
    """
    if len(given) == 1 or not stays_in_cache(given[0]):
        return False
    count = useful_threads(given[0], len(given))
    return count >= len(given) and given[0].x.shape[1] < 4 * count


_shapes: dict[tuple[Any, ...], Shape] = {}
MOST_SHAPES = 256


def shape_of(library: Library, given: Given, keep: bool, calls: int = 1) -> Shape:
    """The shape of a call, worked out once for all that are alike; see ``Shape.calls``."""
    x, whole = given.x, given.lengths is None
    sizes = tuple(t.shape for t in (*given.first.values(), *given.groups.values()))
    wanted = (whole, keep, given.every_state, calls, torch.get_num_threads())
    key = (id(library), x.shape, x.stride(), sizes, *wanted)
    found = _shapes.get(key)
    if found is None or found.library is not library:
        if len(_shapes) >= MOST_SHAPES:
            _shapes.clear()
        found = _shapes[key] = Shape(library, given, keep, calls)
    return found


class Shape(Sizes):
    """Sizes and decisions, which calls with the same shapes and strides share.

    Attributes:
        keep: whether a backward pass will follow.
        fused: whether the input is multiplied in the step, and not before all steps.
        sequences: the states that are given back at every step.
        ring: for how many steps the states but for the first are kept.
        rows: parts of the rows, one for each thread or group of threads.
        columns: parts of the columns, one for each thread of a group.
        calls: how many calls are done at once, on threads of their own.
    """

    def __init__(self, library: Library, given: Given, keep: bool, calls: int = 1) -> None:
        super().__init__(library, given)
        self.keep, self.sequences = keep, given.sequences
        self.ring = self.steps if keep or given.every_state else min(2, self.steps)
        self.number_bytes = given.x.element_size()
        self.fused = self.multiplies_inside(given) or not self.plan.of_input
        self.calls = calls
        self.rows, self.columns = self.grid(given)
        self.numbers = self.numbers_of(given.x)

    def multiplies_inside(self, given: Given) -> bool:
        """Whether the input is multiplied in the step."""
        matrices = sum(w.numel() for w in given.groups.values() if w.dim() == 2)
        small = matrices * self.number_bytes <= 2 * OWN_CACHE
        few = self.steps == 1 or self.sizes["F"] <= self.library.lanes
        return few or (small and self.batch >= 4)

    def grid(self, given: Given) -> tuple[int, int]:
        """Parts of the rows and parts of the columns; together the number of threads."""
        count = useful_threads(given, self.calls) // self.calls
        if count <= 1:
            return 1, 1
        if self.batch >= count * (4 if stays_in_cache(given) else 32):
            return count, 1
        return (1, count) if min(self.sizes[s.size] for s in self.spec.states) >= 64 else (1, 1)

    def numbers_of(self, x: Tensor) -> ctypes.Array[ctypes.c_long]:
        """The numbers that a kernel is called with; each launch sets the steps to do."""
        time, row = x.stride()[:2]
        if self.library.parts:  # a copy, see brought
            row = self.sizes["F"] + self.sizes["F"] % 2
            time = self.batch * row
        found = {"T": self.steps, "B": self.batch, **self.sizes}
        found.update((padded(letter), size) for letter, size in self.padded.items())
        found.update(ring=self.ring, keep=int(self.keep), fused=int(self.fused), to=self.steps)
        found.update(x_step=time, x_row=row, R=self.rows, C=self.columns)
        return (ctypes.c_long * len(NUMBERS))(*(found.get(name, 0) for name in NUMBERS))

    def chunk(self, width: int) -> int:
        """How many steps of rows of a width are done at once."""
        row = max(1, width * self.batch * self.number_bytes)
        return max(1, min(self.steps, AT_ONCE // row))
