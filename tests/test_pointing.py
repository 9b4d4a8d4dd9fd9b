import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.data.annotations import BOX
from ulna.data.images import letterbox
from ulna.judging.bootstrap import resample
from ulna.maps.pointing import (
    CHANCES,
    PICTURE,
    energy_inside,
    maxima,
    place,
    pointing_game,
    score_maps,
    shrink,
    summarize,
    to_square,
)

SIDE = 100
WHOLE = np.array([[0.0, 0.0, SIDE, SIDE]])


def box(*corners: float) -> np.ndarray:
    return np.array([corners], np.float64)


def test_each_picture_lies_where_the_cache_puts_it():
    assert place([400, 200], [200, 400], 96, "pad").tolist() == [[0, 24, 96, 72], [24, 0, 72, 96]]
    assert place([400], [200], 96, "stretch").tolist() == [[0, 0, 96, 96]]
    assert place([], [], 96, "pad").shape == (0, 4)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(("width", "height"), [(400, 250), (220, 512), (300, 300)])
def test_a_box_follows_its_pixels_into_the_square(width, height, fit):
    pixels = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = 40, 60, 120, 200
    pixels[y0:y1, x0:x1] = 255
    rows, columns = np.nonzero(letterbox(pixels, 96, fit) > 127)
    moved = to_square(box(x0, y0, x1, y1), [width], [height], 96, fit)[0]
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved, seen, atol=0.51)


def test_where_nothing_was_planted_no_box_appears():
    assert np.isnan(to_square(np.full((1, 4), np.nan), [10], [20], 96, "pad")).all()


def test_the_highest_point_is_the_centre_of_its_cell_at_the_border_too():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 3] = 1
    maps[1, 2, 1] = 1
    assert maxima(maps, 96).tolist() == [[84, 12], [36, 60]]


@pytest.mark.parametrize(
    ("x", "y", "hit"), [(30, 30, 1), (17.1, 30, 1), (16.9, 30, 0), (43, 43, 1), (43.1, 43, 0)]
)
def test_a_point_hits_inside_the_box_or_at_most_3_percent_of_the_side_beside_it(x, y, hit):
    hits, _, _ = pointing_game(np.array([[x, y]]), box(20, 20, 40, 40), WHOLE, SIDE)
    assert hits.tolist() == [hit]


def test_the_chance_of_a_hit_is_that_of_random_points_on_the_picture():
    picture, target = box(20, 0, 80, 100), box(10, 85, 45, 95)
    points = np.random.default_rng(1).uniform(picture[0, :2], picture[0, 2:], (40_000, 2))
    _, chance, _ = pointing_game(points[:1], target, picture, SIDE)
    many = (points >= [7, 82]) & (points <= [48, 98])
    assert chance[0] == pytest.approx(many.all(axis=1).mean(), abs=0.01)


def test_other_maps_hit_by_where_findings_usually_lie():
    """Three boxes, two in one place: each image's box against the points of the two others."""
    boxes = np.concatenate([box(10, 10, 20, 20), box(10, 10, 20, 20), box(70, 70, 90, 90)])
    points = np.array([[15.0, 15.0], [15.0, 15.0], [80.0, 80.0]])
    hits, _, others = pointing_game(points, boxes, np.repeat(WHOLE, 3, axis=0), SIDE)
    assert hits.tolist() == [1, 1, 1]
    assert others.tolist() == [0.5, 0.5, 0]


def test_energy_is_the_share_of_the_positive_part_in_the_box():
    one = np.full((1, SIDE, SIDE), -5.0)
    one[0, 10:20, 10:20] = 3
    one[0, 60:70, 60:70] = 1
    energy, even, _ = energy_inside(one, box(0, 0, 50, 50), WHOLE)
    assert energy == pytest.approx([0.75])
    assert even == pytest.approx([0.25])


@given(*(st.floats(0, 49) for _ in range(2)), *(st.floats(50, 100) for _ in range(2)))
def test_a_flat_map_has_the_energy_of_chance(x0, y0, x1, y1):
    energy, even, _ = energy_inside(np.ones((1, SIDE, SIDE)), box(x0, y0, x1, y1), WHOLE)
    assert energy == pytest.approx(even)


