"""The final output of any layer, read from its states."""

import pytest
import torch
from shared import each_cell, recurrent
from wrapped import (
    FEATURES,
    HIDDEN,
    LENGTHS,
    Smooth,
    batch,
    check_same,
    mixed,
    same,
)

import gatework as gw
from gatework.errors import LayerError, ShapeError


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_final_output_is_the_last_and_the_first_step(cell, bidirectional):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=bidirectional)
    x = batch()
    output, states = layer(x, lengths=LENGTHS)
    size = layer.output_size // (1 + bidirectional)
    ends = [output[n - 1, row] for row, n in enumerate(LENGTHS)]
    expected = torch.stack(
        [torch.cat([e[:size], output[0, row, size:]]) for row, e in enumerate(ends)]
    )
    check_same(gw.final_output(layer, states), expected, [x])
    same(gw.Pool.after(layer, "last")(output, LENGTHS), expected)
    _, last = layer(x[:, 1])
    same(gw.final_output(layer, last), expected[1])


def test_what_are_no_states_is_refused():
    layer = gw.LSTM(2, 4, 2, bidirectional=True)
    output, states = layer(torch.randn(5, 3, 2))
    for wrong in (output, (output, states), states[0][:2], states[0][..., :3]):
        with pytest.raises(ShapeError, match="These are no states of LSTM: expected \\(4, B, 4"):
            gw.final_output(layer, wrong)
    with pytest.raises(LayerError, match=r"\(layer, states\), got Tensor"):
        gw.final_output(output, states)
    with pytest.raises(LayerError, match="Smooth has no num_layers"):
        gw.final_output(Smooth(2), states)
    stack = mixed(residual=True)
    with pytest.raises(LayerError, match="goes around the last layer"):
        gw.final_output(stack, stack(batch(4))[1])
    for made in (gw.GRU(4, 4, residual=True), gw.Recurrent("mgu", 4, 4, residual=True)):
        with pytest.raises(LayerError, match="goes around the last layer"):
            gw.final_output(made, made(batch(4).float())[1])
    with pytest.raises(ShapeError, match="are a pair"):
        gw.final_output(stack.layers[2], output)
    with pytest.raises(ShapeError, match="as many entries"):
        gw.final_output(mixed(), states)
