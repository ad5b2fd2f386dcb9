"""``lengths=``: a batch of unequal sequences is each sequence run alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from shared import EveryPrimitive, beside_of, each_cell, randoms, recurrent, tuple_of
from tolerances import EXACT
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_pairs import BATCH, FEATURES, HIDDEN, KINDS, STEPS, make

import gatework as gw
from gatework.paths import PATHS, SCAN, choose
from gatework.read import reference

LENGTHS = (3, 5, 0, 1, 5)
LONGEST = max(LENGTHS)
NAN = float("nan")
each_path = pytest.mark.parametrize("path", [p.name for p in PATHS])
# No cell of torch is linear.
each_path_of_torch_cells = pytest.mark.parametrize("path", [p.name for p in PATHS if p is not SCAN])
both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])


def supported(layer, **options):
    """The layer, if its path can run it; else the test is skipped with the reason."""
    call, _ = layer.prepare(torch.zeros(1, 1, FEATURES, dtype=torch.float64), **options)
    for path in PATHS:
        if path.name == layer.path and (reason := path.supports(call)):
            pytest.skip(reason)
    return layer


def states_of(layer, batch, seed=5):
    """Random initial states of the right sizes."""
    return randoms(*(z.shape for z in tuple_of(layer.state(batch=batch))), seed=seed)


def padded(fill):
    """A batch whose padding holds ``fill``, as a leaf."""
    x = randoms((LONGEST, len(LENGTHS), FEATURES), requires_grad=False)[0]
    for column, length in enumerate(LENGTHS):
        x[length:, column] = fill
    return x.requires_grad_()


def weighted(output, finals):
    """A loss that gives every output and state of every sequence its own weight."""
    return sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in (output, *finals))


def together(layer, x, states):
    output, finals = layer(x, states if len(states) > 1 else states[0], lengths=list(LENGTHS))
    return output, tuple_of(finals)


def alone(layer, x, states):
    """Each sequence in a call of its own; what has no step is zero and keeps its states."""
    outputs, finals = [], []
    for column, length in enumerate(LENGTHS):
        own = tuple(s[:, column : column + 1] for s in states)
        if length:
            given = own if len(own) > 1 else own[0]
            output, own = layer(x[:length, column : column + 1], given)
            padding = output.new_zeros(LONGEST - length, *output.shape[1:])
            outputs.append(torch.cat([output, padding]))
        else:
            width = outputs[0].shape[-1]
            outputs.append(x.new_zeros(LONGEST, 1, width))
        finals.append(tuple_of(own))
    return torch.cat(outputs, 1), tuple(torch.cat(s, 1) for s in zip(*finals, strict=True))


def check_against_alone(layer):
    x, states = padded(NAN), states_of(layer, len(LENGTHS))
    leaves = [x, *states, *layer.parameters()]
    output, finals = together(layer, x, states)
    expected, expected_finals = alone(layer, x, states)
    torch.testing.assert_close(output, expected, **EXACT)
    for a, b in zip(finals, expected_finals, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    got = torch.autograd.grad(weighted(output, finals), leaves)
    truth = torch.autograd.grad(weighted(expected, expected_finals), leaves)
    for a, b in zip(got, truth, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    for column, length in enumerate(LENGTHS):  # not even a NaN in the padding may be seen
        assert not output[length:, column].any()
        assert not got[0][length:, column].any()


@each_cell
@each_path
@both_ways
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_batch_is_its_sequences_alone(cell, path, bidirectional, num_layers):
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    check_against_alone(supported(recurrent(cell, FEATURES, HIDDEN, path=path, **options)))


@pytest.mark.parametrize("kind", KINDS)
@each_path_of_torch_cells
@both_ways
def test_a_drop_in_s_batch_is_its_sequences_alone(kind, path, bidirectional):
    check_against_alone(make(kind, num_layers=2, bidirectional=bidirectional, path=path)[1])


@pytest.mark.parametrize("kind", KINDS)
@each_path_of_torch_cells
def test_lengths_are_torch_s_packing(kind, path):
    theirs, ours = make(kind, num_layers=2, bidirectional=True, batch_first=True, path=path)
    x = randoms((BATCH, STEPS, FEATURES))[0]
    lengths = torch.tensor([2, 4, 1])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, finals = theirs(packed)
    output, _ = pad_packed_sequence(output, batch_first=True)
    got, got_finals = ours(x, lengths=lengths)
    torch.testing.assert_close(got, output, **EXACT)
    for a, b in zip(tuple_of(got_finals), tuple_of(finals), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@each_path_of_torch_cells
def test_full_lengths_are_no_lengths(path):
    layer = recurrent("gru", FEATURES, HIDDEN, 2, bidirectional=True, path=path)
    x = randoms((STEPS, BATCH, FEATURES))[0]
    torch.testing.assert_close(layer(x, lengths=[STEPS] * BATCH), layer(x), **EXACT)


@each_path_of_torch_cells
def test_one_sequence_may_have_a_length(path):
    layer = recurrent("lstm", FEATURES, HIDDEN, path=path)
    x = randoms((STEPS, FEATURES))[0]
    output, states = layer(x, lengths=[2])
    torch.testing.assert_close((output[:2], states), layer(x[:2]), **EXACT)
    assert output.shape == (STEPS, HIDDEN)
    assert not output[2:].any()


@each_path_of_torch_cells
@both_ways
def test_a_batch_of_empty_sequences_keeps_its_states_and_trains_nothing(path, bidirectional):
    layer = recurrent("lstm", FEATURES, HIDDEN, path=path, bidirectional=bidirectional)
    x = torch.full((STEPS, BATCH, FEATURES), NAN, dtype=torch.float64)
    states = states_of(layer, BATCH)
    output, finals = layer(x, states, lengths=[0] * BATCH)
    assert not output.any()
    for state, final in zip(states, finals, strict=True):
        assert torch.equal(state, final)
    (output.sum() + sum(f.sum() for f in finals)).backward()
    assert not any(p.grad.any() for p in layer.parameters())


def test_a_cell_with_every_primitive_keeps_to_its_lengths():
    check_against_alone(recurrent(EveryPrimitive, FEATURES, HIDDEN, 2, bidirectional=True))


@each_path_of_torch_cells
@both_ways
def test_dropout_between_layers_keeps_to_the_lengths(path, bidirectional):
    options = {"dropout": 0.5, "bidirectional": bidirectional, "path": path}
    layer = recurrent("gru", FEATURES, HIDDEN, 2, **options)
    torch.manual_seed(0)
    output, _ = layer(padded(NAN), lengths=list(LENGTHS))
    torch.manual_seed(0)
    assert torch.equal(output, layer(padded(1.0), lengths=list(LENGTHS))[0])
    assert not torch.equal(output, layer.eval()(padded(NAN), lengths=list(LENGTHS))[0])


# Recording: every gate of every step, also with lengths and both directions.


@each_cell
def test_recorded_gates_are_those_of_the_numpy_step(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True)
    x = padded(NAN)
    call = replace(layer.prepare(x, lengths=list(LENGTHS))[0], record=True)
    result = choose(call).run(call)
    torch.testing.assert_close(result.output, layer(x, lengths=list(LENGTHS))[0], **EXACT)
    recorded = gw.record(layer, x, lengths=list(LENGTHS)).rows
    assert len(result.recorded) == len(recorded) == 4
    below = x.detach()
    for number in (0, 1):
        both = recorded[2 * number : 2 * number + 2]
        for direction, gates in enumerate(both):
            assert list(gates) == [e.name for e in cell.spec.equations]
            _check_recorded(
                cell.spec, layer.named_weights(number, direction), x, below, gates, direction
            )
        below = torch.cat([g[f"{cell.spec.states[0].name}_next"] for g in both], -1)


def _check_recorded(spec, weights, given, x, gates, backward):
    weights = {n: w.detach().numpy() for n, w in weights.items()}
    for column, length in enumerate(LENGTHS):
        shapes = [gates[f"{s.name}_next"].shape[2:] for s in spec.states]
        states = [np.zeros(shape) for shape in shapes]
        order = range(length)[::-1] if backward else range(length)
        for t in order:
            row, beside = x[t, column].detach().numpy(), beside_of(spec, given[t, column])
            step = reference.step(spec, weights, row, *states, beside=beside)
            for name, value in step.items():
                recorded = gates[name][t, column].detach()
                torch.testing.assert_close(recorded, torch.from_numpy(value), **EXACT)
            states = [step[f"{s.name}_next"] for s in spec.states]
        assert not any(g[length:, column].any() for g in gates.values())
