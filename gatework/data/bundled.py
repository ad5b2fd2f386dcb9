"""Real series that come with the package, so that everything runs without a download."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class Bundled:
    """A bundled series: its columns and where the numbers come from."""

    time: str
    target: str
    source: str


SERIES = {
    "airpassengers": Bundled(
        "month",
        "passengers",
        "Monthly international airline passengers in thousands, 1949-1960: Box, Jenkins & "
        "Reinsel, Time Series Analysis, series G",
    ),
    "sunspots": Bundled(
        "month",
        "sunspots",
        "Monthly mean sunspot numbers, 1749-1983: Andrews & Herzberg, Data (1985), table 11.1; "
        "Swiss Federal Observatory, Zurich, and Tokyo Astronomical Observatory",
    ),
}


def bundled_names() -> tuple[str, ...]:
    """The names that stand for a bundled series wherever data is asked for."""
    return tuple(SERIES)


def bundled_path(name: str) -> Path:
    """The CSV file of a bundled series."""
    return Path(str(files("gatework.data") / "bundled" / f"{name}.csv"))
