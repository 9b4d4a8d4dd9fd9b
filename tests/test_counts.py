import pandas as pd
import pytest
from mura_tree import official_studies, small_studies, tables

from ulna.data.mura import (
    MURA_V1_1,
    OFFICIAL,
    Counts,
    compare_with_official,
    count_by_body_part,
    parse_index,
)


@pytest.fixture(scope="module")
def official() -> pd.DataFrame:
    return parse_index(tables(official_studies()))


@pytest.mark.parametrize("split", ["train", "valid"])
def test_studies_and_images_of_all_are_the_sum_of_the_body_parts(split):
    parts = [counts for part, counts in MURA_V1_1[split].items() if part != "all"]
    sums = tuple(map(sum, zip(*parts, strict=True)))
    assert sums[1:] == MURA_V1_1[split]["all"][1:]
    # Patients of several body parts count once in `all`.
    assert sums[0] > MURA_V1_1[split]["all"].patients


def test_the_table_agrees_with_the_length_of_the_files_and_the_numbers_of_the_patients():
    # The two lists of images have 40,005 lines; patients are numbered 1 to 11184 and on to 11967.
    train, valid = MURA_V1_1["train"]["all"], MURA_V1_1["valid"]["all"]
    assert sum(train[3:]) + sum(valid[3:]) == 40_005
    assert (train.patients, valid.patients) == (11_184, 11_967 - 11_184)


def test_a_small_data_set_is_counted_as_by_hand():
    counted = count_by_body_part(parse_index(tables(small_studies())))
    assert counted["train"]["ELBOW"] == Counts(1, 1, 0, 2, 0)
    assert counted["train"]["WRIST"] == Counts(4, 2, 2, 4, 2)
    # patient00001 is in both body parts: five patients in the sum, four here.
    assert counted["train"]["all"] == Counts(4, 3, 2, 6, 2)
    assert counted["valid"] == {"WRIST": Counts(1, 1, 1, 1, 2), "all": Counts(1, 1, 1, 1, 2)}


def test_the_official_counts_are_recognised(official):
    assert count_by_body_part(official) == MURA_V1_1
    assert compare_with_official(official) == OFFICIAL == "these are the official MURA v1.1 counts"


def test_one_image_less_is_said_with_its_body_part(official):
    wrist = official.index[(official["study"].str.startswith("train/WRIST")) & official["label"]]
    said = compare_with_official(official.drop(wrist[-1]))
    assert said.splitlines()[0] == "not the official MURA v1.1:"
    assert len(said.splitlines()) == 2
    assert "WRIST: train abnormal images 3,986 (official 3,987)" in said


def test_a_lost_first_line_is_said(official):
    # What a reader that takes line 1 for a header makes of the train images.
    first = official.index[official["image"].str.startswith("train/XR_SHOULDER/")][0]
    assert "SHOULDER: train" in compare_with_official(official.drop(first))


def test_swapped_labels_are_said(official):
    swapped = official.assign(label=1 - official["label"])
    assert "every body part differs" in compare_with_official(swapped)


def test_patients_merged_across_body_parts_are_said_once(official):
    # One has wrists only, the other fingers only.
    merged = official.replace({"patient": {"patient11184": "patient02000"}})
    assert compare_with_official(merged).splitlines()[1:] == [
        "  all: train patients 11,183 (official 11,184)"
    ]


def test_other_body_parts_are_said_in_one_line():
    said = compare_with_official(parse_index(tables(small_studies())))
    assert said == (
        "not the official MURA v1.1: the body parts are ELBOW, WRIST "
        "(official: ELBOW, FINGER, FOREARM, HAND, HUMERUS, SHOULDER, WRIST)"
    )


def test_another_data_set_of_all_body_parts_is_said_in_one_line(official):
    said = compare_with_official(official[official["image"].str.endswith("image1.png")])
    assert said.startswith("not the official MURA v1.1: 14,656 images of 11,967 patients (official")
    assert "\n" not in said
