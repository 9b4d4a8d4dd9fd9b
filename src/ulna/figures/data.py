"""Figures of the data: split sizes, example images, findings of the audit."""

from collections.abc import Callable, Mapping
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ulna.checks.audit import FINDINGS
from ulna.data import Fit
from ulna.data.images import crop_padding
from ulna.figures import style
from ulna.figures.style import (
    CENTRED,
    LABEL_COLOURS,
    LABELS,
    SPLITS,
    Pixels,
    Tables,
    add_cell,
    number,
)

BOLD = {"fontweight": "bold"}
# Of the sheet of findings, in inches: findings side by side, two images or one pair of each.
COLUMNS = 3
EDGE, GAP, PAIR_GAP = 0.1, 0.2, 0.03
WIDE = (style.WIDTH_INCHES - 2 * EDGE - (COLUMNS - 1) * GAP) / COLUMNS
SIDE = (WIDE - PAIR_GAP) / 2
TOP, HEADING, CAPTION, MARGIN = 0.5, 0.85, 0.5, 0.1


@rc_context(style.RC_PARAMS)
def split_sizes(sizes: pd.DataFrame) -> Figure:
    """Draw the number of studies and of images by body part, split and label, one axes each.

    Args:
        sizes: See `ulna.data.samples.count_splits`.
    """
    parts = sorted(sizes["body_part"].unique())
    figure = style.new_figure(1.5 + 0.7 * len(parts))
    style.add_title(figure, "Size of the splits by body part: normal + abnormal")
    axes = figure.subplots(1, 2, sharey=True)
    slots = [(part, split) for part in parts for split in SPLITS]
    heights = [4 * parts.index(part) + SPLITS.index(split) for part, split in slots]
    for axis, unit in zip(axes, ("studies", "images"), strict=True):
        table = sizes.pivot_table(
            index=["body_part", "split"], columns="label", values=unit, aggfunc="sum", fill_value=0
        ).reindex(index=slots, columns=[0, 1], fill_value=0)
        for label, start in ((0, 0), (1, table[0])):
            look = {"color": LABEL_COLOURS[label], "label": LABELS[label], "height": 0.85}
            axis.barh(heights, table[label], left=start, **look)
        for height, normal, abnormal in zip(heights, table[0], table[1], strict=True):
            text, end = f"{normal:,} + {abnormal:,}", (normal + abnormal, height)
            style.annotate(axis, text, end, (3, 0), va="center", fontsize=7.5, color=style.SOFT)
        totals = table.groupby(level="split").sum()
        line = ", ".join(f"{split} {totals.loc[split].sum():,}" for split in SPLITS)
        style.add_heading(axis, unit.capitalize(), line)
        axis.set_xlabel(f"number of {unit}")
        axis.set_xlim(0, 1.28 * max(1, table.sum(axis=1).max()))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        style.bare(axis, "y")
    axes[0].set_yticks(heights, [split for _, split in slots], fontsize=7.5)
    axes[0].set_ylim(max(heights) + 0.8, -0.8)
    for order, part in enumerate(parts):
        look = {"ha": "right", "va": "center", "fontsize": 8.5, **BOLD}
        coordinates = ("axes fraction", "data")
        style.annotate(axes[0], part, (0, 4 * order + 1), (-36, 0), xycoords=coordinates, **look)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@rc_context(style.SHEET)
