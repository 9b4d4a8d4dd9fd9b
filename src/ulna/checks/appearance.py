"""What can be seen of a picture without a look at bone: device, size, views, brightness, border."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.data.cache import Cache
from ulna.data.images import Fit, content_boxes

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

CORNER_FRACTION = 1 / 8  # of each side of the picture: room for a marker or a letter
FRAME_FRACTION = 1 / 16  # of each side: where collimators and cut-off labels lie, and little bone
BLOCK = 64  # images measured at once
REGIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "frame")
STATISTICS = ("mean", "max", "sd")
BORDER = tuple(f"{region}_{name}" for region in REGIONS for name in STATISTICS)
PICTURE = ("mode", "bit_depth", "width_px", "height_px", "aspect")


def measure(rows: pd.DataFrame, cache: Cache, fit: Fit) -> pd.DataFrame:
    """Measure what the baselines look at; labels are only carried along.

    Args:
        rows: One row a cached image, see `ulna.data.samples.join_samples`.
        cache: The cached images.
        fit: How they became squares, see `ulna.data.images.letterbox`: padding is not measured.

    Returns:
        The rows with mode (text), bit_depth, width_px, height_px, aspect (width / height), views
        (images of the study), mean and sd of the grey levels, and `BORDER`; grey levels 0 to 255.
    """
    files = cache.images[["image", "mode", "bit_depth", "width_px", "height_px"]]
    table = rows.merge(files, on="image", validate="one_to_one")
    table["box"] = [tuple(box) for box in content_boxes(table, cache.size_px, fit).tolist()]
    grey = []
    # Pictures of one shape at once, of which there are at most 2 x size_px: an image alone takes
    # seven times as long.
    for (part, (left, top, right, bottom)), alike in table.groupby(["body_part", "box"]):
        for start in range(0, len(alike), BLOCK):
            block = alike.iloc[start : start + BLOCK]
            pictures = cache.arrays[str(part)][block["row"]][:, top:bottom, left:right]
            grey.append(pd.DataFrame(_grey_levels(pictures), index=block.index))
    table = table.drop(columns="box").join(pd.concat(grey))
    return table.assign(
        aspect=table["width_px"] / table["height_px"],
        views=table.groupby("study")["image"].transform("size"),
    )


def _grey_levels(pictures: Pixels) -> dict[str, Floats]:
    """Of (n, height, width) pictures: name -> (n,) grey levels."""
    count, height, width = pictures.shape
    down, across = (max(1, round(side * CORNER_FRACTION)) for side in (height, width))
    rim, side = (max(1, round(length * FRAME_FRACTION)) for length in (height, width))
    frame = np.ones((height, width), dtype=bool)
    frame[rim : height - rim, side : width - side] = False
    corners = [
        (rows, columns)
        for rows in (slice(0, down), slice(height - down, height))
        for columns in (slice(0, across), slice(width - across, width))
    ]
    for corner in corners:
        frame[corner] = False
    regions = [pictures[:, *corner].reshape(count, -1) for corner in corners]
    regions.append(pictures[:, frame])
    mean, sd = _mean_and_sd(pictures.reshape(count, -1))
    measured = {"mean": mean, "sd": sd}
    for name, region in zip(REGIONS, regions, strict=True):
        mean, sd = _mean_and_sd(region)
        values = (mean, region.max(axis=1).astype(np.float64), sd)
        measured |= {f"{name}_{s}": value for s, value in zip(STATISTICS, values, strict=True)}
    return measured


def _mean_and_sd(pixels: Pixels) -> tuple[Floats, Floats]:
    """Of each row. Sums of whole numbers are exact: in whatever order, the same bits."""
    levels = pixels.astype(np.float64)
    count, sums = pixels.shape[1], levels.sum(axis=1)
    spread = count * np.einsum("ij,ij->i", levels, levels) - sums * sums
    return sums / count, np.sqrt(np.maximum(spread, 0)) / count
