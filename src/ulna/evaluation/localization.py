"""Do class activation maps point at findings? Boxes in the cached square, hits, energy, chance."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError
from ulna.core.io import atomic_directory, read_table, write_csv
from ulna.core.params import Evaluate
from ulna.data.annotations import BOX
from ulna.data.cache import Cache, gather_samples
from ulna.data.images import Fit, Pixels, content_box
from ulna.evaluation.bootstrap import (
    Replicates,
    bootstrap_weights,
    percentile_ci,
    zero_event_upper_bound,
)

Floats = npt.NDArray[np.float64]

CONTENT_BOX = ["left", "top", "right", "bottom"]
# Zhang et al. take 15 pixels on pictures about 500 pixels wide.
TOLERANCE_FRACTION = 0.03
# What needs no network: a point anywhere on the picture, the map of another image, bright spots.
CHANCES = ("chance_even", "chance_other_maps", "chance_brightness")


def content_boxes(
    width_px: npt.ArrayLike, height_px: npt.ArrayLike, size_px: int, fit: Fit
) -> Floats:
    """Where images lie in the square, see `ulna.data.images.content_box`.

    Args:
        width_px: (n,) width of the original images.
        height_px: (n,) their height.
        size_px: Side of the square.
        fit: pad or stretch.

    Returns:
        (n, 4): left, top, right, bottom.

    Example:
        >>> place([400], [200], 96, "pad").tolist()
        [[0.0, 24.0, 96.0, 72.0]]
    """
    sides = zip(np.asarray(width_px).tolist(), np.asarray(height_px).tolist(), strict=True)
    boxes = [content_box(width, height, size_px, fit) for width, height in sides]
    return np.array(boxes, np.float64).reshape(-1, 4)


def to_square(
    boxes: npt.ArrayLike, width_px: npt.ArrayLike, height_px: npt.ArrayLike, size_px: int, fit: Fit
) -> Floats:
    """Move boxes from pixels of the original images to the cached square.

    Args:
        boxes: (n, 4) x0, y0, x1, y1; NaN stays NaN.
        width_px: (n,) width of the original images.
        height_px: (n,) their height.
        size_px: Side of the square.
        fit: pad or stretch.

    Returns:
        (n, 4) in the square.

    Example:
        >>> to_square([[100, 50, 200, 100]], [400], [200], 96, "pad").tolist()
        [[24.0, 36.0, 48.0, 48.0]]
    """
    where = content_boxes(width_px, height_px, size_px, fit)
    sides = np.stack([np.asarray(width_px), np.asarray(height_px)], axis=1)
    scale = (where[:, 2:] - where[:, :2]) / sides
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    moved: Floats = corners * scale[:, None] + where[:, None, :2]
    return moved.reshape(-1, 4)


def map_maxima(maps: npt.NDArray[np.floating], size_px: int) -> Floats:
    """Where maps are highest.

    Bilinear interpolation never exceeds the values that it runs between, so the highest point of an
    upsampled map is the centre of a cell; near the border it is a plateau, whose first pixel would
    be a corner. Of equal cells the first counts.

    Args:
        maps: (n, rows, columns), before they are upsampled.
        size_px: Side of the square that the cells cover.

    Returns:
        (n, 2): x, y.

    Example:
        >>> maxima(np.array([[[0.0, 1.0], [0.0, 0.0]]]), 96).tolist()
        [[72.0, 24.0]]
    """
    count, rows, columns = maps.shape
    y, x = np.divmod(maps.reshape(count, -1).argmax(axis=1), columns)
    return np.stack([(x + 0.5) * size_px / columns, (y + 0.5) * size_px / rows], axis=1)


def with_peaks(images: pd.DataFrame, maps: npt.NDArray[np.floating], size_px: int) -> pd.DataFrame:
    """Add map_x_px and map_y_px, the highest point of each image's map, see `map_maxima`."""
    x, y = map_maxima(maps, size_px).T
    return images.assign(map_x_px=x, map_y_px=y)


