"""Localization: whether class activation maps point at findings, against chance levels.

Boxes are (n, 4): left, top, right, bottom, in pixels of the cached square unless said otherwise.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError
from ulna.core.io import atomic_directory, read_table, write_csv
from ulna.data import Cache, Fit
from ulna.data.annotations import BOX
from ulna.data.images import Pixels, content_box
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
)
SAMPLE_IMAGES = 32
GALLERY, MAPS = "gallery.csv", "maps.npy"


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
    pixels: Pixels,
    maps: npt.NDArray[np.floating],
    cells: int,
    n_replicates: int,
    min_patients: int,
    seed: int,
) -> dict[str, object]:
    """Apply `score_maps` to all images with a box (abnormal), and to the predicted_positive."""
    replicates = bootstrap_weights(images["patient"], n_replicates, seed)
    positive = (images["probability"] > images["threshold"]).to_numpy()
    return {
        name: score_maps(images[rows], maps[rows], pixels[rows], cells, replicates, min_patients)
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
    cells: int,
    replicates: Replicates,
    min_patients: int,
) -> dict[str, dict[str, float]]:
    """Play the pointing game and measure the energy of maps of images with a ground-truth box.

    The table has one row per image: patient, map_x_px and map_y_px (see `map_maxima`), `BOX` and
    `CONTENT_BOX`. Maps and pixels are (n, size_px, size_px); cells is the side of a map before
    upsampling.

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
    size_px = maps.shape[1]
    brightest = map_maxima(mean_cells(pixels, cells), size_px)
    results = {
        "pointing_game": (
            *pointing_game(points, boxes, content, size_px),
            pointing_game(brightest, boxes, content, size_px)[0],
        ),
        "energy_inside": (
            *energy_inside(maps, boxes, content),
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


def locate_boxes(images: pd.DataFrame, cache: Cache, fit: Fit, truth: pd.DataFrame) -> pd.DataFrame:
    """Add the row of each image in the cache, its content box and its ground-truth box.

    Annotations (see `ulna.data.annotations.find_annotations`) may lack images.

    Returns:
        `images` with row, `CONTENT_BOX` and `BOX` (NaN without a finding) in the square.

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


def compute_maps(
    cam: Callable[[Pixels], Maps],
    upsample: Callable[[Maps, int], Maps],
    cache: Cache,
    images: pd.DataFrame,
) -> tuple[pd.DataFrame, Pixels, Maps]:
    """Compute the maps of cached images, at least one, by functions of `ulna.networks.saliency`.

    Returns:
        `images` with map_x_px and map_y_px, see `map_maxima`; pixels, (n, size_px, size_px) uint8;
        maps, upsampled to them.
    """
    pixels = cache.gather_samples(images)
    cells = cam(pixels)
    x, y = map_maxima(cells, cache.size_px).T
    return images.assign(map_x_px=x, map_y_px=y), pixels, upsample(cells, cache.size_px)


def write_gallery(folder: Path, gallery: pd.DataFrame, maps: Maps | None) -> None:
    """Replace a folder with the gallery and its maps; None where they must not be shown."""
    with atomic_directory(folder) as partial:
        write_csv(partial / GALLERY, gallery)
        if maps is not None:
            np.save(partial / MAPS, maps)


def read_gallery(folder: Path) -> tuple[pd.DataFrame, Maps | None]:
    """Read what `write_gallery` wrote; an `InputError` if it is missing."""
    gallery = read_table(folder / GALLERY)
    return gallery, np.load(folder / MAPS) if (folder / MAPS).exists() else None
