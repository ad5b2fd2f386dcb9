"""The networks of the forecaster: how a recurrent stack comes to H steps.

``Direct``: a head gives all steps at once from the last output. ``Recursive``: a model of one
step; in training it reads the true values of the horizon (teacher forcing), and to forecast it is
fed its own. ``EncoderDecoder``: a second stack starts from the states that the first one ends
with, and is fed its own forecasts in training too, so that it learns what it will have to do
(Cho et al. 2014, arXiv:1406.1078; Sutskever et al. 2014, arXiv:1409.3215).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatework.data.windows import Batch
from gatework.data.words import check_choice
from gatework.equations import Spec
from gatework.errors import DataError
from gatework.layers import Recurrent
from gatework.tasks.heads import COUNTS, Head
from gatework.tasks.inputs import Inputs, Layout, last_seen
from gatework.tasks.stacks import stack

PATHS = 200  # futures that are drawn of each window


class ForecastNetwork(nn.Module, ABC):
    """Reads a batch of windows, and says of every step of the horizon what its head says.

    With ``relative`` forecasts are relative to the last seen value, as the inputs are.

    Shapes: a batch of windows in, and (B, 2) the centre and spread of the target of each; out come
    the parameters (B, H, P) of what the head says of each step, in the model's units.
    """

    def __init__(
        self,
        cell: Spec,
        layout: Layout,
        hidden_size: int,
        num_layers: int,
        horizon: int,
        outcome: Head,
        dropout: float = 0.0,
        forget_bias: float | None = None,
        relative: bool = True,
    ) -> None:
        super().__init__()
        self.horizon, self.outcome = horizon, outcome
        inputs = Inputs(layout, relative)

        def layers(size: int) -> Recurrent:
            return stack(cell, size, hidden_size, num_layers, dropout, forget_bias)

        self.recurrent = layers(self.input_size(inputs))
        self._add_parts(layers, inputs)
        self.inputs = inputs

    @abstractmethod
    def input_size(self, inputs: Inputs) -> int:
        """Numbers that the stack reads at each step."""

    @abstractmethod
    def _add_parts(self, layers: Callable[[int], Recurrent], inputs: Inputs) -> None: ...

    @abstractmethod
    def forward(self, batch: Batch, units: Tensor) -> Tensor:
        """What the head says (B, H, P) of windows in units (B, 2)."""

    def taught(self, batch: Batch, units: Tensor) -> Tensor:
        """The same in training, where the target of the batch may be read."""
        return self(batch, units)  # type: ignore[no-any-return]

    def points(self, batch: Batch, units: Tensor) -> Tensor:
        """The forecast as one number a step, (B, H), in float64."""
        return self.outcome.point(self(batch, units).double(), units)

    def widths(self, batch: Batch, units: Tensor) -> Tensor:
        """The point, and how uncertain it is below and above, (B, H, 3), in float64."""
        found, outcome = self(batch, units).double(), self.outcome
        return torch.stack([outcome.point(found, units), *outcome.widths(found, units)], dim=-1)

    def quantiles(self, batch: Batch, units: Tensor, levels: Sequence[float]) -> Tensor:
        """Quantiles (B, H, Q), in float64; some forms draw for them, by torch's generator."""
        found = self(batch, units).double()
        return self.outcome.quantiles(found.cpu(), units.cpu(), levels)

    def reads(self, batch: Batch) -> Tensor:
        """What the stack reads of the context, (L, B, D)."""
        return self.inputs(batch).context.transpose(0, 1)  # type: ignore[no-any-return]


