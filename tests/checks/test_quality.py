import numpy as np
import pandas as pd
import pytest

from ulna.checks.quality import SMALL_PX, measure_images, resize_content, similarity
from ulna.data.images import letterbox

SIZE = 40


def made_images(count, seed=0):
    """Smooth random images, no two similar."""
    coarse = np.random.default_rng(seed).uniform(40, 160, (count, 6, 6))
    return np.kron(coarse, np.ones((8, 8))).astype(np.uint8)


def measured(image):
    return measure_images(np.broadcast_to(image, (1, SMALL_PX, SMALL_PX)).astype(np.uint8)).loc[0]


def test_padding_is_left_out():
    cached = np.stack([letterbox(np.full((90, 30), 200, np.uint8), SIZE, "pad")] * 3)
    images = pd.DataFrame(
        {"body_part": "WRIST", "row": [2, 0], "width_px": [30, 30], "height_px": [90, 90]}
    )
    arrays = {"WRIST": cached}
    assert (resize_content(arrays, images, "pad", 24) == np.full((2, 24, 24), 200)).all()
    assert (resize_content(arrays, images, "stretch", 24) == 0).any()


def test_the_polarity_of_an_inverse_mirrors_that_of_the_image_about_mid_grey():
    # 100 of 4 pixels along each side, 20 within: the lower is the mean of all, not of the rim.
    image = np.full((SMALL_PX, SMALL_PX), 20)
    image[:4], image[-4:], image[:, :4], image[:, -4:] = 100, 100, 100, 100
    share = 1 - 40**2 / 48**2
    assert measured(image)["polarity"] == pytest.approx(20 + 80 * share)
    assert measured(255 - image)["polarity"] == pytest.approx(155)  # here the rim is darker


def test_contrast_is_that_of_all_but_the_darkest_and_brightest_hundredth():
    image = np.full((SMALL_PX, SMALL_PX), 50)
    image[:12] = 70
    image[20, 20] = 255  # a letter does not make a blank image a radiograph
    assert measured(image)["contrast"] == 20


def test_only_a_bright_level_is_saturated():
    for level, share in ((200, 0.25), (199, 0)):
        image = np.full((SMALL_PX, SMALL_PX), 30)
        image[:24, :24] = level
        assert measured(image)["saturated"] == share


def test_bright_strips_are_counted_by_side_and_must_run_along_all_of_it():
    image = np.full((SMALL_PX, SMALL_PX), 30)
    image[:, -3:] = 200
    assert measured(image)["bright_sides"] == 1
    image[-2:] = 240
    assert measured(image)["bright_sides"] == 2
    image[:2, :24] = 240
    assert measured(image)["bright_sides"] == 2


def test_similarity_is_the_third_highest_correlation_over_turned_and_mirrored_images():
    many = made_images(9)
    every = np.arange(9)
    coarse = many.reshape(-1, 16, 3, 16, 3).mean((2, 4))
    as_is, inverted = similarity(many, every, every)
    for at, one in enumerate(coarse):
        ways = [
            [
                np.corrcoef(one.ravel(), np.rot90(way, turns).ravel())[0, 1]
                for turns in range(4)
                for way in (other, other[:, ::-1])
            ]
            for number, other in enumerate(coarse)
            if number != at
        ]
        assert as_is[at] == pytest.approx(sorted(max(way) for way in ways)[-3], abs=1e-5)
        assert inverted[at] == pytest.approx(sorted(-min(way) for way in ways)[-3], abs=1e-5)


def test_similarity_does_not_depend_on_the_size_of_a_block(monkeypatch):
    many = made_images(23)
    every = np.arange(23)
    whole = similarity(many, every, every)
    monkeypatch.setattr("ulna.checks.quality.BLOCK", 5)
    np.testing.assert_allclose(similarity(many, every, every), whole, atol=1e-6)


def test_an_inverse_is_like_the_others_only_inverted():
    one = made_images(1)[0]
    turned = [np.rot90(one, 1), one[::-1], one, np.rot90(one, 2), 255 - one]
    as_is, inverted = similarity(np.stack(turned), np.arange(5), np.arange(5))
    assert (as_is[:4] > 0.999).all() and inverted[4] > 0.999
    assert as_is[4] < 0.9


def test_some_are_compared_with_some_as_if_there_were_no_others():
    many = made_images(12)
    chosen, others = np.array([1, 7, 4]), np.array([0, 4, 8, 9, 11])
    found = similarity(many, chosen, others)
    for place, at in enumerate(chosen):
        group = many[[at, *(other for other in others if other != at)]]
        alone = similarity(group, np.array([0]), np.arange(len(group)))
        np.testing.assert_allclose(
            [each[place] for each in found], [each[0] for each in alone], atol=1e-6
        )


def test_a_image_that_is_mostly_bright_has_no_bright_border():
    image = np.full((SMALL_PX, SMALL_PX), 230)
    image[20:30, 20:30] = 30
    assert measured(image)["bright_sides"] == 0
