"""Panels of series with more than the target: weather of 18 cities, and four CAMELS basins.

python benchmarks/panels.py --data weather                         prints the table
python benchmarks/panels.py --data camels --write docs/results_forecast.md    and writes it there
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pages import kept, spread, write_section
from shared_data import ATTRIBUTES, FORCINGS, camels, weather

import gatework as gw
from gatework.tasks.evaluation import Evaluation

Scores = dict[str, float]


@dataclass(frozen=True)
class Panel:
    """One set, what is forecast of it, and what stands beside it.

    Attributes:
        title: of the section.
        table: gives the data, long.
        test: days at the end that are scored; nothing is fitted on them.
        settings: of the forecaster, in every row.
        variants: what our rows differ in, by name.
        score: the figures of one row of an evaluation, by the column that they stand in.
        digits: of the figures.
        published: lines of the table, as they are.
        remark: what is to be known.
    """

    title: str
    table: Callable[[], pa.Table]
    test: int
    settings: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    score: Callable[[Evaluation, str], Scores]
    digits: int
    remark: str
    smaller_is_better: bool = True
    published: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        """The settings that fit on a line; the columns are told in words."""
        return {k: v for k, v in self.settings.items() if not isinstance(v, tuple)}


def degrees(evaluation: Evaluation, name: str) -> Scores:
    """MAE and RMSE over all cities."""
    errors = evaluation.errors()[name]
    return {"MAE, °C": errors.mae, "RMSE, °C": errors.rmse}


def efficiency(evaluation: Evaluation, name: str) -> Scores:
    """NSE of each basin, and their median: 1 - squared error / squared distance from the mean."""
    found = {}
    for row in np.unique(evaluation.rows):
        mine = evaluation.rows == row
        truth, forecast = evaluation.truth[mine], evaluation.forecasts[name][mine]
        found[BASINS[row]] = float(
            1 - np.square(truth - forecast).sum() / np.square(truth - truth.mean()).sum()
        )
    return {"median NSE": float(np.median([*found.values()])), **found}


def with_all_cities(table: pa.Table) -> pa.Table:
    """The table with every city's temperature in every city's rows."""
    names = table["city"].unique().to_pylist()
    by_city = table["temp_mean"].to_numpy().reshape(len(names), -1)
    for name, values in zip(names, by_city, strict=True):
        table = table.append_column(f"at {name}", pa.array(np.tile(values, len(names))))
    return table


BASINS = ("01022500", "01547700", "02064000", "03015500")
CITIES = (
    "BASEL", "BUDAPEST", "DE_BILT", "DRESDEN", "DUSSELDORF", "HEATHROW", "KASSEL", "LJUBLJANA",
    "MAASTRICHT", "MALMO", "MONTELIMAR", "MUENCHEN", "OSLO", "PERPIGNAN", "ROMA", "SONNBLICK",
    "STOCKHOLM", "TOURS",
)  # fmt: skip
MEASURED = (
    "cloud_cover", "global_radiation", "humidity", "precipitation", "pressure", "sunshine",
    "temp_max", "temp_min", "wind_gust", "wind_speed",
)  # fmt: skip
STATIC = tuple(name for names in ATTRIBUTES.values() for name in names.split())
PANELS = {
    "weather": Panel(
        "The weather of 18 cities, a day ahead",
        lambda: with_all_cities(weather()),
        730,
        {
            "horizon": 1, "context": 14, "season": 365, "target": "temp_mean", "time": "date",
            "id": "city", "static": ("city",), "calendar": ("yearday",), "batch_size": 128,
            "epochs": 4,
        },
        {
            "the temperature": {},
            "every city's temperature and all that is measured there": {
                "features": (*MEASURED, *(f"at {city}" for city in CITIES))
            },
        },
        degrees,
        2,
        "A panel of 18 cities, 3654 days and up to 11 features (a city that lacks one has nothing "
        "but its mask there); the mean temperature of the next day is forecast, of every day of "
        "the last two years. One LSTM for all cities, which reads the name of the city and the "
        "day of the year beside what the row names; the linear model reads what is a number. "
        "Seasonal naive is the value of 365 days ago.",
    ),
    "camels": Panel(
        "CAMELS, rainfall and runoff of four basins",
        camels,
        365,
        {
            "horizon": 1, "context": 60, "season": 365, "target": "discharge", "time": "date",
            "id": "basin", "future": FORCINGS, "static": STATIC, "loss": "mse", "epochs": 40,
            "patience": 10,
        },
        {"the weather alone": {"reads_target": False}, "the discharge until yesterday too": {}},
        efficiency,
        3,
        "Four basins of the United States (those that neuralhydrology tests with), 2000 and 2001 "
        "for training (the last fifth of it for stopping), 2002 for the test. One LSTM for all of "
        "them reads 27 attributes of the basin and five columns of weather (daymet), that of the "
        "day to forecast too. With `reads_target=False` it never sees discharge, as the published "
        "models do not; what knows yesterday's discharge has an easier task, and naive repeats "
        "it. The Nash-Sutcliffe efficiency is 1 for a perfect forecast and 0 for the mean of the "
        "test year. The published medians are those of 447 basins, with nine years of training "
        "and ten of test (Kratzert et al. 2019, HESS 23, 5089, table 3, single models, as quoted "
        "by others from the publisher's file): they say what can be reached, not how ours "
        "compares, for ours are four basins and a fifth of the years.",
        smaller_is_better=False,
        published=(
            "| published, 447 basins: LSTM | 0.731 ± 0.002 | – | – | – | – | – |",
            "| published, 447 basins: EA-LSTM | 0.714 ± 0.004 | – | – | – | – | – |",
            "| published, 447 basins: SAC-SMA, calibrated by basin | 0.603 | – | – | – | – | – |",
        ),
    ),
}  # fmt: skip


def run(panel: Panel, table: pa.Table, variant: str, seed: int) -> dict[str, Any]:
    """The figures of every row, by its name, and the seconds of processor time of a fit."""
    settings = {**panel.settings, **panel.variants[variant]}
    model = gw.Forecaster("lstm", **settings, seed=seed, device="cpu")
    cube = model.load_data(table)
    begin = cube.lengths - panel.test
    began = time.process_time()
    model.fit(cube.until(begin))
    seconds = time.process_time() - began
    evaluation = model.evaluate(cube, begin)
    scores = {name: panel.score(evaluation, name) for name in evaluation.forecasts}
    best = model.history_[model.best_epoch_ - 1]["validation"]
    return {"scores": scores, "seconds": seconds, "validation": best}


def line(name: str, runs: list[Scores], digits: int, *more: str) -> str:
    """One row, mean ± standard deviation over the runs."""
    cells = [spread([scores[column] for scores in runs], digits) for column in runs[0]]
    return f"| {' | '.join([name, *cells, *more])} |"


def lines(panel: Panel, measured: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """The table: ours and the linear model of each variant, the forecasts that read no more."""
    first = next(iter(measured.values()))[0]["scores"]
    head = ["forecast", *first[next(iter(first))], "seconds"]
    found = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for variant, runs in measured.items():
        own = next(iter(runs[0]["scores"]))
        seconds = f"{np.mean([r['seconds'] for r in runs]):.0f}"
        scores = [r["scores"][own] for r in runs]
        found.append(line(f"Gatework {own}: {variant}", scores, panel.digits, seconds))
        linear = [runs[0]["scores"]["linear"]]
        found.append(line(f"linear: {variant}", linear, panel.digits, "–"))
    for name in list(first)[1:-1]:
        found.append(line(name, [first[name]], panel.digits, "–"))
    return [*found, *panel.published]


def standing(panel: Panel, measured: Mapping[str, list[dict[str, Any]]]) -> str:
    """Which row is ahead of its linear model, in words, by the first column."""
    said = []
    for variant, runs in measured.items():
        own = next(iter(runs[0]["scores"]))
        mine, its = (
            [next(iter(r["scores"][name].values())) for r in runs] for name in (own, "linear")
        )
        better = np.mean(mine) < its[0] if panel.smaller_is_better else np.mean(mine) > its[0]
        how = "is ahead of" if better else "is not ahead of"
        said.append(
            f"With {variant} the {own} {how} the linear model: {np.mean(mine):.{panel.digits}f} "
            f"against {its[0]:.{panel.digits}f}."
        )
    return " ".join(said)


def main() -> None:
    """Run all variants, and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=PANELS, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of finished runs, not run again")
    parser.add_argument("--write", type=Path, help="put the section into this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    panel = PANELS[options.data]
    table, measured = panel.table(), {}
    for number, variant in enumerate(panel.variants):
        measured[variant] = [
            kept(options.keep, f"{options.data}-{number}-{seed}", run, panel, table, variant, seed)
            for seed in range(options.seeds)
        ]
        print(lines(panel, {variant: measured[variant]})[2], flush=True)
    text = "\n".join(lines(panel, measured)) + "\n\n" + standing(panel, measured)
    print(text)
    if options.write:
        words = (
            f"Measured by `python benchmarks/panels.py --data {options.data} --write "
            f"docs/results_forecast.md`, seeds 0 to {options.seeds - 1}, mean ± standard "
            f"deviation, seconds of processor time of a fit on one thread. {panel.remark} "
            f"Settings: `{', '.join(f'{k}={v!r}' for k, v in panel.shown().items())}`."
        )
        write_section(options.write, panel.title, f"{words}\n\n{text}")


if __name__ == "__main__":
    main()
