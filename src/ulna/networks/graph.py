"""A network as a graph: run in inference mode, cut in two, frozen below a layer."""

from collections.abc import Callable
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ulna.core.progress import progress

PredictFn = Callable[[tf.Tensor], Any]


def make_predict_fn(model: keras.Model) -> PredictFn:
    """Make one graph of a network of one input, in inference mode, for batches of any size."""
    # `Model.predict_on_batch` traces again for a last batch that is smaller. For DenseNet169 at 96
    # px tracing takes as long as 10 batches of 32 on two cores.
    signature = [tf.TensorSpec(model.input.shape, model.input.dtype)]
    function = tf.function(
        lambda batch: model(batch, training=False), input_signature=signature, autograph=False
    )
    return cast(PredictFn, function)


def predict_batches(
    predict: PredictFn, batches: tf.data.Dataset, label: str
) -> npt.NDArray[np.float32]:
    """Run a network of one output on batches, in order: (rows of all batches, ...) float32.

    `batches` are tuples that begin with the input, of known number; `label` is the progress line's.
    """
    outputs = [
        tf.cast(predict(batch), tf.float32).numpy()
        for batch, *_ in progress(batches, int(batches.cardinality()), label, "batches")
    ]
    return np.concatenate(outputs)


def split_model(model: keras.Model, index: int) -> tuple[keras.Model, keras.Model]:
    """Split a network of one input, its layers in the order in which they run, below layer `index`.

    Returns:
        The networks below and above, with the layers and so the weights of `model`. The output of
        the first is the input of the second: a tensor, or a list where several cross the split.
    """
    tensors = crossing_tensors(model, index)
    between = tensors[0] if len(tensors) == 1 else tensors
    return keras.Model(model.input, between), keras.Model(between, model.output)


def crossing_tensors(model: keras.Model, index: int) -> list[keras.KerasTensor]:
    """List what layers from an index on take from those before it; see `split_model`."""
    flatten = keras.tree.flatten
    below = {id(tensor) for layer in model.layers[:index] for tensor in flatten(layer.output)}
    crossing = {
        id(tensor): tensor
        for layer in model.layers[index:]
        for tensor in flatten(layer.input)
        if id(tensor) in below
    }
    return list(crossing.values())


class Frozen(keras.layers.Layer):
    """Runs a network of one input in inference mode and lets no gradient through."""

    # TensorFlow's tape follows frozen weights too: to fine-tune the last two blocks of DenseNet169
    # it traced the gradients of all its 600 layers, which took 7 of 22 s before the first step. And
    # one graph of the frozen part serves training and validation.

    def __init__(self, network: keras.Model) -> None:
        """Wrap a network."""
        super().__init__(name="frozen")
        self.network = network
        self._predict = make_predict_fn(network)

    def call(self, batch: tf.Tensor) -> Any:
        """Return the output of the network."""
        return keras.tree.map_structure(tf.stop_gradient, self._predict(batch))

    def compute_output_spec(self, batch: keras.KerasTensor) -> Any:
        """Return what is known from the network: nothing is traced for it."""
        return keras.tree.map_structure(
            lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype), self.network.output
        )


def freeze_below(model: keras.Model, index: int) -> keras.Model:
    """Rebuild a network, with the same weights, so that nothing below layer `index` is trained.

    See `split_model`; index 0 gives `model` back.
    """
    if index == 0:
        return model
    below, above = split_model(model, index)
    inputs = keras.Input(model.input.shape[1:], dtype=model.input.dtype, name="pixels")
    return keras.Model(inputs, above(Frozen(below)(inputs)), name=model.name)
