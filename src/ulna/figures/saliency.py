"""The gallery of class activation maps; where they may not be shown, the pictures and the reason.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import CENTRED, HOUSE, INK, LABELS, SOFT, WIDTH_INCHES, new_figure
from ulna.judging import conclusions
from ulna.maps.gallery import OUTCOMES

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.floating]

LINE_CHARACTERS = 130  # of the line under the title
BOX_COLOUR = "#F0E442"  # Okabe and Ito's yellow: on grey as on both colours of the map
TITLE: dict[str, Any] = {"fontsize": 11, "fontweight": "bold"}
# Okabe and Ito's sky blue and orange: normal, abnormal. The labels' own colours are too dark to be
# seen on black.
SIGN_COLOURS = ("#56B4E9", "#E69F00")
STRONGEST = 0.6  # highest opacity: the bone below stays visible
SATURATED = 0.99  # quantile of absolute values from which the opacity is highest
LEFT, TOP, BOTTOM, CAPTION, GAP = 0.35, 1.15, 0.62, 0.22, 0.05  # inches


@rc_context(HOUSE | {"figure.constrained_layout.use": False})
def saliency_gallery(
    arch: str,
    gallery: pd.DataFrame,
    pixels: Pixels,
    maps: Maps | None,
    randomization: Mapping[str, Any],
) -> Figure:
    """Show the most confident image of each body part and outcome under its map.

    Args:
        arch: cnn or densenet169.
        gallery: See `ulna.maps.gallery.choose_gallery`; also map_x_px and map_y_px, the highest
            point of the map, and x0, y0, x1, y1, the box of what was planted: NaN where there is
            none. All in pixels of the square.
        pixels: The cached images in the same order, (images, size_px, size_px) uint8.
        maps: Their maps, signed towards abnormal, of the same shape; None where they failed the
            randomisation test: then none is shown.
        randomization: That test's summary in metrics/explain_<arch>.json, said under the title.

    Returns:
        A figure with one axes an image: a row a body part, a column an outcome. One opacity stands
        for the same strength in all pictures.
    """
    parts = sorted(gallery["body_part"].unique())
    side = (WIDTH_INCHES - LEFT) / len(OUTCOMES)
    tall = side + CAPTION
    height = TOP + len(parts) * tall + BOTTOM
    figure = new_figure(height)
    shown = "class activation maps" if maps is not None else "maps are not shown"
    said = conclusions.randomization(randomization, arch)
    look = {"color": NETWORK_COLOURS[arch], "fontsize": 8}
    for down, text, style in (
        (0.2, f"{NETWORKS[arch]}: {shown}, most confident test images", TITLE),
        (0.58, textwrap.fill(said, LINE_CHARACTERS), look),
    ):
        figure.text(0.01, 1 - down / height, text, va="center", **style)
    for column, outcome in enumerate(OUTCOMES):
        x = (LEFT + (column + 0.5) * side) / WIDTH_INCHES
        y = 1 - (TOP - 0.14) / height
        figure.text(x, y, outcome, fontweight="bold", fontsize=10, **CENTRED)
    for row, part in enumerate(parts):
        y = 1 - (TOP + row * tall + CAPTION + side / 2) / height
        x = LEFT / 2 / WIDTH_INCHES
        figure.text(x, y, part, rotation=90, fontweight="bold", fontsize=9, **CENTRED)
    strongest = 0.0 if maps is None else float(np.quantile(np.abs(maps), SATURATED))
    filled = set()
    for number, example in enumerate(gallery.itertuples()):
        row, column = parts.index(example.body_part), OUTCOMES.index(example.outcome)
        filled.add((row, column))
        axis = _cell(figure, row, column, height)
        axis.imshow(pixels[number], cmap="gray", vmin=0, vmax=255)
        axis.set_title(
            f"{LABELS[example.label]}, p {example.probability:.3f}",
            fontsize=8.5,
            fontweight="normal",
            loc="center",
            pad=3,
        )
        if maps is not None:
            axis.imshow(_overlay(maps[number], strongest), interpolation="nearest")
            axis.plot(
                [example.map_x_px - 0.5], [example.map_y_px - 0.5], "+", color="white", markersize=9
            )
        if not np.isnan(example.x0):
            axis.add_patch(
                Rectangle(
                    (example.x0 - 0.5, example.y0 - 0.5),
                    example.x1 - example.x0,
                    example.y1 - example.y0,
                    fill=False,
                    edgecolor=BOX_COLOUR,
                    linestyle="--",
                    linewidth=1.2,
                )
            )
    for row in range(len(parts)):
        for column in range(len(OUTCOMES)):
            if (row, column) not in filled:
                axis = _cell(figure, row, column, height)
                axis.text(0.5, 0.5, "none", color=SOFT, transform=axis.transAxes, **CENTRED)
    _legend(figure, maps is not None, bool(gallery["x0"].notna().any()))
    return figure


def _cell(figure: Figure, row: int, column: int, height: float) -> Axes:
    side = (WIDTH_INCHES - LEFT) / len(OUTCOMES)
    bottom = height - TOP - (row + 1) * (side + CAPTION)
    axis = figure.add_axes(
        (
            (LEFT + column * side) / WIDTH_INCHES,
            bottom / height,
            (side - GAP) / WIDTH_INCHES,
            (side - GAP) / height,
        )
    )
    axis.axis("off")
    return axis


def _overlay(one: Maps, strongest: float) -> npt.NDArray[np.float64]:
    """RGBA: the colour says the sign, the opacity the strength."""
    colours = np.array([to_rgb(colour) for colour in SIGN_COLOURS])
    image = np.empty((*one.shape, 4))
    image[..., :3] = colours[(one > 0).astype(int)]
    image[..., 3] = STRONGEST * np.minimum(np.abs(one) / strongest, 1) if strongest else 0
    return image


def _legend(figure: Figure, with_maps: bool, with_boxes: bool) -> None:
    handles: list[Patch | Line2D] = []
    if with_maps:
        handles += [
            Patch(color=SIGN_COLOURS[1], label="speaks for abnormal"),
            Patch(color=SIGN_COLOURS[0], label="speaks for normal"),
            Line2D([], [], color=INK, marker="+", linestyle="", label="highest point"),
        ]
    if with_boxes:
        handles.append(
            Patch(fill=False, edgecolor=BOX_COLOUR, linestyle="--", label="what was planted")
        )
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles))
