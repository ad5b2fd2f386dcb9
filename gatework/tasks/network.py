"""The network of the forecaster: a recurrent stack with a linear head, all steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.data.windows import Batch
from gatework.equations import Spec
from gatework.layers import Recurrent
from gatework.tasks.inputs import Inputs, Layout


class ForecastNetwork(nn.Module):
    """Reads a context, and forecasts every step of the horizon from the last hidden state.

    What is known of the steps to forecast is read by the head too. With ``relative`` forecasts
    are relative to the last seen value, as the inputs are.

    Shapes: a batch of windows in, forecast (B, H) out, in the model's units.
    """

    def __init__(
        self,
        cell: Spec,
        layout: Layout,
        hidden_size: int,
        num_layers: int,
        horizon: int,
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
        self.head = nn.Linear(self.recurrent.output_size + horizon * inputs.future_size, horizon)
        self.inputs = inputs

    def forward(self, batch: Batch) -> Tensor:
        """Forecast (B, H) of a batch of windows."""
        read = self.inputs(batch)
        output, _ = self.recurrent(read.context.transpose(0, 1))
        forecast: Tensor = self.head(torch.cat([output[-1], read.future.flatten(1)], dim=1))
        level: Tensor = read.level
        return forecast + level
