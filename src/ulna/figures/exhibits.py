"""Figures of what was learned from and how: splits, example images, layers, training curves.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import (
    CENTRED,
    FAINT,
    HOUSE,
    INK,
    LABEL_COLOURS,
    LABELS,
    SOFT,
    SPLITS,
    WIDTH_INCHES,
    add_heading,
    add_note,
    add_title,
    new_figure,
)

Pixels = npt.NDArray[np.uint8]

PHASES = {"scratch": "from scratch", "head": "head only", "finetune": "fine-tuning"}
CURVES = {"loss": "loss", "auroc": "AUROC", "accuracy": "accuracy"}


@rc_context(HOUSE)
def split_sizes(sizes: pd.DataFrame) -> Figure:
    """Draw the number of studies and of images by body part, split and label.

    Args:
        sizes: See `ulna.data.samples.count_splits`.

    Returns:
        A figure with two axes, studies and images; each body part has three bars, normal and
        abnormal end to end.
    """
    parts = sorted(sizes["body_part"].unique())
    figure = new_figure(1.5 + 0.7 * len(parts))
    add_title(figure, "Size of the splits by body part: normal + abnormal")
    axes = figure.subplots(1, 2, sharey=True)
    slots = [(part, split) for part in parts for split in SPLITS]
    heights = [4 * parts.index(part) + SPLITS.index(split) for part, split in slots]
    for axis, unit in zip(axes, ("studies", "images"), strict=True):
        table = sizes.pivot_table(
            index=["body_part", "split"], columns="label", values=unit, aggfunc="sum", fill_value=0
        ).reindex(index=slots, columns=[0, 1], fill_value=0)
        for label, start in ((0, 0), (1, table[0])):
            axis.barh(
                heights,
                table[label],
                left=start,
                height=0.85,
                color=LABEL_COLOURS[label],
                label=LABELS[label],
            )
        for height, normal, abnormal in zip(heights, table[0], table[1], strict=True):
            axis.annotate(
                f"{normal:,} + {abnormal:,}",
                (normal + abnormal, height),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=SOFT,
            )
        totals = table.groupby(level="split").sum()
        words = [f"{split} {totals.loc[split].sum():,}" for split in SPLITS]
        add_heading(axis, unit.capitalize(), ", ".join(words), INK)
        axis.set_xlabel(f"number of {unit}")
        axis.set_xlim(0, 1.28 * max(1, table.sum(axis=1).max()))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(heights, [split for _, split in slots], fontsize=7.5)
    axes[0].set_ylim(max(heights) + 0.8, -0.8)
    for order, part in enumerate(parts):
        axes[0].annotate(
            part,
            (0, 4 * order + 1),
            (-36, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            fontweight="bold",
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@rc_context(HOUSE | {"figure.constrained_layout.use": False})
def example_images(examples: pd.DataFrame, pixels: Pixels) -> Figure:
    """Show normal and abnormal train images of each body part on black.

    Args:
        examples: See `ulna.data.samples.select_examples`.
        pixels: The cached images in the same order, (images, size_px, size_px) uint8.

    Returns:
        A figure with one axes an image: one column or more a body part, some rows a label.
    """
    parts = sorted(examples["body_part"].unique())
    wide = max(1, 6 // len(parts))  # columns of a body part; few parts get larger pictures
    tall = -(-(examples["place"].max() + 1) // wide)  # rows of a label
    left, top, gap = 0.3, 0.8, 0.04
    side = (WIDTH_INCHES - left) / (wide * len(parts))
    height = top + 2 * tall * side
    figure = new_figure(height)
    figure.set_facecolor("black")
    size_px = pixels.shape[1]
    figure.text(
        left / WIDTH_INCHES,
        1 - 0.25 / height,
        f"Train images, resized to {size_px} x {size_px} px as the networks see them",
        color="white",
        fontweight="bold",
        va="center",
        fontsize=11,
    )
    for order, part in enumerate(parts):
        x = left + side * wide * (order + 0.5)
        figure.text(x / WIDTH_INCHES, 1 - 0.62 / height, part, color="white", **CENTRED)
    for label, name in enumerate(LABELS):
        y = height - top - side * tall * (label + 0.5)
        figure.text(
            0.16 / WIDTH_INCHES,
            y / height,
            name,
            color=LABEL_COLOURS[label],
            fontweight="bold",
            rotation=90,
            fontsize=11,
            **CENTRED,
        )
    for example, picture in zip(examples.itertuples(), pixels, strict=True):
        column = parts.index(example.body_part) * wide + example.place % wide
        row = example.label * tall + example.place // wide
        box = (left + column * side, height - top - (row + 1) * side, side - gap, side - gap)
        axis = figure.add_axes(
            tuple(
                inches / whole
                for inches, whole in zip(box, (WIDTH_INCHES, height) * 2, strict=True)
            )
        )
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.axis("off")
    return figure


@rc_context(HOUSE)
def architecture(layers: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw each network as a chain of blocks with output shapes and numbers of parameters.

    Args:
        layers: A table a network, one row a layer or block: layer, type, output_shape, parameters,
            trainable_parameters.

    Returns:
        A figure with one axes a network.
    """
    rows = max(len(table) for table in layers.values())
    figure = new_figure(1.5 + 0.36 * rows)
    add_title(figure, "Architecture: from the cached pixels at the top to one logit an image")
    axes = figure.subplots(1, len(layers), squeeze=False)[0]
    for axis, (arch, table) in zip(axes, layers.items(), strict=True):
        colour = NETWORK_COLOURS[arch]
        axis.set(xlim=(0, 1), ylim=(rows, -0.55))
        axis.axis("off")
        total, trainable = table["parameters"].sum(), table["trainable_parameters"].sum()
        line = f"{total:,} parameters, {trainable:,} trainable"
        add_heading(axis, NETWORKS[arch], line, colour)
        for x, align, words in (
            (0.03, "left", "layer or block"),
            (0.76, "right", "output"),
            (0.98, "right", "parameters"),
        ):
            axis.text(x, -0.2, words, ha=align, va="center", fontsize=8, color=SOFT)
        for y, row in enumerate(table.itertuples()):
            state = colour if row.trainable_parameters else SOFT if row.parameters else FAINT
            axis.add_patch(
                Rectangle((0, y + 0.06), 1, 0.88, facecolor=state, alpha=0.1, linewidth=0)
            )
            axis.add_patch(Rectangle((0, y + 0.06), 0.012, 0.88, facecolor=state, linewidth=0))
            axis.text(0.03, y + 0.34, row.layer, va="center", fontsize=8.5, fontweight="bold")
            axis.text(0.03, y + 0.71, row.type, va="center", fontsize=7.5, color=SOFT)
            axis.text(0.76, y + 0.34, row.output_shape, ha="right", va="center", fontsize=8.5)
            axis.text(
                0.98,
                y + 0.34,
                f"{row.parameters:,}" if row.parameters else "–",
                ha="right",
                va="center",
                fontsize=8.5,
            )
    add_note(
        figure,
        "Coloured: trainable in the last phase of training; dark grey: frozen; light grey: without "
        "parameters. Outputs: height x width x channels.",
    )
    return figure


