"""The figures of the report, as SVG text that follows the page's light or dark colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# A colour that nothing else has; in the SVG it becomes the page's text colour.
TEXT = "#010203"
# Okabe & Ito's colours: told apart by everybody, and readable on white and on dark grey.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
TRUTH = "#8a8a8a"
TITLE_LETTERS = 40  # what fits over half a figure
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


def losses(history: Sequence[Mapping[str, float]], best_epoch: int) -> str:
    """Training and validation loss by epoch, with the epoch that was kept."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        epochs = [r["epoch"] for r in history]
        for key, name, colour in zip(
            ("train", "validation"), ("training", "validation"), COLOURS, strict=False
        ):
            marker = "o" if len(epochs) == 1 else ""  # a line needs two points
            axes.plot(epochs, [r[key] for r in history], marker=marker, color=colour, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.axvline(best_epoch, color=TRUTH, linestyle=":", label=f"kept (epoch {best_epoch})")
        values = [r[k] for r in history for k in ("train", "validation")]
        if min(values) > 0 and max(values) > 5 * min(values):
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel="loss (scaled units)")
        figure.legend(loc="outside upper center", ncols=3)

    return _svg(draw, (7.2, 2.8), "losses")


def forecasts(windows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """A few held-out windows: context, truth and every forecast."""

    def draw(figure: Figure) -> None:
        columns = 1 if len(windows) == 1 else 2
        rows = -(-len(windows) // columns)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, window in zip(grid.flat, windows, strict=False):
            _forecast(axes, window, names)
        for axes in list(grid.flat)[len(windows) :]:
            axes.remove()
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))

    height = 3.0 if len(windows) <= 2 else 5.2
    return _svg(draw, (9.0, height), "forecasts")


def _forecast(axes: Axes, window: Mapping[str, Any], names: Sequence[str]) -> None:
    past = np.array(window["context"], dtype=float)
    truth = np.array(window["truth"], dtype=float)
    steps = np.arange(1, len(truth) + 1)
    before = np.arange(1 - len(past), 1)
    axes.plot(before, past, color=TRUTH, linewidth=1.2)
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
            marker="o" if len(steps) == 1 else "",  # one point makes no line
            label=name,
        )
    axes.axvline(0.5, color=TRUTH, linestyle=":", linewidth=1)
    name, _, place = window["title"].rpartition(", ")
    between = ", " if len(window["title"]) <= TITLE_LETTERS else ",\n"
    axes.set_title(f"{name}{between}{place}")
    axes.set_xlabel("steps from the end of the context")


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
                label=name,
            )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set(xlabel="step of the horizon", ylabel=f"mean absolute error\n({unit})")
        figure.legend(loc="outside upper center", ncols=len(errors))

    return _svg(draw, (7.2, 3.0), "by_step")


def inside(series: NDArray[Any], panels: Sequence[Mapping[str, Any]], title: str) -> str:
    """What flows through a layer over one window: the input above, a map per gate and state.

    Each panel has ``title``, ``values`` (units, T) and ``signed``: whether 0 is its middle.
    """

    def draw(figure: Figure) -> None:
        ratios = [1.1] + [1.6] * len(panels)
        grid = figure.subplots(len(panels) + 1, 1, sharex=True, height_ratios=ratios)
        steps = np.arange(1 - len(series), 1)
        grid[0].plot(steps, series, color=COLOURS[0])
        grid[0].set_title(title)
        for axes, panel in zip(grid[1:], panels, strict=True):
            values = np.array(panel["values"], dtype=float)
            limit = float(np.abs(values).max()) or 1.0
            image = axes.imshow(
                values,
                aspect="auto",
                interpolation="nearest",
                cmap="RdBu_r" if panel["signed"] else "viridis",
                vmin=-limit if panel["signed"] else 0.0,
                vmax=limit if panel["signed"] else 1.0,
                extent=(steps[0] - 0.5, 0.5, len(values) - 0.5, -0.5),
            )
            axes.grid(visible=False)
            axes.set_title(panel["title"])
            axes.set_ylabel("unit")
            figure.colorbar(image, ax=axes, pad=0.01)
        figure.colorbar(mpl.cm.ScalarMappable(), ax=grid[0], pad=0.01).ax.set_visible(False)
        grid[-1].set_xlabel("steps from the end of the context")

    return _svg(draw, (8.0, 1.6 + 1.75 * len(panels)), "inside")


def _svg(draw: Any, size: tuple[float, float], salt: str) -> str:
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
        found = tag.group().replace(TEXT, "currentColor")
        found = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{salt}-", found)
        return re.sub(r' (width|height)="[^"]*"', "", found) if found.startswith("<svg") else found

    return re.sub(r"<[^>]*>", adapted, text)
