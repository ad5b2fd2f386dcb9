"""Memory that kernels work in, used again: fresh memory costs more than most kernels do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from math import prod

import torch
from torch import Tensor

LIMIT = 1 << 30  # bytes that are kept while nobody uses them

on_release: list[Callable[[], None]] = []  # what others keep is given back by these
_lock = threading.Lock()
_free: list[torch.UntypedStorage] = []  # the last one was used last


class Workspace:
    """The memory of one call of a kernel. What is not given back is freed as usual."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.taken: list[Tensor] = []

    def empty(self, shape: Sequence[int]) -> Tensor:
        """A tensor with arbitrary values."""
        storage = _take(max(1, prod(shape)) * self.dtype.itemsize)
        tensor = torch.empty(0, dtype=self.dtype)
        tensor.set_(storage, 0, tuple(shape))  # type: ignore[call-overload]
        self.taken.append(tensor)
        return tensor

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return sum(t.untyped_storage().nbytes() for t in self.taken)

    def release(self) -> None:
        """Give everything back; the tensors must not be used any more."""
        give_back(self.taken)
        self.taken = []


def give_back(tensors: Iterable[Tensor]) -> None:
    """Let others use the memory of tensors that came from a workspace and are used no more."""
    storages = [t.untyped_storage() for t in tensors]
    with _lock:
        _free.extend(storages)
        total = sum(s.nbytes() for s in _free)
        while total > LIMIT:
            total -= _free.pop(0).nbytes()


def release_memory() -> None:
    """Give the memory that is kept for later calls back to the system."""
    for release in on_release:
        release()
    with _lock:
        _free.clear()


def _take(size: int) -> torch.UntypedStorage:
    """The smallest free block that is large enough, but not much too large; or a new one."""
    with _lock:
        fits = [
            (s.nbytes(), i) for i, s in enumerate(_free) if size <= s.nbytes() <= 2 * size + 4096
        ]
        if fits:
            return _free.pop(min(fits)[1])
    return torch.empty(size, dtype=torch.uint8).untyped_storage()  # torch aligns its memory
