"""What tests over images share: a layer, a ConvLSTM by hand, and ``Recurrent`` at each place."""

import torch
from shared import randoms, tuple_of
from tolerances import EXACT
from torch.utils._pytree import tree_map

import gatework as gw
from gatework.cells import resolve

STEPS, BATCH, CHANNELS, HIDDEN, PROJECTED = 3, 2, 2, 3, 2
SPACE = (3, 4)
DOUBLE = {"dtype": torch.float64}


def make(cell, kernel_size=3, dims=2, seed=0, **options):
    torch.manual_seed(seed)
    if "P" in resolve(cell).sizes:
        options["proj_channels"] = PROJECTED
    options = {"image_size": (1,) * dims, **DOUBLE, **options}
    return gw.ConvRecurrent(cell, CHANNELS, HIDDEN, kernel_size, dims, **options)


def images(*space, steps=STEPS, batch=BATCH, **options):
    return randoms((steps, batch, CHANNELS, *space), **options)[0]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def loss(tensors):
    return sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in tensors)


def gradients(tensors, leaves):
    return torch.autograd.grad(loss(tensors), leaves)


def conv_lstm(x, first, weights, convolve, dilation=1, seen=None, resets=None, origins=None):
    """Equation 3 of Shi et al. 2015, gate by gate; peepholes only where there are any.

    Args:
        x: (T, B, C, *space).
        first: h and c, (B, H, *space) each.
        weights: the parameters of a layer by name.
        convolve: torch's convolution.
        dilation: of its kernel.
        seen: (T, B), where states go on.
        resets: (T, B), before which steps they are set to the origins.
        origins: h and c, zero where not given.
    """
    W, U, b = (weights[n].chunk(4) for n in ("W_l0", "U_l0", "b_l0"))
    peephole_i, peephole_f, peephole_o = weights.get("p_l0", torch.zeros(3)).chunk(3)
    h, c = first
    at = (x.shape[1], *(1,) * (x.dim() - 2))
    seen = torch.ones(x.shape[:2]) > 0 if seen is None else seen
    resets = torch.zeros(x.shape[:2]) > 0 if resets is None else resets
    origins = [torch.zeros_like(h), torch.zeros_like(c)] if origins is None else origins

    def gate(number, inside, h):
        padding = [dilation * (k // 2) for k in W[0].shape[2:]]
        options = {"padding": padding, "dilation": dilation}
        from_x = convolve(inside, W[number], b[number], **options)
        return from_x + convolve(h, U[number], **options)

    outputs, cells = [], []
    columns = [values.view(-1, *at) for values in (resets, seen)]
    for step, begins, goes_on in zip(x, *columns, strict=True):
        h, c = torch.where(begins, origins[0], h), torch.where(begins, origins[1], c)
        i = torch.sigmoid(gate(0, step, h) + peephole_i * c)
        f = torch.sigmoid(gate(1, step, h) + peephole_f * c)
        c_new = f * c + i * torch.tanh(gate(2, step, h))
        o = torch.sigmoid(gate(3, step, h) + peephole_o * c_new)
        h = torch.where(goes_on, o * torch.tanh(c_new), h)
        c = torch.where(goes_on, c_new, c)
        outputs.append(torch.where(goes_on, h, 0.0))
        cells.append(torch.where(goes_on, c, 0.0))
    return torch.stack(outputs), h, c, torch.stack(cells)


def as_batch(x):
    """(T, B, C, *space) to (T, B * places, C), of a matrix (T, B, C, C, *space) to one row."""
    return x.flatten(2, -1 - len(SPACE)).movedim(2, -1).flatten(1, -2)


def middle(value, dim):
    """A parameter's places without those of its kernel or image but the middle."""
    while value.dim() > dim:
        value = value[..., value.shape[-1] // 2]
    return value


# What a layer is told of steps, each as (T, B); resets at the first step and where none is seen.
LENGTHS = {"lengths": torch.tensor([2, STEPS])}
MASK = {"mask": torch.tensor([[1, 0], [0, 1], [1, 1]]) > 0}
RESETS = {"resets": torch.tensor([[0, 1], [1, 0], [0, 1]]) > 0}
TIMES = {"beside": {"t": torch.tensor([[0.1, 0.2], [0.4, 0.5], [0.9, 1.6]]).double()}}


def check_places(cell, kernel_size, space, told, has_origins=False, **options):
    """A layer over images is ``Recurrent`` at each place: all that comes out, and gradients.

    The image has one place, or the kernel.
    """
    options |= {"bidirectional": True, "num_layers": 2}
    layer = make(cell, kernel_size, **options).eval()
    size = {"proj_size": PROJECTED} if "P" in resolve(cell).sizes else {}
    flat = gw.Recurrent(cell, CHANNELS, HIDDEN, path="reference", **size, **DOUBLE, **options)
    with torch.no_grad():
        for name, parameter in flat.eval().named_parameters():
            own = getattr(layer, name).uniform_(-0.6, 0.6)  # also where a start makes them equal
            parameter.copy_(middle(own, parameter.dim()))
    x = images(*space)
    places = x[0, 0, 0].numel()
    repeated = tree_map(lambda v: v.repeat_interleave(places, v.dim() - 1), told)
    origins, theirs = [], []
    if has_origins:
        shapes = [(4, BATCH, *s.shape[2:]) for s in layer.state(batch=1)]
        shapes = [(*shape[: -len(space)], *space) for shape in shapes]
        origins = randoms(*shapes, seed=2)
        rows = [s.shape[2:] for s in flat.state(batch=1)]
        theirs = [as_batch(o).unflatten(2, row) for o, row in zip(origins, rows, strict=True)]
        told, repeated = told | {"reset_to": origins}, repeated | {"reset_to": theirs}
    output, states, steps = layer(x, **told, return_states=True)
    expected, finals, wanted = flat(as_batch(x), **repeated, return_states=True)
    got = [as_batch(v) for v in (output, *tuple_of(states), *steps.named().values())]
    wanted = [v.flatten(2) for v in (expected, *tuple_of(finals), *wanted.named().values())]
    same(got, wanted)
    parameters = dict(flat.named_parameters())
    mine = gradients(got, [x, *origins, *(getattr(layer, name) for name in parameters)])
    truth = gradients(wanted, [x, *origins, *parameters.values()])
    count = 1 + len(origins)
    same(mine[:count], truth[:count])
    same(
        [middle(a, b.dim()) for a, b in zip(mine[count:], truth[count:], strict=True)],
        truth[count:],
    )
    gates, others = gw.record(layer, x, **told).named(), gw.record(flat, as_batch(x), **repeated)
    assert gates.keys() == others.named().keys()
    same(map(as_batch, gates.values()), [v.flatten(2) for v in others.named().values()])
