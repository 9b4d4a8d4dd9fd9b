from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from spots import SIDE, STILL, source

from ulna.networks.dataset import (
    Examples,
    plain_features,
    shuffled_features,
    steps,
    training_batches,
)
from ulna.networks.models import build_densenet169, freeze_below, split_model


@pytest.fixture(scope="module")
def densenet169(params) -> keras.Model:
    return build_densenet169(SIDE, params.densenet169)


def pixels(count: int = 3) -> tf.Tensor:
    drawn = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 1), np.uint8)
    return tf.constant(drawn)


def index(model: keras.Model, name: str) -> int:
    return [layer.name for layer in model.layers].index(name)


@pytest.mark.parametrize(
    ("name", "crossing"),
    # Inside a dense block the block's input crosses too: it is joined to the output at the end.
    [("conv5_block31_0_bn", 1), ("conv5_block31_2_conv", 2), ("conv1_conv", 1)],
)
def test_the_two_sides_of_a_cut_are_the_network(densenet169, name, crossing):
    below, above = split_model(densenet169, index(densenet169, name))
    assert len(below.outputs) == len(above.inputs) == crossing
    whole = densenet169(pixels(), training=False)
    np.testing.assert_allclose(above(below(pixels()), training=False), whole, atol=1e-5)
    ours = {id(weight) for weight in [*below.weights, *above.weights]}
    assert ours == {id(weight) for weight in densenet169.weights}


def test_below_the_named_layer_nothing_learns_and_nothing_changes(densenet169):
    """The gradients above the cut are those of the whole network."""
    start = index(densenet169, "conv5_block32_0_bn")
    frozen = freeze_below(densenet169, start)

    def run(model: keras.Model, weights: list) -> tuple[tf.Tensor, list]:
        with tf.GradientTape() as tape:
            logits = model(pixels(), training=False)
        return logits, tape.gradient(logits, [weight.value for weight in weights])

    below, above = (
        [weight for layer in layers for weight in layer.trainable_weights]
        for layers in (densenet169.layers[:start], densenet169.layers[start:])
    )
    logits, gradients = run(frozen, below + above)
    whole_logits, whole_gradients = run(densenet169, above)
    np.testing.assert_allclose(logits, whole_logits, atol=1e-5)
    assert gradients[: len(below)] == [None] * len(below)
    for ours, whole in zip(gradients[len(below) :], whole_gradients, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-3, atol=1e-5)


def test_nothing_lies_below_the_first_layer(densenet169):
    assert freeze_below(densenet169, 0) is densenet169


def weighted(count: int) -> Examples:
    """Images of which each has a weight of its own."""
    return replace(source(count, 1), weights=np.arange(1, count + 1, dtype=np.float32))


def test_features_come_in_the_order_of_the_images_they_are_of():
    learn = weighted(11)
    # The features of an image are its own pixels.
    features = learn.cache.arrays["WRIST"].astype(np.float32)
    count = steps(11, 4)
    expected = training_batches(learn, 4, 7, STILL, first_epoch=1).take(count)
    received = shuffled_features([features], learn, 4, 7, first_epoch=1).take(count)
    for (images, *others), (ours, *same) in zip(expected, received, strict=True):
        np.testing.assert_array_equal(images[..., 0], ours)
        for other, one in zip(others, same, strict=True):
            np.testing.assert_array_equal(other, one)


def test_later_epochs_use_the_passes_again():
    learn = source(4, 1)
    passes = [np.full((4, 1), number, np.float32) for number in range(2)]
    batches = shuffled_features(passes, learn, 4, 7, first_epoch=0).take(5)
    assert [float(features[0, 0]) for features, *_ in batches] == [0, 1, 0, 1, 0]


def test_plain_features_come_once_and_in_order():
    learn = weighted(5)
    features = np.arange(10, dtype=np.float32).reshape(5, 2)
    batches = zip(*plain_features(features, learn, 2), strict=True)
    expected = (features, learn.labels[:, np.newaxis], learn.weights)
    for received, wanted in zip(map(np.concatenate, batches), expected, strict=True):
        np.testing.assert_array_equal(received, wanted)
    assert plain_features(features, learn, 2).cardinality() == 3