def test_a_map_without_a_positive_part_has_no_energy_and_no_say_in_the_others():
    maps = np.stack([np.ones((SIDE, SIDE)), -np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE))])
    boxes = np.repeat(box(0, 0, 50, 100), 3, axis=0)
    energy, _, others = energy_inside(maps, boxes, np.repeat(WHOLE, 3, axis=0))
    np.testing.assert_allclose(energy, [0.5, np.nan, 0.5])
    np.testing.assert_allclose(others, [0.5, np.nan, 0.5])


def test_energy_of_other_maps_is_that_of_every_pair():
    draw = np.random.default_rng(3)
    maps = draw.normal(size=(5, 20, 20))
    corners = np.sort(draw.uniform(0, 20, (5, 2, 2)), axis=1).reshape(5, 4)
    pictures = np.repeat(box(0, 0, 20, 20), 5, axis=0)
    _, _, others = energy_inside(maps, corners, pictures)
    for own in range(5):
        pairs = [
            energy_inside(maps[[other]], corners[[own]], pictures[:1])[0][0]
            for other in range(5)
            if other != own
        ]
        assert others[own] == pytest.approx(np.mean(pairs))


def test_a_cell_has_the_mean_grey_level_whatever_the_side():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 50, 50), np.uint8)
    cells = shrink(pixels, 7)
    assert cells.shape == (2, 7, 7)
    assert cells[1, 0, 6] == pixels[1, :7, 42:].mean()


def scene(patients: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Two images a patient; maps that look at the box in one of the two, pictures that do not."""
    count = 2 * patients
    table = pd.DataFrame({"patient": [f"p{k // 2:02}" for k in range(count)]})
    table[BOX] = [10.0, 10.0, 20.0, 20.0]
    table[PICTURE] = WHOLE[0]
    table["map_x_px"] = table["map_y_px"] = np.where(np.arange(count) % 2, 15.0, 80.0)
    maps = np.zeros((count, SIDE, SIDE))
    maps[1::2, 10:20, 10:20] = 1
    maps[::2, 75:85, 75:85] = 1
    pixels = np.zeros((count, SIDE, SIDE), np.uint8)
    pixels[:, 50:, 50:] = 200
    return table, maps, pixels


def test_scores_are_means_over_images_with_intervals_over_patients():
    table, maps, pixels = scene(12)
    scores = score_maps(table, maps, pixels, 10, resample(table["patient"], 200, 1), 10)
    for name in ("pointing_game", "energy_inside"):
        found = scores[name]
        assert (found["n"], found["patients"]) == (24, 12)
        assert found["value"] == pytest.approx(0.5)
        # Every patient has one hit and one miss, so no draw of patients changes the mean: what was
        # seen in none of 12 patients may be in 1 - 0.025 ** (1 / 12) = 26.5% of all.
        assert [found[key] for key in ("low", "high")] == pytest.approx([0.3677, 0.6323], abs=1e-4)
        assert found["chance_brightness"] == 0
        assert found["chance_other_maps"] == pytest.approx(0.5)
    assert scores["pointing_game"]["chance_even"] == pytest.approx(0.16**2)
    assert scores["energy_inside"]["chance_even"] == pytest.approx(0.1**2)


def test_an_interval_is_that_of_draws_of_patients():
    """Eight patients with two hits and four with none: drawn whole, not image by image."""
    patients = np.repeat([f"p{k:02}" for k in range(12)], 2).astype(object)
    hits = np.repeat([1.0] * 8 + [0.0] * 4, 2)
    drawn = resample(patients, 4000, 1)
    found = summarize((hits, hits, hits, hits), patients, drawn, 10)
    chosen = np.random.default_rng(0).choice([1] * 8 + [0] * 4, (100_000, 12)).mean(axis=1)
    low, high = np.quantile(chosen, [0.025, 0.975])  # of 24 images alone 0.46 to 0.83
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.001)


def test_of_few_patients_there_is_no_number():
    table, maps, pixels = scene(9)
    found = score_maps(table, maps, pixels, 10, resample(table["patient"], 100, 1), 10)
    scores = found["pointing_game"]
    assert (scores["n"], scores["patients"]) == (18, 9)
    assert all(np.isnan(scores[name]) for name in ("value", "low", "high", *CHANCES))


def test_no_image_gives_no_number():
    table = pd.DataFrame(columns=["patient", "map_x_px", "map_y_px", *BOX, *PICTURE])
    empty = np.empty((0, 96, 96))
    found = score_maps(table, empty, empty.astype(np.uint8), 12, resample(["a"], 10, 1), 2)
    for values in found.values():
        assert (values["n"], values["patients"]) == (0, 0)
        assert np.isnan(values["value"])