def localise(
    images: pd.DataFrame,
    pixels: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.floating],
    cells: int,
    evaluate: Evaluate,
    seed: int,
) -> dict[str, object]:
    """Judge whether maps point at what was planted.

    Args:
        images: One row an image with a finding: see `score_maps`; also patient, probability,
            threshold.
        pixels: See `score_maps`.
        maps: See `score_maps`.
        cells: See `score_maps`.
        evaluate: Draws of the intervals, and the fewest patients that get a number.
        seed: Of the draws.

    Returns:
        `score_maps` of all images (abnormal) and of those called abnormal.
    """
    replicates = bootstrap_weights(images["patient"], evaluate.bootstrap_replicates, seed)
    called = (images["probability"] > images["threshold"]).to_numpy()
    return {
        name: score_maps(
            images[rows], maps[rows], pixels[rows], cells, replicates, evaluate.min_patients
        )
        for name, rows in (("abnormal", called | True), ("predicted_positive", called))
    }


def mean_cells(pixels: npt.NDArray[np.uint8], cells: int) -> Floats:
    """The mean grey level of each cell: (n, size_px, size_px) -> (n, cells, cells).

    Example:
        >>> shrink(np.array([[[0, 2], [4, 6]]], np.uint8), 1).tolist()
        [[[3.0]]]
    """
    start = np.arange(cells) * pixels.shape[1] // cells
    sizes = np.diff(start, append=pixels.shape[1])
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), start, 1), start, 2)
    means: Floats = sums / np.outer(sizes, sizes)
    return means


def pointing_game(
    points: Floats, boxes: Floats, pictures: Floats, size_px: int
) -> tuple[Floats, Floats, Floats]:
    """Is the highest point of a map in the box, or at most 3% of the side beside it?

    Args:
        points: (n, 2) x, y, see `map_maxima`.
        boxes: (n, 4) in the square.
        pictures: (n, 4), the square without its padding, see `content_boxes`.
        size_px: Side of the square.

    Returns:
        Hits, 0 or 1; the chance of a point drawn evenly over the picture; the share of the other
        images' points that hit this box, NaN for one image. (n,) each. The last one is what a map
        that only knows where findings usually lie would reach.

    Reference:
        Zhang et al. 2016, "Top-down neural attention by excitation backprop", arXiv 1608.00507.
    """
    tolerance = TOLERANCE_FRACTION * size_px
    wide = boxes + [-tolerance, -tolerance, tolerance, tolerance]
    # Row: whose point; column: whose box.
    inside = ((points[:, None] >= wide[:, :2]) & (points[:, None] <= wide[:, 2:])).all(axis=2)
    hits = np.diagonal(inside).astype(np.float64)
    return hits, _area_share(wide, pictures), _mean_of_others(inside.sum(axis=0), hits)


def energy_inside(
    maps: npt.NDArray[np.floating], boxes: Floats, pictures: Floats
) -> tuple[Floats, Floats, Floats]:
    """The share of a map's positive part that lies in the box.

    Args:
        maps: (n, size_px, size_px), signed.
        boxes: (n, 4) in the square; pixels on their edge count by the part inside.
        pictures: (n, 4), the square without its padding, see `content_boxes`.

    Returns:
        The share, 0 to 1, NaN where nothing is positive; that of a map that is even over the
        picture; that of the other images' maps in this box. (n,) each.

    Reference:
        Wang et al. 2020, "Score-CAM", arXiv 1910.01279, section 4.3 (energy-based pointing game).
    """
    positive = np.maximum(np.asarray(maps, np.float64), 0)
    sums = positive.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(positive, sums, out=np.full_like(positive, np.nan), where=sums > 0)
    across, down = (_overlap(boxes[:, [axis, axis + 2]], maps.shape[1]) for axis in (0, 1))
    own = np.einsum("ny,nyx,nx->n", down, shares, across)
    total = np.einsum("ny,yx,nx->n", down, np.nansum(shares, axis=0), across)
    others = np.full_like(own, np.nan)
    defined = ~np.isnan(own)
    others[defined] = _mean_of_others(total[defined], own[defined])
    return own, _area_share(boxes, pictures), others


