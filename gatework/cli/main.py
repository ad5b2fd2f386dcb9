"""The ``gatework`` command: its sub-commands, and the one place where errors become lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatework import __version__
from gatework.cli import bench, classify, data, detect, forecast, predict, reproduce, tune
from gatework.cli.jobs import fit_command
from gatework.errors import GateworkError
from gatework.training.files import is_main, write_whole

NAME = "gatework"
BAD_INPUT, INTERRUPTED, BUG = 2, 130, 1
# Versions of typer differ in where they keep this class, not in what derives from it.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name=NAME,
    help="Recurrent networks from their equations: fit, look inside, forecast, classify, detect.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
fit = typer.Typer(help="Fit a model to data.", no_args_is_help=True)
app.add_typer(fit, name="fit")
search = typer.Typer(help="Search for the best arguments of a model.", no_args_is_help=True)
app.add_typer(search, name="tune")
for task, of, example in (
    ("forecast", forecast, tune.FORECAST_EXAMPLE),
    ("classify", classify, tune.CLASSIFY_EXAMPLE),
    ("detect", detect, tune.DETECT_EXAMPLE),
):
    fit.command(task, epilog=of.FIT_EXAMPLE)(fit_command(of.prepare))
    search.command(task, epilog=example)(tune.tune_command(of.prepare, task))
app.command("predict", epilog=predict.PREDICT_EXAMPLE)(predict.predict)
app.command("backtest", epilog=forecast.BACKTEST_EXAMPLE)(forecast.backtest)
app.command("report", epilog=predict.REPORT_EXAMPLE)(predict.report)
app.command("check", epilog=data.CHECK_EXAMPLE)(data.check)
app.command(
    "reproduce",
    epilog=reproduce.EXAMPLE,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(reproduce.reproduce)
app.command("bench", epilog=bench.BENCH_EXAMPLE)(bench.bench)


@app.command("cells", epilog="Example: gatework cells peephole_lstm")
def cells(
    name: Annotated[str | None, typer.Argument(help="A cell's name, or file.py:Class.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print the equations as LaTeX.")] = False,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write its page: equations, diagram, cost; HTML.")
    ] = None,
) -> None:
    """List the cells of the catalogue, or show one: equations, parameters, cost per step."""
    from gatework.cells import all_cells, name_of
    from gatework.read.latex import latex as to_latex
    from gatework.read.table import summary

    if name is None:
        if latex or page is not None:
            what = "LaTeX is" if latex else "a page is"
            raise typer.BadParameter(f"{what} of one cell; name it, as in: cells gru --page g.html")
        table = Table("name", "what it is", "source", box=None, pad_edge=False)
        for cell in all_cells():
            what = cell.spec.doc.partition("\n")[0]
            table.add_row(name_of(cell), escape(what), escape(cell.source))
        Console().print(table)
    elif page is not None:
        from gatework.read.page import html

        write_whole(page, html(name))
        typer.echo(page)
    else:
        typer.echo(to_latex(name) if latex else summary(name))


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Recurrent networks from their equations: fit, look inside, forecast, classify, detect."""
    if version:
        typer.echo(f"gatework {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command line; whatever goes wrong is one line and an exit status."""
    if not is_main():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (as long as the process)
    try:
        status = app(standalone_mode=False, prog_name=NAME)
    except UsageError as error:
        if not error.format_message():  # a bare command has printed its help
            sys.exit(BAD_INPUT)
        command = error.ctx.command_path if error.ctx else NAME
        what = error.format_message().rstrip(".")
        _fail(f"error: {what}. See {command} --help.", BAD_INPUT)
    except (GateworkError, OSError) as error:
        _fail(" ".join([f"error: {error}", *getattr(error, "__notes__", ())]), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get("GATEWORK_DEBUG"):
            raise
        _fail(
            f"internal error: {type(error).__name__}: {error}. This is a bug in Gatework; "
            f"set GATEWORK_DEBUG=1 to see where.",
            BUG,
        )
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(status)
