"""Which test images are explained, and where in the square their pictures and findings lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.data.annotations import BOX
from ulna.data.cache import Cache, gather_samples
from ulna.data.images import Fit, Pixels
from ulna.errors import InputError
from ulna.files import read_table, replacing_folder, write_csv
from ulna.maps.pointing import PICTURE, place, to_square, with_peaks

OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
COLUMNS = (
    *("image", "patient", "study", "body_part", "label", "outcome", "probability"),
    *("map_x_px", "map_y_px"),
)
SAMPLE_IMAGES = 32
GALLERY, MAPS = "gallery.csv", "maps.npy"

Maps = npt.NDArray[np.float32]


def locate(images: pd.DataFrame, cache: Cache, fit: Fit, truth: pd.DataFrame) -> pd.DataFrame:
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
    known[PICTURE] = place(*sides)
    known[BOX] = to_square(known[BOX], *sides)
    return known.drop(columns=["width_px", "height_px"])


def choose_sample(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw the images of the randomisation test: up to `SAMPLE_IMAGES`, without repetition.

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
        `images` with map_x_px and map_y_px, see `ulna.maps.pointing.with_peaks`; pixels,
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
    with replacing_folder(folder) as partial:
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
