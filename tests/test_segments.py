"""Training in segments that are made again: the same numbers, the same random draws."""

import pytest
import torch
from shared import recurrent
from tolerances import EXACT

import gatework as gw
from gatework.equations import Input, Mask, Matrix, State, tanh
from gatework.errors import PathError

T, B, F, H = 11, 3, 3, 4


def trained(layer, x, hx=None, **options):
    """Output, final states and all gradients."""
    torch.manual_seed(5)
    output, states = layer(x, hx, **options)
    states = states if isinstance(states, tuple) else (states,)
    loss = output.square().sum() + sum(s.sin().sum() for s in states)
    leaves = [x, *(hx or ()), *layer.parameters()]
    return output, states, torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("path", ["native", "reference", "vendor"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("lengths", [None, [11, 4, 0]])
def test_segments_change_no_number(path, directions, lengths):
    make = {"bidirectional": directions == 2, "dtype": torch.float64, "path": path}
    layer = gw.LSTM(F, H, 2, **make)
    hx = tuple(torch.randn(2 * directions, B, H, dtype=torch.float64) for _ in range(2))
    hx = tuple(s.requires_grad_() for s in hx)
    x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    plain = trained(layer, x, hx, lengths=lengths)
    for steps in ("sqrt", 1, 5, T, 100):
        layer.checkpoint = steps
        if directions == 1:
            assert "Segments" in str(layer(x)[0].grad_fn)
        torch.testing.assert_close(trained(layer, x, hx, lengths=lengths), plain, **EXACT)


@pytest.mark.parametrize("each", ["step", "sequence"])
def test_the_second_run_draws_what_the_first_one_drew(each):
    class Masked(gw.Cell):
        """Drops the new value at some units."""

        x, h = Input(), State()
        W, U = Matrix(x), Matrix(h)
        keep = Mask(0.5, 2.0, each)
        h_next = tanh(W @ x + U @ h) * keep + 0.5 * h

    layer = recurrent(Masked, F, H, 2, dropout=0.5, checkpoint=3).train()
    x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    output, _, gradients = trained(layer, x)

    def loss(values):
        torch.manual_seed(5)
        found, state = layer(values)
        return found.square().sum() + state.sin().sum()

    for place in ((0, 0, 0), (4, 1, 2), (10, 2, 1)):
        nudge = torch.zeros_like(x)
        nudge[place] = 1e-6
        slope = (loss(x + nudge) - loss(x - nudge)) / 2e-6
        torch.testing.assert_close(gradients[0][place], slope.detach(), rtol=1e-5, atol=1e-7)
    assert trained(layer, x)[0].equal(output)
    if each == "sequence":  # the same units are dropped in every segment
        out, _ = recurrent(Masked, F, H, checkpoint=3).train()(x)
        dropped = (out == 0).all(0)
        assert 0 < dropped.sum() < dropped.numel()
        assert (out != 0).all(0)[~dropped].all()


def test_segments_go_with_resets_and_masks_and_are_left_out_where_states_are_kept():
    layer = gw.Recurrent("gru", F, H, 2, dtype=torch.float64)
    x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    options = {"resets": torch.rand(T, B) < 0.3, "mask": torch.rand(T, B) < 0.7}
    plain = trained(layer, x, **options)
    layer.checkpoint = "sqrt"
    torch.testing.assert_close(trained(layer, x, **options), plain, **EXACT)
    torch.testing.assert_close(layer(x, return_states=True)[2].at(1)["h"], layer(x)[0], **EXACT)
    assert repr(gw.GRU(F, H, checkpoint="sqrt")) == "GRU(3, 4, checkpoint='sqrt')"


def test_a_second_derivative_and_odd_numbers_are_refused():
    layer = gw.GRU(F, H, checkpoint="sqrt")
    x = torch.randn(T, B, F, requires_grad=True)
    (by_x,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_x.sum().backward()
    with pytest.raises(PathError, match=r"checkpoint='sqrt' runs neither in torch.func nor"):
        torch.func.grad(lambda x: layer(x)[0].sum())(x)
    for wrong in (0, -1, True, "root", 2.5):
        with pytest.raises(PathError, match="checkpoint is None, 'sqrt' or a number of steps"):
            gw.GRU(F, H, checkpoint=wrong)
