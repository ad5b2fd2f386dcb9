"""A layer that reads from the end, or begins in states of its own; imported cells on kernels."""

import copy

import pytest
import torch
from shared import randoms, recurrent
from tolerances import EXACT
from torch.nn.utils.rnn import pack_padded_sequence

from gatework.compile import toolchain
from gatework.convert import cells
from gatework.convert.preset import Preset
from gatework.equations.transform.curves import hard_sigmoid, softsign
from gatework.errors import ShapeError

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 2, 4
LENGTHS = [3, 5, 0]


def second_direction(batch_first):
    """A layer of two directions, and one of its second direction alone, read from the end."""
    both = recurrent("peephole_lstm", FEATURES, HIDDEN, bidirectional=True, batch_first=batch_first)
    one = recurrent("peephole_lstm", FEATURES, HIDDEN, batch_first=batch_first, path="reference")
    both.path = "reference"
    with torch.no_grad():
        for name, value in one.named_parameters():
            value.copy_(getattr(both, f"{name}_reverse"))
    return both, Preset(one, reverse=True)


@pytest.mark.parametrize("form", ["whole", "lengths", "single"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_reverse_is_the_second_direction_of_a_layer_of_two(batch_first, form):
    both, preset = second_direction(batch_first)
    (x,) = randoms((BATCH, STEPS, FEATURES) if batch_first else (STEPS, BATCH, FEATURES))
    x = x[0] if form == "single" else x
    batch = () if form == "single" else (BATCH,)
    h, c = randoms(*[(1, *batch, HIDDEN)] * 2, seed=3)
    options = {"lengths": LENGTHS} if form == "lengths" else {}
    wanted, states = both(x, (torch.cat([h, h]), torch.cat([c, c])), **options)
    output, finals = preset(x, (h, c), **options)
    got = [output, *finals]
    expected = [wanted[..., HIDDEN:], *(s[1:] for s in states)]
    torch.testing.assert_close(got, expected, **EXACT)
    mine, theirs = (
        torch.autograd.grad(sum(torch.sin(p).sum() for p in parts), [x, h, c])
        for parts in (got, expected)
    )
    torch.testing.assert_close(mine, theirs, **EXACT)


def test_its_states_and_lengths_hold_unless_the_call_brings_others():
    layer = recurrent("peephole_lstm", FEATURES, HIDDEN, path="reference")
    x, h, c = randoms((STEPS, BATCH, FEATURES), *[(1, 1, HIDDEN)] * 2, requires_grad=False)
    wide = tuple(s.expand(1, BATCH, HIDDEN) for s in (h, c))
    preset = copy.deepcopy(Preset(layer, states=(h, c), lengths=torch.tensor(LENGTHS)))
    assert "states, lengths" in repr(preset)
    torch.testing.assert_close(preset(x), layer(x, wide, LENGTHS), **EXACT)
    zeros = tuple(torch.zeros_like(s) for s in wide)
    torch.testing.assert_close(preset(x, zeros, [5, 5, 5]), layer(x), **EXACT)
    torch.testing.assert_close(preset(x[:, 0]), layer(x[:, 0], (h[0], c[0])), **EXACT)
    assert set(preset.state_dict()) - set(layer.state_dict()) >= {"first_h", "first_c", "lengths"}


@pytest.mark.parametrize("batch_first", [False, True])
def test_its_states_go_to_the_rows_of_the_batch(batch_first):
    layer = recurrent("peephole_lstm", FEATURES, HIDDEN, path="reference", batch_first=batch_first)
    shape = (BATCH, STEPS, FEATURES) if batch_first else (STEPS, BATCH, FEATURES)
    x, h, c = randoms(shape, *[(1, BATCH, HIDDEN)] * 2, requires_grad=False)
    torch.testing.assert_close(Preset(layer, states=(h, c))(x), layer(x, (h, c)), **EXACT)
    one = tuple(s[:, :1] for s in (h, c))
    wide = tuple(s.expand(-1, BATCH, -1) for s in one)
    torch.testing.assert_close(Preset(layer, states=one)(x), layer(x, wide), **EXACT)
    alone = x[0] if batch_first else x[:, 0]  # a sequence without a batch has the first row's
    first = tuple(s[:, 0] for s in (h, c))
    torch.testing.assert_close(Preset(layer, states=(h, c))(alone), layer(alone, first), **EXACT)


def test_what_it_cannot_take_is_refused():
    _, preset = second_direction(False)
    (x,) = randoms((STEPS, BATCH, FEATURES))
    with pytest.raises(ShapeError, match="got a PackedSequence; pass the padded batch"):
        preset(pack_padded_sequence(x, [5, 5, 3]))
    with pytest.raises(ShapeError, match="lengths"):
        preset(x, lengths=[6, 5, 3])
    with pytest.raises(ShapeError, match="1D"):
        preset(x[0, 0])


@pytest.mark.skipif(toolchain.compiler() is None, reason="there is no C compiler")
def test_a_cell_with_every_switch_runs_on_a_kernel():
    spec = cells.lstm(hard_sigmoid, softsign, peephole=True, clip=0.8)
    layer = recurrent(spec, FEATURES, HIDDEN)
    (x,) = randoms((STEPS, BATCH, FEATURES))
    results = []
    for path in ("native", "reference"):
        layer.path = path
        output, (_, c) = layer(x)
        loss = torch.sin(output).sum() + c.sum()
        results.append([output, c, *torch.autograd.grad(loss, [x, *layer.parameters()])])
    torch.testing.assert_close(*results, **EXACT)
