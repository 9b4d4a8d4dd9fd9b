"""Localization: whether class activation maps point at findings, against chance levels.

Boxes are (n, 4): left, top, right, bottom, in pixels of the cached square unless said otherwise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError
from ulna.core.io import atomic_directory, read_json, read_table, write_csv, write_json
from ulna.data import BOX, Cache, Fit
from ulna.data.images import content_box
from ulna.evaluation.bootstrap import (
    Replicates,
    bootstrap_mean,
    bootstrap_weights,
    percentile_ci,
    zero_event_upper_bound,
)

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]

CONTENT_BOX = ["left", "top", "right", "bottom"]
# Zhang et al. take 15 pixels on images about 500 pixels wide.
TOLERANCE_FRACTION = 0.03
# Without a network: a random point on the image, the map of another image, bright spots.
CHANCES = ("chance_even", "chance_other_maps", "chance_brightness")
OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
COLUMNS = (
    *("image", "patient", "study", "body_part", "label", "outcome", "probability"),
    *("map_x_px", "map_y_px"),
    *BOX,
)
SAMPLE_IMAGES = 32
IMAGES, MAPS, TEST = "images.csv", "maps.npy", "test.json"  # of the folder of `write_maps`


def content_boxes(
    width_px: npt.ArrayLike, height_px: npt.ArrayLike, size_px: int, fit: Fit
) -> Floats:
    """The box of each image's content, see `ulna.data.images.content_box`."""
    sides = zip(np.asarray(width_px).tolist(), np.asarray(height_px).tolist(), strict=True)
    boxes = [content_box(width, height, size_px, fit) for width, height in sides]
    return np.array(boxes, np.float64).reshape(-1, 4)


def to_square(
    boxes: npt.ArrayLike, width_px: npt.ArrayLike, height_px: npt.ArrayLike, size_px: int, fit: Fit
) -> Floats:
    """Move boxes from pixels of the original images to the cached square; NaN stays NaN.

    Example:
        >>> to_square([[100, 50, 200, 100]], [400], [200], 96, "pad").tolist()
        [[24.0, 36.0, 48.0, 48.0]]
    """
    content = content_boxes(width_px, height_px, size_px, fit)
    sides = np.stack([np.asarray(width_px), np.asarray(height_px)], axis=1)
    scale = (content[:, 2:] - content[:, :2]) / sides
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    moved: Floats = corners * scale[:, None] + content[:, None, :2]
    return moved.reshape(-1, 4)


def upsample(maps: npt.NDArray[np.floating], size_px: int) -> Maps:
    """Resize maps (n, rows, columns) bilinearly to (n, size_px, size_px) float32.

    As `tf.image.resize`, without TensorFlow: the centres of cells and pixels are half a side in.
    """
    down, across = (_bilinear(cells, size_px) for cells in maps.shape[1:])
    large: Maps = (down @ maps @ across.T).astype(np.float32)
    return large


def _bilinear(cells: int, size_px: int) -> Floats:
    """The weight of each cell in each pixel, (size_px, cells)."""
    centres = (np.arange(size_px) + 0.5) * cells / size_px - 0.5
    distance = np.abs(np.clip(centres, 0, cells - 1)[:, None] - np.arange(cells))
    weights: Floats = np.maximum(1 - distance, 0)
    return weights


def map_maxima(maps: npt.NDArray[np.floating], size_px: int) -> Floats:
    """The centre of the cell with the highest value of each map, the first of equal ones.

    Maps are (n, rows, columns), before upsampling; centres are (n, 2), x and y in the square.
    """
    # Bilinear interpolation never exceeds the values between which it runs, so the maximum of an
    # upsampled map is the centre of a cell; near the border it is a plateau, whose first pixel
    # would be a corner.
    count, rows, columns = maps.shape
    y, x = np.divmod(maps.reshape(count, -1).argmax(axis=1), columns)
    return np.stack([(x + 0.5) * size_px / columns, (y + 0.5) * size_px / rows], axis=1)


def evaluate_localization(
    images: pd.DataFrame,
    pixels: npt.NDArray[np.uint8],
    maps: Maps,
    n_replicates: int,
    min_patients: int,
    seed: int,
) -> dict[str, object] | None:
    """Apply `score_maps` to all images with a box (abnormal), and to the predicted_positive.

    The maps are those before upsampling. None without an image.
    """
    if images.empty:
        return None
    replicates = bootstrap_weights(images["patient"], n_replicates, seed)
    positive = (images["probability"] > images["threshold"]).to_numpy()
    return {
        name: score_maps(images[rows], maps[rows], pixels[rows], replicates, min_patients)
        for name, rows in (("abnormal", positive | True), ("predicted_positive", positive))
    }


def mean_cells(pixels: npt.NDArray[np.uint8], cells: int) -> Floats:
    """The mean grey level of each cell: (n, size_px, size_px) -> (n, cells, cells)."""
    start = np.arange(cells) * pixels.shape[1] // cells
    sizes = np.diff(start, append=pixels.shape[1])
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), start, 1), start, 2)
    means: Floats = sums / np.outer(sizes, sizes)
    return means


