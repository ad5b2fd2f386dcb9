"""ETTh1, all seven columns, 24, 168 and 720 hours ahead, by the Informer's split and scaling.

python benchmarks/etth1.py                                     prints the table
python benchmarks/etth1.py --write docs/results_forecast.md    and writes it there
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pages import kept, write_section
from shared_data import ett

import gatework as gw
from gatework.data import load_cube

NAMES = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
TRAIN, VALIDATION, TEST = 8640, 2880, 2880  # rows, one after the other; the rest is not used
CONTEXT, HIDDEN, BATCH, EPOCHS = 96, 32, 128, 3
PUBLISHED = {24: 0.650, 168: 1.212, 720: 1.960}


def run(table: NDArray[np.float64], horizon: int, seed: int) -> dict[str, Any]:
    """MSE and MAE in scaled units of each forecast, and the seconds of processor time of a fit."""
    columns = dict(zip(NAMES, table[: TRAIN + VALIDATION + TEST].T, strict=True))
    cube = load_cube(columns)
    begin = np.full(len(NAMES), TRAIN + VALIDATION)
    model = gw.Forecaster(
        "lstm", HIDDEN, horizon=horizon, context=CONTEXT, season=24, loss="mse", epochs=EPOCHS,
        relative=False, batch_size=BATCH, learning_rate=1e-3, seed=seed,
        device="cpu", validation=VALIDATION / (TRAIN + VALIDATION),
    )  # fmt: skip
    began = time.process_time()
    model.fit(cube.until(begin))
    seconds = time.process_time() - began
    evaluation = model.evaluate(cube, begin)
    deviation = np.array([columns[name][:TRAIN].std() for name in cube.ids])[evaluation.rows]
    errors = {}
    for name, forecast in evaluation.forecasts.items():
        error = (forecast - evaluation.truth) / deviation[:, None]
        errors[name] = (float(np.square(error).mean()), float(np.abs(error).mean()))
    return {"errors": errors, "seconds": seconds}


def row(horizon: int, name: str, scores: NDArray[np.float64], seconds: str) -> str:
    """One line of the table; ``scores`` are (seeds, 2)."""
    cells = [
        f"{column.mean():.3f} ± {column.std(ddof=1):.3f}" if len(column) > 1 else f"{column[0]:.3f}"
        for column in scores.T
    ]
    return f"| {horizon} | {name} | {' | '.join(cells)} | {seconds} |"


def main() -> None:
    """Run all horizons, and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--horizons", type=int, nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of finished runs, not run again")
    parser.add_argument("--write", type=Path, help="put the section into this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = ett("ETTh1")
    lines = ["| horizon | forecast | MSE | MAE | seconds |", "|---|---|---|---|---|"]
    for horizon in options.horizons:
        runs = [
            kept(options.keep, f"{horizon}-{seed}", run, data, horizon, seed)
            for seed in range(options.seeds)
        ]
        seconds = f"{np.mean([r['seconds'] for r in runs]):.0f}"
        for place, name in enumerate(runs[0]["errors"]):
            found = np.array([r["errors"][name] for r in runs[: 1 if place else None]])
            label = f"Gatework {name}" if place == 0 else name
            lines.append(row(horizon, label, found, seconds if place == 0 else "–"))
        lines.append(f"| {horizon} | published: LSTMa | {PUBLISHED[horizon]:.3f} | – | – |")
        print("\n".join(lines[-4:]), flush=True)
    if options.write:
        words = (
            f"Measured by `python benchmarks/etth1.py --write docs/results_forecast.md`, seeds 0 "
            f"to {options.seeds - 1}, mean ± standard deviation, seconds of processor time of a "
            f"fit on one thread. The Informer's split: {TRAIN} rows for training, {VALIDATION} for "
            f"validation, {TEST} for the test, of which every window counts (stride 1, targets "
            f"within the test rows, the context may lie before). Each column is scaled by mean "
            f"and deviation of its training rows; MSE and MAE are means over windows, steps and "
            f"all seven columns in these units. Ours is one LSTM of {HIDDEN} units for all "
            f"columns, each by itself: {CONTEXT} hours read, all hours forecast at once, "
            f"{EPOCHS} epochs of all windows, {BATCH} a step, squared error, learning rate 0.001, "
            f"not relative to the last value, "
            f"the epoch with the smallest validation loss kept. LSTMa as printed by Zhou et al. "
            f"2021 (Informer), recalled and not checked against the paper: a weak bar; it reads "
            f"all columns at once."
        )
        write_section(options.write, "ETTh1, multivariate", words + "\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
