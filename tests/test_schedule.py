"""How the learning rate goes over a run."""

from itertools import pairwise

import pytest
import torch
from data_tools import equal_runs, quick, sine

from gatework.errors import DataError, TrainingError
from gatework.training.loop import fit
from gatework.training.settings import Settings

Y = sine(60, noise=0.3)
COSINE = {"schedule": "cosine", "batch_size": 8}


class Steps:
    """A problem with a gradient of 1; it notes the weight, which AdamW moves by its rate."""

    train_size, validation_size = 10, 0

    def __init__(self):
        self.model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        self.weights = []

    def to(self, device):
        pass

    def losses(self, index, part):
        self.weights.append(self.model.weight.item())
        return self.model.weight.flatten() * torch.ones(len(index))

    def describe(self, index, part):
        return f"example {index}"


def rates(schedule):
    problem = Steps()
    fit(problem, Settings(epochs=3, batch_size=4, weight_decay=0.0, schedule=schedule))
    weights = [*problem.weights, problem.model.weight.item()]
    return [before - after for before, after in pairwise(weights)]


def test_a_constant_rate_stays():
    assert rates("constant") == pytest.approx([3e-3] * 9, rel=1e-6)


def test_a_cosine_is_torchs_over_the_shares_of_examples_done():
    # 10 examples in batches of 4, 4 and 2: a step begins at 0, 4 and 8 of an epoch's 10.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
    by_example = []
    for _ in range(30):
        by_example.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    expected = [by_example[10 * epoch + seen] for epoch in range(3) for seen in (0, 4, 8)]
    assert rates("cosine") == pytest.approx(expected, rel=1e-6)


def test_a_cosine_goes_on_where_it_was(tmp_path):
    class Stop:
        def start(self, epochs, train_size, done):
            pass

        def batch(self, examples):
            pass

        def epoch(self, record):
            if record["epoch"] == 3:
                raise KeyboardInterrupt

    whole = quick(**COSINE, epochs=5).fit(Y)
    with pytest.raises(KeyboardInterrupt):
        quick(**COSINE, epochs=5).fit(Y, folder=tmp_path, watcher=Stop())
    with pytest.raises(TrainingError, match="epochs"):  # of another length it is another curve
        quick(**COSINE, epochs=6).fit(Y, folder=tmp_path, resume=True)
    equal_runs(whole, quick(**COSINE, epochs=5).fit(Y, folder=tmp_path, resume=True))


def test_another_schedule_is_refused():
    with pytest.raises(DataError, match="schedule is one of 'constant', 'cosine', got 'step'"):
        quick(schedule="step").fit(Y)
