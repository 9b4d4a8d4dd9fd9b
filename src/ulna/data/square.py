"""Where a picture lies in the padded square that the cache holds.

The one place that knows it: what writes squares and what reads, measures or marks them agree.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

Fit = Literal["pad", "stretch"]
Pixels = npt.NDArray[np.uint8]


def picture_box(width_px: int, height_px: int, size_px: int, fit: Fit) -> tuple[int, int, int, int]:
    """Tell where `ulna.data.images.fit_square` puts a picture: the square without its padding.

    Args:
        width_px: Width of the original image.
        height_px: Its height.
        size_px: Side of the square.
        fit: `pad` scales the longer side to `size_px` and centres the picture (an odd rest goes
            right or below); `stretch` fills the square.

    Returns:
        left, top, right, bottom in pixels of the square, right and bottom exclusive; a sliver is at
        least a pixel wide.

    Example:
        >>> picture_box(400, 200, 96, "pad")
        (0, 24, 96, 72)
    """
    if fit == "stretch":
        return 0, 0, size_px, size_px
    longer = max(width_px, height_px)
    width, height = (max(1, round(side * size_px / longer)) for side in (width_px, height_px))
    left, top = (size_px - width) // 2, (size_px - height) // 2
    return left, top, left + width, top + height


def without_padding(square: Pixels, width_px: int, height_px: int, fit: Fit) -> Pixels:
    """Cut the padding off a square.

    Args:
        square: (size_px, size_px) uint8, see `ulna.data.images.fit_square`.
        width_px: Width of the original image.
        height_px: Its height.
        fit: How it was made square.

    Returns:
        (height, width) uint8, a view.
    """
    left, top, right, bottom = picture_box(width_px, height_px, square.shape[0], fit)
    return square[top:bottom, left:right]
