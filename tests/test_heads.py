"""Heads: losses, quantiles and draws beside scipy and scikit-learn; what they learn; refusals."""

import numpy as np
import pytest
import torch
from data_tools import named, quick, sine
from scipy import stats
from sklearn.metrics import mean_pinball_loss

import gatework as gw
from gatework.errors import DataError
from gatework.tasks.heads import HEADS, make_head

Y = sine(60, noise=0.3)
COUNTS = np.random.default_rng(0).negative_binomial(3, 0.3, (4, 60)).astype(float)
LEVELS = (0.1, 0.25, 0.5, 0.9)
UNITS = torch.tensor([[3.0, 2.0], [10.0, 5.0]], dtype=torch.float64)  # centre and spread
MEAN = torch.tensor([[4.0], [9.0]], dtype=torch.float64)


def data_for(head):
    return COUNTS if head == "negative_binomial" else named([Y, Y * 3])


def said(name, level=0.7):
    """A head, its parameters of 2 windows of 3 steps, and a target in the model's units."""
    head = make_head(name, "huber", LEVELS)
    random = torch.Generator().manual_seed(1)
    raw = torch.randn(2, 3, head.size, generator=random, dtype=torch.float64, requires_grad=True)
    levels = torch.full((2, 1), level, dtype=torch.float64)
    counts = torch.tensor([[0.0, 3, 8], [12, 1, 40]], dtype=torch.float64)
    target = (counts - UNITS[:, :1]) / UNITS[:, 1:]
    return head, raw, head.parameters(raw, levels, MEAN), target, counts


def softplus(x):
    return np.log1p(np.exp(x))


def by_scipy(name, raw, level=0.7):
    """The same distributions, of scipy; that of counts in the user's units."""
    r = raw.detach().numpy()
    if name == "normal":
        return stats.norm(r[..., 0] + level, softplus(r[..., 1]) + 1e-6)
    if name == "student_t":
        freedom = 2 + softplus(r[..., 2]) + 1e-6
        return stats.t(freedom, r[..., 0] + level, softplus(r[..., 1]) + 1e-6)
    m = softplus(r[..., 0]) * (1 + MEAN.numpy()) + 1e-6
    a = softplus(r[..., 1]) + 1e-4
    return stats.nbinom(1 / a, 1 / (1 + m * a))


