"""The classifier: it learns, and its parts are as by hand."""

import json

import numpy as np
import pytest
import torch
from classify_tools import NAN, fitted, quick, waves
from shared import each_untimed
from sklearn.exceptions import NotFittedError

import gatework as gw
from gatework.cells import resolve
from gatework.data.labelled import load_labelled
from gatework.data.load import load_cube
from gatework.errors import DataError
from gatework.tasks.classification import Classification
from gatework.tasks.classify_network import ClassifyNetwork
from gatework.tasks.classify_problem import ClassifyProblem, stratified

# Learning.


@pytest.mark.parametrize(
    "options", [{"convolution": "none"}, {"shuffle": True}, {"convolution": "before"}]
)
def test_it_learns_slow_and_fast_waves(options):
    X, y = waves(60)
    longest = np.argsort([-len(x) for x in X])  # so that none is too long to be shuffled
    X, y = [X[i] for i in longest], y[longest]
    epochs = (
        60 if options.get("convolution") == "none" else 20
    )  # convolutions learn fast, and cost more
    model = quick(hidden_size=8, epochs=epochs, learning_rate=2e-2, pool="mean", **options)
    found = model.fit(X[:30], y[:30]).evaluate(X[30:], y[30:])
    assert found.accuracy() >= 0.9
    assert found.baseline() < 0.7
    assert found.verdict().startswith("The lstm is right on ")
    assert model.score(X[30:], y[30:]) == found.accuracy()
    assert model.history_[-1]["train"] < 0.3 * model.history_[0]["train"]


@each_untimed
def test_every_cell_tells_classes(cell):
    X, y = waves(8)
    model = quick(cell=cell, epochs=1, bidirectional=True).fit(X, y)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (8, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert len(set(probabilities[:, 0])) == 8


# The network, by hand.


def missing(x):
    """Values and masks (T, 4) as convolutions read them: 1 where a value is missing."""
    return torch.cat([x[:, :2], 1 - x[:, 2:]], dim=1)


def by_hand(network, x):
    """Scores of one sequence (T, 2F) alone, of plain torch functions."""
    rows = missing(x)
    for block in network.convolution.blocks:
        weight, norm = block.convolution.weight, block.norm
        kernel = weight.shape[2]
        padded = torch.cat([
            rows.new_zeros((kernel - 1) // 2, rows.shape[1]), rows,
            rows.new_zeros(kernel // 2, rows.shape[1]),
        ])  # fmt: skip
        steps = [torch.einsum("kc,ock->o", padded[t : t + kernel], weight) for t in range(len(x))]
        found = torch.stack(steps)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        rows = ((found - norm.running_mean) * scale + norm.bias).clamp(min=0)
    output, _ = network.recurrent((rows if network.is_before else x).unsqueeze(1))
    half = output.shape[2] // 2
    pooled = torch.cat([output[-1, 0, :half], output[0, 0, half:]])
    read = pooled if network.is_before else torch.cat([pooled, rows.mean(0)])
    return network.head.weight @ read + network.head.bias


def network_of(**options):
    torch.manual_seed(0)
    spec = resolve("gru")
    network = ClassifyNetwork(spec, 2, 6, 3, 3, **options).double()
    for block in network.convolution.blocks if network.convolution else ():
        block.norm.running_var.uniform_(0.5, 2)
        # Of both signs, so that what stands behind an end would not be zero by itself.
        for value in (block.norm.running_mean, block.norm.weight.data, block.norm.bias.data):
            value.normal_()
    return network


@pytest.mark.parametrize("place", ["beside", "before"])
def test_scores_and_gradients_of_padded_sequences_are_those_of_each_alone(place):
    network = network_of(bidirectional=True, convolution=place).eval()
    inputs, lengths = torch.randn(3, 6, 4, dtype=torch.float64), torch.tensor([6, 1, 4])
    for row, length in zip(inputs, lengths, strict=True):
        row[length:] = 0
    weights = torch.randn(3, 3, dtype=torch.float64)
    scores = network(inputs, lengths)
    (scores * weights).sum().backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters()}
    network.zero_grad()
    alone = torch.stack([by_hand(network, x[:n]) for x, n in zip(inputs, lengths, strict=True)])
    (alone * weights).sum().backward()
    torch.testing.assert_close(scores, alone, rtol=1e-11, atol=1e-11)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-9)


def test_batch_normalisation_sees_no_padding():
    network = network_of(convolution="beside").train()
    block = network.convolution.blocks[0]
    before = block.norm.running_mean.clone()
    inputs, lengths = torch.randn(2, 6, 4, dtype=torch.float64), torch.tensor([6, 3])
    inputs[1, 3:] = 0
    network(inputs, lengths)
    read = [torch.nn.functional.pad(missing(x).T, (3, 4)) for x in (inputs[0], inputs[1, :3])]
    rows = torch.cat([block.convolution(x[None])[0].T for x in read])
    torch.testing.assert_close(block.norm.running_mean, 0.9 * before + 0.1 * rows.mean(0))
    one = network(inputs[:1, :1], torch.tensor([1]))  # one step has no spread, and trains
    assert one.isfinite().all()


def test_the_mask_of_complete_sequences_moves_no_convolution():
    # As ones it would move the mean behind each block, and the running mean would lag behind.
    network = network_of(convolution="before").train()
    inputs, lengths = torch.randn(2, 6, 4, dtype=torch.float64), torch.tensor([6, 3])
    inputs[:, :, 2:] = 1
    inputs[1, 3:] = 0

    def gradient():
        network.zero_grad()
        network(inputs, lengths).square().sum().backward()
        return network.convolution.blocks[0].convolution.weight.grad

    assert gradient()[:, :2].any()
    assert not gradient()[:, 2:].any()
    inputs[0, 2, :] = 0  # a step without values
    assert gradient()[:, 2:].any()


def test_shuffle_exchanges_steps_and_features():
    network = network_of(shuffle=True).eval()
    values, seen = torch.randn(1, 5, 2, dtype=torch.float64), torch.ones(1, 5, 2).double()
    scores = network(torch.cat([values, seen], dim=2), torch.tensor([5]))
    padded = torch.zeros(2, 1, 12, dtype=torch.float64)  # (F, B, 2T): values, then masks
    padded[:, 0, :5], padded[:, 0, 6:11] = values[0].T, seen[0].T
    output, _ = network.recurrent(padded)
    torch.testing.assert_close(scores, network.head(output[-1]))


def test_a_prediction_depends_on_its_sequence_alone():
    model, X, _ = fitted()
    together = model.predict_proba(X)
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(alone, together, rtol=1e-5)
    padded = np.full((len(X), 40, 2), NAN)
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    np.testing.assert_allclose(model.predict_proba(padded), together, rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X[::-1]), together[::-1], rtol=1e-6)


