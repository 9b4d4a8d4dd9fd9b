import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.data.images import content_box, crop_padding, letterbox

SIDES = st.integers(1, 700)
SIZES = st.integers(32, 128)
FITS = st.sampled_from(["pad", "stretch"])


@given(SIDES, SIDES, SIZES, FITS)
def test_the_box_is_what_fit_square_fills(width, height, size_px, fit):
    square = letterbox(np.full((height, width), 255, np.uint8), size_px, fit)
    left, top, right, bottom = content_box(width, height, size_px, fit)
    expected = np.zeros_like(square)
    expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(square, expected)
    inside = crop_padding(square, width, height, fit)
    assert inside.shape == (bottom - top, right - left) and (inside == 255).all()


@given(SIDES, SIDES, SIZES)
def test_padding_keeps_the_aspect_ratio_and_centres(width, height, size_px):
    """In whole numbers: no rounding of the test's own."""
    left, top, right, bottom = content_box(width, height, size_px, "pad")
    longer = max(width, height)
    for side, low, high in ((width, left, right), (height, top, bottom)):
        assert high - low == 1 or 2 * abs((high - low) * longer - side * size_px) <= longer
        assert size_px - high - low in (0, 1)
    assert max(right - left, bottom - top) == size_px


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (200, 200, (0, 0, 96, 96)),
        (512, 128, (0, 36, 96, 60)),
        (1, 500, (47, 0, 48, 96)),
        (500, 99, (0, 38, 96, 57)),  # 19.008 rows: 19, 38 above and 39 below
    ],
)
def test_boxes_computed_by_hand(width, height, box):
    assert content_box(width, height, 96, "pad") == box
    assert content_box(width, height, 96, "stretch") == (0, 0, 96, 96)


def test_what_is_cut_out_is_the_picture():
    pixels = np.random.default_rng(1).integers(0, 256, (96, 40), np.uint8)
    square = letterbox(pixels, 96, "pad")
    np.testing.assert_array_equal(crop_padding(square, 40, 96, "pad"), pixels)
    assert crop_padding(square, 40, 96, "stretch").shape == (96, 96)