def pointing_game(
    points: Floats, boxes: Floats, content: Floats, size_px: int
) -> tuple[Floats, Floats, Floats]:
    """Test whether the maximum of a map is in its box, or at most 3% of the side beside it.

    Points are (n, 2), see `map_maxima`; content is (n, 4), see `content_boxes`.

    Returns:
        (n,) each: hits, 0 or 1; the probability of a hit of a random point on the image; the share
        of the other images' maxima that hit this box, NaN for one image, which is what a map would
        reach that only knows where findings usually are.

    Reference:
        Zhang et al. 2016, "Top-down neural attention by excitation backprop", arXiv 1608.00507.
    """
    tolerance = TOLERANCE_FRACTION * size_px
    wide = boxes + [-tolerance, -tolerance, tolerance, tolerance]
    # Rows are points, columns are boxes.
    inside = ((points[:, None] >= wide[:, :2]) & (points[:, None] <= wide[:, 2:])).all(axis=2)
    hits = np.diagonal(inside).astype(np.float64)
    return hits, _area_share(wide, content), _mean_of_others(inside.sum(axis=0), hits)


def energy_inside(
    maps: npt.NDArray[np.floating], boxes: Floats, content: Floats
) -> tuple[Floats, Floats, Floats]:
    """Compute the share of a map's positive part that lies in its box.

    Maps are (n, size_px, size_px), signed; content is (n, 4), see `content_boxes`. Pixels on the
    edge of a box count by the part inside.

    Returns:
        (n,) each: the share, 0 to 1, NaN where nothing is positive; that of a map that is even over
        the image; the mean of the other images' maps in this box.

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
    return own, _area_share(boxes, content), others


def score_maps(
    table: pd.DataFrame,
    maps: npt.NDArray[np.floating],
    pixels: npt.NDArray[np.uint8],
    replicates: Replicates,
    min_patients: int,
) -> dict[str, dict[str, float]]:
    """Play the pointing game and measure the energy of maps of images with a ground-truth box.

    The table has one row per image: patient, map_x_px and map_y_px (see `map_maxima`), `BOX` and
    `CONTENT_BOX`. Maps are (n, cells, cells), pixels (n, size_px, size_px).

    Returns:
        pointing_game and energy_inside, each see `summarize_localization`. chance_brightness is of
        the images themselves as maps: bright findings need no network.
    """
    if table.empty:
        none = (np.empty(0),) * 4
        unknown = summarize_localization(none, table["patient"], replicates, min_patients)
        return {"pointing_game": unknown, "energy_inside": unknown}
    columns = (["map_x_px", "map_y_px"], BOX, CONTENT_BOX)
    points, boxes, content = (table[names].to_numpy(np.float64) for names in columns)
    size_px = pixels.shape[1]
    brightest = map_maxima(mean_cells(pixels, maps.shape[1]), size_px)
    results = {
        "pointing_game": (
            *pointing_game(points, boxes, content, size_px),
            pointing_game(brightest, boxes, content, size_px)[0],
        ),
        "energy_inside": (
            *energy_inside(upsample(maps, size_px), boxes, content),
            energy_inside(pixels.astype(np.float64), boxes, content)[0],
        ),
    }
    return {
        name: summarize_localization(values, table["patient"], replicates, min_patients)
        for name, values in results.items()
    }


def summarize_localization(
    values: tuple[Floats, Floats, Floats, Floats],
    patients: pd.Series,
    replicates: Replicates,
    min_patients: int,
) -> dict[str, float]:
    """Average over images, with a 95% CI over patients, beside the chance levels.

    The values are those of `pointing_game` or `energy_inside`, and of the image as its own map,
    (n,) each; images where the first is NaN are dropped. With few patients there is no number.

    Returns:
        n (images), patients, value, low, high, and `CHANCES`.
    """
    defined = ~np.isnan(values[0])
    own, *chances = (value[defined] for value in values)
    known = patients[defined]
    sizes = {"n": int(defined.sum()), "patients": int(known.nunique())}
    numbers = dict.fromkeys(("value", "low", "high", *CHANCES), np.nan)
    if sizes["patients"] >= min_patients:
        value, unseen = float(own.mean()), zero_event_upper_bound(sizes["patients"])
        low, high = percentile_ci(bootstrap_mean(known, own, replicates))
        if np.isnan(low):
            # All replicates are the same, as if all maxima hit: see `ulna.evaluation.bootstrap`.
            low, high = value * (1 - unseen), value + (1 - value) * unseen
        means = [float(chance.mean()) for chance in chances]
        numbers = dict(zip(numbers, [value, low, high, *means], strict=True))
    return sizes | numbers


def _mean_of_others(total: npt.ArrayLike, own: Floats) -> Floats:
    """The mean over all other images, from the sum over all."""
    if len(own) < 2:
        return np.full_like(own, np.nan)
    return (np.asarray(total, np.float64) - own) / (len(own) - 1)


def _area_share(boxes: Floats, content: Floats) -> Floats:
    low = np.maximum(boxes[:, :2], content[:, :2])
    high = np.minimum(boxes[:, 2:], content[:, 2:])
    sides = content[:, 2:] - content[:, :2]
    return np.asarray((np.maximum(high - low, 0) / sides).prod(axis=1), np.float64)


def _overlap(edges: Floats, size_px: int) -> Floats:
    """The part of each of size_px pixels between two edges: (n, 2) -> (n, size_px), 0 to 1."""
    start = np.arange(size_px)
    inside: Floats = np.minimum(edges[:, 1:], start + 1) - np.maximum(edges[:, :1], start)
    return np.clip(inside, 0, 1)


def find_rows(images: pd.DataFrame, cache: Cache) -> pd.DataFrame:
    """Add the row of each image in the cache, width_px and height_px.

    Raises:
        InputError: The cache lacks an image.
    """
    columns = ["image", "row", "width_px", "height_px"]
    known = images.merge(cache.images[columns], on="image", validate="one_to_one")
    missing = images["image"][~images["image"].isin(known["image"])]
    if len(missing):
        raise InputError(
            f"the cache lacks {len(missing)} of {len(images)} images, the first is "
            f"{missing.iloc[0]}: run `dvc repro`"
        )
    return known


def locate_boxes(images: pd.DataFrame, cache: Cache, fit: Fit, truth: pd.DataFrame) -> pd.DataFrame:
    """Add to images with `find_rows` their content box and their ground-truth box.

    Annotations (see `ulna.data.annotations.find_annotations`) may lack images.

    Returns:
        `images` with `CONTENT_BOX` and `BOX` (NaN without a finding) in the square.
    """
    known = images.merge(truth[["image", *BOX]], on="image", how="left", validate="one_to_one")
    sides = (known["width_px"], known["height_px"], cache.size_px, fit)
    known[CONTENT_BOX] = content_boxes(*sides)
    known[BOX] = to_square(known[BOX], *sides)
    return known


def choose_sample(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sample the images of the randomization test: up to `SAMPLE_IMAGES`, without replacement.

    The same seed and images, in any order, give the same sample, sorted by image.
    """
    rows = images.sort_values("image", kind="stable")
    stream = np.random.Generator(np.random.Philox(seed))
    chosen = stream.choice(len(rows), min(SAMPLE_IMAGES, len(rows)), replace=False)
    return rows.iloc[np.sort(chosen)]