# Parts, weights and scaling.


def test_validation_is_drawn_class_by_class():
    targets = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    train, validation = stratified(targets, 0.2, seed=1)
    assert sorted([*train, *validation]) == list(range(53))
    assert np.bincount(targets[validation], minlength=4).tolist() == [8, 2, 0, 0]
    assert np.bincount(targets[stratified(targets, 0.9, 0)[0]]).tolist() == [4, 1, 1, 1]
    assert not np.array_equal(validation, stratified(targets, 0.2, seed=2)[1])
    assert len(stratified(targets, 0.0, 0)[1]) == 0


def test_the_scaling_is_that_of_the_training_part():
    X, y = waves()
    X[0][2] = NAN
    model = quick().fit(X, y)
    train, validation = stratified(np.unique(y, return_inverse=True)[1], 0.2, 0)
    rows = np.concatenate([X[i] for i in train])
    np.testing.assert_allclose(model.scaler_.center[""], np.nanmean(rows, axis=0))
    np.testing.assert_allclose(model.scaler_.spread[""], np.nanstd(rows, axis=0))
    for place in validation:  # nothing that is held out changes what is trained on
        X[place] = X[place] * 100
    other = quick().fit(X, y)
    assert other.scaler_.to_dict() == model.scaler_.to_dict()
    assert other.history_[0]["train"] == model.history_[0]["train"]
    assert other.history_[0]["validation"] != model.history_[0]["validation"]


def test_the_names_of_sequences_do_not_matter():
    X, y = waves()
    model, other = quick().fit(X, y), quick().fit(load_cube(dict(enumerate(X))), y)
    assert np.array_equal(other.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    ("given", "expected"),
    # Of 6 and 2 cases; the mean over the cases is 1.
    [(None, [1, 1]), ("balanced", [8 / 12, 8 / 4]), ({"a": 1, "b": 5}, [0.5, 2.5])],
)
def test_class_weights(given, expected):
    classes, labels = np.array(["a", "b"]), np.array(["a"] * 6 + ["b"] * 2)
    weights = gw.Classifier(class_weight=given)._weights(classes, labels)
    np.testing.assert_allclose(weights, expected)


def test_a_loss_is_the_weighted_cross_entropy():
    model, X, y = fitted()
    targets = np.unique(y, return_inverse=True)[1]
    problem = ClassifyProblem(
        model.network_,
        model.model_.cases(load_labelled(X).cube),
        {"train": torch.tensor([5, 0, 3])},
        torch.from_numpy(targets),
        torch.tensor([0.5, 3.0]),
        ["'fast'", "'slow'"],
        list(map(str, range(len(X)))),
    )
    losses = problem.losses(torch.tensor([2, 0]), "train").detach().numpy()
    probabilities = model.predict_proba([X[3], X[5]])
    expected = [
        -np.array([0.5, 3.0])[targets[i]] * np.log(p[targets[i]])
        for i, p in zip([3, 5], probabilities, strict=True)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)  # float32
    assert problem.describe(1, "train") == "sequence 0, of class 'slow'"


