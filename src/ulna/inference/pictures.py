"""Pictures of a prediction: an activation map over its radiograph, as PNG or small JPEG."""

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ulna.data import Fit
from ulna.data.images import content_box

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

# Blue and orange (Okabe and Ito), which the colour-blind tell apart, as in the figures.
NORMAL, ABNORMAL = (86, 180, 233), (230, 159, 0)
STRONGEST = 0.6  # highest opacity: the bone below stays visible
# Of a map, from which on the opacity is highest: its own largest values, but at least 0.5 of the
# logit. Otherwise a map of next to nothing would glow as one of an evident finding does. In the
# default run the largest value of half of the maps of the CNN is 0.6 or more.
QUANTILE, LEAST_LOGIT = 0.99, 0.5
QUALITY = 80  # of JPEG


def draw_overlay(pixels: Pixels, cells: Map, size_px: int, fit: Fit) -> Image.Image:
    """Lay an activation map over its radiograph: orange speaks for abnormal, blue for normal.

    Args:
        pixels: (height, width), grey levels at the picture's own size.
        cells: (rows, columns), in units of the logit, over the whole square that the network saw.
        size_px: Side of that square.
        fit: How the picture lies in it.

    Returns:
        An RGB image of the size of `pixels`.
    """
    height, width = pixels.shape
    rows, columns = cells.shape
    left, top, right, bottom = content_box(width, height, size_px, fit)
    across, down = columns / size_px, rows / size_px
    scaled = Image.fromarray(cells.astype(np.float32)).resize(
        (width, height),
        Image.Resampling.BILINEAR,
        box=(left * across, top * down, right * across, bottom * down),
    )
    values = np.asarray(scaled)
    full = max(float(np.quantile(np.abs(cells), QUANTILE)), LEAST_LOGIT)
    opacity = STRONGEST * np.minimum(np.abs(values) / full, 1)
    image = Image.fromarray(pixels).convert("RGB")
    for colour, chosen in ((ABNORMAL, values > 0), (NORMAL, values < 0)):
        mask = Image.fromarray(np.round(opacity * chosen * 255).astype(np.uint8))
        image.paste(colour, mask=mask)
    return image


def overlay_name(study: str, path: str) -> str:
    """The file name of an overlay: readable, and its own for every path.

    Example:
        >>> overlay_name("XR_WRIST/patient00011/study1", "XR_WRIST/patient00011/study1/image1.png")
        'XR_WRIST_patient00011_study1_image1_703dac8f.png'
    """
    name = Path(path).stem if study != path else ""
    words = re.sub(r"[^A-Za-z0-9-]+", "_", f"{study}_{name}").strip("_")
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{words[-80:].lstrip('_')}_{digest[:8]}.png"


def encode_jpeg(image: Image.Image, longest_px: int) -> tuple[bytes, tuple[int, int]]:
    """JPEG of a picture, at most that long, and its width and height; it holds no metadata."""
    small = image.copy()
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "jpeg", quality=QUALITY, optimize=True)
    return buffer.getvalue(), small.size
