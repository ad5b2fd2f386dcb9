"""Matrices that grow by outer products: what is read of them, without the matrices of all steps."""

import pytest
import torch
from shared import EveryMatrix, randoms, recurrent
from tolerances import EXACT, SINGLE

import gatework as gw
import gatework.equations as eq
from gatework import paths
from gatework.compile.outers import OfOuters, of_outers
from gatework.paths import scan
from gatework.paths.chunks import Outers, steps_of

T, B, F, H = 37, 3, 3, 11  # one whole chunk and a part of one
N, M = 3, 4  # rows and columns of a matrix


class Pairs(gw.Cell):
    """Two outer products a step; read before and after it, and as the next one would be."""

    x, h, C = eq.Input(), eq.State(), eq.State("HH")
    W_k, W_v, W_q, W_p = eq.matrix(4, x)
    w_f, w_i = eq.matrix(2, x, rows="h")
    b = eq.Vector()
    f, i = eq.tanh(w_f @ x), w_i @ x
    k, v, q = W_k @ x, W_v @ x + b, W_q @ x
    first = eq.outer(v, k)
    C_next = f * (0.5 * C + i * first - eq.outer(b, q) / (1 + i * i))
    doubled = 2 * C_next - C
    h_next = eq.times(C, q) + eq.times(C_next, eq.tanh(W_p @ x)) + eq.times(doubled, k) * v


class Twice(gw.Cell):
    """What is read of one matrix is a key of the other one."""

    x, h, C, D = eq.Input(), eq.State(), eq.State("HH"), eq.State("HH")
    W_k, W_v = eq.matrix(2, x)
    w = eq.Matrix(x, rows="h")
    k, v = W_k @ x, eq.sigmoid(W_v @ x)
    C_next = C + eq.outer(k, k) / eq.units(k)
    r = eq.tanh(eq.times(C_next, v))
    D_next = eq.sigmoid(w @ x) * D + eq.outer(r, v)
    h_next = eq.times(D_next, r) - eq.times(D, r)


def by_hand(a, pairs, matrix, q, after):
    """The loop over the steps that the matrix is defined by."""
    matrix, found = matrix.view(-1, N, M), []
    for t in range(len(a)):
        grown = sum(torch.einsum("bn,bm->bnm", u[t], v[t]) for u, v in pairs)
        later = a[t].unsqueeze(-1) * matrix + grown
        found.append(torch.einsum("bnm,bm->bn", later if after else matrix, q[t]))
        matrix = later
    return torch.stack(found), matrix.flatten(1)


def made(steps, count):
    a, first, q = randoms((steps, B, 1), (B, N * M), (steps, B, M))
    vectors = randoms(*[(steps, B, N), (steps, B, M)] * count, seed=1)
    with torch.no_grad():
        a[steps // 2, 0] = 0.0  # where nothing of before is left
    return a, first, q, vectors


def read(a, first, q, *vectors, after, steps):
    matrix = Outers(a, list(zip(vectors[::2], vectors[1::2], strict=True)), first, steps)
    return matrix.read(q, after), matrix.last


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("steps", "of_chunk", "count"), [(7, 3, 1), (8, 4, 2), (1, 5, 1)])
def test_it_is_the_loop_by_hand(steps, of_chunk, count, after):
    a, first, q, vectors = made(steps, count)
    leaves = [a, first, q, *vectors]
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    mine = read(a, first, q, *vectors, after=after, steps=of_chunk)
    theirs = by_hand(a, pairs, first, q, after)
    torch.testing.assert_close(mine, theirs, **EXACT)
    losses = [found.cos().sum() + last.sin().sum() for found, last in (mine, theirs)]
    for got, want in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


def test_it_can_be_differentiated_twice():
    a, first, q, vectors = made(3, 2)

    def run(*leaves):
        return read(*leaves, after=True, steps=2)

    assert torch.autograd.gradgradcheck(run, [a, first, q, *vectors], fast_mode=True)


