"""A small data set that any network can learn, for the tests of training."""

import keras
import numpy as np
import pandas as pd
from keras import layers

from ulna.core.params import Augment
from ulna.data import Cache
from ulna.networks.dataset import Examples, examples

STILL = Augment(
    rotation_degrees=0.0,
    horizontal_flip=False,
    shift_fraction=0.0,
    zoom_fraction=0.0,
    brightness=0.0,
    contrast_fraction=0.0,
)
LIVELY = Augment(
    rotation_degrees=30.0,
    horizontal_flip=True,
    shift_fraction=0.1,
    zoom_fraction=0.1,
    brightness=20.0,
    contrast_fraction=0.2,
)
SIDE = 32
SPOTS = slice(8, 20)


def table(count: int, seed: int) -> tuple[Cache, pd.DataFrame]:
    """Noise; abnormal images have a bright square."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = draw.integers(0, 120, (count, SIDE, SIDE), np.uint8)
    pixels[labels == 1, SPOTS, SPOTS] += 80
    images = pd.DataFrame(
        {
            "image": [f"{seed}-{k}.png" for k in range(count)],
            "patient": [f"p{k}" for k in range(count)],
            "study": [f"s{k}" for k in range(count)],
            "body_part": "WRIST",
            "split": ["test", "val"] * (count // 2) + ["test"] * (count % 2),
            "label": labels,
            "row": range(count),
        }
    )
    return Cache(images, images[:0], {"WRIST": pixels}), images


def source(count: int, seed: int) -> Examples:
    cache, images = table(count, seed)
    return examples(cache, images, np.ones(count, np.float32))


def likeness() -> keras.Model:
    """Two layers with DenseNet169's names under a head of its form; the real one takes 20 s."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    for number in (1, 2):
        x = layers.Conv2D(4, 3, name=f"conv{number}_conv")(x)
        x = layers.BatchNormalization(name=f"conv{number}_bn")(x)
    x = layers.GlobalAveragePooling2D(name="head_average_pooling")(x)
    x = layers.BatchNormalization(name="head_batch_normalization")(x)
    x = layers.Dropout(0.3, name="head_dropout")(x)
    return keras.Model(inputs, layers.Dense(1, name="head_logit")(x))
