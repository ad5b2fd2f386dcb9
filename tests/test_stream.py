"""Streams: step by step what the layer gives over the whole sequence."""

import pytest
import shared
import torch
from shared import CELLS, EveryPrimitive
from tolerances import SINGLE

import gatework as gw
from gatework.compile.emit_c import NUMBERS
from gatework.equations import Cell, Input, Matrix, State, Vector, tanh
from gatework.errors import ShapeError
from gatework.paths import kernel_shape


class Skip(Cell):
    """Reads the input elementwise."""

    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    v = Vector("F")
    h_next = tanh(W @ (v * x) + U @ h)


class Tagged(torch.Tensor):
    """What may stand for something else."""


def layer_of(cell, **options):
    torch.manual_seed(0)
    proj = {"proj_size": 3} if "P" in cell.spec.sizes else {}
    return shared.layer_of(cell, 5, 20, **proj, **options)


def stepped(stream, x):
    return torch.stack([stream.step(one) for one in x])


@pytest.mark.parametrize("cell", [*CELLS, EveryPrimitive, Skip], ids=lambda c: c.__name__)
@pytest.mark.parametrize("path", ["auto", "reference"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_is_the_layer_over_the_whole_sequence(cell, path, batch):
    layer = layer_of(cell, num_layers=2, path=path)
    x = torch.randn(12, batch, 5)
    with torch.no_grad():
        output, states = layer(x)
    stream = layer.stream(batch)
    torch.testing.assert_close(stepped(stream, x), output, **SINGLE)
    torch.testing.assert_close(stream.states, states, **SINGLE)
    stream.reset()
    torch.testing.assert_close(stepped(stream, x), output, **SINGLE)


@pytest.mark.parametrize("made", [gw.LSTM, gw.GRU, gw.RNN])
def test_drop_ins_stream_too(made):
    layer = made(4, 16, num_layers=2, batch_first=True, dropout=0.5, dtype=torch.float64)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    stream = layer.stream(batch=3)
    layer_out = layer.eval()(x)[0].detach()
    layer.train()
    torch.testing.assert_close(stepped(stream, x.transpose(0, 1)).transpose(0, 1), layer_out)


def test_one_sequence_needs_no_batch_axis():
    stream = gw.LSTM(4, 16).stream()
    assert stream.step(torch.randn(4)).shape == (16,)
    assert stream.step(torch.randn(1, 4)).shape == (1, 16)


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_a_stream_goes_on_from_given_states_and_notices_new_weights(path):
    layer = gw.Recurrent("peephole_lstm", 4, 16, path=path)
    x = torch.randn(8, 1, 4)
    with torch.no_grad():
        _, middle = layer(x[:4])
        rest, _ = layer(x[4:], middle)
    stream = layer.stream()
    stream.states = middle
    torch.testing.assert_close(stepped(stream, x[4:]), rest, **SINGLE)
    stream.reset()
    before = stepped(stream, x[:4])
    with torch.no_grad():
        layer.U_l0.mul_(3)
        after, _ = layer(x[4:], middle)
    torch.testing.assert_close(stepped(stream, x[4:]), after, **SINGLE)
    stream.reset()
    assert not torch.allclose(stepped(stream, x[:4]), before)


def test_what_a_stream_gives_is_the_callers_own():
    stream = gw.Recurrent("peephole_lstm", 4, 16).stream()
    first = stream.step(torch.ones(4))
    kept = first.clone()
    h, _ = stream.states
    h.zero_()
    first.zero_()
    stream.step(torch.ones(4))
    stream.reset()
    assert torch.equal(stream.step(torch.ones(4)), kept)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(2, 4), r"is \(1, 4\) = \(B, F\), got \(2, 4\)"),
        (torch.zeros(3), r"got \(1, 3\)"),
        (torch.zeros(4, dtype=torch.float64), "is torch.float32, got torch.float64"),
        (torch.zeros(4, device="meta"), "plain tensor on the CPU, got one on meta"),
        (Tagged(torch.zeros(4)), "plain tensor on the CPU, got a stand-in, Tagged"),
        ([0.0] * 4, "is a tensor, got list"),
    ],
)
def test_a_wrong_step_is_refused(x, reason):
    with pytest.raises(ShapeError, match=reason):
        gw.Recurrent("peephole_lstm", 4, 16).stream().step(x)


def test_the_threads_are_torch_s_of_now(monkeypatch):
    monkeypatch.setattr(kernel_shape, "WORTH_A_THREAD", 1)
    layer, x, before = gw.LSTM(4, 200), torch.randn(6, 1, 4), torch.get_num_threads()
    with torch.no_grad():
        want, _ = layer(x)
    stream = layer.stream()
    try:
        for one, expected, threads in zip(x, want, (1, 3, 1, 2, 2, 1), strict=True):
            torch.set_num_threads(threads)
            torch.testing.assert_close(stream.step(one), expected, **SINGLE)
            (step,) = stream._steps
            assert dict(zip(NUMBERS, step.numbers, strict=True))["C"] == threads
    finally:
        torch.set_num_threads(before)


def test_what_cannot_stream_says_so():
    with pytest.raises(ShapeError, match="second direction begins at the end"):
        gw.LSTM(4, 16, bidirectional=True).stream()
    with pytest.raises(ShapeError, match="batch is a whole number"):
        gw.LSTM(4, 16).stream(0)


@pytest.mark.parametrize("change", [lambda w: w.data.mul_(2), lambda w: w.detach().numpy().fill(0)])
def test_weights_that_change_without_a_new_version_are_noticed(change):
    layer = gw.LSTM(4, 16)
    stream = layer.stream()
    stream.step(torch.ones(4))
    change(layer.weight_hh_l0)
    before = stream.states
    with torch.no_grad():
        want, _ = layer(torch.ones(1, 1, 4), before)
    torch.testing.assert_close(stream.step(torch.ones(4)), want[0, 0], **SINGLE)


def test_refresh_reads_the_weights_and_keeps_the_states():
    layer = gw.LSTM(4, 16)
    stream = layer.stream()
    stream.step(torch.ones(4))
    layer.weight_hh_l0.detach().numpy()[1, 1] += 5
    stream.refresh()
    with torch.no_grad():
        want, _ = layer(torch.ones(1, 1, 4), stream.states)
    torch.testing.assert_close(stream.step(torch.ones(4)), want[0, 0], **SINGLE)
