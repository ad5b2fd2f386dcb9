"""Every cell learns on every path that runs it: the adding problem, in short.

Hochreiter & Schmidhuber 1997, Neural Computation 9(8), experiment 4: a row has two features, a
random number and a marker; two of its steps are marked, and the target is the sum of their
numbers.
"""

import pytest
import torch
from shared import each_cell, layer_of, projection
from torch import nn

from gatework import paths

STEPS, BATCH, HIDDEN, TURNS, ENDS = 10, 32, 8, 50, 10


def adding(generator):
    """Rows (T, B, 2) and their targets (B,)."""
    numbers = torch.rand(STEPS, BATCH, generator=generator, dtype=torch.float64)
    marked = torch.rand(STEPS, BATCH, generator=generator).argsort(0) < 2
    return torch.stack([numbers, marked.double()], -1), (numbers * marked).sum(0)


def trained(cell, path):
    """A layer, and the mean squared error of each training step, each on rows of its own."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    options = {"path": path, "dtype": torch.float64} | projection(cell, HIDDEN // 2)
    layer = layer_of(cell, 2, HIDDEN, **options)
    head = nn.Linear(layer.output_size, 1, dtype=torch.float64)
    optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    call, _ = layer.prepare(adding(generator)[0])
    if reason := next(p for p in paths.PATHS if p.name == path).supports(call):
        pytest.skip(reason)
    errors = []
    for _ in range(TURNS):
        x, target = adding(generator)
        error = (head(layer(x)[0][-1]).squeeze(-1) - target).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    return layer, torch.tensor(errors)


@pytest.mark.parametrize("path", [p.name for p in paths.PATHS])
@each_cell
def test_the_error_falls(cell, path):
    layer, errors = trained(cell, path)
    assert errors.isfinite().all()
    assert errors[-ENDS:].mean() < errors[:ENDS].mean()
    # A head alone would bring the error down too, to that of the mean: so all weights must learn.
    assert [name for name, p in layer.named_parameters() if not p.grad.any()] == []


def test_the_problem_is_the_one_of_the_paper():
    x, target = adding(torch.Generator().manual_seed(0))
    numbers, marks = x.unbind(-1)
    assert (marks.sum(0) == 2).all()
    assert ((numbers >= 0) & (numbers < 1)).all()
    for row in range(BATCH):
        first, second = numbers[marks[:, row] == 1, row]
        torch.testing.assert_close(target[row], first + second)
