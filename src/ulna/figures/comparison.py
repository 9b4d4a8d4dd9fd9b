"""The figure of the comparison: how far networks are apart, in each metric.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulna.figures.names import METRICS, NAMES
from ulna.figures.style import (
    FAINT,
    HOUSE,
    INK,
    SOFT,
    add_heading,
    add_note,
    add_title,
    new_figure,
    number,
    with_interval,
)

# Level -> place in the row, marker, its face, colour, width of the line in points.
LEVELS = {"study": (0.02, "o", INK, INK, 2.0), "image": (0.3, "s", "white", SOFT, 1.2)}


@rc_context(HOUSE)
def forest(differences: pd.DataFrame) -> Figure:
    """Draw the differences between networks with their intervals, an axes a pair.

    Args:
        differences: One row a pair, level and metric: first, second, level (study or image),
            metric, difference, low, high (NaN where undefined), n, patients.

    Returns:
        A figure with an axes a pair, side by side on one scale; numbers are of study level.
    """
    figure = new_figure(6.4)
    sizes = differences.groupby("level")[["n", "patients"]].first()
    studies, images = sizes.loc["study", "n"], sizes.loc["image", "n"]
    add_title(
        figure,
        f"Differences on the test set: n = {studies:,} studies ({images:,} images) of "
        f"{sizes.loc['study', 'patients']:,} patients",
    )
    pairs = list(dict.fromkeys(zip(differences["first"], differences["second"], strict=True)))
    axes = figure.subplots(1, len(pairs), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (first, second) in zip(axes, pairs, strict=True):
        chosen = (differences["first"] == first) & (differences["second"] == second)
        found = differences[chosen]
        _draw_pair(axis, found)
        too_few = found["difference"].isna().all()
        line = "too few patients, or one class only" if too_few else "per study (95% interval)"
        add_heading(axis, f"{NAMES[first]} − {NAMES[second]}", line, INK)
        axis.set_xlabel(f"better: ← {NAMES[second]} | {NAMES[first]} →")
    reach = np.nanmax(np.abs(differences[["difference", "low", "high"]].to_numpy()), initial=0.1)
    axes[0].set_xlim(-1.1 * reach, 1.1 * reach)
    axes[0].set_ylim(len(METRICS) - 0.4, -0.6)
    axes[0].set_yticks(range(len(METRICS)), list(METRICS.values()))
    figure.legend(
        handles=[
            Line2D(
                [],
                [],
                color=colour,
                marker=marker,
                markersize=5,
                markerfacecolor=fill,
                linewidth=width,
                label=f"per {level}",
            )
            for level, (_, marker, fill, colour, width) in LEVELS.items()
        ],
        loc="outside upper right",
        ncols=2,
    )
    add_note(
        figure,
        "Lines: 95% intervals of the difference, from the same draws of patients for both. A line "
        "that reaches zero: the difference cannot be\ntold apart from chance. Each is read by "
        "itself: of 20 lines of equally good networks, about 1 misses zero.",
    )
    return figure


def _draw_pair(axis: Axes, differences: pd.DataFrame) -> None:
    axis.axvline(0, color=INK, linewidth=1)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    for row in range(1, len(METRICS)):
        axis.axhline(row - 0.5, color=FAINT, linewidth=0.8)
    for row in range(len(METRICS)):
        # Lines stop where the words stand, instead of running through them.
        axis.axhspan(row - 0.47, row - 0.17, color="white", linewidth=0, zorder=2.5)
    for (level, metric), found in differences.set_index(["level", "metric"]).iterrows():
        offset, marker, fill, colour, width = LEVELS[level]
        place = list(METRICS).index(metric) + offset
        axis.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=width)
        axis.plot(
            found["difference"],
            place,
            marker,
            markersize=5,
            color=colour,
            markerfacecolor=fill,
        )
        if level == "study":
            axis.text(
                0.5,
                list(METRICS).index(metric) - 0.31,
                _words(found),
                transform=axis.get_yaxis_transform(),
                ha="center",
                va="center",
                fontsize=8,
            )


def _words(found: pd.Series) -> str:
    if np.isnan(found["low"]) and not np.isnan(found["difference"]):
        return f"{number(found['difference'])} (no interval)"
    return with_interval(found["difference"], found["low"], found["high"])
