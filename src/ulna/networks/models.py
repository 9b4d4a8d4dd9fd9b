"""The networks: functions that return a keras.Model, and choose its trainable layers.

All take raw cached pixels, (batch, size_px, size_px, 1) uint8, and return one logit per image,
(batch, 1) float32: rescaling and normalisation are layers, so training and use cannot disagree.
"""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import pandas as pd
from keras import layers

from ulna.core import InputError
from ulna.core.params import NETWORKS, Cnn, FineTuned, Network

# Of Keras' ImageNet images in [0, 1], as keras.applications.densenet.preprocess_input uses them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)

# Keras' default of 0.99 forgets the initial statistics after some 400 steps; an epoch of the
# phantom had 18, and the validation loss of the first epochs was noise.
BATCH_NORM_MOMENTUM = 0.9

HEAD = "head_"


def build_network(name: str, size_px: int, network: Network) -> keras.Model:
    """Build an uncompiled network of `ulna.core.params.NETWORKS` from its section."""
    return BUILDERS[name](size_px, network)


def build_cnn(size_px: int, cnn: Cnn) -> keras.Model:
    """Build the network that is trained from scratch.

    Blocks of a 3 x 3 convolution, batch normalisation, ReLU and 2 x 2 max pooling (the first block:
    5 x 5 with stride 2 instead of pooling, which costs a quarter); then global average and global
    maximum pooling in parallel, dropout and one logit. The maximum is for findings that fill little
    of the image: an average over the image dilutes them.

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


def build_densenet169(size_px: int, densenet169: FineTuned) -> keras.Model:
    """Build DenseNet169 (Huang et al., arXiv 1608.06993), see `build_finetuned`."""
    variance = [deviation**2 for deviation in IMAGENET_STANDARD_DEVIATION]
    normalize = layers.Normalization(mean=IMAGENET_MEAN, variance=variance, name="imagenet")
    application = keras.applications.DenseNet169
    return build_finetuned("densenet169", application, normalize, size_px, densenet169)


def build_mobilenetv2(size_px: int, mobilenetv2: FineTuned) -> keras.Model:
    """Build MobileNetV2 (Sandler et al., arXiv 1801.04381), see `build_finetuned`."""
    # To [-1, 1], as its preprocess_input.
    normalize = layers.Rescaling(2, offset=-1, name="imagenet")
    application = keras.applications.MobileNetV2
    return build_finetuned("mobilenetv2", application, normalize, size_px, mobilenetv2)


def build_finetuned(
    name: str,
    application: Callable[..., keras.Model],
    normalize: keras.Layer,
    size_px: int,
    network: FineTuned,
) -> keras.Model:
    """Build a network of keras.applications as a feature extractor under a head of its own.

    The head: global average pooling, batch normalisation, dropout, a dense layer with ReLU, dropout
    and one logit. Its layers' names begin with `head_`. The model is flat: `finetune_from` can name
    any layer of the application. `normalize` maps RGB in [0, 1] to the input that the pretrained
    weights expect.
    """
    inputs = keras.Input((size_px, size_px, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    x = normalize(layers.Concatenate(name="repeat_to_rgb")([x, x, x]))
    backbone = application(include_top=False, weights=None, input_tensor=x)
    x = layers.GlobalAveragePooling2D(name=f"{HEAD}average_pooling")(backbone.output)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{HEAD}batch_normalization")(
        x
    )
    x = layers.Dropout(network.dropout, name=f"{HEAD}dropout1")(x)
    x = layers.Dense(network.head_units, activation="relu", name=f"{HEAD}dense")(x)
    x = layers.Dropout(network.dropout, name=f"{HEAD}dropout2")(x)
    outputs = layers.Dense(1, dtype="float32", name=f"{HEAD}logit")(x)
    return keras.Model(inputs, outputs, name=name)


# For each network of `ulna.core.params.NETWORKS`: (size_px, its section) -> the model, named so.
BUILDERS: dict[str, Callable[[int, Any], keras.Model]] = {
    "cnn": build_cnn,
    "densenet169": build_densenet169,
    "mobilenetv2": build_mobilenetv2,
}


def load_backbone(model: keras.Model, path: Path) -> None:
    """Load pretrained weights into the backbone of `build_finetuned`; the head keeps its own.

    Raises:
        InputError: The file is no Keras .h5 file of the application without its top.
    """
    backbone = keras.Model(model.input, model.get_layer(f"{HEAD}average_pooling").input)
    try:
        with warnings.catch_warnings():
            # Keras only warns where a file lacks some of the layers.
            warnings.simplefilter("error", UserWarning)
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise InputError(
            f"{path} does not hold weights of {NETWORKS[model.name].title} without its top: {error}"
        ) from None


def head_index(model: keras.Model) -> int:
    """Find the index in `model.layers` of the first layer above the backbone's pooled features."""
    return [layer.name for layer in model.layers].index(f"{HEAD}average_pooling") + 1


def layer_index(model: keras.Model, name: str) -> int:
    """Find the index in `model.layers` of a layer of the backbone.

    `name` is that of a layer or its block, such as conv5_block1; first is the whole backbone. Any
    other is an InputError.
    """
    backbone = [layer.name for layer in model.layers if not layer.name.startswith(HEAD)]
    for index, layer in enumerate(backbone):
        if name == "first" or layer == name or layer.startswith(f"{name}_"):
            return index
    blocks = [block for block in dict.fromkeys(map(_block, backbone)) if block not in backbone]
    raise InputError(
        f"{model.name}.finetune_from is {name!r}, which is no layer of its backbone: use first, "
        f"{', '.join(blocks)} or a layer's name"
    )


def freeze_backbone(model: keras.Model) -> None:
    """Make the head alone trainable; frozen batch normalisation runs in inference mode."""
    for layer in model.layers:
        layer.trainable = layer.name.startswith(HEAD)


def unfreeze_from(
    model: keras.Model, start: int, batch_normalization: Literal["inference", "training"]
) -> None:
    """Make the head trainable, and the backbone from a layer on, see `layer_index`.

    `batch_normalization` of the backbone: inference keeps its statistics, scale and shift, which
    small batches would spoil in pretrained weights; training trains it from the layer on.
    """
    freeze_backbone(model)
    for layer in model.layers[start:]:
        if layer.name.startswith(HEAD):
            continue
        normalises = isinstance(layer, layers.BatchNormalization)
        layer.trainable = batch_normalization == "training" or not normalises
        if normalises:
            layer.momentum = BATCH_NORM_MOMENTUM


def describe_layers(model: keras.Model) -> pd.DataFrame:
    """Describe a network as a table, one row per block or per layer outside a block.

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
    block = re.match(r"((block_?|conv|pool)\d+|expanded_conv)(?=_)", name)
    return block.group() if block else name
