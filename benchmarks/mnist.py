"""MNIST read row by row: an image is a sequence of 28 steps with 28 values each.

python benchmarks/mnist.py --out run            a bidirectional LSTM, its outputs pooled
python benchmarks/mnist.py --out run --cnn      convolutions before the LSTM
python benchmarks/mnist.py --out run --cases 6000    of that many training images

A run that is stopped goes on where it was. The four files of MNIST lie in GATEWORK_DATA/mnist
(../shared/data/mnist); yann.lecun.com/exdb/mnist has them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import gatework as gw
from gatework.data.idx_file import read_idx

HERE = Path(__file__).parent
DATA = Path(os.environ.get("GATEWORK_DATA", HERE.parent.parent / "shared" / "data")) / "mnist"
# Of the 60,000 training images 5,000 are for validation, class by class.
COMMON: dict[str, Any] = {"scaling": "none", "validation": 1 / 12, "patience": 0, "device": "cpu"}
LSTM = {
    "hidden_size": 128, "bidirectional": True, "pool": "max", "convolution": "none", "dropout": 0.2,
    "batch_size": 128, "learning_rate": 2e-3, "epochs": 20,
}  # fmt: skip
CNN = {
    "hidden_size": 64, "pool": "mean", "convolution": "before", "batch_size": 128,
    "learning_rate": 2e-3, "epochs": 6,
}  # fmt: skip


def images(part: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Images (N, 28, 28) in [0, 1] and their digits (N,)."""
    pixels = read_idx(DATA / f"{part}-images-idx3-ubyte.gz").astype(np.float32) / np.float32(255)
    return pixels, read_idx(DATA / f"{part}-labels-idx1-ubyte.gz")


class Epochs:
    """Prints each epoch with the seconds since the training began, all processes of it together."""

    def start(self, epochs: int, train_size: int, done: int) -> None:
        """The training begins."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def batch(self, examples: int) -> None:
        """Nothing is said of a batch."""

    def epoch(self, record: dict[str, float]) -> None:
        """One epoch is done."""
        spent = {
            "wall": round(time.perf_counter() - self.wall, 1),
            "cpu": round(time.process_time() - self.cpu, 1),
        }
        print(json.dumps(record | spent), flush=True)


def main() -> None:
    """Train, then say how many of the test images are told rightly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and model")
    parser.add_argument("--cnn", action="store_true", help="convolutions before the LSTM")
    parser.add_argument("--cases", type=int, default=60_000, help="training images")
    parser.add_argument("--epochs", type=int, help="passes over them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arguments = COMMON | (CNN if options.cnn else LSTM) | {"seed": options.seed}
    arguments |= {} if options.epochs is None else {"epochs": options.epochs}
    model = gw.Classifier(**arguments)
    X, y = images("train")
    options.out.mkdir(parents=True, exist_ok=True)
    resume = (options.out / "checkpoint.safetensors").is_file()
    began, cpu = time.perf_counter(), time.process_time()
    model.fit(
        X[: options.cases], y[: options.cases], folder=options.out, resume=resume, watcher=Epochs()
    )
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    model.save(options.out)
    found = model.evaluate(*images("t10k"))
    print(
        f"{arguments}\n{found.verdict()} Of 10,000 images {np.sum(found.truth != found.told)} are "
        f"told wrongly; epoch {model.best_epoch_} is kept. {wall:.0f} s, {cpu:.0f} s of CPU"
        f"{' since the run went on' if resume else ''}."
    )


if __name__ == "__main__":
    main()
