"""Overlays and small pictures, by arithmetic on pictures of one grey level."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ulna.inference import pictures

GREY = np.full((40, 80), 100, np.uint8)


def overlay(cells, pixels=GREY, fit="pad"):
    image = pictures.draw_overlay(pixels, np.asarray(cells, np.float32), 32, fit)
    return np.asarray(image).astype(int)


def test_an_overlay_has_the_size_of_its_picture_and_a_map_of_zeros_changes_nothing():
    drawn = overlay(np.zeros((4, 4)))
    assert drawn.shape == (40, 80, 3) and (drawn == 100).all()


@pytest.mark.parametrize(("value", "colour"), [(9.0, pictures.ABNORMAL), (-9.0, pictures.NORMAL)])
def test_the_sign_is_the_colour_and_grey_stays_visible(value, colour):
    expected = [0.4 * 100 + 0.6 * channel for channel in colour]
    drawn = overlay(np.full((4, 4), value))
    assert np.abs(drawn - expected).max() <= 1


def test_a_map_of_next_to_nothing_hardly_shows():
    """0.005 of the logit is a hundredth of the least that is drawn in full."""
    assert np.abs(overlay(np.full((4, 4), 0.005)) - 100).max() <= 1


def test_the_map_lies_where_the_picture_lay_in_the_square():
    """Of a picture twice as wide as high, the outer rows of the map see padding alone."""
    rows = np.array([9.0, 0.0, 0.0, 9.0])
    drawn = overlay(np.repeat(rows[:, None], 4, axis=1))
    assert (drawn[15:25] == 100).all()
    left = overlay(np.tile([9.0, 9.0, 0.0, 0.0], (4, 1)))
    assert (left[:, :20, 0] > 150).all() and (left[:, 60:] == 100).all()


def test_a_stretched_picture_fills_the_square():
    cells = np.zeros((4, 4))
    cells[0] = 9
    drawn = overlay(cells, fit="stretch")
    assert (drawn[0, :, 0] > 150).all() and (drawn[20:] == 100).all()


@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120))
def test_the_name_of_an_overlay_is_a_plain_file_name(study, path):
    name = pictures.overlay_name(study, path)
    assert len(name) < 100 and name.endswith(".png")
    assert all(each.isascii() and (each.isalnum() or each in "-_.") for each in name)


def test_paths_that_read_alike_have_overlays_of_their_own():
    paths = ["a/b.png", "a_b.png", "a/b.jpg", "a b.png", "a\udcff.png"]
    assert len({pictures.overlay_name("s", path) for path in paths}) == len(paths)


def test_a_small_picture_is_a_jpeg_without_metadata():
    data, size = pictures.encode_jpeg(Image.fromarray(np.zeros((500, 1000), np.uint8)), 320)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG" and image.size == size == (320, 160)
    assert not image.getexif() and set(image.info) <= {
        "jfif", "jfif_version", "jfif_unit", "jfif_density",
    }  # fmt: skip
