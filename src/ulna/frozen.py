"""The part of a network that does not learn: cut off, then run once or without a gradient."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ulna.dataset import Arrays, Examples, endless, from_arrays, in_order, once, shuffled
from ulna.forward import forward


def cut(model: keras.Model, place: int) -> tuple[keras.Model, keras.Model]:
    """Cut a network in two.

    Args:
        model: Of one input; its layers are in the order in which they run.
        place: Place in `model.layers` of the first layer above the cut, at least 1.

    Returns:
        The networks below and above, with the layers and so the weights of `model`. The output of
        the first is the input of the second: a tensor, or a list where several cross the cut.
    """
    flatten = keras.tree.flatten
    made = {id(tensor) for layer in model.layers[:place] for tensor in flatten(layer.output)}
    crossing = {
        id(tensor): tensor
        for layer in model.layers[place:]
        for tensor in flatten(layer.input)
        if id(tensor) in made
    }
    tensors = list(crossing.values())
    between = tensors[0] if len(tensors) == 1 else tensors
    return keras.Model(model.input, between), keras.Model(between, model.output)


class Frozen(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types for it
    """Runs a network in inference mode and lets no gradient through.

    TensorFlow's tape follows weights that are frozen too: for DenseNet169 with two blocks that
    learn it made 1,640 gradients, of which the graph's optimiser then threw nearly all away. One
    graph serves the steps of training and of validation.
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


def freeze_below(model: keras.Model, place: int) -> keras.Model:
    """The same network, with the same weights, in which nothing below a layer learns.

    Args:
        model: See `cut`.
        place: Place in `model.layers` of the first layer that may learn; 0 gives `model` back.

    Returns:
        A model from the same input to the same output.
    """
    if place == 0:
        return model
    below, above = cut(model, place)
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

    def batch(step: int) -> Arrays:
        epoch, chosen = shuffled(step, len(source), batch_size, seed)
        return _arrays(passes[epoch % len(passes)], source, chosen)

    counter = endless(len(source), batch_size, first_epoch)
    return from_arrays(counter, batch, _shapes(passes[0])).prefetch(2)


def plain_features(
    features: npt.NDArray[np.float32], source: Examples, batch_size: int
) -> tf.data.Dataset:
    """Batches of features, once and in order; see `shuffled_features`."""

    def batch(step: int) -> Arrays:
        return _arrays(features, source, in_order(step, len(source), batch_size))

    return from_arrays(once(len(source), batch_size), batch, _shapes(features)).prefetch(2)


def _arrays(
    features: npt.NDArray[np.float32], source: Examples, chosen: npt.NDArray[np.int64]
) -> Arrays:
    return features[chosen], source.labels[chosen, np.newaxis], source.weights[chosen]


def _shapes(features: npt.NDArray[np.float32]) -> tuple[tf.TensorSpec, ...]:
    return (
        tf.TensorSpec((None, *features.shape[1:]), tf.float32),
        tf.TensorSpec((None, 1), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )
