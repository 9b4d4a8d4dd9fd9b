"""Figures of comparisons: pairs of networks, and networks trained on some body parts."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ulna.evaluation import METRIC_NAMES, NOTES
from ulna.figures import style
from ulna.figures.style import INK, PAPER, SOFT, Look, Tables, number, title

Floats = npt.NDArray[np.float64]

OVERALL = "overall"  # the row of all body parts in the tables
# The others are in the table of differences.
SHOWN = ("auroc", "kappa", "recall", "specificity")
# Level -> offset in the row, marker, its face, colour, line width in points.
LEVELS = {"study": (-0.12, "o", INK, INK, 2.0), "image": (0.24, "s", PAPER, SOFT, 1.2)}

# Orange and violet, distinguishable with any common colour vision deficiency; the opacity is the
# distance from chance, up to where text has contrast in light and in dark mode.
WORSE, BETTER, DEEPEST = "#E9A353", "#A695D6", 0.5
# Name, lowest value, highest; chance is midway.
PANELS = {"auroc": ("AUROC", 0.0, 1.0), "kappa": ("Cohen's kappa", -1.0, 1.0)}
LINES = 3  # of text that fit a row
GAP = 0.1  # of a column, between the body parts and overall


@rc_context(style.RC_PARAMS)
def forest(differences: pd.DataFrame) -> Figure:
    """Draw the differences between networks with their intervals, one axes per pair.

    Args:
        differences: One row per pair, level and metric: first, second, level (study or image),
            metric, difference, low, high (NaN where undefined), n, patients.
    """
    differences = differences[differences["metric"].isin(SHOWN)]
    pairs = list(dict.fromkeys(zip(differences["first"], differences["second"], strict=True)))
    figure = style.new_figure(1.3 + (0.75 + 0.3 * len(SHOWN)) * len(pairs))
    sizes = differences.groupby("level")[["n", "patients"]].first()
    (studies, patients), (images, _) = sizes.loc[["study", "image"]].to_numpy()
    n = f"n = {studies:,} studies ({images:,} images) of {patients:,} patients"
    style.add_title(figure, f"Differences on the test set: {n}")
    axes = figure.subplots(len(pairs), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (first, second) in zip(axes, pairs, strict=True):
        pair = (differences["first"] == first) & (differences["second"] == second)
        heading = f"{title(first)} − {title(second)}"
        axis.set_title(heading, pad=8)
        axis.set_yticks(range(len(SHOWN)), [METRIC_NAMES[name] for name in SHOWN])
        axis.set_ylim(len(SHOWN) - 0.5, -0.5)
        _draw_pair(axis, differences[pair])
        sides = f"better: ← {title(second)} | {title(first)} →"
        corner: Look = {"xycoords": "axes fraction", "ha": "right", "fontsize": 8, "color": SOFT}
        style.annotate(axis, sides, (1, 1), (0, 6), **corner)
    reach = np.nanmax(np.abs(differences[["difference", "low", "high"]].to_numpy()), initial=0.1)
    axes[0].set_xlim(-1.1 * reach, 1.1 * reach)
    handles = [
        Line2D([], [], color=ink, marker=shape, ms=5, mfc=face, lw=width, label=f"per {level}")
        for level, (_, shape, face, ink, width) in LEVELS.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    style.add_note(
        figure,
        "Lines: 95% intervals of the difference, from the same bootstrap replicates for both; not "
        "significant where the interval includes 0.\nNumbers: per study, the level that counts. "
        "Not corrected for multiple comparisons: of 20 intervals of equally good networks, about 1 "
        "excludes 0.",
    )
    return figure


def _draw_pair(axis: Axes, differences: pd.DataFrame) -> None:
    axis.axvline(0, color=INK, linewidth=1)
    style.bare(axis, "y")
    for (level, metric), line in differences.set_index(["level", "metric"]).iterrows():
        offset, shape, face, ink, width = LEVELS[level]
        row = SHOWN.index(metric)
        values = [line[name] for name in ("difference", "low", "high")]
        style.draw_interval(axis, row + offset, values, ink, shape, face, width)
        if level == "study":
            text = style.with_interval(*values)
            if np.isnan(values[1]) and not np.isnan(values[0]):
                text = f"{number(values[0])} (no interval)"
            style.write_beside(axis, row, text, INK)


@rc_context(style.RC_PARAMS)
def cross_part_maps(trained_on: Mapping[str, Sequence[str]], cells: pd.DataFrame) -> Figure:
    """Draw AUROC and kappa of each network on each body part, with their intervals.

    A frame marks a part that the network was trained on; a cell without a number has a note.

    Args:
        trained_on: Name in the table -> body parts; one row each, in this order.
        cells: See `ulna.evaluation.cross_part.cross_part_table`; a note is NaN or "" for none.
    """
    parts = [*sorted(set(cells["tested_on"]) - {OVERALL}), OVERALL]
    places = [column + GAP * (part == OVERALL) for column, part in enumerate(parts)]
    names = [name.replace("+", " +\n") for name in trained_on]
    lines = [max(LINES, name.count("\n") + 2) for name in names]
    figure = style.new_figure(2.1 + 2 * (0.75 + 0.19 * sum(lines)))
    sizes = cells[cells["trained_on"] == next(iter(trained_on))].set_index("tested_on")
    overall = sizes.loc[OVERALL]
    n = f"n = {overall['studies']:,} studies, {overall['abnormal']:,} abnormal"
    style.add_title(
        figure, f"Trained on some body parts, tested on each (test set, study level): {n}"
    )
    table = cells.set_index(["trained_on", "tested_on"])
    edges = np.concatenate([[0], np.cumsum(lines)])
    columns = [
        f"{n.Index}\nn = {n.studies:,}\n{n.abnormal:,} abnormal\n{n.patients:,} patients"
        for n in sizes.loc[parts].itertuples()
    ]
    thresholds = table["threshold"].xs(OVERALL, level="tested_on")[list(trained_on)]
    with_thresholds = [
        f"{name}\n(threshold {number(threshold, 2)})"
        for name, threshold in zip(names, thresholds, strict=True)
    ]
    for axis, measure in zip(figure.subplots(2, 1), PANELS, strict=True):
        for top, height, (name, own_parts) in zip(edges, lines, trained_on.items(), strict=False):
            row = table.loc[name]
            for place, part in zip(places, parts, strict=True):
                box = (place, float(top), float(height))
                _draw_cell(axis, box, row.loc[part], measure, part in own_parts)
        _label(axis, measure, places, columns, edges)
        labels = with_thresholds if measure == "kappa" else names
        axis.set_yticks((edges[:-1] + edges[1:]) / 2, labels, fontsize=8)
    style.add_note(
        figure,
        "Framed: trained on this part. Below: 95% intervals over patients. Too few: "
        "patients.\nThresholds, for kappa: chosen on the val studies of "
        "the parts trained on, never on test.",
    )
    return figure


def _draw_cell(
    axis: Axes, box: tuple[float, float, float], cell: pd.Series, measure: str, framed: bool
) -> None:
    _fill_cell(axis, box, cell, measure)
    axis.add_patch(_outline(box, 0, PAPER, 1))
    if framed:
        axis.add_patch(_outline(box, 0.03, INK, 1.8))


def _fill_cell(axis: Axes, box: tuple[float, float, float], cell: pd.Series, measure: str) -> None:
    left, top, height = box
    _, lowest, highest = PANELS[measure]
    middle = (left + 0.5, top + height / 2)
    value, low, high = (cell[f"{measure}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value):
        axis.text(*middle, NOTES[cell["note"]], fontsize=8, color=SOFT, **style.CENTRED)
        return
    distance = 2 * (value - lowest) / (highest - lowest) - 1  # from chance, -1 to 1
    ground = to_rgba(BETTER if distance > 0 else WORSE, DEEPEST * abs(distance))
    axis.add_patch(Rectangle((left, top), 1, height, facecolor=ground, linewidth=0))
    interval = f"{number(low, 2)} to {number(high, 2)}"
    look = style.CENTRED
    style.annotate(axis, number(value, 2), middle, (0, 5), fontsize=11, fontweight="bold", **look)
    style.annotate(axis, interval, middle, (0, -8), fontsize=7.5, **look)


def _outline(box: tuple[float, float, float], inset: float, ink: str, points: float) -> Rectangle:
    left, top, height = box
    corner, size = (left + inset, top + LINES * inset), (1 - 2 * inset, height - 2 * LINES * inset)
    return Rectangle(corner, *size, fill=False, edgecolor=ink, linewidth=points)


def _label(
    axis: Axes, measure: str, places: list[float], columns: list[str], edges: Floats
) -> None:
    name, lowest, highest = PANELS[measure]
    chance = (lowest + highest) / 2
    style.add_heading(axis, name, f"no colour: chance ({chance:g}); violet: better; orange: worse")
    axis.set_xticks(np.array(places) + 0.5, columns, fontsize=8)
    axis.set(xlim=(0, places[-1] + 1), ylim=(float(edges[-1]), 0))
    axis.set(xlabel="tested on", ylabel="trained on")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def draw(tables: Tables, trained_on: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Draw all figures of this module; see `cross_part_maps`."""
    return {
        "compare": forest(tables["compare"]),
        "cross_part": cross_part_maps(trained_on, tables["cross_part"]),
    }
