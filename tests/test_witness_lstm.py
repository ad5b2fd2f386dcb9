"""The LSTM family: numbers that others have published, and states that begin at zero."""

import pytest
import torch
from agreement import ours, problem
from tolerances import EXACT, SINGLE
from witnesses_lstm import PUBLISHED, xlstm

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
