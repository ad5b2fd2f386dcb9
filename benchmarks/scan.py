"""Speed of cells whose memory is linear beside nn.LSTM: one rotation, medians, ratios.

python benchmarks/scan.py                        prints the page
python benchmarks/scan.py --write docs/scan.md   writes it
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import gatework as gw
from gatework.inspect.speed import (
    MODES,
    Contender,
    Measured,
    Shape,
    Work,
    machine,
    measure,
    named,
)

LSTM, CELLS = "nn.LSTM", ("min_gru", "min_lstm", "qrnn", "sru_2017")
SHAPES: tuple[Shape, ...] = (
    (16384, 1, 256, 256), (1000, 32, 256, 256), (50, 64, 128, 128), (1, 1, 128, 128),
)  # fmt: skip
RECORDED: Shape = (1000, 4, 64, 64)
RECORDING = "recording"
REMARKS = Path(__file__).with_name("scan_remarks.md")


@dataclass(frozen=True)
class Recorder:
    """Records every equation of a cell on a path."""

    path: str
    cell: str
    peers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.path} {self.cell}"

    def works(self, shape: Shape) -> dict[str, Work]:
        """A recording without gradients."""
        steps, batch, features, hidden = shape
        layer = gw.Recurrent(self.cell, features, hidden, path=self.path)
        x = torch.randn(steps, batch, features)

        def record() -> None:
            with torch.no_grad():
                gw.record(layer, x)

        return {RECORDING: record}


def table(measured: Measured, shapes: Sequence[Shape], mode: str, rows: Sequence[Contender]) -> str:
    """Milliseconds of the peers, and how many times faster each contender is than its own."""
    titles = (", ".join(map(str, shape)) for shape in shapes)
    lines = [f"| T, B, F, H | {' | '.join(titles)} |", "|---" * (len(shapes) + 1) + "|"]
    for peer in dict.fromkeys(peer for row in rows for peer in row.peers):
        times = (f"{measured.milliseconds(s, mode, peer):.2f} ms" for s in shapes)
        lines.append(f"| {peer} | {' | '.join(times)} |")
    for row in rows:
        for peer in row.peers:
            ratios = (f"{measured.ratio(s, mode, row.name, peer):.1f}" for s in shapes)
            lines.append(f"| {row.name} / {peer} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def page(rounds: int) -> str:
    """Measure everything and write it down."""
    measured = Measured()
    layers = [named(f"{path} {cell}", LSTM) for cell in CELLS for path in ("scan", "native")]
    for shape in SHAPES:
        measure(measured, [named(LSTM), *layers], shape, rounds)
        print(shape, "done", flush=True)
    recorders = [Recorder("scan", cell, (f"reference {cell}",)) for cell in CELLS]
    loops = [Recorder("reference", cell) for cell in CELLS]
    measure(measured, [*recorders, *loops], RECORDED, rounds)
    head = (
        f"Measured by `python benchmarks/scan.py --write docs/scan.md`, {rounds} rounds; "
        f"{machine()}, float32. In each round every contender runs in turn; a ratio is the median "
        f"over the rounds, above 1 is faster than the one behind the stroke."
    )
    parts = [
        "# Linear cells, all steps at once",
        REMARKS.read_text(encoding="utf-8").rstrip(),
        head,
    ]
    for mode in MODES:
        parts += [f"## {mode.capitalize()}", table(measured, SHAPES, mode, layers)]
    parts += ["## Recording", table(measured, [RECORDED], RECORDING, recorders)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    text = page(arguments.rounds)
    if arguments.write is None:
        print(text)
    else:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
