"""The forms of the forecaster: step by step by hand, in float64, values and gradients."""

import numpy as np
import pytest
import torch
from data_tools import named, quick, sine
from shared import each_untimed

import gatework as gw
from gatework.cells import resolve
from gatework.data.splits import Split
from gatework.data.windows import Windows
from gatework.errors import DataError
from gatework.tasks.heads import make_head
from gatework.tasks.inputs import Layout
from gatework.tasks.network import FORMS, PATHS

NAN = float("nan")
Y = sine(60, noise=0.3)
LAYOUT = Layout(numbers=(0, 1, 2), gaps=(0,), ahead=(2,))  # target, past and known covariate
CONTEXT, HORIZON = 5, 3


def batch_of(rows=2):
    """Windows of 3 columns, of which the last is known ahead; some values are missing."""
    values = np.random.default_rng(0).normal(2, 1, (rows, 9, 3))
    values[0, 2, 0] = values[1, 4, 0] = values[0, 6, 0] = values[1, 3, 1] = NAN
    origins = np.full(rows, 5)
    windows = Windows(torch.from_numpy(values), np.arange(rows), origins, CONTEXT, HORIZON, (2,))
    return windows.batch(np.arange(rows)), torch.tensor([[1.0, 2.0]] * rows).double(), values


def network_of(form, cell="gru", head="normal", relative=True, layers=1):
    torch.manual_seed(0)
    outcome = make_head(head, "mse", (0.2, 0.5, 0.8))
    options = {"relative": relative}
    made = FORMS[form](resolve(cell), LAYOUT, 4, layers, HORIZON, outcome, **options)
    return made.double()


def stepped(layer, rows, states):
    """A layer over rows (T, D) of one window, one call for each."""
    outputs = []
    for row in rows:
        output, states = layer(row[None, None], states)
        outputs.append(output[0, 0])
    return outputs, states


def past(values, level, shown, length):
    """What the stack reads of the steps of a window by hand: (value, mask) thrice, and the gap."""
    rows, gap = [], 0
    for t in range(shown):
        v = values[t]
        seen = [float(not np.isnan(x)) for x in v]
        gap = 0 if seen[0] else gap + 1
        read = [0.0 if np.isnan(x) else x for x in v]
        read[0] = (read[0] - level) * seen[0]
        rows.append([*read, *seen, gap / length])
    return rows


def level_of(values, relative):
    known = values[:CONTEXT, 0][~np.isnan(values[:CONTEXT, 0])]
    return known[-1] if relative else 0.0


def ahead(values, step):
    """What is known of a step: its last column and its mask."""
    value = values[step, 2]
    return [0.0, 0.0] if np.isnan(value) else [value, 1.0]


def raw_of_recursive(network, values, relative, truth=None):
    """What the head gives of one window, fed ``truth`` or itself; K stands behind D."""
    level, length = level_of(values, relative), CONTEXT + HORIZON - 1
    rows = past(values, level, CONTEXT, length)
    rows = [torch.tensor([*r, *ahead(values, t + 1)]).double() for t, r in enumerate(rows)]
    outputs, states = stepped(network.recurrent, rows, None)
    said, gap = [network.head(outputs[-1])], 0
    for step in range(HORIZON - 1):
        t = CONTEXT + step
        value = said[-1][0] if truth is None else torch.tensor(truth[step] - level)
        seen = 1.0 if truth is None else float(not np.isnan(truth[step]))
        gap = 0 if seen else gap + 1
        value = value if seen else torch.zeros(())
        known = ahead(values, t)
        row = [value, torch.tensor(0.0), torch.tensor(known[0])]
        row += [torch.tensor(x) for x in (seen, 0.0, known[1], gap / length, *ahead(values, t + 1))]
        outputs, states = stepped(
            network.recurrent, [torch.stack([x.double() for x in row])], states
        )
        said.append(network.head(outputs[-1]))
    return torch.stack(said), level


