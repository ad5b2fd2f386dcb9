"""Sets of the UCR/UEA archives with their official split, five seeds each, beside published rows.

python benchmarks/archive.py                            prints the tables
python benchmarks/archive.py --write docs/results_classify.md   writes the page
python benchmarks/archive.py --choose                   what the settings were chosen by

What is measured is kept in a file (--kept), and a run that is stopped goes on from there. The sets
lie in the folder of GATEWORK_DATA (../shared/data); www.timeseriesclassification.com has them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

import gatework as gw
from gatework.data.archive import read_split
from gatework.data.cases import Labelled
from gatework.data.labelled import load_labelled
from gatework.tasks.classify_cases import overview

HERE = Path(__file__).parent
DATA = Path(os.environ.get("GATEWORK_DATA", HERE.parent.parent / "shared" / "data")) / "ucr_uea"
SEEDS = range(5)
FOLDS = 3
FAWAZ = "Ismail Fawaz et al. 2019, 10 runs (hfawaz/dl-4-tsc, results/results-{}-avg-std.csv)"
KARIM = "Karim et al. 2017 (titu1994/LSTM-FCN, Results/train_loss_old_datasets.csv)"
SOURCES = {"a": FAWAZ.format("uea"), "b": FAWAZ.format("mts"), "c": KARIM}


@dataclass(frozen=True)
class Problem:
    """A set, and the accuracies in percent that others have published on its official split."""

    name: str
    published: Mapping[str, str]
    remark: str = ""


PROBLEMS = (
    Problem(
        "ItalyPowerDemand",
        {"LSTM-FCN [c]": "96.2", "1-NN DTW [c]": "95.0", "FCN [a]": "96.1 ± 0.3",
         "ResNet [a]": "96.3 ± 0.4", "MLP [a]": "95.4 ± 0.2"},
    ),
    Problem(
        "GunPoint",
        {"LSTM-FCN [c]": "100.0", "1-NN DTW [c]": "90.7", "FCN [a]": "100.0 ± 0.0",
         "ResNet [a]": "99.1 ± 0.7", "MLP [a]": "92.7 ± 1.1"},
    ),
    Problem(
        "ECG200",
        {"LSTM-FCN [c]": "87.0", "1-NN DTW [c]": "77.0", "FCN [a]": "88.9 ± 1.0",
         "ResNet [a]": "87.4 ± 1.9", "MLP [a]": "91.6 ± 0.7"},
    ),
    Problem(
        "Trace",
        {"LSTM-FCN [c]": "25.0", "1-NN DTW [c]": "100.0", "FCN [a]": "100.0 ± 0.0",
         "ResNet [a]": "100.0 ± 0.0", "MLP [a]": "80.7 ± 0.7"},
        "The 25.0 of the LSTM-FCN is what that file says, the share of one of four classes.",
    ),
    Problem(
        "JapaneseVowels",
        {"FCN [b]": "99.3 ± 0.2", "ResNet [b]": "99.2 ± 0.3", "MLP [b]": "97.6 ± 0.2"},
        "Ragged, 12 features.",
    ),
    Problem("BasicMotions", {}, "6 features; no published row was found that could be checked."),
)  # fmt: skip

# The arguments that differ from Classifier's own.
MODELS: dict[str, dict[str, Any]] = {
    "LSTM-FCN, which is `Classifier()`": {},
    "LSTM, last step": {"convolution": "none", "pool": "last"},
    "bidirectional LSTM, mean": {"convolution": "none", "bidirectional": True, "pool": "mean"},
}


@dataclass(frozen=True)
class Fit:
    """One fit: what share of the test part is told rightly, and what the fit cost."""

    accuracy: float
    cpu: float
    epoch: int


class Kept:
    """Measured fits in a file of JSON lines, so that nothing is measured twice."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path and path.is_file() else []
        self.found = {json.dumps(key): Fit(**row) for key, row in map(json.loads, lines)}

    def fit(
        self, key: Sequence[Any], arguments: Mapping[str, Any], train: Labelled, test: Labelled
    ) -> Fit:
        """The fit of that key, measured if it is new."""
        name = json.dumps(key)
        if name not in self.found:
            began = time.process_time()
            model = gw.Classifier(**arguments, device="cpu").fit(train)
            cpu = time.process_time() - began
            self.found[name] = Fit(model.score(test), round(cpu, 1), model.best_epoch_)
            print(*key, self.found[name], flush=True)
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, vars(self.found[name])]) + "\n")
        return self.found[name]


def measure(kept: Kept, problem: Problem) -> dict[str, list[Fit]]:
    """Every model with every seed on the official split."""
    train, test = read_split(DATA / problem.name)
    assert test is not None  # these sets come with a test part
    return {
        name: [
            kept.fit([problem.name, name, seed], {**arguments, "seed": seed}, train, test)
            for seed in SEEDS
        ]
        for name, arguments in MODELS.items()
    }