class Direct(ForecastNetwork):
    """All steps at once, of the last output and of what is known of the future."""

    def input_size(self, inputs: Inputs) -> int:
        """Those of the context."""
        return inputs.context_size

    def _add_parts(self, layers: Callable[[int], Recurrent], inputs: Inputs) -> None:
        read = self.recurrent.output_size + self.horizon * inputs.future_size
        self.head = nn.Linear(read, self.horizon * self.outcome.size)

    def forward(self, batch: Batch, units: Tensor) -> Tensor:
        """All steps of the last output."""
        read = self.inputs(batch)
        output, _ = self.recurrent(read.context.transpose(0, 1))
        raw = self.head(torch.cat([output[-1], read.future.flatten(1)], dim=1))
        raw = raw.unflatten(1, (self.horizon, self.outcome.size))
        return self.outcome.parameters(raw, read.level, usual(batch, units))


class EncoderDecoder(ForecastNetwork):
    """A decoder from the encoder's states, one step at a time, fed its own forecasts."""

    def input_size(self, inputs: Inputs) -> int:
        """Those of the context; the decoder reads a value and the future."""
        return inputs.context_size

    def _add_parts(self, layers: Callable[[int], Recurrent], inputs: Inputs) -> None:
        self.decoder = layers(1 + inputs.future_size)
        self.head = nn.Linear(self.decoder.output_size, self.outcome.size)

    def forward(self, batch: Batch, units: Tensor) -> Tensor:
        """Step after step, each fed the forecast of the one before."""
        read, mean, units = self.inputs(batch), usual(batch, units), units.to(batch.context)
        _, states = self.recurrent(read.context.transpose(0, 1))
        value, found = last_seen(batch.context[..., 0], batch.seen[..., 0]), []
        for step in range(self.horizon):
            fed = torch.cat([value - read.level, read.future[:, step]], dim=1)
            output, states = self.decoder(fed.unsqueeze(0), states)
            found.append(self.outcome.parameters(self.head(output[0])[:, None], read.level, mean))
            value = self.outcome.point(found[-1], units)
        return torch.cat(found, dim=1)


