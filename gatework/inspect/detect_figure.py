"""The figure of the detector's report: each series with its anomalies, its scores below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatework.inspect.figures import COLOURS, TEXT, TITLE_LETTERS, TRUTH, both, legend, short

ANOMALY = COLOURS[4]


def scores(series: Sequence[Mapping[str, Any]], threshold: float) -> str:
    """Values with the anomalies on them over the scores with the threshold, series by series."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(
            2 * len(series), 1, squeeze=False, height_ratios=[2, 1] * len(series)
        )
        pairs = zip(grid[::2, 0], grid[1::2, 0], strict=True)
        for (above, below), one in zip(pairs, series, strict=True):
            steps = np.array(one["steps"])
            values = np.array(one["values"], dtype=float)
            marker = "o" if len(steps) == 1 else ""  # one point makes no line
            above.plot(steps, values, color=TEXT, linewidth=0.9, marker=marker, label="series")
            above.plot(
                one["found"],
                np.array(one["found_values"], dtype=float),
                linestyle="",
                marker="o",
                markersize=5,
                color=ANOMALY,
                label="anomaly",
            )
            below.plot(
                steps, np.array(one["scores"], dtype=float), color=COLOURS[0], linewidth=0.9,
                marker=marker, label="score",
            )  # fmt: skip
            below.axhline(threshold, color=ANOMALY, linestyle="--", linewidth=1, label="threshold")
            if one["end"] < one["length"]:
                for axes in (above, below):
                    axes.axvline(
                        one["end"] + 0.5, color=TRUTH, linestyle=":", label="learnt from until here"
                    )
            above.set_title(short(one["title"], TITLE_LETTERS))
            above.set_ylabel(short(one["target"], 14))
            above.tick_params(labelbottom=False)
            above.sharex(below)
            below.set(xlabel="step", ylabel="score")
            below.set_ylim(bottom=0)
        legend(figure, grid[0, 0], grid[1, 0])

    height = 0.5 + 3.0 * len(series)
    return both(draw, "scores", height, height)
