"""Random changes to training images, as a function of (seed, epoch, image). NumPy and OpenCV alone.

On the CPU, beside the step: the same bytes on every machine, and nothing of the accelerator's time.
OpenCV turns 32 images of 224 px in 4 ms of one core; TensorFlow's ImageProjectiveTransformV3 needs
26, Pillow 29, an XLA kernel 33 (benchmarks/input_pipeline.py holds the first two side by side).
"""

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from ulna.core.params import Augment

AUGMENT_STREAM = 2  # of Philox; the order of images is drawn from another

Pixels = npt.NDArray[np.uint8]
Draws = npt.NDArray[np.float32]

# tf.data runs batches on threads of its own; OpenCV's would compete with them.
cv2.setNumThreads(1)


def image_key(image: str) -> int:
    """64 bits that stand for an image wherever its data set lies and whatever else is in it."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")


def sample_params(seed: int, epoch: int, keys: npt.NDArray[np.uint64]) -> Draws:
    """Seven uniform random numbers an image: what its augmentation is made from.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        keys: (images,) uint64, see `image_key`.

    Returns:
        (images, 7) float32 in [-1, 1): rotation, shift down, shift right, zoom, flip, brightness,
        contrast.
    """
    draws = np.empty((len(keys), 7))
    for drawn, key in zip(draws, keys, strict=True):
        # A generator an image costs 6 us: 0.2 s for an epoch of MURA, on a thread beside the step.
        stream = np.random.Philox(key=[seed, int(key)], counter=[0, 0, AUGMENT_STREAM, epoch])
        np.random.Generator(stream).random(out=drawn)
    return (2 * draws - 1).astype(np.float32)


def transforms(draws: Draws, augment: Augment, size_px: int) -> npt.NDArray[np.float64]:
    """Rotation, flip, zoom and shift as one map, so that pixels are interpolated once.

    Args:
        draws: (images, 7), see `sample_params`.
        augment: The ranges.
        size_px: Side of the square images.

    Returns:
        (images, 2, 3): the output pixel (x, y) shows the input at the map times (x, y, 1).
    """
    angle = np.deg2rad(augment.rotation_degrees * draws[:, 0].astype(np.float64))
    shift_y = augment.shift_fraction * size_px * draws[:, 1]
    shift_x = augment.shift_fraction * size_px * draws[:, 2]
    scale = 1 + augment.zoom_fraction * draws[:, 3]
    mirror = np.where(augment.horizontal_flip & (draws[:, 4] < 0), -1.0, 1.0)
    a0, a1 = mirror * np.cos(angle) / scale, -mirror * np.sin(angle) / scale
    b0, b1 = np.sin(angle) / scale, np.cos(angle) / scale
    centre = (size_px - 1) / 2
    a2 = centre - a0 * (centre + shift_x) - a1 * (centre + shift_y)
    b2 = centre - b0 * (centre + shift_x) - b1 * (centre + shift_y)
    return np.stack([a0, a1, a2, b0, b1, b2], axis=1).reshape(-1, 2, 3)


def exposures(draws: Draws, augment: Augment) -> Pixels:
    """Contrast about the mid-grey and brightness, as one table an image.

    Args:
        draws: (images, 7), see `sample_params`.
        augment: The ranges.

    Returns:
        (images, 256) uint8: what becomes of each grey level.
    """
    contrast = 1 + augment.contrast_fraction * draws[:, 6, np.newaxis]
    brightness = augment.brightness * draws[:, 5, np.newaxis]
    levels = (np.arange(256) - 127.5) * contrast + 127.5 + brightness
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def augment_images(images: Pixels, draws: Draws, augment: Augment) -> Pixels:
    """Move and re-expose a batch.

    OpenCV interpolates between the four pixels around a point that it rounds to 1/32 of a pixel,
    in whole numbers: the same bytes whatever the processor or the number of threads.

    Args:
        images: (images, size_px, size_px) uint8.
        draws: (images, 7), see `sample_params`.
        augment: The ranges.

    Returns:
        The same shape; what comes from outside the image is black.
    """
    size = images.shape[2], images.shape[1]
    changed = np.empty_like(images)
    parts = zip(
        images, transforms(draws, augment, size[0]), exposures(draws, augment), changed, strict=True
    )
    for image, transform, levels, out in parts:
        moved = cv2.warpAffine(
            image, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        cv2.LUT(moved, levels, dst=out)
    return changed
