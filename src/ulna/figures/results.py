"""Figures of the results on the test set."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ulna.evaluation import conclusions
from ulna.evaluation.conclusions import METRICS, NOTES, REFERENCE_NOTE
from ulna.figures import style
from ulna.figures.style import INK, PAPER, SOFT, Look, Scores, Tables, colour, number, title

Floats = npt.NDArray[np.float64]

OVERALL = "overall"  # the row of all body parts in the tables
RATES = ("specificity", "recall", "precision")  # of an operating point
# Marker, offset from the body part in units of its width, name.
READERS = {
    "model": ("D", 0.15, "Stanford's model"),
    "radiologist 1": ("^", 0.25, "radiologist 1"),
    "radiologist 2": ("s", 0.34, "radiologist 2"),
    "radiologist 3": ("v", 0.43, "radiologist 3"),
}
NOTE_CHARACTERS = 150  # of a line under the figure, at 9 inches and 8 points
# Level -> offset in the row, marker, its face, colour, line width in points.
LEVELS = {"study": (0.02, "o", INK, INK, 2.0), "image": (0.3, "s", PAPER, SOFT, 1.2)}

# Of the heat maps: orange and violet, distinguishable with any common colour vision deficiency, and
# light enough for dark text.
COLOURS = LinearSegmentedColormap.from_list("cross_part", ["#E9A353", style.ON_DARK, "#A695D6"])
HATCHED = "#E2E2E2"
# Name, lowest value, highest; chance is midway and white.
PANELS = {"auroc": ("AUROC", 0.0, 1.0), "kappa": ("Cohen's kappa", -1.0, 1.0)}
LINES = 3  # of text that fit a row
GAP = 0.1  # of a column, between the body parts and overall


@rc_context(style.RC_PARAMS)
def roc_and_precision_recall(roc: Tables, precision_recall: Tables, scores: Scores) -> Figure:
    """Draw the ROC curves and the precision-recall curves, with a dot at the operating points.

    Args:
        roc: Network -> false_positive_rate, true_positive_rate; no rows if undefined.
        precision_recall: Network -> recall (rising), precision; no rows if undefined.
        scores: Network -> study-level n, abnormal, recall, specificity, precision, auroc, auprc,
            threshold; None or NaN where undefined.
    """
    figure = style.new_figure(5.4 + 0.18 * len(scores))
    n, abnormal = _sizes(scores)
    style.add_title(figure, f"Test set, study level: n = {n:,} studies, {abnormal:,} abnormal")
    left, right = figure.subplots(1, 2)
    for arch, score in scores.items():
        ink, size = colour(arch), f"(n = {score['n']:,})"
        rates_at = {name: np.nan if score[name] is None else score[name] for name in RATES}
        dot = {"marker": "o", "markersize": 7, "color": ink, "markeredgecolor": PAPER}
        label = f"{title(arch)}: AUROC {number(score['auroc'])} {size}"
        rates = (roc[arch][name] for name in ("false_positive_rate", "true_positive_rate"))
        left.plot(*rates, color=ink, linewidth=2, label=label)
        left.plot(1 - rates_at["specificity"], rates_at["recall"], **dot, zorder=4)
        recall, precision = (precision_recall[arch][column] for column in ("recall", "precision"))
        label = f"{title(arch)}: AUPRC {number(score['auprc'])} {size}"
        steps = ([0, *recall], [*precision[:1], *precision] or [np.nan])
        right.step(*steps, color=ink, linewidth=2, label=label)
        right.plot(rates_at["recall"], rates_at["precision"], **dot, zorder=4)
    left.plot([0, 1], [0, 1], ":", color=SOFT, label="chance: AUROC 0.500")
    if abnormal:
        label = f"chance (share of abnormal studies): {abnormal / n:.3f}"
        right.axhline(abnormal / n, linestyle=":", color=SOFT, label=label)
    left.set(title="ROC curve", xlabel="1 − specificity", ylabel="sensitivity")
    right.set(title="Precision-recall curve", xlabel="recall (sensitivity)", ylabel="precision")
    for axis in (left, right):
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        # Below the axes: a weak network's curve would run through a legend inside.
        axis.legend(loc="upper left", bbox_to_anchor=(0, -0.13), borderaxespad=0)
    style.add_note(figure, f"Dots: operating points; {_thresholds(scores)}.")
    return figure


def _sizes(scores: Scores) -> tuple[int, int]:
    """The n of studies and of abnormal ones: all networks have the same test set."""
    first = next(iter(scores.values()))
    return first["n"], first["abnormal"]


def _thresholds(scores: Scores) -> str:
    values = [f"{title(arch)} {number(score['threshold'])}" for arch, score in scores.items()]
    return f"thresholds chosen on val: {', '.join(values)}"


@rc_context(style.RC_PARAMS)
def confusion_matrices(decisions: Tables, scores: Scores) -> Figure:
    """Draw one confusion matrix per network: counts, and percentages of the actual class.

    Args:
        decisions: Network -> one row per study: actual and predicted, normal or abnormal.
        scores: Network -> study-level accuracy, kappa, threshold.
    """
    figure = style.new_figure(4.6, len(decisions))
    style.add_title(figure, "Confusion matrices, test set, study level")
    axes = figure.subplots(1, len(decisions), squeeze=False)[0]
    for axis, (arch, table) in zip(axes, decisions.items(), strict=True):
        classes = {"index": style.LABELS, "columns": style.LABELS}
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(**classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1), axis=0)
        colours = LinearSegmentedColormap.from_list(arch, [style.ON_DARK, colour(arch)])
        axis.imshow(shares.fillna(0), cmap=colours, vmin=0, vmax=1)
        for row, column in np.ndindex(2, 2):
            share = shares.iloc[row, column]
            ground = colours(0.0 if np.isnan(share) else share)
            # The ink with the higher contrast; at this luminance both have the same.
            text_colour = style.ON_LIGHT if style.luminance(ground) > 0.18 else style.ON_DARK
            ink = {"color": text_colour, **style.CENTRED}
            count = f"{counts.iloc[row, column]:,}"
            axis.text(column, row - 0.06, count, fontsize=18, fontweight="bold", **ink)
            percent = "undefined" if np.isnan(share) else f"{share:.1%}"
            axis.text(column, row + 0.2, percent, fontsize=10, **ink)
        sizes = counts.sum(axis=1)
        axis.set_xticks([0, 1], style.LABELS)
        axis.set_yticks([0, 1], [f"{label}\n(n = {sizes[label]:,})" for label in style.LABELS])
        axis.set(xlabel="predicted", ylabel="actual")
        axis.grid(False)
        axis.spines[:].set(visible=True, color=style.FAINT)
        axis.tick_params(length=0)
        accuracy, kappa = (number(scores[arch][key]) for key in ("accuracy", "kappa"))
        line = f"n = {len(table):,} studies, accuracy {accuracy}, kappa {kappa}"
        style.add_heading(axis, title(arch), line, colour(arch))
    style.add_note(
        figure,
        "Percentages are of the actual class (each row adds up to 100%): specificity above left, "
        f"sensitivity below right.\nPredictions at {_thresholds(scores)}.",
    )
    return figure


@rc_context(style.RC_PARAMS)
def kappa_by_body_part(by_body_part: Tables, scores: Scores, reference: pd.DataFrame) -> Figure:
    """Draw Cohen's kappa by body part as bars, with published values as marks beside them.

    Args:
        by_body_part: Network -> body_part, n, abnormal, kappa, kappa_low, kappa_high (NaN where
            there are too few patients).
        scores: Network -> the same at study level over all body parts.
        reference: See `ulna.evaluation.comparison.read_reference`.
    """
    ours = {arch: _with_overall(by_body_part[arch], scores[arch]) for arch in by_body_part}
    sizes = pd.concat(list(ours.values()))
    sizes = sizes[~sizes.index.duplicated()]  # all networks have the same test set
    groups = [*sorted(sizes.index.drop(OVERALL)), OVERALL]
    figure = style.new_figure(5.2, len(ours))
    style.add_title(figure, "Cohen's kappa by body part (test set, study level)")
    axis = figure.subplots()
    width = 0.54 / len(ours)
    bars = [
        _draw_bars(axis, arch, start - 0.47, table.reindex(groups), width)
        for start, (arch, table) in zip(np.arange(len(ours)) * width, ours.items(), strict=True)
    ]
    marks = _draw_marks(axis, reference[reference["body_part"].isin(groups)], groups)
    axis.axhline(0, color=SOFT, linewidth=0.8)
    for order in range(1, len(groups)):
        axis.axvline(order - 0.5, color=style.FAINT, linewidth=0.8)
    counts = sizes.loc[groups, ["n", "abnormal"]].itertuples()
    names = [f"{row.Index}\nn = {row.n:,.0f}\n{row.abnormal:,.0f} abnormal" for row in counts]
    axis.set_xticks(range(len(groups)), names, fontsize=8)
    style.bare(axis, "x")
    axis.set(xlim=(-0.55, len(groups) - 0.45), ylabel="kappa (0: chance, 1: full agreement)")
    lowest = axis.dataLim.y0
    axis.set_ylim(lowest - 0.1 if lowest < 0 else 0.0, 1.08)  # room for the labels
    key: Look = {"title_fontsize": 8.5, "alignment": "left", "ncols": 4, "borderaxespad": 0.2}
    left: Look = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    right: Look = {"loc": "lower right", "bbox_to_anchor": (1, 1)}
    axis.add_artist(axis.legend(handles=bars, title="our networks", **left, **key))
    axis.legend(handles=marks, title=f"published: {REFERENCE_NOTE}", **right, **key)
    style.add_note(
        figure,
        "Bars: our networks on our test set, each at its threshold; lines: 95% intervals over "
        "patients; too few: not enough patients for an interval.\n"
        "Marks: arXiv 1712.06957, 207 studies; hollow: recalled, not checked against the paper.",
    )
    return figure


def _with_overall(table: pd.DataFrame, score: Mapping[str, Any]) -> pd.DataFrame:
    columns = ["n", "abnormal", "kappa", "kappa_low", "kappa_high"]
    parts = table.set_index("body_part")[columns].astype(float)
    parts.loc[OVERALL] = [np.nan if score[name] is None else score[name] for name in columns]
    return parts


def _draw_bars(
    axis: Axes, arch: str, start: float, table: pd.DataFrame, width: float
) -> BarContainer:
    places = np.arange(len(table)) + start + width / 2
    kappas, low, high = (table[column] for column in ("kappa", "kappa_low", "kappa_high"))
    bars = axis.bar(places, kappas, width=0.94 * width, color=colour(arch), label=title(arch))
    axis.vlines(places, low, high, color=INK, linewidth=1)
    for place, kappa, end in zip(places, kappas, low.where(kappas < 0, high), strict=True):
        undefined, below = np.isnan(kappa), kappa < 0
        look = {"ha": "center", "va": "top" if below else "bottom", "fontsize": 7.5}
        look |= {"rotation": 90 if undefined else 0, "color": colour(arch)}
        text = "too few" if undefined else number(kappa, 2)
        style.annotate(axis, text, (place, np.nan_to_num(end)), (0, -3 if below else 3), **look)
    return bars


def _draw_marks(axis: Axes, reference: pd.DataFrame, groups: list[str]) -> list[Line2D]:
    lines: dict[str, Line2D] = {}
    for (reader, source), table in reference.groupby(["reader", "source"], sort=False):
        shape, offset, name = READERS[reader]
        face = PAPER if source == "recalled" else style.PUBLISHED
        look: Look = {"ms": 6, "color": style.PUBLISHED, "mfc": face, "label": name}
        places = [groups.index(part) + offset for part in table["body_part"]]
        [line] = axis.plot(places, table["kappa"], shape, **look)
        lines.setdefault(reader, line)
    return list(lines.values())


@rc_context(style.RC_PARAMS)
def reliability_diagrams(curves: Tables, calibration: Scores, sentences: Sequence[str]) -> Figure:
    """Draw the share of abnormal studies over the probability, with the n of each bin below.

    Args:
        curves: Network -> see `ulna.evaluation.calibration.reliability_curves`.
        calibration: Network -> see `ulna.evaluation.calibration.summarize_calibration`; None or NaN
            where undefined.
        sentences: The conclusion on each network, for the note under the figure.
    """
    figure = style.new_figure(6.9, len(curves))
    n, abnormal = _sizes(calibration)
    style.add_title(figure, f"Reliability diagrams: n = {n:,} test studies, {abnormal:,} abnormal")
    shared: Look = {"squeeze": False, "sharex": True, "sharey": "row"}
    axes = figure.subplots(2, len(curves), height_ratios=[4, 1], **shared)
    for column, (arch, curve) in enumerate(curves.items()):
        _draw_reliability(axes[0, column], axes[1, column], arch, curve, calibration[arch])
    axes[0, 0].set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0, 0].set_ylabel("share of abnormal studies (95% interval)")
    axes[1, 0].set(ylabel="studies in the bin", ylim=(0, None))
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.align_ylabels(axes[:, 0])
    handles = [
        Line2D([], [], color=SOFT, linestyle=":", label="calibrated"),
        Line2D([], [], color=SOFT, linestyle="--", marker="o", mfc=PAPER, label="before"),
        Line2D([], [], color=SOFT, marker="o", linewidth=2, label="after scaling"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    lines = [*sentences, "Temperatures are fitted on val; intervals of shares: Wilson."]
    style.add_note(figure, "\n".join(textwrap.fill(line, NOTE_CHARACTERS) for line in lines))
    return figure


def _draw_reliability(
    diagram: Axes, counts: Axes, arch: str, curve: pd.DataFrame, numbers: Mapping[str, Any]
) -> None:
    ink = colour(arch)
    diagram.plot([0, 1], [0, 1], ":", color=SOFT)
    before, after = (curve[curve["scaling"] == name] for name in ("before", "after"))
    points = ([table["probability"], table["share_abnormal"]] for table in (before, after))
    diagram.plot(*next(points), "o--", color=ink, markerfacecolor=PAPER, linewidth=1.2)
    diagram.plot(*next(points), "o-", color=ink, linewidth=2)
    # Without a temperature there is only the curve before scaling.
    bins = before if after.empty else after
    diagram.vlines(bins["probability"], bins["low"], bins["high"], color=ink, alpha=0.5)
    counts.vlines(bins["probability"], 0, bins["n"], color=ink, linewidth=4)
    counts.set_xlabel("mean probability of abnormal in the bin")
    smallest, largest = bins["n"].min(), bins["n"].max()
    each = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    ece = (number(numbers[name]["ece"]) for name in ("before", "after"))
    n_bins = f"{len(bins)} bin{'s' * (len(bins) > 1)} of {each} studies"
    line = f"T {number(numbers['temperature'], 2)}, ECE {' → '.join(ece)}, {n_bins}"
    style.add_heading(diagram, title(arch), line, ink)


@rc_context(style.RC_PARAMS)
def forest(differences: pd.DataFrame) -> Figure:
    """Draw the differences between networks with their intervals, one axes per pair.

    Args:
        differences: One row per pair, level and metric: first, second, level (study or image),
            metric, difference, low, high (NaN where undefined), n, patients.
    """
    pairs = list(dict.fromkeys(zip(differences["first"], differences["second"], strict=True)))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = style.new_figure(1.2 + 5.2 * rows)
    sizes = differences.groupby("level")[["n", "patients"]].first()
    (studies, patients), (images, _) = sizes.loc[["study", "image"]].to_numpy()
    n = f"n = {studies:,} studies ({images:,} images) of {patients:,} patients"
    style.add_title(figure, f"Differences on the test set: {n}")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for axis, (first, second) in zip(axes, pairs, strict=False):
        pair = (differences["first"] == first) & (differences["second"] == second)
        metrics = differences[pair]
        _draw_pair(axis, metrics)
        too_few = metrics["difference"].isna().all()
        line = "too few patients, or one class only" if too_few else "per study (95% interval)"
        style.add_heading(axis, f"{title(first)} − {title(second)}", line)
        axis.set_xlabel(f"better: ← {title(second)} | {title(first)} →")
    for axis in axes[len(pairs) :]:
        axis.axis("off")
    reach = np.nanmax(np.abs(differences[["difference", "low", "high"]].to_numpy()), initial=0.1)
    axes[0].set_xlim(-1.1 * reach, 1.1 * reach)
    axes[0].set_ylim(len(METRICS) - 0.4, -0.6)
    axes[0].set_yticks(range(len(METRICS)), list(METRICS.values()))
    handles = [
        Line2D([], [], color=ink, marker=shape, ms=5, mfc=face, lw=width, label=f"per {level}")
        for level, (_, shape, face, ink, width) in LEVELS.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    style.add_note(
        figure,
        "Lines: 95% intervals of the difference, from the same bootstrap replicates for both; not "
        "significant where the interval includes 0.\nNot corrected for multiple comparisons: of 20 "
        "intervals of equally good networks, about 1 excludes 0.",
    )
    return figure


def _draw_pair(axis: Axes, differences: pd.DataFrame) -> None:
    axis.axvline(0, color=INK, linewidth=1)
    style.bare(axis, "y")
    for row in range(1, len(METRICS)):
        axis.axhline(row - 0.5, color=style.FAINT, linewidth=0.8)
    for row in range(len(METRICS)):
        # Grid lines would run through the text.
        axis.axhspan(row - 0.47, row - 0.17, color=PAPER, linewidth=0, zorder=2.5)
    for (level, metric), line in differences.set_index(["level", "metric"]).iterrows():
        offset, shape, face, ink, width = LEVELS[level]
        row = list(METRICS).index(metric)
        values = [line[name] for name in ("difference", "low", "high")]
        style.draw_interval(axis, row + offset, values, ink, shape, face, width)
        if level == "study":
            text = style.with_interval(*values)
            if np.isnan(values[1]) and not np.isnan(values[0]):
                text = f"{number(values[0])} (no interval)"
            across = axis.get_yaxis_transform()
            axis.text(0.5, row - 0.31, text, transform=across, fontsize=8, **style.CENTRED)


@rc_context(style.RC_PARAMS)
def cross_part_maps(trained_on: Mapping[str, Sequence[str]], cells: pd.DataFrame) -> Figure:
    """Draw AUROC and kappa of each network on each body part, with their intervals.

    A frame marks a part that the network was trained on; a hatched cell has no number, only a note.

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
        "Framed: trained on this part. In brackets: 95% intervals over patients. Hatched: too few "
        "patients, or one class only.\nThresholds, for kappa: chosen on the val studies of "
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
        hatched: Look = {"fc": HATCHED, "ec": "#A8A8A8", "hatch": "////", "lw": 0}
        axis.add_patch(Rectangle((left, top), 1, height, **hatched))
        paper = {"facecolor": HATCHED, "edgecolor": "none", "pad": 1.5}
        axis.text(
            *middle,
            NOTES[cell["note"]],
            fontsize=7.5,
            color=style.ON_LIGHT,
            bbox=paper,
            **style.CENTRED,
        )
        return
    ground = COLOURS((value - lowest) / (highest - lowest))
    axis.add_patch(Rectangle((left, top), 1, height, facecolor=ground, linewidth=0))
    interval = f"({number(low, 2)} to {number(high, 2)})"
    look = {"color": style.ON_LIGHT, **style.CENTRED}
    style.annotate(axis, number(value, 2), middle, (0, 5), fontsize=11, fontweight="bold", **look)
    style.annotate(axis, interval, middle, (0, -8), fontsize=6.5, **look)


