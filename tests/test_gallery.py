import numpy as np
import pandas as pd
import pytest

from ulna.data.annotations import BOX
from ulna.data.cache import Cache
from ulna.errors import InputError
from ulna.maps.gallery import (
    OUTCOMES,
    SAMPLE_IMAGES,
    choose_gallery,
    choose_sample,
    locate,
    read_gallery,
    write_gallery,
)
from ulna.maps.pointing import PICTURE


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
        ("fn2", "HAND", 1, 0.5),  # not above the threshold: called normal
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


def test_of_equally_sure_images_the_first_by_name_is_chosen():
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
    found = locate(table, cached(a=(96, 96), b=(400, 200)), "pad", truth)
    assert found["image"].tolist() == ["b.png", "a.png"]
    assert found["row"].tolist() == [1, 0]
    np.testing.assert_array_equal(found[BOX], [[24, 36, 48, 48], [np.nan] * 4])
    np.testing.assert_array_equal(found[PICTURE], [[0, 24, 96, 72], [0, 0, 96, 96]])


NOTHING_PLANTED = pd.DataFrame({"image": [], **{name: [] for name in BOX}})


def test_without_truth_no_image_has_a_box_and_none_is_lost():
    table = images(("b.png", "HAND", 1, 0.9), ("a.png", "HAND", 1, 0.9))
    found = locate(table, cached(a=(96, 96), b=(96, 48)), "stretch", NOTHING_PLANTED)
    assert found["image"].tolist() == ["b.png", "a.png"]
    assert found[BOX].isna().all(axis=None)
    np.testing.assert_array_equal(found[PICTURE], [[0, 0, 96, 96]] * 2)


def test_an_image_that_the_cache_lacks_is_named():
    table = images(("a.png", "HAND", 1, 0.9))
    with pytest.raises(InputError, match="1 of 1 .* a.png"):
        locate(table, cached(b=(96, 96)), "pad", NOTHING_PLANTED)


@pytest.mark.promise("E32")
def test_maps_that_may_not_be_shown_are_not_written_and_earlier_ones_go(tmp_path):
    gallery = images(("a.png", "HAND", 1, 0.9), ("b.png", "HAND", 0, 0.1)).assign(map_x_px=[3.5, 2])
    maps = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4) / 3
    write_gallery(tmp_path / "cnn", gallery, maps)
    read, shown = read_gallery(tmp_path / "cnn")
    pd.testing.assert_frame_equal(read, gallery)
    assert shown.dtype == np.float32 and (shown == maps).all()
    write_gallery(tmp_path / "cnn", gallery, None)
    assert read_gallery(tmp_path / "cnn")[1] is None
    with pytest.raises(InputError, match="densenet169/gallery.csv"):
        read_gallery(tmp_path / "densenet169")
