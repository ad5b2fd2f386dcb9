"""``gatework check``: the data doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gatework.errors import DataError

if TYPE_CHECKING:
    from gatework.data.doctor import Finding

CHECK_EXAMPLE = (
    "Example: gatework check sales.csv --target sold --time day --id shop --horizon 14. Or, of "
    "labelled sequences: gatework check GunPoint_TRAIN.ts"
)
COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}

Data = Annotated[
    str, typer.Argument(help="A CSV or Parquet file, or a bundled series: airpassengers, sunspots.")
]
Target = Annotated[
    list[str] | None,
    typer.Option(help="Column to forecast; give it again for one series per column."),
]
Time = Annotated[str | None, typer.Option(help="Column of time stamps.")]
Id = Annotated[str | None, typer.Option(help="Column that tells the series apart.")]
Feature = Annotated[
    list[str] | None,
    typer.Option(help="Further input column, known up to the present; give it again for more."),
]
Future = Annotated[
    list[str] | None,
    typer.Option(help="Input column that is known for the steps to forecast too; repeatable."),
]
Static = Annotated[
    list[str] | None,
    typer.Option(help="Input column that does not vary within a series; repeatable."),
]
Category = Annotated[
    list[str] | None,
    typer.Option(help="Input column of numbers that are categories (text is anyway); repeatable."),
]


def check(
    data: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet file, a bundled series (airpassengers, sunspots), or labelled "
            "sequences as fit classify reads them."
        ),
    ],
    target: Target = None,
    time: Time = None,
    id: Id = None,
    feature: Feature = None,
    future: Future = None,
    static: Static = None,
    category: Category = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Steps to read.")] = None,
) -> None:
    """Look at data before any training: columns, ids, steps, gaps, missing and odd values."""
    from gatework.data import doctor
    from gatework.data.archive import is_archive
    from gatework.data.columns import Columns

    columns = Columns(
        one_or_many(target), time, id, tuple(feature or ()), tuple(future or ()),
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
    from gatework.tasks.classify import check_scored, overview

    training, test = read_split(path)
    findings = [Finding(OK, f"{training.name}: {overview(training)}")]
    if test is not None:
        findings.append(Finding(OK, f"The test part: {overview(test)}"))
    parts = [training] if test is None else [training, test]
    notes = dict.fromkeys(note for part in parts for note in part.cube.notes)
    findings += [Finding(NOTE, note) for note in notes]
    if training.labels is None:
        findings.append(Finding(WARNING, "No classes: they can be told, and not learnt from."))
    elif test is not None:
        try:
            check_scored(test, training, shuffle=False)
        except DataError as error:
            findings.append(Finding(ERROR, str(error)))
    return findings


def one_or_many(target: list[str] | None) -> str | list[str] | None:
    """A repeated option as the estimators take it: none, one name, or several."""
    if not target:
        return None
    return target[0] if len(target) == 1 else target
