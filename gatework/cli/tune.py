"""``gatework tune TASK``: a search for the arguments of a job, and the run of what it found.

It takes the options of ``gatework fit TASK``; those of ``tasks.search_space`` with ranges too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from gatework.cli.jobs import Job, Prepare, options_of, typed, with_options
from gatework.cli.options import Out, Overwrite, Resume
from gatework.cli.runs import (
    PAGE,
    SUMMARY,
    fit_and_save,
    plain_console,
    print_found,
    print_place,
    stoppable,
)
from gatework.errors import DataError, TrainingError
from gatework.tasks.search_space import SEARCHED, Argument, Range

if TYPE_CHECKING:
    from gatework.tasks.search_space import Kind, Space
    from gatework.tasks.tuning import Trial
    from gatework.training.run_folder import RunFolder

FORECAST_EXAMPLE = (
    "Example: gatework tune forecast sales.csv --target sold --time day --id shop --horizon 14 "
    "--trials 30 --out run"
)
CLASSIFY_EXAMPLE = (
    "Example: gatework tune classify GunPoint_TRAIN.ts --hidden-size 8:64 --pool last --pool mean "
    "--out run"
)
DETECT_EXAMPLE = "Example: gatework tune detect machine.csv --cell gru --layers 1 --out run"
ARGUMENTS = {"layers": "num_layers"}  # of options that are called otherwise
NOT_HERE = ("buffer",)  # a search holds all data

Trials = Annotated[int, typer.Option(min=1, help="Fits, with those of a search gone on with.")]


def tune_command(prepare: Prepare, task: str) -> Callable[..., None]:
    """The command that searches for the arguments of a task's job."""
    options = {name: o for name, o in options_of(prepare).items() if name not in NOT_HERE}
    searched = {
        name: argument
        for name in options
        if (argument := SEARCHED[task].get(ARGUMENTS.get(name, name)))
    }

    def tune(
        out: Out,
        trials: Trials = 30,
        resume: Resume = False,
        overwrite: Overwrite = False,
        **given: Any,
    ) -> None:
        from gatework.tasks import saving, tuning
        from gatework.training.files import started_together
        from gatework.training.run_folder import RunFolder

        if started_together() > 1:
            raise TrainingError("A search runs in one process; start it without torchrun.")
        tuning.check_installed()
        made = (*saving.FILES, SUMMARY, PAGE, tuning.NAME)
        place = RunFolder(out, made, resume, overwrite, tuning.NAME, tuning.trials_done)
        words = {name: given.pop(name) for name in searched}
        asked = {name: _kind(name, searched[name], said) for name, said in words.items() if said}
        given |= {name: _value(kind) for name, kind in asked.items() if tuning.is_one(kind)}
        job = prepare(**given)
        named = {ARGUMENTS.get(name, name): kind for name, kind in asked.items()}
        space = tuning.space_of(job.model, job.data, named)

        def command(arguments: Mapping[str, Any]) -> str:
            options = {ARGUMENTS.get(name, name): name for name in searched}
            chosen = {options[name]: value for name, value in arguments.items()}
            return typed(task, prepare, given, chosen)

        _run(place, job, space, trials, command)

    tune.__doc__ = f"Search for the best arguments, then: {(prepare.__doc__ or '').lower()}"
    shown = [_option(o, searched[name]) if name in searched else o for name, o in options.items()]
    return with_options(tune, shown)


def _run(
    place: RunFolder,
    job: Job,
    space: Space,
    trials: int,
    command: Callable[[Mapping[str, Any]], str],
) -> None:
    """Search, then fit the best arguments again as any other run."""
    from sklearn.base import clone

    from gatework.tasks import tuning
    from gatework.tasks.judging import judged

    console = plain_console()
    words = judged(job.model, job.data, space).words
    for line in (*job.says, f"Trials are judged on {words}."):
        console.print(line)

    def tell(number: int, trial: Trial) -> None:
        console.print(f"trial {number}/{trials}: {_words(trial)}")

    def summarise() -> dict[str, Any]:
        about = tuning.to_dict(found, space, words) | {"by_hand": by_hand}
        return job.summarise(fitted) | {"search": about}

    with stoppable(place) as folder:
        found = tuning.search(job.model, job.data, space, trials, folder, place.resume, tell=tell)
        best = tuning.best(found)
        by_hand = command(best.arguments)
        console.print(f"The best is trial {found.index(best) + 1}; it is fitted again.")
        fitted = clone(job.model).set_params(**best.arguments)
        summary = fit_and_save(folder, fitted, job.data, summarise)
    if summary is not None:
        print_found(console, summary, job.says)
        job.print_result(console, summary)
        print_place(console, place.out)
        console.print(f"by hand: {by_hand}")


def _option(option: Parameter, argument: Argument) -> Parameter:
    """An option of ``fit`` as a search takes it: a range, or several values."""
    _, info = get_args(option.annotation)
    how = {int: "LOW:HIGH, or one or more values", bool: "yes, no or both"}
    how[float] = how[int]
    unasked, default = argument.unasked, option.default
    if isinstance(unasked, Range):
        default = f"{unasked.low:g}:{unasked.high:g}"
    elif unasked is not None:
        default = unasked if isinstance(unasked, str) else "both"
    about = (info.help or "").partition(" (default")[0]
    text = f"{about} {how.get(argument.of, 'One or more')}. (default: {default})"
    annotation = Annotated[list[str] | None, typer.Option(help=text)]
    return option.replace(annotation=annotation, default=None)


def _kind(name: str, argument: Argument, words: list[str]) -> Kind:
    """The range or the choices that an option names."""
    option = f"--{name.replace('_', '-')}"
    low, colon, high = words[0].partition(":")
    try:
        if colon and len(words) == 1 and argument.of in (int, float):
            return argument.range(low, high)
        return tuple(dict.fromkeys(argument.value(word) for word in words))
    except ValueError as error:
        what = {int: "whole numbers", float: "numbers", bool: "yes or no"}[argument.of]
        ranges = "LOW:HIGH or values in " if argument.of is not bool else ""
        said = " ".join(map(repr, words))
        why = f" {error}" if isinstance(error, DataError) else ""
        raise DataError(f"{option} takes {ranges}{what}, got {said}.{why}") from error


def _value(kind: Kind) -> Any:
    """The one value there is."""
    if isinstance(kind, Range):
        return int(kind.low) if kind.whole else kind.low
    return kind[0]


def _words(trial: Trial) -> str:
    given = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.arguments.items()
    )
    if trial.loss is None:
        return f"{given}: refused, {trial.why}"
    stopped = ", stopped early" if trial.state == "pruned" else ""
    return f"{given}: validation {trial.loss:.4g} ({trial.epochs} epochs{stopped})"
