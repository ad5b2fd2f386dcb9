"""``gatework check``: the data doctor."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gatework.errors import DataError

CHECK_EXAMPLE = "Example: gatework check sales.csv --target sold --time day --id shop --horizon 14"
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
Buffer = Annotated[
    int | None, typer.Option(min=1, help="Read a long Parquet file in pieces of so many rows.")
]


def check(
    data: Data,
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
    """Look at a table before any training: columns, ids, steps, gaps, missing and odd values."""
    from gatework.data import doctor
    from gatework.data.columns import Columns

    columns = Columns(
        one_or_many(target), time, id, tuple(feature or ()), tuple(future or ()),
        tuple(static or ()), tuple(category or ()),
    )  # fmt: skip
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


def one_or_many(target: list[str] | None) -> str | list[str] | None:
    """A repeated option as the estimators take it: none, one name, or several."""
    if not target:
        return None
    return target[0] if len(target) == 1 else target
