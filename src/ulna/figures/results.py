"""Numbers to matplotlib figures; nothing is computed or read here, and pyplot is not used.

These show the results on the test set, both networks (`cnn`, `densenet169`) side by side. Every
function returns a `matplotlib.figure.Figure` for `ulna.figures.style.write_png`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import (
    CENTRED,
    FAINT,
    HOUSE,
    INK,
    LABELS,
    PUBLISHED,
    SOFT,
    add_heading,
    add_note,
    add_title,
    new_figure,
    number,
)
from ulna.judging.reference import NOTE, OVERALL

# Marker, place beside the bars in body parts, name.
READERS = {
    "model": ("D", 0.15, "Stanford's model"),
    "radiologist 1": ("^", 0.25, "radiologist 1"),
    "radiologist 2": ("s", 0.34, "radiologist 2"),
    "radiologist 3": ("v", 0.43, "radiologist 3"),
}


@rc_context(HOUSE)
def roc_and_precision_recall(
    roc: Mapping[str, pd.DataFrame],
    precision_recall: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Mapping[str, Any]],
) -> Figure:
    """Draw the ROC curves in one axes and the precision-recall curves in another.

    Args:
        roc: A table a network: false_positive_rate, true_positive_rate; no rows if undefined.
        precision_recall: A table a network: recall (rising), precision; no rows if undefined.
        scores: A network's study-level numbers: n, abnormal, recall, specificity, precision, auroc,
            auprc, threshold; None or NaN where undefined.

    Returns:
        A figure with two axes; a dot marks the operating point of the threshold.
    """
    figure = new_figure(5.75)
    n, abnormal = _sizes(scores)
    add_title(figure, f"Test set, study level: n = {n:,} studies, {abnormal:,} abnormal")
    left, right = figure.subplots(1, 2)
    for arch, score in scores.items():
        name, colour = NETWORKS[arch], NETWORK_COLOURS[arch]
        dot = {"marker": "o", "markersize": 7, "color": colour, "markeredgecolor": "white"}
        left.plot(
            *(roc[arch][column] for column in ("false_positive_rate", "true_positive_rate")),
            color=colour,
            linewidth=2,
            label=f"{name}: AUROC {number(score['auroc'])} (n = {score['n']:,})",
        )
        left.plot(1 - _float(score["specificity"]), _float(score["recall"]), **dot, zorder=4)
        recall, precision = (precision_recall[arch][column] for column in ("recall", "precision"))
        right.step(
            [0, *recall],
            [*precision[:1], *precision] or [np.nan],
            color=colour,
            linewidth=2,
            label=f"{name}: AUPRC {number(score['auprc'])} (n = {score['n']:,})",
        )
        right.plot(_float(score["recall"]), _float(score["precision"]), **dot, zorder=4)
    left.plot([0, 1], [0, 1], ":", color=SOFT, label="chance: AUROC 0.500")
    if abnormal:
        right.axhline(
            abnormal / n,
            linestyle=":",
            color=SOFT,
            label=f"chance (share of abnormal studies): {abnormal / n:.3f}",
        )
    left.set(title="ROC curve", xlabel="1 − specificity", ylabel="sensitivity")
    right.set(title="Precision-recall curve", xlabel="recall (sensitivity)", ylabel="precision")
    for axis in (left, right):
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        # Below the axes: a weak network's curve would run through a legend inside.
        axis.legend(loc="upper left", bbox_to_anchor=(0, -0.13), borderaxespad=0)
    words = [f"{NETWORKS[arch]} {number(score['threshold'])}" for arch, score in scores.items()]
    add_note(
        figure, f"Dots: operating points; thresholds, set without the test set: {', '.join(words)}."
    )
    return figure


def _sizes(scores: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    """The number of studies and of abnormal ones; both networks judge the same test set."""
    first = next(iter(scores.values()))
    return first["n"], first["abnormal"]


def _float(value: float | None) -> float:
    return np.nan if value is None else value


@rc_context(HOUSE)
def confusion_matrices(
    decisions: Mapping[str, pd.DataFrame], scores: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw the confusion matrices side by side: counts, and percentages of the actual class.

    Args:
        decisions: A table a network, one row a study: actual and predicted, normal or abnormal.
        scores: A network's study-level numbers: accuracy, kappa, threshold.

    Returns:
        A figure with one matrix a network.
    """
    figure = new_figure(4.6)
    add_title(figure, "Confusion matrices, test set, study level")
    axes = figure.subplots(1, len(decisions), squeeze=False)[0]
    for axis, (arch, table) in zip(axes, decisions.items(), strict=True):
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(
            index=LABELS, columns=LABELS, fill_value=0
        )
        shares = counts.div(counts.sum(axis=1), axis=0)
        colours = LinearSegmentedColormap.from_list(arch, ["white", NETWORK_COLOURS[arch]])
        axis.imshow(shares.fillna(0), cmap=colours, vmin=0, vmax=1)
        for row, column in np.ndindex(2, 2):
            share = shares.iloc[row, column]
            ink = {"color": _ink_on(colours(0.0 if np.isnan(share) else share))} | CENTRED
            count = f"{counts.iloc[row, column]:,}"
            axis.text(column, row - 0.06, count, fontsize=18, fontweight="bold", **ink)
            percent = "undefined" if np.isnan(share) else f"{share:.1%}"
            axis.text(column, row + 0.2, percent, fontsize=10, **ink)
        sizes = counts.sum(axis=1)
        axis.set_xticks([0, 1], LABELS)
        axis.set_yticks([0, 1], [f"{label}\n(n = {sizes[label]:,})" for label in LABELS])
        axis.set(xlabel="predicted", ylabel="actual")
        axis.grid(False)
        axis.spines[:].set(visible=True, color=FAINT)
        axis.tick_params(length=0)
        accuracy, kappa = (number(scores[arch][key]) for key in ("accuracy", "kappa"))
        line = f"n = {len(table):,} studies, accuracy {accuracy}, kappa {kappa}"
        add_heading(axis, NETWORKS[arch], line, NETWORK_COLOURS[arch])
    words = [f"{NETWORKS[arch]} {number(scores[arch]['threshold'])}" for arch in decisions]
    add_note(
        figure,
        "Percentages are of the actual class (each row adds up to 100%): specificity above left, "
        f"sensitivity below right.\nThresholds, set without the test set: {', '.join(words)}.",
    )
    return figure


