"""Networks for the tests of ONNX files: one of every layer that can be written, and large ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import onnxruntime
from keras import layers


def pixels(count: int, side: int) -> np.ndarray:
    """Images from dark to bright, every other one with black margins, where maxima tie."""
    draw = np.random.default_rng(side)
    images = [draw.integers(0, top + 1, (side, side)) for top in np.linspace(20, 255, count)]
    images[0][side // 4 : side // 2] = 255
    for image in images[1::2]:
        image[:, : side // 3] = 0
        image[:, -(side // 3) :] = 0
    return np.array(images, np.uint8)


def run_onnx(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": images[..., None]}), strict=True))


def draw_weights(model: keras.Model) -> keras.Model:
    """Draw what Keras begins with 0 or 1, so that no mistake in it is hidden."""
    draw = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(draw.normal(0, 0.3, weight.shape))
    return model


def spread_logits(model: keras.Model) -> keras.Model:
    """Draw weights under which logits differ by about 4 from image to image.

    The statistics of normalisation are those of images: with others, a deep random network gives
    all images the same logit.
    """
    draw_weights(model)
    images = pixels(16, model.input.shape[1])[..., None]
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    last = model.layers[-1]
    last.kernel.assign(last.kernel * (4 / np.std(model(images, training=False))))
    return model


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Of the networks that are built meanwhile."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_double_precision(build: Callable[[], keras.Model], model: keras.Model) -> keras.Model:
    """A network with the weights of another, built likewise."""
    with precision("float64"):
        exact = build()
    exact.set_weights(model.get_weights())
    return exact


def all_layers(side: int) -> keras.Model:
    """Each kind once or more, set otherwise than in the networks; maps are of `explained`."""
    inputs = keras.Input((side, side, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 100, offset=-1.5)(inputs)
    x = layers.Normalization(mean=[0.1, 0.2], variance=[0.3, 0.4])(layers.Concatenate()([x, x]))
    x = layers.Conv2D(8, 5, strides=3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.ReLU(name="explained")(x)
    one = layers.Conv2D(12, (3, 2), strides=2, padding="same", groups=4, activation="relu")(x)
    one = layers.BatchNormalization(center=False)(one)
    two = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    two = layers.Conv2D(12, 1)(layers.BatchNormalization()(two))
    x = layers.Add()([one, layers.ReLU(max_value=6)(two)])
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
    three = layers.AveragePooling2D(2, strides=1)(x)
    x = layers.Conv2D(10, 2)(x)
    three = layers.DepthwiseConv2D((2, 3), padding="same")(layers.Activation("relu")(three))
    x = layers.Concatenate()([x, three])
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x)
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.BatchNormalization()(layers.Concatenate()(pooled))
    x = layers.Dense(7, activation="relu")(layers.Dropout(0.5)(x))
    return keras.Model(inputs, layers.Dense(1)(x), name="all_layers")
