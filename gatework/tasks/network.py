"""The network of the forecaster: a recurrent stack with a linear head, all steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.equations import Spec
from gatework.layers import Recurrent


class ForecastNetwork(nn.Module):
    """Reads a context, and forecasts every step of the horizon from the last hidden state.

    With ``relative`` the target is read and forecast relative to its last seen value: a series
    that drifts out of the range it was trained in then still looks familiar.

    Shapes: context and seen (B, L, F) in, forecast (B, H) out, in the model's units.
    """

    def __init__(
        self,
        cell: Spec,
        features: int,
        hidden_size: int,
        num_layers: int,
        horizon: int,
        dropout: float = 0.0,
        forget_bias: float | None = None,
        relative: bool = True,
    ) -> None:
        super().__init__()
        proj_size = max(1, hidden_size // 2) if "P" in cell.sizes else 0
        self.recurrent = Recurrent(
            cell,
            2 * features,  # each value with its mask
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            proj_size=proj_size,
            forget_bias=forget_bias,
        )
        self.head = nn.Linear(self.recurrent.output_size, horizon)
        self.relative = relative

    def forward(self, context: Tensor, seen: Tensor) -> Tensor:
        """Forecast (B, H) from a context (B, L, F) and its mask."""
        inputs, level = self.inputs(context, seen)
        output, _ = self.recurrent(inputs)
        forecast: Tensor = self.head(output[-1])
        return forecast + level

    def inputs(self, context: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What the recurrent stack reads, (L, B, 2F), and the level taken off, (B, 1)."""
        level = context.new_zeros(context.shape[0], 1)
        if self.relative:
            level = last_seen(context[..., 0], seen[..., 0])
            target = (context[..., 0] - level) * seen[..., 0]
            context = torch.cat([target.unsqueeze(-1), context[..., 1:]], dim=-1)
        return torch.cat([context, seen], dim=-1).transpose(0, 1), level


def last_seen(values: Tensor, seen: Tensor) -> Tensor:
    """The last value of each row (B, L) whose mask is 1, as (B, 1); 0 where there is none."""
    steps = torch.arange(1, values.shape[1] + 1, device=values.device)
    place = (seen * steps).argmax(dim=1, keepdim=True)
    return values.gather(1, place) * seen.gather(1, place)
