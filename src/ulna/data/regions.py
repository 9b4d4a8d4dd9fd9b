"""Two halves of a picture, equal in area: the frame (borders and corners) and the centre.

Markers, letters, collimators and the edges of a cassette lie in the frame, most bone in the centre.
As the halves are equal, a network loses the same share of the picture with either of them hidden.
"""

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.data.square import Fit, Pixels, picture_box

Region = Literal["frame", "centre"]
REGIONS: tuple[Region, ...] = get_args(Region)

Boxes = npt.NDArray[np.int64]


def picture_boxes(images: pd.DataFrame, size_px: int, fit: Fit) -> Boxes:
    """Tell where each picture lies in its cached square, see `ulna.data.square.picture_box`.

    Args:
        images: One row an image: width_px, height_px of the original.
        size_px: Side of the square.
        fit: How it was made square: pad or stretch.

    Returns:
        (images, 4) int64: left, top, right, bottom in pixels, right and bottom exclusive.
    """
    sides = zip(images["width_px"], images["height_px"], strict=True)
    boxes = [picture_box(width, height, size_px, fit) for width, height in sides]
    return np.array(boxes, np.int64).reshape(-1, 4)


def centre_box(box: npt.ArrayLike) -> tuple[int, int, int, int]:
    """The centre of a picture: half of its area, in its proportions; the frame is around it.

    The frame takes (1 - sqrt(1/2)) / 2 = 14.6% of a side at each end.

    Args:
        box: left, top, right, bottom of the picture.

    Returns:
        left, top, right, bottom of the centre; it differs from half of the picture by half of its
        own height at most. An odd rest goes right or below.

    Example:
        >>> centre_box((0, 24, 96, 72))
        (14, 31, 82, 65)
    """
    left, top, right, bottom = (int(side) for side in np.asarray(box))
    width, height = right - left, bottom - top
    inner_height = max(1, round(height * math.sqrt(0.5)))
    # From the height as rounded: rounding both sides alone could miss half the area by 2%.
    inner_width = round(width * height / 2 / inner_height)
    left, top = left + (width - inner_width) // 2, top + (height - inner_height) // 2
    return left, top, left + inner_width, top + inner_height


def hide(images: Pixels, boxes: Boxes, region: Region) -> Pixels:
    """Blacken the frame or the centre of pictures.

    Black is what a network knows as nothing: padding is black, and so is what augmentation moves in
    from outside a picture.

    Args:
        images: (images, size_px, size_px, ...) uint8, squares; they are not changed.
        boxes: (images, 4), see `picture_boxes`.
        region: What to hide. The two are complements: each pixel of a picture is hidden by one.

    Returns:
        A changed copy; the padding stays as it is.
    """
    hidden = images.copy()
    for before, after, box in zip(images, hidden, boxes, strict=True):
        left, top, right, bottom = box
        inner = centre_box(box)
        centre = slice(inner[1], inner[3]), slice(inner[0], inner[2])
        if region == "centre":
            after[centre] = 0
        else:
            after[top:bottom, left:right] = 0
            after[centre] = before[centre]
    return hidden
