"""Figures of the checks: baselines without a look at bone, images in halves, saliency maps."""

import textwrap
from collections.abc import Mapping, Sequence
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

from ulna.checks.shortcuts import AUROC, CHANCE, SHOWN, occlusion_example
from ulna.data import Cache, Fit
from ulna.evaluation import conclusions
from ulna.evaluation.conclusions import BASELINES, NOTES
from ulna.evaluation.localization import OUTCOMES
from ulna.figures.style import (
    CENTRED,
    FAINT,
    INK,
    LABELS,
    ON_DARK,
    PAPER,
    RC_PARAMS,
    SHEET,
    SOFT,
    WIDTH_INCHES,
    Look,
    Pixels,
    add_cell,
    add_note,
    add_text,
    add_title,
    annotate,
    bare,
    colour,
    draw_interval,
    marker,
    network_key,
    new_figure,
    show_image,
    title,
    with_interval,
)

Maps = npt.NDArray[np.floating]

LINE_CHARACTERS = 145  # of a note, across the figure
TEST, TRAIN = -0.14, 0.2  # places in a row
# A metric's name on its axis, what chance gives, where the axis begins.
HALVES = {"auroc": ("AUROC", CHANCE, 0.2), "kappa": ("Cohen's kappa", 0.0, -0.4)}

BOX_COLOUR = "#F0E442"  # Okabe and Ito's yellow: on grey as on both colours of the map
# Okabe and Ito's sky blue and orange: normal, abnormal. The labels' own colours are too dark to be
# seen on black.
SIGN_COLOURS = ("#56B4E9", "#E69F00")
STRONGEST = 0.6  # highest opacity: the bone below stays visible
SATURATED = 0.99  # quantile of absolute values from which the opacity is highest
LEFT, TOP, BOTTOM, CAPTION, GAP = 0.35, 1.15, 0.62, 0.22, 0.05  # inches
SIDE = (WIDTH_INCHES - LEFT) / len(OUTCOMES)


