"""Speed and memory of the layers beside their peers: one rotation, medians, ratios.

python benchmarks/speed.py                               prints the tables
python benchmarks/speed.py --write docs/performance.md   writes the page, and its picture beside it
python benchmarks/speed.py --rounds 2 --shapes 0 7       a short form
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

import gatework as gw

SHAPES = (
    (100, 1, 10, 20), (100, 32, 10, 64), (100, 32, 128, 128), (35, 20, 650, 650),
    (500, 64, 64, 256), (1000, 16, 64, 128), (784, 128, 1, 128), (1, 1, 128, 128),
    (200, 8, 512, 1024),
)  # fmt: skip
BUDGET = 0.15  # seconds for one contender in one round
Work = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """A layer, and the one that it is held against."""

    name: str
    make: Callable[[int, int], nn.Module]
    peer: str
    autocast: bool = False


CONTENDERS = (
    Contender("nn.LSTM", nn.LSTM, "nn.LSTM"),
    Contender("gw.LSTM", gw.LSTM, "nn.LSTM"),
    Contender("native LSTM", lambda i, h: gw.LSTM(i, h, path="native"), "nn.LSTM"),
    Contender("native peephole", lambda i, h: native("peephole_lstm", i, h), "native LSTM"),
    Contender("native coupled", lambda i, h: native("coupled_lstm", i, h), "native LSTM"),
    Contender("nn.GRU", nn.GRU, "nn.GRU"),
    Contender("gw.GRU", gw.GRU, "nn.GRU"),
    Contender("native GRU", lambda i, h: gw.GRU(i, h, path="native"), "nn.GRU"),
    Contender("native GRU, reset before", lambda i, h: native("gru_reset_before", i, h), "nn.GRU"),
    Contender("nn.LSTM, bf16 autocast", nn.LSTM, "nn.LSTM", autocast=True),
    Contender("gw.LSTM, bf16 autocast", gw.LSTM, "nn.LSTM, bf16 autocast", autocast=True),
)


def native(cell: str, features: int, hidden: int) -> gw.Recurrent:
    """A layer of any cell on the compiled kernels."""
    return gw.Recurrent(cell, features, hidden, path="native")


@dataclass
class Measured:
    """Seconds of one contender in each round, by shape and mode."""

    seconds: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)

    def add(self, shape: int, mode: str, name: str, seconds: float) -> None:
        """One more round."""
        self.seconds.setdefault((shape, mode, name), []).append(seconds)

    def ratio(self, shape: int, mode: str, one: str, other: str) -> float:
        """How many times faster the first is: the median over the rounds."""
        mine, theirs = (self.seconds[shape, mode, name] for name in (one, other))
        return statistics.median(t / m for m, t in zip(mine, theirs, strict=True))

    def milliseconds(self, shape: int, mode: str, name: str) -> float:
        """The median over the rounds."""
        return 1000 * statistics.median(self.seconds[shape, mode, name])


def works(contender: Contender, shape: Sequence[int]) -> dict[str, Work]:
    """What is timed: inference, and training (forward, backward, gradients from zero)."""
    steps, batch, features, hidden = shape
    layer, x = contender.make(features, hidden), torch.randn(steps, batch, features)

    def infer() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, contender.autocast):
            layer(x)

    def train() -> None:
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, contender.autocast):
            output = layer(x)[0]
        output.float().sum().backward()

    return {"inference": infer, "training": train}


def onnx_work(shape: Sequence[int]) -> Work | None:
    """ONNX Runtime's LSTM, where it is installed."""
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        return None
    import onnxruntime  # noqa: PLC0415

    steps, batch, features, hidden = shape
    x = torch.randn(steps, batch, features)
    program = torch.onnx.export(nn.LSTM(features, hidden), (x,), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)


