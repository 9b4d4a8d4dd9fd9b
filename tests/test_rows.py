import pandas as pd
import pytest

from ulna.data.cache import Cache
from ulna.data.samples import join_samples, select_samples
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
    rows = join_samples(IMAGES, SPLITS, CACHED)
    assert list(rows["image"]) == list("abdef")
    assert list(rows["split"]) == ["train", "train", "val", "test", "test"]
    assert list(rows["row"]) == [0, 1, 1, 2, 2]


@pytest.mark.promise("A1")
def test_a_patient_without_a_split_stops():
    with pytest.raises(InputError, match="p3"):
        join_samples(IMAGES, SPLITS.drop(index=2), CACHED)


def test_a_cache_of_another_index_stops():
    with pytest.raises(InputError, match="run `dvc repro preprocess`"):
        join_samples(IMAGES.drop(index=1), SPLITS, CACHED)


def test_an_image_neither_cached_nor_set_aside_stops():
    lost = Cache(CACHED.images, CACHED.rejected[:0], {})
    with pytest.raises(InputError, match="differ in 1 images, the first is c"):
        join_samples(IMAGES, SPLITS, lost)


def test_rows_of_a_split_and_some_body_parts_are_chosen():
    rows = join_samples(IMAGES, SPLITS, CACHED)
    assert list(select_samples(rows, "train", "all")["image"]) == ["a", "b"]
    assert list(select_samples(rows, "train", ("WRIST",))["image"]) == ["a", "b"]


def test_an_unknown_body_part_is_named_with_those_there_are():
    rows = join_samples(IMAGES, SPLITS, CACHED)
    with pytest.raises(InputError, match=r"names FOOT, .* only HAND, WRIST"):
        select_samples(rows, "train", ("FOOT",))


@pytest.mark.parametrize(
    ("body_parts", "key"), [("all", "data.body_parts"), (("HAND", "WRIST"), "train.body_parts")]
)
def test_a_split_with_one_label_stops_and_names_the_parameter_that_chose(body_parts, key):
    rows = join_samples(IMAGES, SPLITS, CACHED)
    fault = rf"the val split holds 1 images with 1 of the two labels: .* \({key}\) or"
    with pytest.raises(InputError, match=fault):
        select_samples(rows, "val", body_parts)
