"""The training loop: seeds, early stopping, honest errors."""

import numpy as np
import pytest
import torch
from data_tools import equal_runs, quick, same_weights, sine, state

from gatework.data import scaling
from gatework.data.splits import Split
from gatework.errors import DataError, TrainingError
from gatework.training import checkpoint
from gatework.training.loop import fit
from gatework.training.settings import Settings

Y = sine(60, noise=0.3)
PLAIN = {"epochs": 6, "batch_size": 8}
# Dropout between layers draws from the random state in every batch.
DROPOUT = PLAIN | {"num_layers": 2, "dropout": 0.5}


# Seeds.


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    equal_runs(quick(**DROPOUT).fit(Y), quick(**DROPOUT).fit(Y))
    assert not same_weights(quick(**DROPOUT).fit(Y), quick(**DROPOUT | {"seed": 1}).fit(Y))


def test_the_random_numbers_of_the_user_are_left_alone():
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist()

    torch.manual_seed(3)
    np.random.seed(3)
    expected = draw()
    torch.manual_seed(3)
    np.random.seed(3)
    model = quick(**DROPOUT).fit(Y)
    model.evaluate(Y)
    model.predict(Y)
    assert draw() == expected
    torch.manual_seed(99)  # nor do they reach into the run
    assert same_weights(model, quick(**DROPOUT).fit(Y))


# Early stopping and validation.


class Script:
    """A problem whose validation losses are given; the weight counts the training steps."""

    train_size = 4
    validation_size = 1

    def __init__(self, validation):
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.script = iter(validation)
        self.weights = []

    def to(self, device):
        pass

    def losses(self, index, part):
        if part == "validation":
            self.weights.append(self.model.weight.item())
            return torch.tensor([next(self.script)])
        return self.model.weight.flatten() * torch.ones(len(index))

    def describe(self, index, part):
        return f"example {index}"


def test_the_best_epoch_is_kept_and_patience_counts_from_it():
    problem = Script([5, 4, 3, 3, 6, 7, 1])
    progress = fit(problem, Settings(epochs=9, patience=3, batch_size=4))
    assert progress.best_epoch == 3  # the first of equals
    assert [r["validation"] for r in progress.history] == [5, 4, 3, 3, 6, 7]
    assert problem.model.weight.item() == problem.weights[2]
    assert len(set(problem.weights)) == 6


def test_without_patience_every_epoch_is_trained():
    progress = fit(Script([1, 2, 3, 4]), Settings(epochs=4, patience=0, batch_size=4))
    assert (len(progress.history), progress.best_epoch) == (4, 1)


def test_without_a_validation_part_the_last_epoch_counts():
    model = quick(validation=0.0, epochs=5, patience=1, learning_rate=1.0).fit(Y)
    assert (model.best_epoch_, len(model.history_)) == (5, 5)
    assert all(r["validation"] == r["train"] for r in model.history_)


def test_a_validation_part_without_values_is_said():
    gap = Y.copy()
    gap[48:] = np.nan
    model = quick(patience=1).fit(gap)
    assert any("validation part holds no window" in note for note in model.notes_)


def test_the_losses_of_the_history_are_means_over_all_windows():
    # With a learning rate of zero the weights stand still, so both can be computed afterwards.
    model = quick(epochs=1, learning_rate=0.0, batch_size=7).fit(Y)
    cut = Split(np.array([48]), np.array([60]))
    problem = model._problem(model.model_, model.load_data(Y), cut)
    problem.model.load_state_dict(model.network_.state_dict())
    for part, size in (("train", problem.train_size), ("validation", problem.validation_size)):
        loss = problem.losses(torch.arange(size), part).mean().item()
        assert model.history_[0][part] == pytest.approx(loss, rel=1e-6)
        assert size == {"train": 40, "validation": 10}[part]


def test_clipping_bounds_what_a_batch_can_do():
    far = Y.copy()
    far[20] = 1e6
    moved = {}
    for clip in (0.0, 1e-9):
        # AdamW divides by the size of the gradient but for its epsilon, which then dominates.
        model = quick(clip=clip, epochs=1, scaling="none", weight_decay=0.0).fit(far)
        start = quick(learning_rate=0.0, epochs=1, scaling="none").fit(far)
        moved[clip] = max(np.abs(state(model)[k] - v).max() for k, v in state(start).items())
    assert moved[1e-9] < moved[0.0] / 5


# What goes wrong.


def test_a_loss_that_is_not_finite_names_epoch_batch_series_and_parameter(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "LARGEST", np.inf)
    good, bad = sine(40), sine(40)
    bad[10:] = 3e38  # finite, but its square is not
    model = quick(scaling="none", loss="mse", relative=False, validation=0.0, batch_size=100)
    with pytest.raises(TrainingError) as caught:
        model.fit([good, bad], folder=tmp_path)
    line = str(caught.value)
    assert "loss (inf) is not finite in epoch 1, batch 1" in line
    assert "first at series '1', the window of 6 + 3 steps from" in line
    assert "parameter: recurrent." in line or "parameter: head." in line
    assert "\n" not in line
    assert checkpoint.epochs_done(tmp_path / checkpoint.NAME) == 0


def test_a_step_that_breaks_the_weights_is_named(tmp_path):
    with pytest.raises(
        TrainingError, match=r"^The norm of the weights is not finite after epoch 1, batch 1:"
    ):
        quick(learning_rate=1e30, weight_decay=1e30, epochs=9, clip=0.0).fit(Y, folder=tmp_path)
    assert checkpoint.epochs_done(tmp_path / checkpoint.NAME) == 0


def test_a_validation_loss_that_is_not_finite_names_its_window(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "LARGEST", np.inf)
    late = np.r_[sine(50), np.full(10, 3e38)]
    with pytest.raises(TrainingError) as caught:
        quick(scaling="none", loss="mse").fit([sine(60), late], folder=tmp_path)
    line = str(caught.value)
    assert (
        "The validation loss (inf) is not finite after epoch 1, batch 1: first at series '1'"
        in line
    )
    assert "none is broken" in line


class Steep(Script):
    """A finite loss whose gradient is not."""

    def losses(self, index, part):
        return (self.model.weight * 0).abs().sqrt().flatten() * torch.ones(len(index))


def test_a_gradient_that_is_not_finite_stops_the_run():
    with pytest.raises(TrainingError, match="gradient is not finite in epoch 1, batch 1") as caught:
        fit(Steep([]), Settings(epochs=1))
    assert "parameter: weight (its gradient)" in str(caught.value)


@pytest.mark.parametrize("device", ["foo", "cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(TrainingError, match="device"):
        quick(device=device).fit(Y)
    assert quick(device="cpu").fit(Y).predict(Y).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("horizon", 0), ("horizon", 2.5), ("context", 0), ("hidden_size", -1), ("num_layers", 0),
     ("epochs", 0), ("batch_size", 0), ("patience", -1), ("seed", -1), ("seed", 2**70),
     ("learning_rate", -1.0), ("learning_rate", float("nan")), ("weight_decay", -1.0),
     ("clip", float("inf")), ("dropout", 1.0), ("validation", 1.0), ("validation", -0.1),
     ("season", 0), ("horizon", "3"), ("loss", "mape"), ("scaling", "minmax"),
     ("forget_bias", float("nan"))],
)  # fmt: skip
def test_arguments_that_cannot_be_are_refused_by_name(name, value):
    with pytest.raises(DataError, match=name) as caught:
        quick(**{name: value}).fit(Y)
    assert "\n" not in str(caught.value)
