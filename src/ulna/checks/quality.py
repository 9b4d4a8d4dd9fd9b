"""Thumbnails of cached images, and what is measured on them: grey levels and similarity."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from ulna.data import Fit
from ulna.data.images import crop_padding

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

SMALL_PX = 48  # side of the thumbnails that are measured
BRIGHT = 200  # of 255: beds, plaster and burnt-in frames are above, bone of ordinary exposure below
COARSE_PX = 16  # side of the thumbnails that are compared within a body part
BLOCK = 512  # rows of a matrix product


def resize_content(
    arrays: Mapping[str, Pixels], images: pd.DataFrame, fit: Fit, side_px: int
) -> Pixels:
    """Resize cached images without their padding to squares; the aspect ratio is lost.

    Arrays are body part -> (images, size_px, size_px) uint8, the cache; images has body_part, row,
    width_px, height_px; fit is that of the cache. The result is (images, side_px, side_px) uint8.
    """
    squares = np.empty((len(images), side_px, side_px), np.uint8)
    rows = images[["body_part", "row", "width_px", "height_px"]].itertuples(index=False)
    for square, (part, row, width, height) in zip(squares, rows, strict=True):
        content = np.ascontiguousarray(crop_padding(arrays[part][row], width, height, fit))
        resized = Image.fromarray(content).resize((side_px, side_px), Image.Resampling.BILINEAR)
        square[:] = np.asarray(resized)
    return squares


def measure_images(thumbnails: Pixels) -> pd.DataFrame:
    """Measure the grey levels of thumbnails (images, SMALL_PX, SMALL_PX).

    Returns:
        One row per image: polarity (mean of all pixels or of the outer twelfth, whichever is lower,
        0 to 255), contrast (grey levels from the 1% to the 99% quantile), saturated (share of the
        pixels at the brightest level, 0 unless that is bright), bright_sides (0 to 4).
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    rim = np.ones((SMALL_PX, SMALL_PX), bool)
    rim[SMALL_PX // 12 : -(SMALL_PX // 12), SMALL_PX // 12 : -(SMALL_PX // 12)] = False
    low, middle, high, top = np.percentile(flat, (1, 50, 99, 99.8), axis=1)
    clipped = (flat >= top[:, None] - 4).mean(1)
    sides = np.stack(
        [thumbnails[:, :2].mean(1), thumbnails[:, -2:].mean(1),
         thumbnails[:, :, :2].mean(2), thumbnails[:, :, -2:].mean(2)], axis=1,
    )  # fmt: skip
    bright = np.percentile(sides, 5, axis=2) >= BRIGHT
    return pd.DataFrame(
        {
            "polarity": np.minimum(flat.mean(1), flat[:, rim.ravel()].mean(1)),
            "contrast": high - low,
            "saturated": np.where(top >= BRIGHT, clipped, 0.0),
            "bright_sides": np.where(middle < BRIGHT, bright.sum(1), 0),
        }
    )


def similarity(thumbnails: Pixels, chosen: Positions, others: Positions) -> tuple[Floats, Floats]:
    """Correlate images of a body part with others of it, as they are and inverted.

    thumbnails are (images, SMALL_PX, SMALL_PX) uint8, of one body part; chosen and others are
    positions, others at least 4; none is compared with itself.

    Returns:
        Twice (n,) float32: correlation with the third most similar (two copies do not vouch for
        each other), the highest of the eight ways to turn an image by 90 degrees and mirror it. The
        more others, the higher.
    """
    step = SMALL_PX // COARSE_PX
    coarse = thumbnails.reshape(-1, COARSE_PX, step, COARSE_PX, step).mean((2, 4), dtype=np.float32)
    coarse -= coarse.mean((1, 2), keepdims=True)
    lengths = np.linalg.norm(coarse, axis=(1, 2), keepdims=True)
    coarse /= np.where(lengths > 1e-6, lengths, np.float32(np.inf))
    compared = coarse[others].reshape(len(others), -1).T
    as_is, inverted = np.empty((2, len(chosen)), np.float32)
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        highest = np.full((len(block), len(others)), -1, np.float32)
        lowest = -highest
        for turns in range(4):
            turned = np.rot90(coarse[block], turns, (1, 2))
            for orientation in (turned, turned[:, :, ::-1]):
                product = orientation.reshape(len(block), -1) @ compared
                np.maximum(highest, product, out=highest)
                np.minimum(lowest, product, out=lowest)
        itself = block[:, np.newaxis] == others
        highest[itself], lowest[itself] = -1, 1
        as_is[start : start + BLOCK] = np.partition(highest, -3, axis=1)[:, -3]
        inverted[start : start + BLOCK] = -np.partition(lowest, 2, axis=1)[:, 2]
    return as_is, inverted
