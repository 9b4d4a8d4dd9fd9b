"""More than one GPU: each takes a part of every batch, and what they learn is added up.

With one GPU or none nothing here does anything. Bytes are promised of one device alone: several add
their gradients up in another order, and batch normalisation sees a part of the batch at a time.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import initializers, layers

from ulna.errors import InputError

# Relative. Two and three logical CPUs differ by 0 and at most 5e-7; GPUs may round to 10 bits what
# they multiply (TF32), which is 5e-4. A part that is lost or counted twice makes over 0.1.
LOSS_TOLERANCE = 1e-3
GRADIENT_TOLERANCE = 1e-2

Tensors = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def list_gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees; CUDA_VISIBLE_DEVICES chooses among them."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


@contextmanager
def share(devices: Sequence[str], rows: int) -> Iterator[None]:
    """In this context networks are built, compiled and trained on all devices.

    Args:
        devices: Names of TensorFlow's devices; they are checked the first time, which takes some
            5 s. With fewer than two nothing is done.
        rows: Images of a full batch.

    Raises:
        InputError: The batch does not divide by the number of devices, the precision is float16, or
            the devices together do not compute what one does.
    """
    if len(devices) < 2:
        yield
        return
    _check_rows(rows, len(devices))
    if keras.mixed_precision.dtype_policy().compute_dtype == "float16":
        # Seen with Keras 3.15: an overflow on the second device made all weights infinite.
        raise InputError(
            f"train.mixed_precision is float16, but there are {len(devices)} GPUs, and Keras looks "
            "for an overflow on the first of them only: use bfloat16, or one GPU "
            "(CUDA_VISIBLE_DEVICES=0)"
        )
    with warnings.catch_warnings():
        # Keras says so at the end of each validation whose number of batches it cannot see.
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        with _checked(tuple(devices)).scope():
            yield


# Sums over devices of two strategies in one process get mixed up: "Shape mismatch in the collective
# instance". Stage transfer trains one network after the other.
@lru_cache(maxsize=1)
def _checked(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    strategy = tf.distribute.MirroredStrategy(devices)
    check_replicas(strategy)
    print(f"{len(devices)} GPUs, which together compute what one does: each takes its part")
    return strategy


class SameStatistics(keras.callbacks.Callback):
    """Before each validation gives every device the mean of what each has counted.

    Keras lets every device keep moving averages of its own for batch normalisation, and saves those
    of the first.
    """

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Average what differs."""
        if not tf.distribute.has_strategy():
            return
        for weight in self.model.non_trainable_weights:
            copies = _copies(weight)
            if any((copy != copies[0]).any() for copy in copies):
                weight.assign(np.mean(copies, axis=0))