def same(network, found, by_hand):
    """Equal values, and equal gradients of their sum of squares."""
    torch.testing.assert_close(found, by_hand, rtol=1e-10, atol=1e-10)
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = [
        torch.autograd.grad(x.square().sum(), parameters, retain_graph=True)
        for x in (found, by_hand)
    ]
    for name, one, two in zip(names, *gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9, msg=name)


def located(raw, level):
    """A normal distribution of two numbers."""
    scale = torch.nn.functional.softplus(raw[:, 1]) + 1e-6
    return torch.stack([raw[:, 0] + level, scale], dim=1)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_recursive_form_by_hand(cell, relative):
    batch, units, values = batch_of()
    network = network_of("recursive", cell, relative=relative, layers=2)
    expected = [located(*raw_of_recursive(network, v, relative)) for v in values]
    same(network, network(batch, units), torch.stack(expected))
    taught = [located(*raw_of_recursive(network, v, relative, v[CONTEXT:, 0])) for v in values]
    same(network, network.taught(batch, units), torch.stack(taught))
    assert not torch.allclose(network(batch, units), network.taught(batch, units))


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_encoder_decoder_by_hand(cell, relative):
    batch, units, values = batch_of()
    network = network_of("encoder_decoder", cell, relative=relative, layers=2)
    expected = []
    for v in values:
        level = level_of(v, relative)
        rows = torch.tensor(past(v, level, CONTEXT, CONTEXT)).double()
        _, states = stepped(network.recurrent, rows, None)
        value, said = torch.tensor(level_of(v, True) - level).double(), []
        for step in range(HORIZON):
            known = torch.tensor(ahead(v, CONTEXT + step)).double()
            outputs, states = stepped(network.decoder, [torch.cat([value[None], known])], states)
            said.append(network.head(outputs[0]))
            value = said[-1][0]
        expected.append(located(torch.stack(said), level))
    same(network, network(batch, units), torch.stack(expected))
    assert torch.equal(network.taught(batch, units), network(batch, units))


def test_the_direct_form_by_hand():
    batch, units, values = batch_of()
    network = network_of("direct")
    expected = []
    for v in values:
        level = level_of(v, True)
        rows = torch.tensor(past(v, level, CONTEXT, CONTEXT)).double()
        outputs, _ = stepped(network.recurrent, rows, None)
        known = torch.tensor([ahead(v, CONTEXT + s) for s in range(HORIZON)]).double().flatten()
        raw = network.head(torch.cat([outputs[-1], known])).view(HORIZON, 2)
        expected.append(located(raw, level))
    same(network, network(batch, units), torch.stack(expected))


def test_what_is_fed_back_of_counts_is_in_the_model_s_units():
    batch, units, values = batch_of()
    network = network_of("encoder_decoder", head="negative_binomial")
    fed = []
    network.decoder.register_forward_hook(lambda _, given, __: fed.append(given[0][0, :, 0]))
    found = network(batch, units)
    means = (found[..., 0] - 1) / 2  # units: centre 1, spread 2
    levels = torch.tensor([level_of(v, True) for v in values])
    torch.testing.assert_close(torch.stack(fed, 1)[:, 1:], means[:, :-1] - levels[:, None])


@pytest.mark.parametrize("head", ["normal", "student_t", "negative_binomial"])
def test_paths_are_drawn_from_what_is_said_of_each_step(head):
    batch, units, _ = batch_of()
    network = network_of("recursive", "lstm", head)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        paths = network.paths(batch, units, 3000).detach()
    assert paths.shape == (2, 3000, HORIZON)
    # The first step is one distribution; later ones depend on what was drawn before.
    first = network(batch, units)[:, :1].detach()
    quartiles = network.outcome.quantiles(first, units, (0.25, 0.75))[:, 0]
    found = paths[..., 0].quantile(torch.tensor([0.25, 0.75]).double(), dim=1).T
    width = network.outcome.widths(first, units)[0]
    assert ((found - quartiles).abs() <= 0.15 * width + 0.6 * (head == "negative_binomial")).all()
    # Given its first draw, a path goes on as if that were the truth.
    batch.target[0, 0], batch.known[0] = paths[0, 7, 0], 1.0
    taught = network.taught(batch, units)[0, 1].detach()
    alike = (paths[0, :, 0] - paths[0, 7, 0]).abs() < 0.05
    spread = network.outcome.widths(taught[None, None], units[:1])[0][0, 0]
    center = network.outcome.point(taught[None, None], units[:1])[0, 0]
    assert (paths[0, alike, 1].mean() - center).abs() < 4 * spread / alike.sum().sqrt() + 0.1


