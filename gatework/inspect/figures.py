"""The figures of the report, as SVG text that follows the page's light or dark colours.

Every figure is drawn twice, for wide and for narrow screens; the page shows the one that fits.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

# A colour that nothing else has; in the SVG it becomes the page's text colour.
TEXT = "#010203"
BACK = "#040506"  # likewise the page's ground
# Okabe & Ito's colours: told apart by everybody, and readable on white and on dark grey.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
TRUTH = "#8a8a8a"
WIDTHS = {"wide": 9.0, "narrow": 4.4}  # inches
NAME_LETTERS = 32  # of a name of the user's
UNIT_LETTERS = 22  # of one beside an axis
TITLE_LETTERS = 40  # what fits over a panel of half the wide figure, or of the narrow one
INCHES_PER_LETTER = 0.09
CLASSES_WITH_NUMBERS = 12  # so many have room for their counts
CELL_COLOURS, DARK_FROM = "Blues", 0.71  # of the confusion matrix; from this share on, white
ON_LIGHT, ON_DARK = "#000000", "#ffffff"  # letters, where nothing between has enough contrast
LETTERS_BESIDE = 24  # of names side by side below the confusion matrix
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with dollar signs is a name, no formula
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def losses(
    history: Sequence[Mapping[str, float]], best_epoch: int, label: str = "loss (scaled units)"
) -> str:
    """Training and validation loss by epoch, with the epoch that was kept."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        epochs = [r["epoch"] for r in history]
        for key, name, colour in zip(
            ("train", "validation"), ("training", "validation"), COLOURS, strict=False
        ):
            marker = "o" if len(epochs) == 1 else ""  # a line needs two points
            axes.plot(epochs, [r[key] for r in history], marker=marker, color=colour, label=name)
        axes.axvline(best_epoch, color=TRUTH, linestyle=":", label=f"kept (epoch {best_epoch})")
        values = [r[k] for r in history for k in ("train", "validation")]
        if min(values) > 0 and max(values) > 5 * min(values):
            axes.set_yscale("log")
            # Powers would be formulas, which are not read as such here.
            few = max(values) < 100 * min(values)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set(xlabel="epoch", ylabel=label)
        _whole_steps(axes)
        legend(figure, axes)

    return both(draw, "losses", 3.2, 2.8)


