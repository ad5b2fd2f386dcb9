"""The page of speed: its words, tables and pictures, out of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from peers import PEERS

from gatework.inspect.speed import (
    CONTENDERS,
    INFERENCE,
    MODES,
    TRAINING,
    Measured,
    Shape,
    geometric_mean,
    machine,
    processor,
)

BY_SHAPE, BY_CONTENDER = "performance.png", "performance_means.png"
REMARKS = Path(__file__).with_name("speed_remarks.md")
PAIRS = [(c.name, peer) for c in (*CONTENDERS, *PEERS) for peer in c.peers]


def head(rounds: int, peak: float, others: str) -> str:
    """How it was measured, and on what."""
    beside = f" Beside torch: {others}." if others else ""
    precision = torch.get_float32_matmul_precision()
    switch = "" if precision == "highest" else f", its precision set to {precision!r}"
    return (
        f"Measured by `make bench` (`python benchmarks/speed.py --write docs/performance.md`), "
        f"{rounds} round{'s' * (rounds > 1)}; {machine()}, "
        f"float32 where nothing else stands{switch}. In each round every contender "
        f"runs in turn; a ratio is the median over the rounds, above 1 "
        f"is faster than the one behind the stroke. *native* is the path of the compiled kernels, "
        f"*gw* what the layer chooses by itself.{beside} The machine reaches {peak:.0f} GF/s in "
        f"a product of two 2048 x 2048 matrices. `gatework bench` measures a short form on yours."
    )


def page(
    head: str,
    measured: Measured,
    shapes: Sequence[Shape],
    memories: list[str],
    streams: list[str],
    tail: str,
) -> str:
    """The whole page."""
    lines = [
        *("# Speed", "", head, ""),
        *(f"![Times as fast as torch.nn]({BY_SHAPE})", ""),
        *("## Inference", "", *ratio_table(measured, shapes, INFERENCE), ""),
        *("## Training", "", *ratio_table(measured, shapes, TRAINING), ""),
        *(f"![Geometric means over the shapes]({BY_CONTENDER})", ""),
        *("## Time in milliseconds", "", *times_table(measured, shapes), ""),
        *("## Memory of training", "", *memories, ""),
        *("## One step at a time", "", "Batch 1, one layer, F = H.", "", *streams, ""),
        tail,
    ]
    return "\n".join(lines).rstrip() + "\n"


def tail(missing: Sequence[str]) -> str:
    """The remarks, and what nobody measured."""
    absent = [f"{name} (not installed)" for name in missing]
    absent += (
        []
        if "amx" in processor()
        else ["AMX (the processor has none, and the code for its tiles has never run on one)"]
    )
    text = REMARKS.read_text(encoding="utf-8").rstrip()
    return f"{text}\n\nNot measured here: {', '.join([*absent, 'a GPU'])}."


def title(shape: Shape) -> str:
    """T, B, F, H."""
    return ", ".join(map(str, shape))


def ratio_table(measured: Measured, shapes: Sequence[Shape], mode: str) -> list[str]:
    """Ratios to the peers, a row for each pair, and the geometric mean in the last column."""
    rows = [f"| T, B, F, H | {' | '.join(map(title, shapes))} | geometric mean |"]
    rows.append("|---" * (len(shapes) + 2) + "|")
    for (name, peer), ratios in ratios_of(measured, shapes, mode).items():
        cells = " | ".join(f"{r:.2f}" for r in ratios)
        rows.append(f"| {name} / {peer} | {cells} | **{geometric_mean(ratios):.2f}** |")
    return rows


def ratios_of(
    measured: Measured, shapes: Sequence[Shape], mode: str
) -> dict[tuple[str, str], list[float]]:
    """The ratios of every pair that took part in this mode, in the order of the shapes."""
    return {
        (name, peer): [measured.ratio(shape, mode, name, peer) for shape in shapes]
        for name, peer in PAIRS
        if measured.has(shapes[0], mode, name)
    }


def times_table(measured: Measured, shapes: Sequence[Shape]) -> list[str]:
    """Milliseconds of the two LSTMs, and what part of the machine's peak torch's reaches."""
    rows = [
        "| T, B, F, H | nn.LSTM inference | gw.LSTM | nn.LSTM training | gw.LSTM | nn.LSTM, GF/s |",
        "|---|---|---|---|---|---|",
    ]
    for shape in shapes:
        steps, batch, features, hidden = shape
        times = [
            measured.milliseconds(shape, mode, name)
            for mode in MODES
            for name in ("nn.LSTM", "gw.LSTM")
        ]
        rate = 8e-6 * steps * batch * hidden * (features + hidden) / times[0]
        shown = " | ".join(f"{t:.2f}" for t in times)
        rows.append(f"| {title(shape)} | {shown} | {rate:.0f} |")
    return rows


def memory_table(names: Sequence[str], found: Mapping[Shape, Sequence[str]]) -> list[str]:
    """What training adds to the memory of a process."""
    rows = [f"| T, B, F, H | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return rows + [f"| {title(shape)} | {' | '.join(sizes)} |" for shape, sizes in found.items()]


def stream_table(times: Mapping[int, Sequence[float]]) -> list[str]:
    """One step of a stream beside torch's ways to do one step, in seconds, by H."""
    rows = [
        "| H | nn.LSTM, one step | nn.LSTMCell | stream | times nn.LSTM | times LSTMCell |",
        "|---|---|---|---|---|---|",
    ]
    for hidden, (layer, cell, stream) in times.items():
        shown = f"{1e6 * layer:.0f} us | {1e6 * cell:.0f} us | {1e6 * stream:.1f} us"
        rows.append(f"| {hidden} | {shown} | {layer / stream:.1f} | {cell / stream:.1f} |")
    return rows


