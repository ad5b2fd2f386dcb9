"""``gatework fit TASK``, made of the function that makes a task's job; ``tune`` is made of it too.

The parameters of that function are the options of the command, beside those that every run has.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gatework.cli.options import Out, Overwrite, Resume
from gatework.cli.runs import fit_in, plain_console, print_found, print_place, run_folder

if TYPE_CHECKING:
    from gatework.tasks.estimator import Estimator


@dataclass(frozen=True)
class Job:
    """What a command was asked to fit.

    Attributes:
        model: not fitted.
        data: what it is to be fitted to.
        says: what that is, in lines.
        plan: what the model will do with it, in lines.
        summarise: what the report of a fitted model shows.
        print_result: prints the figures of that.
    """

    model: Estimator
    data: Any
    says: list[str]
    plan: list[str]
    summarise: Callable[[Any], dict[str, Any]]
    print_result: Callable[[Console, dict[str, Any]], None]


Prepare = Callable[..., Job]


def fit_command(prepare: Prepare) -> Callable[..., None]:
    """The command that does a task's job."""

    def fit(out: Out, resume: Resume = False, overwrite: Overwrite = False, **given: Any) -> None:
        place = run_folder(out, resume, overwrite)
        job, console = prepare(**given), plain_console()
        for line in (*job.says, *job.plan):
            console.print(line)
        summary = fit_in(place, job.model, job.data, lambda: job.summarise(job.model))
        if summary is not None:
            print_found(console, summary, (*job.says, *job.plan))
            job.print_result(console, summary)
            print_place(console, out)

    fit.__doc__ = prepare.__doc__
    return with_options(fit, options_of(prepare).values())


def options_of(prepare: Prepare) -> Mapping[str, Parameter]:
    """The options of a task's job by name, its data first."""
    return inspect.signature(prepare, eval_str=True).parameters


def with_options(command: Callable[..., None], options: Iterable[Parameter]) -> Callable[..., None]:
    """A command that takes its own options and, as ``**given``, others: typer is told of all."""
    signature = inspect.signature(command, eval_str=True)
    out, *own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    data, *others = options
    joined = [p.replace(kind=p.KEYWORD_ONLY) for p in (data, out, *others, *own)]
    command.__signature__ = signature.replace(parameters=joined)  # type: ignore[attr-defined]
    return command


def typed(task: str, prepare: Prepare, given: dict[str, Any], chosen: dict[str, Any]) -> str:
    """The ``gatework fit`` command that does a job, as it is typed.

    Args:
        task: its name.
        prepare: what makes the job.
        given: its options; those that are as they would be anyway are left out.
        chosen: further ones, which are told in any case, unless they are switched off.
    """
    data, *options = options_of(prepare).values()
    words = ["gatework", "fit", task, str(given[data.name])]
    for option in options:
        value = (given | chosen).get(option.name, option.default)
        is_off = value is None or (value is False and option.default is not True)
        if is_off or (value == option.default and option.name not in chosen):
            continue
        name = f"--{'no-' if value is False else ''}{option.name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            words += [name] if isinstance(one, bool) else [name, str(one)]
    return shlex.join([*words, "--out", "by-hand"])