def forecasts(windows: Sequence[Mapping[str, Any]], names: Sequence[str], context: int) -> str:
    """A few held-out windows: the context that the model read, truth and every forecast."""

    def draw(figure: Figure) -> None:
        columns = 1 if len(windows) == 1 or is_narrow(figure) else 2
        rows = -(-len(windows) // columns)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, window in zip(grid.flat, windows, strict=False):
            _forecast(axes, window, names, context)
        for axes in list(grid.flat)[len(windows) :]:
            axes.remove()
        legend(figure, grid.flat[0])

    height = 3.0 if len(windows) <= 2 else 5.2
    return both(draw, "forecasts", height, 0.6 + 2.3 * len(windows))


def _forecast(axes: Axes, window: Mapping[str, Any], names: Sequence[str], context: int) -> None:
    past = np.array(window["context"], dtype=float)[-context:]
    truth = np.array(window["truth"], dtype=float)
    steps = np.arange(1, len(truth) + 1)
    before = np.arange(1 - len(past), 1)
    marker = "o" if len(past) == 1 else ""  # one point makes no line
    axes.plot(before, past, color=TRUTH, linewidth=1.2, marker=marker, label="context")
    joined = np.concatenate([past[-1:], truth])
    axes.plot(np.arange(len(joined)), joined, color=TEXT, linewidth=1.6, label="truth")
    for name, colour in zip(names, COLOURS, strict=False):
        own = name == names[0]
        axes.plot(
            steps,
            np.array(window["forecasts"][name], dtype=float),
            color=colour,
            linewidth=2.0 if own else 1.1,
            linestyle="-" if own else "--",
            marker="o" if len(steps) == 1 else "",
            label=short(name),
        )
    if interval := window.get("interval"):
        low, high = (np.array(interval[end], dtype=float) for end in ("low", "high"))
        if len(steps) == 1:  # one step has no area
            steps, low, high = np.array([0.75, 1.25]), np.repeat(low, 2), np.repeat(high, 2)
        axes.fill_between(
            steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label=interval["name"]
        )
    axes.axvline(0.5, color=TRUTH, linestyle=":", linewidth=1)
    axes.set_title(_title(window["title"], TITLE_LETTERS))
    axes.set_xlabel("steps from the end of the context")
    _whole_steps(axes)


def by_step(errors: Mapping[str, Sequence[float]], unit: str) -> str:
    """Mean absolute error of each step of the horizon, the model beside the baselines."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for position, (name, values) in enumerate(errors.items()):
            steps = np.arange(1, len(values) + 1)
            marker = "o" if len(values) <= 48 else ""
            axes.plot(
                steps,
                np.array(values, dtype=float),
                color=COLOURS[position],
                marker=marker,
                markersize=4,
                linewidth=2.0 if position == 0 else 1.2,
                label=short(name),
            )
        axes.set_ylim(bottom=0)
        axes.set(
            xlabel="step of the horizon",
            ylabel=f"mean absolute error\n({short(unit, UNIT_LETTERS)})",
        )
        _whole_steps(axes)
        legend(figure, axes)

    return both(draw, "by_step", 3.2, 3.0)


def inside(
    series: NDArray[Any],
    panels: Sequence[Mapping[str, Any]],
    title: str,
    label: str = "steps from the end of the context",
    last: int = 0,
) -> str:
    """What flows through a layer over one window: the input above, a map per gate and state.

    Each panel has ``title``, ``values`` (units, T), ``units``, of which there may be more than
    are shown, and ``signed``: whether 0 is its middle. ``last`` is the number of the last step.
    """

    def draw(figure: Figure) -> None:
        ratios = [1.1] + [1.6] * len(panels)
        grid = figure.subplots(len(panels) + 1, 1, sharex=True, height_ratios=ratios)
        steps = np.arange(1 - len(series), 1) + last
        marker = "o" if len(series) == 1 else ""
        grid[0].plot(steps, series, color=COLOURS[0], marker=marker)
        grid[0].set_title(_title(title, TITLE_LETTERS * (1 if is_narrow(figure) else 2)))
        for axes, panel in zip(grid[1:], panels, strict=True):
            _map(figure, axes, panel, steps)
        figure.colorbar(mpl.cm.ScalarMappable(), ax=grid[0], pad=0.01).ax.set_visible(False)
        grid[-1].set_xlabel(label)
        _whole_steps(grid[-1])

    return both(draw, "inside", 1.6 + 1.75 * len(panels), 1.6 + 1.6 * len(panels))


def _map(figure: Figure, axes: Axes, panel: Mapping[str, Any], steps: NDArray[Any]) -> None:
    """One gate or state. A row is a unit by its rank, so no number stands beside it."""
    values = np.array(panel["values"], dtype=float)
    limit = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r" if panel["signed"] else "viridis",
        vmin=-limit if panel["signed"] else 0.0,
        vmax=limit if panel["signed"] else 1.0,
        extent=(steps[0] - 0.5, steps[-1] + 0.5, len(values) - 0.5, -0.5),
    )
    axes.grid(visible=False)
    axes.set_title(_title(panel["title"], TITLE_LETTERS))
    axes.set_yticks([])
    shown, units = len(values), panel["units"]
    count = "units" if shown == units else f"{shown} of {units} units"
    axes.set_ylabel("1 unit" if units == 1 else f"{count},\nsorted by mean")
    figure.colorbar(image, ax=axes, pad=0.01)


def confusion(counts: NDArray[Any], classes: Sequence[str]) -> str:
    """How many sequences of each class (rows) are told to be of which (columns)."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(classes)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap=CELL_COLOURS, vmin=0.0, vmax=1.0)
        axes.grid(visible=False)
        if size <= CLASSES_WITH_NUMBERS:
            names = [short(name, UNIT_LETTERS // 2) for name in classes]
            upright = max(map(_letters, names)) * size <= LETTERS_BESIDE
            axes.set_xticks(range(size), names, rotation=0 if upright else 90)
            axes.set_yticks(range(size), names)
            for row, column in np.ndindex(size, size):
                # Cells have a colour of their own, light or dark, whatever the page's is.
                colour = ON_DARK if shares[row, column] > DARK_FROM else ON_LIGHT
                text = f"{counts[row, column]}"
                axes.text(column, row, text, ha="center", va="center", color=colour)
        axes.set(xlabel="told class", ylabel="true class")

    height = 2.2 + 0.32 * min(size, CLASSES_WITH_NUMBERS)
    return both(draw, "confusion", height, height)


def short(name: str, most: int = NAME_LETTERS) -> str:
    """A name of the user's as it fits into a figure: the middle of a long one is left out."""
    name = " ".join(name.split())
    if _letters(name) <= most:
        return name
    head, tail = name, name
    while _letters(head) > most // 2:
        head = head[:-1]
    while _letters(tail) > most // 2:
        tail = tail[1:]
    return f"{head}…{tail}"


def _letters(text: str) -> int:
    """The width in letters; those of East Asia are as wide as two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _title(text: str, most: int) -> str:
    """``name, place``, on two lines if it is too long for one."""
    name, comma, place = text.rpartition(", ")
    return text if _letters(text) <= most or not comma else f"{name},\n{place}"


def is_narrow(figure: Figure) -> bool:
    """Whether a figure is drawn for narrow screens."""
    return bool(figure.get_figwidth() == WIDTHS["narrow"])


def _whole_steps(axes: Axes) -> None:
    """Ticks at whole numbers only, as many as have room."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def legend(figure: Figure, *panels: Axes) -> None:
    """Above the figure, of what some panels show, in as many columns as have room."""
    named: dict[str, Any] = {}
    for axes in panels:
        named |= {k: v for v, k in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels, handles = list(named), list(named.values())
    widths = [0.6 + INCHES_PER_LETTER * _letters(label) for label in labels]
    room = figure.get_figwidth()
    columns = len(labels) if sum(widths) <= room else max(1, int(room / max(widths)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def both(draw: Callable[[Figure], None], name: str, wide: float, narrow: float) -> str:
    """The figure for wide and for narrow screens, with their heights in inches."""
    heights = {"wide": wide, "narrow": narrow}
    return "\n".join(_svg(draw, (WIDTHS[k], heights[k]), f"{name}-{k}", k) for k in WIDTHS)


def _svg(draw: Callable[[Figure], None], size: tuple[float, float], salt: str, kind: str) -> str:
    """Draw on a figure and give its SVG element, with text in the colour of the page."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # The browser draws the text, with fonts of its own for every script.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)

    def adapted(tag: re.Match[str]) -> str:
        """A tag in the page's colour; of several figures in a page each id names its own."""
        found = tag.group().replace(TEXT, "currentColor").replace(BACK, "var(--back)")
        found = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{salt}-", found)
        if not found.startswith("<svg"):
            return found
        return re.sub(r' (width|height)="[^"]*"', "", found).replace("<svg", f'<svg class="{kind}"')

    return re.sub(r"<[^>]*>", adapted, text)