def part(data: Labelled, places: NDArray[np.int64]) -> Labelled:
    """Some of the cases."""
    assert data.labels is not None
    return load_labelled([data.cube.series(i) for i in places], data.labels[places])


# What the default of ``convolution`` was chosen among, and on which training parts.
CANDIDATES: dict[str, dict[str, Any]] = {
    "last step": {"convolution": "none", "pool": "last", "epochs": 200, "patience": 50},
    "mean": {"convolution": "none", "pool": "mean", "epochs": 150, "patience": 40},
    "convolutions before": {"convolution": "before", "epochs": 60, "patience": 20},
    "convolutions beside": {"convolution": "beside", "epochs": 60, "patience": 20},
}
CHOSEN_BY = ("GunPoint", "BasicMotions")


def choose(kept: Kept) -> str:
    """Candidates, each fitted on two thirds of the training part and scored on the other third."""
    rows = []
    for name, arguments in CANDIDATES.items():
        row = [name, shown(arguments)]
        for problem in CHOSEN_BY:
            train, _ = read_split(DATA / problem)
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
            fits = [
                kept.fit(
                    [problem, f"chosen among: {name}", fold],
                    arguments | {"seed": fold},
                    part(train, ours),
                    part(train, held),
                )
                for fold, (ours, held) in enumerate(folds.split(train.cube.values, train.labels))
            ]
            row.append(f"{100 * np.mean([fit.accuracy for fit in fits]):.1f}")
        rows.append(row)
    return table(["candidate", "arguments", *CHOSEN_BY], rows)


def shown(arguments: Mapping[str, Any]) -> str:
    """Arguments as they are written."""
    return f"`{', '.join(f'{k}={v!r}' for k, v in arguments.items())}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows_of(problem: Problem, measured: Mapping[str, Sequence[Fit]]) -> str:
    """Our rows of one set, and the published ones below them."""
    rows = []
    for name, fits in measured.items():
        shares = [100 * fit.accuracy for fit in fits]
        rows.append([
            name,
            f"{np.mean(shares):.1f} ± {np.std(shares, ddof=1):.1f}",
            f"{min(shares):.1f} to {max(shares):.1f}",
            f"{np.mean([fit.cpu for fit in fits]):.0f}",
        ])  # fmt: skip
    rows += [[f"{name}, published", figure, "", ""] for name, figure in problem.published.items()]
    return table(["model", "accuracy, %", "of the seeds", "CPU seconds of a fit"], rows)


def page(kept: Kept, problems: Sequence[Problem]) -> str:
    """docs/results_classify.md."""
    parts = [
        "# Results of the classifier",
        "",
        "Measured by `python benchmarks/archive.py --write docs/results_classify.md`: the official "
        f"training and test part of each set, seeds {SEEDS[0]} to {SEEDS[-1]}, mean ± standard "
        f"deviation over the seeds; torch {torch.__version__.partition('+')[0]}, Python "
        f"{platform.python_version()}, one thread. Every row has the same arguments on all sets, "
        "and the test part has chosen none of them: training stops on a fifth of the training "
        "part. The first row is `Classifier()`, what one gets without an argument; of the others "
        + "; ".join(f"{name}: {shown(given)}" for name, given in MODELS.items() if given)
        + ".",
        "",
        "Published: " + "; ".join(f"[{key}] {source}" for key, source in SOURCES.items()) + ". "
        "[c] keeps the weights of the smallest training loss.",
    ]
    for problem in problems:
        train, test = read_split(DATA / problem.name)
        assert test is not None
        parts += ["", f"## {problem.name}", ""]
        parts += [f"Training: {overview(train)} Test: {overview(test)} {problem.remark}".strip()]
        parts += ["", rows_of(problem, measure(kept, problem))]
    absent = [p.name for p in PROBLEMS if p not in problems]
    parts += ["", f"Not measured in this run: {', '.join(absent)}."] if absent else []
    parts += ["", "## What the default of convolution was chosen by", ""]
    parts += [
        f"`python benchmarks/archive.py --choose`: {FOLDS}-fold cross-validation within two of the "
        "official training parts, mean accuracy in percent, of the training parts alone. The "
        "epochs differ: the layers alone were given more, since they learn later. Learning rate "
        "and units are those that were there before, and 16 cases a step is a rule of thumb.",
        "",
        choose(kept),
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure all sets, or some, and print or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="write the page to this file")
    parser.add_argument("--only", nargs="+", default=[], help="names of sets")
    parser.add_argument("--choose", action="store_true", help="print the cross-validation")
    parser.add_argument("--kept", type=Path, help="a file of what is measured, to go on from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(options.kept)
    chosen = [p for p in PROBLEMS if p.name in (options.only or [p.name])]
    if options.choose:
        print(choose(kept))
    elif options.write:
        options.write.write_text(page(kept, chosen), encoding="utf-8")
    else:
        for problem in chosen:
            print(f"\n{problem.name}\n{rows_of(problem, measure(kept, problem))}")


if __name__ == "__main__":
    main()