@pytest.mark.parametrize("name", ["normal", "student_t", "negative_binomial"])
def test_distributions_are_those_of_scipy(name):
    head, raw, found, target, counts = said(name)
    witness = by_scipy(name, raw)
    is_counts = name == "negative_binomial"
    loss = -(witness.logpmf(counts) if is_counts else witness.logpdf(target))
    np.testing.assert_allclose(head.loss(found, target, UNITS).detach(), loss, rtol=1e-10)
    center, spread = UNITS[:, :1].numpy(), UNITS[:, 1:].numpy()

    def scaled(values):
        return (values - center) / spread if is_counts else values

    fixed = found.detach()
    np.testing.assert_allclose(head.point(fixed, UNITS), scaled(witness.mean()), rtol=1e-9)
    quantiles = head.quantiles(fixed, UNITS, LEVELS)
    expected = np.stack([scaled(witness.ppf(q)) for q in LEVELS], axis=-1)
    np.testing.assert_allclose(quantiles, expected, rtol=1e-9)
    below, above = head.widths(fixed, UNITS)
    width = witness.std() / spread if is_counts else head._of(fixed).scale
    np.testing.assert_allclose(below, width, rtol=1e-9)
    np.testing.assert_allclose(above, width, rtol=1e-9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.stack([head.draw(fixed, UNITS) for _ in range(4000)])
    low, high = np.quantile(draws, [0.25, 0.75], axis=0)
    expected = [scaled(witness.ppf(q)) for q in (0.25, 0.75)]
    np.testing.assert_allclose([low, high], expected, atol=0.25 * (witness.std() / spread).max())


@pytest.mark.parametrize("name", list(HEADS))
def test_gradients_of_losses(name):
    head, raw, _, target, _ = said(name)
    level = torch.full((2, 1), 0.7, dtype=torch.float64)

    def loss(raw):
        return head.loss(head.parameters(raw, level, MEAN), target, UNITS)

    assert torch.autograd.gradcheck(loss, (raw,))


def test_quantiles_are_trained_by_the_pinball_loss_and_do_not_cross():
    head, raw, found, target, _ = said("quantile")
    found = found.detach()
    np.testing.assert_array_equal(found, np.sort(raw.detach().numpy() + 0.7))
    loss = head.loss(found, target, UNITS)
    expected = [
        np.mean([mean_pinball_loss([y], [f], alpha=q) for f, q in zip(fs, LEVELS, strict=True)])
        for y, fs in zip(target.ravel().tolist(), found.reshape(-1, 4).tolist(), strict=True)
    ]
    np.testing.assert_allclose(loss.ravel(), expected, rtol=1e-12)
    assert torch.equal(head.point(found, UNITS), found[..., 2])
    below, above = head.widths(found, UNITS)
    torch.testing.assert_close(below, found[..., 2] - found[..., 0])
    torch.testing.assert_close(above, found[..., 3] - found[..., 2])
    between = head.quantiles(found, UNITS, (0.9, 0.3, 0.1))
    expected = np.apply_along_axis(
        lambda f: np.interp((0.9, 0.3, 0.1), LEVELS, f), -1, found.numpy()
    )
    np.testing.assert_allclose(between, expected)


@pytest.mark.parametrize("scaling", ["standard", "log", "none"])
@pytest.mark.parametrize("head", [h for h in HEADS if h != "point"])
def test_quantiles_are_in_the_users_units(head, scaling):
    if (head, scaling) == ("negative_binomial", "log"):
        return  # refused, below
    data = data_for(head)
    model = quick(head=head, scaling=scaling, epochs=1).fit(data)
    found = model.predict_quantiles(data, [0.9, 0.5, 0.1])
    assert found.shape == (*model.predict(data).shape, 3)
    assert (np.diff(found) < 0).all()
    if head != "negative_binomial":  # those have a mean beside their median
        np.testing.assert_allclose(found[..., 1], model.predict(data), rtol=1e-9)
    else:
        np.testing.assert_allclose(found, np.round(found), atol=1e-9)
        assert (found >= -1e-9).all()


def test_distributions_learn_how_wide_the_noise_is():
    random = np.random.default_rng(0)
    noise = random.normal(20, 5, (20, 60))
    options = {"epochs": 12, "learning_rate": 3e-2, "relative": False, "hidden_size": 2}
    for head in ("quantile", "normal", "student_t"):
        model = quick(head=head, **options).fit(noise)
        low, high = np.moveaxis(model.predict_quantiles(noise, (0.1, 0.9)), -1, 0)
        np.testing.assert_allclose([low.mean(), high.mean()], [13.6, 26.4], atol=1.5)
    counts = random.negative_binomial(2, 0.2, (20, 60)).astype(float)
    model = quick(head="negative_binomial", **options).fit(counts)
    assert model.predict(counts).mean() == pytest.approx(8, abs=1.5)
    high = model.predict_quantiles(counts, (0.9,)).mean()
    assert high == pytest.approx(stats.nbinom(2, 0.2).ppf(0.9), abs=3.5)


@pytest.mark.parametrize("head", list(HEADS))
def test_a_series_with_nothing_to_see_has_no_quantiles(head):
    data = COUNTS[:2].copy()
    model = quick(head=head, epochs=1).fit(data)
    data[1, -6:] = np.nan
    assert np.isnan(model.predict(data)[1]).all()
    if head != "point":
        found = model.predict_quantiles(data)
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()


@pytest.mark.parametrize("head", list(HEADS))
def test_models_of_every_head_come_back_equal(head, tmp_path):
    model = quick(head=head, quantiles=LEVELS, epochs=1).fit(data_for(head))
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.predict(data_for(head)), model.predict(data_for(head)))
    if head != "point":
        found = [m.predict_quantiles(data_for(head), (0.2, 0.5)) for m in (model, loaded)]
        assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("options", "data", "reason"),
    [
        ({"head": "gamma"}, Y, "no head 'gamma'; choose one of point, quantile"),
        ({"loss": "cubic"}, Y, "no loss 'cubic'"),
        ({"head": "normal", "loss": "mse"}, Y, "is for the head 'point'"),
        ({"head": "negative_binomial", "scaling": "log"}, COUNTS, "Use scaling 'standard'"),
        ({"head": "negative_binomial"}, Y, r"is for counts .* series '0' holds 10\."),
        ({"head": "negative_binomial"}, -COUNTS, "is for counts"),
        ({"quantiles": (0.1, 0.9)}, Y, "with 0.5 amid them"),
        ({"quantiles": (0.5, 0.9)}, Y, "with 0.5 amid them"),
        ({"quantiles": (0.9, 0.5, 0.1)}, Y, "quantiles rise"),
        ({"quantiles": (0.1, 0.5, 1.5)}, Y, "between 0 and 1"),
        ({"quantiles": 0.5}, Y, "between 0 and 1"),
        ({"quantiles": "many"}, Y, "between 0 and 1"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(options, data, reason):
    with pytest.raises(DataError, match=reason) as caught:
        quick(**options).fit(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "q", "reason"),
    [
        ("point", (0.5,), "knows no quantiles"),
        ("quantile", (0.05, 0.5), "from 0.1 to 0.9, and knows none outside"),
        ("normal", (0.0,), "q are numbers between 0 and 1"),
        ("normal", None, "q are numbers between 0 and 1"),
        ("normal", (), "q are numbers between 0 and 1"),
    ],
)
def test_quantiles_that_are_not_known(head, q, reason):
    model = quick(head=head, epochs=1).fit(Y)
    with pytest.raises(DataError, match=reason):
        model.predict_quantiles(Y, q)