@rc_context(RC_PARAMS)
def dots_and_intervals(
    scores: pd.DataFrame, networks: Mapping[str, Mapping[str, Any]], verdict: str
) -> Figure:
    """Draw the AUROC of every baseline with its interval, over those of the networks.

    Args:
        scores: See `ulna.checks.shortcuts.evaluate_baselines`; NaN where undefined.
        networks: A network's study-level numbers: auroc, auroc_low, auroc_high; None or NaN where
            undefined.
        verdict: See `ulna.evaluation.conclusions.baselines`; it is set under the figure.

    Returns:
        A figure with one axes, a row a baseline, then a row a network.
    """
    rows = len(scores) + len(networks)
    alarm = "An alarm: both lines of a baseline lie above chance. Brightness alone raises none."
    note = _lines(alarm, verdict)
    figure = new_figure(1.6 + 0.42 * rows + 0.16 * note.count("\n"))
    add_title(figure, f"Baselines without a look at bone (study level): {_sizes(scores)}")
    axis = figure.subplots()
    axis.axvline(CHANCE, linestyle=":", color=SOFT)

    def write(place: float, words: str, ink: str, weight: str = "normal") -> None:
        look = {"va": "center", "fontsize": 8, "color": ink, "fontweight": weight}
        annotate(axis, words, (1, place), (6, 0), xycoords=axis.get_yaxis_transform(), **look)

    for place, row in enumerate(scores.to_dict("records")):
        ink = INK if row["flag"] else SOFT
        draw_interval(axis, place + TEST, [row[name] for name in AUROC], ink, "o")
        train = [row[f"train_{name}"] for name in AUROC]
        draw_interval(axis, place + TRAIN, train, SOFT, "s", PAPER, 1.2)
        # A table that is read back has NaN for no note.
        words = NOTES.get(row["note"]) or with_interval(*(row[name] for name in AUROC))
        if row["flag"]:
            write(place, f"{words}  alarm", ink, "bold")
        else:
            write(place, words, ink)
    for place, (arch, found) in enumerate(networks.items(), start=len(scores)):
        values = [np.nan if found[name] is None else found[name] for name in AUROC]
        draw_interval(axis, place, values, colour(arch), "D")
        write(place, with_interval(*values), colour(arch))
    axis.axhline(len(scores) - 0.5, color=SOFT, linewidth=0.8)
    titles = [BASELINES[name] for name in scores["baseline"]]
    axis.set_yticks(range(rows), [*titles, *map(title, networks)])
    bare(axis, "y")
    for place in range(1, len(scores)):
        axis.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    axis.set(xlim=(-0.02, 1.02), ylim=(rows - 0.4, -0.6), xlabel="AUROC (lines: 95% intervals)")
    key = [
        Line2D([], [], color=SOFT, marker=shape, markersize=5, markerfacecolor=face, label=label)
        for shape, face, label in (
            ("o", SOFT, "baseline, test"),
            ("s", PAPER, "baseline, train (cross-validated)"),
            ("D", SOFT, "network, test"),
        )
    ]
    key.append(_chance())
    axis.legend(handles=key, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    add_note(figure, note)
    return figure


def _sizes(scores: pd.DataFrame) -> str:
    first = scores.iloc[0]  # all are of the same studies
    return f"n = {first['n']:,} test studies, {first['abnormal']:,} abnormal"


def _chance() -> Line2D:
    return Line2D([], [], color=SOFT, linestyle=":", label="chance")


@rc_context(RC_PARAMS)
def halves(scores: pd.DataFrame, pictures: Mapping[str, Pixels], verdict: str) -> Figure:
    """Draw AUROC and kappa of each network, of whole images and of each half, with intervals.

    Args:
        scores: See `ulna.checks.shortcuts.tabulate_occlusion`; NaN where undefined.
        pictures: One image as it is shown, for each name of `ulna.checks.shortcuts.SHOWN`,
            (size_px, size_px) uint8.
        verdict: See `ulna.evaluation.conclusions.occlusion`; it is set under the figure.

    Returns:
        A figure with an image for each name of SHOWN, above one another, then two axes.
    """
    key = "Border: edges and corners, as large in area as the centre. Lines: 95% intervals."
    note = _lines(key, verdict)
    figure = new_figure(5.6 + 0.16 * note.count("\n"))
    add_title(figure, f"Whole images and halves of them (study level): {_sizes(scores)}")
    grid = figure.add_gridspec(len(SHOWN), 3, width_ratios=(1.3, 2, 2))
    for place, (shown, words) in enumerate(SHOWN.items()):
        axis = figure.add_subplot(grid[place, 0])
        show_image(axis, pictures[shown])
        axis.set_title(words.replace(" (", "\n("), fontsize=8.5, fontweight="normal", loc="center")
    for column, metric in enumerate(HALVES, start=1):
        axis = figure.add_subplot(grid[:, column])
        _draw_halves(axis, scores, metric)
        if column == 1:
            handles = [*network_key(scores["network"].unique()), _chance()]
            look: Look = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            # It may reach over the axes beside it, whose place it must not take.
            axis.legend(handles=handles, ncols=len(handles), **look).set_in_layout(False)
    add_note(figure, note)
    return figure


def _lines(first: str, verdict: str) -> str:
    return "\n".join([first, *textwrap.wrap(verdict, LINE_CHARACTERS)])


def _draw_halves(axis: Axes, scores: pd.DataFrame, metric: str) -> None:
    name, chance, start = HALVES[metric]
    axis.axvline(chance, linestyle=":", color=SOFT)
    networks = list(scores["network"].unique())
    for row in scores.to_dict("records"):
        network = row["network"]
        # Side by side about the row's place.
        beside = 0.8 * ((networks.index(network) + 0.5) / len(networks) - 0.5)
        place = list(SHOWN).index(row["shown"]) + beside
        values = [row[f"{metric}{end}"] for end in ("", "_low", "_high")]
        draw_interval(axis, place, values, colour(network), marker(network))
        words = "too few" if np.isnan(values[0]) else with_interval(*values)
        look = {"ha": "right", "fontsize": 8, "color": colour(network)}
        annotate(axis, words, (1, place), (0, 5), xycoords=axis.get_yaxis_transform(), **look)
    for place in range(1, len(SHOWN)):
        axis.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    left = min([start, *(scores[f"{metric}_low"].dropna() - 0.02)])
    axis.set(xlim=(left, 1.02), ylim=(len(SHOWN) - 0.5, -0.5), yticks=[], xlabel=name)
    axis.grid(axis="y", visible=False)


@rc_context(SHEET)
def saliency_gallery(
    arch: str, gallery: pd.DataFrame, pixels: Pixels, maps: Maps | None, verdict: str
) -> Figure:
    """Show the most confident image of each body part and outcome under its map.

    Args:
        arch: The network.
        gallery: See `ulna.evaluation.localization.choose_gallery`; also map_x_px and map_y_px, the highest
            point of the map, and x0, y0, x1, y1, the ground-truth box: NaN where there is
            none. All in pixels of the square.
        pixels: The cached images in the same order, (images, size_px, size_px) uint8.
        maps: Their maps, signed towards abnormal, of the same shape; None where they failed the
            randomization test: then none is shown.
        verdict: See `ulna.evaluation.conclusions.randomization`, for the line under the title.

    Returns:
        A figure with one axes an image: a row a body part, a column an outcome. One opacity stands
        for the same strength in all images.
    """
    parts = sorted(gallery["body_part"].unique())
    tall = SIDE + CAPTION
    figure = new_figure(TOP + len(parts) * tall + BOTTOM)
    shown = "class activation maps" if maps is not None else "maps are not shown"
    bold = {"fontweight": "bold"}
    for y, text, look in (
        (0.2, f"{title(arch)}: {shown}, most confident test images", {"fontsize": 11} | bold),
        (0.58, textwrap.fill(verdict, 130), {"color": colour(arch), "fontsize": 8}),
    ):
        add_text(figure, 0.1, y, text, va="center", **look)
    for column, name in enumerate(OUTCOMES):
        x = LEFT + (column + 0.5) * SIDE
        add_text(figure, x, TOP - 0.14, name, fontsize=10, **bold, **CENTRED)
    for row, part in enumerate(parts):
        y = TOP + row * tall + CAPTION + SIDE / 2
        add_text(figure, LEFT / 2, y, part, rotation=90, fontsize=9, **bold, **CENTRED)
    strongest = 0.0 if maps is None else float(np.quantile(np.abs(maps), SATURATED))
    cells = {
        (row, column): add_cell(
            figure, LEFT + column * SIDE, TOP + row * tall + CAPTION, SIDE - GAP
        )
        for row in range(len(parts))
        for column in range(len(OUTCOMES))
    }
    for order, example in enumerate(gallery.itertuples()):
        axis = cells.pop((parts.index(example.body_part), OUTCOMES.index(example.outcome)))
        show_image(axis, pixels[order])
        words = f"{LABELS[example.label]}, p {example.probability:.3f}"
        axis.set_title(words, fontsize=8.5, fontweight="normal", loc="center", pad=3)
        if maps is not None:
            axis.imshow(_overlay(maps[order], strongest), interpolation="nearest")
            highest = ([example.map_x_px - 0.5], [example.map_y_px - 0.5])
            axis.plot(*highest, "+", color=ON_DARK, markersize=9)
        if not np.isnan(example.x0):
            size = (example.x1 - example.x0, example.y1 - example.y0)
            axis.add_patch(_box((example.x0 - 0.5, example.y0 - 0.5), *size))
    for axis in cells.values():
        axis.text(0.5, 0.5, "none", color=SOFT, transform=axis.transAxes, **CENTRED)
    handles: list[Patch | Line2D] = []
    if maps is not None:
        handles += [
            Patch(color=SIGN_COLOURS[1], label="speaks for abnormal"),
            Patch(color=SIGN_COLOURS[0], label="speaks for normal"),
            Line2D([], [], color=INK, marker="+", linestyle="", label="highest point"),
        ]
    if gallery["x0"].notna().any():
        handles.append(_box((0, 0), 1, 1, label="ground-truth box"))
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles))
    return figure


