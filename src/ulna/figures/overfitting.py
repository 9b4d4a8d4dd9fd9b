"""Overfitting in one figure: the splits side by side, the gap by epoch, the curve over sizes.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import (
    CENTRED,
    HOUSE,
    INK,
    NETWORK_MARKERS,
    SOFT,
    SPLITS,
    add_heading,
    add_note,
    add_title,
    network_key,
    new_figure,
    number,
)

MEASURES = {"auroc": "AUROC", "kappa": "Cohen's kappa"}
GAPS = {"loss_gap": "loss: val − train", "auroc_gap": "AUROC: train − val"}


@rc_context(HOUSE)
def overfitting_panels(
    splits: pd.DataFrame, gaps: pd.DataFrame, curve: pd.DataFrame, arch: str
) -> Figure:
    """Draw what each network does on train, val and test; the gap by epoch; the size curve.

    Args:
        splits: See `ulna.judging.overfitting.judge_splits`, of all networks.
        gaps: See `ulna.judging.epochs.gaps_by_epoch`, of all networks.
        curve: See `ulna.judging.size_curve.judge_sizes`; no rows where it is off.
        arch: The network of the size curve.

    Returns:
        A figure with three rows of two axes; without a size curve the last row is one axes that
        says how to switch it on.
    """
    figure = new_figure(7.6 if curve.empty else 10.2)
    add_title(figure, "Overfitting: what was learnt from against what was not")
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 1, 0.15 if curve.empty else 1))
    for column, (measure, name) in enumerate(MEASURES.items()):
        axis = figure.add_subplot(grid[0, column])
        add_heading(axis, name, "per study, with 95% intervals over patients", INK)
        _draw_splits(axis, splits, measure)
        axis.set_ylabel(name)
    for column, (gap, name) in enumerate(GAPS.items()):
        axis = figure.add_subplot(grid[1, column])
        add_heading(axis, f"Gap by epoch, {name}", "per image; marked: the epoch that is kept", INK)
        _draw_gaps(axis, gaps, gap)
        axis.set(xlabel="epoch", ylabel="gap (above 0: train is better)")
    if curve.empty:
        axis = figure.add_subplot(grid[2, :])
        axis.axis("off")
        off = "The curve over the number of patients is off:\nset learning_curve.fractions"
        axis.text(0.5, 0.5, off, transform=axis.transAxes, color=SOFT, **CENTRED)
    else:
        for column, (measure, name) in enumerate(MEASURES.items()):
            axis = figure.add_subplot(grid[2, column])
            line = f"test, n = {curve['test_studies'].iloc[0]:,} studies, 95% intervals"
            add_heading(axis, f"{name} by patients learnt from, {NETWORKS[arch]}", line, INK)
            _draw_curve(axis, curve, measure, NETWORK_COLOURS[arch])
            axis.set(xlabel="patients of train (logarithmic)", ylabel=name)
    names = [name for name in NETWORKS if name in set(splits["network"])]
    figure.legend(
        handles=network_key(names),
        loc="outside upper right",
        ncols=2,
    )
    add_note(
        figure,
        "Splits: one network, no augmentation, thresholds chosen on val. By epoch: train while the "
        "weights change, with augmentation and dropout,\nso its gap starts low; one that widens is "
        "overfitting. Each size is one training: the luck of its seed is not in the intervals.",
    )
    return figure


def _draw_splits(axis: Axes, splits: pd.DataFrame, measure: str) -> None:
    networks = list(dict.fromkeys(splits["network"]))
    for order, network in enumerate(networks):
        rows = splits[splits["network"] == network].set_index("split").loc[list(SPLITS)]
        places = np.arange(len(SPLITS)) + (order - (len(networks) - 1) / 2) * 0.4
        colour = NETWORK_COLOURS[network]
        axis.vlines(places, rows[f"{measure}_low"], rows[f"{measure}_high"], color=colour, lw=2)
        axis.plot(places, rows[measure], NETWORK_MARKERS[network], color=colour, label=network)
        for place, value in zip(places, rows[measure], strict=True):
            undefined = np.isnan(value)
            axis.annotate(
                "too few" if undefined else number(value, 2),
                (place, 0.5 if undefined else value),
                (0, 0) if undefined else (5, 0),
                textcoords="offset points",
                xycoords=("data", "axes fraction") if undefined else "data",
                rotation=90 if undefined else 0,
                ha="center" if undefined else "left",
                va="center",
                fontsize=8,
            )
    sizes = splits.groupby("split")[["n", "patients"]].first().loc[list(SPLITS)]
    names = [f"{row.Index}\nn = {row.n:,}\n{row.patients:,} patients" for row in sizes.itertuples()]
    axis.set_xticks(range(len(SPLITS)), names)
    axis.set_xlim(-0.5, len(SPLITS) - 0.4)
    axis.grid(axis="x", visible=False)
    axis.tick_params(axis="x", length=0)


def _draw_gaps(axis: Axes, gaps: pd.DataFrame, gap: str) -> None:
    axis.axhline(0, color=SOFT, linewidth=0.8)
    for network, rows in gaps.groupby("network", sort=False):
        colour = NETWORK_COLOURS[str(network)]
        dot = "." if len(rows) <= 15 else None
        axis.plot(rows["epoch"], rows[gap], color=colour, marker=dot, label=network)
        kept = rows[rows["best"] == 1]
        axis.plot(
            kept["epoch"],
            kept[gap],
            NETWORK_MARKERS[str(network)],
            color=colour,
            markersize=8,
            markeredgecolor=INK,
            zorder=4,
            label="kept",
        )
    axis.set_xlim(0.5, gaps["epoch"].max() + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _draw_curve(axis: Axes, curve: pd.DataFrame, measure: str, colour: str) -> None:
    low, high = curve[f"{measure}_low"], curve[f"{measure}_high"]
    axis.vlines(curve["patients"], low, high, color=colour, linewidth=2)
    axis.plot(curve["patients"], curve[measure], "o-", color=colour, label="curve")
    if curve[measure].isna().all():
        axis.text(0.5, 0.5, "too few test patients", transform=axis.transAxes, **CENTRED)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    names = [f"{row.patients:,}\n({row.fraction:.0%})" for row in curve.itertuples()]
    axis.set_xticks(curve["patients"], names)
    axis.set_xlim(0.9 * curve["patients"].min(), 1.1 * curve["patients"].max())
