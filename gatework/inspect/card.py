"""A layer's card: what it computes, what it costs, which path runs it and why no other one."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatework import paths
from gatework.errors import CellError
from gatework.inspect.record import record
from gatework.layers.recording import refusal
from gatework.layers.shapes import check_tensor
from gatework.layers.stack import StackForward
from gatework.layers.states import States
from gatework.layers.widths import Widths
from gatework.read.table import cost, equations

RUNS = 3  # of each kind; the median counts
KINDS = ("inference", "training", "recording")


@dataclass(frozen=True)
class Card:
    """What a layer does with an input of this shape; ``print`` it.

    Attributes:
        title: the layer's ``repr``.
        equations: of one step, a line each.
        parameters: how many numbers are learned.
        shape: of the input, (T, B, F).
        multiply_adds: in matrix products, of a forward pass over the input.
        paths: of each kind of call (``KINDS``) every path with ``"runs it"`` or why not.
        milliseconds: of each kind of call, as measured here; training is forward and backward.
        kept: bytes that a forward pass keeps for the way back, as measured here.
    """

    title: str
    equations: tuple[str, ...]
    parameters: int
    bytes_each: int
    shape: tuple[int, int, int]
    multiply_adds: int
    paths: dict[str, tuple[tuple[str, str], ...]]
    milliseconds: dict[str, float]
    kept: int

    def path(self, kind: str = "inference") -> str:
        """The path that runs calls of a kind."""
        return next(name for name, reason in self.paths[kind] if reason == paths.RUNS)

    def __str__(self) -> str:
        steps, batch, features = self.shape
        lines = [self.title, "", "One step", *(f"  {line}" for line in self.equations), ""]
        lines += [
            f"{self.parameters:,} parameters, {_size(self.parameters * self.bytes_each)}",
            f"An input of {steps} steps, {batch} rows, {features} features: "
            f"{self.multiply_adds:,} multiply-adds forward, "
            f"{_size(self.kept)} kept for the way back",
            "",
        ]
        for kind in KINDS:
            times = f"{self.milliseconds[kind]:.3g} ms"
            if kind == "recording":
                ratio = self.milliseconds[kind] / self.milliseconds["inference"]
                times += f", {ratio:.1f} times inference"
            lines.append(f"{kind.capitalize()}: {times} (median of {RUNS} runs)")
            width = max(len(name) for name, _ in self.paths[kind])
            lines += [f"  {name:{width}}  {reason}" for name, reason in self.paths[kind]]
        return "\n".join(lines) + "\n"


def card(layer: StackForward, x: Tensor, hx: States | None = None) -> Card:
    """Say what a layer does with an input like this one; for that it is run a few times.

    Parameters get no gradients by it, and torch's random numbers are where they were.

    Args:
        layer: a ``Recurrent`` or one of the drop-ins.
        x: as for the layer's ``forward``.
        hx: as for the layer's ``forward``.

    Raises:
        CellError: this is no layer of one cell and one width; those inside of it may be.
        ShapeError: as the layer's ``forward``.
    """
    if not _has_card(layer):
        raise CellError(_refusal(layer))
    check_tensor("card", "the input", x)
    x = x.detach()
    call, _ = layer.prepare(x, hx)
    steps, batch, features = call.x.shape
    parameters: list[Tensor] = list(layer.parameters())  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        works = _works(layer, x, hx, parameters)
        milliseconds = {kind: _time(work) for kind, work in works.items()}
        kept = _kept(layer, x, hx, parameters)
    chosen = {}
    for kind in KINDS:
        with torch.set_grad_enabled(kind == "training"):
            asked = replace(call, record=kind == "recording")
            chosen[kind] = tuple(paths.explained(asked, layer.path))
    return Card(
        repr(layer),
        tuple(equations(layer.spec)),
        sum(p.numel() for p in parameters),
        parameters[0].element_size(),
        (steps, batch, features),
        steps * batch * _products(layer),
        chosen,
        milliseconds,
        kept,
    )


def _has_card(layer: object) -> bool:
    """Whether its layers are of one cell and one width."""
    return isinstance(layer, StackForward) and not isinstance(layer, Widths)


def _refusal(layer: object) -> str:
    """Why there is no card of something, and of what there is one."""
    if isinstance(layer, torch.nn.RNNBase):
        return refusal(layer)
    kind = type(layer)
    text = (
        f"card takes a layer over sequences of one width (gatework.Recurrent or a drop-in for "
        f"torch.nn), got {kind.__module__}.{kind.__qualname__}."
    )
    if isinstance(layer, torch.nn.Module):
        parts = layer.named_modules()
        inside = [name for name, part in parts if _has_card(part)]
        text += f" Ask for the cards of those inside of it: {', '.join(inside)}." if inside else ""
    return text


def _works(
    layer: StackForward, x: Tensor, hx: States | None, parameters: list[Tensor]
) -> dict[str, Callable[[], object]]:
    @torch.no_grad()
    def infer() -> object:
        return layer.forward(x, hx)

    def train() -> object:
        output = layer.forward(x, hx)[0]
        return torch.autograd.grad(output.sum(), parameters, allow_unused=True)

    @torch.no_grad()
    def keep_all() -> object:
        return record(layer, x, hx)

    return dict(zip(KINDS, (infer, train, keep_all), strict=True))


def _time(work: Callable[[], object]) -> float:
    """Milliseconds: the median after a first call, which may have to set things up."""
    work()
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def _kept(layer: StackForward, x: Tensor, hx: States | None, parameters: list[Tensor]) -> int:
    """Bytes that autograd holds after a forward pass, beside the input and the parameters."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        result = layer.forward(x, hx)
    own = {t.untyped_storage().data_ptr() for t in (x, *parameters)}
    del result
    return sum(size for place, size in held.items() if place not in own)


def _products(layer: StackForward) -> int:
    """Multiply-adds of one step of one row through the stack."""
    directions = 2 if layer.bidirectional else 1
    sizes = {"hidden_size": layer.hidden_size, "proj_size": layer.proj_size}
    width = directions * (
        layer.proj_size if layer.spec.states[0].size == "P" else layer.hidden_size
    )
    features = [layer.input_size] + [width] * (layer.num_layers - 1)
    return sum(directions * cost(layer.spec, f, **sizes).multiply_adds for f in features)


def _size(count: int) -> str:
    """Bytes in the unit that suits them."""
    power = min(3, int(math.log(max(count, 1), 1024)))
    return f"{count / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
