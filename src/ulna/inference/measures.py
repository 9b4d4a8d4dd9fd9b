"""Measures of an image that tell radiographs of one source from others, and from no radiographs.

Of grey levels, layout and texture of the square that a network sees, without its padding.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BLOCKS = 12  # per side, on which layout is measured
DARK, BRIGHT = 12, 243  # grey levels of 255: background, and burnt-in frames or letters
GREY_QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
FINE_QUANTILES = (0.25, 0.5, 0.75, 0.95)
DIAGONAL_QUANTILES = (0.25, 0.5, 0.9)
# Added before a logarithm, in grey levels of 255: rounding to a level has a deviation of 0.3.
FLOOR = 0.5

GREY_NAMES = tuple(f"grey_q{quantile * 100:g}" for quantile in GREY_QUANTILES)
SIDES = ("darkest_side", "second_side", "third_side", "brightest_side")
CORNERS = ("darkest_corner", "brightest_corner")
MEASURES = (
    *GREY_NAMES, "mean", "spread", "dark_share", "bright_share",
    *SIDES, *CORNERS, "centre", "left_right", "top_bottom", "aspect",
    *(f"fine_q{quantile * 100:g}" for quantile in FINE_QUANTILES),
    *(f"diagonal_q{quantile * 100:g}" for quantile in DIAGONAL_QUANTILES),
    "fine_mean", "diagonal_mean", "fine_right", "fine_down",
)  # fmt: skip

# Grey levels, the fine steps and the diagonal ones are counted at once, each from its place on: a
# call of NumPy takes longer than the counting.
FINE_AT, DIAGONAL_AT, END = 256, 256 + 1021, 256 + 1021 + 511
_NUMBERS = (len(GREY_QUANTILES), len(FINE_QUANTILES), len(DIAGONAL_QUANTILES))
_SHARES = np.array([*GREY_QUANTILES, *FINE_QUANTILES, *DIAGONAL_QUANTILES])
# A level is its middle.
_BASES = np.repeat((0, FINE_AT, DIAGONAL_AT), _NUMBERS) - 0.5


def _sums() -> Floats:
    """Weights of the sums over the counts: (END, 6)."""
    place = np.arange(END)
    grey, fine = place < FINE_AT, (place >= FINE_AT) & (place < DIAGONAL_AT)
    return np.stack(
        [
            grey * place,
            grey * place**2,
            place <= DARK,
            grey & (place >= BRIGHT),
            fine * (place - FINE_AT),
            (place >= DIAGONAL_AT) * (place - DIAGONAL_AT),
        ],
        axis=1,
    ).astype(np.float64)


def _means() -> Floats:
    """Weights of the means over the blocks: four sides, four corners, centre, all; (144, 10)."""
    weights = np.zeros((10, BLOCKS, BLOCKS))
    weights[0, 0] = weights[1, -1] = weights[2, :, 0] = weights[3, :, -1] = 1
    weights[4, :2, :2] = weights[5, :2, -2:] = weights[6, -2:, :2] = weights[7, -2:, -2:] = 1
    weights[8, 3:-3, 3:-3] = 1
    weights[9] = 1
    means = (weights / weights.sum(axis=(1, 2), keepdims=True)).reshape(10, -1).T
    return np.ascontiguousarray(means)


_SUMS, _MEANS = _sums(), _means()

# Of an inverse: the measure from which each comes, and which are levels, 255 less.
_OPPOSITE = {
    **dict(zip(GREY_NAMES, reversed(GREY_NAMES), strict=True)),
    **dict(zip(SIDES, reversed(SIDES), strict=True)),
    **dict(zip(CORNERS, reversed(CORNERS), strict=True)),
    **{"dark_share": "bright_share", "bright_share": "dark_share"},
}
_MIRROR = np.array([MEASURES.index(_OPPOSITE.get(name, name)) for name in MEASURES])
_LEVELS = np.isin(MEASURES, [*GREY_NAMES, *SIDES, *CORNERS, "mean", "centre"])


def measure_square(square: Pixels, box: npt.ArrayLike) -> Floats:
    """Measure a letterboxed image (size_px, size_px) within its `content_box`.

    Args:
        square: Grey levels, uint8.
        box: left, top, right, bottom of the content in the square.

    Returns:
        (32,) in the order of `MEASURES`.
    """
    left, top, right, bottom = np.asarray(box).tolist()
    grey = square[top:bottom, left:right].astype(np.int16)
    if min(grey.shape) < 3:
        grey = np.pad(grey, 1, mode="edge")
    down, right_ = grey[1:] - grey[:-1], grey[:, 1:] - grey[:, :-1]
    fine = np.abs(right_[1:-1, 1:] - right_[1:-1, :-1] + down[1:, 1:-1] - down[:-1, 1:-1])
    diagonal = np.abs(down[:, 1:] - down[:, :-1])
    placed = (grey.ravel(), fine.ravel() + FINE_AT, diagonal.ravel() + DIAGONAL_AT)
    counts = np.bincount(np.concatenate(placed), minlength=END)
    # Sums of integers, exact and so the same on every processor.
    total, squares, dark, bright, fine_sum, diagonal_sum = (counts @ _SUMS).tolist()
    quantiles = _quantiles(counts, (grey.size, fine.size, diagonal.size))
    mean = total / grey.size
    variance = max(0.0, squares / grey.size - mean**2)
    texture = [
        *quantiles[len(GREY_QUANTILES) :],
        fine_sum / fine.size,
        diagonal_sum / diagonal.size,
        int(np.abs(right_).sum()) / right_.size,
        int(np.abs(down).sum()) / down.size,
    ]
    return np.array(
        [
            *quantiles[: len(GREY_QUANTILES)],
            mean,
            math.log(math.sqrt(variance) + FLOOR),
            # The root tells 0 from 1% as well as 1% from 4%.
            math.sqrt(dark / grey.size),
            math.sqrt(bright / grey.size),
            *_layout(grey),
            math.log((right - left) / (bottom - top)),
            *(math.log(value + FLOOR) for value in texture),
        ]
    )


def invert_measures(measures: Floats) -> Floats:
    """Measures (..., 32) of the inverse of an image, by those of the image.

    Only levels change: dark and bright ends change places.
    """
    inverse: Floats = measures[..., _MIRROR].copy()
    inverse[..., _LEVELS] = 255 - inverse[..., _LEVELS]
    return inverse


def _layout(grey: npt.NDArray[np.int16]) -> list[float]:
    """Brightness of sides, corners and centre, and symmetry left to right and top to bottom."""
    (rows, heights), (columns, widths) = map(_blocks, grey.shape)
    # Whole numbers below 2^24: the sums are exact, and so the same on every processor.
    blocks = (rows @ grey.astype(np.float32) @ columns.T).astype(np.float64)
    blocks /= heights[:, np.newaxis] * widths
    means = (blocks.ravel() @ _MEANS).tolist()
    corners = sorted(means[4:8])
    deviation = blocks - means[9]
    flat = deviation.ravel()
    norm = float(flat @ flat) + 1.0
    mirrored, turned = deviation[:, ::-1].ravel(), deviation[::-1].ravel()
    symmetry = [float(flat @ mirrored) / norm, float(flat @ turned) / norm]
    return [*sorted(means[:4]), corners[0], corners[-1], means[8], *symmetry]


@lru_cache(256)
def _blocks(side: int) -> tuple[npt.NDArray[np.float32], Floats]:
    """Which pixels of a side lie in each of its blocks, (BLOCKS, side), and how many do."""
    starts = np.arange(BLOCKS) * side // BLOCKS
    # Of fewer pixels than blocks, some count twice.
    ends = np.maximum(np.append(starts[1:], side), starts + 1)
    place = np.arange(side)
    inside = (place >= starts[:, np.newaxis]) & (place < ends[:, np.newaxis])
    return inside.astype(np.float32), inside.sum(axis=1).astype(np.float64)


def _quantiles(counts: npt.NDArray[np.int64], sizes: tuple[int, int, int]) -> list[float]:
    """All quantiles by the counts, to a fraction of a step; sizes are the numbers of values."""
    upto = np.cumsum(counts)
    ranks = np.repeat((0, sizes[0], sizes[0] + sizes[1]), _NUMBERS)
    ranks = ranks + _SHARES * np.repeat(sizes, _NUMBERS)
    levels = upto.searchsorted(ranks)
    quantiles: list[float] = (levels - _BASES - (upto[levels] - ranks) / counts[levels]).tolist()
    return quantiles
