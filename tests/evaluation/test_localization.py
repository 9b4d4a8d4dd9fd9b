import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.core import InputError
from ulna.core.io import write_csv
from ulna.data import BOX, Cache
from ulna.data.images import letterbox
from ulna.evaluation.bootstrap import bootstrap_weights
from ulna.evaluation.localization import (
    CHANCES,
    COLUMNS,
    CONTENT_BOX,
    OUTCOMES,
    SAMPLE_IMAGES,
    choose_gallery,
    choose_sample,
    content_boxes,
    energy_inside,
    find_rows,
    locate_boxes,
    map_maxima,
    mean_cells,
    pointing_game,
    read_gallery,
    read_maps,
    score_maps,
    summarize_localization,
    to_square,
    upsample,
    write_maps,
)

SIDE = 100
WHOLE = np.array([[0.0, 0.0, SIDE, SIDE]])


def box(*corners: float) -> np.ndarray:
    return np.array([corners], np.float64)


def test_content_boxes_are_those_of_the_cache():
    assert content_boxes([400, 200], [200, 400], 96, "pad").tolist() == [
        [0, 24, 96, 72],
        [24, 0, 72, 96],
    ]
    assert content_boxes([400], [200], 96, "stretch").tolist() == [[0, 0, 96, 96]]
    assert content_boxes([], [], 96, "pad").shape == (0, 4)


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


def test_without_a_finding_there_is_no_box():
    assert np.isnan(to_square(np.full((1, 4), np.nan), [10], [20], 96, "pad")).all()


def test_the_maximum_is_the_centre_of_its_cell_at_the_border_too():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 3] = 1
    maps[1, 2, 1] = 1
    assert map_maxima(maps, 96).tolist() == [[84, 12], [36, 60]]


@pytest.mark.parametrize(
    ("x", "y", "hit"), [(30, 30, 1), (17.1, 30, 1), (16.9, 30, 0), (43, 43, 1), (43.1, 43, 0)]
)
def test_a_point_hits_inside_the_box_or_at_most_3_percent_of_the_side_beside_it(x, y, hit):
    hits, _, _ = pointing_game(np.array([[x, y]]), box(20, 20, 40, 40), WHOLE, SIDE)
    assert hits.tolist() == [hit]


def test_the_chance_of_a_hit_is_that_of_random_points_on_the_image():
    content, target = box(20, 0, 80, 100), box(10, 85, 45, 95)
    points = np.random.default_rng(1).uniform(content[0, :2], content[0, 2:], (40_000, 2))
    _, chance, _ = pointing_game(points[:1], target, content, SIDE)
    many = (points >= [7, 82]) & (points <= [48, 98])
    assert chance[0] == pytest.approx(many.all(axis=1).mean(), abs=0.01)


def test_maps_of_other_images_hit_where_findings_usually_are():
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


def test_a_map_without_a_positive_part_has_no_energy():
    maps = np.stack([np.ones((SIDE, SIDE)), -np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE))])
    boxes = np.repeat(box(0, 0, 50, 100), 3, axis=0)
    energy, _, others = energy_inside(maps, boxes, np.repeat(WHOLE, 3, axis=0))
    np.testing.assert_allclose(energy, [0.5, np.nan, 0.5])
    np.testing.assert_allclose(others, [0.5, np.nan, 0.5])


def test_energy_of_other_maps_is_that_of_every_pair():
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(5, 20, 20))
    corners = np.sort(rng.uniform(0, 20, (5, 2, 2)), axis=1).reshape(5, 4)
    content = np.repeat(box(0, 0, 20, 20), 5, axis=0)
    _, _, others = energy_inside(maps, corners, content)
    for own in range(5):
        pairs = [
            energy_inside(maps[[other]], corners[[own]], content[:1])[0][0]
            for other in range(5)
            if other != own
        ]
        assert others[own] == pytest.approx(np.mean(pairs))


def test_a_cell_has_the_mean_grey_level_at_any_side():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 50, 50), np.uint8)
    cells = mean_cells(pixels, 7)
    assert cells.shape == (2, 7, 7)
    assert cells[1, 0, 6] == pixels[1, :7, 42:].mean()