def example_images(examples: pd.DataFrame, pixels: Pixels) -> Figure:
    """Show normal and abnormal train images of each body part, one axes per image.

    Args:
        examples: See `ulna.data.samples.select_examples`.
        pixels: Their cached images, (images, size_px, size_px) uint8.
    """
    parts = sorted(examples["body_part"].unique())
    wide = max(1, 6 // len(parts))  # columns of a body part; few parts get larger images
    tall = -(-(examples["place"].max() + 1) // wide)  # rows of a label
    left, top, gap = 0.3, 0.8, 0.04
    side = (style.WIDTH_INCHES - left) / (wide * len(parts))
    figure = style.new_figure(top + 2 * tall * side)
    size = f"{pixels.shape[1]} x {pixels.shape[1]} px"
    heading = f"Train images, {size}: the networks' input"
    style.add_text(figure, left, 0.25, heading, va="center", fontsize=11, **BOLD)
    for order, part in enumerate(parts):
        style.add_text(figure, left + side * wide * (order + 0.5), 0.62, part, **CENTRED)
    for label, name in enumerate(LABELS):
        look = {"color": LABEL_COLOURS[label], "rotation": 90, "fontsize": 11, **BOLD, **CENTRED}
        style.add_text(figure, 0.14, top + side * tall * (label + 0.5), name, **look)
    for example, image in zip(examples.itertuples(), pixels, strict=True):
        column = parts.index(example.body_part) * wide + example.place % wide
        row = example.label * tall + example.place // wide
        axis = add_cell(figure, left + column * side, top + row * side, side - gap)
        style.show_image(axis, image)
    return figure


@rc_context(style.SHEET)
def edge_cases(
    examples: pd.DataFrame,
    squares: Mapping[str, Pixels],
    findings: Mapping[str, int],
    images: int,
) -> Figure:
    """Show images of each finding of the audit, findings side by side, duplicates in pairs.

    Args:
        examples: See `ulna.checks.audit.choose_examples`, two images of a finding or one pair;
            other_image is "" for none.
        squares: Image -> (height_px, width_px) uint8.
        findings: Finding -> number of rows.
        images: Number of audited images.
    """
    groups = list(examples.groupby("finding", sort=False))
    tall = HEADING + SIDE + CAPTION + MARGIN
    rows = -(-len(groups) // COLUMNS)
    figure = style.new_figure(TOP + tall * rows + 0.4)
    heading = f"Findings of the audit among {images:,} images"
    style.add_text(figure, EDGE, 0.18, heading, va="top", fontsize=11, **BOLD)
    quiet = {"va": "top", "fontsize": 8, "color": style.SOFT}
    for order, (name, table) in enumerate(groups):
        x = EDGE + order % COLUMNS * (WIDE + GAP)
        y = TOP + order // COLUMNS * tall
        heading = f"{str(name).replace('_', ' ')}: {findings[str(name)]:,}"
        style.add_text(figure, x, y, heading, va="top", fontsize=9.5, **BOLD)
        style.add_text(figure, x, y + 0.2, fill(FINDINGS[str(name)], 46), **quiet)
        shown = [
            (row.image, row.split, row.label, f", {number(row.value, 2)}")
            for row in table.itertuples()
        ] + [
            (row.other_image, row.other_split, row.other_label, "")
            for row in table.itertuples()
            if row.other_image
        ]
        for image, split, label, value in shown[:2]:
            style.show_image(add_cell(figure, x, y + HEADING, SIDE), squares[image])
            caption = f"{_short(image)}\n{split}, {LABELS[int(label)]}{value}"
            below = y + HEADING + SIDE + 0.04
            style.add_text(figure, x, below, caption, va="top", fontsize=7.5, linespacing=1.15)
            x += SIDE + PAIR_GAP
    rest = [f"{name} {count:,}" for name, count in findings.items() if name not in dict(groups)]
    hidden = fill("Not shown: " + ", ".join(rest).replace("_", " "), 140)
    style.add_text(figure, EDGE, TOP + tall * rows, hidden, **quiet)
    return figure


def _short(image: str) -> str:
    """Shorten a path to two lines.

    Example:
        >>> _short("train/XR_HAND/patient00001/study1_negative/image2.png").split(chr(10))
        ['HAND patient00001', 'study1_negative image2']
    """
    _, part, patient, study, file = image.split("/")
    return f"{part.removeprefix('XR_')} {patient}\n{study} {file.rpartition('.')[0]}"


def draw(
    tables: Tables,
    audit: Mapping[str, Any],
    samples: pd.DataFrame,
    fit: Fit,
    examples: pd.DataFrame,
    findings: pd.DataFrame,
    pixels_of: Callable[[pd.DataFrame], Pixels],
) -> dict[str, Figure]:
    """Draw all figures of this module; `examples` and `findings` are the rows to be shown."""
    shown = samples[samples["image"].isin([*findings["image"], *findings["other_image"]])]
    images = {
        row.image: crop_padding(square, row.width_px, row.height_px, fit)
        for row, square in zip(shown.itertuples(), pixels_of(shown), strict=True)
    }
    return {
        "splits": split_sizes(tables["splits"]),
        "examples": example_images(examples, pixels_of(examples)),
        "audit": edge_cases(findings, images, audit["findings"], audit["images"]),
    }
