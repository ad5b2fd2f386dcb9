"""What two processes do under torchrun, for test_processes: each writes down what it has found."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from cli_tools import AIR, call
from data_tools import quick, sine, state

from gatework.cells import resolve
from gatework.data import scaling
from gatework.errors import GateworkError
from gatework.tasks.classify_network import ClassifyNetwork
from gatework.training.batch_norm import BatchNorm
from gatework.training.loop import fit
from gatework.training.settings import Settings

# 66 windows of two series, five batches of 13 and one of one: the second process has none of it.
SERIES = [sine(60, noise=0.3), sine(53, phase=1.0, noise=0.3)]
PLAIN = {"epochs": 6, "batch_size": 13, "device": "cpu"}
STOPS = PLAIN | {"epochs": 60, "patience": 2, "learning_rate": 0.1}
DROPOUT = PLAIN | {"num_layers": 2, "dropout": 0.5}
DOUBLES = ("double", "norm", "sequences")
FITS = {"plain": PLAIN, "stops": STOPS, "clipped": PLAIN | {"clip": 1e-3},
        "drawn": PLAIN | {"windows_per_epoch": 29}}  # fmt: skip


def found(model):
    """All numbers of a fitted forecaster, by name."""
    history = [[r[key] for key in ("epoch", "train", "validation")] for r in model.history_]
    return state(model) | {"history": np.array(history), "best": np.array(model.best_epoch_)}


def told(act):
    """What an error says."""
    try:
        act()
    except GateworkError as error:
        return str(error)
    return "no error"


class Regression:
    """A linear model in float64, with batch normalisation of what it reads if asked for."""

    train_size, validation_size = 14, 5

    def __init__(self, norm=False):
        draw = torch.Generator().manual_seed(1)
        self.model = torch.nn.Linear(3, 1, dtype=torch.float64)
        self.x = torch.randn(19, 3, dtype=torch.float64, generator=draw)
        with torch.no_grad():
            self.model.weight.copy_(self.x[:1])
            self.model.bias.fill_(0.5)
        if norm:
            self.model = torch.nn.Sequential(BatchNorm(3, dtype=torch.float64), self.model)

    def to(self, device):
        pass

    def losses(self, index, part):
        x = self.x[index + (self.train_size if part == "validation" else 0)]
        return (self.model(x).squeeze(1) - x.prod(dim=1)).square()


def double(name):
    """All numbers of a model in float64, trained; of some last batches one process has nothing."""
    problem, size, epochs = {
        "double": lambda: (Regression(), 3, 20),
        "norm": lambda: (Regression(norm=True), 4, 20),
        "sequences": lambda: (Sequences(), 11, 2),
    }[name]()
    progress = fit(problem, Settings(epochs=epochs, batch_size=size, device="cpu"))
    history = [[r["train"], r["validation"]] for r in progress.history]
    weights = {k: v.numpy() for k, v in problem.model.state_dict().items()}
    return weights | {"history": np.array(history)}


class Sequences:
    """Ragged sequences for the classifier's network with convolutions, in float64.

    In float32 two runs differ where rounding alone is learnt: what a convolution adds to all its
    outputs, batch normalisation takes away again.
    """

    train_size, validation_size = 12, 4

    def __init__(self):
        torch.manual_seed(2)
        self.model = ClassifyNetwork(resolve("rnn"), 2, 7, 2, 3, convolution="beside").double()
        self.x = torch.randn(16, 7, 4, dtype=torch.float64)
        self.lengths, self.targets = torch.arange(16) % 4 + 4, torch.arange(16) % 2

    def to(self, device):
        pass

    def losses(self, index, part):
        own = index + (self.train_size if part == "validation" else 0)
        x = self.x * (torch.arange(7) < self.lengths[:, None])[..., None]
        scores = self.model(x[own], self.lengths[own])
        return torch.nn.functional.cross_entropy(scores, self.targets[own], reduction="none")


def foreign_norm():
    """Train a model with torch's own batch normalisation."""
    problem = Regression()
    problem.model = torch.nn.Sequential(torch.nn.BatchNorm1d(3).double(), problem.model)
    fit(problem, Settings(epochs=1, device="cpu"))


def main(folder):
    """Fit, resume and fail in this process, together with the others."""
    torch.set_num_threads(1)
    own = folder / os.environ["RANK"]
    fitted = {name: found(quick(**arguments).fit(SERIES)) for name, arguments in FITS.items()}
    fitted |= {name: double(name) for name in DOUBLES}
    fitted["whole"] = found(quick(**DROPOUT).fit(SERIES))
    quick(**DROPOUT | {"epochs": 3}).fit(SERIES, folder=folder / "kept")
    fitted["parts"] = found(quick(**DROPOUT).fit(SERIES, folder=folder / "kept", resume=True))
    np.savez(own, **{f"{k}/{n}": v for k, numbers in fitted.items() for n, v in numbers.items()})

    scaling.LARGEST = np.inf
    broken = [sine(40), np.r_[sine(20), np.full(20, 3e38)]]
    steep = PLAIN | {"scaling": "none", "loss": "mse", "relative": False, "validation": 0.0}
    other = SERIES if own.name == "0" else SERIES[:1]
    says = {
        "broken": told(lambda: quick(**steep | {"batch_size": 99}).fit(broken)),
        "other data": told(lambda: quick(**PLAIN).fit(other)),
        "absent": told(lambda: quick(**PLAIN).fit(SERIES, folder=folder / "no", resume=True)),
        "batch norm": told(foreign_norm),
        "command": vars(call(*AIR, "--out", folder / "run")),
    }
    Path(f"{own}.json").write_text(json.dumps(says))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
