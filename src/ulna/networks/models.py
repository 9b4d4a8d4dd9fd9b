"""The two networks: functions that return a keras.Model.

Both take raw cached pixels, (batch, size_px, size_px, 1) uint8, and return one logit an image,
(batch, 1) float32: rescaling and normalisation are layers, so training and use cannot disagree.
"""

import math
import re
import warnings
from pathlib import Path
from typing import Literal

import keras
import pandas as pd
from keras import layers

from ulna.errors import InputError
from ulna.params import Cnn, DenseNet169

# Of Keras' ImageNet pictures in [0, 1], as keras.applications.densenet.preprocess_input uses them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)

# Keras' default of 0.99 forgets the initial statistics after some 400 steps; an epoch of the
# phantom has 18, and the validation loss of the first epochs was noise.
BATCH_NORM_MOMENTUM = 0.9

HEAD = "head_"


def build_network(size_px: int, network: Cnn | DenseNet169) -> keras.Model:
    """Build the network that a section of the parameters describes."""
    if isinstance(network, Cnn):
        return build_cnn(size_px, network)
    return build_densenet169(size_px, network)


def build_cnn(size_px: int, cnn: Cnn) -> keras.Model:
    """Build the network that is trained from scratch.

    Blocks of a 3 x 3 convolution, batch normalisation, ReLU and 2 x 2 max pooling (the first block:
    5 x 5 with stride 2 instead of pooling, which costs a quarter); then global average and global
    maximum pooling side by side, dropout and one logit. The maximum is for findings that fill
    little of the picture: an average over the picture dilutes them.

    Args:
        size_px: Side of the square images.
        cnn: `filters`, one block each, and `dropout`.

    Returns:
        An uncompiled model, (batch, size_px, size_px, 1) uint8 -> (batch, 1) float32.

    Raises:
        InputError: There are more blocks than the image can be halved.
    """
    if size_px < 2 ** len(cnn.filters):
        raise InputError(
            f"cnn.filters has {len(cnn.filters)} blocks, each halves the image, but image.size_px "
            f"is {size_px}: use fewer blocks or larger images"
        )
    inputs = keras.Input((size_px, size_px, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    for block, filters in enumerate(cnn.filters, start=1):
        first = block == 1
        # No bias: batch normalisation subtracts the mean, and adds its own.
        x = layers.Conv2D(
            filters,
            5 if first else 3,
            strides=2 if first else 1,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"block{block}_convolution",
        )(x)
        x = layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, name=f"block{block}_batch_normalization"
        )(x)
        x = layers.ReLU(name=f"block{block}_relu")(x)
        if not first:
            x = layers.MaxPooling2D(name=f"block{block}_max_pooling")(x)
    average = layers.GlobalAveragePooling2D(name="average_pooling")(x)
    maximum = layers.GlobalMaxPooling2D(name="maximum_pooling")(x)
    x = layers.Concatenate(name="pooled")([average, maximum])
    x = layers.Dropout(cnn.dropout, name="dropout")(x)
    outputs = layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(inputs, outputs, name="cnn")


def build_densenet169(size_px: int, densenet169: DenseNet169) -> keras.Model:
    """Build DenseNet169 as a feature extractor under a head of its own, with random weights.

    The head: global average pooling, batch normalisation, dropout, a dense layer with ReLU, dropout
    and one logit. Its layers' names begin with `head_`.

    Args:
        size_px: Side of the square images.
        densenet169: `head_units` and `dropout`.

    Returns:
        An uncompiled model, (batch, size_px, size_px, 1) uint8 -> (batch, 1) float32. It is flat:
        `finetune_from` can name any layer of keras.applications.DenseNet169.

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993.
    """
    inputs = keras.Input((size_px, size_px, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    x = layers.Concatenate(name="repeat_to_rgb")([x, x, x])
    variance = [deviation**2 for deviation in IMAGENET_STANDARD_DEVIATION]
    x = layers.Normalization(mean=IMAGENET_MEAN, variance=variance, name="imagenet")(x)
    backbone = keras.applications.DenseNet169(include_top=False, weights=None, input_tensor=x)
    x = layers.GlobalAveragePooling2D(name=f"{HEAD}average_pooling")(backbone.output)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{HEAD}batch_normalization")(
        x
    )
    x = layers.Dropout(densenet169.dropout, name=f"{HEAD}dropout1")(x)
    x = layers.Dense(densenet169.head_units, activation="relu", name=f"{HEAD}dense")(x)
    x = layers.Dropout(densenet169.dropout, name=f"{HEAD}dropout2")(x)
    outputs = layers.Dense(1, dtype="float32", name=f"{HEAD}logit")(x)
    return keras.Model(inputs, outputs, name="densenet169")


def load_backbone(model: keras.Model, path: Path) -> None:
    """Load pretrained weights into the backbone; the head keeps its own.

    Args:
        model: See `build_densenet169`.
        path: A Keras .h5 file of DenseNet169 without its top, as keras.applications publishes.

    Raises:
        InputError: The file holds another network.
    """
    backbone = keras.Model(model.input, model.get_layer("relu").output)
    try:
        with warnings.catch_warnings():
            # Keras only warns where a file lacks some of the layers.
            warnings.simplefilter("error", UserWarning)
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise InputError(
            f"{path} does not hold weights of DenseNet169 without its top: {error}"
        ) from None


def above_pooling(model: keras.Model) -> int:
    """Index in `model.layers` of the first layer above the pooled features of the backbone."""
    return [layer.name for layer in model.layers].index(f"{HEAD}average_pooling") + 1


def backbone_start(model: keras.Model, name: str) -> int:
    """Index in `model.layers` of a layer of the backbone.

    Args:
        model: See `build_densenet169`.
        name: A layer of the backbone or the beginning of one's name, such as conv5_block1; or
            first, for the whole backbone.

    Raises:
        InputError: No layer of the backbone is called so.
    """
    for index, layer in enumerate(model.layers):
        if not layer.name.startswith(HEAD) and (name == "first" or _named(layer, name)):
            return index
    raise InputError(
        f"densenet169.finetune_from is {name!r}, which is no layer of DenseNet169: use first, "
        "conv2_block1, conv3_block1, conv4_block1, conv5_block1 or another layer's name"
    )


def freeze_backbone(model: keras.Model) -> None:
    """Let the head alone learn; frozen batch normalisation runs in inference mode."""
    for layer in model.layers:
        layer.trainable = layer.name.startswith(HEAD)


def unfreeze_from(
    model: keras.Model, start: int, batch_normalization: Literal["inference", "training"]
) -> None:
    """Let the head learn, and the backbone from a layer on.

    Args:
        model: See `build_densenet169`.
        start: Index of the layer in `model.layers`, see `backbone_start`.
        batch_normalization: The backbone's: inference keeps statistics, scale and shift as they
            are, for small batches would spoil those of pretrained weights; training lets it learn
            where its layer does.
    """
    freeze_backbone(model)
    for layer in model.layers[start:]:
        if layer.name.startswith(HEAD):
            continue
        normalises = isinstance(layer, layers.BatchNormalization)
        layer.trainable = batch_normalization == "training" or not normalises
        if normalises:
            layer.momentum = BATCH_NORM_MOMENTUM


def _named(layer: keras.Layer, name: str) -> bool:
    return layer.name == name or layer.name.startswith(f"{name}_")


def describe_layers(model: keras.Model) -> pd.DataFrame:
    """The network as a table, a row for each block or for each layer outside a block.

    Args:
        model: Either network.

    Returns:
        In order: layer, type (Keras' names of the kinds of layers in it), output_shape (text, such
        as 64 x 64 x 32, without the batch), parameters, trainable_parameters.
    """
    blocks: dict[str, list[keras.Layer]] = {}
    for layer in model.layers:
        if not isinstance(layer, layers.ZeroPadding2D):
            blocks.setdefault(_block(layer.name), []).append(layer)
    return pd.DataFrame(
        {
            "layer": block,
            "type": ", ".join(dict.fromkeys(type(member).__name__ for member in members)),
            "output_shape": " x ".join(str(side) for side in members[-1].output.shape[1:]),
            "parameters": sum(_size(member.weights) for member in members),
            "trainable_parameters": sum(_size(member.trainable_weights) for member in members),
        }
        for block, members in blocks.items()
    )


def _size(weights: list[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _block(name: str) -> str:
    """block2_relu belongs to block2, DenseNet169's conv4_block7_2_conv to conv4, and so on."""
    block = re.match(r"(block|conv|pool)\d+(?=_)", name)
    return block.group() if block else name
