import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import spots
import tensorflow as tf
from spots import LIVELY, STILL
from tensorflow.python.framework import config

from ulna.data import Cache
from ulna.networks.dataset import (
    Examples,
    augmented_batches,
    examples,
    from_arrays,
    order,
    plain_batches,
    plain_features,
    shuffled_features,
    steps,
    training_batches,
)

SIDE = 8


def source(count: int = 11):
    """Image k is k everywhere, its weight is k too, and its label k mod 2; two body parts."""
    images = pd.DataFrame(
        {
            "image": [f"image{k}.png" for k in range(count)],
            "body_part": ["HAND" if k % 3 else "WRIST" for k in range(count)],
            "label": [k % 2 for k in range(count)],
        }
    )
    images["row"] = images.groupby("body_part").cumcount()
    arrays = {
        part: np.broadcast_to(
            np.array(group.index, np.uint8)[:, None, None], (len(group), SIDE, SIDE)
        )
        for part, group in images.groupby("body_part")
    }
    return examples(Cache(images, images[:0], arrays), images, np.arange(count, dtype=np.float32))


def test_an_image_in_order_is_augmented_as_in_its_epoch():
    training = source()
    expected = {
        float(weight): image
        for images, _, weights in training_batches(training, 4, 7, LIVELY, first_epoch=2).take(3)
        for image, weight in zip(images.numpy(), weights.numpy(), strict=True)
    }
    batches = list(augmented_batches(training, 4, 7, LIVELY, epoch=2))
    weights = np.concatenate([weights for *_, weights in batches])
    np.testing.assert_array_equal(weights, np.arange(11))
    for image, weight in zip(np.concatenate([b[0] for b in batches]), weights, strict=True):
        np.testing.assert_array_equal(image, expected[float(weight)])


def test_an_epoch_shows_every_image_once_in_another_order():
    first, second = (order(7, epoch, 100) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    np.testing.assert_array_equal(first, order(7, 0, 100))
    assert (first != order(8, 0, 100)).any()


def test_an_epoch_of_batches_holds_every_image_with_its_label_and_weight():
    examined = source()
    batches = list(training_batches(examined, 4, 7, STILL).take(2 * steps(11, 4)))
    for epoch in (batches[:3], batches[3:]):
        assert [len(images) for images, _, _ in epoch] == [4, 4, 3]
        seen = np.concatenate([images.numpy()[:, 0, 0, 0] for images, _, _ in epoch])
        labels = np.concatenate([labels.numpy() for _, labels, _ in epoch])
        weights = np.concatenate([weights.numpy() for _, _, weights in epoch])
        assert sorted(seen) == list(range(11))
        np.testing.assert_array_equal(labels[:, 0], seen % 2)
        np.testing.assert_array_equal(weights, seen)


@pytest.mark.promise("B15")
def test_batches_from_a_later_epoch_on_are_those_of_the_whole_run():
    examined = source()
    whole = list(training_batches(examined, 4, 7, LIVELY).take(9))[6:]
    later = list(training_batches(examined, 4, 7, LIVELY, first_epoch=2).take(3))
    for one, other in zip(whole, later, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.fault("augmented test")
def test_augmentation_is_off_outside_training():
    examined = source()
    batches = list(plain_batches(examined, 4))
    pixels = np.concatenate([images for images, _, _ in batches])
    np.testing.assert_array_equal(
        pixels[:, :, :, 0], np.arange(11)[:, None, None] + np.zeros((8, 8))
    )
    assert pixels.dtype == np.uint8


def test_plain_batches_are_altered_by_which_images_they_hold():
    """Each image is given its own number; labels and weights stay."""
    examined = source()
    batches = list(
        plain_batches(
            examined,
            4,
            lambda images, chosen: images * 0 + 100 + chosen[:, None, None, None].astype(np.uint8),
        )
    )
    plain = list(plain_batches(examined, 4))
    numbers = np.concatenate([images[:, 0, 0, 0] for images, _, _ in batches])
    np.testing.assert_array_equal(numbers, 100 + np.arange(11))
    for one, other in zip(batches, plain, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    assert [one[0].dtype for one in batches] == [one[0].dtype for one in plain]


def test_plain_batches_say_how_many_they_are():
    assert int(plain_batches(source(), 4).cardinality()) == 3 == steps(11, 4)


def test_no_thread_of_tf_data_tunes_what_is_fixed():
    """Its end is waited for, up to a minute, at the end of each iterator."""
    for batches in (
        training_batches(source(), 4, 7, STILL),
        augmented_batches(source(), 4, 7, STILL, epoch=0),
        plain_batches(source(), 4),
    ):
        assert batches.options().autotune.enabled is False
        assert batches.options().deterministic is True


def test_two_batches_are_made_at_a_time_though_all_is_deterministic():
    """Each waits for the other; made one after the other, neither would end."""
    both = threading.Barrier(2)

    def batch(step: int) -> tuple[np.ndarray]:
        both.wait(timeout=30)
        return (np.array(step),)

    tf.config.experimental.enable_op_determinism()
    try:
        made = from_arrays(tf.data.Dataset.range(6), batch, [tf.TensorSpec((), tf.int64)])
        assert [int(step) for (step,) in made] == list(range(6))
    finally:
        config.disable_op_determinism()


def weighted(count: int) -> Examples:
    """Images of which each has a weight of its own."""
    return replace(spots.source(count, 1), weights=np.arange(1, count + 1, dtype=np.float32))


def test_features_come_in_the_order_of_the_images_they_are_of():
    training = weighted(11)
    # The features of an image are its own pixels.
    features = training.cache.arrays["WRIST"].astype(np.float32)
    count = steps(11, 4)
    expected = training_batches(training, 4, 7, STILL, first_epoch=1).take(count)
    received = shuffled_features([features], training, 4, 7, first_epoch=1).take(count)
    for (images, *others), (ours, *same) in zip(expected, received, strict=True):
        np.testing.assert_array_equal(images[..., 0], ours)
        for other, one in zip(others, same, strict=True):
            np.testing.assert_array_equal(other, one)


def test_later_epochs_use_the_passes_again():
    training = spots.source(4, 1)
    passes = [np.full((4, 1), number, np.float32) for number in range(2)]
    batches = shuffled_features(passes, training, 4, 7, first_epoch=0).take(5)
    assert [float(features[0, 0]) for features, *_ in batches] == [0, 1, 0, 1, 0]


def test_plain_features_come_once_and_in_order():
    training = weighted(5)
    features = np.arange(10, dtype=np.float32).reshape(5, 2)
    batches = zip(*plain_features(features, training, 2), strict=True)
    expected = (features, training.labels[:, np.newaxis], training.weights)
    for received, wanted in zip(map(np.concatenate, batches), expected, strict=True):
        np.testing.assert_array_equal(received, wanted)
    assert plain_features(features, training, 2).cardinality() == 3