def spread(batches: tf.data.Dataset, learning: bool) -> Any:
    """Give each device of `share` its part of every batch.

    Args:
        batches: Inputs, labels and weights; any number of rows a batch.
        learning: Keras takes the mean over each part and then the mean of those, which is not the
            mean over the batch where parts differ in size. For training, weights are corrected for
            it, and the loss that Keras reports of such a batch is a little off; not for validation,
            whose means Keras weighs by the number of rows.

    Returns:
        Inside a context of `share` a data set that Keras' `fit` takes; otherwise `batches`.

    Raises:
        InputError: The first batch of training does not divide by the number of devices, or that of
            validation has fewer rows.
    """
    if not tf.distribute.has_strategy():
        return batches
    strategy = tf.distribute.get_strategy()
    count = strategy.num_replicas_in_sync
    # Keras adds up the parts of the first batch, to learn their shape: they have to be equal.
    rows = len(next(iter(batches))[2])
    if learning or rows < count:
        _check_rows(rows, count)
    elif rows % count:
        batches = batches.rebatch(rows // count * count)

    def parts(*batch: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(count).map(
            lambda number: take_part(batch, number, count, learning)
        )

    # Not `experimental_distribute_dataset`, which cuts batches by a size that it reads from the
    # graph: ours are made by NumPy. Elements of this one go to the devices in turn.
    parted = batches.flat_map(parts).prefetch(2 * count)
    return strategy.distribute_datasets_from_function(lambda _: parted)


def _check_rows(rows: int, count: int) -> None:
    if rows % count:
        raise InputError(
            f"batches of {rows} images do not divide by {count} GPUs: change batch_size in "
            "params.yaml, or take fewer GPUs (CUDA_VISIBLE_DEVICES=0 for one)"
        )


def take_part(batch: Tensors, number: tf.Tensor, count: int, learning: bool) -> Tensors:
    """A part of a batch, see `spread`.

    Args:
        batch: Inputs, labels and weights.
        number: Of the part, int64 from 0.
        count: Of parts.
        learning: Correct the weights, and give a row with weight 0 where the part would be empty:
            batch normalisation has no mean of nothing.
    """
    rows = tf.shape(batch[2], tf.int64)[0]
    start, stop = number * rows // count, (number + 1) * rows // count
    if not learning:
        return tuple(tensor[start:stop] for tensor in batch)
    correction = tf.cast((stop - start) * count, tf.float32) / tf.cast(rows, tf.float32)
    inputs, labels, weights = (tensor[start : tf.maximum(stop, start + 1)] for tensor in batch)
    return inputs, labels, weights * correction


def check_replicas(
    strategy: tf.distribute.Strategy, build: Callable[[], keras.Model] | None = None
) -> None:
    """Let a small network take two steps on all devices and on one, and compare.

    Compared are the loss before, and the weights after on every device; the second batch does not
    divide by the number of devices.

    Args:
        strategy: Of all devices.
        build: Makes the network, with the same weights whenever it is called; without batch
            normalisation and dropout, which differ by design.

    Raises:
        InputError: They differ; it says by how much.
    """
    build = build or _small_network
    count = strategy.num_replicas_in_sync
    alone = _compiled(build)
    with strategy.scope():
        together = _compiled(build)
    draw = np.random.default_rng(1)
    rows = 3 * count + 1  # a batch whose parts are equal, and one whose are not
    images = draw.integers(0, 256, (rows, *alone.input.shape[1:]), np.uint8)
    labels = draw.integers(0, 2, (rows, 1)).astype(np.float32)
    weights = draw.uniform(0.5, 1.5, rows).astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(2 * count)

    remedy = "train on one, with CUDA_VISIBLE_DEVICES=0"
    loss = _loss(alone, batches)
    with strategy.scope():
        shared_loss = _loss(together, batches)
    # Written so that a value that is no number fails.
    if not abs(shared_loss - loss) <= LOSS_TOLERANCE * abs(loss):
        raise InputError(
            f"{count} GPUs together do not compute what one does: the loss of the same images is "
            f"{shared_loss:.6g}, on one GPU {loss:.6g}: {remedy}"
        )
    (way,) = _ways(alone, batches)
    with strategy.scope():
        shared_ways = _ways(together, batches)
    for number, shared_way in enumerate(shared_ways):
        difference = np.linalg.norm(shared_way - way) / np.linalg.norm(way)
        if not difference <= GRADIENT_TOLERANCE:
            raise InputError(
                f"{count} GPUs together do not learn what one does: after two steps on the same "
                f"images the weights on GPU {number} are off by {difference:.2g} of the way: "
                f"{remedy}"
            )


def _compiled(build: Callable[[], keras.Model]) -> keras.Model:
    model = build()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss, jit_compile=False)
    return model


def _loss(model: keras.Model, batches: tf.data.Dataset) -> float:
    return float(model.evaluate(spread(batches, learning=False), verbose=0))


def _ways(model: keras.Model, batches: tf.data.Dataset) -> list[npt.NDArray[np.float32]]:
    """How far an epoch of gradient descent moves the weights on each device, all in one vector."""
    before = np.concatenate([weight.ravel() for weight in model.get_weights()])
    steps = int(batches.cardinality())
    model.fit(spread(batches, learning=True), steps_per_epoch=steps, shuffle=False, verbose=0)
    after = zip(*(_copies(weight) for weight in model.weights), strict=True)
    return [np.concatenate([copy.ravel() for copy in copies]) - before for copies in after]


def _copies(weight: keras.Variable) -> list[npt.NDArray[Any]]:
    """What each device has of a weight."""
    strategy = tf.distribute.get_strategy()
    return [copy.numpy() for copy in strategy.experimental_local_results(weight.value)]


def _small_network() -> keras.Model:
    """In float32 whatever the precision of the layers is."""
    inputs = keras.Input((16, 16, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255, dtype="float32")(inputs)
    for seed in (1, 2):
        x = layers.Conv2D(
            8, 3, activation="relu", kernel_initializer=initializers.HeNormal(seed), dtype="float32"
        )(x)
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)
    start = initializers.GlorotUniform(3)
    return keras.Model(inputs, layers.Dense(1, kernel_initializer=start, dtype="float32")(x))
