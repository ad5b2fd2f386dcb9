"""The figure of a search: its trials as lines over an axis for each argument and one for the loss.

Axes stand side by side on wide screens and one below the other on narrow ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gatework.inspect.figures import BACK, COLOURS, TRUTH, both, is_narrow, short

BEST, OTHER = COLOURS[4], COLOURS[0]
LABEL = "validation loss"
CHOICE_LETTERS = 14
BAND = 0.3  # of the room of a choice, over which its trials are spread
MANY = 10  # trials, of which the worse ones are paler
FEW = 5  # whole numbers that are shown as choices
STEEP = 5.0  # losses that differ by this factor are shown by their logarithm


class Scale:
    """Values of an axis as places from 0 to 1, and what is written there.

    Args:
        values: (M,) of the trials.
        kind: a list to choose from, or a dict with ``low``, ``high``, ``log`` and ``whole``.
        ranks: (M,) places of the trials from 0, the best, to 1: those with the same choice are
            spread by them, so that each line can be followed.
    """

    def __init__(
        self, values: Sequence[Any], kind: Sequence[Any] | Mapping[str, Any], ranks: NDArray[Any]
    ) -> None:
        self.ticks: list[tuple[float, str]] = []
        if isinstance(kind, Mapping) and kind["whole"] and kind["high"] - kind["low"] < FEW:
            kind = list(range(int(kind["low"]), int(kind["high"]) + 1))
        if not isinstance(kind, Mapping):
            numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in kind)
            choices = sorted(kind) if numbers else list(kind)
            room = 1 / len(choices)
            middles = {choice: (place + 0.5) * room for place, choice in enumerate(choices)}
            self.places = np.array([middles[v] for v in values]) + (ranks - 0.5) * room * BAND
            self.ticks = [(middles[c], short(_word(c), CHOICE_LETTERS)) for c in choices]
            return
        ends = np.array([kind["low"], kind["high"]], dtype=float)
        of = np.log if kind["log"] else np.asarray
        low, high = of(ends)
        self.places = (of(np.array(values, dtype=float)) - low) / ((high - low) or 1.0)
        for value in _rounds(kind["low"], kind["high"], kind["log"], kind["whole"]):
            place = float((of(np.array(value)) - low) / ((high - low) or 1.0))
            self.ticks.append((place, f"{value:.0f}" if kind["whole"] else f"{value:.3g}"))


def parallel(search: Mapping[str, Any]) -> str:
    """The trials of a search, as ``tuning.to_dict`` gives it; those that were refused are left out.

    A search of an earlier version has no ranges; they are taken from what was tried.
    """
    trials, best, space = search["trials"], search["best"], search.get("space", {})
    shown = [trial for trial in trials if trial["loss"] is not None]
    losses = np.array([trial["loss"] for trial in shown])
    ranks = np.argsort(np.argsort(losses, kind="stable")) / max(1, len(shown) - 1)
    columns = {k: [trial["arguments"][k] for trial in shown] for k in trials[0]["arguments"]}
    scales = {k: Scale(v, space.get(k) or _tried(v), ranks) for k, v in columns.items()}
    scales[LABEL] = Scale(losses.tolist(), _tried(losses.tolist()), ranks)
    lines = np.array([scale.places for scale in scales.values()]).T

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        narrow, fade = is_narrow(figure), 0.4 if len(shown) > MANY else 0.0
        # The best is drawn last, and faintest what was worst.
        for number in np.argsort(-ranks, kind="stable"):
            trial = shown[number]
            own, done = trial is trials[best], trial["state"] == "done"
            across = np.arange(len(scales), dtype=float)
            axes.plot(
                *((lines[number], -across) if narrow else (across, lines[number])),
                color=BEST if own else OTHER if done else TRUTH,
                linewidth=2.6 if own else 1.2,
                linestyle="-" if done else (0, (2, 2)),
                alpha=1.0 if own else 0.95 - fade * ranks[number],
                zorder=3 if own else 2,
                label="best" if own else "done" if done else "stopped early",
            )
        for position, (name, scale) in enumerate(scales.items()):
            _axis(axes, position, name.replace("_", " "), scale, narrow)
        last = len(scales) - 1
        if narrow:
            axes.set(xlim=(-0.06, 1.06), ylim=(-last - 0.35, 0.35))
        else:
            axes.set(xlim=(-0.15, last + 0.55), ylim=(-0.06, 1.14))
        handles, labels = axes.get_legend_handles_labels()
        kinds = dict(zip(labels[::-1], handles[::-1], strict=True))
        figure.legend(kinds.values(), kinds, loc="outside lower center", ncols=len(kinds))

    return both(draw, "search", 4.4, 0.7 + 0.85 * len(scales))


def _axis(axes: Axes, position: int, name: str, scale: Scale, narrow: bool) -> None:
    """One axis: its line, its name and its ticks, on the page's ground so that lines pass below."""
    ground = {"facecolor": BACK, "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    ends, at = [0.0, 1.0], [float(-position if narrow else position)] * 2
    axes.plot(*((ends, at) if narrow else (at, ends)), color=TRUTH, linewidth=1, zorder=1)
    for place, text in scale.ticks:
        if narrow:
            axes.plot(place, -position, "|", color=TRUTH, zorder=1)
            axes.text(
                place, -position - 0.08, text, fontsize=9, ha="center", va="top", zorder=4,
                bbox=ground,
            )  # fmt: skip
        else:
            axes.plot(position, place, "_", color=TRUTH, zorder=1)
            axes.text(position + 0.05, place, text, fontsize=9, va="center", zorder=4, bbox=ground)
    x, y = (0.0, 0.1 - position) if narrow else (position, 1.06)
    axes.text(
        x, y, name, ha="left" if narrow or not position else "center", va="bottom",
        fontweight="bold", fontsize=10, zorder=4, bbox=ground,
    )  # fmt: skip


def _tried(values: Sequence[Any]) -> Sequence[Any] | Mapping[str, Any]:
    """What values that were tried are chosen from, as far as they tell."""
    if any(isinstance(v, str | bool) for v in values):
        return sorted(set(values))
    low, high = min(values), max(values)
    return {"low": low, "high": high, "log": low > 0 and high > STEEP * low, "whole": False}


def _rounds(low: float, high: float, log: bool, whole: bool) -> list[float]:
    """Numbers to write at an axis: its ends, and some between with two digits."""
    places = np.linspace(0, 1, 5)[1:-1]
    between = low * (high / low) ** places if log else low + (high - low) * places
    rounded = [round(v) if whole else float(f"{v:.2g}") for v in between.tolist()]
    return sorted({low, *(v for v in rounded if low < v < high), high})


def _word(choice: Any) -> str:
    return {True: "yes", False: "no"}[choice] if isinstance(choice, bool) else str(choice)