def score_maps(
    table: pd.DataFrame,
    maps: npt.NDArray[np.floating],
    pixels: npt.NDArray[np.uint8],
    cells: int,
    replicates: Replicates,
    min_patients: int,
) -> dict[str, dict[str, float]]:
    """Pointing game and energy of the maps of images with a planted finding.

    Args:
        table: One row an image: patient (among those of `replicates`), map_x_px and map_y_px (see
            `map_maxima`), `BOX` and `CONTENT_BOX` in the square.
        maps: (n, size_px, size_px) in the same order, signed.
        pixels: (n, size_px, size_px) uint8, the pictures.
        cells: Of a map before it was upsampled, a side.
        replicates: Draws of patients.
        min_patients: With fewer there is no number.

    Returns:
        pointing_game and energy_inside, each see `summarize_localization`. The pictures themselves, in cells,
        are judged as a map is: findings that are bright need no network.
    """
    if table.empty:
        none = (np.empty(0), np.empty(0), np.empty(0), np.empty(0))
        unknown = summarize_localization(none, np.empty(0, object), replicates, min_patients)
        return {"pointing_game": unknown, "energy_inside": unknown}
    columns = (["map_x_px", "map_y_px"], BOX, CONTENT_BOX)
    points, boxes, pictures = (table[names].to_numpy(np.float64) for names in columns)
    size_px = maps.shape[1]
    brightest = map_maxima(mean_cells(pixels, cells), size_px)
    found = {
        "pointing_game": (
            *pointing_game(points, boxes, pictures, size_px),
            pointing_game(brightest, boxes, pictures, size_px)[0],
        ),
        "energy_inside": (
            *energy_inside(maps, boxes, pictures),
            energy_inside(pixels.astype(np.float64), boxes, pictures)[0],
        ),
    }
    patients = table["patient"].to_numpy(object)
    return {
        name: summarize_localization(values, patients, replicates, min_patients)
        for name, values in found.items()
    }


def summarize_localization(
    values: tuple[Floats, Floats, Floats, Floats],
    patients: npt.NDArray[np.object_],
    replicates: Replicates,
    min_patients: int,
) -> dict[str, float]:
    """The mean over images with its 95% interval over patients, beside the chance levels.

    Args:
        values: From `pointing_game` or `energy_inside`, and what the picture reaches as its own
            map, (n,) each; images where the first is NaN drop out.
        patients: (n,) whose image it is; among those of `replicates`.
        replicates: Draws of patients.
        min_patients: With fewer there is no number.

    Returns:
        n (images), patients, value, low, high, and the names in `CHANCES`.
    """
    defined = ~np.isnan(values[0])
    own, *chances = (value[defined] for value in values)
    place_of = np.searchsorted(replicates.patients, patients[defined])
    present, patient = np.unique(place_of, return_inverse=True)
    numbers = dict.fromkeys(("value", "low", "high", *CHANCES), np.nan)
    if len(present) >= min_patients:
        weights = replicates.weights[present]
        images = np.bincount(patient) @ weights
        with np.errstate(invalid="ignore"):
            drawn = np.bincount(patient, weights=own) @ weights / images
        value, unseen = float(own.mean()), zero_event_upper_bound(len(present))
        low, high = percentile_ci(drawn)
        if np.isnan(low):
            # Every draw is the same, as where all points hit: see `ulna.evaluation.bootstrap`.
            low, high = value * (1 - unseen), value + (1 - value) * unseen
        means = [float(part.mean()) for part in chances]
        numbers = dict(zip(numbers, [value, low, high, *means], strict=True))
    return {"n": int(defined.sum()), "patients": len(present)} | numbers


def _mean_of_others(total: npt.ArrayLike, own: Floats) -> Floats:
    """The mean over all images but one's own, from the sum over all."""
    if len(own) < 2:
        return np.full_like(own, np.nan)
    return (np.asarray(total, np.float64) - own) / (len(own) - 1)


def _area_share(boxes: Floats, pictures: Floats) -> Floats:
    low = np.maximum(boxes[:, :2], pictures[:, :2])
    high = np.minimum(boxes[:, 2:], pictures[:, 2:])
    sides = pictures[:, 2:] - pictures[:, :2]
    return np.asarray((np.maximum(high - low, 0) / sides).prod(axis=1), np.float64)


def _overlap(edges: Floats, size_px: int) -> Floats:
    """The part of each of size_px pixels between two edges: (n, 2) -> (n, size_px), 0 to 1."""
    start = np.arange(size_px)
    inside: Floats = np.minimum(edges[:, 1:], start + 1) - np.maximum(edges[:, :1], start)
    return np.clip(inside, 0, 1)


OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
COLUMNS = (
    *("image", "patient", "study", "body_part", "label", "outcome", "probability"),
    *("map_x_px", "map_y_px"),
)
SAMPLE_IMAGES = 32
GALLERY, MAPS = "gallery.csv", "maps.npy"

Maps = npt.NDArray[np.float32]


