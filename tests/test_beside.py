"""Numbers that come with each call beside the input, such as the times of the steps."""

import json
from dataclasses import replace

import pytest
import torch
import witnesses_lstm
from agreement import gradients, leaves, problem
from shared import beside_of, randoms, recurrent, tuple_of
from tolerances import EXACT
from torch.nn.utils.rnn import pack_sequence

import gatework as gw
from gatework.cells import resolve
from gatework.equations import Beside, Cell, Input, Matrix, State, Vector, tanh
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import CellError, DataError, ShapeError
from gatework.read import reference

T, B, F, H = 6, 3, 2, 4
CELL = "phased_lstm"


class Decaying(Cell):
    """A state that fades with the time since the last step; two numbers, one of them negative."""

    x, h = Input(), State()
    since, push = Beside(), Beside()
    W, U, d = Matrix(x), Matrix(h), Vector(start=(0.5, 1.0))
    h_next = tanh(W @ x + U @ h + push) + h / (1 + since * d * d)


def layer_of(cell=CELL, **options):
    torch.manual_seed(0)
    return gw.Recurrent(cell, F, H, dtype=torch.float64, **options)


def case(rows=B, **options):
    """A layer with periods about 1, an input and times."""
    layer = recurrent(CELL, F, H, **options)
    (x,) = randoms((T, rows, F))
    return layer, x, 3 * torch.rand(T, rows, dtype=torch.float64).cumsum(0)


def same(got, expected):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def everything(layer, x, states=None, **options):
    output, finals = layer(x, states, **options)
    values = [output, *tuple_of(finals)]
    flat = torch.cat([v.flatten() for v in values])
    wanted = [x, *layer.parameters()]
    return values + list(torch.autograd.grad(flat.sin().sum(), wanted, materialize_grads=True))


@pytest.mark.parametrize("path", ["native", "reference"])
@pytest.mark.parametrize("r", [0.05, 0.5, 0.9])
def test_the_rhythm_is_the_paper_s_for_any_part_that_is_open(path, r):
    spec = replace(resolve(CELL), constants=(("r", r), ("alpha", 0.1)))
    weights, x, states = given = problem(CELL)
    layer = gw.Recurrent(spec, x.shape[-1], states[0].shape[-1], dtype=torch.float64, path=path)
    groups = {
        f"{stem}_l0": torch.cat([weights[p.name] for p in members])
        for stem, members in spec.groups.items()
    }
    hx = tuple(s.unsqueeze(0) for s in states)
    beside = beside_of(spec, x, witnesses_lstm.RATE)
    output, finals = torch.func.functional_call(layer, groups, (x, hx), {"beside": beside})
    computed = output, tuple(s[0] for s in finals)
    expected = witnesses_lstm.phased(*given, r=r, alpha=0.1)
    same([computed[0], *computed[1]], [expected[0], *expected[1]])
    assert len(leaves(*given)) == len(weights) + 3
    same(gradients(computed, given), gradients(expected, given))


@pytest.mark.parametrize("path", ["native", "reference"])
def test_times_come_in_the_form_of_the_input(path):
    layer, x, t = case(path=path, num_layers=2, bidirectional=True)
    output, states = layer(x, beside={"t": t})
    layer.batch_first = True
    turned, finals = layer(x.transpose(0, 1), beside={"t": t.T})
    same([turned.transpose(0, 1), *finals], [output, *states])
    alone, _ = layer(x[:, 1], beside={"t": t[:, 1]})
    same([alone], [output[:, 1]])
    whole = t.round().to(torch.int64)
    same([layer(x[:, 1], beside={"t": whole[:, 1]})[0]],
         [layer(x[:, 1], beside={"t": whole[:, 1].double()})[0]])  # fmt: skip


@pytest.mark.parametrize("path", ["native", "reference"])
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_padding_may_hold_anything_and_is_turned_with_the_rest(path, checkpoint):
    layer, x, t = case(path=path, num_layers=2, bidirectional=True, checkpoint=checkpoint)
    lengths = [4, T, 0]
    dirty = t.clone()
    dirty[4:, 0] = dirty[:, 2] = torch.nan
    clean = everything(layer, x, lengths=lengths, beside={"t": t})
    same(everything(layer, x, lengths=lengths, beside={"t": dirty}), clean)
    same([layer(x[:4, 0], beside={"t": t[:4, 0]})[0]], [clean[0][:4, 0]])
    mask = torch.arange(T).unsqueeze(1) != 2
    dirty = torch.where(mask, t, torch.nan)
    seen = mask.expand(T, B)
    skipping = everything(layer, x, mask=seen, beside={"t": dirty})
    kept = [n for n in range(T) if n != 2]
    same([layer(x[kept], beside={"t": t[kept]})[0]], [skipping[0][kept]])


@pytest.mark.parametrize("path", ["native", "reference"])
def test_steps_streams_and_records_take_their_times(path):
    layer, x, t = case(path=path, num_layers=2)
    output, states, sequences = layer(x, beside={"t": t}, return_states=True)
    state, stream, outputs = None, layer.stream(B), []
    for row, time in zip(x, t, strict=True):
        out, state = layer.step(row, state, {"t": time})
        same([stream.step(row, {"t": time})], [out])
        outputs.append(out)
    same([torch.stack(outputs), *state, *stream.states], [output, *states, *states])
    alone = layer.stream()
    same([alone.step(x[0, 0], {"t": t[0, 0]})], [output[0, 0]])
    same([layer.step(x[0, 0], None, {"t": t[0, 0]})[0]], [output[0, 0]])
    found = gw.record(layer, x, beside={"t": t})
    same([found["h_next"]], [sequences["h"]])
    assert found["k"].shape == (T, B, H)
    assert (found["k"] > 0.05).any() and (found["k"] < 0.01).any()  # noqa: PT018


