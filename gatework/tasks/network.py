"""The network of the forecaster: a recurrent stack with a head, all steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.data.windows import Batch
from gatework.equations import Spec
from gatework.layers import Recurrent
from gatework.tasks.heads import Head
from gatework.tasks.inputs import Inputs, Layout


class ForecastNetwork(nn.Module):
    """Reads a context, and forecasts every step of the horizon from the last hidden state.

    What is known of the steps to forecast is read by the head too. With ``relative`` forecasts
    are relative to the last seen value, as the inputs are.

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
        inputs = Inputs(layout, relative)
        proj_size = max(1, hidden_size // 2) if "P" in cell.sizes else 0
        self.recurrent = Recurrent(
            cell,
            inputs.context_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            proj_size=proj_size,
            forget_bias=forget_bias,
        )
        read_size = self.recurrent.output_size + horizon * inputs.future_size
        self.head = nn.Linear(read_size, horizon * outcome.size)
        self.inputs = inputs
        self.horizon, self.outcome = horizon, outcome

    def forward(self, batch: Batch, units: Tensor) -> Tensor:
        """What the head says (B, H, P) of a batch of windows in units (B, 2)."""
        read = self.inputs(batch)
        output, _ = self.recurrent(read.context.transpose(0, 1))
        raw = self.head(torch.cat([output[-1], read.future.flatten(1)], dim=1))
        raw = raw.unflatten(1, (self.horizon, self.outcome.size))
        return self.outcome.parameters(raw, read.level, usual(batch, units))


def usual(batch: Batch, units: Tensor) -> Tensor:
    """The mean of what is seen of the target, in the user's units, (B, 1); 0 where nothing is."""
    seen, count = batch.seen[..., 0], batch.seen[..., 0].sum(dim=1, keepdim=True)
    center, spread = units[:, :1], units[:, 1:]
    mean = (batch.context[..., 0] * seen).sum(dim=1, keepdim=True) / count.clamp(min=1)
    return (mean * spread + center) * (count > 0)
