"""Data sets that do not ship with the package, as a folder of a development machine has them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]


def folder(name: str) -> Path:
    """The folder of a data set, below GATEWORK_DATA (default: shared/data beside the clone).

    Raises:
        SystemExit: it is not there.
    """
    place = Path(os.environ.get("GATEWORK_DATA", ROOT.parent / "shared" / "data")) / name
    if not place.is_dir():
        raise SystemExit(f"There is no {place}; set GATEWORK_DATA to the folder that holds {name}.")
    return place


def m4_hourly() -> dict[str, NDArray[np.float64]]:
    """The 414 hourly series of the M4 competition, each with its 48 test steps at the end."""
    train, test = (_ragged(folder("m4") / f"Hourly-{part}.csv.gz") for part in ("train", "test"))
    return {name: np.concatenate([train[name], test[name]]) for name in train}


def ett(name: str) -> NDArray[np.float64]:
    """ETTh1 or ETTm1, (T, 7): HUFL, HULL, MUFL, MULL, LUFL, LULL, OT."""
    with gzip.open(folder("ett") / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 8))


def _ragged(path: Path) -> dict[str, NDArray[np.float64]]:
    """Rows of different lengths by their first cell."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [[cell.strip('"') for cell in line.strip().split(",")] for line in file][1:]
    return {row[0]: np.array([float(cell) for cell in row[1:] if cell]) for row in rows}
