import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from spots import LIVELY, STILL

from ulna.core.params import Augment
from ulna.data.augmentation import augment_images, exposures, image_key, sample_params, transforms

SIDE = 8


def but(**ranges) -> Augment:
    return STILL.model_copy(update=ranges)


def draws(**values: float) -> np.ndarray:
    names = ["rotation", "down", "right", "zoom", "flip", "brightness", "contrast"]
    return np.array([[values.get(name, 0.0) for name in names]], np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, SIDE, SIDE), np.uint8)


def smooth_pictures(count: int, side: int) -> np.ndarray:
    noise = np.random.default_rng(4).integers(0, 256, (count, side, side)).astype(float)
    return ndimage.gaussian_filter(noise * 3, (0, 2, 2)).clip(0, 255).round().astype(np.uint8)


@pytest.mark.promise("B15")
def test_parameters_are_a_function_of_seed_epoch_and_image():
    keys = np.array([image_key(f"image{k}.png") for k in range(50)], np.uint64)
    together = sample_params(7, 3, keys)
    alone = np.concatenate([sample_params(7, 3, keys[k : k + 1]) for k in reversed(range(50))])
    np.testing.assert_array_equal(together, alone[::-1])
    for other in (sample_params(8, 3, keys), sample_params(7, 4, keys)):
        assert (together != other).all()
    assert len(np.unique(together)) == together.size


def test_parameters_fill_their_range_evenly():
    keys = np.arange(4000, dtype=np.uint64)
    drawn = sample_params(1, 0, keys)
    assert drawn.min() >= -1
    assert drawn.max() < 1
    # The mean of 4,000 uniform numbers in [-1, 1) has a standard error of 0.009.
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(7), atol=0.08)


def test_without_ranges_nothing_changes():
    drawn = sample_params(1, 0, np.array([5], np.uint64))
    np.testing.assert_array_equal(augment_images(picture(), drawn, STILL), picture())


@pytest.mark.parametrize("quarter", [1, -1])
def test_a_quarter_turn_is_a_quarter_turn(quarter):
    turned = augment_images(picture(), draws(rotation=quarter), but(rotation_degrees=90.0))
    np.testing.assert_array_equal(turned[0], np.rot90(picture()[0], k=quarter))


def test_a_flip_is_horizontal_and_happens_for_half_the_images():
    flips = but(horizontal_flip=True)
    flipped = augment_images(picture(), draws(flip=-0.5), flips)
    np.testing.assert_array_equal(flipped, picture()[:, :, ::-1])
    np.testing.assert_array_equal(augment_images(picture(), draws(flip=0.5), flips), picture())
    np.testing.assert_array_equal(augment_images(picture(), draws(flip=-0.5), STILL), picture())


def test_a_shift_moves_right_and_down_and_leaves_black():
    moved = augment_images(picture(), draws(right=1, down=0.5), but(shift_fraction=0.25))
    expected = np.zeros_like(picture())
    expected[:, 1:, 2:] = picture()[:, :-1, :-2]
    np.testing.assert_array_equal(moved, expected)


def test_a_positive_zoom_enlarges_about_the_centre():
    spot = np.zeros((1, 9, 9), np.uint8)
    spot[0, 3:6, 3:6] = 200
    assert augment_images(spot, draws(zoom=1), but(zoom_fraction=0.5)).sum() > spot.sum()
    assert augment_images(spot, draws(zoom=-1), but(zoom_fraction=0.5)).sum() < spot.sum()


def test_all_at_once_equals_an_independent_interpolation():
    """SciPy's exact bilinear interpolation maps (row, column), OpenCV (x, y) to 1/32 of a pixel.

    Such a point is at most 1/64 of a pixel off in x and in y, and so its grey level at most 1/64 of
    the steepest step beside it, twice.
    """
    side = 64
    pixels = smooth_pictures(20, side)
    drawn = sample_params(5, 0, np.arange(20, dtype=np.uint64))
    augment = LIVELY.model_copy(update={"brightness": 0.0, "contrast_fraction": 0.0})
    changed = augment_images(pixels, drawn, augment)
    for before, after, ((a0, a1, a2), (b0, b1, b2)) in zip(
        pixels.astype(float), changed, transforms(drawn, augment, side), strict=True
    ):
        expected = ndimage.affine_transform(
            before, [[b1, b0], [a1, a0]], offset=[b2, a2], order=1, mode="grid-constant"
        )
        padded = np.pad(before, 1)
        steepest = max(np.abs(np.diff(padded, axis=axis)).max() for axis in (0, 1))
        np.testing.assert_allclose(after, expected, atol=0.51 + 2 * steepest / 64)
        assert np.abs(after - expected).mean() < 0.5


def test_brightness_and_contrast_keep_to_their_formula_and_to_0_255():
    grey = np.array([0, 100, 200, 255], np.uint8).reshape(1, 2, 2)
    ranges = but(brightness=20.0, contrast_fraction=0.5)
    brighter = augment_images(grey, draws(brightness=0.5), ranges)
    assert brighter.ravel().tolist() == [10, 110, 210, 255]
    flatter = augment_images(grey, draws(contrast=-1), ranges)
    # (v - 127.5) / 2 + 127.5, rounded to even
    assert flatter.ravel().tolist() == [64, 114, 164, 191]


@given(st.integers(0, 2**32), st.integers(0, 1000))
@settings(max_examples=30)
def test_exposure_keeps_the_order_of_grey_levels(seed, epoch):
    tables = exposures(sample_params(seed, epoch, np.arange(5, dtype=np.uint64)), LIVELY)
    assert (np.diff(tables.astype(int), axis=1) >= 0).all()


@pytest.mark.promise("B15")
@pytest.mark.parametrize("threads", [1, 4])
def test_neither_threads_nor_vector_instructions_change_a_byte(threads):
    """Other machines have other vector units; OpenCV can be told to use none."""
    pixels = smooth_pictures(6, 96)
    drawn = sample_params(1, 0, np.arange(6, dtype=np.uint64))
    expected = augment_images(pixels, drawn, LIVELY)
    vectors = cv2.useOptimized()
    try:
        cv2.setNumThreads(threads)
        cv2.setUseOptimized(False)
        np.testing.assert_array_equal(augment_images(pixels, drawn, LIVELY), expected)
    finally:
        cv2.setNumThreads(1)
        cv2.setUseOptimized(vectors)


def test_the_batch_around_an_image_does_not_change_it():
    pixels = smooth_pictures(5, 16)
    drawn = sample_params(1, 0, np.arange(5, dtype=np.uint64))
    together = augment_images(pixels, drawn, LIVELY)
    for k in range(5):
        alone = augment_images(pixels[k : k + 1], drawn[k : k + 1], LIVELY)
        np.testing.assert_array_equal(alone[0], together[k])