def _outline(box: tuple[float, float, float], inset: float, ink: str, points: float) -> Rectangle:
    left, top, height = box
    corner, size = (left + inset, top + LINES * inset), (1 - 2 * inset, height - 2 * LINES * inset)
    return Rectangle(corner, *size, fill=False, edgecolor=ink, linewidth=points)


def _label(
    axis: Axes, measure: str, places: list[float], columns: list[str], edges: Floats
) -> None:
    name, lowest, highest = PANELS[measure]
    chance = (lowest + highest) / 2
    style.add_heading(axis, name, f"white: chance ({chance:g}); violet: better; orange: worse")
    axis.set_xticks(np.array(places) + 0.5, columns, fontsize=8)
    axis.set(xlim=(0, places[-1] + 1), ylim=(float(edges[-1]), 0))
    axis.set(xlabel="tested on", ylabel="trained on")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def draw(
    networks: Sequence[str],
    tables: Tables,
    metrics: Mapping[str, Any],
    reference: pd.DataFrame,
    trained_on: Mapping[str, Sequence[str]],
) -> dict[str, Figure]:
    """Draw all figures of this module; see `kappa_by_body_part` and `cross_part_maps`."""

    def of_each(name: str) -> dict[str, pd.DataFrame]:
        return {arch: tables[f"{arch}/{name}"] for arch in networks}

    scores = {arch: metrics[arch]["study"] for arch in networks}
    calibration = {arch: metrics[arch]["calibration"] for arch in networks}
    sentences = [conclusions.calibration(summary, arch) for arch, summary in calibration.items()]
    return {
        "roc": roc_and_precision_recall(of_each("roc"), of_each("precision_recall"), scores),
        "confusion": confusion_matrices(of_each("confusion"), scores),
        "kappa_by_body_part": kappa_by_body_part(of_each("by_body_part"), scores, reference),
        "calibration": reliability_diagrams(of_each("reliability"), calibration, sentences),
        "compare": forest(tables["compare"]),
        "cross_part": cross_part_maps(trained_on, tables["cross_part"]),
    }
