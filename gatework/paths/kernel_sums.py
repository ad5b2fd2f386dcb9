"""Gradients by parameters and input: large products over all rows of some steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatework.equations.spec import NEXT
from gatework.paths.packing import by_name

if TYPE_CHECKING:
    from gatework.paths.kernel_run import Run


class Sums:
    """What the steps bring to the gradients, added up.

    Attributes:
        by_group: the gradients by the parameter groups.
        by_x: that by the input, (T, B, F), if it is wanted.
    """

    def __init__(self, run: Run, arrays: Mapping[str, Tensor], wants_input: bool) -> None:
        self.run, self.arrays, self.weights = run, arrays, by_name(run.spec, run.groups)
        self.by_group = {stem: torch.zeros_like(run.groups[stem]) for stem in run.spec.groups}
        self.by_x = run.x.new_zeros(run.x.shape) if wants_input else None
        self.begins = [0]  # of the columns of the gradients, padded
        for size in run.kernel.gradients.sizes:
            self.begins.append(self.begins[-1] + run.padded[size])
        self.sequences = {
            s.name: arrays[f"seq_{s.name}"][..., : run.sizes[s.size]] for s in run.spec.states
        }

    def add(self, begin: int, end: int) -> None:
        """Add what the steps ``begin .. end`` bring."""
        run = self.run
        table = self.arrays["gradients"][: end - begin]
        for part in run.kernel.sums:
            columns = table[..., self.begins[part.column] : self.begins[part.column + part.count]]
            group = self.by_group[part.stem]
            size = run.sizes[run.kernel.gradients.sizes[part.column]]
            mine = group[part.member * size : (part.member + part.count) * size]
            if not part.operand:
                self.add_rows(mine, columns.sum((0, 1)), part.count, size)
                continue
            for operand, first in self.operands(part.operand, begin, end):
                rows = len(operand) * run.batch
                left = columns[first - begin : first - begin + len(operand)].reshape(rows, -1)
                right = operand.reshape(rows, -1)
                if left.shape[1] == len(mine):
                    mine.addmm_(left.t(), right)
                else:
                    self.add_rows(mine, left.t() @ right, part.count, size)
            if part.operand == run.spec.input and self.by_x is not None:
                self.by_x[begin:end] += self.back(columns, part.stem, part.member, part.count)
        if self.by_x is not None and "by_x" in self.arrays:
            self.by_x[begin:end] += self.arrays["by_x"][begin:end, :, : run.sizes["F"]]

    def add_rows(self, to: Tensor, found: Tensor, count: int, size: int) -> None:
        """Add padded rows to plain ones."""
        padded = found.view(count, -1, *found.shape[1:])[:, :size]
        to.view(padded.shape).add_(padded)

    def back(self, columns: Tensor, stem: str, member: int, count: int) -> Tensor:
        """The gradient by the input that comes through some members of a group."""
        run = self.run
        weights = [self.weights[p.name] for p in run.spec.groups[stem][member : member + count]]
        size = len(weights[0])
        parts = columns.reshape(*columns.shape[:2], count, -1)[..., :size]
        return parts.reshape(*columns.shape[:2], count * size) @ torch.cat(weights)

    def operands(self, name: str, begin: int, end: int) -> Iterator[tuple[Tensor, int]]:
        """What a matrix multiplied in some steps: parts (steps, B, size), and where they begin."""
        run, spec = self.run, self.run.spec
        if name == spec.input:
            yield run.x[begin:end], begin
        elif name in self.sequences:
            if begin == 0:
                yield run.first[name].unsqueeze(0), 0
                begin = 1
            if begin < end:
                yield self.sequences[name][begin - 1 : end - 1], begin
        elif states := [s.name for s in spec.states if run.plan.values[s.name + NEXT] == name]:
            yield self.sequences[states[0]][begin:end], begin
        else:
            place = run.columns(run.kernel.saved)[name]
            yield self.arrays["saved"][begin:end, :, place], begin
