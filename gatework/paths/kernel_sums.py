"""Gradients by parameters and input: large products over all rows of some steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gatework.compile.kernel import Sum
from gatework.equations.spec import NEXT
from gatework.paths.call import Given
from gatework.paths.kernel_shape import Shape

NARROW = 16  # columns; with fewer, MKL multiplies up to 16 times as fast the other way around


class Sums:
    """What the steps bring to the gradients, added up.

    Attributes:
        by_group: the gradients by the parameter groups.
        by_x: that by the input, (T, B, F), if it is wanted.
    """

    def __init__(
        self, shape: Shape, given: Given, arrays: Mapping[str, Tensor], wants_input: bool
    ) -> None:
        self.shape, self.given, self.arrays = shape, given, arrays
        # Most groups get their first sum whole, so nothing need be there before it.
        whole = shape.kernel.whole_groups
        self.by_group = {
            stem: torch.empty_like(group) if stem in whole else torch.zeros_like(group)
            for stem, group in given.groups.items()
        }
        self.begun = {stem: stem not in whole for stem in given.groups}
        self.by_x = given.x.new_empty(given.x.shape) if wants_input else None
        if self.by_x is not None and not shape.plan.of_input:
            self.by_x.zero_()
        self.begins = [0]  # of the columns of the gradients, padded
        for size in shape.kernel.gradients.sizes:
            self.begins.append(self.begins[-1] + shape.padded[size])
        self.sequences = {
            s.name: arrays[f"seq_{s.name}"][..., : shape.sizes[s.size]] for s in shape.spec.states
        }

    def add(self, begin: int, end: int) -> None:
        """Add what the steps ``begin .. end`` bring."""
        shape = self.shape
        table = self.arrays["gradients"][: end - begin]
        has_by_x = False
        for part in shape.kernel.sums:
            columns = table[..., self.begins[part.column] : self.begins[part.column + part.count]]
            size = shape.sizes[shape.kernel.gradients.sizes[part.column]]
            place = slice(part.member * size, (part.member + part.count) * size)
            mine = self.by_group[part.stem][place]
            if not part.operand:
                self.add_rows(mine, columns.sum((0, 1)), part)
                self.begun[part.stem] = True
                continue
            for operand, first in self.operands(part.operand, begin, end):
                rows = len(operand) * shape.batch
                left = columns[first - begin : first - begin + len(operand)]
                left = left.reshape(rows, columns.shape[-1])
                right = operand.reshape(rows, operand.shape[-1])
                if shape.library.precision == "half":
                    self.add_rows(mine, shape.halves(left).t() @ shape.halves(right), part)
                elif 1 < right.shape[1] < NARROW:
                    self.add_rows(mine, (right.t() @ left).t(), part)
                elif left.shape[1] == len(mine):
                    mine.addmm_(left.t(), right, beta=int(self.begun[part.stem]))
                else:
                    self.add_rows(mine, left.t() @ right, part)
                self.begun[part.stem] = True
            if part.operand == shape.spec.input and self.by_x is not None:
                weights = self.given.groups[part.stem][place]
                rows = (end - begin) * shape.batch
                wide = (rows, part.count, columns.shape[-1] // part.count)
                parts = columns.reshape(wide)[..., :size].reshape(rows, part.count * size)
                by_x = self.by_x[begin:end].view(rows, self.by_x.shape[-1])
                if shape.library.precision == "half":
                    found = shape.halves(parts) @ shape.halves(weights)
                    by_x.add_(found) if has_by_x else by_x.copy_(found)
                else:
                    by_x.addmm_(parts, weights, beta=int(has_by_x))
                has_by_x = True
        if self.by_x is not None and "by_x" in self.arrays:
            self.by_x[begin:end] += self.arrays["by_x"][begin:end, :, : shape.sizes["F"]]

    def add_rows(self, to: Tensor, found: Tensor, part: Sum) -> None:
        """Add padded rows to plain ones, or put them there."""
        size = len(to) // part.count
        padded = torch.unflatten(found, 0, (part.count, -1))[:, :size]
        mine = to.view(padded.shape)
        mine.add_(padded) if self.begun[part.stem] else mine.copy_(padded)

    def operands(self, name: str, begin: int, end: int) -> Iterator[tuple[Tensor, int]]:
        """What a matrix multiplied in some steps: parts (steps, B, size), and where they begin."""
        shape, spec = self.shape, self.shape.spec
        if name == spec.input:
            yield self.given.x[begin:end], begin
        elif name in self.sequences:
            if begin == 0:
                yield self.given.first[name].unsqueeze(0), 0
                begin = 1
            if begin < end:
                yield self.sequences[name][begin - 1 : end - 1], begin
        elif states := [s.name for s in spec.states if shape.plan.values[s.name + NEXT] == name]:
            yield self.sequences[states[0]][begin:end], begin
        else:
            place = shape.columns_of(shape.kernel.saved)[name]
            yield self.arrays["saved"][begin:end, :, place], begin
