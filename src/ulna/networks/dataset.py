"""Cached images and labels -> tf.data batches; augmentation.

A batch is a function of (seed, step) and a changed image one of (seed, epoch, image): any batch of
any epoch can be made again alone, and the number of threads that make them changes nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from ulna.data.cache import Cache, gather
from ulna.params import Augment

# Philox streams are told apart by these: the order of images is drawn apart from augmentation.
ORDER_STREAM = 1
AUGMENT_STREAM = 2

Arrays = tuple[npt.NDArray[Any], ...]
# Images (batch, height, width, 1) uint8, and which of the source they are, (batch,) -> such images.
Alter = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Examples:
    """Rows of the cache with what is learnt from them, in a fixed order.

    Attributes:
        cache: The cached images.
        body_parts: (images,) text; with `rows`, where an image lies in the cache.
        rows: (images,) int64.
        keys: (images,) uint64; what augmentation knows an image by, a hash of its path.
        labels: (images,) float32, 0 normal or 1 abnormal.
        weights: (images,) float32, weight of an image in the loss.
    """

    cache: Cache
    body_parts: npt.NDArray[np.object_]
    rows: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)


def examples(cache: Cache, images: pd.DataFrame, weights: npt.NDArray[np.float32]) -> Examples:
    """Point at the cached images of a table.

    Args:
        cache: The cached images.
        images: One row an image: image, body_part, row, label.
        weights: (images,) float32, weight of an image in the loss.

    Returns:
        The rows of `images`, in its order.
    """
    return Examples(
        cache=cache,
        body_parts=images["body_part"].to_numpy(object),
        rows=images["row"].to_numpy(np.int64),
        keys=np.array([image_key(image) for image in images["image"]], np.uint64),
        labels=images["label"].to_numpy(np.float32),
        weights=np.asarray(weights, np.float32),
    )


def image_key(image: str) -> int:
    """64 bits that stand for an image wherever its data set lies and whatever else is in it."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")


def order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch shows its images.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        count: Number of images.

    Returns:
        (count,) int64, a permutation of 0 to count - 1.
    """
    stream = np.random.Philox(key=[seed, ORDER_STREAM], counter=[0, 0, 0, epoch])
    return np.random.Generator(stream).permutation(count)


def augmentation(seed: int, epoch: int, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
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


def transforms(
    draws: npt.NDArray[np.float32], augment: Augment, size_px: int
) -> npt.NDArray[np.float32]:
    """Rotation, flip, zoom and shift as one map, so that pixels are interpolated once.

    Args:
        draws: (images, 7) float32 in [-1, 1), see `augmentation`.
        augment: The ranges.
        size_px: Side of the square images.

    Returns:
        (images, 8) float32 as tf.raw_ops.ImageProjectiveTransformV3 takes them: the output pixel
        (x, y) shows the input at (a0 x + a1 y + a2, b0 x + b1 y + b2).
    """
    angle = np.deg2rad(augment.rotation_degrees * draws[:, 0])
    shift_y = augment.shift_fraction * size_px * draws[:, 1]
    shift_x = augment.shift_fraction * size_px * draws[:, 2]
    scale = 1 + augment.zoom_fraction * draws[:, 3]
    mirror = np.where(augment.horizontal_flip & (draws[:, 4] < 0), -1.0, 1.0)
    a0, a1 = mirror * np.cos(angle) / scale, -mirror * np.sin(angle) / scale
    b0, b1 = np.sin(angle) / scale, np.cos(angle) / scale
    centre = (size_px - 1) / 2
    a2 = centre - a0 * (centre + shift_x) - a1 * (centre + shift_y)
    b2 = centre - b0 * (centre + shift_x) - b1 * (centre + shift_y)
    zero = np.zeros_like(a0)
    return np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1).astype(np.float32)


def augment_images(
    images: tf.Tensor, draws: tf.Tensor, maps: tf.Tensor, augment: Augment
) -> tf.Tensor:
    """Move and re-expose a batch.

    Args:
        images: (images, height, width, 1) uint8.
        draws: (images, 7) float32 in [-1, 1), see `augmentation`.
        maps: (images, 8) float32, see `transforms`.
        augment: The ranges.

    Returns:
        (images, height, width, 1) uint8; what comes from outside the image is black.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=maps,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    brightness = augment.brightness * draws[:, 5, tf.newaxis, tf.newaxis, tf.newaxis]
    contrast = 1 + augment.contrast_fraction * draws[:, 6, tf.newaxis, tf.newaxis, tf.newaxis]
    exposed = (moved - 127.5) * contrast + 127.5 + brightness
    return tf.cast(tf.clip_by_value(tf.round(exposed), 0, 255), tf.uint8)


