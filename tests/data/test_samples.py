import pandas as pd
import pytest
from mura_tree import small_studies, tables

from ulna.core import InputError
from ulna.core.io import write_csv
from ulna.data import IMAGE_COLUMNS, Cache
from ulna.data.mura import parse_index
from ulna.data.samples import (
    count_splits,
    join_samples,
    read_images,
    select_examples,
    select_samples,
)

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


def test_an_image_neither_cached_nor_rejected_stops():
    lost = Cache(CACHED.images, CACHED.rejected[:0], {})
    with pytest.raises(InputError, match="1 images, .* c:"):
        join_samples(IMAGES, SPLITS, lost)


def test_rows_of_a_split_and_some_body_parts_are_chosen():
    rows = join_samples(IMAGES, SPLITS, CACHED)
    assert list(select_samples(rows, "train", "all")["image"]) == ["a", "b"]
    assert list(select_samples(rows, "train", ("WRIST",))["image"]) == ["a", "b"]


def test_an_unknown_body_part_is_named_with_those_there_are():
    rows = join_samples(IMAGES, SPLITS, CACHED)
    with pytest.raises(InputError, match="FOOT, .*HAND, WRIST"):
        select_samples(rows, "train", ("FOOT",))


@pytest.mark.parametrize(
    ("body_parts", "key"), [("all", "data.body_parts"), (("HAND", "WRIST"), "train.body_parts")]
)
def test_a_split_with_one_label_stops_and_names_the_parameter_that_chose(body_parts, key):
    rows = join_samples(IMAGES, SPLITS, CACHED)
    with pytest.raises(InputError, match=rf"val .*\({key}\)"):
        select_samples(rows, "val", body_parts)


def test_the_written_table_is_read_back_as_it_was(tmp_path):
    images = parse_index(tables(small_studies()))
    write_csv(tmp_path / "images.csv", images)
    pd.testing.assert_frame_equal(read_images(tmp_path / "images.csv"), images)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "images.csv"),
        ("", "images.csv"),
        ("image,label\na,1\n", "image, label, .*image, official_split"),
        (
            ",".join(IMAGE_COLUMNS) + "\na,train,WRIST,p,s,1\nb,train,WRIST,p,s,\n",
            "line 3: label is ''",
        ),
    ],
)
def test_a_wrong_table_of_images_is_an_error(tmp_path, text, complaint):
    path = tmp_path / "images.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"{complaint}.*run `dvc repro prepare`"):
        read_images(path)


def image_rows(studies):
    """Rows of (body part, split, label, number of views), one study each."""
    rows = []
    for number, (body_part, split, label, views) in enumerate(studies):
        study = f"train/{body_part}/patient{number:05}/study1"
        for view in range(1, views + 1):
            image = f"{study}/image{view}.png"
            rows.append((image, study, body_part, split, label, len(rows)))
    columns = ["image", "study", "body_part", "split", "label", "row"]
    return pd.DataFrame(rows, columns=columns)


def test_studies_and_images_are_counted_apart():
    rows = image_rows([("HAND", "train", 0, 3), ("HAND", "train", 0, 1), ("HAND", "test", 1, 2)])
    assert count_splits(rows).to_dict("records") == [
        {"body_part": "HAND", "split": "test", "label": 1, "studies": 1, "images": 2},
        {"body_part": "HAND", "split": "train", "label": 0, "studies": 2, "images": 4},
    ]


def test_examples_are_first_views_of_train_studies_spread_evenly():
    # Eight studies in two stretches of four: the third (rank 2) and the seventh (rank 6).
    rows = image_rows([("HAND", "train", 0, 2)] * 8 + [("HAND", "val", 0, 1)])
    chosen = select_examples(rows, images=2)
    assert chosen["image"].tolist() == [
        f"train/HAND/patient{number:05}/study1/image1.png" for number in (2, 6)
    ]
    assert chosen["place"].tolist() == [0, 1]


def test_the_order_of_the_rows_does_not_change_the_examples():
    rows = image_rows([("HAND", "train", label, 3) for label in (0, 1) * 20])
    shuffled = rows.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(select_examples(rows, 6), select_examples(shuffled, 6))


@pytest.mark.parametrize(("parts", "share"), [(1, 12), (2, 6), (5, 2), (7, 2), (9, 2)])
def test_each_body_part_and_label_gets_the_same_share(parts, share):
    rows = image_rows(
        [(f"PART{part}", "train", label, 1) for part in range(parts) for label in (0, 1)] * 15
    )
    sizes = select_examples(rows, images=12).groupby(["body_part", "label"]).size()
    assert len(sizes) == 2 * parts and (sizes == share).all()


def test_few_studies_give_few_examples_and_none_twice():
    rows = image_rows([("HAND", "train", 0, 5), ("HAND", "train", 1, 1), ("HAND", "train", 1, 1)])
    chosen = select_examples(rows, images=12)
    assert chosen["study"].is_unique and len(chosen) == 3
