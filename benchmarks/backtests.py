"""Backtests on the bundled series, five seeds each, beside published figures.

python benchmarks/backtests.py                        prints the tables
python benchmarks/backtests.py --write docs/results.md   writes the sections of the page
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import spread, write_all_figures, write_section

import gatework as gw
from gatework.cells import all_cells, name_of
from gatework.data import load_cube
from gatework.tasks.evaluation import Evaluation

SEEDS = range(5)
MORE = (
    "Larger data: [forecasting](results_forecast.md), [classification](results_classify.md), "
    "[images](results_images.md), [detection](results_detect.md); the command of every figure: "
    "[all figures](#all-figures)."
)
HOW = "How they are measured"
METRICS = ("mae", "rmse", "mape", "smape")


@dataclass(frozen=True)
class Case:
    """One backtest: train on what lies before ``held_out`` steps, forecast windows of the rest."""

    title: str
    data: str
    held_out: int
    settings: Mapping[str, Any]
    stride: int = 1
    cells: tuple[str, ...] = ("lstm", "gru")
    published: str = ""
    published_figure: tuple[str, float] | None = None  # our row to hold against it, and the figure
    remark: str = ""
    as_published: str = ""  # the published measure: MAPE of the last step, over truth or forecast
    measured: dict[str, list[Evaluation]] = field(default_factory=dict)


CASES = (
    Case(
        "AirPassengers, 12 months ahead",
        "airpassengers",
        24,
        {"horizon": 12, "scaling": "log", "epochs": 600, "patience": 100},
        cells=tuple(name_of(c) for c in all_cells() if not c.spec.beside),
        remark="Trained on 1949-1958, scored on the 13 windows of 1959 and 1960. Every cell of the "
        "catalogue with the same settings: 32 units (projected_lstm: projected to 16), context 24 "
        "months.",
    ),
    Case(
        "AirPassengers, 6 months ahead from 1959",
        "airpassengers",
        24,
        {"horizon": 6, "scaling": "log", "hidden_size": 20, "epochs": 300, "validation": 0.0},
        published="LSTM MAPE 2.71 % (h=20, 300 epochs; darts, examples/04-RNN-examples.ipynb)",
        remark="The published model is told the calendar (month and year, known in the future); "
        "ours reads the series alone, trains the same 300 epochs, and holds out everything after "
        "1958. The published backtest counts the sixth month of each forecast alone: that figure "
        "has a column.",
        published_figure=("lstm", 2.71),
        as_published="truth",
    ),
    Case(
        "Sunspots, 36 months ahead from 1940",
        "sunspots",
        519,
        {
            "horizon": 36,
            "context": 125,
            "hidden_size": 10,
            "scaling": "log",
            "epochs": 100,
            "patience": 20,
        },
        stride=10,
        published="GRU MAPE 66.0 %, exponential smoothing 115.0 % (h=10; darts, the same notebook)",
        remark="Trained until September 1940, a forecast every 10 months after that, as published. "
        "The published figure counts the 36th month alone and divides by the forecast, not by the "
        "truth (the notebook passes the two to the metric in that order): it has a column. "
        "Near the minima the truth is close to 0, so plain MAPE says little here.",
        published_figure=("gru", 66.0),
        as_published="forecast",
    ),
    Case(
        "Sunspots, 12 months ahead",
        "sunspots",
        240,
        {"horizon": 12, "context": 48, "epochs": 60, "patience": 15},
        remark="Trained until 1963, scored on every window of the last 20 years.",
    ),
)


def run(case: Case) -> None:
    """Fit every cell with every seed."""
    cube = load_cube(case.data)
    begin = cube.lengths - case.held_out
    for cell in case.cells:
        settings = dict(case.settings)
        evaluations = []
        for seed in SEEDS:
            began = time.perf_counter()
            model = gw.Forecaster(cell=cell, seed=seed, device="cpu", **settings)
            model.fit(cube.until(begin))
            evaluations.append(model.evaluate(cube, begin, case.stride))
            print(
                f"{case.title}: {cell}, seed {seed}: {evaluations[-1].verdict()} "
                f"({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
        case.measured[cell] = evaluations


def table(case: Case) -> str:
    """The rows of one case: mean and standard deviation over the seeds, then the baselines."""
    head = ["forecast", "MAE", "RMSE", "MAPE %", "sMAPE %"]
    head += ["as published, %"] if case.as_published else []
    head += ["beats the baselines"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell, evaluations in case.measured.items():
        errors = [e.errors()[e.model] for e in evaluations]
        row = [cell, *(spread([getattr(e, m) for e in errors]) for m in METRICS)]
        if case.as_published:
            row.append(spread([last_step(e, e.model, case.as_published) for e in evaluations]))
        wins = sum(e.skill() > 0 for e in evaluations)
        lines.append("| " + " | ".join([*row, f"{wins} of {len(evaluations)} seeds"]) + " |")
    first = next(iter(case.measured.values()))[0]
    for name, errors in first.errors().items():
        if name == first.model:
            continue
        row = [name, *(f"{getattr(errors, m):.2f}" for m in METRICS)]
        row += [f"{last_step(first, name, case.as_published):.2f}"] if case.as_published else []
        lines.append("| " + " | ".join([*row, "–"]) + " |")
    return "\n".join(lines)


def last_step(evaluation: Evaluation, row: str, divisor: str) -> float:
    """Mean error of the last step, relative to the truth or to the forecast, in percent."""
    truth, forecast = evaluation.truth[:, -1], evaluation.forecasts[row][:, -1]
    return float(
        100 * np.mean(np.abs((forecast - truth) / {"truth": truth, "forecast": forecast}[divisor]))
    )


def standing(case: Case) -> str:
    """Whether our row reaches the published figure, in words."""
    assert case.published_figure is not None  # every case with a published text has one
    row, figure = case.published_figure
    own = np.mean([last_step(e, row, case.as_published) for e in case.measured[row]])
    how = "falls short of it" if own > figure else "reaches it"
    return f"Ours {how}: {own:.2f} against {figure:.2f}."


def smallest(case: Case) -> str:
    """Which has the smallest mean error, and whether a baseline's is smaller."""
    means = {
        cell: np.mean([e.errors()[e.model].mae for e in evaluations])
        for cell, evaluations in case.measured.items()
    }
    best = min(means, key=lambda cell: means[cell])
    one = case.measured[best][0]
    better = [
        name
        for name, errors in one.errors().items()
        if name != one.model and errors.mae < means[best]
    ]
    beside = f"that of {' and '.join(better)} is smaller" if better else "no baseline's is smaller"
    return f"The smallest MAE of a cell is that of {best}; {beside}."


