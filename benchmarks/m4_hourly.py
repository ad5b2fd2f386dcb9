"""M4 hourly, the last 24 steps of 414 series: Gatework's LSTM beside neuralforecast's.

python benchmarks/m4_hourly.py --peer peers/bin/python            prints the table
python benchmarks/m4_hourly.py --peer ... --write docs/results_forecast.md   and writes it there

Both train on the same windows (48 steps read, 24 forecast, all places before the last 24 steps),
with the same layers, units and batch, on one thread. Ours trains so many epochs; the other one gets
the seconds of processor time that this took. They take turns, seed by seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pages import kept, spread, write_section
from shared_data import m4_hourly

import gatework as gw

HORIZON, CONTEXT, HIDDEN, BATCH = 24, 48, 64, 128
SIZES = ((32, 128), (64, 128), (128, 128))  # units and batch of the speeds
OWN, LOG, OTHER = "Gatework LSTM", "Gatework LSTM, scaling='log'", "neuralforecast LSTM"
SPEED = "M4 hourly, the speed of fitting"
PEER = Path(__file__).with_name("m4_neuralforecast.py")
PUBLISHED = {
    "published: LSTM of 2 layers of 200 units, 2000 steps on two GPUs": (270.4, 330.6, 6.40),
    "published: NHITS": (417.1, 485.3, 6.40),
}
Array = NDArray[np.float64]


class Clock:
    """A watcher that counts windows and the processor time of training, and may end it."""

    windows = 0

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit

    def start(self, epochs: int, train_size: int, done: int) -> None:
        """Training begins."""
        self.began = time.process_time()

    def batch(self, examples: int) -> None:
        """One batch is done."""
        self.windows += examples
        self.seconds = time.process_time() - self.began
        if self.seconds > self.limit:
            raise KeyboardInterrupt

    def epoch(self, record: dict[str, float]) -> None:
        """Nothing to do."""


def forecaster(
    hidden: int, batch: int, seed: int, epochs: int, scaling: str = "standard"
) -> gw.Forecaster:
    """Ours, not fitted."""
    return gw.Forecaster(
        "lstm", hidden, horizon=HORIZON, context=CONTEXT, batch_size=batch, epochs=epochs,
        validation=0.0, season=24, scaling=scaling, seed=seed, device="cpu",
    )  # fmt: skip


def ours(series: dict[str, Array], seed: int, epochs: int, scaling: str) -> dict[str, Any]:
    """Fit and forecast in this process."""
    model = forecaster(HIDDEN, BATCH, seed, epochs, scaling)
    clock, past = Clock(), {name: values[:-HORIZON] for name, values in series.items()}
    model.fit(past, watcher=clock)
    return {
        "forecast": model.predict(past).tolist(),
        "windows": clock.windows,
        "seconds": clock.seconds,
        "parameters": sum(p.numel() for p in model.network_.parameters()),
    }


def speed(series: dict[str, Array], python: str, seconds: float, rounds: int) -> str:
    """A table of windows trained in a second of processor time, by sizes; both in turn."""
    lines = [
        "| units | batch | Gatework | its layer alone | neuralforecast | ratio |",
        "|---|---|---|---|---|---|",
    ]
    past = {name: values[:-HORIZON] for name, values in series.items()}
    for hidden, batch in SIZES:
        pace: dict[str, list[float]] = {"own": [], "other": []}
        for _ in range(rounds):
            clock = Clock(seconds)
            with contextlib.suppress(KeyboardInterrupt):
                forecaster(hidden, batch, seed=0, epochs=99).fit(past, watcher=clock)
            pace["own"].append(clock.windows / clock.seconds)
            told = theirs(series, 0, seconds, python, hidden, batch)
            pace["other"].append(told["windows"] / told["seconds"])
        own, other = (np.array(pace[key]) for key in pace)
        ratio = f"{own.mean() / other.mean():.2f}"
        alone = f"{layer_alone(hidden, batch):,.0f}"
        cells = (hidden, batch, spread(own, 0), alone, spread(other, 0), ratio)
        lines.append(f"| {' | '.join(map(str, cells))} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def theirs(
    series: dict[str, Array],
    seed: int,
    seconds: float,
    python: str,
    hidden: int = HIDDEN,
    batch: int = BATCH,
) -> dict[str, Any]:
    """The same by neuralforecast, in an environment of its own."""
    with tempfile.TemporaryDirectory() as place:
        np.savez(f"{place}/series.npz", **{k: v[:-HORIZON] for k, v in series.items()})
        sizes = (HORIZON, CONTEXT, hidden, batch, seed, seconds)
        command = [python, str(PEER), place, *map(str, sizes)]
        subprocess.run(command, check=True, cwd=place)
        told: dict[str, Any] = json.loads(Path(place, "told.json").read_text())
        return told | {"forecast": np.load(f"{place}/forecast.npy").tolist()}


def layer_alone(hidden: int, batch: int, repeats: int = 40) -> float:
    """Windows whose way through the recurrent layer alone, there and back, takes a second."""
    layer, x = gw.Recurrent("lstm", 2, hidden), torch.randn(CONTEXT, batch, 2)
    for repeat in range(2 * repeats):
        if repeat == repeats:  # the first half warms up
            began = time.process_time()
        output, _ = layer(x)
        output[-1].square().sum().backward()
    return batch * repeats / (time.process_time() - began)


def errors(truth: Array, forecast: Array) -> tuple[float, float, float]:
    """MAE, RMSE and sMAPE %, of each series and then their mean, as the published figures are.

    sMAPE is |e| / (|y| + |f|), which lies between 0 and 100 %: half of M4's own.
    """
    e = np.abs(truth - forecast)
    smape = 100 * e / (np.abs(truth) + np.abs(forecast))
    return float(e.mean()), float(np.sqrt((e**2).mean(axis=1)).mean()), float(smape.mean())


def table(truth: Array, naive: Array, runs: dict[str, list[dict[str, Any]]]) -> str:
    """One row for each model, mean ± standard deviation over the seeds."""
    lines = [
        "| forecast | MAE | RMSE | sMAPE % | parameters | windows trained | seconds | windows/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        scores = np.array([errors(truth, np.array(run["forecast"])) for run in found])
        pace = np.array([run["windows"] / run["seconds"] for run in found])
        row = [name, *(spread(column) for column in scores.T), f"{found[0]['parameters']:,}"]
        row += [f"{np.mean([run[k] for run in found]):,.0f}" for k in ("windows", "seconds")]
        lines.append("| " + " | ".join([*row, spread(pace, 0)]) + " |")
    rows = {"seasonal naive (24)": errors(truth, naive), **PUBLISHED}
    for name, found in rows.items():
        scores = " | ".join(f"{v:.2f}" for v in found)
        lines.append(f"| {name} | {scores} | – | – | – | – |")
    return "\n".join(lines)


def words(text: str, runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """The section of docs/results_forecast.md."""
    pace = {k: np.mean([r["windows"] / r["seconds"] for r in found]) for k, found in runs.items()}
    said = ""
    if OTHER in pace:
        said = (
            "\n\nWindows trained in a second of processor time: "
            f"{pace[OWN] / pace[OTHER]:.2f} times neuralforecast's. The goal is 2. The recurrent "
            f"layer alone, forward and backward, does {layer_alone(HIDDEN, BATCH):,.0f} windows a "
            "second here, so that is what bounds ours at this size."
        )
    return (
        f"Measured by `python benchmarks/m4_hourly.py --peer PYTHON --epochs {options.epochs} "
        f"--seeds {options.seeds} --write docs/results_forecast.md` (PYTHON has what "
        f"`benchmarks/requirements-peers.txt` names), seeds 0 to {options.seeds - 1}, one thread, "
        f"torch {torch.__version__.partition('+')[0]}, both in turn, seed by seed. All but the "
        f"last 24 steps of 414 series are for training: every window of {CONTEXT} + {HORIZON} "
        f"steps. One layer of {HIDDEN} units and a linear head in both, {BATCH} windows a step, "
        f"MAE as loss, otherwise each with its own defaults; one row of ours is scaled by "
        f"logarithms, so that its loss is of shares, as sMAPE is. Epochs of ours: "
        f"{options.epochs}; neuralforecast gets the seconds of processor time that ours took. The "
        f"errors are those of each series, then their mean, and sMAPE is |e| / (|y| + |f|), as in "
        f"the published table (neuralforecast, distributed_neuralforecast.ipynb, which also had a "
        f"column of random numbers as a feature).\n\n{text}{said}"
    )


def speed_words(text: str, options: argparse.Namespace) -> str:
    """The section of the speeds."""
    return (
        f"Measured by `python benchmarks/m4_hourly.py --peer PYTHON --series {options.series} "
        f"--speed {options.speed:g} --seeds {options.seeds} --write docs/results_forecast.md`: "
        f"windows of {CONTEXT} + {HORIZON} steps of {options.series} series trained in a second of "
        f"processor time, one layer of an LSTM and a linear head in both, one thread, "
        f"{options.seeds} rounds in turn. The goal is "
        f"twice neuralforecast's speed; the recurrent layer alone, there and back, is, within the "
        f"noise, the most that ours could do.\n\n{text}"
    )


def main() -> None:
    """Run both and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer", help="Python of an environment with neuralforecast")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", type=int, default=414, help="the first so many alone")
    parser.add_argument("--keep", type=Path, help="folder of finished runs, not run again")
    parser.add_argument("--speed", type=float, help="only the speeds, so many seconds each")
    parser.add_argument("--write", type=Path, help="put the section into this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    series = dict(list(m4_hourly().items())[: options.series])
    if options.speed and not options.peer:
        parser.error("--speed compares with another one; name its Python by --peer")
    if options.speed:
        found = speed(series, options.peer, options.speed, options.seeds)
        if options.write:
            write_section(options.write, SPEED, speed_words(found, options))
        return
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        given = (ours, series, seed, options.epochs)
        found = {OWN: kept(options.keep, f"ours-{seed}", *given, "standard")}
        if options.peer:
            arguments = (series, seed, found[OWN]["seconds"], options.peer)
            found[OTHER] = kept(options.keep, f"theirs-{seed}", theirs, *arguments)
        found[LOG] = kept(options.keep, f"log-{seed}", *given, "log")
        for name, run in found.items():
            runs.setdefault(name, []).append(run)
            pace = run["windows"] / run["seconds"]
            print(f"seed {seed}: {name}: {run['seconds']:.0f} s, {pace:.0f} windows/s", flush=True)
    truth = np.stack([values[-HORIZON:] for values in series.values()])
    naive = np.stack([values[-2 * HORIZON : -HORIZON] for values in series.values()])
    text = table(truth, naive, runs)
    print(text)
    if options.write:
        write_section(options.write, "M4 hourly, the last 24 steps", words(text, runs, options))


if __name__ == "__main__":
    main()
