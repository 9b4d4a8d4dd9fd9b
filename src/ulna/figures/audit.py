"""The sheet of odd images: pictures of each finding of the audit, copies side by side."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ulna.figures.style import HOUSE, LABELS, WIDTH_INCHES, new_figure, number

Pixels = npt.NDArray[np.uint8]

COLUMNS = 6  # pictures in a row; a pair takes two
# All in inches.
EDGE, GAP, PAIR_GAP = 0.15, 0.12, 0.03
SIDE = (WIDTH_INCHES - 2 * EDGE - (COLUMNS - 1) * GAP) / COLUMNS
TITLE, HEADING, CAPTION = 0.55, 0.42, 0.55
TEXT, QUIET = "white", "#B8B8B8"


@rc_context(HOUSE | {"figure.constrained_layout.use": False})
def edge_cases(
    examples: pd.DataFrame,
    squares: Mapping[str, Pixels],
    findings: Mapping[str, int],
    meanings: Mapping[str, str],
    images: int,
) -> Figure:
    """Show pictures of each finding on black, a pair of copies side by side.

    Args:
        examples: See `ulna.checks.audit.choose_examples`.
        squares: Image -> cached square, (size_px, size_px) uint8.
        findings: Finding -> rows in the table of findings.
        meanings: Finding -> what it says.
        images: Images that were audited.

    Returns:
        A figure with one axes a picture, one row of them a finding.
    """
    groups = list(examples.groupby("finding", sort=False))
    words = [f"{name} {count:,}" for name, count in findings.items() if name not in dict(groups)]
    row = HEADING + SIDE + CAPTION
    height = TITLE + row * len(groups) + HEADING
    figure = new_figure(height)
    figure.set_facecolor("black")

    def write(x: float, y: float, text: str, **look: Any) -> None:
        look = {"color": TEXT, "va": "top"} | look
        figure.text(x / WIDTH_INCHES, 1 - y / height, text, **look)

    write(EDGE, 0.18, f"Odd images among {images:,}: what the audit found", fontweight="bold",
          fontsize=11)  # fmt: skip
    for order, (name, rows) in enumerate(groups):
        y = TITLE + order * row
        total = findings[name]
        write(EDGE, y, f"{name}: {len(rows):,} of {total:,} shown", fontweight="bold", fontsize=9.5)
        write(EDGE, y + 0.2, meanings[name], fontsize=8, color=QUIET)
        x = EDGE
        for found in rows.itertuples():
            pair = [(found.image, found.split, found.label)]
            if found.other_image:
                pair.append((found.other_image, found.other_split, found.other_label))
            for place, (image, split, label) in enumerate(pair):
                bottom = height - y - HEADING - SIDE
                axis = figure.add_axes(
                    (x / WIDTH_INCHES, bottom / height, SIDE / WIDTH_INCHES, SIDE / height)
                )
                axis.imshow(squares[image], cmap="gray", vmin=0, vmax=255)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=True, color=QUIET, linewidth=0.5)
                value = "" if place else f", {number(found.value, 2)}"
                caption = f"{_short(image)}\n{split}, {LABELS[int(label)]}{value}"
                write(x, y + HEADING + SIDE + 0.04, caption, fontsize=6.2, linespacing=1.15)
                x += SIDE + (PAIR_GAP if place == 0 and len(pair) > 1 else GAP)
    write(
        EDGE,
        TITLE + row * len(groups),
        fill("Not shown: " + ", ".join(words), 140),
        fontsize=8,
        color=QUIET,
    )
    return figure


def _short(image: str) -> str:
    """Break a path into two short lines.

    Example:
        >>> _short("train/XR_HAND/patient00001/study1_negative/image2.png").split(chr(10))
        ['HAND patient00001', 'study1_negative image2']
    """
    _, part, patient, study, file = image.split("/")
    return f"{part.removeprefix('XR_')} {patient}\n{study} {file.rpartition('.')[0]}"
