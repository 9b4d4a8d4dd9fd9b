import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import ndimage
from spots import STILL

from ulna.data.cache import Cache
from ulna.networks.dataset import (
    augment_images,
    augmentation,
    augmented_batches,
    examples,
    image_key,
    order,
    plain_batches,
    steps,
    training_batches,
    transforms,
)
from ulna.params import Augment

SIDE = 8
LIVELY = Augment(
    rotation_degrees=30.0,
    horizontal_flip=True,
    shift_fraction=0.1,
    zoom_fraction=0.1,
    brightness=20.0,
    contrast_fraction=0.2,
)


def but(**ranges) -> Augment:
    return STILL.model_copy(update=ranges)


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


def draws(**values: float) -> np.ndarray:
    names = ["rotation", "down", "right", "zoom", "flip", "brightness", "contrast"]
    return np.array([[values.get(name, 0.0) for name in names]], np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, SIDE, SIDE, 1), np.uint8)


def changed(pixels: np.ndarray, drawn: np.ndarray, augment: Augment) -> np.ndarray:
    maps = transforms(drawn, augment, pixels.shape[1])
    return augment_images(
        tf.constant(pixels), tf.constant(drawn), tf.constant(maps), augment
    ).numpy()


def test_an_image_in_order_is_augmented_as_in_its_epoch():
    learn = source()
    expected = {
        float(weight): image
        for images, _, weights in training_batches(learn, 4, 7, LIVELY, first_epoch=2).take(3)
        for image, weight in zip(images.numpy(), weights.numpy(), strict=True)
    }
    batches = list(augmented_batches(learn, 4, 7, LIVELY, epoch=2))
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


@pytest.mark.promise("B15")
def test_augmentation_is_a_function_of_seed_epoch_and_image():
    keys = np.array([image_key(f"image{k}.png") for k in range(50)], np.uint64)
    together = augmentation(7, 3, keys)
    alone = np.concatenate([augmentation(7, 3, keys[k : k + 1]) for k in reversed(range(50))])
    np.testing.assert_array_equal(together, alone[::-1])
    for other in (augmentation(8, 3, keys), augmentation(7, 4, keys)):
        assert (together != other).all()
    assert len(np.unique(together)) == together.size


def test_augmentation_draws_fill_their_range_evenly():
    keys = np.arange(4000, dtype=np.uint64)
    drawn = augmentation(1, 0, keys)
    assert drawn.min() >= -1
    assert drawn.max() < 1
    # The mean of 4,000 uniform numbers in [-1, 1) has a standard error of 0.009.
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(7), atol=0.08)


def test_without_ranges_nothing_changes():
    drawn = augmentation(1, 0, np.array([5], np.uint64))
    np.testing.assert_array_equal(changed(picture(), drawn, STILL), picture())


@pytest.mark.parametrize("quarter", [1, -1])
def test_a_quarter_turn_is_a_quarter_turn(quarter):
    turned = changed(picture(), draws(rotation=quarter), but(rotation_degrees=90.0))
    expected = np.rot90(picture()[0], k=quarter)
    np.testing.assert_array_equal(turned[0], expected)


def test_a_flip_is_horizontal_and_happens_for_half_the_draws():
    flips = but(horizontal_flip=True)
    np.testing.assert_array_equal(
        changed(picture(), draws(flip=-0.5), flips), picture()[:, :, ::-1]
    )
    np.testing.assert_array_equal(changed(picture(), draws(flip=0.5), flips), picture())
    np.testing.assert_array_equal(changed(picture(), draws(flip=-0.5), STILL), picture())


def test_a_shift_moves_right_and_down_and_leaves_black():
    moved = changed(picture(), draws(right=1, down=0.5), but(shift_fraction=0.25))
    expected = np.zeros_like(picture())
    expected[:, 1:, 2:] = picture()[:, :-1, :-2]
    np.testing.assert_array_equal(moved, expected)


def test_a_positive_zoom_enlarges_about_the_centre():
    spot = np.zeros((1, 9, 9, 1), np.uint8)
    spot[0, 3:6, 3:6] = 200
    assert changed(spot, draws(zoom=1), but(zoom_fraction=0.5)).sum() > spot.sum()
    assert changed(spot, draws(zoom=-1), but(zoom_fraction=0.5)).sum() < spot.sum()


def test_all_at_once_equals_an_independent_interpolation():
    """scipy maps (row, column); TensorFlow (x, y)."""
    drawn = augmentation(5, 0, np.array([9], np.uint64))
    augment = LIVELY.model_copy(update={"brightness": 0.0, "contrast_fraction": 0.0})
    smooth = ndimage.gaussian_filter(picture()[0, :, :, 0].astype(float), 1).round()
    pixels = smooth.astype(np.uint8)[None, :, :, None]
    a0, a1, a2, b0, b1, b2, *_ = transforms(drawn, augment, SIDE)[0]
    expected = ndimage.affine_transform(
        smooth, [[b1, b0], [a1, a0]], offset=[b2, a2], order=1, mode="grid-constant"
    )
    result = changed(pixels, drawn, augment)[0, :, :, 0]
    np.testing.assert_allclose(result, expected, atol=0.51)


def test_brightness_and_contrast_keep_to_their_formula_and_to_0_255():
    grey = np.array([0, 100, 200, 255], np.uint8).reshape(1, 2, 2, 1)
    ranges = but(brightness=20.0, contrast_fraction=0.5)
    brighter = changed(grey, draws(brightness=0.5), ranges)
    assert brighter.ravel().tolist() == [10, 110, 210, 255]
    flatter = changed(grey, draws(contrast=-1), ranges)
    # (v - 127.5) / 2 + 127.5, rounded to even
    assert flatter.ravel().tolist() == [64, 114, 164, 191]


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
