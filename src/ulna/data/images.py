"""Decode an image file, letterbox it to a square of uint8 grey levels, box and mask its content.

Pure functions on arrays. An unusable file raises InputError with a reason that holds nothing of the
file's own text and no address or path, so it may stand in a table.
"""

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ulna.core import InputError
from ulna.data import Decoded as Decoded
from ulna.data import Fit, damage_as_input_error
from ulna.data.dicom import body_part, is_dicom, read_dicom, study_key
from ulna.data.dicom_pixels import decode_pixels
from ulna.data.grey_levels import grey_table, is_raw, polarity_known

if TYPE_CHECKING:  # `ulna predict` does without
    import pandas as pd

# Half of an image each: the frame (borders and corners) has markers, letters, collimators and the
# edges of a cassette, the centre most bone. As their areas are equal, a network loses the same
# share of the image with either of them masked.
Region = Literal["frame", "centre"]
REGIONS: tuple[Region, ...] = get_args(Region)

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.int64]

# A PNG file begins with its signature and the head of IHDR, whose ninth byte is the bit depth.
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
PNG_BIT_DEPTH_AT = 24
JPEG_START = b"\xff\xd8\xff"

# Bit depths of detectors; a 16-bit file holds one of them.
BIT_DEPTHS = (8, 10, 12, 14, 16)

# Averages over all source pixels when it shrinks, interpolates when it enlarges, and stays within
# the grey levels around it. BOX repeats pixels when it enlarges and weighs them unevenly at factors
# such as 1.4; BICUBIC and LANCZOS overshoot: halos along plates, screws and collimation borders. It
# takes 0.5 ms for 373 x 454 to 128 pixels, LANCZOS 1.3 ms.
FILTER = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Measurements:
    """One row of the cache's table, of an image at full size, the right way up."""

    mode: str
    bit_depth: int
    width_px: int
    height_px: int
    mean: float  # grey level, 0 to 255, to four decimals
    pixel_sha256: str  # of shape and grey levels: equal for an image saved twice without loss


def decode(data: bytes, max_megapixels: float) -> Decoded:
    """Decode a PNG, JPEG or DICOM file, recognised by its content, to 8-bit grey levels.

    Colour becomes luma (ITU-R 601; equal channels keep their value). Transparent pixels lie on
    black. 16-bit grey levels are scaled by the bits in use: the smallest of `BIT_DEPTHS` that holds
    the brightest pixel, so 12-bit data in a 16-bit file is not black. An image whose brightest
    pixel is below 1024 is therefore shown four times as bright as its neighbour that reaches 4095.
    DICOM states its bits and its window, and is shown by them, see `ulna.data.grey_levels`.

    Raises:
        InputError: It is none of the three, too large (from its header, before memory is taken),
            damaged, cut off, animated, has 16 bits per colour, or is DICOM that `read_dicom`
            refuses; the message is the reason alone.
    """
    if not data:
        raise InputError("the file is empty")
    if not data.startswith((PNG_START, JPEG_START)):
        if is_dicom(data):
            return _decode_dicom(data, max_megapixels)
        raise InputError("neither PNG nor JPEG nor DICOM by its content")
    is_png = data.startswith(PNG_START)
    # Image.open has a limit of its own, in global state; the plugins have none, so the one below
    # is the only one.
    with damage_as_input_error():
        image = PngImageFile(io.BytesIO(data)) if is_png else JpegImageFile(io.BytesIO(data))
    if image.width * image.height > max_megapixels * 1e6:
        raise InputError(
            f"{image.width} x {image.height} pixels are more than image.max_megapixels "
            f"({max_megapixels:g}) allows"
        )
    if is_png and data[PNG_BIT_DEPTH_AT] == 16 and image.mode != "I;16":
        raise InputError("16 bits per colour, of which Pillow drops 8: save it as 16-bit greyscale")
    if getattr(image, "is_animated", False):
        raise InputError("an animation: save one image of it")
    with damage_as_input_error():
        if is_png:
            # load() passes over the checksums of the pixel data; this takes 0.03 ms.
            PngImageFile(io.BytesIO(data)).verify()
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        pixels, bit_depth = _grey(image)
    return Decoded(pixels, image.mode, bit_depth)


def _decode_dicom(data: bytes, max_megapixels: float) -> Decoded:
    dataset, plugin = read_dicom(data, max_megapixels)
    stored = decode_pixels(dataset, plugin)
    with damage_as_input_error():
        return Decoded(
            pixels=grey_table(dataset)[stored],
            mode=dataset.PhotometricInterpretation,
            bit_depth=dataset.BitsStored,
            body_part=body_part(dataset),
            notes=("for_processing",) if is_raw(dataset) else (),
            study_key=study_key(dataset),
            polarity_known=polarity_known(dataset),
        )


