"""``gatework reproduce``: run the command behind a published figure again."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatework.errors import DataError, ModelError, TrainingError

EXAMPLE = "Example: gatework reproduce sunspots-12"
REGISTRY = Path("benchmarks") / "figures.toml"
HOME = Path(__file__).parents[2]  # of a clone; the folder of all packages where one is installed


@dataclass(frozen=True)
class Published:
    """A row of ``benchmarks/figures.toml``.

    Attributes:
        script: in ``benchmarks``.
        arguments: of the script.
        page, section: where its figures are published.
        minutes: that it takes on two cores, about.
        data: the folder of the data set; none: the data is bundled.
    """

    script: str
    arguments: list[str]
    page: str
    section: str
    minutes: float
    data: str = ""


def reproduce(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A figure. (default: list them)")] = None,
) -> None:
    """Run the command of a published figure, and print what is published beside it.

    What follows the name goes to the script, as in: reproduce m4-hourly --seeds 1
    """
    home = _clone()
    figures = _registry(home)
    if name is None:
        _print_list(figures)
        return
    if name not in figures:
        raise DataError(f"There is no figure {name!r}; choose one of {', '.join(figures)}.")
    figure = figures[name]
    if figure.data:
        place = Path(os.environ.get("GATEWORK_DATA", home.parent / "shared" / "data")) / figure.data
        if not place.is_dir():
            raise DataError(
                f"{name} needs the data set {figure.data}, and there is no {place}; set "
                f"GATEWORK_DATA to the folder that holds it. CONTRIBUTING.md says where it is from."
            )
    words = [f"benchmarks/{figure.script}", *figure.arguments, *context.args]
    minutes = f"{figure.minutes:g} minute{'' if figure.minutes == 1 else 's'}"
    print(f"python {' '.join(words)}  (about {minutes} on two cores)", flush=True)
    path = os.pathsep.join(filter(None, (str(home), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=home, env=os.environ | {"PYTHONPATH": path}, check=False)
    if done.returncode:
        raise TrainingError(f"{figure.script} ended with status {done.returncode}.")
    print(f"\nPublished in {figure.page}:\n\n{section(home / figure.page, figure.section)}")


def section(page: Path, title: str) -> str:
    """What stands under ``## title`` in a page.

    Raises:
        ModelError: there is no such section.
    """
    text = page.read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        head, _, body = part.partition("\n")
        if head == title:
            return body.strip()
    raise ModelError(f"{page} has no section {title!r}.")


def _clone() -> Path:
    """The clone of the repository: where this package lies, or the folder one stands in."""
    for place in (HOME, Path.cwd()):
        if (place / REGISTRY).is_file():
            return place
    raise DataError(
        f"The benchmarks are in the source repository and not in the installed package; clone it "
        f"and run this in its folder, where {REGISTRY} is."
    )


def _registry(home: Path) -> dict[str, Published]:
    with (home / REGISTRY).open("rb") as file:
        return {name: Published(**row) for name, row in tomllib.load(file).items()}


def _print_list(figures: dict[str, Published]) -> None:
    table = Table("name", "what", box=None, pad_edge=False)
    table.add_column("page", no_wrap=True)  # to be found by its whole name
    table.add_column("minutes")
    table.add_column("data")
    for name, figure in figures.items():
        where = figure.data or "bundled"
        table.add_row(name, figure.section, figure.page, f"{figure.minutes:g}", where)
    Console(soft_wrap=True).print(table)