def intro() -> str:
    """How all cases are measured."""
    return (
        "Measured by `make results` (`python benchmarks/backtests.py --write docs/results.md`), "
        f"seeds {SEEDS[0]} to {SEEDS[-1]}, mean ± standard deviation over the seeds; torch "
        f"{torch.__version__.partition('+')[0]}, Python {platform.python_version()}, CPU. Scaling "
        "is fitted and training stopped on the years before the scored ones. The baselines stand "
        "beside every row, on the same windows: naive repeats the last value, seasonal naive the "
        "value of twelve months ago, drift goes on along the line from the first value to the last "
        "one, and linear is a ridge regression on the training windows of the first cell. " + MORE
    )


def section(case: Case) -> str:
    """What is published of a case."""
    settings = ", ".join(f"{k}={v!r}" for k, v in case.settings.items())
    windows = len(next(iter(case.measured.values()))[0].truth)
    parts = [f"{case.remark} Settings: `{settings}`; {windows} windows.", "", table(case)]
    parts += ["", smallest(case)]
    parts += ["", f"Published: {case.published}. {standing(case)}"] if case.published else []
    return "\n".join(parts)


def main() -> None:
    """Run all cases, or those whose title holds a word, and print or write their sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="write the sections of this page")
    parser.add_argument("--only", default="", help="run the cases whose title holds this")
    options = parser.parse_args()
    chosen = [c for c in CASES if options.only.lower() in c.title.lower()]
    for case in chosen:
        run(case)
        if options.write:
            write_section(options.write, case.title, section(case))
        else:
            print(f"\n{case.title}\n{table(case)}\n")
    if options.write:
        write_section(options.write, HOW, intro())
        write_all_figures()


if __name__ == "__main__":
    main()
