import keras
import numpy as np
import pytest
import tensorflow as tf
from spots import SIDE, STILL, source

from ulna.networks.dataset import steps, training_batches
from ulna.networks.frozen import cut, freeze_below, plain_features, shuffled_features
from ulna.networks.models import build_densenet169


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
    below, above = cut(densenet169, index(densenet169, name))
    assert len(below.outputs) == len(above.inputs) == crossing
    whole = densenet169(pixels(), training=False)
    np.testing.assert_allclose(above(below(pixels()), training=False), whole, atol=1e-5)
    ours = {id(weight) for weight in [*below.weights, *above.weights]}
    assert ours == {id(weight) for weight in densenet169.weights}


def test_below_the_named_layer_nothing_learns_and_nothing_changes(densenet169):
    """The gradients above the cut are those of the whole network."""
    start = index(densenet169, "conv5_block32_0_bn")
    frozen = freeze_below(densenet169, start)

    def gradients(model: keras.Model) -> list:
        with tf.GradientTape() as tape:
            logits = model(pixels(), training=False)
        return tape.gradient(logits, [weight.value for weight in densenet169.trainable_weights])

    np.testing.assert_allclose(
        frozen(pixels(), training=False), densenet169(pixels(), training=False), atol=1e-5
    )
    above = {id(w) for layer in densenet169.layers[start:] for w in layer.trainable_weights}
    for weight, ours, whole in zip(
        densenet169.trainable_weights, gradients(frozen), gradients(densenet169), strict=True
    ):
        if id(weight) in above:
            np.testing.assert_allclose(ours, whole, rtol=1e-3, atol=1e-5)
        else:
            assert ours is None


def test_nothing_lies_below_the_first_layer(densenet169):
    assert freeze_below(densenet169, 0) is densenet169


def test_features_come_in_the_order_of_the_images_they_are_of():
    learn = source(11, 1)
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
    learn = source(5, 1)
    features = np.arange(10, dtype=np.float32).reshape(5, 2)
    batches = list(plain_features(features, learn, 2))
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), features)
    np.testing.assert_array_equal(
        np.concatenate([batch[1] for batch in batches])[:, 0], learn.labels
    )
    assert plain_features(features, learn, 2).cardinality() == 3