def training_batches(
    source: Examples, batch_size: int, seed: int, augment: Augment, first_epoch: int = 0
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches, epoch after epoch.

    Every epoch shows every image once; its last batch may be smaller.

    Args:
        source: What to learn from.
        batch_size: Images a batch.
        seed: The run's seed.
        augment: The ranges of the changes.
        first_epoch: Epoch to begin with, counted from 0.

    Returns:
        Batches of images (batch, height, width, 1) uint8, labels (batch, 1) and weights (batch,)
        float32; `steps(source, batch_size)` of them are an epoch.
    """

    def batch(step: int) -> Arrays:
        epoch, chosen = chosen_shuffled(step, len(source), batch_size, seed)
        return _drawn(source, chosen, seed, epoch, augment)

    return _augmented(steps_from(len(source), batch_size, first_epoch), batch, source, augment)


def augmented_batches(
    source: Examples, batch_size: int, seed: int, augment: Augment, epoch: int
) -> tf.data.Dataset:
    """Every image once, in order, each changed as in an epoch of `training_batches`.

    Args:
        source: The images.
        batch_size: Images a batch.
        seed: The run's seed.
        augment: The ranges of the changes.
        epoch: Counted from 0.

    Returns:
        Batches as of `training_batches`.
    """

    def batch(step: int) -> Arrays:
        return _drawn(source, chosen_in_order(step, len(source), batch_size), seed, epoch, augment)

    return _augmented(steps_once(len(source), batch_size), batch, source, augment)


def plain_batches(source: Examples, batch_size: int, alter: Alter | None = None) -> tf.data.Dataset:
    """Every image once, in order and not augmented: for validation and prediction.

    Args:
        source: The images.
        batch_size: Images a batch.
        alter: What is done to each batch of images; nothing without it.

    Returns:
        Batches as of `training_batches`.
    """

    def batch(step: int) -> Arrays:
        chosen = chosen_in_order(step, len(source), batch_size)
        images, *rest = _arrays(source, chosen)
        return (images if alter is None else alter(images, chosen), *rest)

    return from_arrays(steps_once(len(source), batch_size), batch, _shapes(source)).prefetch(2)


def steps(count: int, batch_size: int) -> int:
    """Batches that show `count` images once."""
    return -(-count // batch_size)


def steps_from(count: int, batch_size: int, first_epoch: int) -> tf.data.Dataset:
    """Numbers of the steps from the first of an epoch on, without end."""
    first = first_epoch * steps(count, batch_size)
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max)


def steps_once(count: int, batch_size: int) -> tf.data.Dataset:
    """Numbers of the steps that show `count` images once."""
    return tf.data.Dataset.range(steps(count, batch_size))


def chosen_shuffled(
    step: int, count: int, batch_size: int, seed: int
) -> tuple[int, npt.NDArray[np.int64]]:
    """The epoch of a step of training, and which of `count` images the step shows."""
    epoch, index = divmod(int(step), steps(count, batch_size))
    return epoch, order(seed, epoch, count)[index * batch_size : (index + 1) * batch_size]


def chosen_in_order(step: int, count: int, batch_size: int) -> npt.NDArray[np.int64]:
    """Which of `count` images a step shows where they come in order."""
    return np.arange(step * batch_size, min(count, (step + 1) * batch_size))


def from_arrays(
    counter: tf.data.Dataset,
    batch: Callable[[int], Arrays],
    specs: Sequence[tf.TensorSpec],
) -> tf.data.Dataset:
    """Batches that a NumPy function makes from numbers of steps.

    Args:
        counter: Numbers of steps.
        batch: Number of a step -> arrays.
        specs: Shape and type of each of the arrays.

    Returns:
        The arrays, as tensors; as many batches as `counter` has numbers.
    """

    def load(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        tensors = tf.numpy_function(batch, [step], [spec.dtype for spec in specs])
        for tensor, spec in zip(tensors, specs, strict=True):
            tensor.set_shape(spec.shape)
        return tuple(tensors)

    return counter.map(load)


def _shapes(source: Examples) -> tuple[tf.TensorSpec, ...]:
    size_px = source.cache.size_px
    return (
        tf.TensorSpec((None, size_px, size_px, 1), tf.uint8),
        tf.TensorSpec((None, 1), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )


def _arrays(source: Examples, chosen: npt.NDArray[np.int64]) -> Arrays:
    images = gather(source.cache, source.body_parts[chosen], source.rows[chosen])
    return images[..., np.newaxis], source.labels[chosen, np.newaxis], source.weights[chosen]


def _drawn(
    source: Examples, chosen: npt.NDArray[np.int64], seed: int, epoch: int, augment: Augment
) -> Arrays:
    draws = augmentation(seed, epoch, source.keys[chosen])
    return (*_arrays(source, chosen), draws, transforms(draws, augment, source.cache.size_px))


def _augmented(
    counter: tf.data.Dataset,
    batch: Callable[[int], Arrays],
    source: Examples,
    augment: Augment,
) -> tf.data.Dataset:
    draws = (tf.TensorSpec((None, 7), tf.float32), tf.TensorSpec((None, 8), tf.float32))
    drawn = from_arrays(counter, batch, (*_shapes(source), *draws))

    def apply(
        images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, draws: tf.Tensor, maps: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return augment_images(images, draws, maps, augment), labels, weights

    return drawn.map(apply).prefetch(2)
