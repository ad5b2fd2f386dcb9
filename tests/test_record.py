"""Recording a layer: the shapes of its input, the path that was asked for, what it refuses."""

import pytest
import torch
from shared import each_cell, randoms, recurrent
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import gatework as gw
from gatework.equations.sizes import shape_of
from gatework.errors import CellError, GateworkError, PathError, ShapeError

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 2, 4


def batch(*shape):
    """An input without a gradient."""
    return randoms(shape, requires_grad=False)[0]


@each_cell
def test_one_sequence_is_recorded_without_a_batch_axis(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, num_layers=2, bidirectional=True)
    x = batch(STEPS, FEATURES)
    sizes = {e.name: e.size for e in layer.spec.equations}
    alone, among = gw.record(layer, x), gw.record(layer, x.unsqueeze(1))
    for number in range(4):
        one, many = alone.at(number // 2, number % 2), among.at(number // 2, number % 2)
        assert list(one) == list(many)
        for name, values in one.items():
            assert values.shape == (STEPS, *shape_of(sizes[name], {"H": HIDDEN, "P": 2}))
            assert torch.equal(values, many[name][:, 0])
    output, _ = layer(x)
    first = f"{layer.spec.states[0].name}_next"
    both = torch.cat([alone.at(1, d)[first] for d in (0, 1)], dim=-1)
    torch.testing.assert_close(both, output)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_axes_are_those_of_the_input(batch_first):
    layer = gw.LSTM(FEATURES, HIDDEN, batch_first=batch_first, dtype=torch.float64)
    x = batch(STEPS, BATCH, FEATURES)
    given = x.transpose(0, 1) if batch_first else x
    assert gw.record(layer, given)["f"].shape == (*given.shape[:2], HIDDEN)
    assert gw.record(layer, x[:, 0])["f"].shape == (STEPS, HIDDEN)
    packed = pack_sequence([x[:2, 0], x[:, 1]], enforce_sorted=False)
    assert gw.record(layer, packed)["f"].shape == (STEPS, 2, HIDDEN)


def test_initial_states_of_one_sequence():
    layer = recurrent("gru", FEATURES, HIDDEN)
    x, h = batch(STEPS, FEATURES), batch(1, HIDDEN)
    torch.testing.assert_close(gw.record(layer, x, h)["h_next"], layer(x, h)[0])
    with pytest.raises(ShapeError, match="unbatched 2-D"):
        gw.record(layer, x, h.unsqueeze(1))


def test_a_path_that_shows_no_gates_is_refused_and_not_exchanged():
    layer = recurrent("lstm", FEATURES, HIDDEN, path="vendor")
    with pytest.raises(PathError, match=r"vendor: .*gate.* Set layer.path = 'auto' to record it"):
        gw.record(layer, batch(STEPS, BATCH, FEATURES))


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_the_other_paths_record(path):
    layer = recurrent("lstm", FEATURES, HIDDEN, path=path)
    assert gw.record(layer, batch(STEPS, BATCH, FEATURES))["i"].shape == (STEPS, BATCH, HIDDEN)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_layer_of_torch_is_refused_with_the_way_to_convert_it(kind):
    """The way that the error names is gone, too."""
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    layer = getattr(nn, kind)(FEATURES, HIDDEN, **options)
    x = torch.randn(BATCH, STEPS, FEATURES)
    with pytest.raises(GateworkError) as caught:
        gw.record(layer, x)
    assert f"torch.nn.{kind} does not show its gates. Make a gatework.{kind}" in str(caught.value)
    assert "load_state_dict(layer.state_dict())" in str(caught.value)
    mine = getattr(gw, kind)(FEATURES, HIDDEN, **options)
    mine.load_state_dict(layer.state_dict())
    recording = gw.record(mine, x)
    both = torch.cat([recording.at(1, d)["h_next"] for d in (0, 1)], dim=-1)
    torch.testing.assert_close(both, layer(x)[0])


@pytest.mark.parametrize("what", [nn.Linear(2, 2), gw.LSTMCell(2, 2), gw.LSTM, None])
def test_what_is_no_layer_over_sequences_is_refused(what):
    with pytest.raises(CellError, match=r"record takes a layer over sequences .*, got \w+"):
        gw.record(what, torch.randn(STEPS, 2))


def test_an_equation_that_is_not_there():
    recording = gw.record(recurrent("gru", FEATURES, HIDDEN), batch(STEPS, FEATURES))
    assert list(recording) == ["r", "z", "n", "h_next"]
    shapes = ", ".join(f"{name} ({STEPS}, {HIDDEN})" for name in recording)
    assert repr(recording) == f"Recording(GRU, 1 x ({shapes}))"  # no numbers, which are many
    with pytest.raises(CellError, match="GRU has no 'f' at every step; it has r, z, n, h_next"):
        recording["f"]