def content_box(width_px: int, height_px: int, size_px: int, fit: Fit) -> tuple[int, int, int, int]:
    """Box of an image of this size in its square: the square without its padding.

    `pad` scales the longer side to `size_px` and centres the image (an odd rest goes right or
    below); `stretch` fills the square.

    Returns:
        left, top, right, bottom in pixels of the square, right and bottom exclusive; a sliver is at
        least a pixel wide.

    Example:
        >>> content_box(400, 200, 96, "pad")
        (0, 24, 96, 72)
    """
    if fit == "stretch":
        return 0, 0, size_px, size_px
    longer = max(width_px, height_px)
    width, height = (max(1, round(side * size_px / longer)) for side in (width_px, height_px))
    left, top = (size_px - width) // 2, (size_px - height) // 2
    return left, top, left + width, top + height


def content_boxes(images: "pd.DataFrame", size_px: int, fit: Fit) -> Boxes:
    """`content_box` of every row with width_px and height_px: (images, 4) int64."""
    sides = zip(images["width_px"], images["height_px"], strict=True)
    boxes = [content_box(width, height, size_px, fit) for width, height in sides]
    return np.array(boxes, np.int64).reshape(-1, 4)


def letterbox(pixels: Pixels, size_px: int, fit: Fit) -> Pixels:
    """Scale an image (height, width) to a square (size_px, size_px), antialiased (`FILTER`).

    It lies in its `content_box`, on black.

    Example:
        >>> letterbox(np.full((2, 4), 200, np.uint8), 4, "pad").tolist()
        [[0, 0, 0, 0], [200, 200, 200, 200], [200, 200, 200, 200], [0, 0, 0, 0]]
    """
    height, width = pixels.shape
    left, top, right, bottom = content_box(width, height, size_px, fit)
    scaled = Image.fromarray(pixels).resize((right - left, bottom - top), FILTER)
    square = np.zeros((size_px, size_px), np.uint8)
    square[top:bottom, left:right] = np.asarray(scaled)
    return square


def crop_padding(square: Pixels, width_px: int, height_px: int, fit: Fit) -> Pixels:
    """View of a square without its padding, see `content_box`."""
    left, top, right, bottom = content_box(width_px, height_px, square.shape[0], fit)
    return square[top:bottom, left:right]


def centre_box(box: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Box of the centre of an image: half of its area, in its proportions.

    The frame around it takes (1 - sqrt(1/2)) / 2 = 14.6% of a side at each end; an odd rest goes
    right or below. Both boxes are left, top, right, bottom; the area is off by half of the centre's
    height at most.

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


def mask_region(images: Pixels, boxes: Boxes, region: Region) -> Pixels:
    """Copy squares (images, size_px, size_px, ...) with the frame or the centre of each black.

    Each pixel of the `content_boxes` lies in one of the two; the padding stays as it is.
    """
    masked = images.copy()
    for before, after, box in zip(images, masked, boxes, strict=True):
        left, top, right, bottom = box
        inner = centre_box(box)
        centre = slice(inner[1], inner[3]), slice(inner[0], inner[2])
        # Black, as the padding and what augmentation moves in from outside an image.
        if region == "centre":
            after[centre] = 0
        else:
            after[top:bottom, left:right] = 0
            after[centre] = before[centre]
    return masked


def hide_region(
    images: "pd.DataFrame", size_px: int, fit: Fit, region: Region
) -> Callable[[Pixels, npt.NDArray[np.int64]], Pixels]:
    """Prepare `mask_region` for batches of images with width_px and height_px, and their rows."""
    boxes = content_boxes(images, size_px, fit)  # padding is part of neither region
    return lambda squares, rows: mask_region(squares, boxes[rows], region)


def measure(decoded: Decoded) -> Measurements:
    """Measure an image at full size."""
    height, width = decoded.pixels.shape
    digest = hashlib.sha256(f"{height} x {width}\n".encode())
    digest.update(np.ascontiguousarray(decoded.pixels).data)
    mean = round(_sum(decoded.pixels) / decoded.pixels.size, 4)
    return Measurements(decoded.mode, decoded.bit_depth, width, height, mean, digest.hexdigest())


def _sum(pixels: Pixels) -> int:
    # By columns of 256 levels, which fit 16 bits: 0.05 ms for 512 x 400 pixels, the mean of NumPy,
    # which makes each level a float, 0.13 ms.
    blocks = (pixels[top : top + 256] for top in range(0, len(pixels), 256))
    return sum(int(block.sum(axis=0, dtype=np.uint16).sum(dtype=np.int64)) for block in blocks)


def _grey(image: Image.Image) -> tuple[Pixels, int]:
    if image.mode == "I;16":
        return _grey_from_16_bits(image)
    bit_depth = 1 if image.mode == "1" else 8
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return np.asarray(ImageChops.multiply(rgba.convert("L"), rgba.getchannel("A"))), bit_depth
    # convert() copies what is grey already.
    return np.asarray(image if image.mode == "L" else image.convert("L")), bit_depth


def _grey_from_16_bits(image: Image.Image) -> tuple[Pixels, int]:
    levels = np.asarray(image)
    brightest = int(levels.max())
    bit_depth = next(bits for bits in BIT_DEPTHS if brightest < 2**bits)
    white = 2**bit_depth - 1
    to_8_bits = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
    pixels = to_8_bits[levels]
    if "transparency" in image.info:
        pixels[levels == image.info["transparency"]] = 0
    return pixels, bit_depth
