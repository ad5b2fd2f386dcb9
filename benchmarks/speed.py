"""Speed and memory of the layers beside their peers: one rotation, medians, ratios.

python benchmarks/speed.py                               prints the tables
python benchmarks/speed.py --write docs/performance.md   writes the page, and its pictures beside it
python benchmarks/speed.py --rounds 2 --shapes 0 7       a short form

ONNX Runtime (with onnxscript) and JAX take part where they are installed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import peers
import speed_page
import torch
from torch import nn

import gatework as gw
from gatework.inspect.speed import CONTENDERS, SHAPES, TRAINING, Measured, Shape, measure, timed
from gatework.paths.workspace import release_memory

WITH_MEMORY = ("nn.LSTM", "native LSTM")
PROCESSES = 3  # whose median is the memory


def print_memory(name: str, shape: Shape) -> None:
    """The largest size of this process over three training steps less that before, in MB."""
    contender = next(c for c in CONTENDERS if c.name == name)
    contender.works((1, *shape[1:]))[TRAINING]()  # what is loaded at first use
    train = contender.works(shape)[TRAINING]
    # What lies unused would hide what the steps take.
    gc.collect()
    release_memory()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the largest size from here
    before = memory_now("VmRSS")
    for _ in range(3):
        train()
    print(f"{(memory_now('VmHWM') - before) / 1024:.0f}")


def memory_now(what: str) -> int:
    """The size of this program, or the largest that it had, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def memory(shape: Shape) -> list[str]:
    """What training adds to the memory of a process: the median over processes of its own."""
    number = str(SHAPES.index(shape))
    found = []
    for name in WITH_MEMORY:
        command = [sys.executable, __file__, "--memory", name, "--shapes", number]
        runs = [
            subprocess.run(command, capture_output=True, text=True, check=True)
            for _ in range(PROCESSES)
        ]
        found.append(f"{statistics.median(int(run.stdout) for run in runs)} MB")
    return found


def step_times(hidden: int) -> list[float]:
    """Seconds of a step of nn.LSTM, nn.LSTMCell and a stream; medians of seven turns."""
    layer, cell = nn.LSTM(hidden, hidden), nn.LSTMCell(hidden, hidden)
    stream = gw.LSTM(hidden, hidden).stream()
    x, state = torch.randn(1, hidden), (torch.zeros(1, hidden), torch.zeros(1, hidden))
    whole, states = x.unsqueeze(0), tuple(s.unsqueeze(0) for s in state)
    turns = [lambda: layer(whole, states), lambda: cell(x, state), lambda: stream.step(x)]
    with torch.no_grad():
        rounds = [[timed(turn) for turn in turns] for _ in range(7)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def peak() -> float:
    """What the machine can do at most in large products, in GF/s."""
    a = torch.randn(2048, 2048)
    return max(2 * 2048**3 / timed(lambda: a @ a) / 1e9 for _ in range(5))


def page(shapes: Sequence[Shape], rounds: int) -> tuple[str, Measured]:
    """Measure everything and write it down."""
    measured = Measured()
    for shape in shapes:
        measure(measured, [*CONTENDERS, *peers.installed()], shape, rounds)
        print(shape, "done", flush=True)
    head = speed_page.head(rounds, peak(), peers.versions())
    memories = speed_page.memory_table(WITH_MEMORY, {s: memory(s) for s in shapes})
    streams = speed_page.stream_table({h: step_times(h) for h in (32, 128, 512)})
    missing = [p.name for p in peers.PEERS if p not in peers.installed()]
    tail = speed_page.tail(missing)
    return speed_page.page(head, measured, shapes, memories, streams, tail), measured


def main() -> None:
    """Measure, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--rounds", type=int, default=7)
    numbers = range(len(SHAPES))
    parser.add_argument("--shapes", type=int, nargs="+", choices=numbers, default=numbers)
    words = ("highest", "high", "medium")
    parser.add_argument("--precision", choices=words, default="highest", help="torch's switch")
    parser.add_argument("--memory", help="print the memory of training of this contender instead")
    arguments = parser.parse_args()
    shapes = [SHAPES[number] for number in arguments.shapes]
    if arguments.memory:
        print_memory(arguments.memory, shapes[0])
        return
    torch.set_float32_matmul_precision(arguments.precision)
    text, measured = page(shapes, arguments.rounds)
    if arguments.write is None:
        print(text)
        return
    arguments.write.write_text(text, encoding="utf-8")
    speed_page.pictures(measured, shapes, arguments.write.parent)


if __name__ == "__main__":
    main()