@rc_context(HOUSE)
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the course of training: train against val, their gap and the learning rate.

    Args:
        histories: A table a network with the columns epoch, phase, learning_rate, loss, accuracy,
            auroc, val_loss, val_accuracy, val_auroc, best (1 on the epoch that is kept).

    Returns:
        A figure with five rows of axes: loss, AUROC, accuracy, gap in loss, learning rate.
    """
    figure = new_figure(8.4)
    add_title(figure, "Training curves (image level)")
    axes = figure.subplots(
        5, len(histories), squeeze=False, sharex="col", sharey="row", height_ratios=[3, 3, 3, 2, 2]
    )
    for column, (arch, history) in enumerate(histories.items()):
        _course(list(axes[:, column]), arch, history)
    for axis, name in zip(
        axes[:, 0],
        [*CURVES.values(), "gap in loss\n(val − train)", "learning rate"],
        strict=True,
    ):
        axis.set_ylabel(name)
    figure.align_ylabels(axes[:, 0])
    figure.legend(
        handles=[
            Line2D([], [], color=SOFT, linestyle="--", linewidth=1.2, label="train"),
            Line2D([], [], color=SOFT, linewidth=2, label="val"),
            Patch(color=SOFT, alpha=0.2, label="gap"),
            Line2D([], [], color=INK, marker="o", linestyle=":", label="epoch that is kept"),
        ],
        loc="outside upper right",
        ncols=4,
    )
    add_note(
        figure,
        "train: mean over the epoch while the weights change, with augmentation and dropout; "
        "val: at the end of the epoch, without either.\nSo train can lie behind val at first; "
        "a gap above zero that widens is overfitting.",
    )
    return figure


def _course(axes: Sequence[Axes], arch: str, history: pd.DataFrame) -> None:
    colour = NETWORK_COLOURS[arch]
    epoch = history["epoch"]
    dot = "." if len(history) <= 15 else None
    best = history.loc[history["best"] == 1]
    for axis, name in zip(axes, CURVES, strict=False):
        train, val = history[name], history[f"val_{name}"]
        axis.fill_between(epoch, train, val, color=colour, alpha=0.15, linewidth=0)
        axis.plot(epoch, train, "--", color=colour, linewidth=1.2, marker=dot, label="train")
        axis.plot(epoch, val, color=colour, linewidth=2, marker=dot, label="val")
        axis.plot(best["epoch"], best[f"val_{name}"], "o", color=INK, zorder=4, label="best")
        if val.isna().all():
            axis.text(0.5, 0.04, "val: undefined", transform=axis.transAxes, ha="center")
    gap = history["val_loss"] - history["loss"]
    axes[3].axhline(0, color=SOFT, linewidth=0.8)
    axes[3].fill_between(epoch, 0, gap, color=colour, alpha=0.15, linewidth=0)
    axes[3].plot(epoch, gap, color=colour, marker=dot, label="gap")
    axes[4].step(epoch, history["learning_rate"], where="mid", color=colour, marker=dot)
    axes[4].set_yscale("log")
    axes[4].set_xlabel("epoch")
    axes[4].set_xlim(0.5, epoch.max() + 0.5)
    axes[4].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))

    spans = history.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    for order, span in enumerate(spans.itertuples()):
        for axis in axes if order % 2 == 0 and len(spans) > 1 else ():
            axis.axvspan(
                span.min - 0.5, span.max + 0.5, color=FAINT, alpha=0.6, linewidth=0, zorder=0
            )
    for kept in best["epoch"]:
        for axis in axes:
            axis.axvline(kept, color=INK, linestyle=":", linewidth=1)
    words = [f"{PHASES[span.Index]}: {_epochs(span.min, span.max)}" for span in spans.itertuples()]
    words += [f"kept: epoch {kept}" for kept in best["epoch"]]
    add_heading(axes[0], NETWORKS[arch], "; ".join(words), colour)


def _epochs(first: int, last: int) -> str:
    return f"epochs {first}–{last}" if last > first else f"epoch {first}"
