"""``gatework check``: the data doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gatework.cli import options
from gatework.errors import DataError

if TYPE_CHECKING:
    from gatework.data.doctor import Finding

CHECK_EXAMPLE = (
    "Example: gatework check sales.csv --target sold --time day --id shop --horizon 14. Or, of "
    "labelled sequences: gatework check GunPoint_TRAIN.ts"
)
COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}


def check(
    data: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet file, a bundled series (airpassengers, sunspots), or labelled "
            "sequences as fit classify reads them."
        ),
    ],
    target: options.Target = None,
    time: options.Time = None,
    id: options.Id = None,
    feature: options.Feature = None,
    future: options.Future = None,
    static: options.Static = None,
    category: options.Category = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Steps to read.")] = None,
) -> None:
    """Look at data before any training: columns, ids, steps, gaps, missing and odd values."""
    from gatework.data import doctor
    from gatework.data.archive import is_archive
    from gatework.data.columns import Columns

    columns = Columns(
        options.one_or_many(target), time, id, tuple(feature or ()), tuple(future or ()),
        tuple(static or ()), tuple(category or ()),
    )  # fmt: skip
    if is_archive(Path(data)):
        if columns != Columns() or horizon or context:
            raise DataError(f"{data} is of labelled sequences, without columns; name it alone.")
        findings = _cases(Path(data))
    else:
        findings = doctor.check(data, columns, horizon, context)
    console = Console(soft_wrap=True, emoji=False)
    errors = [f.text for f in findings if f.level == doctor.ERROR]
    for finding in findings:
        if finding.level == doctor.ERROR:
            continue  # said once, where errors are
        colour = COLOURS[finding.level]
        console.print(f"[{colour}]{finding.level:>8}[/]  {escape(finding.text)}", highlight=False)
    if errors:
        raise DataError(" ".join(errors))


def _cases(path: Path) -> list[Finding]:
    """What labelled sequences are, their test part too, as ``fit classify`` would find them."""
    from gatework.data.archive import read_split
    from gatework.data.doctor import ERROR, NOTE, OK, WARNING, Finding
    from gatework.tasks.classify_cases import Gathered, check_scored

    training, *test = (Gathered.of([part]) for part in read_split(path) if part is not None)
    findings = [Finding(OK, f"{training.name}: {training.overview()}")]
    findings += [Finding(OK, f"The test part: {part.overview()}") for part in test]
    notes = dict.fromkeys(note for part in (training, *test) for note in part.notes)
    findings += [Finding(NOTE, note) for note in notes]
    if training.labels is None:
        findings.append(Finding(WARNING, "No classes: they can be told, and not learnt from."))
    for part in test if training.labels is not None else ():
        try:
            check_scored(part, training, shuffle=False)
        except DataError as error:
            findings.append(Finding(ERROR, str(error)))
    return findings
