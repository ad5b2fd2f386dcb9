"""What is remembered of layers as long as they live, beside them and not in them.

So a layer is copied, pickled and compared as if nothing were remembered.
"""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
MOST = 64  # calls of each layer


class PerLayer(Generic[T]):
    """A value for each layer, by identity; torch's own such dictionary is slower than a call."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, layer: object) -> T | None:
        """The layer's value, if it has one."""
        entry = self._by_id.get(id(layer))
        return entry[1] if entry is not None and entry[0]() is layer else None

    def set(self, layer: object, value: T) -> None:
        """Give the layer a value."""
        key, values = id(layer), self._by_id
        values[key] = (weakref.ref(layer, lambda _: values.pop(key, None)), value)

    def clear(self) -> None:
        """Forget all."""
        self._by_id.clear()


def key_of(layer: Any, x: Tensor, hx: Any) -> tuple[Any, ...]:
    """What the checks of a call and the choice of its path depend on."""
    return (
        x.shape,
        x.stride(),
        x.dtype,
        x.device,
        *((s.shape, s.dtype, s.device) for s in states_of(hx)),
        layer.path,
        layer.batch_first,
        layer.training,
        layer.dropout,
        layer.residual,
        layer.checkpoint,
        torch.get_num_threads(),
    )


def is_plain_form(hx: Any) -> bool:
    """Whether initial states come as usual: none, a tensor, or some in a tuple or list."""
    if hx is None or isinstance(hx, Tensor):
        return True
    is_sequence = isinstance(hx, (tuple, list)) and len(hx) > 0
    return is_sequence and all(isinstance(s, Tensor) for s in hx)


def states_of(hx: Any) -> tuple[Any, ...]:
    """Initial states as a tuple; nothing where none are given."""
    return (hx,) if isinstance(hx, Tensor) else tuple(hx or ())
