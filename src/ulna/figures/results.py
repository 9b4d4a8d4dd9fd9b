"""Figures of the results on the test set."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ulna.core.paths import ENSEMBLE
from ulna.evaluation import METRIC_NAMES, REFERENCE_NOTE
from ulna.evaluation.bootstrap import ci_columns
from ulna.figures import style
from ulna.figures.style import PAPER, SOFT, Look, Scores, Tables, colour, number, title

OVERALL = "overall"  # the row of all body parts in the tables
RATES = ("specificity", "recall", "precision")  # of an operating point
# Name in the table of kappas -> marker, name in the figure.
READERS = {"model": ("D", "Stanford's model"), "best radiologist": ("P", "best radiologist")}
DEEPEST = 0.35  # highest opacity of a cell: its text has contrast in light and in dark mode


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
    # Three matrices fit the usual width.
    figure = style.new_figure(4.0, max(2, len(decisions) - 1))
    style.add_title(figure, "Confusion matrices, test set, study level")
    axes = figure.subplots(1, len(decisions), squeeze=False)[0]
    for axis, (arch, table) in zip(axes, decisions.items(), strict=True):
        classes = {"index": style.LABELS, "columns": style.LABELS}
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(**classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1), axis=0)
        for row, column in np.ndindex(2, 2):
            share = shares.iloc[row, column]
            opacity = 0.0 if np.isnan(share) else DEEPEST * share
            cell: Look = {"facecolor": to_rgba(colour(arch), opacity), "edgecolor": style.FAINT}
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **cell))
            count = f"{counts.iloc[row, column]:,}"
            axis.text(column, row - 0.06, count, fontsize=16, fontweight="bold", **style.CENTRED)
            percent = "undefined" if np.isnan(share) else f"{share:.1%}"
            axis.text(column, row + 0.24, percent, fontsize=9, **style.CENTRED)
        sizes = counts.sum(axis=1)
        axis.set_xticks([0, 1], style.LABELS)
        axis.set_yticks([0, 1], [f"{label}\n(n = {sizes[label]:,})" for label in style.LABELS])
        axis.set(xlabel="predicted", ylabel="actual", xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
        axis.set_aspect("equal")
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        line = f"n = {len(table):,}, kappa {number(scores[arch]['kappa'])}"
        style.add_heading(axis, title(arch), line, colour(arch))
    style.add_note(
        figure,
        "Percentages are of the actual class (each row adds up to 100%): specificity above left, "
        f"sensitivity below right.\nPredictions at {_thresholds(scores)}.",
    )
    return figure


@rc_context(style.RC_PARAMS)
def scores_by_finding(by_finding: Tables, normal: int) -> Figure:
    """Draw the sensitivity for each finding, and its AUROC against all normal studies.

    Args:
        by_finding: Network -> finding, studies, found, then sensitivity and auroc with _low and
            _high (NaN where there are too few patients), of the abnormal studies of test.
        normal: The number of normal studies of test.
    """
    tables = {
        # Shown also where they are too few for an interval.
        arch: table.assign(sensitivity=table["found"] / table["studies"]).set_index("finding")
        for arch, table in by_finding.items()
    }
    first = next(iter(tables.values()))
    figure = style.new_figure(1.7 + style.rows_height(len(first), len(tables)))
    style.add_title(figure, "What is found, by finding, in studies of the test set")
    left, right = figure.subplots(1, 2, sharey=True)
    style.draw_rows(left, list(first.index), tables, "sensitivity", _found)
    style.draw_rows(right, list(first.index), tables, "auroc", partial(_two, name="auroc"))
    left.set(title="Sensitivity", xlabel="share found, at the threshold from val")
    right.set(title="AUROC", xlabel=f"against the {normal:,} normal studies")
    right.axvline(0.5, linestyle=":", color=SOFT)
    names = [f"{name.replace('_', ' ')}\nn = {n:,}" for name, n in first["studies"].items()]
    left.set_yticks(range(len(first)), names)
    for axis in (left, right):
        axis.set_xlim(-0.03, 1.03)
    _add_key(figure, style.network_key(tables))
    style.add_note(figure, "Lines: 95% intervals over patients; hollow: too few. Dotted: chance.")
    return figure


def _found(row: Mapping[str, Any]) -> str:
    counts = f"{row['found']:,.0f} of {row['studies']:,.0f}"
    return f"{counts} ({_limits(row, 'sensitivity')})"


def _two(row: Mapping[str, Any], name: str) -> str:
    limits = _limits(row, name)
    return limits if pd.isna(row[name]) else f"{number(row[name], 2)} ({limits})"


def _limits(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "too few" if pd.isna(low) else f"{number(low, 2)} to {number(high, 2)}"


def _add_key(figure: Figure, handles: Sequence[Line2D]) -> None:
    # In two rows where it would run into the title.
    columns = len(handles) if len(handles) <= 4 else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside upper right", ncols=columns)


@rc_context(style.RC_PARAMS)
def scores_by_body_part(by_body_part: Tables, scores: Scores, reference: pd.DataFrame) -> Figure:
    """Draw AUROC and kappa by body part, with published kappas as marks.

    Args:
        by_body_part: Network -> body_part, n, abnormal, then auroc and kappa with _low and _high
            (NaN where there are too few patients).
        scores: Network -> the same at study level over all body parts.
        reference: See `ulna.evaluation.comparison.read_reference`; no rows for none.
    """
    tables = {arch: _with_overall(by_body_part[arch], scores[arch]) for arch in by_body_part}
    sizes = pd.concat(list(tables.values()))
    sizes = sizes[~sizes.index.duplicated()]  # all networks have the same test set
    parts = [*sorted(sizes.index.drop(OVERALL)), OVERALL]
    figure = style.new_figure(1.9 + style.rows_height(len(parts), len(tables)))
    style.add_title(figure, "By body part (test set, study level)")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name, chance in zip(axes, ("auroc", "kappa"), (0.5, 0.0), strict=True):
        axis.axvline(chance, linestyle=":", color=SOFT)
        style.draw_rows(axis, parts, tables, name, partial(_two, name=name))
        axis.axhline(len(parts) - 1.5, color=SOFT, linewidth=0.8)
        axis.set_title(METRIC_NAMES[name])
        axis.xaxis.set_major_locator(MaxNLocator(5))
        drawn = pd.concat(list(tables.values()))[f"{name}_low"]
        # Chance is in the picture, and the whole of every interval.
        axis.set_xlim(min(chance - 0.25, np.nanmin([*drawn, 0.0]) - 0.03), 1.03)
    marks = []
    for reader, rows in reference[reference["body_part"].isin(parts)].groupby("reader", sort=False):
        shape, name = READERS[str(reader)]
        look: Look = {"ms": 6, "color": style.PUBLISHED, "mfc": PAPER, "label": name, "zorder": 4}
        places = [parts.index(part) - 0.42 for part in rows["body_part"]]
        marks += axes[1].plot(rows["kappa"], places, shape, **look)
    counts = sizes.loc[parts, ["n", "abnormal"]].itertuples()
    names = [f"{row.Index}\nn = {row.n:,.0f}, {row.abnormal:,.0f} abnormal" for row in counts]
    axes[0].set_yticks(range(len(parts)), names, fontsize=8)
    _add_key(figure, [*style.network_key(tables), *marks])
    notes = (
        "Lines: 95% intervals over patients; too few: not enough for an interval. Dotted: chance."
    )
    if marks:
        notes += f"\nPublished kappas (arXiv 1712.06957, 207 studies): {REFERENCE_NOTE}."
    style.add_note(figure, notes)
    return figure


def _with_overall(table: pd.DataFrame, score: Mapping[str, Any]) -> pd.DataFrame:
    columns = ["n", "abnormal", *ci_columns(("auroc", "kappa"))]
    parts = table.set_index("body_part")[columns].astype(float)
    parts.loc[OVERALL] = [np.nan if score[name] is None else score[name] for name in columns]
    return parts


@rc_context(style.RC_PARAMS)
def reliability_diagrams(curves: Tables, calibration: Scores) -> Figure:
    """Draw the share of abnormal studies over the probability, with the n of each bin below.

    Args:
        curves: Network -> see `ulna.evaluation.calibration.reliability_curves`.
        calibration: Network -> see `ulna.evaluation.calibration.summarize_calibration`; None or NaN
            where undefined.
    """
    figure = style.new_figure(6.2, len(curves))
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
    style.add_note(figure, "Temperatures are fitted on val; intervals of shares: Wilson.")
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
    before, after = (number(numbers[name]["ece"]) for name in ("before", "after"))
    n_bins = f"{len(bins)} bin{'s' * (len(bins) > 1)} of {each} studies"
    temperature = f"T {number(numbers['temperature'], 2)}, ECE {before} → {after}"
    if numbers["temperature"] is None or np.isnan(numbers["temperature"]):
        temperature = f"no temperature, ECE {before}"
    line = f"{temperature}, {n_bins}"
    style.add_heading(diagram, title(arch), line, ink)


def draw(
    networks: Sequence[str],
    tables: Tables,
    metrics: Mapping[str, Any],
    reference: pd.DataFrame,
) -> dict[str, Figure]:
    """Draw all figures of this module; the networks' ensemble is evaluated as they are."""
    evaluated = (*networks, ENSEMBLE)

    def of_each(name: str) -> dict[str, pd.DataFrame]:
        return {arch: tables[f"{arch}/{name}"] for arch in evaluated}

    scores = {arch: metrics[arch]["study"] for arch in evaluated}
    calibration = {arch: metrics[arch]["calibration"] for arch in networks}
    reliability = {arch: tables[f"{arch}/reliability"] for arch in networks}
    figures = {
        "roc": roc_and_precision_recall(of_each("roc"), of_each("precision_recall"), scores),
        "confusion": confusion_matrices(of_each("confusion"), scores),
        "by_body_part": scores_by_body_part(of_each("by_body_part"), scores, reference),
        "calibration": reliability_diagrams(reliability, calibration),
    }
    if len(tables[f"{networks[0]}/by_finding"]):
        n, abnormal = _sizes(scores)
        figures["by_finding"] = scores_by_finding(of_each("by_finding"), n - abnormal)
    return figures
