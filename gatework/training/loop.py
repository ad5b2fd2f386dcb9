"""The one training loop: AdamW, gradient clipping, early stopping, checkpoints, resume.

It knows nothing of series or text: a task gives it a ``Problem``. ``accelerate`` moves the model
to the device and knows of other processes; each takes a share of every batch (``processes``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gatework.errors import TrainingError
from gatework.training import checkpoint
from gatework.training.checkpoint import Progress
from gatework.training.epoch_order import epoch_order
from gatework.training.processes import Processes
from gatework.training.settings import Settings


class Problem(Protocol):
    """What is to be learnt."""

    @property
    def model(self) -> nn.Module:
        """The network to train."""

    @property
    def train_size(self) -> int:
        """How many examples an epoch trains on."""

    @property
    def validation_size(self) -> int:
        """How many for validation; 0: no validation part, and no early stopping."""

    def to(self, device: torch.device) -> None:
        """Move the data to the device of the model."""

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The loss of each example, (B,); ``part`` is ``"train"`` or ``"validation"``."""

    def describe(self, index: int, part: str) -> str:
        """One example in words, for errors: which series, which place."""


@runtime_checkable
class InParts(Protocol):
    """A problem whose examples are not all in memory, or not all trained on in every epoch."""

    @property
    def train_parts(self) -> Sequence[int]:
        """The training examples of each part that is in memory at a time; a batch is of one.

        Where they are more than ``train_size``, so many are drawn of them in every epoch.
        """


class Watcher(Protocol):
    """Who wants to see the run."""

    def start(self, epochs: int, train_size: int, done: int) -> None:
        """The run begins: epochs at most, training examples in each, epochs already done."""

    def batch(self, examples: int) -> None:
        """So many more training examples are done."""

    def epoch(self, record: dict[str, float]) -> None:
        """An epoch is done; its losses."""


def fit(
    problem: Problem,
    settings: Settings,
    folder: Path | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    watcher: Watcher | None = None,
) -> Progress:
    """Train ``problem.model``; it ends with the weights of the best epoch.

    Args:
        problem: model and data.
        settings: how to train.
        folder: where a checkpoint is written after every epoch (and before the first), if given.
        resume: go on from the checkpoint in ``folder``: the numbers are those of a run that was
            never interrupted. Only ``epochs`` may differ from the first run, if the learning rate
            does not depend on them.
        identity: what a checkpoint must have been made with to fit (data, model), JSON-ready.
        watcher: told of every batch and epoch; of several processes, that of the main one.

    Raises:
        TrainingError: a loss or gradient is not finite (the first bad batch, example and
            parameter are named), or the checkpoint does not fit.
    """
    # The user's own random numbers are left as they were.
    with torch.random.fork_rng():
        run = _Run(problem, settings, folder, identity or {}, watcher)
        with run.processes.training(problem.model, run.identity):
            return run.run(resume)


