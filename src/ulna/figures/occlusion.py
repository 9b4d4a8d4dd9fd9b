"""The figure of the halves: what a network scores with the frame or the centre of pictures hidden.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import textwrap
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulna.checks.occlusion import CHANCE, SHOWN
from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.style import (
    FAINT,
    HOUSE,
    NETWORK_MARKERS,
    SOFT,
    add_note,
    add_title,
    network_key,
    new_figure,
    with_interval,
)

LINE_CHARACTERS = 145  # of a note, across the figure
# A metric's name on its axis, what chance gives, where the axis begins.
AXES = {"auroc": ("AUROC", CHANCE, 0.2), "kappa": ("Cohen's kappa", 0.0, -0.4)}
KEY = "Border: edges and corners, as large in area as the centre. Lines: 95% intervals."


@rc_context(HOUSE)
def halves(
    scores: pd.DataFrame, pictures: Mapping[str, npt.NDArray[np.uint8]], verdict: str
) -> Figure:
    """Draw AUROC and kappa of each network, of whole pictures and of each half, with intervals.

    Args:
        scores: See `ulna.checks.occlusion.tabulate`; NaN where undefined.
        pictures: One picture as it is shown, for each name of `ulna.checks.occlusion.SHOWN`,
            (size_px, size_px) uint8.
        verdict: See `ulna.judging.conclusions.occlusion`; it is set under the figure.

    Returns:
        A figure with a picture for each name of SHOWN, above one another, then two axes.
    """
    note = textwrap.wrap(verdict, LINE_CHARACTERS)
    figure = new_figure(5.6 + 0.16 * len(note))
    sizes = scores.iloc[0]
    add_title(
        figure,
        f"Whole images and halves of them (study level): n = {sizes['n']:,} test studies, "
        f"{sizes['abnormal']:,} abnormal",
    )
    grid = figure.add_gridspec(len(SHOWN), 3, width_ratios=(1.3, 2, 2))
    for place, (shown, words) in enumerate(SHOWN.items()):
        axis = figure.add_subplot(grid[place, 0])
        axis.imshow(pictures[shown], cmap="gray", vmin=0, vmax=255)
        axis.set(xticks=[], yticks=[])
        axis.set_title(words, fontsize=8.5, fontweight="normal", loc="center")
        axis.grid(visible=False)
    for column, metric in enumerate(AXES, start=1):
        axis = figure.add_subplot(grid[:, column])
        _draw(axis, scores, metric)
        if column == 1:
            chance = Line2D([], [], color=SOFT, linestyle=":", label="chance")
            key = [*network_key(scores["network"].unique()), chance]
            axis.legend(handles=key, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(key))
    add_note(figure, "\n".join([KEY, *note]))
    return figure


def _draw(axis: Axes, scores: pd.DataFrame, metric: str) -> None:
    name, chance, start = AXES[metric]
    axis.axvline(chance, linestyle=":", color=SOFT)
    networks = list(scores["network"].unique())
    for row in scores.to_dict("records"):
        colour = NETWORK_COLOURS[row["network"]]
        # Side by side about the row's place.
        beside = 0.4 * (networks.index(row["network"]) - (len(networks) - 1) / 2)
        place = list(SHOWN).index(row["shown"]) + beside
        value, low, high = (row[f"{metric}{end}"] for end in ("", "_low", "_high"))
        axis.plot([low, high], [place, place], color=colour, linewidth=2)
        axis.plot(value, place, NETWORK_MARKERS[row["network"]], markersize=5, color=colour)
        words = "too few" if np.isnan(value) else with_interval(value, low, high)
        axis.annotate(
            words,
            (1, place),
            (0, 5),
            xycoords=axis.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=colour,
        )
    for place in range(1, len(SHOWN)):
        axis.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    left = min([start, *(scores[f"{metric}_low"].dropna() - 0.02)])
    axis.set(xlim=(left, 1.02), ylim=(len(SHOWN) - 0.5, -0.5), yticks=[], xlabel=name)
    axis.grid(axis="y", visible=False)