def _box(corner: tuple[float, float], width: float, height: float, label: str = "") -> Rectangle:
    look: Look = {"fill": False, "edgecolor": BOX_COLOUR, "linestyle": "--", "linewidth": 1.2}
    return Rectangle(corner, width, height, label=label, **look)


def _overlay(one: Maps, strongest: float) -> npt.NDArray[np.float64]:
    """RGBA: the colour says the sign, the opacity the strength."""
    colours = np.array([to_rgb(sign) for sign in SIGN_COLOURS])
    image = np.empty((*one.shape, 4))
    image[..., :3] = colours[(one > 0).astype(int)]
    image[..., 3] = STRONGEST * np.minimum(np.abs(one) / strongest, 1) if strongest else 0
    return image


def draw(
    networks: Sequence[str],
    rows: pd.DataFrame,
    cache: Cache,
    fit: Fit,
    tables: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, Any],
    galleries: Mapping[str, tuple[pd.DataFrame, Maps | None]],
) -> dict[str, Figure]:
    """Draw all figures of this module.

    Args:
        networks: Their names, in the order of the figures.
        rows: One row an image, see `ulna.data.samples.join_samples`.
        cache: The cached images.
        fit: How they were made square.
        tables: The files of `plots/tables` by name.
        metrics: The files of `metrics` by name.
        galleries: See `ulna.evaluation.localization.read_gallery`.

    Returns:
        Figures by name.
    """
    sizes = cache.images[["image", "width_px", "height_px"]]
    test = rows[rows["split"] == "test"].merge(sizes, on="image")
    example = occlusion_example(test, cache.arrays, fit)
    scores = {arch: metrics[arch]["study"] for arch in networks}
    drawn = {
        "baselines": dots_and_intervals(
            tables["baselines"], scores, conclusions.baselines(metrics["baselines"])
        ),
        "occlusion": halves(
            tables["occlusion"], example, conclusions.occlusion(metrics["occlusion"])
        ),
    }
    for arch, (gallery, maps) in galleries.items():
        said = conclusions.randomization(metrics[f"explain_{arch}"]["randomization"], arch)
        pixels = cache.gather_samples(gallery)
        drawn[f"{arch}/saliency"] = saliency_gallery(arch, gallery, pixels, maps, said)
    return drawn
