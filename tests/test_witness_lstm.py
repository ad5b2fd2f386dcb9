"""The LSTM family: numbers that others have published, and states that begin at zero."""

import pytest
import torch
from agreement import ours, problem
from shared import randoms, recurrent
from tolerances import EXACT, SINGLE
from witnesses_lstm import PUBLISHED, matrix_inputs, xlstm
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple
from xlstm.blocks.slstm.src.vanilla import slstm_forward, slstm_pointwise_function_registry

from gatework.cells import resolve


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_step_gives_what_tensorflow_has_published(name):
    x, h, c, *expected = (torch.tensor(v, dtype=torch.float64) for v in PUBLISHED[name])
    spec, sizes = resolve(name), {"F": x.shape[-1], "H": h.shape[-1]}
    weights = {}
    for p in spec.parameters:
        value = {"b_f": 1.0}.get(p.name, float(p.name.startswith("gamma")))
        shape = [sizes[letter] for letter in p.shape]
        weights[p.name] = torch.full(shape, 0.5 if p.cols else value, dtype=x.dtype)
    _, after = ours(spec, weights, x[None], (h, c))
    for got, want in zip(after, expected, strict=True):
        torch.testing.assert_close(got, want, **SINGLE)


def slstm_from_zero(run, shift=0.0):
    """Outputs from states of zero, their gradients by weights and input, and the final states."""
    weights, x, states = problem("slstm")
    moved = weights | {"b_i": weights["b_i"] + shift}
    output, last = run(moved, x, tuple(torch.zeros_like(s) for s in states))
    factors = torch.linspace(-1, 1, output.numel(), dtype=x.dtype).view_as(output)
    return output, torch.autograd.grad((output * factors).sum(), [*weights.values(), x]), last


def test_slstm_from_states_of_zero_is_the_authors_own():
    spec = resolve("slstm")
    output, gradients, (_, c, n, m) = slstm_from_zero(lambda *given: ours(spec, *given))
    expected, theirs, (_, c_, n_, m_) = slstm_from_zero(xlstm)
    torch.testing.assert_close(output, expected, **EXACT)
    for got, want in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(got, want, **EXACT)
    # Theirs leaves the first m of zero out of the maximum: other factors, the same product.
    assert not torch.equal(m, m_)
    for got, want in ((c * m.exp(), c_ * m_.exp()), (n * m.exp(), n_ * m_.exp())):
        torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("path", ["native", "reference"])
def test_slstm_of_four_heads_is_the_authors_own(path):
    """Theirs are all gates of a head, head after head."""
    features, units, heads = 3, 12, 4
    layer = recurrent("slstm", features, units, heads=heads, path=path)
    x, *states = randoms((5, 2, features), *[(2, units)] * 4)
    weights = layer.named_weights()
    blocks = layer.U_l0.view(4, heads, units // heads, -1).transpose(0, 1).flatten(1, 2)
    sums = x @ torch.cat([weights[f"W_{k}"] for k in "ifzo"]).T
    pointwise = slstm_pointwise_function_registry["slstm"]
    every, last, _ = slstm_forward(sums, torch.stack(states), blocks, layer.b_l0, pointwise)
    output, final = layer(x, tuple(s[None] for s in states))
    leaves = [x, *states, *layer.parameters()]
    found = [output, *(s[0] for s in final)]
    found += torch.autograd.grad(sum(r.sin().sum() for r in found), leaves)
    wanted = [every[0, 1:], *last]
    wanted += torch.autograd.grad(sum(r.sin().sum() for r in wanted), leaves)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, **EXACT)


def test_slstm_does_not_overflow():
    """A shift of all input gates is a factor of c and n, which their quotient does not see."""
    run = lambda *given: ours(resolve("slstm"), *given)
    output, gradients, _ = slstm_from_zero(run)
    shifted, moved, (_, c, n, _) = slstm_from_zero(run, shift=1024.0)  # exp of it is infinite
    torch.testing.assert_close(shifted, output, **EXACT)
    for got, want in zip(moved, gradients, strict=True):
        torch.testing.assert_close(got, want, **EXACT)
    assert c.isfinite().all()
    assert n.isfinite().all()


def mlstm_from_zero(run, shift=0.0):
    """Outputs of the mLSTM from states of zero and their gradients by weights and input."""
    weights, x, states = problem("mlstm")
    moved = weights | {"b_i": weights["b_i"] + shift}
    output = run(moved, x, tuple(torch.zeros_like(s) for s in states))
    factors = torch.linspace(-1, 1, output.numel(), dtype=x.dtype).view_as(output)
    return output, *torch.autograd.grad((output * factors).sum(), [*weights.values(), x])


def as_attention(weights, x, states):
    """The authors' parallel form: all steps at once, with no memory at all."""
    *given, o = matrix_inputs(weights, x)
    given = [value.movedim(0, 1)[:, None] for value in given]  # (B, heads, T, units)
    return o * parallel_stabilized_simple(*given, eps=0.0)[:, 0].movedim(1, 0)


def as_written(weights, x, states):
    """The paper's equations without the stabiliser, by hand."""
    size = len(weights["b_q"])
    C, n, outputs = 0.0, 0.0, []
    for row in x:
        q, k, v, o = (row @ weights[f"W_{s}"].T for s in "qkvo")
        q, k = q + weights["b_q"], k / size**0.5 + weights["b_k"]
        v, o = v + weights["b_v"], torch.sigmoid(o + weights["b_o"])
        i = torch.exp(row @ weights["w_i"][0] + weights["b_i"])
        f = torch.sigmoid(row @ weights["w_f"][0] + weights["b_f"])
        C = f[:, None, None] * C + i[:, None, None] * torch.einsum("br,bc->brc", v, k)
        n = f[:, None] * n + i[:, None] * k
        divisor = (n * q).sum(1).abs().clamp(min=1)
        outputs.append(o * torch.einsum("brc,bc->br", C, q) / divisor[:, None])
    return torch.stack(outputs)


def reference_mlstm(*given):
    return ours(resolve("mlstm"), *given)[0]


@pytest.mark.parametrize("witness", [as_attention, as_written])
def test_mlstm_from_states_of_zero(witness):
    for got, want in zip(mlstm_from_zero(reference_mlstm), mlstm_from_zero(witness), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


def test_mlstm_does_not_overflow():
    """Far above 1 a shift of all input gates is a factor that the quotient does not see."""
    found = mlstm_from_zero(reference_mlstm, shift=1024.0)  # exp of it is infinite
    for got, want in zip(found, mlstm_from_zero(reference_mlstm, shift=100.0), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


def test_mlstms_side_by_side_are_the_heads_of_the_authors_own():
    """Nothing goes from head to head."""
    layers = [recurrent("mlstm", 3, 4, seed=seed) for seed in range(2)]
    (x,) = randoms((5, 2, 3))
    leaves = [x, *(p for layer in layers for p in layer.parameters())]
    output = torch.cat([layer(x)[0] for layer in layers], -1)
    *given, o = zip(*(matrix_inputs(layer.named_weights(), x) for layer in layers), strict=True)
    heads = [torch.stack(values, 2).permute(1, 2, 0, 3) for values in given]  # (B, heads, T, units)
    shown = parallel_stabilized_simple(*heads, eps=0.0).permute(2, 0, 1, 3).flatten(2)
    expected = torch.cat(o, -1) * shown
    torch.testing.assert_close(output, expected, **EXACT)
    pair = [torch.autograd.grad(r.sin().sum(), leaves) for r in (output, expected)]
    for got, want in zip(*pair, strict=True):
        torch.testing.assert_close(got, want, **EXACT)
