"""Speed of layers beside their peers: one rotation, medians over its rounds, ratios.

The page of speed in the docs and ``gatework bench`` both measure with what stands here.
Axes of a shape: T time, B batch, F input features, H hidden units.
"""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gatework import layers, paths
from gatework.cells import CellLike, name_of, resolve
from gatework.errors import ShapeError
from gatework.layers.stack import StackForward

Shape = tuple[int, int, int, int]  # T, B, F, H
Work = Callable[[], object]
Make = Callable[[int, int], nn.Module]

SHAPES: tuple[Shape, ...] = (
    (100, 1, 10, 20), (100, 32, 10, 64), (100, 32, 128, 128), (35, 20, 650, 650),
    (500, 64, 64, 256), (1000, 16, 64, 128), (784, 128, 1, 128), (1, 1, 128, 128),
    (200, 8, 512, 1024),
)  # fmt: skip
SHORT_SHAPES = SHAPES[1:4] + SHAPES[7:8]  # a small, a middle and a large one, and a single step
INFERENCE, TRAINING = MODES = ("inference", "training")
VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
BUDGET = 0.15  # seconds for one contender in one round
MOST_CALLS = 300  # in one round


class Contender(Protocol):
    """What takes part in a rotation."""

    @property
    def name(self) -> str:
        """As it stands in tables."""

    @property
    def peers(self) -> tuple[str, ...]:
        """The names of those that it is held against."""

    def works(self, shape: Shape) -> dict[str, Work]:
        """What is timed, by mode."""


@dataclass(frozen=True)
class Layer:
    """A torch module that takes (T, B, F), in inference and in training."""

    title: str
    make: Make
    peers: tuple[str, ...] = ()
    autocast: bool = False

    @property
    def name(self) -> str:
        """The title, with the precision where it is not float32."""
        return f"{self.title}, bf16 autocast" if self.autocast else self.title

    def works(self, shape: Shape) -> dict[str, Work]:
        """Inference, and training: forward, backward, gradients from zero."""
        fixed, _ = self._ready(shape, INFERENCE)
        layer, x = self._ready(shape, TRAINING)

        more = _beside(fixed, x)

        def infer() -> None:
            with torch.no_grad(), self._precision():
                fixed(x, **more)

        def train() -> None:
            layer.zero_grad()
            with self._precision():
                output = layer(x, **more)[0]
            output.float().sum().backward()

        return {INFERENCE: infer, TRAINING: train}

    def path(self, shape: Shape, mode: str) -> str:
        """The path that a layer of Gatework takes; empty for one of torch."""
        layer, x = self._ready(shape, mode)
        if not isinstance(layer, StackForward):
            return ""
        with torch.set_grad_enabled(mode == TRAINING), self._precision():
            call, _ = layer.prepare(x, **_beside(layer, x))
            return paths.choose(call, layer.path).name

    def why_not_native(self, shape: Shape) -> str | None:
        """Why the compiled kernels cannot run it here; ``None`` where they can, or never would."""
        layer, x = self._ready(shape, INFERENCE)
        if not isinstance(layer, StackForward) or layer.path not in (paths.AUTO, paths.NATIVE.name):
            return None
        return paths.NATIVE.supports(layer.prepare(x, **_beside(layer, x))[0])

    def _ready(self, shape: Shape, mode: str) -> tuple[nn.Module, Tensor]:
        steps, batch, features, hidden = shape
        layer = self.make(features, hidden).train(mode == TRAINING)
        return layer, torch.randn(steps, batch, features)

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, self.autocast)


def _beside(layer: nn.Module, x: Tensor) -> dict[str, Any]:
    """What a cell reads beside the input: the number of the step."""
    if not isinstance(layer, StackForward) or not layer.spec.beside:
        return {}
    steps = torch.arange(len(x), dtype=x.dtype).unsqueeze(1).expand(x.shape[:2])
    return {"beside": dict.fromkeys(layer.spec.beside, steps)}


def layer_of(cell: CellLike, path: str, features: int, hidden: int) -> nn.Module:
    """A layer of any cell; one that projects its state, to half of its units."""
    proj = hidden // 2 if "P" in resolve(cell).sizes else 0
    return layers.Recurrent(cell, features, hidden, proj_size=proj, path=path)


def named(title: str, *peers: str, autocast: bool = False) -> Layer:
    """The contender that its title describes.

    ``nn.X`` is torch's layer and ``gw.X`` ours in its place; ``native X`` is the same, or a cell
    of the catalogue, on the path of that name.
    """
    home, _, what = title.partition(".")
    if home in ("nn", "gw"):
        make: Make = getattr(nn if home == "nn" else layers, what)
    else:
        path, what = title.split()
        drop_in = getattr(layers, what, None)
        make = partial(drop_in, path=path) if drop_in else partial(layer_of, what, path)
    return Layer(title, make, peers, autocast)


