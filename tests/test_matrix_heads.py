"""Heads of cells with a state that is a matrix or one number: each is a cell of its own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from shared import EveryMatrix, randoms, recurrent
from test_matrices import Delta
from tolerances import EXACT
from witnesses_lstm import matrix_inputs
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple, recurrent_step_stabilized_simple

import gatework as gw
import gatework.equations as eq
from gatework.cells import MLSTM
from gatework.compile import make_plan
from gatework.equations import transform
from gatework.equations.spec import from_text
from gatework.errors import CellError, PlanError, ShapeError
from gatework.layers.convolutional import ConvRecurrent
from gatework.read import reference
from gatework.read.table import amounts, summary

T, B, F, H, HEADS = 21, 2, 3, 12, 3
SIZE = H // HEADS


def theirs(layer, x, states=None):
    """The authors' own step with all heads, nothing added to the divisor; (T, B, H) and states."""
    weights = layer.named_weights()
    root = SIZE**0.5
    scaled = weights | {"b_k": root * weights["b_k"]}
    q, k, v, o = (x @ scaled[f"W_{s}"].T + scaled[f"b_{s}"] for s in "qkvo")
    i, f = (x @ scaled[f"w_{s}"].T + scaled[f"b_{s}"] for s in "if")
    _, C, n, m = states
    C, n, m = C.mT, n.view(B, HEADS, SIZE, 1), m.view(B, HEADS, 1, 1)
    outputs = []
    for t in range(len(x)):
        parts = [s[t].clone().view(B, HEADS, 1, SIZE) for s in (q, k, v)]  # changed in place
        gates = [s[t].view(B, HEADS, 1, 1) for s in (i, f)]
        h, (C, n, m) = recurrent_step_stabilized_simple(C, n, m, *parts, *gates, eps=0.0)
        outputs.append(o[t].sigmoid() * h.reshape(B, H))
    return torch.stack(outputs), C.mT, n.flatten(1), m.flatten(1)


@pytest.mark.parametrize("path", ["reference", "scan"])
def test_they_are_the_authors_own(path):
    layer = recurrent("mlstm", F, H, heads=HEADS, path=path)
    shapes = ((1, B, H), (1, B, HEADS, SIZE, SIZE), (1, B, H), (1, B, HEADS))
    x, *states = randoms((T, B, F), *shapes)
    output, last = layer(x, tuple(states))
    assert [tuple(s.shape) for s in last] == list(shapes)
    expected, *finals = theirs(layer, x, [s[0] for s in states])
    for got, want in zip((output, *(s[0] for s in last[1:])), (expected, *finals), strict=True):
        torch.testing.assert_close(got, want, **EXACT)
    leaves = [x, *states[1:], *layer.parameters()]
    losses = [
        output.cos().sum() + sum(s.sin().sum() for s in last[1:]),
        expected.cos().sum() + sum(s.sin().sum() for s in finals),
    ]
    for got, want in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_they_are_the_authors_parallel_form():
    layer = recurrent("mlstm", F, H, heads=HEADS)
    x = randoms((T, B, F))[0]
    weights = layer.named_weights()
    given, outputs = [], []
    for head in range(HEADS):
        units = slice(head * SIZE, (head + 1) * SIZE)
        own = {n: w[head : head + 1] if len(w) == HEADS else w[units] for n, w in weights.items()}
        *parts, o = matrix_inputs(own, x)
        given.append(parts)
        outputs.append(o)
    heads = [torch.stack(values, 2).permute(1, 2, 0, 3) for values in zip(*given, strict=True)]
    shown = parallel_stabilized_simple(*heads, eps=0.0).permute(2, 0, 1, 3).flatten(2)
    torch.testing.assert_close(layer(x)[0], torch.cat(outputs, -1) * shown, **EXACT)


class Clocked(gw.Cell):
    """One number as a state, a number beside the input, recurrent matrices, a mean, a chunk."""

    x, h, m, t = eq.Input(), eq.State(), eq.State("h"), eq.Beside()
    W, U, w, V = eq.Matrix(x), eq.Matrix(h), eq.Matrix(x, rows="h"), eq.Matrix(x, rows="F")
    b, b_m, s = eq.Vector(), eq.Vector("h"), eq.Vector(chunk=2)
    seen = eq.tanh(V @ x) * x
    m_next = eq.sigmoid(w @ seen + b_m * t) * m + eq.mean(h)
    h_next = eq.tanh(W @ x + m_next * (U @ h) + b) * s


