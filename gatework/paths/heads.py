"""Heads of a cell with a state that is a matrix or one number: cells on parts of the units.

Head k of n has the units k*H/n up to (k+1)*H/n, rows and numbers of its own, and sees the same
input as the others. So each is a layer of H/n units beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from gatework.equations import Spec
from gatework.equations.spec import from_text
from gatework.paths.call import Given
from gatework.paths.layerwise import RunSteps, Steps


def apart(run: RunSteps) -> RunSteps:
    """The same for cells that have heads: each runs as a cell of its own."""

    def run_heads(given: Sequence[Given], record: bool) -> list[Steps]:
        count = given[0].spec.heads
        if count == 1:
            return run(given, record)
        found = run([head for one in given for head in split(one)], record)
        return [joined(one.spec, found[i * count : (i + 1) * count]) for i, one in enumerate(given)]

    return run_heads


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _of_one(cell: str) -> Spec:
    """The cell of one head, by the text of that with all; making it is nothing to trace."""
    return of_one(from_text(cell))


@lru_cache(maxsize=64)
def of_one(spec: Spec) -> Spec:
    """The cell of one head."""
    parameters = tuple(replace(p, blocks=1) for p in spec.parameters)
    return replace(spec, heads=1, parameters=parameters)


def split(given: Given) -> list[Given]:
    """What each head is given."""
    spec, count = given.spec, given.spec.heads
    one, brought = _of_one(spec.text), set(spec.beside)

    def parts(tensor: Tensor, axis: int = -1) -> list[Tensor]:
        return [part.contiguous() for part in tensor.chunk(count, axis)]

    first = {name: parts(state) for name, state in given.first.items()}
    masks = {  # what a call brings is one number for all heads
        name: [mask] * count if name in brought or mask.shape[-1] == 1 else parts(mask)
        for name, mask in given.masks.items()
    }
    groups = {stem: _rows(spec, stem, group) for stem, group in given.groups.items()}
    return [
        replace(
            given,
            spec=one,
            first={name: each[head] for name, each in first.items()},
            masks={name: each[head] for name, each in masks.items()},
            groups={stem: each[head] for stem, each in groups.items()},
        )
        for head in range(count)
    ]


def _rows(spec: Spec, stem: str, group: Tensor) -> list[Tensor]:
    """The part of each head in a parameter group; of recurrent matrices its own block."""
    members, count = spec.groups[stem], spec.heads
    if members[0].rows == "F":
        return [group] * count
    apart = group.reshape(len(members), count, -1, *group.shape[1:]).unbind(1)
    found = [part.flatten(0, 1) for part in apart]
    if members[0].cols == "H":
        found = [part.chunk(count, 1)[head].contiguous() for head, part in enumerate(found)]
    return found


def joined(spec: Spec, found: Sequence[Steps]) -> Steps:
    """The equations and final states of all heads side by side."""
    sizes = {e.name: e.size for e in spec.equations}
    every, finals = zip(*found, strict=True)
    steps = {
        name: every[0][name]
        if sizes[name] in ("F", "f")
        else torch.cat([one[name] for one in every], -1)
        for name in every[0]
    }
    return steps, tuple(torch.cat(states, -1) for states in zip(*finals, strict=True))