def _ink_on(background: tuple[float, float, float, float]) -> str:
    red, green, blue, _ = background
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.55 else "white"


@rc_context(HOUSE)
def kappa_by_body_part(
    by_body_part: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Mapping[str, Any]],
    reference: pd.DataFrame,
) -> Figure:
    """Draw Cohen's kappa by body part as bars, with published values as marks beside them.

    Args:
        by_body_part: A table a network: body_part, n, abnormal, kappa, kappa_low and kappa_high
            (NaN where there are too few patients).
        scores: A network's study-level numbers over all body parts, by the same names.
        reference: See `ulna.judging.reference.read_reference`.

    Returns:
        A figure with one axes; what is published carries `ulna.judging.reference.NOTE`.
    """
    ours = {arch: _with_overall(by_body_part[arch], scores[arch]) for arch in by_body_part}
    sizes = pd.concat(list(ours.values()))
    sizes = sizes[~sizes.index.duplicated()]  # both networks judge the same test set
    groups = [*sorted(sizes.index.drop(OVERALL)), OVERALL]
    figure = new_figure(5.2)
    add_title(figure, "Cohen's kappa by body part (test set, study level)")
    axis = figure.subplots()
    width = 0.54 / len(ours)
    bars = [
        _draw_bars(axis, arch, start - 0.47, table.reindex(groups), width)
        for start, (arch, table) in zip(np.arange(len(ours)) * width, ours.items(), strict=True)
    ]
    marks = _draw_marks(axis, reference[reference["body_part"].isin(groups)], groups)
    axis.axhline(0, color=SOFT, linewidth=0.8)
    for order in range(1, len(groups)):
        axis.axvline(order - 0.5, color=FAINT, linewidth=0.8)
    names = [
        f"{group}\nn = {sizes.at[group, 'n']:,.0f}\n{sizes.at[group, 'abnormal']:,.0f} abnormal"
        for group in groups
    ]
    axis.set_xticks(range(len(groups)), names, fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.grid(axis="x", visible=False)
    axis.set(xlim=(-0.55, len(groups) - 0.45), ylabel="kappa (0: chance, 1: full agreement)")
    lowest = axis.dataLim.y0
    axis.set_ylim(lowest - 0.1 if lowest < 0 else 0.0, 1.08)  # room for the labels
    key = {"title_fontsize": 8.5, "alignment": "left", "ncols": 4, "borderaxespad": 0.2}
    axis.add_artist(
        axis.legend(
            handles=bars, title="our networks", loc="lower left", bbox_to_anchor=(0, 1), **key
        )
    )
    axis.legend(
        handles=marks, title=f"published: {NOTE}", loc="lower right", bbox_to_anchor=(1, 1), **key
    )
    add_note(
        figure,
        "Bars: our networks on our test set, each at its threshold; lines: 95% intervals over "
        "patients; too few: no interval, so no number.\n"
        "Marks: arXiv 1712.06957, 207 studies; hollow: recalled, not checked against the paper.",
    )
    return figure


def _with_overall(table: pd.DataFrame, score: Mapping[str, Any]) -> pd.DataFrame:
    columns = ["n", "abnormal", "kappa", "kappa_low", "kappa_high"]
    parts = table.set_index("body_part")[columns].astype(float)
    parts.loc[OVERALL] = [_float(score[column]) for column in columns]
    return parts


def _draw_bars(
    axis: Axes, arch: str, start: float, table: pd.DataFrame, width: float
) -> BarContainer:
    colour = NETWORK_COLOURS[arch]
    places = np.arange(len(table)) + start + width / 2
    kappas, low, high = (table[column] for column in ("kappa", "kappa_low", "kappa_high"))
    bars = axis.bar(places, kappas, width=0.94 * width, color=colour, label=NETWORKS[arch])
    axis.vlines(places, low, high, color=INK, linewidth=1)
    for place, kappa, end in zip(places, kappas, low.where(kappas < 0, high), strict=True):
        below = kappa < 0
        axis.annotate(
            "too few" if np.isnan(kappa) else number(kappa, 2),
            (place, np.nan_to_num(end)),
            (0, -3 if below else 3),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            rotation=90 if np.isnan(kappa) else 0,
            fontsize=7.5,
            color=colour,
        )
    return bars


def _draw_marks(axis: Axes, reference: pd.DataFrame, groups: list[str]) -> list[Line2D]:
    lines: dict[str, Line2D] = {}
    for (reader, source), table in reference.groupby(["reader", "source"], sort=False):
        marker, offset, name = READERS[reader]
        [line] = axis.plot(
            [groups.index(part) + offset for part in table["body_part"]],
            table["kappa"],
            marker,
            markersize=6,
            color=PUBLISHED,
            markerfacecolor="white" if source == "recalled" else PUBLISHED,
            label=name,
        )
        lines.setdefault(reader, line)
    return list(lines.values())
