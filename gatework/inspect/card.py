"""A layer's card: what it computes, what it costs, which path runs it and why no other one."""

from __future__ import annotations

import copy
import inspect
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gatework import paths
from gatework.equations.expr import Product, Ref, walk
from gatework.equations.sizes import width_of
from gatework.errors import CellError
from gatework.inspect.record import record
from gatework.layers.recording import refusal
from gatework.layers.shapes import check_tensor
from gatework.layers.stack import StackForward
from gatework.layers.states import States
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
        shape: of the input, (T, B, F), of images (T, B, *space, C).
        multiply_adds: in matrix products, of a forward pass over the input.
        paths: of each kind of call (``KINDS``) every path with ``"runs it"`` or why not.
        milliseconds: of each kind of call, as measured here; training is forward and backward.
        kept: bytes that a forward pass keeps for the way back, as measured here.
    """

    title: str
    equations: tuple[str, ...]
    parameters: int
    bytes_each: int
    shape: tuple[int, ...]
    multiply_adds: int
    paths: dict[str, tuple[tuple[str, str], ...]]
    milliseconds: dict[str, float]
    kept: int

    def path(self, kind: str = "inference") -> str:
        """The path that runs calls of a kind."""
        return next(name for name, reason in self.paths[kind] if reason == paths.RUNS)

    def __str__(self) -> str:
        steps, batch, *space, features = self.shape
        what = f"{features} features"
        if space:
            what = f"{features} channels at {' × '.join(map(str, space))} places"
        lines = [self.title, "", "One step", *(f"  {line}" for line in self.equations), ""]
        lines += [
            f"{self.parameters:,} parameters, {_size(self.parameters * self.bytes_each)}",
            f"An input of {steps} steps, {batch} rows, {what}: "
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


@dataclass(frozen=True)
class Cards:
    """What the layers inside of a wrapper or a model do with its input; ``print`` it.

    Attributes:
        title: the wrapper without what is inside of it.
        parameters: how many numbers are learned, of all that is inside.
        parts: the card of each layer that has run, by its name in the wrapper.
    """

    title: str
    parameters: int
    parts: Mapping[str, Card]

    def __str__(self) -> str:
        head = f"{self.title}\n{self.parameters:,} parameters in all\n"
        return head + "".join(f"\n{name}: {one}" for name, one in self.parts.items())


def card(layer: nn.Module | StackForward, x: Tensor, hx: Any = None) -> Card | Cards:
    """Say what a layer does with an input like this one; for that it is run a few times.

    Parameters get no gradients by it, torch's random numbers are where they were, and what a
    wrapper keeps between calls is as it was.

    Args:
        layer: a ``Recurrent``, one of the drop-ins, or a module with such layers inside: a
            ``Bidirectional``, a ``Stack``, several widths, a model.
        x: as for the layer's ``forward``.
        hx: as for the layer's ``forward``.

    Returns:
        The card, or those of the layers inside, each for the input that it gets.

    Raises:
        CellError: this is no layer with equations, nor has it run one that is inside of it.
        ShapeError: as the layer's ``forward``.
    """
    has_layers = bool(_layers_inside(layer))
    if not (has_layers or isinstance(layer, StackForward)):
        raise CellError(_refusal(layer))
    check_tensor("card", "the input", x)
    return _cards(copy.deepcopy(layer), x, hx) if has_layers else _card(layer, x, hx)  # type: ignore[arg-type]


def _layers_inside(layer: object) -> dict[str, StackForward]:
    """The layers of one cell and one width inside of a module, by name."""
    if not isinstance(layer, nn.Module):
        return {}
    parts: dict[str, Any] = dict(layer.named_modules())
    stacks = {name for name, part in parts.items() if name and isinstance(part, StackForward)}
    return {
        name: parts[name]
        for name in parts
        if name in stacks and not any(other.startswith(f"{name}.") for other in stacks)
    }


def _cards(layer: Any, x: Tensor, hx: Any) -> Cards:
    """The cards of the layers inside of a copy, with what each is given in a run of the whole."""
    inside = _layers_inside(layer)
    given: dict[str, dict[str, Any]] = {}

    def listen(name: str, part: Any) -> Any:
        def note(_: Any, arguments: Any, options: Any) -> None:
            bound = inspect.signature(part.forward).bind(*arguments, **options)
            given.setdefault(name, bound.arguments)

        return part.register_forward_pre_hook(note, with_kwargs=True)

    hooks = [listen(name, part) for name, part in inside.items()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        layer(x) if hx is None else layer(x, hx)
    for hook in hooks:
        hook.remove()
    if not given:
        raise CellError(_refusal(layer))
    return Cards(
        f"{type(layer).__name__}({layer.extra_repr()})",
        sum(p.numel() for p in layer.parameters()),
        {name: _card(inside[name], of["input"], of.get("hx")) for name, of in given.items()},
    )


def _card(layer: StackForward, x: Tensor, hx: States | None) -> Card:
    check_tensor("card", "the input", x)
    x = x.detach()
    call, _ = layer.prepare(x, hx)
    steps, batch, *space, _ = call.x.shape
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
        tuple(call.x.shape),
        steps * batch * math.prod(space) * _products(layer),
        chosen,
        milliseconds,
        kept,
    )


def _refusal(layer: object) -> str:
    """Why there is no card of something, and of what there is one."""
    if isinstance(layer, nn.RNNBase):
        return refusal(layer)
    kind = type(layer)
    return (
        f"card takes a layer over sequences (gatework.Recurrent or a drop-in for torch.nn) or a "
        f"module that runs such layers inside, got {kind.__module__}.{kind.__qualname__}."
    )


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
    """Multiply-adds of one step of one row, or of one place of an image, through the stack."""
    spec, directions = layer.spec, 2 if layer.bidirectional else 1
    sizes = {"hidden_size": layer.hidden_size, "proj_size": layer.proj_size}
    width = directions * (layer.proj_size if spec.states[0].size == "P" else layer.hidden_size)
    features = [layer.input_size] + [width] * (layer.num_layers - 1)
    # Of a kernel cost() counts one place, which is all that a product with a matrix has.
    others = math.prod(layer.kernel_size) - 1
    return directions * sum(
        cost(spec, f, **sizes).multiply_adds + others * _matrices(layer, f) for f in features
    )


def _matrices(layer: StackForward, features: int) -> int:
    """Multiply-adds of the products with matrices alone."""
    sizes = {"F": features, "H": layer.hidden_size, "P": layer.proj_size}
    shapes = {
        p.name: [width_of(letter, sizes) for letter in p.shape] for p in layer.spec.parameters
    }
    nodes = [node for e in layer.spec.equations for node in walk(e.expr)]
    found = [n.matrix.name for n in nodes if isinstance(n, Product) and isinstance(n.matrix, Ref)]
    return sum(math.prod(shapes[name]) for name in found)


def _size(count: int) -> str:
    """Bytes in the unit that suits them."""
    power = min(3, int(math.log(max(count, 1), 1024)))
    return f"{count / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