def test_what_is_never_read_is_there_at_the_end():
    a, first, q, vectors = made(7, 1)
    expected = by_hand(a, [vectors], first, q, True)[1]
    torch.testing.assert_close(Outers(a, [vectors], first, 3).last, expected, **EXACT)


def test_what_is_no_number_stays_where_it_is():
    """It reaches no step before it, no other row, and none behind a factor of nought."""
    a, first, q, (u, v) = made(8, 1)
    with torch.no_grad():
        u[2, 0, 1], v[5, 1, 0], first[2, 0] = torch.nan, torch.inf, torch.nan
        a[1, 2] = 0.0
    matrix = Outers(a, [(u, v)], first, steps=8)
    after, before = (matrix.read(q, when).isnan().any(-1) for when in (True, False))
    bad = torch.zeros(8, B, dtype=torch.bool)
    bad[2:4, 0], bad[5:, 1], bad[:1, 2] = True, True, True  # the first row's a is 0 at the step 4
    assert torch.equal(after, bad)
    bad = torch.zeros(8, B, dtype=torch.bool)
    bad[3:5, 0], bad[6:, 1], bad[:2, 2] = True, True, True
    assert torch.equal(before, bad)
    assert torch.equal(matrix.last.isnan().any(-1), torch.tensor([False, True, False]))


CASES = {
    "mlstm": ("mlstm", {}),
    "mlstm in both directions": ("mlstm", {"bidirectional": True, "learned_states": True}),
    "pairs": (Pairs, {"num_layers": 2}),
    "twice": (Twice, {}),
}
STEPS = {
    "plain": {},
    "lengths": {"lengths": [T, 20, 0]},
    "resets": {"resets": torch.arange(T * B).view(T, B) % 13 == 7},
    "mask": {"mask": torch.arange(T * B).view(T, B) % 5 != 3},
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_its_steps_one_by_one(case, steps):
    cell, options = CASES[case]
    results = []
    for path in ("scan", "reference"):
        layer = recurrent(cell, F, H, path=path, **options)
        assert isinstance(of_outers(layer.spec), OfOuters)
        assert steps_of(H) < T  # more than one chunk
        x, *states = randoms((T, B, F), *(s.shape for s in layer.state(batch=B)))
        more = dict(STEPS[steps])
        if options.get("learned_states") and steps == "resets":
            more["reset_to"] = layer.state(batch=B)
        output, last = layer(x, tuple(states), **more)
        total = output.cos().sum() + sum((s.sin() * s).sum() for s in last)
        leaves = [x, *states, *(p for n, p in layer.named_parameters() if "first" not in n)]
        results.append([output, *last, *torch.autograd.grad(total, leaves, allow_unused=True)])
    for got, want in zip(*results, strict=True):
        if got is None or want is None:  # nothing reaches it
            assert not any(g is not None and g.any() for g in (got, want))
        else:
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_single_precision_is_near_double():
    layer = recurrent("mlstm", F, H)
    x = randoms((T, B, F))[0]
    wanted = torch.autograd.grad(layer(x)[0].cos().sum(), [x, *layer.parameters()])
    expected = layer(x)[0]
    layer, x = layer.float(), x.detach().float().requires_grad_()
    output = layer(x)[0]
    torch.testing.assert_close(output.double(), expected, **SINGLE)
    found = torch.autograd.grad(output.cos().sum(), [x, *layer.parameters()])
    scale = max(g.abs().max() for g in wanted)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-6 * float(scale))


def test_it_is_chosen_where_no_matrix_is_asked_for():
    layer = recurrent("mlstm", 2, 64)
    x = torch.zeros(200, 4, 2, dtype=torch.float64)  # 3.3 million numbers in all matrices
    call = layer.prepare(x)[0]
    assert paths.choose(call).name == "scan"
    recording = gw.record(layer, x[:3])
    assert recording["C_next"].shape == (3, 4, 64, 64)