@pytest.mark.parametrize("form", [f for f in FORMS if f != "direct"])
@each_untimed
def test_every_cell_in_every_form(form, cell):
    model = quick(cell=cell, form=form, horizon=2, context=3, epochs=1, num_layers=2).fit(Y[:24])
    forecast = model.predict(Y)
    assert forecast.shape == (1, 2)
    assert np.isfinite(forecast).all()


@pytest.mark.parametrize("form", [f for f in FORMS if f != "direct"])
def test_a_form_learns(form):
    cube = named([sine(200, noise=0.1), 5 * sine(200, phase=2, noise=0.1, seed=1)])
    options = {"hidden_size": 12, "context": 12, "learning_rate": 2e-2, "epochs": 25}
    model = quick(form=form, **options).fit(cube.until(np.array([160, 160])))
    errors = model.evaluate(cube, np.array([160, 160])).errors()
    assert errors["lstm"].mae < 0.3 * errors["naive"].mae


@pytest.mark.parametrize("form", list(FORMS))
def test_training_reads_the_truth_and_validation_what_is_fed_back(form):
    model = quick(form=form, epochs=1).fit(Y)
    cut = Split(np.array([48]), np.array([60]))
    problem = model._problem(model.model_, model.load_data(Y), cut)
    network = model.network_
    for part, said in (("train", network.taught), ("validation", network)):
        windows = problem.parts[part]
        batch, units = windows.batch(np.arange(len(windows))), problem.units.expand(len(windows), 2)
        with torch.no_grad():
            losses = problem.losses(torch.arange(len(windows)), part)
            error = said(batch, units)[..., 0] - batch.target
            taught, free = network.taught(batch, units), network(batch, units)
        torch.testing.assert_close(losses, error.abs().mean(dim=1))
        assert torch.equal(taught, free) == (form != "recursive")
        assert torch.allclose(taught[:, 0], free[:, 0])  # the first step reads no target


@pytest.mark.parametrize("form", list(FORMS))
def test_models_of_every_form_come_back_equal(form, tmp_path):
    series = named([Y, Y * 3])
    model = quick(form=form, head="student_t", epochs=1).fit(series)
    model.save(tmp_path)
    loaded = gw.Forecaster.load(tmp_path)
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.predict(series), model.predict(series))
    found = model.predict_quantiles(series, (0.2, 0.5, 0.9))
    assert np.array_equal(loaded.predict_quantiles(series, (0.2, 0.5, 0.9)), found)
    assert (np.diff(found) > 0).all()


def test_quantiles_of_paths_are_seeded_and_leave_the_users_random_numbers():
    model = quick(form="recursive", head="normal", epochs=1).fit(Y)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = model.predict_quantiles(Y)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(model.predict_quantiles(Y), found)
    # The first step needs no draws; those of 200 paths come near.
    center, spread = model.predict(Y)[0, 0], found[0, 0, 2] - found[0, 0, 0]
    assert abs(found[0, 0, 1] - center) < 0.3 * spread
    assert PATHS >= 100


def test_forms_that_cannot_be():
    with pytest.raises(DataError, match="no form 'seq2seq'; choose one of direct, recursive"):
        quick(form="seq2seq").fit(Y)
    with pytest.raises(DataError, match="from quantiles nothing can be drawn"):
        quick(form="recursive", head="quantile").fit(Y)
