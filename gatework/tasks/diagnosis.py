"""What may be wrong with a forecaster although its loss is small, in words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.windows import Windows
from gatework.tasks.inputs import last_seen
from gatework.tasks.network import ForecastNetwork, Recursive

Array = NDArray[np.float64]
MOST_WINDOWS = 2000  # that are looked at
AT_ONCE = 512
ALIKE = 0.95  # a correlation, and a share of the naive error
FAR = 3.0  # times


def diagnose(network: ForecastNetwork, windows: Windows, units: Tensor) -> list[str]:
    """What is to be said of the forecasts of some windows.

    Args:
        network: trained.
        windows: none that it was trained on.
        units: (N, 2), centre and spread of the target of each series.
    """
    device, parts = next(network.parameters()).device, []
    windows = windows.some(MOST_WINDOWS)
    with torch.no_grad():
        for index in torch.split(torch.arange(len(windows)), AT_ONCE):
            batch = windows.batch(index).to(device)
            own = units[torch.from_numpy(windows.rows)[index]].to(device)
            values = (
                batch.target,
                last_seen(batch.context[..., 0], batch.seen[..., 0]).expand_as(batch.target),
                network.points(batch, own),
                network.outcome.point(network.taught(batch, own).double(), own),
            )
            parts.append([v[batch.known.bool()].cpu().double() for v in values])
    truth, last, free, taught = (torch.cat(v).numpy() for v in zip(*parts, strict=True))
    said = repeats(truth, last, free)
    if isinstance(network, Recursive):
        said += drifts(truth, free, taught, network.horizon)
    return said


def repeats(truth: Array, last: Array, forecast: Array) -> list[str]:
    """Whether forecasts are the last value again: like it rather than the truth, and no better."""
    if len(truth) < 3 or min(v.std() for v in (truth, last, forecast)) == 0:
        return []
    with_last, with_truth = (np.corrcoef(forecast, v)[0, 1] for v in (last, truth))
    error, naive = np.abs(forecast - truth).mean(), np.abs(last - truth).mean()
    if with_last < max(ALIKE, with_truth) or error < ALIKE * naive:
        return []
    return [
        f"The forecasts of the validation part merely repeat the last value: their correlation "
        f"with it is {with_last:.2f}, with the truth {with_truth:.2f}, and their error is "
        f"{error / naive:.0%} of the naive one. Train longer, give more context or features, or "
        f"take it that nothing more can be known."
    ]


def drifts(truth: Array, free: Array, taught: Array, horizon: int) -> list[str]:
    """Whether a model that is fed its own forecasts is far worse than one fed the truth."""
    fed, one = np.abs(free - truth).mean(), np.abs(taught - truth).mean()
    if fed <= FAR * one:
        return []
    return [
        f"Fed its own forecasts over {horizon} steps the model errs {fed / max(one, 1e-12):.1f} "
        f"times as much as from step to step with the true values before it: its loss in training "
        f"says little of its forecasts. Try the form 'direct' or 'encoder_decoder', or a shorter "
        f"horizon."
    ]
