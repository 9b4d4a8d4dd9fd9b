import pandas as pd
import pytest

from ulna.data.cache import Cache
from ulna.data.rows import choose_rows, join_rows
from ulna.errors import InputError

IMAGES = pd.DataFrame(
    {
        "image": list("abcdef"),
        "official_split": ["train"] * 4 + ["valid"] * 2,
        "body_part": ["WRIST", "WRIST", "HAND", "HAND", "WRIST", "HAND"],
        "patient": ["p1", "p1", "p2", "p3", "p4", "p4"],
        "study": list("stuvwx"),
        "label": [0, 1, 0, 1, 1, 0],
    }
)
SPLITS = pd.DataFrame(
    {"patient": ["p1", "p2", "p3", "p4"], "split": ["train", "train", "val", "test"]}
)
CACHED = Cache(
    images=pd.DataFrame({"image": list("fedba"), "row": [2, 2, 1, 1, 0]}),
    rejected=pd.DataFrame({"image": ["c"], "reason": ["truncated"]}),
    arrays={},
)


def test_cached_images_get_their_patients_split_in_the_order_of_the_index():
    rows = join_rows(IMAGES, SPLITS, CACHED)
    assert list(rows["image"]) == list("abdef")
    assert list(rows["split"]) == ["train", "train", "val", "test", "test"]
    assert list(rows["row"]) == [0, 1, 1, 2, 2]


@pytest.mark.promise("A1")
def test_a_patient_without_a_split_stops():
    with pytest.raises(InputError, match="p3"):
        join_rows(IMAGES, SPLITS.drop(index=2), CACHED)


def test_a_cache_of_another_index_stops():
    with pytest.raises(InputError, match="dvc repro preprocess"):
        join_rows(IMAGES.drop(index=1), SPLITS, CACHED)


def test_an_image_neither_cached_nor_set_aside_stops():
    lost = Cache(CACHED.images, CACHED.rejected[:0], {})
    with pytest.raises(InputError, match="1 images.* c"):
        join_rows(IMAGES, SPLITS, lost)


def test_rows_of_a_split_and_some_body_parts_are_chosen():
    rows = join_rows(IMAGES, SPLITS, CACHED)
    assert list(choose_rows(rows, "train", "all")["image"]) == ["a", "b"]
    assert list(choose_rows(rows, "train", ("WRIST",))["image"]) == ["a", "b"]


def test_an_unknown_body_part_is_named_with_those_there_are():
    rows = join_rows(IMAGES, SPLITS, CACHED)
    with pytest.raises(InputError, match="FOOT.* HAND, WRIST"):
        choose_rows(rows, "train", ("FOOT",))


@pytest.mark.parametrize(
    ("body_parts", "key"), [("all", "data.body_parts"), (("HAND", "WRIST"), "train.body_parts")]
)
def test_a_split_with_one_label_stops_and_names_the_parameter_that_chose(body_parts, key):
    rows = join_rows(IMAGES, SPLITS, CACHED)
    with pytest.raises(InputError, match=rf"val .*1 .*\({key}\)"):
        choose_rows(rows, "val", body_parts)
