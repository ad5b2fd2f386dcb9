"""Memory that kernels work in, used again: fresh memory costs more than most kernels do."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

LIMIT = 1 << 30  # bytes that are kept while nobody uses them
ALIGNMENT = 64  # bytes

_lock = threading.Lock()
_free: list[Tensor] = []  # flat, of bytes; the last one was used last


class Workspace:
    """The memory of one call of a kernel, given back when the call needs it no longer."""

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor with arbitrary values."""
        count = 1
        for size in shape:
            count *= size
        if not count:
            return torch.empty(shape, dtype=dtype)
        block = _take(count * dtype.itemsize)
        self._blocks.append(block)
        return block[: count * dtype.itemsize].view(dtype).view(shape)

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


def release_memory() -> None:
    """Give the memory that kernels keep for the next call back to the system."""
    with _lock:
        _free.clear()


def _take(size: int) -> Tensor:
    """The smallest free block that is large enough, but not much too large; or a new one."""
    with _lock:
        fits = [i for i, block in enumerate(_free) if size <= block.numel() <= 2 * size + 4096]
        if fits:
            return _free.pop(min(fits, key=lambda i: _free[i].numel()))
    # torch aligns its memory to ALIGNMENT bytes.
    return torch.empty(size, dtype=torch.uint8)