def scene(patients: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Two images a patient; maps that look at the box in one of the two, content that do not."""
    count = 2 * patients
    table = pd.DataFrame({"patient": [f"p{k // 2:02}" for k in range(count)]})
    table[BOX] = [10.0, 10.0, 20.0, 20.0]
    table[CONTENT_BOX] = WHOLE[0]
    table["map_x_px"] = table["map_y_px"] = np.where(np.arange(count) % 2, 15.0, 80.0)
    maps = np.zeros((count, SIDE, SIDE))
    maps[1::2, 10:20, 10:20] = 1
    maps[::2, 75:85, 75:85] = 1
    pixels = np.zeros((count, SIDE, SIDE), np.uint8)
    pixels[:, 50:, 50:] = 200
    return table, maps, pixels


def test_scores_are_means_over_images_with_cis_over_patients():
    table, maps, pixels = scene(12)
    scores = score_maps(table, maps, pixels, bootstrap_weights(table["patient"], 200, 1), 10)
    for name in ("pointing_game", "energy_inside"):
        found = scores[name]
        assert (found["n"], found["patients"]) == (24, 12)
        assert found["value"] == pytest.approx(0.5)
        # Every patient has one hit and one miss, so no replicate changes the mean: what was
        # seen in none of 12 patients may be in 1 - 0.025 ** (1 / 12) = 26.5% of all.
        assert [found[key] for key in ("low", "high")] == pytest.approx([0.3677, 0.6323], abs=1e-4)
        assert found["chance_brightness"] == 0
        assert found["chance_other_maps"] == pytest.approx(0.5)
    assert scores["pointing_game"]["chance_even"] == pytest.approx(0.16**2)
    assert scores["energy_inside"]["chance_even"] == pytest.approx(0.1**2)


def test_the_ci_is_that_of_replicates_of_patients():
    """Eight patients with two hits and four with none: replicates whole, not image by image."""
    patients = pd.Series(np.repeat([f"p{k:02}" for k in range(12)], 2), dtype=object)
    hits = np.repeat([1.0] * 8 + [0.0] * 4, 2)
    replicates = bootstrap_weights(patients, 4000, 1)
    found = summarize_localization((hits, hits, hits, hits), patients, replicates, 10)
    chosen = np.random.default_rng(0).choice([1] * 8 + [0] * 4, (100_000, 12)).mean(axis=1)
    low, high = np.quantile(chosen, [0.025, 0.975])  # of 24 images alone 0.46 to 0.83
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.001)


def test_of_few_patients_there_is_no_number():
    table, maps, pixels = scene(9)
    found = score_maps(table, maps, pixels, bootstrap_weights(table["patient"], 100, 1), 10)
    scores = found["pointing_game"]
    assert (scores["n"], scores["patients"]) == (18, 9)
    assert all(np.isnan(scores[name]) for name in ("value", "low", "high", *CHANCES))


def test_no_image_gives_no_number():
    table = pd.DataFrame(columns=["patient", "map_x_px", "map_y_px", *BOX, *CONTENT_BOX])
    empty = np.empty((0, 96, 96))
    found = score_maps(table, empty, empty.astype(np.uint8), bootstrap_weights(["a"], 10, 1), 2)
    for values in found.values():
        assert (values["n"], values["patients"]) == (0, 0)
        assert np.isnan(values["value"])


def images(*rows):
    table = pd.DataFrame(rows, columns=["image", "body_part", "label", "probability"])
    return table.assign(threshold=0.5)


def cached(**sides) -> Cache:
    listed = pd.DataFrame(
        [(f"{name}.png", row, *side) for row, (name, side) in enumerate(sides.items())],
        columns=["image", "row", "width_px", "height_px"],
    )
    return Cache(listed, listed[:0], {"HAND": np.zeros((len(sides), 96, 96), np.uint8)})


def test_the_most_confident_image_of_each_outcome_is_chosen():
    table = images(
        ("tp1", "HAND", 1, 0.7),
        ("tp2", "HAND", 1, 0.9),
        ("fp1", "HAND", 0, 0.6),
        ("fp2", "HAND", 0, 0.8),
        ("fn1", "HAND", 1, 0.1),
        ("fn2", "HAND", 1, 0.5),  # not above the threshold: predicted negative
        ("tn1", "HAND", 0, 0.4),
        ("tn2", "HAND", 0, 0.05),
        ("other", "ELBOW", 0, 0.2),
    )
    chosen = choose_gallery(table.sample(frac=1, random_state=1))
    assert chosen["image"].tolist() == ["other", "tp2", "fp2", "fn1", "tn2"]
    assert chosen["outcome"].tolist() == [OUTCOMES[3], *OUTCOMES]


def test_each_image_has_its_own_threshold():
    table = images(("a", "HAND", 1, 0.4), ("b", "WRIST", 1, 0.4)).assign(threshold=[0.3, 0.5])
    assert choose_gallery(table)["outcome"].tolist() == ["true positive", "false negative"]


def test_of_equally_confident_images_the_first_by_name_is_chosen():
    table = images(("b", "HAND", 1, 0.9), ("a", "HAND", 1, 0.9))
    assert choose_gallery(table)["image"].tolist() == ["a"]


def test_the_sample_is_a_function_of_seed_and_images():
    table = images(*((f"{k:03}", "HAND", 0, 0.1) for k in range(200)))
    sample = choose_sample(table, 1)
    assert len(sample) == sample["image"].nunique() == SAMPLE_IMAGES
    pd.testing.assert_frame_equal(choose_sample(table.sample(frac=1, random_state=1), 1), sample)
    assert choose_sample(table, 2)["image"].tolist() != sample["image"].tolist()


def test_few_images_are_all_in_the_sample():
    assert len(choose_sample(images(("a", "HAND", 0, 0.1), ("b", "HAND", 1, 0.1)), 1)) == 2


def test_images_are_found_in_the_cache_and_boxes_in_the_square():
    table = images(("b.png", "HAND", 1, 0.9), ("a.png", "HAND", 0, 0.1))
    truth = pd.DataFrame(
        [("a.png", *[np.nan] * 4), ("b.png", 100, 50, 200, 100)], columns=["image", *BOX]
    )
    cache = cached(a=(96, 96), b=(400, 200))
    found = locate_boxes(find_rows(table, cache), cache, "pad", truth)
    assert found["image"].tolist() == ["b.png", "a.png"]
    assert found["row"].tolist() == [1, 0]
    np.testing.assert_array_equal(found[BOX], [[24, 36, 48, 48], [np.nan] * 4])
    np.testing.assert_array_equal(found[CONTENT_BOX], [[0, 24, 96, 72], [0, 0, 96, 96]])


NO_ANNOTATIONS = pd.DataFrame({"image": [], **{name: [] for name in BOX}})


def test_without_truth_no_image_has_a_box_and_none_is_lost():
    table = images(("b.png", "HAND", 1, 0.9), ("a.png", "HAND", 1, 0.9))
    cache = cached(a=(96, 96), b=(96, 48))
    found = locate_boxes(find_rows(table, cache), cache, "stretch", NO_ANNOTATIONS)
    assert found["image"].tolist() == ["b.png", "a.png"]
    assert found[BOX].isna().all(axis=None)
    np.testing.assert_array_equal(found[CONTENT_BOX], [[0, 0, 96, 96]] * 2)


def test_an_image_that_the_cache_lacks_is_named():
    table = images(("a.png", "HAND", 1, 0.9))
    with pytest.raises(InputError, match="1 of 1 .* a.png"):
        find_rows(table, cached(b=(96, 96)))


def test_maps_are_upsampled_bilinearly():
    """By hand: pixels beyond the outer centres of cells take their values."""
    large = upsample(np.array([[[0.0, 1.0], [0.0, 1.0]]], np.float32), 4)
    assert large.dtype == np.float32 and large.shape == (1, 4, 4)
    np.testing.assert_array_equal(large[0], [[0, 0.25, 0.75, 1]] * 4)


def test_maps_are_read_in_the_order_asked_for(tmp_path):
    maps = np.arange(3 * 2 * 2, dtype=np.float32).reshape(3, 2, 2) / 3
    write_maps(tmp_path / "cnn", pd.Series(list("abc"), name="image"), maps, {"layer": "relu"})
    read, test = read_maps(tmp_path / "cnn", pd.Series(["c", "a"]))
    assert (read == maps[[2, 0]]).all() and test == {"layer": "relu"}
    with pytest.raises(InputError, match="cnn lacks the map of d"):
        read_maps(tmp_path / "cnn", pd.Series(["a", "d"]))
    with pytest.raises(InputError, match="densenet169/test.json"):
        read_maps(tmp_path / "densenet169", pd.Series(["a"]))


@pytest.mark.promise("E32")
def test_maps_that_failed_their_test_are_not_shown(tmp_path):
    cache = cached(a=(96, 96), b=(96, 96))
    gallery = images(("b.png", "HAND", 1, 0.9), ("a.png", "HAND", 0, 0.1))
    gallery = gallery.reindex(columns=list(COLUMNS), fill_value=0.5)
    write_csv(tmp_path / "saliency.csv", gallery)
    maps = np.arange(2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2)
    for passed in (True, False):
        test = {"randomization": {"passed": passed}}
        write_maps(tmp_path / "cnn", pd.Series(["a.png", "b.png"], name="image"), maps, test)
        read, shown = read_gallery(tmp_path / "saliency.csv", tmp_path / "cnn", cache)
        assert read["image"].tolist() == ["b.png", "a.png"] and read["row"].tolist() == [1, 0]
        if passed:
            np.testing.assert_array_equal(shown, upsample(maps[[1, 0]], 96))
        else:
            assert shown is None
