"""What several test files need: the catalogue as a parameter, and layers of any of its cells."""

import pytest
import torch

import gatework as gw
from gatework.cells import all_cells, name_of, resolve

CELLS = all_cells()
each_cell = pytest.mark.parametrize("cell", CELLS, ids=name_of)


def projection(cell, size=2):
    """The proj_size argument for a cell that needs one."""
    return {"proj_size": size} if "P" in resolve(cell).sizes else {}


def recurrent(cell, *sizes, seed=0, **options):
    """A float64 layer with weights of a known seed."""
    torch.manual_seed(seed)
    return gw.Recurrent(cell, *sizes, dtype=torch.float64, **projection(cell), **options)


def tuple_of(states):
    """States as a tuple, also where there is only one."""
    return (states,) if isinstance(states, torch.Tensor) else tuple(states)


def randoms(*shapes, seed=0, requires_grad=True):
    """Float64 normal tensors."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_(requires_grad)
        for s in shapes
    ]