class Forgets(gw.Cell):
    x, h, C = eq.Input(), eq.State(), eq.State("HH")
    W = eq.Matrix(x)
    C_next = eq.outer(W @ x, W @ x) + eq.outer(W @ x, W @ x) * 0
    h_next = eq.times(eq.tanh(C_next), W @ x) + eq.times(C, W @ x)


class Crossed(gw.Cell):
    x, h, C, D = eq.Input(), eq.State(), eq.State("HH"), eq.State("HH")
    W = eq.Matrix(x)
    C_next = C + eq.outer(W @ x, W @ x)
    D_next = D + C_next
    h_next = eq.times(D_next, W @ x)


class Averaged(gw.Cell):
    x, h, C = eq.Input(), eq.State(), eq.State("HH")
    W = eq.Matrix(x)
    C_next = C + eq.outer(W @ x, W @ x)
    h_next = eq.times(C_next, W @ x) * eq.mean(C_next)


REASONS = {
    Forgets: "h_next has a matrix that is no sum of states and outer products",
    Crossed: "D_next reads another matrix",
    Averaged: "h_next reads the matrix C_next other than by times",
    EveryMatrix: "h_next takes the times of what depends on a state",
    "min_gru": "no state is a matrix",
}


@pytest.mark.parametrize("cell", REASONS)
def test_other_cells_are_told_apart_and_run(cell):
    layer = recurrent(cell, F, 5)
    assert of_outers(layer.spec) == f"{layer.spec.name}: {REASONS[cell]}."
    x = randoms((4, 2, F))[0]
    expected = recurrent(cell, F, 5, path="reference")(x)[0]
    torch.testing.assert_close(layer(x)[0], expected, **EXACT)


def test_behind_a_reset_nothing_is_left_of_what_was_no_number():
    results = []
    for path in ("scan", "reference"):
        layer = recurrent("mlstm", F, H, path=path)
        x = randoms((T, B, F), requires_grad=False)[0]
        x[3, 1, 0] = torch.nan
        resets = torch.zeros(T, B, dtype=torch.bool)
        resets[9, 1] = True
        output, last = layer(x, resets=resets)
        assert output[3:9, 1].isnan().all()
        assert output[9:, 1].isfinite().all()
        results.append([output, *last])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, **EXACT, equal_nan=True)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("cell", ["mlstm", "min_gru"])
def test_some_steps_after_the_others_are_all_at_once(cell, steps, monkeypatch):
    layer = recurrent(cell, F, H, path="scan", bidirectional=True)
    x, *states = randoms((T, B, F), *(s.shape for s in layer.state(batch=B)))
    states = states[0] if len(states) == 1 else tuple(states)
    expected = layer(x, states, **STEPS[steps])
    parts = []
    run = scan._run_steps
    monkeypatch.setattr(scan, "AT_ONCE", 16 * B * H)
    monkeypatch.setattr(scan, "FEWEST_STEPS", 1)
    monkeypatch.setattr(scan, "_run_steps", lambda *g: parts.append(len(g[0].x)) or run(*g))
    with torch.no_grad():
        found = layer(x, states, **STEPS[steps])
    assert parts == [16, 16, 5] * 2
    torch.testing.assert_close(found, expected, **EXACT)


def test_a_skipped_step_that_is_set_anew_keeps_what_it_is_set_to():
    results = []
    for path in ("scan", "reference"):
        layer = recurrent("mlstm", F, H, path=path, learned_states=True)
        x, *origins = randoms((T, B, F), *(s.shape for s in layer.state(batch=B)))
        steps = {
            "mask": torch.arange(T * B).view(T, B) % 5 != 1,
            "resets": torch.arange(T * B).view(T, B) % 4 == 1,
        }
        output, last = layer(x, reset_to=tuple(origins), **steps)
        loss = output.cos().sum() + sum(s.sin().sum() for s in last)
        results.append(
            [output, *last, *torch.autograd.grad(loss, [x, *origins[1:]])]
        )  # no step reads h
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