def test_several_numbers_in_a_stack_of_widths():
    torch.manual_seed(0)
    layer = gw.Recurrent(Decaying, F, [4, 3], dtype=torch.float64)
    (x,) = randoms((T, B, F))
    since, push = torch.rand(2, T, B, dtype=torch.float64) - 0.2
    below = layer.each()[0](x, beside={"push": push, "since": since})[0]
    above = layer.each()[1](below, beside={"since": since, "push": push})[0]
    same([layer(x, beside={"since": since, "push": push})[0]], [above])
    w, h = layer.each()[0].named_weights(), torch.zeros(B, 4, dtype=torch.float64)
    for at in range(T):
        fade = 1 + since[at].unsqueeze(-1) * w["d"].square()
        h = torch.tanh(x[at] @ w["W"].T + h @ w["U"].T + push[at].unsqueeze(-1)) + h / fade
        same([below[at]], [h])


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, T, 0])], ids=["whole", "lengths"])
def test_a_whole_graph_takes_times(lengths):
    torch._dynamo.reset()
    layer, x, t = case()

    def run(x, t):
        return layer(x, lengths=lengths, beside={"t": t})[0]

    want = run(x, t)
    got = torch.compile(run, backend="aot_eager", fullgraph=True)(x, t)
    leaves_ = [x, *layer.parameters()]
    same([got, *torch.autograd.grad(got.sin().sum(), leaves_)],
         [want, *torch.autograd.grad(want.sin().sum(), leaves_)])  # fmt: skip


RIGHT = torch.zeros(T, B, dtype=torch.float64)
WRONG = {
    "nothing": (None, r"reads a number for each step as t beside the input, got nothing\. Pass"),
    "another": ({"t": RIGHT, "u": RIGHT}, "got t, u"),
    "rows": ({"t": RIGHT[:, :1]}, r"beside\['t'\] has a real number for each step, \(6, 3\)"),
    "truth": ({"t": RIGHT > 0}, "real number.*got torch.bool"),
    "gradient": ({"t": RIGHT.clone().requires_grad_()}, r"no gradient by .*Pass t\.detach\(\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name):
    beside, message = WRONG[name]
    with pytest.raises(ShapeError, match=message):
        layer_of()(torch.zeros(T, B, F, dtype=torch.float64), beside=beside)


def test_what_takes_no_times_says_so():
    with pytest.raises(ShapeError, match=r"reads nothing beside the input, got t\. Leave"):
        layer_of("gru")(torch.zeros(T, B, F, dtype=torch.float64), beside={"t": RIGHT})
    with pytest.raises(ShapeError, match=r"PackedSequence has its lengths.*beside=\. Pad it"):
        layer_of()(pack_sequence([torch.zeros(3, F).double()]), beside={"t": RIGHT})
    with torch.no_grad(), pytest.raises(ShapeError, match="got nothing"):
        layer_of().stream(B).step(torch.zeros(B, F, dtype=torch.float64))
    with pytest.raises(DataError, match="reads t beside its input"):
        gw.Forecaster(cell=CELL, epochs=1).fit(torch.arange(200.0).sin().numpy())
    weights = reference.random_weights(CELL, F, H)
    rows = [[0.0] * F, [0.0] * H, [0.0] * H]
    with pytest.raises(CellError, match=r"PhasedLSTM reads t beside the input, got nothing\."):
        reference.step(CELL, weights, *rows)
    with pytest.raises(CellError, match="of a number"):

        class Wrong(Cell):
            x, h, t = Input(), State(), Beside()
            W, U = Matrix(x), Matrix(h)
            h_next = tanh(W @ x + U @ t)


def test_a_saved_cell_knows_what_comes_beside():
    for spec in (resolve(CELL), Decaying.spec):
        again = from_dict(json.loads(json.dumps(to_dict(spec))))
        assert again == spec
        assert again.beside == spec.beside != ()
        assert [p.start for p in again.parameters] == [p.start for p in spec.parameters]
        assert again.biases == spec.biases
    without = replace(resolve(CELL), masks=())
    assert without != resolve(CELL)


def test_starts_are_drawn_between_their_two_numbers():
    layer = gw.Recurrent(CELL, 2, 500, 2, init="orthogonal", bias=False)
    for number in (0, 1):
        s, q = (layer.named_weights(number)[name] for name in "sq")
        assert 0 <= s.min() < 20
        assert 980 < s.max() <= 1000
        assert 0 <= q.min() < 0.15
        assert 6.75 < q.max() <= 6.9
        assert not layer.named_weights(number)["b_i"].any()
    for start, message in (
        ((1, 0), "between a lower and a higher"),
        ((1,), "declares nothing"),
        ((0, "1"), "declares nothing"),
        ((0, float("inf")), "finite"),
    ):
        with pytest.raises(CellError, match=message):
            Vector(start=start)