# With torch's names, those of our layers, and of cells; nothing is decided by a name.
PLAIN = (
    named("nn.LSTM"),
    named("gw.LSTM", "nn.LSTM"),
    named("nn.GRU"),
    named("gw.GRU", "nn.GRU"),
)
CONTENDERS = (
    *PLAIN[:2],
    named("native LSTM", "nn.LSTM"),
    named("native peephole_lstm", "native LSTM"),
    named("native coupled_lstm", "native LSTM"),
    *PLAIN[2:],
    named("native GRU", "nn.GRU"),
    named("native gru_reset_before", "nn.GRU"),
    named("nn.LSTM", "nn.LSTM", autocast=True),
    named("gw.LSTM", "nn.LSTM, bf16 autocast", autocast=True),
    named("nn.GRU", "nn.GRU", autocast=True),
    named("gw.GRU", "nn.GRU, bf16 autocast", autocast=True),
)


def contenders_of(cell: CellLike) -> tuple[Layer, ...]:
    """A cell beside our LSTM, which stands beside torch's, and beside its own loop in Python.

    Raises:
        CellError: there is no such cell.
    """
    spec = resolve(cell)
    own = name_of(spec)
    loop = Layer("its own loop", partial(layer_of, spec, paths.REFERENCE.name))
    torchs, ours = PLAIN[:2]
    auto = Layer(own, partial(layer_of, spec, paths.AUTO), (ours.name, loop.name))
    return torchs, ours, loop, auto


def not_native(contenders: Iterable[Layer], shape: Shape) -> list[str]:
    """In words, which layers the compiled kernels cannot run here, and why."""
    by_reason: dict[str, list[str]] = {}
    for one in contenders:
        if (reason := one.why_not_native(shape)) is not None:
            by_reason.setdefault(reason, []).append(one.name)
    return [
        f"no compiled kernels for {', '.join(names)}: {reason}."
        for reason, names in by_reason.items()
    ]


@dataclass
class Measured:
    """Seconds of each contender in each round, by shape, mode and name."""

    seconds: dict[tuple[Shape, str, str], list[float]] = field(default_factory=dict)

    def add(self, shape: Shape, mode: str, name: str, seconds: float) -> None:
        """One more round."""
        self.seconds.setdefault((shape, mode, name), []).append(seconds)

    def has(self, shape: Shape, mode: str, name: str) -> bool:
        """Whether it took part."""
        return (shape, mode, name) in self.seconds

    def ratio(self, shape: Shape, mode: str, one: str, other: str) -> float:
        """How many times faster the first is: the median over the rounds."""
        mine, theirs = (self.seconds[shape, mode, name] for name in (one, other))
        return statistics.median(t / m for m, t in zip(mine, theirs, strict=True))

    def milliseconds(self, shape: Shape, mode: str, name: str) -> float:
        """The median over the rounds."""
        return 1000 * statistics.median(self.seconds[shape, mode, name])


def measure(
    measured: Measured,
    contenders: Iterable[Contender],
    shape: Shape,
    rounds: int,
    after_turn: Work = lambda: None,
) -> None:
    """Add one shape: all contenders in turn, again and again, after a first turn that is not timed.

    Whatever slows the machine for a while then slows all of them, and a ratio within one round
    hardly sees it.
    """
    turns = [(c.name, mode, work) for c in contenders for mode, work in c.works(shape).items()]
    for _, _, work in turns:
        work()
        after_turn()
    for _ in range(rounds):
        for name, mode, work in turns:
            measured.add(shape, mode, name, timed(work))
            after_turn()


def timed(work: Work) -> float:
    """The median time of a call, over as many as the budget allows."""
    begin = time.perf_counter()
    work()
    count = max(2, min(MOST_CALLS, int(BUDGET / (time.perf_counter() - begin + 1e-9))))
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios: twice as fast and half as fast make one."""
    return math.exp(statistics.fmean(math.log(r) for r in ratios))


def shape_of(text: str) -> Shape:
    """A shape from ``T,B,F,H``.

    Raises:
        ShapeError: these are not four whole numbers above zero, or memory does not hold them.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch("0*[1-9][0-9]{0,8}", p) for p in parts):
        raise ShapeError(
            f"{text!r} is no shape; give steps, batch, features and hidden units as four whole "
            f"numbers above zero, as in 100,32,64,128."
        )
    steps, batch, features, hidden = map(int, parts)
    # What four gates and their gradients keep, in float32, twice: torch's layer and one of ours.
    needed = 8 * (steps * batch * (features + 12 * hidden) + 12 * hidden * (features + hidden))
    if needed > (there := memory()):
        raise ShapeError(
            f"The shape {text!r} needs about {needed / 1e9:,.0f} GB of memory; this machine has "
            f"{there / 1e9:,.0f}."
        )
    return steps, batch, features, hidden


def memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine() -> str:
    """What was measured on, in words: torch, processor, threads."""
    return f"torch {torch.__version__}, {processor()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The processor's name and vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if not (flags := entries.get("flags", "").split()):
        return platform.machine()
    has = [f for f in VECTORS if f in flags]
    return f"{entries.get('model name', 'unknown')} ({', '.join(has) or 'no AVX2'})"