class _Run:
    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        folder: Path | None,
        identity: dict[str, Any],
        watcher: Watcher | None,
    ) -> None:
        self.problem = problem
        self.settings = settings
        self.path = None if folder is None else folder / checkpoint.NAME
        free = ("epochs", "device") if settings.schedule == "constant" else ("device",)
        fixed = {k: v for k, v in vars(settings).items() if k not in free}
        self.identity = checkpoint.json_ready(identity | fixed)
        torch.manual_seed(settings.seed)
        self.order = torch.Generator().manual_seed(settings.seed)
        self.accelerator = _accelerator(settings.device)
        self.watcher = watcher if self.accelerator.is_main_process else None
        self.processes = Processes(self.accelerator)
        optimizer = torch.optim.AdamW(
            problem.model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        # Evaluation mode: without accelerate's own wrapper, for the processes add gradients up.
        self.model = self.accelerator.prepare_model(problem.model, evaluation_mode=True)
        # Its optimiser and its clipping look for packages in every step, a millisecond; only a
        # scaler needs them.
        scales = self.accelerator.scaler is not None
        self.optimizer = self.accelerator.prepare_optimizer(optimizer) if scales else optimizer
        self.clip = self.accelerator.clip_grad_norm_ if scales else nn.utils.clip_grad_norm_
        self.parameters = list(self.model.parameters())
        problem.to(self.accelerator.device)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    def run(self, resume: bool) -> Progress:
        self.keep_best()
        if resume:
            if self.path is None:
                raise TrainingError("To resume, name the folder that holds the checkpoint.")
            path = self.path
            stored = self.processes.from_main(lambda: checkpoint.load(path, self.identity))
            self.progress, self.best = checkpoint.restore(
                path, stored, self.problem.model, self.optimizer, self.order
            )
        elif self.path is not None:
            self.write()
        if self.watcher is not None:
            self.watcher.start(self.settings.epochs, self.problem.train_size, self.progress.epoch)
        for epoch in range(self.progress.epoch + 1, self.settings.epochs + 1):
            if self.stops_early():
                break
            self.one_epoch(epoch)
            self.write()
        self.problem.model.load_state_dict(self.best)
        return self.progress

    def one_epoch(self, epoch: int) -> None:
        begin = time.perf_counter()
        train = self.train_epoch(epoch)
        seconds = time.perf_counter() - begin
        validation = self.validate(epoch) if self.problem.validation_size else train
        self.progress.epoch = epoch
        record = {"epoch": epoch, "train": train, "validation": validation}
        self.progress.history.append(record)
        # Without a validation part there is nothing to choose by: the last epoch counts.
        if validation < self.progress.best_loss or not self.problem.validation_size:
            self.progress.best_loss, self.progress.best_epoch = validation, epoch
            self.keep_best()
        if self.watcher is not None:
            speed = self.problem.train_size / max(seconds, 1e-9)
            self.watcher.epoch(record | {"examples_per_second": speed})

    def train_epoch(self, epoch: int) -> float:
        self.model.train()
        self.processes.draw_apart(self.settings.seed, epoch)
        total, seen = 0.0, 0
        for number, index in enumerate(self.batches(), start=1):
            done = (epoch - 1 + seen / self.problem.train_size) / self.settings.epochs
            self.optimizer.param_groups[0]["lr"] = self.settings.rate(done)
            seen += len(index)
            self.optimizer.zero_grad()
            own, weight = self.processes.share(index)
            losses = self.problem.losses(own, "train")
            loss = losses.mean() * weight
            self.accelerator.backward(loss)
            value = self.processes.add_up(float(loss.detach()), self.parameters)
            where = f"in epoch {epoch}, batch {number}"
            if not math.isfinite(value):
                self.fail(f"loss ({value}) is", where, "train", own, losses)
            norm = self.clip(self.parameters, self.settings.clip or math.inf)
            if not bool(torch.isfinite(norm)):
                self.fail("gradient is", where, "train", own, losses)
            self.optimizer.step()
            if not bool(torch.isfinite(nn.utils.get_total_norm(self.parameters))):
                self.fail("norm of the weights is", f"after {where[3:]}", "train", own, losses)
            total += value * len(index)
            if self.watcher is not None:
                self.watcher.batch(len(index))
        return total / self.problem.train_size

    def batches(self) -> Iterator[Tensor]:
        """The training examples of an epoch, in an order by the generator."""
        size = self.problem.train_size
        parts = self.problem.train_parts if isinstance(self.problem, InParts) else [size]
        orders = epoch_order(parts, size, self.order)
        return chain.from_iterable(torch.split(o, self.settings.batch_size) for o in orders)

    def validate(self, epoch: int) -> float:
        self.model.eval()
        total = 0.0
        with torch.no_grad():
            batches = torch.split(torch.arange(self.problem.validation_size), 1024)
            for number, index in enumerate(batches, start=1):
                own, weight = self.processes.share(index)
                losses = self.problem.losses(own, "validation")
                value = self.processes.add_up(float(losses.sum()) if weight else 0.0)
                if not math.isfinite(value):
                    where = f"after epoch {epoch}, batch {number}"
                    self.fail(f"validation loss ({value}) is", where, "validation", own, losses)
                total += value
        return total / self.problem.validation_size

    def stops_early(self) -> bool:
        patience, progress = self.settings.patience, self.progress
        if not patience or not self.problem.validation_size:
            return False
        return progress.epoch - progress.best_epoch >= patience

    def keep_best(self) -> None:
        state = self.problem.model.state_dict()
        self.best = {name: value.detach().clone() for name, value in state.items()}

    def write(self) -> None:
        if self.path is not None and self.accelerator.is_main_process:
            checkpoint.write(
                self.path,
                self.identity,
                self.progress,
                self.problem.model,
                self.best,
                self.optimizer,
                self.order,
            )

    def fail(self, what: str, where: str, part: str, index: Tensor, losses: Tensor) -> NoReturn:
        """Stop the run and say what broke: the batch, the example, the parameter."""
        bad = torch.nonzero(~torch.isfinite(losses.detach())).flatten().tolist()
        found = f"first at {self.problem.describe(int(index[bad[0]]), part)}" if bad else None
        example = self.processes.first(found) or "the loss of each example is finite"
        parameter = self.broken_parameter(losses.mean())
        raise TrainingError(
            f"The {what} not finite {where}: {example}; parameter: {parameter}. Try a smaller "
            f"learning rate, scaling, or look at that data."
        )

    def broken_parameter(self, loss: Tensor) -> str:
        named = list(self.problem.model.named_parameters())
        for name, parameter in named:
            if not bool(torch.isfinite(parameter).all()):
                return f"{name} (its values)"
        has_gradients = any(p.grad is not None for _, p in named)
        if loss.requires_grad and not has_gradients:
            loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in named:
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return f"{name} (its gradient)"
        size, name = max((float(p.detach().abs().max()), name) for name, p in named)
        return f"none is broken; the largest value is {size:.3g}, in {name}"


def _accelerator(device: str | None) -> Accelerator:
    try:
        kind = torch.device(device).type if device else None
    except RuntimeError as error:
        raise TrainingError(f"There is no device {device!r}; use 'cpu' or 'cuda'.") from error
    if device and torch.device(device).index:
        raise TrainingError(
            f"device {device!r} names one GPU of several; say device='cuda' and choose the GPU by "
            f"the variable CUDA_VISIBLE_DEVICES={torch.device(device).index}."
        )
    # Accelerate keeps one device for the life of the process; another one needs a fresh state.
    from accelerate.state import AcceleratorState  # noqa: PLC0415

    if AcceleratorState._shared_state and kind not in (None, AcceleratorState().device.type):
        AcceleratorState._reset_state(reset_partial_state=True)
    # Several processes on the CPU are known as such only where the CPU is asked for.
    best = "cpu" if not torch.accelerator.is_available() else None
    accelerator = Accelerator(cpu=(kind or best) == "cpu")
    if kind not in (None, accelerator.device.type):
        raise TrainingError(
            f"device {device!r} was asked for, but there is only {accelerator.device.type!r} here."
        )
    return accelerator
