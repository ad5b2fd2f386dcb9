"""Memory that kernels work in, used again: fresh memory costs more than most kernels do."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

LIMIT = 1 << 30  # bytes that are kept while nobody uses them

_lock = threading.Lock()
_free: list[Tensor] = []  # flat, of bytes; the last one was used last


class Workspace:
    """The memory of one call of a kernel, given back when the call needs it no longer."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._blocks: list[Tensor] = []

    def empty(self, shape: Sequence[int]) -> Tensor:
        """A tensor with arbitrary values."""
        size = prod(shape) * self.dtype.itemsize
        return self._take(size)[:size].view(self.dtype).view(shape)

    def address(self, count: int) -> int:
        """The address of so many numbers, for what torch need not see."""
        return self._take(count * self.dtype.itemsize).data_ptr()

    def release(self) -> None:
        """Give everything back; the tensors must not be used any more."""
        blocks, self._blocks = self._blocks, []
        with _lock:
            _free.extend(blocks)
            total = sum(block.numel() for block in _free)
            while total > LIMIT:
                total -= _free.pop(0).numel()

    def __del__(self) -> None:
        if self._blocks:
            self.release()

    def _take(self, size: int) -> Tensor:
        """The smallest free block that is large enough, but not much too large; or a new one."""
        block = None
        with _lock:
            fits = [i for i, b in enumerate(_free) if size <= b.numel() <= 2 * size + 4096]
            if fits:
                block = _free.pop(min(fits, key=lambda i: _free[i].numel()))
        if block is None:
            block = torch.empty(size, dtype=torch.uint8)  # torch aligns its memory
        self._blocks.append(block)
        return block


def release_memory() -> None:
    """Give the memory that kernels keep for the next call back to the system."""
    with _lock:
        _free.clear()
