"""What the tests of wrappers share: layers to be wrapped, and results compared."""

import torch
from shared import randoms
from tolerances import EXACT
from torch import nn

import gatework as gw

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 2, 4
LENGTHS = [3, 5, 1]
DOUBLE = {"dtype": torch.float64}


def batch(features=FEATURES, **options):
    return randoms((STEPS, BATCH, features), **options)[0]


def flat(states):
    """Nested states as a list of tensors."""
    return [states] if isinstance(states, torch.Tensor) else [t for s in states for t in flat(s)]


def same(got, expected):
    for a, b in zip(flat(got), flat(expected), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def check_same(got, expected, leaves):
    same(got, expected)
    same(*(torch.autograd.grad(loss(flat(t)), leaves, retain_graph=True) for t in (got, expected)))


def loss(tensors):
    return sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in tensors)


class Smooth(nn.Module):
    """A user's own layer: a running mean with a learned rate, without lengths."""

    def __init__(self, size, batch_first=False):
        super().__init__()
        self.rate = nn.Parameter(torch.empty(size, **DOUBLE))
        self.batch_first = batch_first
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.uniform_(self.rate, 0.1, 0.9)

    def forward(self, x, h=None):
        steps = x.unbind(1 if self.batch_first else 0)
        h, outputs = torch.zeros_like(steps[0]) if h is None else h, []
        for step in steps:
            h = h + self.rate * (step - h)
            outputs.append(h)
        return torch.stack(outputs, 1 if self.batch_first else 0), h


class Listens(Smooth):
    """The same with lengths, which does not care for its padding."""

    def forward(self, x, h=None, lengths=None):
        outputs, _ = super().forward(x, h)
        rows = torch.arange(len(lengths)) if lengths is not None else slice(None)
        return outputs, outputs[-1 if lengths is None else lengths - 1, rows]


def mixed(**options):
    """Different cells and directions, all of the width of the input."""
    torch.manual_seed(0)
    layers = [
        gw.Recurrent("peephole_lstm", 4, 4),
        gw.GRU(4, 2, bidirectional=True),
        gw.Bidirectional("mgu", 4, 4, merge="mean"),
    ]
    return gw.Stack(layers, **options).double()
