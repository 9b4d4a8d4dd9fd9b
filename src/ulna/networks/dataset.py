"""Cached images and labels -> tf.data batches.

A batch is a function of (seed, step) and a changed image one of (seed, epoch, image): any batch of
any epoch can be made again alone, and the number of threads that make them changes nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from ulna.core.params import Augment
from ulna.data import Cache
from ulna.data.augmentation import augment_images, image_key, sample_params

ORDER_STREAM = 1  # of Philox; augmentation draws from another
WORKERS = 2  # batches that are made at a time
PREFETCH = 4  # batches that wait for the network
IMAGES_PER_HASH = 256  # of a cached array, which is larger than memory

Arrays = tuple[npt.NDArray[Any], ...]
# Images (batch, height, width, 1) uint8, and their numbers in the source, (batch,) -> such images.
Transform = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Examples:
    """Cached images with their labels, in a fixed order; all but `cache` are (images,)."""

    cache: Cache
    body_parts: npt.NDArray[np.object_]  # with `rows`, where an image lies in the cache
    rows: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]  # what augmentation knows an image by, a hash of its path
    labels: npt.NDArray[np.float32]  # 0 normal or 1 abnormal
    weights: npt.NDArray[np.float32]  # of an image in the loss

    def __len__(self) -> int:
        """Count the images."""
        return len(self.rows)


def examples(cache: Cache, images: pd.DataFrame, weights: npt.NDArray[np.float32]) -> Examples:
    """Point at the cached images of a table: one row per image; image, body_part, row, label."""
    return Examples(
        cache=cache,
        body_parts=images["body_part"].to_numpy(object),
        rows=images["row"].to_numpy(np.int64),
        keys=np.array([image_key(image) for image in images["image"]], np.uint64),
        labels=images["label"].to_numpy(np.float32),
        weights=np.asarray(weights, np.float32),
    )


def digest(*sets: Examples) -> str:
    """Hash the pixels of one cache, and all else of sets of examples from it (SHA-256)."""
    total = hashlib.sha256()
    for part, array in sorted(sets[0].cache.arrays.items()):
        total.update(part.encode())
        for start in range(0, len(array), IMAGES_PER_HASH):
            total.update(array[start : start + IMAGES_PER_HASH].tobytes())
    for source in sets:
        total.update(" ".join(source.body_parts).encode())
        for column in (source.rows, source.keys, source.labels, source.weights):
            total.update(column.tobytes())
    return total.hexdigest()


@lru_cache(maxsize=2)  # each step of an epoch asks for it, and two epochs meet ahead of the network
def order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Draw the order of an epoch (from 0): a permutation of 0 to count - 1, int64, read-only."""
    stream = np.random.Philox(key=[seed, ORDER_STREAM], counter=[0, 0, 0, epoch])
    permutation = np.random.Generator(stream).permutation(count)
    permutation.flags.writeable = False
    return permutation


def training_batch(
    source: Examples, step: int, batch_size: int, seed: int, augment: Augment
) -> Arrays:
    """Make the shuffled, augmented batch of a step of training, counted from 0 over all epochs.

    Returns:
        Images (batch, height, width, 1) uint8, labels (batch, 1) and weights (batch,) float32; the
        last batch of an epoch may hold fewer than `batch_size`.
    """
    epoch, chosen = _shuffled(step, len(source), batch_size, seed)
    return _augmented(source, chosen, seed, epoch, augment)


def training_batches(
    source: Examples, batch_size: int, seed: int, augment: Augment, first_epoch: int = 0
) -> tf.data.Dataset:
    """Make endless batches as of `training_batch`; every epoch shows every image once."""

    def batch(step: int) -> Arrays:
        return training_batch(source, step, batch_size, seed, augment)

    return from_arrays(_steps_from(len(source), batch_size, first_epoch), batch, _specs(source))


def augmented_batches(
    source: Examples, batch_size: int, seed: int, augment: Augment, epoch: int
) -> tf.data.Dataset:
    """Make batches of every image once, in order, each changed as in an epoch of training."""

    def batch(step: int) -> Arrays:
        return _augmented(source, _in_order(step, len(source), batch_size), seed, epoch, augment)

    once = tf.data.Dataset.range(steps(len(source), batch_size))
    return from_arrays(once, batch, _specs(source))


def plain_batches(
    source: Examples, batch_size: int, transform: Transform | None = None
) -> tf.data.Dataset:
    """Make batches of every image once, in order, for validation and prediction."""

    def batch(step: int) -> Arrays:
        chosen = _in_order(step, len(source), batch_size)
        images, *rest = _arrays(source, chosen)
        return (images if transform is None else transform(images, chosen), *rest)

    once = tf.data.Dataset.range(steps(len(source), batch_size))
    return from_arrays(once, batch, _specs(source))