class Recursive(ForecastNetwork):
    """A model of the next step, which reads what is known of that step too, fed what it says."""

    def input_size(self, inputs: Inputs) -> int:
        """Those of the context, and what is known of the next step."""
        return inputs.context_size + inputs.future_size

    def _add_parts(self, layers: Callable[[int], Recurrent], inputs: Inputs) -> None:
        self.head = nn.Linear(self.recurrent.output_size, self.outcome.size)

    def reads(self, batch: Batch) -> Tensor:
        """What the stack reads of the context, (L, B, D + K)."""
        return self._steps(batch)[0][: batch.context.shape[1]]

    def taught(self, batch: Batch, units: Tensor) -> Tensor:
        """All steps at once, each after the true values before it."""
        steps, level = self._steps(batch, batch.target, batch.known)
        output, _ = self.recurrent(steps)
        raw = self.head(output[-self.horizon :].transpose(0, 1))
        return self.outcome.parameters(raw, level, usual(batch, units))

    def forward(self, batch: Batch, units: Tensor) -> Tensor:
        """Step after step, each fed the forecast of the one before."""
        found = self._run(batch, units, 1, self.outcome.point)
        return torch.cat([parameters for parameters, _ in found], dim=1)

    def quantiles(self, batch: Batch, units: Tensor, levels: Sequence[float]) -> Tensor:
        """Of a distribution those of drawn futures, else those of each step."""
        # What is said of a step holds if the steps before it come true: so futures are drawn.
        if not self.outcome.draws:
            return super().quantiles(batch, units, levels)
        drawn = self.paths(batch, units, PATHS).double()
        return drawn.quantile(drawn.new_tensor(levels), dim=1).movedim(0, -1)

    def paths(self, batch: Batch, units: Tensor, count: int) -> Tensor:
        """Futures that are drawn step by step, (B, count, H), by torch's generator."""
        drawn = [value for _, value in self._run(batch, units, count, self.outcome.draw)]
        return torch.cat(drawn, dim=1).view(-1, count, self.horizon)

    def _run(self, batch: Batch, units: Tensor, count: int, of: Any) -> list[tuple[Tensor, Tensor]]:
        """What is said of each step and the value that is fed of it; each row ``count`` times."""
        (steps, level), units = self._steps(batch), units.to(batch.context)
        context = batch.context.shape[1]
        _, states = self.recurrent(steps[: context - 1]) if context > 1 else (None, None)
        rows = torch.arange(len(units), device=steps.device).repeat_interleave(count)
        if states is not None and count > 1:
            states = states[:, rows] if isinstance(states, Tensor) else states.index(rows)
        steps, level, units, mean = (
            steps[context - 1 :, rows], level[rows], units[rows], usual(batch, units)[rows],
        )  # fmt: skip
        found: list[tuple[Tensor, Tensor]] = []
        for number, read in enumerate(steps):
            fed = read
            if number:
                fed = torch.cat([found[-1][1] - level, read[:, 1:]], dim=1)
            output, states = self.recurrent(fed.unsqueeze(0), states)
            parameters = self.outcome.parameters(self.head(output[0])[:, None], level, mean)
            found.append((parameters, of(parameters, units)))
        return found

    def _steps(
        self, batch: Batch, target: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the stack reads at all steps but the last, (L + H - 1, B, D + K), and the level.

        Without a target its values are left 0, and seen.
        """
        ahead = list(self.inputs.layout.ahead)
        coming, seen = (batch.context.new_zeros(*batch.target.shape, batch.context.shape[2])
                        for _ in range(2))  # fmt: skip
        coming[..., ahead], seen[..., ahead] = batch.future, batch.future_seen
        coming[..., 0] = 0.0 if target is None else target
        seen[..., 0] = 1.0 if known is None else known
        whole = Batch(
            torch.cat([batch.context, coming], dim=1)[:, :-1],
            torch.cat([batch.seen, seen], dim=1)[:, :-1],
            batch.target,
            batch.known,
            torch.cat([batch.context[:, 1:, ahead], batch.future], dim=1),
            torch.cat([batch.seen[:, 1:, ahead], batch.future_seen], dim=1),
        )
        read, level = self.inputs(whole), self.inputs(batch).level
        # Of the longer context the level is another one.
        value = read.context[..., :1] + (read.level - level).unsqueeze(1) * whole.seen[..., :1]
        steps = torch.cat([value, read.context[..., 1:], read.future], dim=2)
        return steps.transpose(0, 1), level


FORMS: dict[str, type[ForecastNetwork]] = {
    "direct": Direct,
    "recursive": Recursive,
    "encoder_decoder": EncoderDecoder,
}


def check_form(form: str, head: str, reads_target: bool = True) -> None:
    """Refuse a form that is not there, or does not go with the head or with what is read.

    Raises:
        DataError: in one line, why.
    """
    check_choice("form", form, FORMS)
    if (form, head) == ("recursive", "quantile"):
        raise DataError(
            "The form 'recursive' draws futures step by step, and from quantiles nothing can be "
            "drawn. Use a head that is a distribution, or another form."
        )
    if not reads_target and form != "direct":
        raise DataError(
            f"The form {form!r} is fed its own forecasts, which reads_target=False does not read. "
            f"Use the form 'direct'."
        )
    if not reads_target and head == COUNTS:
        raise DataError(
            f"The head {head!r} multiplies the mean of the past, which reads_target=False does not "
            f"read. Use another head."
        )


def usual(batch: Batch, units: Tensor) -> Tensor:
    """The mean of what is seen of the target, in the user's units, (B, 1); 0 where nothing is."""
    seen, count = batch.seen[..., 0], batch.seen[..., 0].sum(dim=1, keepdim=True)
    center, spread = units[:, :1].to(seen), units[:, 1:].to(seen)
    mean = (batch.context[..., 0] * seen).sum(dim=1, keepdim=True) / count.clamp(min=1)
    return (mean * spread + center) * (count > 0)
