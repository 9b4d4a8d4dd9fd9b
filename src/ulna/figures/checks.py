"""Figures of the checks: non-anatomical baselines, occlusion, saliency maps."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
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

from ulna.evaluation import conclusions
from ulna.evaluation.conclusions import BASELINES, NOTES, OCCLUSIONS
from ulna.figures import style
from ulna.figures.style import INK, PAPER, SOFT, Look, Pixels, Scores, Tables, colour, title

Maps = npt.NDArray[np.floating]

LINE_CHARACTERS = 145  # of a note, across the figure
AUROC = ("auroc", "auroc_low", "auroc_high")
CHANCE = 0.5  # the AUROC of a random classifier
TEST, TRAIN = -0.14, 0.2  # positions in a row
# Label of the axis, chance level, start of the axis.
PANELS = {"auroc": ("AUROC", CHANCE, 0.2), "kappa": ("Cohen's kappa", 0.0, -0.4)}

OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
BOX_COLOUR = "#F0E442"  # Okabe and Ito's yellow: visible on grey and on both colours of the map
# Okabe and Ito's sky blue and orange: normal, abnormal. The labels' own colours are too dark on
# black.
SIGN_COLOURS = ("#56B4E9", "#E69F00")
STRONGEST = 0.6  # highest opacity: the bone below stays visible
SATURATED = 0.99  # quantile of absolute values from which the opacity is highest
LEFT, TOP, BOTTOM, CAPTION, GAP = 0.35, 1.15, 0.62, 0.22, 0.05  # inches
SIDE = (style.WIDTH_INCHES - LEFT) / len(OUTCOMES)


@rc_context(style.RC_PARAMS)
def baseline_auroc(scores: pd.DataFrame, networks: Scores, conclusion: str) -> Figure:
    """Draw the AUROC of every baseline with its interval, one row each, then of the networks.

    Args:
        scores: See `ulna.checks.shortcuts.evaluate_baselines`; NaN where undefined.
        networks: Network -> study-level auroc, auroc_low, auroc_high; None or NaN where undefined.
        conclusion: The sentence under the figure.
    """
    rows = len(scores) + len(networks)
    alarm = "Alarm: both intervals of a baseline lie above chance; brightness alone raises none."
    note = _lines(alarm, conclusion)
    figure = style.new_figure(1.6 + 0.42 * rows + 0.16 * note.count("\n"))
    style.add_title(figure, f"Baselines on non-anatomical features (study level): {_sizes(scores)}")
    axis = figure.subplots()
    axis.axvline(CHANCE, linestyle=":", color=SOFT)
    _draw_baselines(axis, scores)
    for place, (arch, score) in enumerate(networks.items(), start=len(scores)):
        values = [np.nan if score[name] is None else score[name] for name in AUROC]
        style.draw_interval(axis, place, values, colour(arch), "D")
        _write_beside(axis, place, style.with_interval(*values), colour(arch))
    axis.axhline(len(scores) - 0.5, color=SOFT, linewidth=0.8)
    titles = [BASELINES[name] for name in scores["baseline"]]
    axis.set_yticks(range(rows), [*titles, *map(title, networks)])
    style.bare(axis, "y")
    for place in range(1, len(scores)):
        axis.axhline(place - 0.5, color=style.FAINT, linewidth=0.8)
    axis.set(xlim=(-0.02, 1.02), ylim=(rows - 0.4, -0.6), xlabel="AUROC (lines: 95% intervals)")
    key = {"baseline, test": ("o", SOFT), "baseline, train (cross-validated)": ("s", PAPER)}
    handles = [
        Line2D([], [], color=SOFT, marker=shape, markersize=5, markerfacecolor=face, label=label)
        for label, (shape, face) in {**key, "network, test": ("D", SOFT)}.items()
    ]
    axis.legend(handles=[*handles, _chance()], loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    style.add_note(figure, note)
    return figure


def _draw_baselines(axis: Axes, scores: pd.DataFrame) -> None:
    for place, row in enumerate(scores.to_dict("records")):
        ink = INK if row["flag"] else SOFT
        values, train = ([row[f"{split}{name}"] for name in AUROC] for split in ("", "train_"))
        style.draw_interval(axis, place + TEST, values, ink, "o")
        style.draw_interval(axis, place + TRAIN, train, SOFT, "s", PAPER, 1.2)
        # A CSV that is read back has NaN for an empty note.
        text = NOTES.get(row["note"]) or style.with_interval(*values)
        flagged = (f"{text}  alarm", ink, "bold")
        _write_beside(axis, place, *(flagged if row["flag"] else (text, ink)))


def _write_beside(axis: Axes, place: float, text: str, ink: str, weight: str = "normal") -> None:
    look = {"va": "center", "fontsize": 8, "color": ink, "fontweight": weight}
    style.annotate(axis, text, (1, place), (6, 0), xycoords=axis.get_yaxis_transform(), **look)


def _sizes(scores: pd.DataFrame) -> str:
    first = scores.iloc[0]  # all rows are of the same studies
    return f"n = {first['n']:,} test studies, {first['abnormal']:,} abnormal"


def _chance() -> Line2D:
    return Line2D([], [], color=SOFT, linestyle=":", label="chance")


@rc_context(style.RC_PARAMS)
def occlusion_scores(
    scores: pd.DataFrame, examples: Mapping[str, Pixels], conclusion: str
) -> Figure:
    """Draw AUROC and kappa of each network with intervals, on whole images and on each half.

    Args:
        scores: See `ulna.checks.shortcuts.tabulate_occlusion`; NaN where undefined.
        examples: One image as it is shown, (size_px, size_px) uint8, for each key of `OCCLUSIONS`.
        conclusion: The sentence under the figure.
    """
    key = "Border: edges and corners, with the same area as the centre. Lines: 95% intervals."
    note = _lines(key, conclusion)
    figure = style.new_figure(5.6 + 0.16 * note.count("\n"))
    style.add_title(
        figure, f"Occlusion: whole images and their halves (study level): {_sizes(scores)}"
    )
    grid = figure.add_gridspec(len(OCCLUSIONS), 3, width_ratios=(1.3, 2, 2))
    for place, (shown, name) in enumerate(OCCLUSIONS.items()):
        axis = figure.add_subplot(grid[place, 0])
        style.show_image(axis, examples[shown])
        axis.set_title(name.replace(" (", "\n("), fontsize=8.5, fontweight="normal", loc="center")
    for column, metric in enumerate(PANELS, start=1):
        axis = figure.add_subplot(grid[:, column])
        _draw_occlusion(axis, scores, metric)
        if column == 1:
            handles = [*style.network_key(scores["network"].unique()), _chance()]
            look: Look = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            # Wider than its axes: in the layout it would shrink the neighbour.
            axis.legend(handles=handles, ncols=len(handles), **look).set_in_layout(False)
    style.add_note(figure, note)
    return figure


def _lines(first: str, conclusion: str) -> str:
    return "\n".join([first, *textwrap.wrap(conclusion, LINE_CHARACTERS)])


def _draw_occlusion(axis: Axes, scores: pd.DataFrame, metric: str) -> None:
    name, chance, start = PANELS[metric]
    axis.axvline(chance, linestyle=":", color=SOFT)
    networks = list(scores["network"].unique())
    for row in scores.to_dict("records"):
        network = row["network"]
        # The networks of a row are drawn in parallel.
        offset = 0.8 * ((networks.index(network) + 0.5) / len(networks) - 0.5)
        place = list(OCCLUSIONS).index(row["shown"]) + offset
        values = [row[f"{metric}{end}"] for end in ("", "_low", "_high")]
        style.draw_interval(axis, place, values, colour(network), style.marker(network))
        text = "too few" if np.isnan(values[0]) else style.with_interval(*values)
        look = {"ha": "right", "fontsize": 8, "color": colour(network)}
        style.annotate(axis, text, (1, place), (0, 5), xycoords=axis.get_yaxis_transform(), **look)
    for place in range(1, len(OCCLUSIONS)):
        axis.axhline(place - 0.5, color=style.FAINT, linewidth=0.8)
    left = min([start, *(scores[f"{metric}_low"].dropna() - 0.02)])
    axis.set(xlim=(left, 1.02), ylim=(len(OCCLUSIONS) - 0.5, -0.5), yticks=[], xlabel=name)
    axis.grid(axis="y", visible=False)


@rc_context(style.SHEET)
def saliency_gallery(
    arch: str, gallery: pd.DataFrame, pixels: Pixels, maps: Maps | None, conclusion: str
) -> Figure:
    """Show the most confident image of each body part (row) and outcome (column) under its map.

    The same opacity is the same strength in all images.

    Args:
        arch: The network.
        gallery: See `ulna.evaluation.localization.choose_gallery`; also map_x_px and map_y_px, the
            maximum of the map, and x0, y0, x1, y1, the ground-truth box: NaN where there is none.
            All in pixels of the square.
        pixels: The cached images in the same order, (images, size_px, size_px) uint8.
        maps: Their maps, signed towards abnormal, of the same shape; None where they failed the
            randomization test: then none is shown.
        conclusion: The line under the title.
    """
    parts = sorted(gallery["body_part"].unique())
    tall = SIDE + CAPTION
    figure = style.new_figure(TOP + len(parts) * tall + BOTTOM)
    shown = "class activation maps" if maps is not None else "maps are not shown"
    bold = {"fontweight": "bold"}
    heading = f"{title(arch)}: {shown}, most confident test images"
    style.add_text(figure, 0.1, 0.2, heading, va="center", fontsize=11, **bold)
    look = {"color": colour(arch), "fontsize": 8, "va": "center"}
    style.add_text(figure, 0.1, 0.58, textwrap.fill(conclusion, 130), **look)
    for column, name in enumerate(OUTCOMES):
        x = LEFT + (column + 0.5) * SIDE
        style.add_text(figure, x, TOP - 0.14, name, fontsize=10, **bold, **style.CENTRED)
    for row, part in enumerate(parts):
        y = TOP + row * tall + CAPTION + SIDE / 2
        style.add_text(figure, LEFT / 2, y, part, rotation=90, fontsize=9, **bold, **style.CENTRED)
    overlays = [None] * len(gallery) if maps is None else _overlays(maps)
    cells = {
        (part, name): style.add_cell(figure, LEFT + x * SIDE, TOP + y * tall + CAPTION, SIDE - GAP)
        for y, part in enumerate(parts)
        for x, name in enumerate(OUTCOMES)
    }
    for example, image, overlay in zip(gallery.itertuples(), pixels, overlays, strict=True):
        axis = cells.pop((example.body_part, example.outcome))
        _draw_example(axis, example, image, overlay)
    for axis in cells.values():
        axis.text(0.5, 0.5, "none", color=SOFT, transform=axis.transAxes, **style.CENTRED)
    handles = _gallery_key(maps is not None, bool(gallery["x0"].notna().any()))
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles))
    return figure


def _draw_example(axis: Axes, example: Any, pixels: Pixels, overlay: Maps | None) -> None:
    style.show_image(axis, pixels)
    caption = f"{style.LABELS[example.label]}, p {example.probability:.3f}"
    axis.set_title(caption, fontsize=8.5, fontweight="normal", loc="center", pad=3)
    # A pixel's centre is at whole numbers on the axes, at halves in the table.
    if overlay is not None:
        axis.imshow(overlay, interpolation="nearest")
        maximum = ([example.map_x_px - 0.5], [example.map_y_px - 0.5])
        axis.plot(*maximum, "+", color=style.ON_DARK, markersize=9)
    if not np.isnan(example.x0):
        size = (example.x1 - example.x0, example.y1 - example.y0)
        axis.add_patch(_box((example.x0 - 0.5, example.y0 - 0.5), *size))


def _gallery_key(maps: bool, boxes: bool) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = []
    if maps:
        handles += [
            Patch(color=SIGN_COLOURS[1], label="evidence for abnormal"),
            Patch(color=SIGN_COLOURS[0], label="evidence for normal"),
            Line2D([], [], color=INK, marker="+", linestyle="", label="maximum"),
        ]
    if boxes:
        handles.append(_box((0, 0), 1, 1, label="ground-truth box"))
    return handles


def _box(corner: tuple[float, float], width: float, height: float, label: str = "") -> Rectangle:
    look: Look = {"fill": False, "edgecolor": BOX_COLOUR, "linestyle": "--", "linewidth": 1.2}
    return Rectangle(corner, width, height, label=label, **look)


def _overlays(maps: Maps) -> npt.NDArray[np.float64]:
    """RGBA: the colour is the sign, the opacity the strength, on one scale for all maps."""
    strongest = np.quantile(np.abs(maps), SATURATED)
    colours = np.array([to_rgb(sign) for sign in SIGN_COLOURS])
    images = np.empty((*maps.shape, 4))
    images[..., :3] = colours[(maps > 0).astype(int)]
    images[..., 3] = STRONGEST * np.minimum(np.abs(maps) / strongest, 1) if strongest else 0
    return images


def draw(
    networks: Sequence[str],
    tables: Tables,
    metrics: Mapping[str, Any],
    occluded: Mapping[str, Pixels],
    galleries: Mapping[str, tuple[pd.DataFrame, Maps | None]],
    pixels_of: Callable[[pd.DataFrame], Pixels],
) -> dict[str, Figure]:
    """Draw all figures of this module; `occluded` is the example of `occlusion_scores`."""
    scores = {arch: metrics[arch]["study"] for arch in networks}
    baselines = conclusions.baselines(metrics["baselines"])
    occlusion = conclusions.occlusion(metrics["occlusion"])
    figures = {
        "baselines": baseline_auroc(tables["baselines"], scores, baselines),
        "occlusion": occlusion_scores(tables["occlusion"], occluded, occlusion),
    }
    for arch, (gallery, maps) in galleries.items():
        test = conclusions.randomization(metrics[f"explain_{arch}"]["randomization"], arch)
        pixels = pixels_of(gallery)
        figures[f"{arch}/saliency"] = saliency_gallery(arch, gallery, pixels, maps, test)
    return figures
