"""The transfer matrix as heat maps: numbers to a matplotlib Figure, nothing is computed or read."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ulna.data.cross_part import AND, Network
from ulna.figures.style import (
    CENTRED,
    FAINT,
    HOUSE,
    INK,
    add_heading,
    add_note,
    add_title,
    new_figure,
    number,
)
from ulna.judging.reference import OVERALL

Floats = npt.NDArray[np.float64]

# Orange and violet, told apart with any common colour blindness, and light enough for dark ink.
COLOURS = LinearSegmentedColormap.from_list("transfer", ["#E9A353", "white", "#A695D6"])
# Name, lowest value, highest; chance lies midway and is white.
PANELS = {"auroc": ("AUROC", 0.0, 1.0), "kappa": ("Cohen's kappa", -1.0, 1.0)}
LINES = 3  # of text that a row has room for
GAP = 0.1  # of a column, between the parts and what is over all of them


@rc_context(HOUSE)
def heat_maps(networks: Sequence[Network], cells: pd.DataFrame) -> Figure:
    """Draw AUROC and kappa of each network on each body part, with their intervals.

    Args:
        networks: A row each, in this order.
        cells: See `ulna.judging.transfer_matrix.matrix`.

    Returns:
        A figure with two axes, one over the other. A frame marks a part that the network was
        trained on; a hatched cell has no number and says why.
    """
    parts = [*sorted(set(cells["tested_on"]) - {OVERALL}), OVERALL]
    places = [column + GAP * (part == OVERALL) for column, part in enumerate(parts)]
    names = [network.name.replace(AND, f" {AND}\n") for network in networks]
    lines = [max(LINES, name.count("\n") + 2) for name in names]
    figure = new_figure(2.1 + 2 * (0.75 + 0.19 * sum(lines)))
    sizes = cells[cells["trained_on"] == networks[0].name].set_index("tested_on")
    overall = sizes.loc[OVERALL]
    add_title(
        figure,
        "Trained on some body parts, tested on each (test set, study level): "
        f"n = {overall['studies']:,} studies, {overall['abnormal']:,} abnormal",
    )
    table = cells.set_index(["trained_on", "tested_on"])
    edges = np.concatenate([[0], np.cumsum(lines)])
    for axis, measure in zip(figure.subplots(2, 1), PANELS, strict=True):
        for row, network in enumerate(networks):
            for place, part in zip(places, parts, strict=True):
                box = (place, float(edges[row]), float(lines[row]))
                _draw_cell(axis, box, table.loc[(network.name, part)], measure)
                axis.add_patch(_outline(box, 0, "white", 1))
                if part in network.parts:
                    axis.add_patch(_outline(box, 0.03, INK, 1.8))
        columns = [_column_name(part, sizes.loc[part]) for part in parts]
        _label(axis, measure, places, columns, edges)
        thresholds = [table.loc[(network.name, OVERALL), "threshold"] for network in networks]
        axis.set_yticks(
            (edges[:-1] + edges[1:]) / 2,
            [
                f"{name}\n(threshold {number(threshold, 2)})" if measure == "kappa" else name
                for name, threshold in zip(names, thresholds, strict=True)
            ],
            fontsize=8,
        )
    add_note(
        figure,
        "Framed: trained on this part. In brackets: 95% intervals over patients. Hatched: too few "
        "patients, or one class only.\nThresholds, for kappa: chosen on the val studies of "
        "the parts trained on, never on test.",
    )
    return figure


def _draw_cell(axis: Axes, box: tuple[float, float, float], cell: pd.Series, measure: str) -> None:
    left, top, height = box
    _, lowest, highest = PANELS[measure]
    middle = (left + 0.5, top + height / 2)
    value, low, high = (cell[f"{measure}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value):
        axis.add_patch(
            Rectangle((left, top), 1, height, fc=FAINT, ec="#C4C4C4", hatch="////", lw=0)
        )
        paper = {"facecolor": FAINT, "edgecolor": "none", "pad": 1.5}
        axis.text(*middle, cell["note"], fontsize=7.5, bbox=paper, **CENTRED)
        return
    colour = COLOURS((value - lowest) / (highest - lowest))
    axis.add_patch(Rectangle((left, top), 1, height, facecolor=colour, linewidth=0))
    spread = f"({number(low, 2)} to {number(high, 2)})"
    axis.annotate(
        number(value, 2),
        middle,
        (0, 5),
        textcoords="offset points",
        fontsize=11,
        fontweight="bold",
        **CENTRED,
    )
    axis.annotate(spread, middle, (0, -8), textcoords="offset points", fontsize=6.5, **CENTRED)


def _outline(
    box: tuple[float, float, float], inset: float, colour: str, points: float
) -> Rectangle:
    left, top, height = box
    corner, size = (left + inset, top + LINES * inset), (1 - 2 * inset, height - 2 * LINES * inset)
    return Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=points)


def _column_name(part: str, sizes: pd.Series) -> str:
    return (
        f"{part}\nn = {sizes['studies']:,}\n{sizes['abnormal']:,} abnormal\n"
        f"{sizes['patients']:,} patients"
    )


def _label(
    axis: Axes, measure: str, places: list[float], columns: list[str], edges: Floats
) -> None:
    name, lowest, highest = PANELS[measure]
    chance = (lowest + highest) / 2
    add_heading(axis, name, f"white: chance ({chance:g}); violet: better; orange: worse", INK)
    axis.set_xticks(np.array(places) + 0.5, columns, fontsize=8)
    axis.set(
        xlim=(0, places[-1] + 1),
        ylim=(float(edges[-1]), 0),
        xlabel="tested on",
        ylabel="trained on",
    )
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
