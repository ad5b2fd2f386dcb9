"""What two processes do under torchrun, for test_processes: each writes down what it has found."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from cli_tools import AIR, call
from data_tools import quick, sine, state

import gatework as gw
from gatework.data import scaling
from gatework.errors import GateworkError
from gatework.training.loop import fit
from gatework.training.settings import Settings

# 66 windows of two series, five batches of 13 and one of one: the second process has none of it.
SERIES = [sine(60, noise=0.3), sine(53, phase=1.0, noise=0.3)]
PLAIN = {"epochs": 6, "batch_size": 13, "device": "cpu"}
STOPS = PLAIN | {"epochs": 60, "patience": 2, "learning_rate": 0.1}
DROPOUT = PLAIN | {"num_layers": 2, "dropout": 0.5}
FITS = {"plain": PLAIN, "stops": STOPS, "clipped": PLAIN | {"clip": 1e-3}}


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
    """A linear model in float64."""

    train_size, validation_size = 14, 5

    def __init__(self):
        draw = torch.Generator().manual_seed(1)
        self.model = torch.nn.Linear(3, 1, dtype=torch.float64)
        self.x = torch.randn(19, 3, dtype=torch.float64, generator=draw)
        with torch.no_grad():
            self.model.weight.copy_(self.x[:1])
            self.model.bias.fill_(0.5)

    def to(self, device):
        pass

    def losses(self, index, part):
        x = self.x[index + (self.train_size if part == "validation" else 0)]
        return (self.model(x).squeeze(1) - x.prod(dim=1)).square()


def regression():
    """All numbers of that model, trained."""
    problem = Regression()
    progress = fit(problem, Settings(epochs=20, batch_size=3, device="cpu"))
    history = [[r["train"], r["validation"]] for r in progress.history]
    return {"weight": problem.model.weight.detach().numpy(), "history": np.array(history)}


def main(folder):
    """Fit, resume and fail in this process, together with the others."""
    torch.set_num_threads(1)
    own = folder / os.environ["RANK"]
    fitted = {name: found(quick(**arguments).fit(SERIES)) for name, arguments in FITS.items()}
    fitted["double"] = regression()
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
        "batch norm": told(classify),
        "command": vars(call(*AIR, "--out", folder / "run")),
    }
    Path(f"{own}.json").write_text(json.dumps(says))


def classify():
    """Fit a classifier with convolutions."""
    cases = np.random.default_rng(0).normal(size=(8, 5))
    model = gw.Classifier(hidden_size=2, convolution="beside", epochs=1, device="cpu")
    model.fit(cases, np.arange(8) % 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
