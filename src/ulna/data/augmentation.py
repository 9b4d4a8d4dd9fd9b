"""Augmentation of training images, as a function of (seed, epoch, image). NumPy and OpenCV alone.

On the CPU, beside the step: the same bytes on every machine, and nothing of the accelerator's time.
OpenCV turns 32 images of 224 px in 4 ms of one core; TensorFlow's ImageProjectiveTransformV3 needs
26, Pillow 29, an XLA kernel 33 (benchmarks/input_pipeline.py holds the first two side by side).
"""

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from ulna.core.params import Augment

AUGMENT_STREAM = 2  # of Philox; the order of images comes from another

Pixels = npt.NDArray[np.uint8]
Params = npt.NDArray[np.float32]

# tf.data runs batches on threads of its own; OpenCV's would compete with them.
cv2.setNumThreads(1)


def image_key(image: str) -> int:
    """Hash the path of an image in its data set to 64 bits."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")


def sample_params(seed: int, epoch: int, keys: npt.NDArray[np.uint64]) -> Params:
    """Sample seven uniform random numbers per image (`image_key`), the parameters of an epoch.

    Returns:
        (images, 7) float32 in [-1, 1): rotation, shift down, shift right, zoom, flip, brightness,
        contrast.
    """
    params = np.empty((len(keys), 7))
    for row, key in zip(params, keys, strict=True):
        # A generator per image costs 6 us: 0.2 s per epoch of MURA, on a thread beside the step.
        stream = np.random.Philox(key=[seed, int(key)], counter=[0, 0, AUGMENT_STREAM, epoch])
        np.random.Generator(stream).random(out=row)
    return (2 * params - 1).astype(np.float32)


def transforms(params: Params, augment: Augment, size_px: int) -> npt.NDArray[np.float64]:
    """Combine rotation, flip, zoom and shift, so that pixels are interpolated once.

    Returns:
        (images, 2, 3): the output pixel (x, y) shows the input at the matrix times (x, y, 1).
    """
    angle = np.deg2rad(augment.rotation_degrees * params[:, 0].astype(np.float64))
    shift_y = augment.shift_fraction * size_px * params[:, 1]
    shift_x = augment.shift_fraction * size_px * params[:, 2]
    scale = 1 + augment.zoom_fraction * params[:, 3]
    mirror = np.where(augment.horizontal_flip & (params[:, 4] < 0), -1.0, 1.0)
    a0, a1 = mirror * np.cos(angle) / scale, -mirror * np.sin(angle) / scale
    b0, b1 = np.sin(angle) / scale, np.cos(angle) / scale
    centre = (size_px - 1) / 2
    a2 = centre - a0 * (centre + shift_x) - a1 * (centre + shift_y)
    b2 = centre - b0 * (centre + shift_x) - b1 * (centre + shift_y)
    return np.stack([a0, a1, a2, b0, b1, b2], axis=1).reshape(-1, 2, 3)


def exposures(params: Params, augment: Augment) -> Pixels:
    """Combine contrast about the mid-grey and brightness: (images, 256) uint8 lookup tables."""
    contrast = 1 + augment.contrast_fraction * params[:, 6, np.newaxis]
    brightness = augment.brightness * params[:, 5, np.newaxis]
    levels = (np.arange(256) - 127.5) * contrast + 127.5 + brightness
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def augment_images(images: Pixels, params: Params, augment: Augment) -> Pixels:
    """Transform and re-expose (images, size_px, size_px) uint8; black comes in from outside."""
    size = images.shape[2], images.shape[1]
    augmented = np.empty_like(images)
    changes = transforms(params, augment, size[0]), exposures(params, augment)
    for image, transform, levels, out in zip(images, *changes, augmented, strict=True):
        # OpenCV interpolates between the four pixels around a point that it rounds to 1/32 of a
        # pixel, in whole numbers: the same bytes for any processor and number of threads.
        moved = cv2.warpAffine(
            image, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        cv2.LUT(moved, levels, dst=out)
    return augmented
