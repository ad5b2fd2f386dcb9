"""``gatework check``: the data doctor."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gatework.cli import options
from gatework.errors import DataError

CHECK_EXAMPLE = "Example: gatework check sales.csv --target sold --time day --id shop --horizon 14"
COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}


def check(
    data: options.Data,
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
    """Look at a table before any training: columns, ids, steps, gaps, missing and odd values."""
    from gatework.data import doctor
    from gatework.data.columns import Columns

    columns = Columns(
        options.one_or_many(target), time, id, tuple(feature or ()), tuple(future or ()),
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
