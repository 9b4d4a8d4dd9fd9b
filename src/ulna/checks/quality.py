"""Small pictures of cached images, and what is measured on them: grey levels and likeness."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from ulna.data.cache import Cache
from ulna.data.images import Fit, crop_padding

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

SMALL_PX = 48  # side of the pictures that are measured
BRIGHT = 200  # of 255: beds, plaster and burnt-in frames are above, bone of ordinary exposure below
COARSE_PX = 16  # side of the pictures that are compared within a body part
BLOCK = 512  # rows of a matrix product


def resize_content(cache: Cache, images: pd.DataFrame, fit: Fit, side_px: int) -> Pixels:
    """Read cached images without their padding, as squares of another size.

    Args:
        cache: The cached images.
        images: One row an image: body_part, row, width_px, height_px.
        fit: How they were fitted into the cached square: pad or stretch.
        side_px: Side of the squares.

    Returns:
        (images, side_px, side_px) uint8, antialiased; the aspect ratio is lost.
    """
    pictures = np.empty((len(images), side_px, side_px), np.uint8)
    places = images[["body_part", "row", "width_px", "height_px"]].itertuples(index=False)
    for at, (part, row, width, height) in enumerate(places):
        inside = crop_padding(cache.arrays[part][row], width, height, fit)
        picture = Image.fromarray(np.ascontiguousarray(inside))
        picture = picture.resize((side_px, side_px), Image.Resampling.BILINEAR)
        pictures[at] = np.asarray(picture)
    return pictures


def measure_images(pictures: Pixels) -> pd.DataFrame:
    """Measure grey levels.

    Args:
        pictures: (images, SMALL_PX, SMALL_PX) uint8.

    Returns:
        One row an image: polarity (mean of all pixels or of the outer twelfth, whichever is lower,
        0 to 255), contrast (grey levels from the 1% to the 99% quantile), saturated (share of the
        pixels at the brightest level, 0 unless that is bright), bright_sides (0 to 4).
    """
    flat = pictures.reshape(len(pictures), -1)
    rim = np.ones((SMALL_PX, SMALL_PX), bool)
    rim[SMALL_PX // 12 : -(SMALL_PX // 12), SMALL_PX // 12 : -(SMALL_PX // 12)] = False
    low, middle, high, top = np.percentile(flat, (1, 50, 99, 99.8), axis=1)
    mean = flat.mean(1)
    clipped = (flat >= top[:, None] - 4).mean(1)
    sides = np.stack(
        [pictures[:, :2].mean(1), pictures[:, -2:].mean(1),
         pictures[:, :, :2].mean(2), pictures[:, :, -2:].mean(2)], axis=1,
    )  # fmt: skip
    bright = np.percentile(sides, 5, axis=2) >= BRIGHT
    return pd.DataFrame(
        {
            "polarity": np.minimum(mean, flat[:, rim.ravel()].mean(1)),
            "contrast": high - low,
            "saturated": np.where(top >= BRIGHT, clipped, 0.0),
            "bright_sides": np.where(middle < BRIGHT, bright.sum(1), 0),
        }
    )


def similarity(pictures: Pixels, chosen: Positions, others: Positions) -> tuple[Floats, Floats]:
    """Tell how well pictures of a body part resemble others of it, as they are and inverted.

    Args:
        pictures: (images, SMALL_PX, SMALL_PX) uint8, of one body part.
        chosen: (n,) positions of the pictures to judge.
        others: Positions of those to compare them with, at least 4; none is compared with itself.

    Returns:
        Twice (n,) float32: correlation with the third most alike (two copies do not vouch for each
        other), the highest of the eight ways to turn a picture by 90 degrees and mirror it. The
        more others, the higher.
    """
    step = SMALL_PX // COARSE_PX
    coarse = pictures.reshape(-1, COARSE_PX, step, COARSE_PX, step).mean((2, 4), dtype=np.float32)
    coarse -= coarse.mean((1, 2), keepdims=True)
    lengths = np.linalg.norm(coarse, axis=(1, 2), keepdims=True)
    coarse /= np.where(lengths > 1e-6, lengths, np.float32(np.inf))
    compared = coarse[others].reshape(len(others), -1).T
    as_is, inverted = np.empty((2, len(chosen)), np.float32)
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        best = np.full((len(block), len(others)), -1, np.float32)
        worst = -best
        for turns in range(4):
            turned = np.rot90(coarse[block], turns, (1, 2))
            for way in (turned, turned[:, :, ::-1]):
                product = way.reshape(len(block), -1) @ compared
                np.maximum(best, product, out=best)
                np.minimum(worst, product, out=worst)
        itself = block[:, np.newaxis] == others
        best[itself], worst[itself] = -1, 1
        as_is[start : start + BLOCK] = np.partition(best, -3, axis=1)[:, -3]
        inverted[start : start + BLOCK] = -np.partition(worst, 2, axis=1)[:, 2]
    return as_is, inverted