def test_weights_move_the_answers():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(40, 5)), np.repeat([0, 1], 20)  # nothing to be learnt
    shares = [
        quick(epochs=20, learning_rate=1e-2, validation=0.0, class_weight={0: 1, 1: w})
        .fit(X, y)
        .predict_proba(X)[:, 1]
        .mean()
        for w in (0.2, 5)
    ]
    assert shares[0] < shares[1] - 0.05  # the same but for the weights


def test_classes_that_are_too_small_are_told():
    X = np.random.default_rng(0).normal(size=(12, 4))
    assert quick(epochs=1).fit(X, ["a"] * 11 + ["b"]).notes_ == [
        "1 of 2 classes have too few sequences to stand in the validation part: b."
    ]
    few = quick(epochs=1).fit(X[:2], ["a", "b"])
    assert "No class has enough sequences" in few.notes_[0]
    assert quick(epochs=1, validation=0).fit(X[:2], ["a", "b"]).notes_ == []


# Evaluation.


def test_the_tables_by_hand():
    truth = np.array(["a", "a", "b", "b", "b", "d"])
    told = np.array(["a", "b", "b", "b", "a", "a"])
    found = Classification("gru", truth, told, np.zeros((6, 3)), np.array(["a", "b", "c"]), "a")
    assert found.accuracy() == 3 / 6
    assert found.baseline() == 2 / 6
    assert found.all_classes().tolist() == ["a", "b", "c", "d"]
    assert found.confusion().tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0] * 4, [1, 0, 0, 0]]
    table = found.by_class()
    assert table["a"] == {"precision": 1 / 3, "recall": 1 / 2, "f1": pytest.approx(0.4), "count": 2}
    assert table["c"] == {"precision": 0, "recall": 0, "f1": 0, "count": 0}
    assert found.balanced_accuracy() == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert json.loads(json.dumps(found.to_dict()))["confusion"] == found.confusion().tolist()
    worse = Classification("gru", truth, told, np.zeros((6, 3)), found.classes, "b")
    assert worse.verdict() == (
        "The gru does not beat the largest class: it is right on 50.0% of 6 sequences, always "
        "telling 'b' on 50.0%."
    )


def test_missing_values_are_seen_as_such():
    model, X, _ = fitted()
    holes = X[0].copy()
    holes[3, 1] = NAN
    filled = X[0].copy()
    filled[3, 1] = model.scaler_.center[""][1]  # what is zero for the network
    one, two, none = model.predict_proba([holes, filled, np.full((3, 2), NAN)])
    assert np.isfinite([one, two, none]).all()
    assert not np.allclose(one, two, atol=1e-7)


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"pool": "median"}, "pool is one of 'last', 'mean', 'max', 'attention', got 'median'"),
        ({"convolution": "after"}, "convolution is one of 'beside', 'before', 'none', got 'after'"),
        ({"convolution": "before", "shuffle": True}, "choose one, or convolution='beside'"),
        ({"bidirectional": 1}, "bidirectional is True or False, got 1"),
        ({"hidden_size": 0}, "hidden_size is a whole number above zero"),
        ({"cell": "phased_lstm"}, "phased_lstm reads t beside its input, and no task gives"),
        ({"scaling": "log"}, "There is no scaling 'log'"),
        ({"class_weight": "even"}, "class_weight is None, 'balanced' or a dict"),
        ({"class_weight": {"slow": -1}}, "numbers from 0 on"),
        ({"class_weight": {"slow": 0, "fast": 0}}, "not all 0"),
        ({"class_weight": {"other": 2}}, "class_weight: "),
    ],
)
def test_arguments_that_cannot_be(arguments, reason):
    with pytest.raises(DataError, match=reason):
        quick(**arguments).fit(*waves(8))


def test_data_that_cannot_be():
    model, X, y = fitted()
    with pytest.raises(DataError, match="requires y to be passed"):
        quick().fit(X)
    with pytest.raises(DataError, match="all are of one class, 'slow'"):
        quick().fit(X[::2], y[::2])
    with pytest.raises(DataError, match=r"training sequences have 2 features, those of .* 1\."):
        model.predict(np.zeros((2, 9)))
    with pytest.raises(DataError, match=r"one is text and the other a number.*astype"):
        model.score(X, np.arange(len(X)))
    with pytest.raises(DataError, match="Unknown label type: continuous"):
        quick().fit(X, np.linspace(0, 1, len(X)))
    shuffled = quick(epochs=1, shuffle=True).fit(X, y)
    assert shuffled.predict([x[:3] for x in X]).shape == y.shape
    with pytest.raises(DataError, match="reads at most the 13 steps"):
        shuffled.predict(np.zeros((1, 14, 2)))
    with pytest.raises(NotFittedError, match="This Classifier is not fitted yet"):
        quick().predict(X)
