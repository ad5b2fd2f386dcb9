"""What ``@`` stands for in a step: the product with a matrix, or over images a convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor, Tensor], Tensor]  # of an operand (..., F) and a weight (H, F, ...)
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class SameConvolution:
    """``W @ x`` over images: a convolution that keeps their size, zeros around them.

    Compares by its value, so that layers of one kind share one compiled step.
    """

    dilation: tuple[int, ...]

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Images (..., *space, C) and a weight (H, C, *kernel) to (..., *space, H)."""
        axes = len(self.dilation)
        images = x.flatten(0, -axes - 2).movedim(-1, 1)
        around = [d * (k // 2) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
        found = CONVOLUTIONS[axes](images, weight, padding=around, dilation=self.dilation)
        return found.movedim(1, -1).reshape(*x.shape[:-1], len(weight))


def product_of(dilation: tuple[int, ...]) -> Product:
    """The product over images of so many axes; with none the product with a matrix."""
    return SameConvolution(dilation) if dilation else functional.linear
