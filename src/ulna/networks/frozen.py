"""The part of a network that does not learn: cut off, then run once or without a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ulna.networks.dataset import (
    Arrays,
    Examples,
    chosen_in_order,
    chosen_shuffled,
    from_arrays,
    steps_from,
    steps_once,
)
from ulna.networks.forward import forward


def cut(model: keras.Model, index: int) -> tuple[keras.Model, keras.Model]:
    """Cut a network in two.

    Args:
        model: Of one input; its layers are in the order in which they run.
        index: That in `model.layers` of the first layer above the cut, at least 1.

    Returns:
        The networks below and above, with the layers and so the weights of `model`. The output of
        the first is the input of the second: a tensor, or a list where several cross the cut.
    """
    flatten = keras.tree.flatten
    made = {id(tensor) for layer in model.layers[:index] for tensor in flatten(layer.output)}
    crossing = {
        id(tensor): tensor
        for layer in model.layers[index:]
        for tensor in flatten(layer.input)
        if id(tensor) in made
    }
    tensors = list(crossing.values())
    between = tensors[0] if len(tensors) == 1 else tensors
    return keras.Model(model.input, between), keras.Model(between, model.output)


class Frozen(keras.layers.Layer):  # Keras has no types for it
    """Runs a network in inference mode and lets no gradient through.

    TensorFlow's tape follows frozen weights too: to fine-tune the last two blocks of DenseNet169 it
    traced the gradients of all its 600 layers, which took 7 of 22 s before the first step. And one
    graph of the frozen part serves training and validation.
    """

    def __init__(self, network: keras.Model) -> None:
        """Wrap a network of one input."""
        super().__init__(name="frozen")
        self.network = network
        self._forward = forward(network)

    def call(self, batch: tf.Tensor) -> Any:
        """The output of the network."""
        return keras.tree.map_structure(tf.stop_gradient, self._forward(batch))

    def compute_output_spec(self, batch: keras.KerasTensor) -> Any:
        """Known from the network: nothing is traced for it."""
        return keras.tree.map_structure(
            lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype), self.network.output
        )


def freeze_below(model: keras.Model, index: int) -> keras.Model:
    """The same network, with the same weights, in which nothing below a layer learns.

    Args:
        model: See `cut`.
        index: That in `model.layers` of the first layer that may learn; 0 gives `model` back.

    Returns:
        A model from the same input to the same output.
    """
    if index == 0:
        return model
    below, above = cut(model, index)
    inputs = keras.Input(model.input.shape[1:], dtype=model.input.dtype, name="pixels")
    return keras.Model(inputs, above(Frozen(below)(inputs)), name=model.name)


def shuffled_features(
    passes: Sequence[npt.NDArray[np.float32]],
    source: Examples,
    batch_size: int,
    seed: int,
    first_epoch: int,
) -> tf.data.Dataset:
    """Endless batches of features, epoch after epoch, in the order of `training_batches`.

    Args:
        passes: (images, channels) each: what the frozen part gives for the images as augmented in
            epoch 0, epoch 1, and so on; later epochs begin with the first again.
        source: The images that they are features of.
        batch_size: Images a batch.
        seed: The run's seed.
        first_epoch: Epoch to begin with, counted from 0.

    Returns:
        Batches of features (batch, channels), labels (batch, 1) and weights (batch,) float32.
    """
    number = len(passes)

    def batch(step: int) -> Arrays:
        epoch, chosen = chosen_shuffled(step, len(source), batch_size, seed)
        return np.array(epoch % number), chosen

    return _gathered(steps_from(len(source), batch_size, first_epoch), batch, passes, source)


def plain_features(
    features: npt.NDArray[np.float32], source: Examples, batch_size: int
) -> tf.data.Dataset:
    """Batches of features, once and in order; see `shuffled_features`."""

    def batch(step: int) -> Arrays:
        return np.array(0), chosen_in_order(step, len(source), batch_size)

    return _gathered(steps_once(len(source), batch_size), batch, [features], source)


def _gathered(
    counter: tf.data.Dataset,
    batch: Callable[[int], Arrays],
    passes: Sequence[npt.NDArray[np.float32]],
    source: Examples,
) -> tf.data.Dataset:
    # Tensors, not arrays inside `batch`: TensorFlow keeps a NumPy function, and so what it refers
    # to, until the process ends, through all of fine-tuning. In the computer's memory, where the
    # batches are gathered: a GPU would be given them all (of MURA 245 MB a pass).
    with tf.device("CPU"):
        features = tf.constant(np.stack(passes))
        labels, weights = tf.constant(source.labels[:, np.newaxis]), tf.constant(source.weights)

    def gather(number: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (
            tf.gather(features[number], chosen),
            tf.gather(labels, chosen),
            tf.gather(weights, chosen),
        )

    indices = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64))
    return from_arrays(counter, batch, indices).map(gather).prefetch(2)
