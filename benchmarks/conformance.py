"""The table of conformance: how far each cell is from its witnesses, and how fast it runs.

The comparison is that of the tests (``tests/agreement.py``), the rotation that of the page of
speed. Nothing else may run on the machine while this does.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from gatework import paths
from gatework.cells import all_cells, name_of
from gatework.inspect.speed import (
    INFERENCE,
    MODES,
    PLAIN,
    Layer,
    Measured,
    Shape,
    layer_of,
    machine,
    measure,
)

sys.path.append(str(Path(__file__).parent.parent / "tests"))

import agreement
import test_witness

SHAPE: Shape = (50, 32, 64, 128)
BASE = PLAIN[0]  # torch.nn.LSTM
HEAD = (
    "| cell | witness | values | gradients | path | inference | training |",
    "|---|---|---:|---:|---|---:|---:|",
)

INTRO = """Written by `make conformance` (`python benchmarks/conformance.py --write \
docs/conformance.md`). Each cell is computed in float64, with random and unequal weights, beside \
somebody else's computation of it; *values* and *gradients* are the largest deviations from all \
that were asked, relative for numbers above 1, and the tests hold them below 1e-12. A tilde stands \
where the witness gives no gradients and differences of its values, with a step of 1e-5, take \
their place. *path* is what `path="auto"` chooses in inference, and in training behind the comma \
where that is another. The last two columns are the time of `torch.nn.LSTM` divided by the cell's, \
above 1 is faster: """


def deviations(name: str) -> tuple[str, str]:
    """The largest deviation of a cell from its witnesses, of values and of gradients.

    Gradients beside one that gives none are compared with differences, marked by a tilde, where
    no other witness knows them.
    """
    mine = [(cell, witness) for cell, witness in agreement.PAIRS if cell == name]
    values = max(agreement.largest(agreement.values_of(*pair)) for pair in mine)
    if name in agreement.DIFFERENTIABLE:
        exact = agreement.gradients_of(name, agreement.DIFFERENTIABLE[name])
        return f"{values:.0e}", f"{agreement.largest(exact):.0e}"
    by_steps = agreement.differences_of(name, agreement.VALUES[name])
    return f"{values:.0e}", f"~{agreement.largest(by_steps):.0e}"


def noticed() -> str:
    """How many small changes of one equation the tests make; they fail where one is not seen."""
    changes = [
        test_witness.is_equal(cell, mutant)
        for cell in all_cells()
        for _, mutant in test_witness.mutants(cell.spec)
    ]
    return (
        f"The comparison bites: of {len(changes):,} cells with one small change (another sign, "
        f"operation, operand or number in one place) the witnesses of that cell alone tell "
        f"{changes.count(False):,}; the other {changes.count(True):,} are equal functions "
        f"(`pytest tests/test_witness.py -k small_change`)."
    )


def timed(rounds: int) -> tuple[dict[str, Layer], Measured]:
    """Every cell and torch's LSTM in one rotation."""
    layers = {
        name_of(cell): Layer(name_of(cell) + " auto", partial(layer_of, cell.spec, paths.AUTO))
        for cell in all_cells()
    }
    measured = Measured()
    measure(measured, [BASE, *layers.values()], SHAPE, rounds)
    return layers, measured


def page(rounds: int) -> str:
    """Measure everything and write it down."""
    load = os.getloadavg()[0]
    layers, measured = timed(rounds)
    lines = [
        "# Conformance",
        "",
        f"{INTRO}(T, B, F, H) = {SHAPE}, float32, medians of one rotation of {rounds} rounds; "
        f"{machine()}; load of the machine before: {load:.1f} (above 1 it did other work, and the "
        f"times are to be measured again).",
        "",
        *HEAD,
    ]
    for name, layer in layers.items():
        chosen = dict.fromkeys(layer.path(SHAPE, mode) for mode in MODES)
        ratios = [f"{measured.ratio(SHAPE, mode, layer.name, BASE.name):.2f}" for mode in MODES]
        parts = [f"[{name}](cells/{name}.md)", agreement.words(name), *deviations(name)]
        lines.append("| " + " | ".join([*parts, ", ".join(chosen), *ratios]) + " |")
    times = [f"{measured.milliseconds(SHAPE, mode, BASE.name):.1f} ms" for mode in MODES]
    lines += ["", f"`torch.nn.LSTM` itself: {times[0]} in {INFERENCE}, {times[1]} in training."]
    lines += ["", noticed()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    text = page(arguments.rounds)
    if arguments.write is None:
        print(text)
        return
    arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
