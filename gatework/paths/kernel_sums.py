"""Gradients by parameters and input: large products over all rows of some steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gatework.equations.spec import NEXT
from gatework.paths.call import Given
from gatework.paths.kernel_shape import Shape


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
        self.by_group = {s: torch.zeros_like(given.groups[s]) for s in shape.spec.groups}
        self.by_x = given.x.new_zeros(given.x.shape) if wants_input else None
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
        for part in shape.kernel.sums:
            columns = table[..., self.begins[part.column] : self.begins[part.column + part.count]]
            group = self.by_group[part.stem]
            size = shape.sizes[shape.kernel.gradients.sizes[part.column]]
            mine = group[part.member * size : (part.member + part.count) * size]
            if not part.operand:
                self.add_rows(mine, columns.sum((0, 1)), part.count, size)
                continue
            for operand, first in self.operands(part.operand, begin, end):
                rows = len(operand) * shape.batch
                left = columns[first - begin : first - begin + len(operand)].reshape(rows, -1)
                right = operand.reshape(rows, -1)
                if left.shape[1] == len(mine):
                    mine.addmm_(left.t(), right)
                else:
                    self.add_rows(mine, left.t() @ right, part.count, size)
            if part.operand == shape.spec.input and self.by_x is not None:
                self.by_x[begin:end] += self.back(columns, part.stem, part.member, part.count)
        if self.by_x is not None and "by_x" in self.arrays:
            self.by_x[begin:end] += self.arrays["by_x"][begin:end, :, : shape.sizes["F"]]

    def add_rows(self, to: Tensor, found: Tensor, count: int, size: int) -> None:
        """Add padded rows to plain ones."""
        padded = found.view(count, -1, *found.shape[1:])[:, :size]
        to.view(padded.shape).add_(padded)

    def back(self, columns: Tensor, stem: str, member: int, count: int) -> Tensor:
        """The gradient by the input that comes through some members of a group."""
        shape = self.shape
        weights = [
            self.given.weights[p.name] for p in shape.spec.groups[stem][member : member + count]
        ]
        size = len(weights[0])
        parts = columns.reshape(*columns.shape[:2], count, -1)[..., :size]
        return parts.reshape(*columns.shape[:2], count * size) @ torch.cat(weights)

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
