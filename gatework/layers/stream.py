"""A layer that is fed one step at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatework import paths
from gatework.errors import ShapeError
from gatework.paths.call import is_plain
from gatework.paths.kernel_step import KernelStep
from gatework.paths.masks import draw, sizes_of
from gatework.paths.native import library

if TYPE_CHECKING:
    from gatework.layers.stack import StackForward
    from gatework.layers.states import Beside, States


class Stream:
    """Runs a layer step by step, as its ``forward`` would over the whole sequence, quickly.

    Made by ``layer.stream(batch)``. Weights that change are noticed at the next step, but for
    parts of them that are written to by ways around torch (``.data``, NumPy); after those call
    ``refresh``. There are no gradients through it, and dropout between layers is off.

    Args:
        layer: a layer that runs in one direction.
        batch: how many sequences run side by side, B.
    """

    def __init__(self, layer: StackForward, batch: int = 1) -> None:
        if not isinstance(batch, int) or batch < 1:
            raise ShapeError(f"batch is a whole number above zero, got {batch!r}.")
        self.layer, self.batch = layer, batch
        self._seen: list[Any] = []
        self._probes: list[tuple[Any, float]] = []
        self._steps: list[KernelStep] | None = None
        self._start: States | None = None

    def step(self, x: Tensor, beside: Beside | None = None) -> Tensor:
        """The output of the next step.

        Args:
            x: (B, F), or (F,) where B is 1; of images (B, C, *space).
            beside: what the cell reads beside the input by name, (B,) or () each.

        Returns:
            (B, size), or (size,).

        Raises:
            ShapeError: another shape or dtype.
        """
        layer = self.layer
        if not isinstance(x, Tensor):
            raise ShapeError(f"A step of a stream is a tensor, got {type(x).__name__}.")
        if x.dim() == 1 and self.batch == 1:
            beside = beside and {name: v.reshape(1) for name, v in beside.items()}
            return self.step(x.unsqueeze(0), beside).squeeze(0)
        if x.dim() != 2 + layer.dims or x.shape[:2] != (self.batch, layer.input_size):
            sizes = f"{self.batch}, {layer.input_size}{layer.axes[1:]}"
            raise ShapeError(
                f"A step of this stream is ({sizes}) = (B, {layer.axes}), got {tuple(x.shape)}."
            )
        seen = [*_versions(layer), torch.get_num_threads()]
        if self._seen != seen or any(p.value != v for p, v in self._probes):
            self._set_up()
            self._seen, self._probes = seen, [(p, p.value) for p in _probes(layer)]
        if self._steps is None:
            return self._step_by_layer(x, beside)
        if x.dtype != self._dtype:
            raise ShapeError(f"A step of this stream is {self._dtype}, got {x.dtype}.")
        if not (x.is_cpu and is_plain(x)):  # its memory is read
            raise ShapeError(f"A step of this stream is a plain tensor on the CPU, got {_kind(x)}.")
        output = x.contiguous()
        for one in self._steps:
            output = one.step(output)
        return output[:, : self._size].clone()

    @property
    def states(self) -> Any:
        """The states after the last step, as the layer's ``forward`` returns them."""
        if self._steps is None:
            return self._start
        rows = [one.states() for one in self._steps]
        states = tuple(torch.stack(parts) for parts in zip(*rows, strict=True))
        return states[0] if len(states) == 1 else states

    @states.setter
    def states(self, states: States | None) -> None:
        """Go on from these; ``None``: from zero."""
        self._start = states
        self._steps, self._seen = None, []

    def refresh(self) -> None:
        """Read the weights again; the states stay."""
        self.states = self.states

    def reset(self) -> None:
        """Begin a new sequence, with states of zero."""
        self.states = None

    def _set_up(self) -> None:
        layer, states = self.layer, self.states
        if layer.spec.beside or layer.dims:
            self._start, self._steps = states, None
            return
        x = torch.zeros(1, self.batch, layer.input_size, dtype=layer.weight_dtype())
        x = x.to(next(layer.parameters()).device)  # type: ignore[attr-defined]
        with torch.no_grad(), _evaluating(layer):
            call, _ = layer.prepare(x.transpose(0, 1) if layer.batch_first else x, states)
            self._start = states
            # Parametrised weights are made anew at every call.
            is_plain = not (hasattr(layer, "parametrizations") or layer.residual)
            if not is_plain or paths.choose_for_step(call, layer.path) != "native":
                self._steps = None
                return
            kernel = library(call.spec, x.dtype)
            self._dtype, self._size = x.dtype, call.states[0].shape[-1]
            self._steps = []
            features, stride = layer.input_size, layer.input_size
            for row in range(layer.num_layers):
                first = [s[row] for s in call.states]
                groups = call.weights.groups(row, 0)
                sizes = sizes_of(call.spec, first, features)
                masks = draw(call.spec, sizes, 1, (self.batch,), False, first[0])
                self._steps.append(KernelStep(kernel, groups, masks, first, features, stride))
                features, stride = self._size, kernel.padded(self._size)

    def _step_by_layer(self, x: Tensor, beside: Beside | None) -> Tensor:
        with torch.no_grad(), _evaluating(self.layer):
            output, self._start = self.layer.step(x, self._start, beside)
        return output


@contextmanager
def _evaluating(layer: StackForward) -> Iterator[None]:
    """The layer alone in evaluation for a while."""
    training, layer.training = layer.training, False
    try:
        yield
    finally:
        layer.training = training


def _kind(x: Tensor) -> str:
    return f"a stand-in, {type(x).__name__}" if x.is_cpu else f"one on {x.device}"


def _versions(layer: StackForward) -> list[tuple[int, int]]:
    """What changes when a weight does."""
    own: dict[str, Tensor] = layer._parameters  # type: ignore[attr-defined]
    # Not parameters(), which is as slow as a step.
    return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in own.values()]


def _probes(layer: StackForward) -> list[Any]:
    """Some numbers of every weight, as they lie in memory.

    Fused optimisers and ``.data`` change weights without a new version, but hardly without
    changing these.
    """
    own: dict[str, Tensor] = layer._parameters  # type: ignore[attr-defined]
    kinds = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}
    return [
        kinds[t.dtype].from_address(t.data_ptr() + place * t.element_size())
        for t in own.values()
        if t.dtype in kinds and t.device.type == "cpu" and t.is_contiguous()
        for place in {0, t.numel() // 3, t.numel() // 2, t.numel() - 1}
    ]
