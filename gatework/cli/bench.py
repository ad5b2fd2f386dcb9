"""``gatework bench``: how fast the layers are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gatework.errors import DataError

if TYPE_CHECKING:
    from gatework.inspect.speed import Layer, Measured, Shape

BENCH_EXAMPLE = "Example: gatework bench --cell peephole_lstm --shape 100,32,64,128 --rounds 7"
PATHS = (
    "vendor is torch's own kernels, native those compiled from the equations, reference a loop in "
    "Python."
)


def bench(
    cell: Annotated[
        str | None,
        typer.Option(
            help="Measure this cell, a name or file.py:Class, beside gw.LSTM and its own loop in "
            "Python. (default: gw.LSTM and gw.GRU beside torch's)"
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="T,B,F,H: steps, batch, features, hidden units; give it again for more, or all "
            "for the nine of docs/performance.md. (default: four of them)"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of everything; medians count.")] = 5,
) -> None:
    """Measure layers on this machine beside torch's, in inference and training: half a minute."""
    from gatework.inspect import speed

    contenders = speed.PLAIN if cell is None else speed.contenders_of(cell)
    shapes = _shapes(shape)
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(f"{speed.machine()}, float32.")
    for note in speed.not_native(contenders, shapes[0]):
        console.print(f"note: {note}")
    measured, errors = speed.Measured(), Console(stderr=True)
    with Progress(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        turns = len(shapes) * len(contenders) * len(speed.MODES) * (rounds + 1)
        task = bar.add_task("measuring", total=turns)
        for one in shapes:
            speed.measure(measured, contenders, one, rounds, lambda: bar.advance(task))
    console.print()
    console.print(_table(measured, contenders, shapes))
    console.print(f"\nMedians over the rounds; a ratio above 1 is faster than the other. {PATHS}")


def _shapes(given: list[str] | None) -> tuple[Shape, ...]:
    from gatework.inspect import speed

    if not given:
        return speed.SHORT_SHAPES
    if "all" in given:
        if len(given) > 1:
            raise DataError("--shape all is every shape; give it alone.")
        return speed.SHAPES
    return tuple(dict.fromkeys(speed.shape_of(text) for text in given))


def _table(measured: Measured, contenders: tuple[Layer, ...], shapes: tuple[Shape, ...]) -> Table:
    """Under each shape a row for each mode and pair, then the geometric means."""
    from gatework.inspect.speed import MODES, geometric_mean

    pairs = [(mode, c, peer) for mode in MODES for c in contenders for peer in c.peers]
    table = Table("T,B,F,H", "layer", "path", box=None, pad_edge=False)
    table.add_column("ms", justify="right")
    table.add_column("against")
    table.add_column("ms", justify="right")
    table.add_column("ratio", justify="right")
    for shape in shapes:
        table.add_row(",".join(map(str, shape)))
        for mode, one, peer in pairs:
            mine, theirs = (measured.milliseconds(shape, mode, n) for n in (one.name, peer))
            ratio = measured.ratio(shape, mode, one.name, peer)
            path = one.path(shape, mode)
            row = (mode, one.name, path, _three(mine), peer, _three(theirs), f"{ratio:.2f}")
            table.add_row(*row)
    if len(shapes) > 1:
        table.add_row("geometric mean")
        for mode, one, peer in pairs:
            mean = geometric_mean([measured.ratio(s, mode, one.name, peer) for s in shapes])
            table.add_row(mode, one.name, "", "", peer, "", f"{mean:.2f}")
    return table


def _three(number: float) -> str:
    """About three digits, never with an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