def shuffled_features(
    passes: Sequence[npt.NDArray[np.float32]],
    source: Examples,
    batch_size: int,
    seed: int,
    first_epoch: int,
) -> tf.data.Dataset:
    """Make endless batches of features, epoch after epoch, in the order of `training_batches`.

    `passes` are (images, channels) each: features of the images as augmented in epoch 0, epoch 1,
    and so on; later epochs begin with the first again.

    Returns:
        Batches of features (batch, channels), labels (batch, 1) and weights (batch,) float32.
    """

    def batch(step: int) -> Arrays:
        epoch, chosen = _shuffled(step, len(source), batch_size, seed)
        return np.array(epoch % len(passes)), chosen

    return _gathered(_steps_from(len(source), batch_size, first_epoch), batch, passes, source)


def plain_features(
    features: npt.NDArray[np.float32], source: Examples, batch_size: int
) -> tf.data.Dataset:
    """Make batches of features, once and in order; see `shuffled_features`."""

    def batch(step: int) -> Arrays:
        return np.array(0), _in_order(step, len(source), batch_size)

    once = tf.data.Dataset.range(steps(len(source), batch_size))
    return _gathered(once, batch, [features], source)


def _gathered(
    counter: tf.data.Dataset,
    batch: Callable[[int], Arrays],
    passes: Sequence[npt.NDArray[np.float32]],
    source: Examples,
) -> tf.data.Dataset:
    # Tensors, not arrays inside `batch`: TensorFlow keeps a NumPy function, and so what it refers
    # to, until the process ends, through all of fine-tuning. In the computer's memory, where the
    # batches are gathered: a GPU would be given them all (of MURA 245 MB per pass).
    with tf.device("CPU"):
        features = tf.constant(np.stack(passes))
        labels, weights = tf.constant(source.labels[:, np.newaxis]), tf.constant(source.weights)

    def gather(number: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(tf.gather(tensor, chosen) for tensor in (features[number], labels, weights))

    indices = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64))
    return from_arrays(counter, batch, indices).map(gather).prefetch(2)


def steps(count: int, batch_size: int) -> int:
    """Count the batches that show `count` images once."""
    return -(-count // batch_size)


def _steps_from(count: int, batch_size: int, first_epoch: int) -> tf.data.Dataset:
    first = first_epoch * steps(count, batch_size)
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max)


def _shuffled(
    step: int, count: int, batch_size: int, seed: int
) -> tuple[int, npt.NDArray[np.int64]]:
    """The epoch of a step of training, and which of `count` images the step shows."""
    epoch, index = divmod(int(step), steps(count, batch_size))
    return epoch, order(seed, epoch, count)[index * batch_size : (index + 1) * batch_size]


def _in_order(step: int, count: int, batch_size: int) -> npt.NDArray[np.int64]:
    return np.arange(step * batch_size, min(count, (step + 1) * batch_size))


def from_arrays(
    counter: tf.data.Dataset, batch: Callable[[int], Arrays], specs: Sequence[tf.TensorSpec]
) -> tf.data.Dataset:
    """Make a batch of each number of `counter`, a step, with a NumPy function.

    `specs` are the shapes and types of the arrays that it returns.
    """

    def load(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Under determinism tf.data makes what may have a state one after the other.
        types = [spec.dtype for spec in specs]
        tensors = tf.numpy_function(batch, [step], types, stateful=False)
        for tensor, spec in zip(tensors, specs, strict=True):
            tensor.set_shape(spec.shape)
        return tuple(tensors)

    # At 224 px, augmented, two threads hand on 3,900 images/s by tf.data, 3,000 by Keras' PyDataset
    # and 4,200 by Grain (benchmarks/input_pipeline.py), which would be one more dependency.
    options = tf.data.Options()
    options.deterministic = True
    # Nothing is left to tune, and the end of an iterator waits until the tuner's thread wakes: up
    # to a minute after each phase of training (42 s were seen).
    options.autotune.enabled = False
    batches = counter.map(load, num_parallel_calls=WORKERS)
    return batches.prefetch(PREFETCH).with_options(options)


def _specs(source: Examples) -> tuple[tf.TensorSpec, ...]:
    size_px = source.cache.size_px
    return (
        tf.TensorSpec((None, size_px, size_px, 1), tf.uint8),
        tf.TensorSpec((None, 1), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )


def _arrays(source: Examples, chosen: npt.NDArray[np.int64]) -> Arrays:
    images = source.cache.gather(source.body_parts[chosen], source.rows[chosen])
    return images[..., np.newaxis], source.labels[chosen, np.newaxis], source.weights[chosen]


def _augmented(
    source: Examples, chosen: npt.NDArray[np.int64], seed: int, epoch: int, augment: Augment
) -> Arrays:
    images, *rest = _arrays(source, chosen)
    draws = sample_params(seed, epoch, source.keys[chosen])
    return (augment_images(images[..., 0], draws, augment)[..., np.newaxis], *rest)
