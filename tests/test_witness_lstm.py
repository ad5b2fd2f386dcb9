"""The LSTM family: numbers that others have published, and states that begin at zero."""

import pytest
import torch
from test_witness import ours, problem
from tolerances import EXACT, SINGLE
from witnesses_lstm import xlstm

from gatework.cells import resolve

# From tensorflow/contrib/rnn/python/kernel_tests/rnn_cell_test.py of TensorFlow 1, float32: every
# matrix 0.5, no biases, gains 1, forget_bias 1. By cell: x, h, c, and h, c after one step.
PUBLISHED = {
    "coupled_forget_lstm": (
        [[1.0] * 4, [2.0] * 4, [3.0] * 4],
        [[0.1] * 2] * 3,
        [[0.1] * 2] * 3,
        [[0.121753] * 2, [0.103349] * 2, [0.100178] * 2],
        [[0.137523] * 2, [0.105450] * 2, [0.100742] * 2],
    ),
    "layer_norm_basic_lstm": (
        [[1.0] * 3],
        [[0.2, 0.3]],
        [[0.0, 0.1]],
        [[-0.38079708, 0.38079708]],
        [[-1.0, 1.0]],
    ),
    "nas_cell": (
        [[1.0] * 4, [2.0] * 4, [3.0] * 4],
        [[0.1] * 6] * 3,
        [[0.1] * 6] * 3,
        [[0.57675087] * 6, [0.6189357] * 6, [0.62739348] * 6],
        [[0.71579772] * 6, [0.78041625] * 6, [0.79457647] * 6],
    ),
}


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
