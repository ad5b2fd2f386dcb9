"""Layers of any cell with input and states, and running them on a path."""

import torch
from shared import layer_of, tuple_of

# T, B, F, H: one row and many, remainders of every tile, sizes off and on a whole vector.
SHAPES = [(1, 1, 3, 5), (2, 2, 4, 16), (50, 7, 3, 33), (5, 33, 6, 20), (3, 13, 1, 64)]


def run(layer, path, x, states, lengths, seed=0):
    """Output and final states, and the gradients of a random function of all of them."""
    layer.path = path
    torch.manual_seed(seed)  # for the masks
    output, final = layer(x, states[0] if len(states) == 1 else tuple(states), lengths=lengths)
    results = [output, *((final,) if len(states) == 1 else final)]
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}  # the same numbers in every precision
    weights = [torch.randn(r.shape, **draw).to(r.dtype) for r in results]
    loss = sum((r * w).sum() for r, w in zip(results, weights, strict=True))
    wanted = [t for t in (*layer.parameters(), x, *states) if t.requires_grad]
    # Zero by an old output that the cell does not read.
    gradients = torch.autograd.grad(loss, wanted, materialize_grads=True)
    return [r.detach() for r in results] + list(gradients)


def case(spec, shape, dtype, *layers, **options):
    """A layer, input and states: random, but positive where the cell divides by them."""
    torch.manual_seed(0)
    steps, batch, features, hidden = shape
    proj = 2 if "P" in spec.sizes else 0
    layer = layer_of(spec, features, hidden, *layers, proj_size=proj, dtype=dtype, **options)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    x = torch.randn(steps, batch, features, dtype=dtype, requires_grad=True)
    sizes = {"H": hidden, "P": proj}
    states = [torch.randn(rows, batch, sizes[s.size], dtype=dtype) for s in spec.states]
    reached = run_steps(layer, 3 * torch.randn(4, batch, features, dtype=dtype))
    states = [r + s.abs() if (r > 0).all() else s for r, s in zip(reached, states, strict=True)]
    return layer, x, [s.requires_grad_() for s in states]


@torch.no_grad()
def run_steps(layer, x):
    """The states that a cell gets to from zero."""
    path, layer.path = layer.path, "reference"
    _, states = layer(x)
    layer.path = path
    return tuple_of(states)
