"""Figures of training: layers, training curves, overfitting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from ulna.figures import style
from ulna.figures.style import CENTRED, INK, SOFT, Look, Tables, add_heading, colour, number, title

PHASES = {"scratch": "from scratch", "head": "head only", "finetune": "fine-tuning"}
CURVES = {"loss": "loss", "auroc": "AUROC", "accuracy": "accuracy"}
MEASURES = {"auroc": "AUROC", "kappa": "Cohen's kappa"}
GAPS = {"loss_gap": "loss: val − train", "auroc_gap": "AUROC: train − val"}


@rc_context(style.RC_PARAMS)
def architecture(layers: Tables) -> Figure:
    """Draw each network as a chain of blocks with output shapes and numbers of parameters.

    Args:
        layers: Network -> one row per layer or block: layer, type, output_shape, parameters,
            trainable_parameters.
    """
    rows = max(len(table) for table in layers.values())
    figure = style.new_figure(1.5 + 0.36 * rows, len(layers))
    style.add_title(figure, "Architecture: from the cached pixels (top) to one logit per image")
    axes = figure.subplots(1, len(layers), squeeze=False)[0]
    right = {"ha": "right", "va": "center", "fontsize": 8.5}
    for axis, (arch, table) in zip(axes, layers.items(), strict=True):
        axis.set(xlim=(0, 1), ylim=(rows, -0.55))
        axis.axis("off")
        total, trainable = table["parameters"].sum(), table["trainable_parameters"].sum()
        line = f"{total:,} parameters, {trainable:,} trainable"
        add_heading(axis, title(arch), line, colour(arch))
        for x, name in ((0.03, "layer or block"), (0.76, "output"), (0.98, "parameters")):
            align = "left" if x < 0.5 else "right"
            axis.text(x, -0.2, name, ha=align, va="center", fontsize=8, color=SOFT)
        for y, row in enumerate(table.itertuples()):
            frozen = SOFT if row.parameters else style.FAINT
            ink = colour(arch) if row.trainable_parameters else frozen
            stripe: Look = {"facecolor": ink, "linewidth": 0}
            axis.add_patch(Rectangle((0, y + 0.06), 1, 0.88, alpha=0.1, **stripe))
            axis.add_patch(Rectangle((0, y + 0.06), 0.012, 0.88, **stripe))
            axis.text(0.03, y + 0.34, row.layer, va="center", fontsize=8.5, fontweight="bold")
            axis.text(0.03, y + 0.71, row.type, va="center", fontsize=7.5, color=SOFT)
            axis.text(0.76, y + 0.34, row.output_shape, **right)
            axis.text(0.98, y + 0.34, f"{row.parameters:,}" if row.parameters else "–", **right)
    style.add_note(
        figure,
        "Coloured: trainable in the last phase of training; dark grey: frozen; light grey: without "
        "parameters. Outputs: height x width x channels.",
    )
    return figure


@rc_context(style.RC_PARAMS)
def training_curves(histories: Tables) -> Figure:
    """Draw loss, AUROC and accuracy of train and val by epoch, the loss gap, the learning rate.

    Args:
        histories: Network -> epoch, phase, learning_rate, loss, accuracy, auroc, val_loss,
            val_accuracy, val_auroc, best (1 on the epoch that is kept).
    """
    figure = style.new_figure(8.4, len(histories))
    style.add_title(figure, "Training curves (image level)")
    axes = figure.subplots(
        5, len(histories), squeeze=False, sharex="col", sharey="row", height_ratios=[3, 3, 3, 2, 2]
    )
    for column, (arch, history) in enumerate(histories.items()):
        _draw_history(list(axes[:, column]), arch, history)
    names = [*CURVES.values(), "gap in loss\n(val − train)", "learning rate"]
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name)
    figure.align_ylabels(axes[:, 0])
    handles = [
        Line2D([], [], color=SOFT, linestyle="--", linewidth=1.2, label="train"),
        Line2D([], [], color=SOFT, linewidth=2, label="val"),
        Patch(color=SOFT, alpha=0.2, label="gap"),
        Line2D([], [], color=INK, marker="o", linestyle=":", label="epoch that is kept"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=4)
    style.add_note(
        figure,
        "train: mean over the epoch while the weights change, with augmentation and dropout; "
        "val: at the end of the epoch, without either.\nTrain can therefore be worse than val at "
        "first; a gap above zero that widens is overfitting.",
    )
    return figure


def _draw_history(axes: Sequence[Axes], arch: str, history: pd.DataFrame) -> None:
    ink, epoch = colour(arch), history["epoch"]
    dot = "." if len(history) <= 15 else None
    best = history.loc[history["best"] == 1]
    for axis, name in zip(axes, CURVES, strict=False):
        train, val = history[name], history[f"val_{name}"]
        axis.fill_between(epoch, train, val, color=ink, alpha=0.15, linewidth=0)
        axis.plot(epoch, train, "--", color=ink, linewidth=1.2, marker=dot, label="train")
        axis.plot(epoch, val, color=ink, linewidth=2, marker=dot, label="val")
        axis.plot(best["epoch"], best[f"val_{name}"], "o", color=INK, zorder=4, label="best")
        if val.isna().all():
            axis.text(0.5, 0.04, "val: undefined", transform=axis.transAxes, ha="center")
    gap = history["val_loss"] - history["loss"]
    axes[3].axhline(0, color=SOFT, linewidth=0.8)
    axes[3].fill_between(epoch, 0, gap, color=ink, alpha=0.15, linewidth=0)
    axes[3].plot(epoch, gap, color=ink, marker=dot, label="gap")
    axes[4].step(epoch, history["learning_rate"], where="mid", color=ink, marker=dot)
    axes[4].set_yscale("log")
    axes[4].set_xlabel("epoch")
    _number_epochs(axes[4], epoch.max())
    spans = history.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    for axis in axes:
        _mark_phases(axis, spans, best["epoch"])
    labels = [f"{PHASES[span.Index]}: {_epochs(span.min, span.max)}" for span in spans.itertuples()]
    labels += [f"kept: epoch {kept}" for kept in best["epoch"]]
    add_heading(axes[0], title(arch), "; ".join(labels), ink)


def _mark_phases(axis: Axes, spans: pd.DataFrame, kept: pd.Series) -> None:
    """Shade every other phase, and mark the epoch that is kept."""
    for span in spans.iloc[::2].itertuples() if len(spans) > 1 else ():
        band = (span.min - 0.5, span.max + 0.5)
        axis.axvspan(*band, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)
    for epoch in kept:
        axis.axvline(epoch, color=INK, linestyle=":", linewidth=1)


def _number_epochs(axis: Axes, last: int) -> None:
    axis.set_xlim(0.5, last + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _epochs(first: int, last: int) -> str:
    return f"epochs {first}–{last}" if last > first else f"epoch {first}"


@rc_context(style.RC_PARAMS)
def overfitting_panels(
    splits: pd.DataFrame, gaps: pd.DataFrame, curve: pd.DataFrame, arch: str
) -> Figure:
    """Draw the metrics by split, the gap by epoch, and the learning curve of one network.

    Args:
        splits: See `ulna.evaluation.overfitting.evaluate_splits`, of all networks.
        gaps: See `ulna.evaluation.overfitting.gaps_by_epoch`, of all networks.
        curve: See `ulna.evaluation.overfitting.evaluate_learning_curve`; no rows if it is off.
        arch: The network of the learning curve.
    """
    networks = list(dict.fromkeys(splits["network"]))
    figure = style.new_figure(7.6 if curve.empty else 10.2, len(networks))
    style.add_title(figure, "Overfitting: training studies against unseen studies")
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 1, 0.15 if curve.empty else 1))
    for column, (measure, name) in enumerate(MEASURES.items()):
        axis = figure.add_subplot(grid[0, column])
        add_heading(axis, name, "per study, with 95% intervals over patients")
        _draw_splits(axis, splits, measure)
        axis.set_ylabel(name)
    for column, (gap, name) in enumerate(GAPS.items()):
        axis = figure.add_subplot(grid[1, column])
        add_heading(axis, f"Gap by epoch, {name}", "per image; marked: the epoch that is kept")
        _draw_gaps(axis, gaps, gap)
        axis.set(xlabel="epoch", ylabel="gap (above 0: train is better)")
    if curve.empty:
        axis = figure.add_subplot(grid[2, :])
        axis.axis("off")
        off = "The learning curve is off:\nset learning_curve.fractions"
        axis.text(0.5, 0.5, off, transform=axis.transAxes, color=SOFT, **CENTRED)
    else:
        for column, (measure, name) in enumerate(MEASURES.items()):
            axis = figure.add_subplot(grid[2, column])
            line = f"test, n = {curve['test_studies'].iloc[0]:,} studies, 95% intervals"
            add_heading(axis, f"{name} by training patients, {title(arch)}", line)
            _draw_curve(axis, curve, measure, colour(arch))
            axis.set(xlabel="training patients (logarithmic)", ylabel=name)
    handles = style.network_key(networks)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    style.add_note(
        figure,
        "Splits: no augmentation, thresholds chosen on val. By epoch: train while the weights "
        "change, with augmentation and dropout,\nso the gap starts low; if it widens: overfitting. "
        "Learning curve: one training per size; the intervals leave out the variance over seeds.",
    )
    return figure


def _draw_splits(axis: Axes, splits: pd.DataFrame, measure: str) -> None:
    networks = list(dict.fromkeys(splits["network"]))
    for order, network in enumerate(networks):
        rows = splits[splits["network"] == network].set_index("split").loc[list(style.SPLITS)]
        offset = (order - (len(networks) - 1) / 2) * 0.8 / len(networks)
        places = np.arange(len(rows)) + offset
        ink = colour(network)
        axis.vlines(places, rows[f"{measure}_low"], rows[f"{measure}_high"], color=ink, lw=2)
        axis.plot(places, rows[measure], style.marker(network), color=ink, label=network)
        for place, value in zip(places, rows[measure], strict=True):
            if np.isnan(value):
                look = {"xycoords": ("data", "axes fraction"), "rotation": 90, **CENTRED}
                style.annotate(axis, "too few", (place, 0.5), (0, 0), fontsize=8, **look)
            else:
                look = {"va": "center", "fontsize": 8}
                style.annotate(axis, number(value, 2), (place, value), (5, 0), **look)
    sizes = splits.groupby("split")[["n", "patients"]].first().loc[list(style.SPLITS)]
    names = [f"{row.Index}\nn = {row.n:,}\n{row.patients:,} patients" for row in sizes.itertuples()]
    axis.set_xticks(range(len(style.SPLITS)), names)
    axis.set_xlim(-0.5, len(style.SPLITS) - 0.4)
    style.bare(axis, "x")


def _draw_gaps(axis: Axes, gaps: pd.DataFrame, gap: str) -> None:
    axis.axhline(0, color=SOFT, linewidth=0.8)
    for name, rows in gaps.groupby("network", sort=False):
        network, kept = str(name), rows[rows["best"] == 1]
        dot = "." if len(rows) <= 15 else None
        axis.plot(rows["epoch"], rows[gap], color=colour(network), marker=dot, label=network)
        look: Look = {"color": colour(network), "markeredgecolor": INK, "markersize": 8}
        axis.plot(kept["epoch"], kept[gap], style.marker(network), label="kept", zorder=4, **look)
    _number_epochs(axis, gaps["epoch"].max())


def _draw_curve(axis: Axes, curve: pd.DataFrame, measure: str, ink: str) -> None:
    low, high = curve[f"{measure}_low"], curve[f"{measure}_high"]
    axis.vlines(curve["patients"], low, high, color=ink, linewidth=2)
    axis.plot(curve["patients"], curve[measure], "o-", color=ink, label="curve")
    if curve[measure].isna().all():
        axis.text(0.5, 0.5, "too few test patients", transform=axis.transAxes, **CENTRED)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    names = [f"{row.patients:,}\n({row.fraction:.0%})" for row in curve.itertuples()]
    axis.set_xticks(curve["patients"], names)
    axis.set_xlim(0.9 * curve["patients"].min(), 1.1 * curve["patients"].max())


def draw(layers: Tables, tables: Tables, metrics: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw all figures of this module; the networks are those of `layers`, in its order."""
    splits, gaps, curve = (tables[name] for name in ("overfitting", "gaps", "learning_curve"))
    arch = metrics["overfitting"]["learning_curve"]["arch"]
    return {
        "architecture": architecture(layers),
        "training_curves": training_curves({arch: tables[f"history/{arch}"] for arch in layers}),
        "overfitting": overfitting_panels(splits, gaps, curve, arch),
    }