STEPS = {
    "plain": {},
    "lengths": {"lengths": [T, 8]},
    "resets": {"resets": torch.arange(T * B).view(T, B) % 9 == 4},
    "mask": {"mask": torch.arange(T * B).view(T, B) % 4 != 2},
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("cell", ["mlstm", Delta, EveryMatrix, Clocked])
def test_each_is_a_layer_of_its_own(cell, steps):
    layer = recurrent(cell, F, H, heads=HEADS, bidirectional=True)
    assert from_text(layer.spec.text) == layer.spec != recurrent(cell, F, SIZE).spec
    x, *states = randoms((T, B, F), *(s.shape for s in layer.state(batch=B)))
    more = dict(STEPS[steps])
    if layer.beside:
        more["beside"] = {"t": randoms((T, B), requires_grad=False)[0]}
    output, last = layer(x, tuple(states), **more)
    outputs, finals = [], []
    for head in range(HEADS):
        one = recurrent(cell, F, SIZE, bidirectional=True)
        with torch.no_grad():
            for direction in (0, 1):
                whole = layer.stored(0, direction)
                for stem, to in one.stored(0, direction).items():
                    members = len(one.spec.groups[stem])
                    if one.spec.groups[stem][0].rows == "F":
                        to.copy_(whole[stem])
                    else:
                        parts = whole[stem].unflatten(0, (members, HEADS, -1))
                        to.copy_(parts[:, head].flatten(0, 1))
        mine = tuple(s[:, :, head] if s.dim() > 3 else s.chunk(HEADS, -1)[head] for s in states)
        shown, ends = one(x, mine, **more)
        outputs.append(shown.unflatten(-1, (2, -1)))
        finals.append(ends)
    torch.testing.assert_close(output, torch.cat(outputs, -1).flatten(-2), **EXACT)
    for got, *want in zip(last, *finals, strict=True):
        joined = torch.stack(want, 2) if got.dim() > 3 else torch.cat(want, -1)
        torch.testing.assert_close(got, joined, **EXACT)


@pytest.mark.parametrize("cell", ["mlstm", Clocked, EveryMatrix])
def test_a_step_in_numpy_is_that_of_the_layer(cell):
    layer = recurrent(cell, F, H, heads=HEADS)
    x, *states = randoms((1, B, F), *(s.shape for s in layer.state(batch=B)), requires_grad=False)
    beside = {name: np.full(B, 0.5) for name in layer.beside}
    more = {"beside": {n: torch.from_numpy(v)[None] for n, v in beside.items()}} if beside else {}
    recording = gw.record(layer, x, tuple(states), **more)
    weights = {n: w.detach().numpy() for n, w in layer.named_weights().items()}
    given = [s[0].numpy() for s in states]
    found = reference.step(layer.spec, weights, x[0].numpy(), *given, beside=beside or None)
    for name, value in found.items():
        np.testing.assert_allclose(value, recording[name][0].detach(), **EXACT)
    made = reference.random_weights(layer.spec, F, H)
    assert {n: w.shape for n, w in made.items()} == {n: w.shape for n, w in weights.items()}
    short = {n: w[: H - 1] if len(w) == H else w for n, w in weights.items()}
    with pytest.raises(ShapeError, match="divided into 3 heads"):
        reference.step(layer.spec, short, x[0].numpy(), *given, beside=beside or None)


def test_they_go_through_stacks_streams_copies_and_segments():
    layer = recurrent("mlstm", F, H, 2, heads=HEADS, zoneout={"C": 0.5, "m": 0.5})
    layer.eval()
    x = randoms((T, B, F))[0]
    output, last = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], output)
    stream = layer.stream(B)
    outputs = torch.stack([stream.step(row) for row in x])
    torch.testing.assert_close(outputs, output, **EXACT)
    segmented = recurrent("mlstm", F, H, 2, heads=HEADS, checkpoint=4)
    plain = recurrent("mlstm", F, H, 2, heads=HEADS)
    grads = [torch.autograd.grad(one(x)[0].cos().sum(), x)[0] for one in (segmented, plain)]
    torch.testing.assert_close(*grads, **EXACT)
    torch.manual_seed(0)
    layer.train()
    begun = tuple(torch.ones_like(s) for s in last)
    kept = layer(x[:1], begun)[1]
    assert 0.2 < (kept.C == 1).double().mean() < 0.8
    learned = recurrent("mlstm", F, H, heads=HEADS, learned_states=True)
    assert learned.first_C.shape == (1, HEADS, SIZE, SIZE)


def test_they_compile_whole():
    torch._dynamo.reset()
    layer = recurrent("mlstm", F, H, heads=2)
    x = randoms((T, B, F))[0]
    output, states = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close((output, states[1]), (layer(x)[0], layer(x)[1].C), **EXACT)


def test_what_they_cost():
    spec = transform.heads(MLSTM, 4)
    assert str(amounts(spec)[0]) == "4 F H + 8 F + 4 H + 8"
    layer = recurrent("mlstm", F, 12, heads=4)
    assert amounts(spec)[0].at({"F": F, "H": 12}) == sum(p.numel() for p in layer.parameters())
    assert "1/4 H²" in str(amounts(spec)[1])
    assert "w   2 x (4 x F)" in summary(spec)


def test_what_cannot_be_is_told():
    spec = transform.heads(MLSTM, HEADS)
    with pytest.raises(ShapeError, match="10 units cannot be divided into 3 heads"):
        gw.Recurrent(spec, F, 10)
    with pytest.raises(CellError, match="there are heads already"):
        transform.heads(spec, 2)
    with pytest.raises(PlanError, match="has no kernel"):
        make_plan(spec)
    with pytest.raises(ShapeError, match="run in a Recurrent alone"):
        ConvRecurrent(spec, F, H, 3)
