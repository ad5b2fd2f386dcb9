"""ETTh1 and ETTm1, all seven columns, 24, 168 and 720 steps ahead, as the Informer was measured.

python benchmarks/ett.py                                          prints the table of ETTh1
python benchmarks/ett.py --data ETTm1                             that of ETTm1
python benchmarks/ett.py ... --write docs/results_forecast.md     and writes it there
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pages import kept, spread, write_section
from shared_data import ett

import gatework as gw
from gatework.data import load_cube
from gatework.data.words import counted
from gatework.tasks.evaluation import Evaluation

Array = NDArray[np.float64]
NAMES = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
HORIZONS = (24, 168, 720)
MONTH = 30 * 24  # hours
TRAIN, VALIDATION, TEST = 12, 4, 4  # months, one after the other; the rest is not used
HIDDEN, BATCH, RATE = 64, 128, 3e-3
AT_ONCE = 2880  # origins that are scored together; all of them do not fit into memory


@dataclass(frozen=True)
class Data:
    """One set, how long ours is trained on it, and what is published of it.

    Attributes:
        hour: steps in an hour.
        context: steps that are read.
        epochs: of all training windows.
        relative: the horizons at which values are relative to the last one.
        decided: how that was chosen.
        published: (MSE, MAE) by model and horizon.
        remark: on the published rows.
    """

    hour: int
    context: int
    epochs: int
    relative: tuple[int, ...]
    decided: str
    published: Mapping[str, Mapping[int, tuple[float, float]]]
    remark: str


SETS = {
    "ETTh1": Data(
        1,
        96,
        3,
        (24,),
        "which the validation part decided",
        {
            "LSTMa": {24: (0.650, 0.624), 168: (1.212, 0.867), 720: (1.960, 1.322)},
            "Informer": {24: (0.577, 0.549), 168: (0.931, 0.752), 720: (1.215, 0.896)},
            "SCINet": {24: (0.3213, 0.3590), 168: (0.4941, 0.4874), 720: (0.5785, 0.5525)},
        },
        "LSTMa and Informer as printed by Zhou et al. 2021 (Informer, table 2), recalled and not "
        "checked against the paper; SCINet (Liu et al. 2022), which reads up to 736 hours, as "
        "measured again by the package tsts.",
    ),
    "ETTm1": Data(
        4,
        96,
        1,
        (),
        "which the validation part decided",
        {
            "LSTMa": {24: (0.621, 0.629)},
            "Informer": {24: (0.323, 0.369)},
        },
        "LSTMa and Informer as printed by Zhou et al. 2021 (Informer, table 2), recalled and not "
        "checked against the paper; of 168 and 720 steps of this set it has no rows.",
    ),
}


def run(data: Data, table: Array, horizon: int, seed: int) -> dict[str, Any]:
    """MSE and MAE in scaled units of each forecast, and the seconds of processor time of a fit."""
    month = MONTH * data.hour
    columns = dict(zip(NAMES, table[: (TRAIN + VALIDATION + TEST) * month].T, strict=True))
    cube, begin = load_cube(columns), (TRAIN + VALIDATION) * month
    model = gw.Forecaster(
        "lstm", HIDDEN, horizon=horizon, context=data.context, season=24 * data.hour, loss="mse",
        epochs=data.epochs, batch_size=BATCH, learning_rate=RATE, schedule="cosine", seed=seed,
        device="cpu",
        relative=horizon in data.relative, validation=VALIDATION / (TRAIN + VALIDATION),
    )  # fmt: skip
    began = time.process_time()
    model.fit(cube.until(np.full(len(NAMES), begin)))
    seconds = time.process_time() - began
    deviation = np.array([columns[name][: TRAIN * month].std() for name in cube.ids])
    sums: dict[str, Array] = {}
    for part in evaluations(model, cube, begin):
        for name, forecast in part.forecasts.items():
            error = (forecast - part.truth) / deviation[part.rows][:, None]
            found = np.array([np.square(error).sum(), np.abs(error).sum(), error.size])
            sums[name] = sums.get(name, 0) + found
    errors = {name: (found[:2] / found[2]).tolist() for name, found in sums.items()}
    best = model.history_[model.best_epoch_ - 1]["validation"]
    return {"errors": errors, "seconds": seconds, "validation": best}


def evaluations(model: gw.Forecaster, cube: Any, begin: int) -> Iterator[Evaluation]:
    """All windows whose targets lie behind ``begin``, some at a time."""
    series, end = len(cube.ids), int(cube.lengths[0])
    for first in range(begin, end - model.horizon + 1, AT_ONCE):
        last = min(first + AT_ONCE - 1 + model.horizon, end)
        yield model.evaluate(cube.until(np.full(series, last)), np.full(series, first))


def rows(data: Data, horizon: int, runs: list[dict[str, Any]]) -> list[str]:
    """The lines of one horizon: ours, the baselines, what is published."""
    seconds = f"{np.mean([r['seconds'] for r in runs]):.0f}"
    lines = []
    for place, name in enumerate(runs[0]["errors"]):
        found = np.array([r["errors"][name] for r in runs])
        if place == 0:
            cells = [f"Gatework {name}", *(spread(column, 3) for column in found.T), seconds]
        else:
            cells = [name, *(f"{value:.3f}" for value in found[0]), "–"]
        lines.append(f"| {horizon} | {' | '.join(cells)} |")
    for name, by_horizon in data.published.items():
        if horizon in by_horizon:
            cells = [f"published: {name}", *(f"{v:.3f}" for v in by_horizon[horizon]), "–"]
            lines.append(f"| {horizon} | {' | '.join(cells)} |")
    return lines


def standing(horizon: int, runs: list[dict[str, Any]]) -> str:
    """Whether ours beats the best baseline, in words."""
    own, *others = runs[0]["errors"]
    best = min(others, key=lambda name: runs[0]["errors"][name][0])
    mine, its = np.mean([r["errors"][own][0] for r in runs]), runs[0]["errors"][best][0]
    how = "beats" if mine < its else "does not beat"
    return (
        f"{horizon} steps ahead the LSTM {how} the best baseline, {best}: "
        f"{mine / its:.2f} times its MSE."
    )


def words(name: str, horizons: list[int], seeds: int, text: str, standings: list[str]) -> str:
    """The section of docs/results_forecast.md."""
    data = SETS[name]
    some = "" if len(horizons) == len(HORIZONS) else f" --horizons {' '.join(map(str, horizons))}"
    absent = [str(horizon) for horizon in HORIZONS if horizon not in horizons]
    lacking = f" Not measured: {' and '.join(absent)} steps." if absent else ""
    month, shown = MONTH * data.hour, " and ".join(map(str, data.relative))
    shown = (
        f"{shown} steps ahead the values are read and forecast relative to the last one"
        if shown
        else "The values are read as they are, not relative to the last one"
    )
    return (
        f"Measured by `python benchmarks/ett.py --data {name}{some} --write "
        f"docs/results_forecast.md`, seeds 0 to {seeds - 1}, mean ± standard deviation, seconds of "
        f"processor time of a fit on one thread. The Informer's split: {TRAIN * month} rows for "
        f"training, {VALIDATION * month} for validation, {TEST * month} for the test, of which "
        f"every window counts (targets within the test rows, the context may lie before). Each "
        f"column is scaled by mean and deviation of its training rows; MSE and MAE are means over "
        f"windows, steps and all seven columns in these units. Ours is one LSTM of {HIDDEN} units "
        f"for all columns, each by itself (the published ones read all columns at once): "
        f"{data.context} steps read, all forecast at once, every training window, {BATCH} a step, "
        f"squared error, learning rate {RATE} and down to 0 along a cosine, "
        f"{counted(data.epochs, 'epoch')} (a budget of time, not the end of what it can learn), of "
        f"which the one with the smallest validation loss is kept. {shown}, {data.decided}. The "
        f"linear model is a ridge regression on the same windows, of at most 20,000 of them. "
        f"{data.remark}\n\n{text}\n\n{' '.join(standings)}{lacking}"
    )


def main() -> None:
    """Run all horizons, and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=SETS, default="ETTh1")
    parser.add_argument("--horizons", type=int, nargs="+", choices=HORIZONS, default=HORIZONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of finished runs, not run again")
    parser.add_argument("--write", type=Path, help="put the section into this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, table = SETS[options.data], ett(options.data)
    lines = ["| horizon | forecast | MSE | MAE | seconds |", "|---|---|---|---|---|"]
    standings = []
    for horizon in options.horizons:
        runs = [
            kept(options.keep, f"{options.data}-{horizon}-{seed}", run, data, table, horizon, seed)
            for seed in range(options.seeds)
        ]
        found = rows(data, horizon, runs)
        lines += found
        standings.append(standing(horizon, runs))
        print("\n".join([*found, standings[-1]]), flush=True)
    if options.write:
        given = options.data, options.horizons, options.seeds
        text = words(*given, "\n".join(lines), standings)
        write_section(options.write, f"{options.data}, multivariate", text)


if __name__ == "__main__":
    main()
