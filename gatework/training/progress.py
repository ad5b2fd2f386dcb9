"""The progress of a run on the terminal: a bar with losses and speed (rich)."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from gatework.training.files import is_main


class ProgressBar:
    """Shows epochs, losses and examples per second; without a terminal a line now and then."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.epochs = 0
        self.best = float("inf")
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (self.console.is_terminal and is_main()),
        )

    def __enter__(self) -> ProgressBar:
        self.bar.start()
        return self

    def start(self, epochs: int, train_size: int, done: int) -> None:
        """The run begins: epochs at most, training examples in each, epochs already done."""
        self.epochs = epochs
        self.task = self.bar.add_task(
            "",
            total=epochs * train_size,
            completed=done * train_size,
            epoch=done,
            epochs=epochs,
            losses="",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def batch(self, examples: int) -> None:
        """So many more training examples are done."""
        self.bar.advance(self.task, examples)

    def epoch(self, record: dict[str, float]) -> None:
        """An epoch is done; show its losses and the speed."""
        number = int(record["epoch"])
        better = record["validation"] < self.best
        self.best = min(self.best, record["validation"])
        text = (
            f"train {record['train']:.4f}  validation {record['validation']:.4f}"
            f"  best {self.best:.4f}  {record['examples_per_second']:,.0f} examples/s"
        )
        self.bar.update(self.task, epoch=number, losses=text)
        if not self.console.is_terminal and (number % max(1, self.epochs // 10) == 0):
            mark = " *" if better else ""
            self.console.print(f"epoch {number}/{self.epochs}  {text}{mark}", soft_wrap=True)
