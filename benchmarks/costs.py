"""What the features of a layer cost, beside the plain layer in one rotation.

python benchmarks/costs.py                         prints the page
python benchmarks/costs.py --write docs/costs.md   writes it; nothing else may run meanwhile
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import gatework as gw
from gatework.inspect.speed import (
    INFERENCE,
    MODES,
    TRAINING,
    Measured,
    Shape,
    Work,
    machine,
    measure,
    timed,
)

SHAPES: tuple[Shape, ...] = ((100, 32, 64, 128), (1000, 16, 64, 256))
LONG: Shape = (10_000, 16, 16, 256)
PLAIN = "plain, native"
INTRO = """# What the features of a layer cost

Written by `python benchmarks/costs.py --write docs/costs.md`; {machine}, float32, medians of one \
rotation of {rounds} rounds. Numbers are the time of `gw.LSTM` with a feature divided by its time \
without (`path="native"` for both, since torch's own kernel has none of them); below 1 is faster.
"""
BY_HAND = (
    "*by hand* is what resets and all states take without them: a loop over `torch.nn.LSTMCell` "
    "that zeroes the states of the rows that begin anew and collects h and c."
)
MEMORY = """
## Training in little memory

`checkpoint="sqrt"` keeps the states between segments of sqrt(T) steps and makes the rest again on \
the way back. Peak memory above what is there before, in a process of its own, and the time of \
forward and backward, for (T, B, F, H) = ({shape}) and a loss of the final states:

| | peak | time |
|---|---:|---:|
{rows}

{ratios} Where every step's output goes into the loss, that output and its gradient must be there \
besides, which are 2 of the 8 numbers for each unit and step that the plain run holds; no way of \
checkpointing one layer can be below a quarter then.
"""


@dataclass(frozen=True)
class Use:
    """A way to call the layer; ``call`` gives what the loss is made of."""

    name: str
    call: Callable[[gw.LSTM, Tensor], Tensor]
    peers: tuple[str, ...] = (PLAIN,)

    def works(self, shape: Shape) -> dict[str, Work]:
        """Inference, and training."""
        steps, batch, features, hidden = shape
        layer, x = gw.LSTM(features, hidden, path="native"), torch.randn(steps, batch, features)

        def infer() -> None:
            with torch.no_grad():
                self.call(layer, x)

        def train() -> None:
            layer.zero_grad()
            self.call(layer, x).sum().backward()

        return {INFERENCE: infer, TRAINING: train}


def some(x: Tensor, share: float) -> Tensor:
    """True at this share of the steps, always the same ones."""
    return torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(0)) < share


def by_hand(layer: gw.LSTM, x: Tensor) -> Tensor:
    """The loop that users write where a layer has no resets and does not give all states."""
    w, u, b, d = layer.all_weights[0]
    goes_on = (~some(x, 0.05)).unsqueeze(-1).to(x.dtype)
    h = c = x.new_zeros(x.shape[1], layer.hidden_size)
    hidden, cells = [], []
    for t in range(len(x)):
        h, c = torch.lstm_cell(x[t], (h * goes_on[t], c * goes_on[t]), w, u, b, d)
        hidden.append(h)
        cells.append(c)
    return torch.stack(hidden) + torch.stack(cells)


def all_states(layer: gw.LSTM, x: Tensor) -> Tensor:
    """H and c at every step."""
    _, _, sequences = layer(x, return_states=True)
    return sequences["h"] + sequences["c"]


USES = (
    Use(PLAIN, lambda layer, x: layer(x)[0], ()),
    Use("resets, 5 % of the steps", lambda layer, x: layer(x, resets=some(x, 0.05))[0]),
    Use("mask, 30 % of the steps skipped", lambda layer, x: layer(x, mask=some(x, 0.7))[0]),
    Use(
        "lengths, half of T on average",
        lambda layer, x: layer(x, lengths=torch.linspace(1, len(x), x.shape[1]).long())[0],
    ),
    Use("return_states", all_states),
    Use("record, all gates", lambda layer, x: gw.record(layer, x)["h_next"]),
    Use("by hand: resets and all states", by_hand),
)


def peak(checkpoint: str | None, shape: Shape) -> tuple[float, float]:
    """MiB at most above what was there before, and seconds, of a training step."""
    steps, batch, features, hidden = shape
    layer = gw.LSTM(features, hidden, checkpoint=checkpoint)
    x = torch.randn(steps, batch, features)
    step(layer, x[: steps // 10])  # what is loaded and built once
    Path("/proc/self/clear_refs").write_text("5")
    before = highest()
    step(layer, x)
    found = highest() - before
    seconds = min(timed(lambda: step(layer, x)) for _ in range(2))
    return found, seconds


def step(layer: gw.LSTM, x: Tensor) -> None:
    """Forward and backward of a loss of the final states."""
    _, (h, _) = layer(x)
    h.square().sum().backward()


def highest() -> float:
    """MiB that this process has had at most since the mark was set."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024


def page(rounds: int) -> str:
    """Measure everything and write it down."""
    measured = Measured()
    for shape in SHAPES:
        measure(measured, USES, shape, rounds)
    titles = [f"{shape}, {mode}" for shape in SHAPES for mode in MODES]
    parts = [INTRO.format(machine=machine(), rounds=rounds)]
    lines = [f"| T, B, F, H | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    keys = [(shape, mode) for shape in SHAPES for mode in MODES]
    times = (f"{measured.milliseconds(*key, PLAIN):.2f} ms" for key in keys)
    lines.append(f"| {PLAIN} | {' | '.join(times)} |")
    for use in USES[1:]:
        ratios = (f"{1 / measured.ratio(*key, use.name, PLAIN):.2f}" for key in keys)
        lines.append(f"| {use.name} | {' | '.join(ratios)} |")
    parts += ["\n".join(lines), "", BY_HAND]
    found = {}
    for checkpoint in (None, "sqrt"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[checkpoint] = pool.apply(peak, (checkpoint, LONG))
    (plain, slow), (small, slower) = found[None], found["sqrt"]
    rows = [
        f"| {name} | {memory:.0f} MiB | {seconds:.2f} s |"
        for name, (memory, seconds) in (("plain", found[None]), ("sqrt", found["sqrt"]))
    ]
    ratios = f"That is {small / plain:.2f} of the memory in {slower / slow:.2f} times the time."
    shape = ", ".join(map(str, LONG))
    parts.append(MEMORY.format(shape=shape, rows="\n".join(rows), ratios=ratios))
    return "\n".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    text = page(arguments.rounds)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    else:
        print(text)
