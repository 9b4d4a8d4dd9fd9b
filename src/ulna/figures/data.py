"""Figures of the data: the sizes of the splits, example images, what the audit found odd."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ulna.checks.audit import FINDINGS
from ulna.checks.audit import choose_examples as choose_odd
from ulna.data import Cache
from ulna.data.samples import select_examples
from ulna.evaluation.conclusions import number
from ulna.figures.style import (
    CENTRED,
    LABEL_COLOURS,
    LABELS,
    RC_PARAMS,
    SHEET,
    SOFT,
    SPLITS,
    WIDTH_INCHES,
    Pixels,
    add_cell,
    add_heading,
    add_text,
    add_title,
    annotate,
    bare,
    new_figure,
    show_image,
)

BOLD = {"fontweight": "bold"}
# Of the sheet of odd images, in inches; a pair of copies takes two of the columns.
COLUMNS = 6
EDGE, GAP, PAIR_GAP = 0.1, 0.12, 0.03
SIDE = (WIDTH_INCHES - 2 * EDGE - (COLUMNS - 1) * GAP) / COLUMNS
TOP, HEADING, CAPTION = 0.55, 0.42, 0.55


@rc_context(RC_PARAMS)
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
            look = {"color": LABEL_COLOURS[label], "label": LABELS[label], "height": 0.85}
            axis.barh(heights, table[label], left=start, **look)
        for height, normal, abnormal in zip(heights, table[0], table[1], strict=True):
            words, end = f"{normal:,} + {abnormal:,}", (normal + abnormal, height)
            annotate(axis, words, end, (3, 0), va="center", fontsize=7.5, color=SOFT)
        totals = table.groupby(level="split").sum()
        words = ", ".join(f"{split} {totals.loc[split].sum():,}" for split in SPLITS)
        add_heading(axis, unit.capitalize(), words)
        axis.set_xlabel(f"number of {unit}")
        axis.set_xlim(0, 1.28 * max(1, table.sum(axis=1).max()))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        bare(axis, "y")
    axes[0].set_yticks(heights, [split for _, split in slots], fontsize=7.5)
    axes[0].set_ylim(max(heights) + 0.8, -0.8)
    for order, part in enumerate(parts):
        look = {"ha": "right", "va": "center", "fontsize": 8.5, **BOLD}
        coordinates = ("axes fraction", "data")
        annotate(axes[0], part, (0, 4 * order + 1), (-36, 0), xycoords=coordinates, **look)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@rc_context(SHEET)
def example_images(examples: pd.DataFrame, pixels: Pixels) -> Figure:
    """Show normal and abnormal train images of each body part.

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
    figure = new_figure(top + 2 * tall * side)
    size = f"{pixels.shape[1]} x {pixels.shape[1]} px"
    words = f"Train images, resized to {size} as the networks see them"
    add_text(figure, left, 0.25, words, va="center", fontsize=11, **BOLD)
    for order, part in enumerate(parts):
        add_text(figure, left + side * wide * (order + 0.5), 0.62, part, **CENTRED)
    for label, name in enumerate(LABELS):
        look = {"color": LABEL_COLOURS[label], "rotation": 90, "fontsize": 11, **BOLD, **CENTRED}
        add_text(figure, 0.14, top + side * tall * (label + 0.5), name, **look)
    for example, image in zip(examples.itertuples(), pixels, strict=True):
        column = parts.index(example.body_part) * wide + example.place % wide
        row = example.label * tall + example.place // wide
        show_image(add_cell(figure, left + column * side, top + row * side, side - gap), image)
    return figure


@rc_context(SHEET)
def edge_cases(
    examples: pd.DataFrame,
    squares: Mapping[str, Pixels],
    findings: Mapping[str, int],
    meanings: Mapping[str, str],
    images: int,
) -> Figure:
    """Show images of each finding of the audit, a pair of copies side by side.

    Args:
        examples: See `ulna.checks.audit.choose_examples`; other_image is "" for none.
        squares: Image -> cached square, (size_px, size_px) uint8.
        findings: Finding -> rows in the table of findings.
        meanings: Finding -> what it says.
        images: Images that were audited.

    Returns:
        A figure with one axes an image, one row of them a finding.
    """
    groups = list(examples.groupby("finding", sort=False))
    row = HEADING + SIDE + CAPTION
    figure = new_figure(TOP + row * len(groups) + HEADING)
    words = f"Odd images among {images:,}: what the audit found"
    add_text(figure, EDGE, 0.18, words, va="top", fontsize=11, **BOLD)
    quiet = {"va": "top", "fontsize": 8, "color": SOFT}
    for order, (name, rows) in enumerate(groups):
        y = TOP + order * row
        words = f"{name}: {len(rows):,} of {findings[name]:,} shown"
        add_text(figure, EDGE, y, words, va="top", fontsize=9.5, **BOLD)
        add_text(figure, EDGE, y + 0.2, meanings[name], **quiet)
        x = EDGE
        for found in rows.itertuples():
            pair = [(found.image, found.split, found.label, f", {number(found.value, 2)}")]
            if found.other_image:
                pair.append((found.other_image, found.other_split, found.other_label, ""))
            for place, (image, split, label, value) in enumerate(pair):
                show_image(add_cell(figure, x, y + HEADING, SIDE), squares[image])
                caption = f"{_short(image)}\n{split}, {LABELS[int(label)]}{value}"
                below = y + HEADING + SIDE + 0.04
                add_text(figure, x, below, caption, va="top", fontsize=6.2, linespacing=1.15)
                x += SIDE + (PAIR_GAP if place == 0 and len(pair) > 1 else GAP)
    rest = [f"{name} {count:,}" for name, count in findings.items() if name not in dict(groups)]
    words = fill("Not shown: " + ", ".join(rest), 140)
    add_text(figure, EDGE, TOP + row * len(groups), words, **quiet)
    return figure


def _short(image: str) -> str:
    """Break a path into two short lines.

    Example:
        >>> _short("train/XR_HAND/patient00001/study1_negative/image2.png").split(chr(10))
        ['HAND patient00001', 'study1_negative image2']
    """
    _, part, patient, study, file = image.split("/")
    return f"{part.removeprefix('XR_')} {patient}\n{study} {file.rpartition('.')[0]}"


def draw(
    rows: pd.DataFrame, cache: Cache, tables: Mapping[str, pd.DataFrame], audit: Mapping[str, Any]
) -> dict[str, Figure]:
    """Draw all figures of this module.

    Args:
        rows: One row an image, see `ulna.data.samples.join_samples`.
        cache: The cached images.
        tables: The files of `plots/tables` by name: splits, and audit, the table of findings.
        audit: metrics/audit.json.

    Returns:
        Figures by name.
    """
    shown = select_examples(rows, images=12)
    odd = choose_odd(tables["audit"].fillna({"other_image": ""}), images=6)
    seen = rows[rows["image"].isin([*odd["image"], *odd["other_image"]])]
    squares = dict(zip(seen["image"], cache.gather_samples(seen), strict=True))
    return {
        "splits": split_sizes(tables["splits"]),
        "examples": example_images(shown, cache.gather_samples(shown)),
        "audit": edge_cases(odd, squares, audit["findings"], FINDINGS, audit["images"]),
    }
