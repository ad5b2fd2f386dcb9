"""MNIST read row by row: an image is a sequence of 28 steps with 28 values each.

python benchmarks/mnist.py --out DIR            a bidirectional LSTM, its outputs pooled
python benchmarks/mnist.py --out DIR --cnn      convolutions before the LSTM
python benchmarks/mnist.py --out DIR --seeds 3 --write docs/results_images.md

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
from pages import kept, spread, write_section

import gatework as gw
from gatework.data.idx_file import read_idx

HERE = Path(__file__).parent
DATA = Path(os.environ.get("GATEWORK_DATA", HERE.parent.parent / "shared" / "data")) / "mnist"
# Of the 60,000 training images 5,000 are for validation, class by class.
COMMON: dict[str, Any] = {
    "scaling": "none",
    "validation": 1 / 12,
    "patience": 0,
    "schedule": "cosine",
    "device": "cpu",
}
LSTM = {
    "hidden_size": 128, "bidirectional": True, "pool": "max", "convolution": "none", "dropout": 0.2,
    "batch_size": 128, "learning_rate": 2e-3, "epochs": 14,
}  # fmt: skip
CNN = {
    "hidden_size": 64, "pool": "mean", "convolution": "before", "batch_size": 128,
    "learning_rate": 2e-3, "epochs": 6,
}  # fmt: skip
GOAL = " The goal is above 98.8 within 10 minutes on two cores; these seconds are of one."
TITLES = ("MNIST, row by row", "MNIST, convolutions before the LSTM")


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


def measured(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train with one seed, and say how many of the test images are told wrongly."""
    folder = options.out / f"{'cnn' if options.cnn else 'rows'}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    model = gw.Classifier(**arguments(options.cnn, options.epochs), seed=seed)
    X, y = (values[: options.cases] for values in images("train"))
    resume = (folder / "checkpoint.safetensors").is_file()
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(X, y, folder=folder, resume=resume, watcher=Epochs())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    model.save(folder)
    found = model.evaluate(*images("t10k"))
    return {
        "wrong": int(np.sum(found.truth != found.told)),
        "epoch": int(model.best_epoch_),
        # A run that went on has no time of its own.
        "seconds": None if resume else round(wall),
        "cpu": None if resume else round(cpu),
    }


def arguments(cnn: bool, epochs: int | None) -> dict[str, Any]:
    """Of the classifier, but for the seed."""
    chosen = COMMON | (CNN if cnn else LSTM)
    return chosen if epochs is None else chosen | {"epochs": epochs}


def section(options: argparse.Namespace, found: list[dict[str, Any]]) -> str:
    """What is published of the runs of all seeds."""
    right = [100 - row["wrong"] / 100 for row in found]
    named = ", ".join(f"{k}={v!r}" for k, v in arguments(options.cnn, options.epochs).items())
    rows = "\n".join(
        f"| {seed} | {right[seed]:.2f} | {row['wrong']} | {row['epoch']} | {row['cpu'] or '–'} |"
        for seed, row in enumerate(found)
    )
    return (
        f"Measured by `python benchmarks/mnist.py --out DIR{' --cnn' if options.cnn else ''} "
        f"--threads {options.threads} --seeds {len(found)} --write docs/results_images.md`: "
        f"`Classifier({named})`, 55,000 images to learn from, 5,000 to choose the epoch by, the "
        f"10,000 of the official test part to score; torch {torch.__version__}.\n\n"
        "| seed | right, % | told wrongly | epoch kept | seconds of processor time |\n"
        f"|---|---|---|---|---|\n{rows}\n\n"
        f"{spread(right)} % are right.{'' if options.cnn else GOAL}"
    )


def main() -> None:
    """Train with every seed; print what was found, or write it into a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--cnn", action="store_true", help="convolutions before the LSTM")
    parser.add_argument("--cases", type=int, default=60_000, help="training images")
    parser.add_argument("--epochs", type=int, help="passes over them")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, help="write a section of this page")
    options = parser.parse_args()
    name = "cnn" if options.cnn else "rows"
    found = [
        kept(options.out / "found", f"{name}_{seed}", measured, options, seed)
        for seed in range(options.seeds)
    ]
    text = section(options, found)
    if options.write is None:
        print(text)
    else:
        write_section(options.write, TITLES[options.cnn], text)


if __name__ == "__main__":
    main()
