"""Figures of the checks: non-anatomical baselines, occlusion, saliency maps."""

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

from ulna.checks.audit import VISIBLE
from ulna.evaluation import AT_CHANCE, NOTES
from ulna.evaluation.conclusions import BASELINES, OCCLUSIONS
from ulna.figures import style
from ulna.figures.style import INK, PAPER, SOFT, Look, Pixels, Scores, Tables, colour, title

Maps = npt.NDArray[np.floating]

AUROC = ("auroc", "auroc_low", "auroc_high")
CHANCE = 0.5  # the AUROC of a random classifier
TEST, TRAIN = -0.14, 0.2  # positions in a row

OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
BOX_COLOUR = "#F0E442"  # Okabe and Ito's yellow: visible on grey and on both colours of the map
# Okabe and Ito's sky blue and orange: normal, abnormal. The labels' own colours are too dark on
# black.
SIGN_COLOURS = ("#56B4E9", "#E69F00")
STRONGEST = 0.6  # highest opacity: the bone below stays visible
SATURATED = 0.99  # quantile of absolute values from which the opacity is highest
SHOWN = 6  # examples of a network, in as many pairs of a plain image and the image under its map
PAIRS = 3  # of a row
TOP, BOTTOM, CAPTION, GAP = 0.35, 0.4, 0.35, 0.12  # inches
SIDE = (style.WIDTH_INCHES - 0.2 - (PAIRS - 1) * GAP) / (2 * PAIRS)


@rc_context(style.RC_PARAMS)
def baseline_auroc(scores: pd.DataFrame, networks: Scores) -> Figure:
    """Draw the AUROC of every baseline with its interval, one row each, then of the networks.

    Args:
        scores: See `ulna.checks.shortcuts.evaluate_baselines`; NaN where undefined.
        networks: Network -> study-level auroc, auroc_low, auroc_high; None or NaN where undefined.
    """
    rows = len(scores) + len(networks)
    figure = style.new_figure(1.6 + 0.42 * rows)
    style.add_title(figure, f"Baselines on non-anatomical features (study level): {_sizes(scores)}")
    axis = figure.subplots()
    axis.axvline(CHANCE, linestyle=":", color=SOFT)
    _draw_baselines(axis, scores)
    for place, (arch, score) in enumerate(networks.items(), start=len(scores)):
        values = [np.nan if score[name] is None else score[name] for name in AUROC]
        style.draw_interval(axis, place, values, colour(arch), "D")
        style.write_beside(axis, place, style.with_interval(*values), colour(arch))
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
    style.add_note(
        figure,
        "An alarm would be a baseline with both intervals above chance; brightness alone is none.",
    )
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
        style.write_beside(axis, place, *(flagged if row["flag"] else (text, ink)))


def _sizes(scores: pd.DataFrame) -> str:
    first = scores.iloc[0]  # all rows are of the same studies
    return f"n = {first['n']:,} test studies, {first['abnormal']:,} abnormal"


def _chance() -> Line2D:
    return Line2D([], [], color=SOFT, linestyle=":", label="chance")


@rc_context(style.RC_PARAMS)
def occlusion_scores(scores: pd.DataFrame, examples: Mapping[str, Pixels]) -> Figure:
    """Draw the AUROC of each network with its interval, on whole images and on each half.

    Args:
        scores: See `ulna.checks.shortcuts.tabulate_occlusion`; NaN where undefined.
        examples: One image as it is shown, (size_px, size_px) uint8, for each key of `OCCLUSIONS`.
    """
    figure = style.new_figure(4.8)
    style.add_title(
        figure, f"Occlusion: whole images and their halves (study level): {_sizes(scores)}"
    )
    grid = figure.add_gridspec(len(OCCLUSIONS), 2, width_ratios=(1, 3))
    for place, shown in enumerate(OCCLUSIONS):
        style.show_image(figure.add_subplot(grid[place, 0]), examples[shown])
    axis = figure.add_subplot(grid[:, 1])
    axis.axvline(CHANCE, linestyle=":", color=SOFT)
    tables = {str(name): t.set_index("shown") for name, t in scores.groupby("network", sort=False)}
    rows = list(OCCLUSIONS)
    style.draw_rows(axis, rows, tables, "auroc", _write_auroc)
    names = [name.replace(" (", "\n(") for name in OCCLUSIONS.values()]
    axis.set_yticks(range(len(rows)), names)
    left = min([0.2, *(scores["auroc_low"].dropna() - 0.02)])
    axis.set(xlim=(left, 1.02), xlabel="AUROC")
    handles = [*style.network_key(tables), _chance()]
    axis.legend(handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1))
    style.add_note(
        figure, "Border: edges and corners, with the same area as the centre. Lines: 95% intervals."
    )
    return figure


