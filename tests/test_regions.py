"""Frame and centre of a picture: equal in area, complements, and the padding is part of neither."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulna.data.images import REGIONS, centre_box, content_boxes, letterbox, mask_region

SIDES = st.integers(1, 600)
property_of_shapes = settings(deadline=None, max_examples=60)


def boxes_of(width_px: int, height_px: int, size_px: int, fit: str) -> np.ndarray:
    images = pd.DataFrame({"width_px": [width_px], "height_px": [height_px]})
    return content_boxes(images, size_px, fit)


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96), st.sampled_from(["pad", "stretch"]))
def test_every_pixel_of_a_picture_is_hidden_once_and_no_padding_ever(width, height, size, fit):
    """The picture by the function that makes squares, not by the one that is used."""
    white = letterbox(np.full((height, width), 255, np.uint8), size, fit)[np.newaxis]
    halves = {r: mask_region(white, boxes_of(width, height, size, fit), r) for r in REGIONS}
    np.testing.assert_array_equal(halves["frame"] | halves["centre"], white)
    assert not (halves["frame"] & halves["centre"]).any()


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96))
def test_the_halves_have_equal_areas_to_half_a_row_of_the_centre(width, height, size):
    [box] = boxes_of(width, height, size, "pad")
    left, top, right, bottom = centre_box(box)
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert abs((right - left) * (bottom - top) - area / 2) <= (bottom - top) / 2


@property_of_shapes
@given(SIDES, SIDES, st.integers(32, 96))
def test_the_centre_lies_in_the_middle_and_has_the_proportions_of_the_picture(width, height, size):
    [box] = boxes_of(width, height, size, "pad")
    left, top, right, bottom = centre_box(box)
    for before, after in ((left - box[0], box[2] - right), (top - box[1], box[3] - bottom)):
        assert 0 <= before <= after <= before + 1
    if min(box[2] - box[0], box[3] - box[1]) >= 8:
        assert (right - left) / (box[2] - box[0]) == pytest.approx(0.5**0.5, abs=0.08)
        assert (bottom - top) / (box[3] - box[1]) == pytest.approx(0.5**0.5, abs=0.08)


def test_a_square_loses_14_6_percent_of_its_side_at_each_end():
    left, top, right, bottom = centre_box((0, 0, 1000, 1000))
    assert (left, top, right, bottom) == (146, 146, 853, 853)


def test_pictures_are_hidden_each_in_its_own_box_and_left_as_they_were():
    draw = np.random.default_rng(0)
    images = draw.integers(1, 256, (2, 64, 64, 1), np.uint8)
    before = images.copy()
    boxes = np.array([(0, 16, 64, 48), (0, 0, 64, 64)])
    hidden = mask_region(images, boxes, "centre")
    np.testing.assert_array_equal(images, before)
    assert hidden.dtype == np.uint8
    for k, box in enumerate(boxes):
        left, top, right, bottom = centre_box(box)
        mask = np.zeros((64, 64, 1), bool)
        mask[top:bottom, left:right] = True
        np.testing.assert_array_equal(hidden[k], np.where(mask, 0, before[k]))


def test_what_is_beside_a_picture_stays_in_its_square():
    """Padding is black in the cache; here it is white, so that touching it would show."""
    white = np.full((1, 64, 64), 255, np.uint8)
    for region in REGIONS:
        hidden = mask_region(white, np.array([(10, 0, 54, 64)]), region)
        assert (hidden[0, :, :10] == 255).all() and (hidden[0, :, 54:] == 255).all()


def test_of_no_pictures_there_are_no_boxes():
    none = pd.DataFrame({"width_px": [], "height_px": []})
    assert content_boxes(none, 64, "pad").shape == (0, 4)
