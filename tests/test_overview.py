import pandas as pd
import pytest

from ulna.data.samples import count_splits, first_views, select_examples


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


def test_the_first_view_of_each_study_is_found_in_the_order_of_the_list():
    rows = pd.DataFrame(
        {"image": ["b/2", "b/1", "a/1"], "study": ["b", "b", "a"], "row": [5, 6, 7]}
    )
    studies = pd.DataFrame({"study": ["b", "a"], "label": [0, 1]})
    assert first_views(rows, studies)["row"].tolist() == [6, 7]
