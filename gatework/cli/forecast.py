"""``gatework fit forecast`` and ``backtest``, and ``predict`` with what was fitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatework.cli import options
from gatework.cli.jobs import Job
from gatework.cli.runs import opened, plain_console, print_notes, write_tables
from gatework.errors import DataError
from gatework.training.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

FIT_EXAMPLE = (
    "Example: gatework fit forecast sales.csv --target sold --time day --id shop --horizon 14 "
    "--out run. Or, with a bundled series: gatework fit forecast airpassengers --horizon 12 "
    "--out run"
)
BACKTEST_EXAMPLE = "Example: gatework backtest run sales.csv --folds 4 --no-refit"


def prepare(
    data: options.Data,
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    target: options.Target = None,
    time: options.Time = None,
    id: options.Id = None,
    feature: options.Feature = None,
    future: options.Future = None,
    static: options.Static = None,
    category: options.Category = None,
    calendar: Annotated[
        list[str] | None,
        typer.Option(help="auto, or minute, hour, weekday, day, month, yearday; repeatable."),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(min=1, help="Steps to read. (default: two seasons, or three horizons)"),
    ] = None,
    cell: options.Cell = "lstm",
    hidden_size: options.HiddenSize = 32,
    layers: options.Layers = 1,
    dropout: options.Dropout = 0.0,
    scaling: Annotated[str, typer.Option(help="standard, robust, log or none.")] = "standard",
    per: Annotated[str, typer.Option(help="A scale for each series, or one: global.")] = "series",
    loss: Annotated[str, typer.Option(help="mae, mse or huber, of the head point.")] = "mae",
    form: Annotated[str, typer.Option(help="direct, recursive or encoder_decoder.")] = "direct",
    head: Annotated[
        str, typer.Option(help="point, quantile, normal, student_t or negative_binomial.")
    ] = "point",
    reads_target: Annotated[
        bool,
        typer.Option(
            "--reads-target/--no-reads-target",
            help="Read the past of the target, or forecast it from the other inputs alone.",
        ),
    ] = True,
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season. (default: by the time stamps)")
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(min=1, help="Steps held out at the end of each series. (default: 15 %)"),
    ] = None,
    validation: options.Validation = None,
    epochs: options.Epochs = Settings.epochs,
    patience: options.Patience = Settings.patience,
    batch_size: options.BatchSize = Settings.batch_size,
    learning_rate: options.LearningRate = Settings.learning_rate,
    schedule: options.Schedule = Settings.schedule,
    windows_per_epoch: options.WindowsPerEpoch = None,
    seed: options.Seed = Settings.seed,
    device: options.Device = None,
    buffer: options.Buffer = None,
) -> Job:
    """Fit a forecaster, score it on held-out steps beside naive forecasts, write a report."""
    from gatework.data.doctor import overview
    from gatework.data.splits import check_plan, held_out
    from gatework.inspect.report import summarise
    from gatework.tasks.forecast import Forecaster
    from gatework.tasks.forecast_model import check_scored

    if test is not None and test < horizon:
        raise DataError(f"--test {test} steps hold no forecast of --horizon {horizon} steps.")
    model = Forecaster(
        cell=cell, hidden_size=hidden_size, num_layers=layers, horizon=horizon, context=context,
        loss=loss, dropout=dropout,
        validation=Forecaster.validation if validation is None else validation,
        target=options.one_or_many(target), time=time, id=id, features=tuple(feature or ()),
        future=tuple(future or ()), static=tuple(static or ()), categories=tuple(category or ()),
        calendar=calendar == ["auto"] or tuple(calendar or ()), season=season, scaling=scaling,
        per=per, form=form, head=head, reads_target=reads_target, epochs=epochs, patience=patience,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule,
        windows_per_epoch=windows_per_epoch, seed=seed, device=device,
    )  # fmt: skip
    stream = None if buffer is None else model.open_stream(data, buffer)
    cube = model.load_data(data) if stream is None else stream[0]
    begin = held_out(cube, horizon, test)
    known = cube.until(begin)
    read, short = check_plan(cube, horizon, context, season, begin, model.validation)
    plan = [f"note: {note}" for note in short]
    if stream is None:
        check_scored(model.get_params(deep=False), known, cube)  # not only after the training
    else:
        plan.append(stream.first_words())
    return Job(
        model,
        known if stream is None else stream.until(lambda piece: held_out(piece, horizon, test)),
        [overview(cube), *(f"note: {note}" for note in cube.notes)],
        [*plan, f"Reads {read} steps, forecasts {horizon}."],
        lambda fitted: summarise(fitted, cube, begin, Path(data).name),
        _print_result,
    )


def predict(
    model: Path,
    data: str,
    out: Path | None,
    coverage: float | None = None,
    buffer: int | None = None,
) -> None:
    """The steps after the end of each series, as a table; with a coverage, with intervals."""
    from gatework.tasks.forecast import Forecaster

    forecaster = Forecaster.load(model)
    source = opened(data, forecaster.model_, buffer)
    blind = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal blind
        blind = 0
        for table in forecaster.predict_tables(source, coverage):
            blind += table.column(table.num_columns - 1).null_count // forecaster.horizon
            yield table

    print_notes(plain_console(stderr=True), source.notes)
    write_tables(tables, out, "forecasts")
    if blind:
        print(
            f"note: {blind} series without a value in their last {forecaster.context_} steps have "
            f"no forecast.",
            file=sys.stderr,
        )


def backtest(
    model: Annotated[Path, typer.Argument(help="The folder that `gatework fit forecast` wrote.")],
    data: options.Data,
    folds: Annotated[int, typer.Option(min=1, help="Places to forecast from.")] = 5,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Steps between them. (default: the horizon)")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Fit at every place, or at the first.")
    ] = True,
    coverage: Annotated[
        float, typer.Option(help="Share of the values that intervals shall hold.")
    ] = 0.9,
) -> None:
    """Fit a model's arguments anew at places of the past, and score them beside the baselines."""
    from gatework.tasks.forecast import Forecaster

    evaluation = Forecaster.load(model).backtest(data, folds, stride, refit, coverage)
    _print_evaluation(plain_console(), evaluation.to_dict())


def _print_result(console: Console, summary: dict[str, Any]) -> None:
    _print_evaluation(console, summary["evaluation"])


def _print_evaluation(console: Console, evaluation: dict[str, Any]) -> None:
    table = Table("forecast", "MAE", "RMSE", "MAPE %", "sMAPE %", box=None, pad_edge=False)
    for name, errors in evaluation["errors"].items():
        values = (errors[k] for k in ("mae", "rmse", "mape", "smape"))
        table.add_row(name, *("–" if v is None else f"{v:.4g}" for v in values))
    console.print()
    console.print(table)
    console.print(f"\n{evaluation['verdict']}\n{evaluation['interval']['says']}")
