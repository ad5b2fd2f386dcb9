"""One step of a stack at a time, with everything that can be set up beforehand set up."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatework.equations import Spec
from gatework.paths.call import Given
from gatework.paths.kernel_run import Run, addresses, brought
from gatework.paths.kernel_shape import Shape
from gatework.paths.packing import Library
from gatework.paths.team import team


class KernelStep:
    """One layer; its states lie in two buffers that change places at every step.

    Args:
        library: the kernel.
        groups: the parameter groups by stem.
        masks: the masks at their mean, by name.
        states: the first states, (B, size) each, in the order of the cell's states.
        features: the size of the input.
        stride: the distance between rows of the input.
    """

    def __init__(
        self,
        library: Library,
        groups: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        states: Sequence[Tensor],
        features: int,
        stride: int,
    ) -> None:
        spec: Spec = library.kernel.plan.spec
        batch = states[0].shape[0]
        x = states[0].new_zeros(1, batch, stride)[..., :features]
        first = dict(zip((s.name for s in spec.states), states, strict=True))
        with torch.inference_mode(False), torch.no_grad():
            given = Given(spec, x, first, groups, masks)
            shape = Shape(library, given, keep=False)
            self.buffers = [
                [shape.pad(s, symbol.size).clone(), shape.pad(s, symbol.size).clone()]
                for s, symbol in zip(states, spec.states, strict=True)
            ]
            run = Run(shape, x)
            # All that is pointed at; the states and the input come with every step.
            self.arrays = {
                **run.own,
                **brought(shape, given, library.kernel.forward_reads),
                **run.weights(given),
            }
            # Elementwise the kernel reads whole vectors, which a step of the caller's may not hold.
            self.padded_x = self.arrays.get("x")
            self.features = features
        self.numbers = shape.numbers
        self.sizes = [s.shape[-1] for s in states]
        self.forward = library.forward
        self.at = 0  # which buffers hold the states
        self.team = team()
        names = library.kernel.forward_arrays
        self.tables = [self.table(spec, names, before) for before in (0, 1)]
        self.pointers = [addresses([table]) for table in self.tables]
        self.sizes_at = addresses([self.numbers])
        self.place_of_x = names.index("rows_x")

    def table(self, spec: Spec, names: Sequence[str], before: int) -> ctypes.Array[ctypes.c_void_p]:
        """The arrays of a step that reads one of the two buffers and writes the other."""
        found = {n: a.data_ptr() for n, a in self.arrays.items()}
        for state, pair in zip(spec.states, self.buffers, strict=True):
            found[f"first_{state.name}"] = pair[before].data_ptr()
            found[f"seq_{state.name}"] = pair[1 - before].data_ptr()
        return (ctypes.c_void_p * len(names))(*(found.get(n, 0) for n in names))

    def step(self, x: Tensor) -> Tensor:
        """One step on an input (B, stride); the output, with its padding."""
        table = self.tables[self.at]
        table[self.place_of_x] = x.data_ptr()
        if self.padded_x is not None:
            self.padded_x[0, :, : self.features] = x[:, : self.features]
        self.forward(1, self.sizes_at, self.pointers[self.at], self.team)
        self.at = 1 - self.at
        return self.buffers[0][self.at]

    def states(self) -> list[Tensor]:
        """The states as they are now, (B, size) each."""
        pairs = zip(self.buffers, self.sizes, strict=True)
        return [pair[self.at][:, :size].clone() for pair, size in pairs]
