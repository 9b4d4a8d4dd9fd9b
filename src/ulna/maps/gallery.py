"""Which test images are explained, and where in the square their pictures and findings lie."""

import numpy as np
import pandas as pd

from ulna.data.cache import Cache
from ulna.errors import InputError
from ulna.maps.pointing import BOX, PICTURE, Fit, place, to_square

OUTCOMES = ("true positive", "false positive", "false negative", "true negative")
COLUMNS = (
    *("image", "patient", "study", "body_part", "label", "outcome", "probability"),
    *("map_x_px", "map_y_px"),
)
SAMPLE_IMAGES = 32


def locate(
    images: pd.DataFrame, cache: Cache, fit: Fit, truth: pd.DataFrame | None
) -> pd.DataFrame:
    """Add to images where they lie: in the cache, their picture and finding in the square.

    Args:
        images: One row an image: image and more.
        cache: The cached images.
        fit: How they were made square.
        truth: See `ulna.maps.pointing.read_truth`; None where nobody planted anything.

    Returns:
        `images` with row (of the cache), left, top, right, bottom (the square without its padding)
        and x0, y0, x1, y1 (the finding, NaN where there is none), in pixels of the square.

    Raises:
        InputError: The cache or the truth lacks an image.
    """
    known = images.merge(
        cache.images[["image", "row", "width_px", "height_px"]], on="image", validate="one_to_one"
    )
    _stop_if_fewer(known, images, "the cache", "run `dvc repro explain`")
    if truth is None:
        known = known.assign(**dict.fromkeys(BOX, np.nan))
    else:
        known = known.merge(truth, on="image", validate="one_to_one")
        _stop_if_fewer(known, images, "truth.csv beside data.root", "mend or remove it")
    sides = (known["width_px"], known["height_px"], cache.size_px, fit)
    known[PICTURE] = place(*sides)
    known[BOX] = to_square(known[BOX], *sides)
    return known.drop(columns=["width_px", "height_px"])


def _stop_if_fewer(known: pd.DataFrame, images: pd.DataFrame, source: str, fix: str) -> None:
    missing = images["image"][~images["image"].isin(known["image"])]
    if len(missing):
        raise InputError(
            f"{source} lacks {len(missing)} of {len(images)} test images, the first is "
            f"{missing.iloc[0]}: {fix}"
        )


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