def pictures(measured: Measured, shapes: Sequence[Shape], folder: Path) -> None:
    """Bars for each shape, of our two layers in torch's place; and the means of everyone."""
    pairs = (("gw.LSTM", "nn.LSTM"), ("gw.GRU", "nn.GRU"))
    by_mode = {mode: ratios_of(measured, shapes, mode) for mode in MODES}
    bars(
        {m: {f"{a} / {b}": found[a, b] for a, b in pairs} for m, found in by_mode.items()},
        [title(shape) for shape in shapes],
        folder / BY_SHAPE,
    )
    # A pair that has no training leaves its place there empty.
    means = {
        mode: {mode: [geometric_mean(found[p]) if p in found else 0 for p in by_mode[INFERENCE]]}
        for mode, found in by_mode.items()
    }
    bars(means, [f"{a} / {b}" for a, b in by_mode[INFERENCE]], folder / BY_CONTENDER)


def bars(
    values: Mapping[str, Mapping[str, Sequence[float]]], labels: Sequence[str], path: Path
) -> None:
    """A panel for each mode, in it a colour for each series and a row for each label."""
    height = 1.2 + 0.34 * len(labels)
    figure, axes = plt.subplots(1, 2, figsize=(11, height), sharey=True, layout="constrained")
    for axis, (mode, series) in zip(axes, values.items(), strict=True):
        thickness = 0.76 / len(series)
        for number, (name, lengths) in enumerate(series.items()):
            offset = thickness * (number - (len(series) - 1) / 2)
            places = [place + offset for place in range(len(labels))]
            axis.barh(places, lengths, height=0.95 * thickness, label=name)
            for place, length in zip(places, lengths, strict=True):
                text = f" {length:.1f}" if length else ""
                axis.text(length, place, text, va="center", fontsize=8)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set(title=mode, xlabel="times as fast", yticks=range(len(labels)), yticklabels=labels)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        named = axes[0].get_legend_handles_labels()
        figure.legend(*named, loc="outside upper left", ncols=len(series), frameon=False)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=130)
    plt.close(figure)
