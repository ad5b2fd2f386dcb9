"""``gatework tune forecast`` and ``tune classify``: a search, and the run of what it found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gatework.cli import classify as classifying
from gatework.cli import forecast as forecasting
from gatework.cli.data import Data, Feature, Id, Target, Time, one_or_many
from gatework.cli.runs import PAGE, SUMMARY, fit_and_save, plain_console, stoppable
from gatework.errors import DataError, TrainingError
from gatework.training.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gatework.tasks.estimator import Estimator
    from gatework.tasks.tuning import Range, Space, Trial
    from gatework.training.run_folder import RunFolder

FORECAST_EXAMPLE = (
    "Example: gatework tune forecast sales.csv --target sold --time day --id shop --horizon 14 "
    "--trials 30 --out run"
)
CLASSIFY_EXAMPLE = "Example: gatework tune classify GunPoint_TRAIN.ts --trials 30 --out run"

Out = Annotated[Path, typer.Option(help="Folder for the search, the best model, its report.")]
Trials = Annotated[int, typer.Option(min=1, help="Fits, with those of a search gone on with.")]
Cells = Annotated[
    list[str] | None,
    typer.Option(help="A cell to try; give it again for more. (default: those torch has, too)"),
]
Sizes = Annotated[str, typer.Option(help="Units of each layer: LOW:HIGH, or one number.")]
Layers = Annotated[str, typer.Option(help="Layers on top of each other: LOW:HIGH, or one.")]
Rates = Annotated[str, typer.Option(help="Of AdamW: LOW:HIGH, or one number.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data in a fit, at most.")]
Patience = Annotated[int, typer.Option(min=0, help="Epochs without progress before stopping.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Examples per step.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda. (default: the best)")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a stopped search.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run there.")]


def forecast(
    data: Data,
    out: Out,
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    target: Target = None,
    time: Time = None,
    id: Id = None,
    feature: Feature = None,
    trials: Trials = 30,
    cell: Cells = None,
    hidden_size: Sizes = "8:128",
    layers: Layers = "1:3",
    learning_rate: Rates = "0.0003:0.03",
    context: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Steps to read; again for more. (default: 1, 2 and 4 seasons)"),
    ] = None,
    scaling: Annotated[str, typer.Option(help="standard, log or none.")] = "standard",
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season. (default: by the time stamps)")
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(min=1, help="Steps held out at the end of each series. (default: 15 %)"),
    ] = None,
    epochs: Epochs = Settings.epochs,
    patience: Patience = Settings.patience,
    batch_size: BatchSize = Settings.batch_size,
    seed: Seed = Settings.seed,
    device: Device = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Search for the arguments of a forecaster; the best are fitted, scored and reported."""
    from gatework.data.doctor import overview
    from gatework.data.splits import check_plan, held_out
    from gatework.inspect.report import summarise
    from gatework.tasks.forecast import Forecaster

    if test is not None and test < horizon:
        raise DataError(f"--test {test} steps hold no forecast of --horizon {horizon} steps.")
    place, space = _place(out, resume, overwrite), _space(cell, hidden_size, layers, learning_rate)
    model = Forecaster(
        horizon=horizon, target=one_or_many(target), time=time, id=id,
        features=tuple(feature or ()), season=season, scaling=scaling, epochs=epochs,
        patience=patience, batch_size=batch_size, seed=seed, device=device,
    )  # fmt: skip
    console = plain_console()
    cube = model.load_data(data)
    begin = held_out(cube, horizon, test)
    read, short = check_plan(cube, horizon, None, season, begin)

    def has_room(steps: int) -> bool:
        try:
            check_plan(cube, horizon, steps, season, begin)
        except DataError:
            return False
        return True

    contexts = context or [n for n in (max(1, read // 2), read, 2 * read) if has_room(n)]
    space |= {"context": tuple(dict.fromkeys(contexts))}
    forecasting.print_data(console, cube, short)
    past = cube.until(begin)
    _run(
        place, console, model.set_params(context=read), past, space, trials,
        (overview(past), past.values),
        lambda best: summarise(best, cube, begin, Path(data).name),
        forecasting.print_result,
    )  # fmt: skip


def classify(
    data: Annotated[
        Path,
        typer.Argument(help="Labelled sequences: a .ts, .arff or .npz file, or a folder of them."),
    ],
    out: Out,
    test: Annotated[
        Path | None,
        typer.Option(help="Sequences to score on. (default: NAME_TEST beside NAME_TRAIN)"),
    ] = None,
    trials: Trials = 30,
    cell: Cells = None,
    hidden_size: Sizes = "8:128",
    layers: Layers = "1:3",
    learning_rate: Rates = "0.0003:0.03",
    scaling: Annotated[str, typer.Option(help="standard or none.")] = "standard",
    epochs: Epochs = Settings.epochs,
    patience: Patience = Settings.patience,
    batch_size: BatchSize = Settings.batch_size,
    seed: Seed = Settings.seed,
    device: Device = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Search for the arguments of a classifier; the best are fitted, scored and reported."""
    from gatework.inspect.class_report import summarise
    from gatework.tasks.classify import Classifier, overview

    place, space = _place(out, resume, overwrite), _space(cell, hidden_size, layers, learning_rate)
    space |= {"bidirectional": (False, True)}
    model = Classifier(
        scaling=scaling, epochs=epochs, patience=patience, batch_size=batch_size, seed=seed,
        device=device,
    )  # fmt: skip
    training, scored = classifying.read_both(data, test)
    console = plain_console()
    classifying.print_data(console, training, scored)
    _run(
        place, console, model, training, space, trials,
        (overview(training), training.cube.values),
        lambda best: summarise(best, training, scored),
        classifying.print_result,
    )  # fmt: skip


def _run(
    place: RunFolder,
    console: Console,
    model: Estimator,
    data: Any,
    space: Space,
    trials: int,
    about: tuple[str, NDArray[Any]],
    summarise: Callable[[Any], dict[str, Any]],
    print_result: Callable[[Console, dict[str, Any], Path], None],
) -> None:
    """Search, then fit the best arguments again as any other run."""
    from sklearn.base import clone

    from gatework.tasks import tuning

    def tell(number: int, trial: Trial) -> None:
        console.print(f"trial {number}/{trials}: {_words(trial)}")

    with stoppable(place) as folder:
        found = tuning.search(
            model, data, space, trials, folder, place.resume,
            about=about[0], values=about[1], tell=tell,
        )  # fmt: skip
        best = tuning.best(found)
        console.print(f"The best is trial {found.index(best) + 1}; it is fitted again.")
        fitted = clone(model).set_params(**best.arguments)
        summary = fit_and_save(
            folder, fitted, data, lambda: summarise(fitted) | {"search": tuning.to_dict(found)}
        )
    if summary is not None:
        print_result(console, summary["evaluation"], place.out)


def _place(out: Path, resume: bool, overwrite: bool) -> RunFolder:
    from gatework.tasks import saving, tuning
    from gatework.training.files import started_together
    from gatework.training.run_folder import RunFolder

    if started_together() > 1:
        raise TrainingError("A search runs in one process; start it without torchrun.")
    tuning.check_installed()
    made = (*saving.FILES, SUMMARY, PAGE, tuning.NAME)
    return RunFolder(out, made, resume, overwrite, tuning.NAME, tuning.trials_done)


def _space(
    cells: list[str] | None, sizes: str, layers: str, rates: str
) -> dict[str, Range | tuple[Any, ...]]:
    from gatework.tasks.tuning import default_cells

    return {
        "cell": tuple(dict.fromkeys(cells)) if cells else default_cells(),
        "hidden_size": _range("--hidden-size", sizes),
        "num_layers": _range("--layers", layers),
        "learning_rate": _range("--learning-rate", rates, whole=False),
    }


def _range(option: str, text: str, whole: bool = True) -> Range:
    """``LOW:HIGH``, or one number for both."""
    from gatework.tasks.tuning import Range

    low, _, high = text.partition(":")
    kind = int if whole else float
    try:
        return Range(kind(low), kind(high or low), whole)
    except ValueError as error:
        what = "whole numbers" if whole else "numbers"
        raise DataError(
            f"{option} is LOW:HIGH in {what} above zero, or one of them, got {text!r}."
        ) from error


def _words(trial: Trial) -> str:
    given = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.arguments.items()
    )
    if trial.loss is None:
        return f"{given}: refused, {trial.why}"
    stopped = ", stopped early" if trial.state == "pruned" else ""
    return f"{given}: validation {trial.loss:.4g} ({trial.epochs} epochs{stopped})"
