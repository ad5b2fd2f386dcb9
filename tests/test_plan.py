"""The compiler's plans: forward and gradient against autograd of the reference, in float64."""

import pytest
import torch
from plan_steps import Follower
from shared import COMPILED, EveryPrimitive, LayerNormPeephole, Masked
from tolerances import EXACT

from gatework.compile import make_plan
from gatework.equations import (
    Cell,
    Constant,
    Input,
    Matrix,
    State,
    Vector,
    abs_,
    exp,
    log,
    relu,
    sigmoid,
    softplus,
    sqrt,
    square,
    tanh,
)
from gatework.equations.sizes import width_of
from gatework.equations.spec import NEXT
from gatework.errors import PlanError
from gatework.read import reference

T, B, F, H, P = 5, 3, 4, 6, 2


class ThreeStages(Cell):
    """A second and a third stage, products of sums and of the input, values read across stages."""

    x, h, c = Input(), State(), State()
    A, D = Matrix(x), Matrix(h)
    M, N = Matrix(h), Matrix(h)
    G = Matrix(x, rows="F")
    s, v = Vector(), Vector("F")
    beta = Constant(0.7)

    a = sigmoid(A @ (x * v + G @ x) + D @ h)
    b = tanh(M @ (a * h)) / (1.5 + square(a))
    e = relu(N @ (b * c) - 0.1) + softplus(b) * (2 - beta)
    k = exp(-abs_(c)) + log(1 + c * c) + sqrt(1 + h * h)
    c_next = a * c + (1 - a) * e
    h_next = s * tanh(c_next) + 0.1 * k - b


OWN = (EveryPrimitive, ThreeStages, LayerNormPeephole, Masked)
CELLS = [c.spec for c in (*COMPILED, *OWN)]


def inputs(spec):
    generator = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    sizes = {"F": F, "H": H, "P": P}
    weights = {p.name: 0.5 * make(*(width_of(s, sizes) for s in p.shape)) for p in spec.parameters}
    states = {s.name: make(B, width_of(s.size, sizes)) for s in spec.states}
    masks = {m.name: make(B, width_of(m.size, sizes)) for m in spec.masks}
    return weights, make(T, B, F), states, masks


def by_autograd(spec, weights, x, states, masks, out):
    leaves = [t.clone().requires_grad_() for t in (*weights.values(), x, *states.values())]
    named = dict(zip(weights, leaves, strict=False))
    now = dict(zip(states, leaves[len(named) + 1 :], strict=True))
    step = reference.compiled(spec, "torch")
    loss, seen = 0.0, []
    for t in range(T):
        gates = step(leaves[len(named)][t], *now.values(), *masks.values(), *named.values())
        now = {name: gates[name + NEXT] for name in now}
        seen.append({name: v.detach() for name, v in now.items()})
        loss = loss + sum((v * out[t][name]).sum() for name, v in now.items())
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    filled = [
        torch.zeros_like(a) if g is None else g for a, g in zip(leaves, gradients, strict=True)
    ]
    count = len(named)
    return seen, dict(zip(named, filled, strict=False)), filled[count], filled[count + 1 :]


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_plan_is_the_reference_and_its_gradient(spec):
    weights, x, states, masks = inputs(spec)
    generator = torch.Generator().manual_seed(1)
    out = [
        {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in states.items()}
        for _ in range(T)
    ]
    follower = Follower(make_plan(spec), weights, x, states, masks)
    ran = follower.forward()
    total, by_x, first = follower.backward(out)
    seen, expected, expected_x, expected_states = by_autograd(spec, weights, x, states, masks, out)
    for got, want in zip(ran, seen, strict=True):
        for name in want:
            torch.testing.assert_close(got[name], want[name], **EXACT)
    for name, want in expected.items():
        torch.testing.assert_close(total[name], want, **EXACT)
    torch.testing.assert_close(by_x, expected_x, **EXACT)
    for name, want in zip(states, expected_states, strict=True):
        torch.testing.assert_close(first[name], want, **EXACT)


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_nothing_is_computed_twice(spec):
    plan = make_plan(spec)
    step, back = ([let for s in half for let in s.lets] for half in (plan.stages, plan.backward))
    assert {*plan.recomputed} <= {*step}
    keys = [(let.op, let.args) for let in (*step, *back)]
    assert len(keys) == len(set(keys))


def test_stages_and_what_is_saved():
    by_name = {c.__name__: make_plan(c.spec) for c in COMPILED}
    assert len(by_name["LSTM"].stages) == 1
    assert len(by_name["GRUResetBefore"].stages) == 2  # a product of r * h
    assert len(by_name["ProjectedLSTM"].stages) == 2
    # The gates and tanh(c): five values; the states are at hand anyway.
    assert set(by_name["LSTM"].saved) > {"i", "f", "g", "o"}
    assert len(by_name["LSTM"].saved) == 5
    assert by_name["RNN"].saved == ()


class Idle(Cell):
    """Some of it is multiplied by nought, so it is computed nowhere."""

    x, h = Input(), State()
    W, U, V, b = Matrix(x), Matrix(h), Matrix(x), Vector()
    a = tanh(V @ x)
    h_next = tanh(W @ x + U @ h) + 0 * (V @ x + b) * a


class Constantly(Cell):
    """An equation that is nought whatever comes."""

    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    a = 0 * (W @ x)
    h_next = tanh(U @ h) + a


def test_what_nobody_reads_is_left_out():
    plan = make_plan(Idle.spec)
    assert [let.op for let in plan.stages[0].lets] == ["tanh", "tanh"]  # a is an equation
    assert plan.saved == ()
    assert plan.vector_gradients == {"b": 0.0}
    with pytest.raises(PlanError, match="Constantly: a is 0 whatever its input"):
        make_plan(Constantly.spec)