def _write_auroc(row: Mapping[str, Any]) -> str:
    values = [row[name] for name in AUROC]
    return "too few" if np.isnan(values[0]) else style.with_interval(*values)


@rc_context(style.SHEET)
def saliency_gallery(arch: str, examples: pd.DataFrame, pixels: Pixels, maps: Maps) -> Figure:
    """Show images in pairs: the plain image, then the same image under its map.

    The same opacity is the same strength in all images.

    Args:
        arch: The network.
        examples: See `choose_examples`; also map_x_px and map_y_px, the maximum of the map, and x0,
            y0, x1, y1, the ground-truth box: NaN where there is none. In pixels of the square.
        pixels: The cached images in the same order, (images, size_px, size_px) uint8.
        maps: Their maps, signed towards abnormal, of the same shape.
    """
    rows = -(-len(examples) // PAIRS)
    tall = SIDE + CAPTION
    figure = style.new_figure(TOP + rows * tall + BOTTOM)
    heading = f"{title(arch)}: class activation maps of test images"
    style.add_text(figure, 0.1, 0.2, heading, va="center", fontsize=11, fontweight="bold")
    shown = zip(examples.itertuples(), pixels, _overlays(maps), strict=True)
    for order, (example, image, overlay) in enumerate(shown):
        x = 0.1 + order % PAIRS * (2 * SIDE + GAP)
        y = TOP + order // PAIRS * tall
        caption = f"{example.body_part}: {example.outcome}, p {example.probability:.2f}"
        style.add_text(figure, x, y + CAPTION - 0.14, caption, va="center", fontsize=8.5)
        for place, above in enumerate((None, overlay)):
            axis = style.add_cell(figure, x + place * SIDE, y + CAPTION, SIDE - 0.03)
            _draw_example(axis, example, image, above)
    handles = _gallery_key(bool(examples["x0"].notna().any()))
    figure.legend(handles=handles, loc="lower left", ncols=len(handles))
    return figure


def choose_examples(gallery: pd.DataFrame) -> pd.DataFrame:
    """Choose up to `SHOWN` images of `ulna.evaluation.localization.choose_gallery`.

    The outcomes take turns, each with its most confident images first.
    """
    confidence = (gallery["probability"] - 0.5).abs()
    ranked = gallery.assign(below=-confidence).sort_values(["below", "image"], kind="stable")
    turn = ranked.groupby("outcome").cumcount()
    order = ranked["outcome"].map(list(OUTCOMES).index)
    chosen = ranked.assign(turn=turn, order=order).sort_values(["turn", "order"]).head(SHOWN)
    return chosen.sort_values(["order", "turn"]).drop(columns=["below", "turn", "order"])


def _draw_example(axis: Axes, example: Any, pixels: Pixels, overlay: Maps | None) -> None:
    style.show_image(axis, pixels)
    # A pixel's centre is at whole numbers on the axes, at halves in the table.
    if overlay is not None:
        axis.imshow(overlay, interpolation="nearest")
        maximum = ([example.map_x_px - 0.5], [example.map_y_px - 0.5])
        axis.plot(*maximum, "+", color=style.ON_DARK, markersize=9)
    if not np.isnan(example.x0):
        size = (example.x1 - example.x0, example.y1 - example.y0)
        axis.add_patch(_box((example.x0 - 0.5, example.y0 - 0.5), *size))


def _gallery_key(boxes: bool) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = [
        Patch(color=SIGN_COLOURS[1], label="evidence for abnormal"),
        Patch(color=SIGN_COLOURS[0], label="evidence for normal"),
        Line2D([], [], color=INK, marker="+", linestyle="", label="maximum"),
    ]
    return handles + [_box((0, 0), 1, 1, label="ground-truth box")] * boxes


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
    figures = {
        "baselines": baseline_auroc(tables["baselines"], scores),
        "occlusion": occlusion_scores(tables["occlusion"], occluded),
    }
    audit = tables["audit"]
    flagged = audit["image"][audit["finding"].isin(VISIBLE)]
    for arch, (gallery, maps) in galleries.items():
        # A network at chance has nothing to show, nor have maps that hardly depend on its weights.
        if maps is not None and scores[arch]["conclusion"] not in AT_CHANCE:
            # A blank image, or one that is cut off, says nothing of the network.
            examples = choose_examples(gallery[~gallery["image"].isin(flagged)])
            shown = maps[examples.index]
            drawn = saliency_gallery(arch, examples, pixels_of(examples), shown)
            figures[f"{arch}/saliency"] = drawn
    return figures
