"""Batch normalisation over the rows of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of rows (M, C); M may be 1, where it is as in evaluation.

    Attributes:
        shared: whether the rows of all processes are one batch; the training loop says so.
        idle: whether the rows of this process are no part of it.
    """

    shared = idle = False

    def forward(self, rows: Tensor) -> Tensor:
        """The normalised rows, (M, C)."""
        if self.training and self.shared:
            return self._together(rows)
        training = self.training and len(rows) > 1  # torch refuses to train on one row
        return functional.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, training,
            self.momentum or 0.0, self.eps,
        )  # fmt: skip

    def _together(self, rows: Tensor) -> Tensor:
        """The same by mean and variance of the rows of all processes."""
        here = rows[:0] if self.idle else rows
        ones = rows.new_full((1,), len(here), dtype=torch.float64)
        total = _added_up(torch.cat([here.sum(dim=0, dtype=torch.float64), ones]))
        count = float(total[-1].detach())
        if count < 2:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        mean = (total[:-1] / count).to(rows)
        squares = _added_up((here - mean).square().sum(dim=0, dtype=torch.float64))
        variance = (squares / count).to(rows)
        with torch.no_grad():
            for kept, now in (
                (self.running_mean, mean),
                (self.running_var, variance * (count / (count - 1))),
            ):
                assert kept is not None  # a BatchNorm1d tracks them unless it is told not to
                kept.lerp_(now, self.momentum or 0.0)
        normal = (rows - mean) * (variance + self.eps).rsqrt()
        scaled: Tensor = normal * self.weight + self.bias
        return scaled


def _added_up(own: Tensor) -> Tensor:
    total: Tensor = _AddUp.apply(own)  # type: ignore[no-untyped-call]
    return total


class _AddUp(torch.autograd.Function):
    """The sum over all processes; so is its gradient, for the loss is a sum over them too."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
