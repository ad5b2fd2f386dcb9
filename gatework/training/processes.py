"""The processes that train one model together, started by torchrun: who does what of each batch.

Every process holds all data and the same weights. Of each batch it takes the examples at its own
places; what it finds is added up over all processes, so that each makes the step that one process
alone would make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from gatework.errors import GateworkError, TrainingError
from gatework.training.batch_norm import BatchNorm

Made = TypeVar("Made")


class Processes:
    """What the processes of a run do together.

    Args:
        accelerator: it knows how many they are and how they reach each other.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.count, self.own = accelerator.num_processes, accelerator.process_index
        self.norms: list[BatchNorm] = []

    @contextmanager
    def training(self, model: nn.Module, identity: dict[str, Any]) -> Iterator[None]:
        """As long as they train a model: what its batches share over all processes is shared.

        Raises:
            TrainingError: they were given different data or arguments, or the model has batch
                normalisation of another kind than ours, whose means would be those of a share.
        """
        if self.count == 1:
            yield
            return
        self._check(model, identity)
        self.norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
        for norm in self.norms:
            norm.shared = True
        try:
            yield
        finally:
            for norm in self.norms:
                norm.shared = norm.idle = False

    def _check(self, model: nn.Module, identity: dict[str, Any]) -> None:
        first = self.from_main(lambda: identity)
        different = [key for key in identity if identity[key] != first.get(key)]
        told = gather_object([f"{key}: {identity[key]!r} and {first[key]!r}" for key in different])
        if told:
            raise TrainingError(
                f"The processes must train on the same data with the same arguments; they differ "
                f"in {told[0]}."
            )
        kinds = nn.modules.batchnorm._BatchNorm, BatchNorm
        if any(isinstance(p, kinds[0]) and not isinstance(p, kinds[1]) for p in model.modules()):
            raise TrainingError(
                "A model with torch's batch normalisation trains in one process: in several each "
                "would normalise by its own share of a batch. Run it without torchrun, or use "
                "gatework.training.batch_norm.BatchNorm."
            )

    def share(self, index: Tensor) -> tuple[Tensor, float]:
        """The examples of a batch that this process takes, and their weight in its mean.

        Where there are fewer examples than processes, those without one take the first, which
        counts nothing then: so all have gradients of the same parameters.
        """
        own = index[self.own :: self.count]
        for norm in self.norms:
            norm.idle = not len(own)
        return (own, len(own) / len(index)) if len(own) else (index[:1], 0.0)

    def add_up(self, value: float, parameters: Iterable[nn.Parameter] = ()) -> float:
        """The sum of a number over all processes; gradients are replaced by their sums."""
        if self.count == 1:
            return value
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = gradients[0].dtype if gradients else torch.float64
        number = torch.tensor([value], dtype=kind, device=self.accelerator.device)
        flat = torch.cat([number, *(g.flatten() for g in gradients)])
        total: Tensor = self.accelerator.reduce(flat, reduction="sum")
        parts = torch.split(total[1:], [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(total[0])

    def from_main(self, work: Callable[[], Made]) -> Made:
        """What the main process makes, in all of them; its errors too."""
        if self.count == 1:
            return work()
        outcome: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                outcome = [work()]
            except GateworkError as error:
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], GateworkError):
            raise outcome[0]
        made: Made = outcome[0]
        return made

    def first(self, text: str | None) -> str | None:
        """The first text that a process has, in all of them."""
        return next((t for t in gather_object([text]) if t is not None), None)

    def draw_apart(self, seed: int, epoch: int) -> None:
        """Give all processes but the main one random numbers of their own in an epoch.

        The main process goes on with those that it has, which a checkpoint keeps.
        """
        if self.own:
            torch.manual_seed(hash((seed, epoch, self.own)) % 2**63)