def locate_boxes(images: pd.DataFrame, cache: Cache, fit: Fit, truth: pd.DataFrame) -> pd.DataFrame:
    """Add to images where they lie: in the cache, their picture and finding in the square.

    Args:
        images: One row an image: image and more.
        cache: The cached images.
        fit: How they were made square.
        truth: See `ulna.data.annotations.find_annotations`; images may be missing.

    Returns:
        `images` with row (of the cache), left, top, right, bottom (the square without its padding)
        and x0, y0, x1, y1 (the finding, NaN where there is none), in pixels of the square.

    Raises:
        InputError: The cache lacks an image.
    """
    known = images.merge(
        cache.images[["image", "row", "width_px", "height_px"]], on="image", validate="one_to_one"
    )
    missing = images["image"][~images["image"].isin(known["image"])]
    if len(missing):
        raise InputError(
            f"the cache lacks {len(missing)} of {len(images)} test images, the first is "
            f"{missing.iloc[0]}: run `dvc repro explain`"
        )
    known = known.merge(truth, on="image", how="left", validate="one_to_one")
    sides = (known["width_px"], known["height_px"], cache.size_px, fit)
    known[CONTENT_BOX] = content_boxes(*sides)
    known[BOX] = to_square(known[BOX], *sides)
    return known.drop(columns=["width_px", "height_px"])


def choose_sample(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw the images of the randomization test: up to `SAMPLE_IMAGES`, without repetition.

    Args:
        images: One row an image: image and more; in any order.
        seed: The same seed and images give the same sample.

    Returns:
        Rows of `images`, sorted by image.
    """
    rows = images.sort_values("image", kind="stable")
    stream = np.random.Generator(np.random.Philox(seed))
    chosen = stream.choice(len(rows), min(SAMPLE_IMAGES, len(rows)), replace=False)
    return rows.iloc[np.sort(chosen)]


def choose_gallery(images: pd.DataFrame) -> pd.DataFrame:
    """Choose the most confident image of each body part and outcome.

    Args:
        images: One row an image: image, body_part, label, probability, threshold (above it is
            called abnormal), and more; in any order.

    Returns:
        Rows of `images` with a column outcome, by body part and in the order of `OUTCOMES`; an
        outcome that does not occur has no row. Of equal probabilities the first image counts.
    """
    called = images["probability"] > images["threshold"]
    abnormal = images["label"] == 1
    outcome = np.select(
        [called & abnormal, called, abnormal], OUTCOMES[:3], default=OUTCOMES[3]
    ).astype(object)
    surest = images["probability"].where(called, 1 - images["probability"])
    order = {name: place for place, name in enumerate(OUTCOMES)}
    return (
        images.assign(outcome=outcome, surest=surest, place=[order[name] for name in outcome])
        .sort_values(["body_part", "place", "surest", "image"], ascending=[True, True, False, True])
        .drop_duplicates(["body_part", "outcome"])
        .drop(columns=["surest", "place"])
        .reset_index(drop=True)
    )


def explain_rows(
    cam: Callable[[Pixels], Maps],
    upsample: Callable[[Maps, int], Maps],
    cache: Cache,
    images: pd.DataFrame,
) -> tuple[pd.DataFrame, Pixels, Maps]:
    """Compute the maps of cached images.

    Args:
        cam: Of the network, see `ulna.networks.saliency.make_cam_fn`.
        upsample: See `ulna.networks.saliency.upsample`.
        cache: The cached images.
        images: One row an image, at least one: body_part, row and more.

    Returns:
        `images` with map_x_px and map_y_px, see `ulna.evaluation.localization.with_peaks`; pixels,
        (n, size_px, size_px) uint8; maps, upsampled to them.
    """
    pixels = gather_samples(cache, images)
    cells = cam(pixels)
    return with_peaks(images, cells, cache.size_px), pixels, upsample(cells, cache.size_px)


def write_gallery(folder: Path, gallery: pd.DataFrame, maps: Maps | None) -> None:
    """Write what is to be shown.

    Args:
        folder: It is replaced.
        gallery: One row an image, see `choose_gallery`; also map_x_px and map_y_px.
        maps: (images, size_px, size_px) float32, in the same order; None where they may not be
            shown.
    """
    with atomic_directory(folder) as partial:
        write_csv(partial / GALLERY, gallery)
        if maps is not None:
            np.save(partial / MAPS, maps)


def read_gallery(folder: Path) -> tuple[pd.DataFrame, Maps | None]:
    """Read what `write_gallery` wrote.

    Raises:
        InputError: It is missing.
    """
    gallery = read_table(folder / GALLERY)
    return gallery, np.load(folder / MAPS) if (folder / MAPS).exists() else None