def choose_gallery(images: pd.DataFrame) -> pd.DataFrame:
    """Choose the most confident image of each body part and outcome.

    Returns:
        Rows of `images` with a column outcome, by body part and in the order of `OUTCOMES`; an
        outcome that does not occur has no row. Of equal probabilities the first image counts.
    """
    positive = images["probability"] > images["threshold"]
    abnormal = images["label"] == 1
    cases = [positive & abnormal, positive, abnormal]
    outcome = np.select(cases, OUTCOMES[:3], default=OUTCOMES[3]).astype(object)
    confidence = images["probability"].where(positive, 1 - images["probability"])
    order = {name: position for position, name in enumerate(OUTCOMES)}
    ranked = images.assign(outcome=outcome, order=[order[n] for n in outcome], below=-confidence)
    ranked = ranked.sort_values(["body_part", "order", "below", "image"])
    gallery = ranked.drop_duplicates(["body_part", "outcome"]).drop(columns=["below", "order"])
    return gallery.reset_index(drop=True)


def add_maxima(images: pd.DataFrame, maps: Maps, size_px: int) -> pd.DataFrame:
    """Add map_x_px and map_y_px, see `map_maxima`, of maps before upsampling."""
    x, y = map_maxima(maps, size_px).T
    return images.assign(map_x_px=x, map_y_px=y)


def write_maps(folder: Path, images: pd.Series, maps: Maps, test: Mapping[str, Any]) -> None:
    """Replace a folder with the maps (n, rows, columns) of these images, and their test."""
    with atomic_directory(folder) as partial:
        write_csv(partial / IMAGES, images.to_frame())
        np.save(partial / MAPS, maps)
        write_json(partial / TEST, test)


def read_maps(folder: Path, images: pd.Series) -> tuple[Maps, dict[str, Any]]:
    """Read the maps of these images, in their order, and their test, as `write_maps` wrote them.

    Raises:
        InputError: There are none, or none of one of the images.
    """
    test: dict[str, Any] = read_json(folder / TEST)
    rows = pd.Index(read_table(folder / IMAGES)["image"]).get_indexer(images)
    if (rows < 0).any():
        raise InputError(
            f"{folder} lacks the map of {images[rows < 0].iloc[0]}: run `dvc repro explain`"
        )
    maps: Maps = np.load(folder / MAPS)[rows]
    return maps, test


def read_gallery(table: Path, folder: Path, cache: Cache) -> tuple[pd.DataFrame, Maps | None]:
    """Read the gallery, with its rows in the cache, and its maps, upsampled.

    The maps are None where they failed their test, and must not be shown.
    """
    gallery = find_rows(read_table(table, COLUMNS), cache)
    maps, test = read_maps(folder, gallery["image"])
    shown = test["randomization"]["passed"]
    return gallery, upsample(maps, cache.size_px) if shown else None