def timed(work: Work) -> float:
    """The median time of a call, over as many as the budget allows."""
    begin = time.perf_counter()
    work()
    count = max(2, min(300, int(BUDGET / (time.perf_counter() - begin + 1e-9))))
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def measure(shapes: Sequence[int], rounds: int) -> Measured:
    """All contenders on all shapes, in turn, again and again."""
    measured = Measured()
    for shape in shapes:
        turns = [
            (mode, contender.name, work)
            for contender in CONTENDERS
            for mode, work in works(contender, SHAPES[shape]).items()
        ]
        if (onnx := onnx_work(SHAPES[shape])) is not None:
            turns.append(("inference", "ONNX Runtime", onnx))
        for _, _, work in turns:
            work()
        for _ in range(rounds):
            for mode, name, work in turns:
                measured.add(shape, mode, name, timed(work))
        print(SHAPES[shape], "done", flush=True)
    return measured


def times_table(measured: Measured, shapes: Sequence[int]) -> list[str]:
    """Milliseconds of the two LSTMs, and what part of the machine's peak torch's reaches."""
    rows = [
        "| T, B, I, H | nn.LSTM inference | gw.LSTM | nn.LSTM training | gw.LSTM | nn.LSTM, GF/s |",
        "|---|---|---|---|---|---|",
    ]
    for shape in shapes:
        steps, batch, features, hidden = SHAPES[shape]
        times = [
            measured.milliseconds(shape, mode, name)
            for mode in ("inference", "training")
            for name in ("nn.LSTM", "gw.LSTM")
        ]
        rate = 8e-6 * steps * batch * hidden * (features + hidden) / times[0]
        shown = " | ".join(f"{t:.2f}" for t in times)
        rows.append(f"| {', '.join(map(str, SHAPES[shape]))} | {shown} | {rate:.0f} |")
    return rows


def memory_table(shapes: Sequence[int]) -> list[str]:
    """What training adds to the memory of a process, each in a process of its own."""
    rows = ["| T, B, I, H | nn.LSTM | native LSTM |", "|---|---|---|"]
    for shape in shapes:
        found = [
            subprocess.run(
                [sys.executable, __file__, "--memory", name, "--shapes", str(shape)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for name in ("nn.LSTM", "native LSTM")
        ]
        rows.append(f"| {', '.join(map(str, SHAPES[shape]))} | {' | '.join(found)} |")
    return rows


def print_memory(name: str, shape: int) -> None:
    """The growth of this process's largest size over three training steps."""
    contender = next(c for c in CONTENDERS if c.name == name)
    steps, batch, features, hidden = SHAPES[shape]
    works(contender, (1, batch, features, hidden))["training"]()  # what is loaded at first use
    train = works(contender, (steps, batch, features, hidden))["training"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        train()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{(after - before) / 1024:.0f} MB")


def mean(ratios: Sequence[float]) -> float:
    """The geometric one."""
    return math.exp(statistics.fmean(math.log(r) for r in ratios))


def stream_table() -> list[str]:
    """One step of a stream beside torch's ways to do one step."""
    rows = [
        "| H | nn.LSTM, one step | nn.LSTMCell | stream | times nn.LSTM | times LSTMCell |",
        "|---|---|---|---|---|---|",
    ]
    for hidden in (32, 128, 512):
        a, b, c = step_times(hidden)
        shown = f"{1e6 * a:.0f} us | {1e6 * b:.0f} us | {1e6 * c:.1f} us"
        rows.append(f"| {hidden} | {shown} | {a / c:.1f} | {b / c:.1f} |")
    return rows


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


def table(measured: Measured, shapes: Sequence[int], mode: str, names: Sequence[str]) -> list[str]:
    """Ratios to the peers, a row for each shape and the geometric mean."""
    known = {c.name: c.peer for c in CONTENDERS} | {"ONNX Runtime": "nn.LSTM"}
    there = [n for n in names if (shapes[0], mode, n) in measured.seconds]
    rows = [f"| T, B, I, H | {' | '.join(f'{n} / {known[n]}' for n in there)} |"]
    rows.append("|---" * (len(there) + 1) + "|")
    columns: dict[str, list[float]] = {name: [] for name in there}
    for shape in shapes:
        for name in there:
            columns[name].append(measured.ratio(shape, mode, name, known[name]))
        cells = (f"{columns[name][-1]:.2f}" for name in there)
        rows.append(f"| {', '.join(map(str, SHAPES[shape]))} | {' | '.join(cells)} |")
    means = (f"**{mean(columns[name]):.2f}**" for name in there)
    return [*rows, f"| geometric mean | {' | '.join(means)} |"]


def picture(measured: Measured, shapes: Sequence[int], path: Path) -> None:
    """Bars: how many times faster than torch, for each shape."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    labels = [", ".join(map(str, SHAPES[s])) for s in shapes]
    pairs = (("gw.LSTM", "nn.LSTM"), ("gw.GRU", "nn.GRU"))
    for axis, mode in zip(axes, ("inference", "training"), strict=True):
        for number, (name, peer) in enumerate(pairs):
            values = [measured.ratio(s, mode, name, peer) for s in shapes]
            places = [p + 0.38 * (0.5 - number) for p in range(len(shapes))]
            axis.barh(places, values, height=0.36, label=f"{name} / {peer}")
            for place, value in zip(places, values, strict=True):
                axis.text(value, place, f" {value:.1f}", va="center", fontsize=8)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set(title=mode, xlabel="times as fast", yticks=range(len(shapes)), yticklabels=labels)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("T, B, I, H")
    axes[0].invert_yaxis()
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)


def peaks() -> str:
    """What the machine can do at most in large products, in words."""
    a = torch.randn(2048, 2048)
    rates = [2 * 2048**3 / timed(lambda: a @ a) / 1e9 for _ in range(5)]
    return f"{max(rates):.0f} GF/s in a product of two 2048 x 2048 matrices"


def processor() -> str:
    """The processor's name and vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    entries = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = entries.get("flags", "").split()
    has = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{entries.get('model name', 'unknown')} ({', '.join(has) or 'no AVX2'})"


INFERENCE = ("gw.LSTM", "native LSTM", "native peephole", "native coupled", "gw.GRU", "native GRU",
             "native GRU, reset before", "gw.LSTM, bf16 autocast", "ONNX Runtime")  # fmt: skip


def page(measured: Measured, shapes: Sequence[int], rounds: int, remarks: str) -> str:
    """The whole page."""
    lines = [
        "# Speed",
        "",
        f"Measured by `make bench` (`python benchmarks/speed.py --write docs/performance.md`), "
        f"{rounds} rounds; torch {torch.__version__}, {processor()}, {torch.get_num_threads()} "
        f"threads, float32. In each round every contender runs in turn; a ratio is the median "
        f"over the rounds, above 1 is faster than the one behind the stroke. *native* is the path "
        f"of the compiled kernels, *gw* what the layer chooses by itself. The machine reaches "
        f"{peaks()}.",
        "",
        "![Times as fast as torch.nn](performance.png)",
        "",
        *("## Inference", "", *table(measured, shapes, "inference", INFERENCE), ""),
        *("## Training", "", *table(measured, shapes, "training", INFERENCE), ""),
        *("## Time in milliseconds", "", *times_table(measured, shapes)),
        "",
        *("## Memory of training", "", *memory_table(shapes), ""),
        *("## One step at a time", "", "Batch 1, one layer, F = H.", "", *stream_table(), ""),
        remarks,
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Measure, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", type=int, nargs="*", default=range(len(SHAPES)))
    parser.add_argument("--memory", help="print the memory of training of this contender instead")
    arguments = parser.parse_args()
    if arguments.memory:
        print_memory(arguments.memory, arguments.shapes[0])
        return
    measured = measure(arguments.shapes, arguments.rounds)
    remarks = Path(__file__).with_name("speed_remarks.md").read_text(encoding="utf-8")
    text = page(measured, arguments.shapes, arguments.rounds, remarks)
    if arguments.write is None:
        print(text)
        return
    arguments.write.write_text(text, encoding="utf-8")
    picture(measured, arguments.shapes, arguments.write.with_suffix(".png"))


if __name__ == "__main__":
    main()
