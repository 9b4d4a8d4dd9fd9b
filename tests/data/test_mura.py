import time
from pathlib import Path

import pandas as pd
import pytest
from mura_tree import (
    image_names,
    official_studies,
    small_studies,
    tables,
    write_folder,
    write_zip,
)

from ulna.core import InputError
from ulna.core.io import write_csv
from ulna.data import IMAGE_COLUMNS
from ulna.data.mura import (
    MURA_V1_1,
    Counts,
    check_files,
    compare_with_official,
    count_by_body_part,
    describe_differences,
    parse_index,
    read_index,
    select_body_parts,
)
from ulna.data.source import list_images, open_root
from ulna.data.splits import assign_splits

FRACATLAS = Path(__file__).resolve().parents[3] / "shared/data/fracatlas/MURA-v1.1"
TABLES = tables(small_studies())
IMAGES, STUDIES = "train_image_paths.csv", "train_labeled_studies.csv"
ELBOW = "MURA-v1.1/train/XR_ELBOW/patient00001/study1_negative/"


def changed(name: str, old: str, new: str) -> dict[str, str]:
    """The small data set with a piece of text replaced, once, in one file."""
    assert old in TABLES[name]
    return {**TABLES, name: TABLES[name].replace(old, new, 1)}


def test_every_image_has_its_row():
    images = parse_index(TABLES)
    assert list(images.columns) == IMAGE_COLUMNS
    assert list(images["image"]) == sorted(image_names(TABLES))
    row = images.iloc[0].to_dict()
    assert row == {
        "image": "train/XR_ELBOW/patient00001/study1_negative/image1.png",
        "official_split": "train",
        "body_part": "ELBOW",
        "patient": "patient00001",
        "study": "train/ELBOW/patient00001/study1",
        "label": 0,
    }
    assert images["label"].dtype == int


@pytest.mark.fault("class order")
def test_label_1_is_the_positive_class():
    images = parse_index(TABLES)
    assert (images["label"] == images["image"].str.contains("_positive/")).all()


@pytest.mark.fault("study id")
def test_the_same_study_number_in_two_body_parts_is_two_studies():
    # patient00001/study1 is a normal elbow and an abnormal wrist.
    images = parse_index(TABLES)
    of_patient = images[images["patient"] == "patient00001"].drop_duplicates("study")
    assert dict(zip(of_patient["study"], of_patient["label"], strict=True)) == {
        "train/ELBOW/patient00001/study1": 0,
        "train/WRIST/patient00001/study1": 1,
    }


@pytest.mark.fault("header")
def test_no_row_is_lost_to_an_assumed_header():
    assert len(parse_index(TABLES)) == sum(images for *_, images in small_studies())


@pytest.mark.parametrize(
    ("name", "header"),
    [(IMAGES, "image_path"), (STUDIES, "study,label"), ("valid_labeled_studies.csv", "0,1")],
)
def test_a_header_is_an_error(name, header):
    with pytest.raises(InputError, match=f"{name}: line 1: '{header}'"):
        parse_index({**TABLES, name: f"{header}\n{TABLES[name]}"})


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\r\n",
    ],
    ids=["CRLF", "BOM", "no last line end", "empty last lines"],
)
def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path, dress):
    folder = write_folder(tmp_path / "a", {name: dress(text) for name, text in TABLES.items()})
    pd.testing.assert_frame_equal(read_index(open_root(folder)), parse_index(TABLES))


def test_jpeg_files_are_images_too():
    dressed = changed(IMAGES, "image1.png", "image1.jpg")
    dressed[IMAGES] = dressed[IMAGES].replace("image1.png", "image1.jpeg", 1)
    endings = parse_index(dressed)["image"].str.rpartition(".")[2]
    assert set(endings) == {"png", "jpg", "jpeg"}


def test_the_order_of_lines_changes_nothing():
    backwards = {name: "\n".join(text.split("\n")[::-1][1:]) for name, text in TABLES.items()}
    pd.testing.assert_frame_equal(parse_index(backwards), parse_index(TABLES))


def test_a_data_set_under_another_name_is_read():
    other = {name: text.replace("MURA-v1.1/", "bones/") for name, text in TABLES.items()}
    pd.testing.assert_frame_equal(parse_index(other), parse_index(TABLES))


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        (STUDIES, f"{ELBOW},0", f"{ELBOW},2", "line 1"),
        (STUDIES, f"{ELBOW},0", f"{ELBOW},", "line 1"),
        (STUDIES, f"{ELBOW},0", f"{ELBOW},0.0", "line 1"),
        (STUDIES, f"{ELBOW},0", f"{ELBOW}", "line 1"),
        (STUDIES, f"{ELBOW},0", f"{ELBOW[:-1]},0", "line 1"),
        (STUDIES, f"{ELBOW},0", f" {ELBOW},0", "line 1"),
        (STUDIES, f"{ELBOW},0\n", f"{ELBOW},0\n\n", "line 2"),
        (STUDIES, "XR_ELBOW", "ELBOW", "line 1"),
        (STUDIES, "XR_ELBOW", "XR_elbow", "line 1"),
        (STUDIES, "MURA-v1.1/train", "MURA-v1.1/valid", "line 1"),
        (STUDIES, "patient00001", "patient", "line 1"),
        (STUDIES, "patient00001", "patient٠٠٠٠١", "line 1"),
        (STUDIES, "study1_negative", "study1", "line 1"),
        (STUDIES, "study1_negative", "study1_neg", "line 1"),
        (IMAGES, "image2.png", "image2.tif", "line 2"),
        (IMAGES, "image2.png", "._image2.png", "line 2"),
        (IMAGES, "image2.png", "image2.png,0", "line 2"),
        (IMAGES, "image2.png", "more/image2.png", "line 2"),
        (IMAGES, "MURA-v1.1/train", "train", "line 1"),
        (IMAGES, "MURA-v1.1/", "../", "line 1"),
        (IMAGES, "MURA-v1.1/", "/MURA-v1.1/", "line 1"),
        (IMAGES, "MURA-v1.1/", "C:/", "line 1"),
        (IMAGES, "image2.png", "../../image2.png", "line 2"),
        (IMAGES, "/image2.png", "\\\\image2.png", "line 2"),
        (STUDIES, "XR_ELBOW", "..", "line 1"),
    ],
)
def test_a_malformed_line_is_an_error_that_names_it(name, old, new, line):
    with pytest.raises(InputError, match=f"data/{name}: {line}:"):
        parse_index(changed(name, old, new), where="data/")


def test_mura_v1_0_in_the_paths_is_refused():
    old = {name: text.replace("MURA-v1.1/", "MURA-v1.0/") for name, text in TABLES.items()}
    with pytest.raises(InputError, match="MURA-v1.0"):
        parse_index(old)


def test_a_label_that_contradicts_its_folder_is_an_error():
    with pytest.raises(InputError, match=rf"{STUDIES}: line 1: label 1 .*{ELBOW[10:]}"):
        parse_index(changed(STUDIES, f"{ELBOW},0", f"{ELBOW},1"))


def test_a_study_with_mixed_labels_is_an_error():
    other = ELBOW.replace("negative", "positive")
    both = changed(STUDIES, f"{ELBOW},0\n", f"{ELBOW},0\n{other},1\n")
    with pytest.raises(InputError, match=r"line 2: .*study1_positive/ .* line 1"):
        parse_index(both)


def test_a_study_labelled_twice_is_an_error():
    with pytest.raises(InputError, match=f"{STUDIES}: line 2 .* line 1: {ELBOW[10:]}"):
        parse_index(changed(STUDIES, f"{ELBOW},0\n", f"{ELBOW},0\n" * 2))


def test_a_study_labelled_twice_with_two_labels_is_an_error():
    with pytest.raises(InputError, match=r"(?s)line 2: label 1 .*line 2 .* line 1"):
        parse_index(changed(STUDIES, f"{ELBOW},0\n", f"{ELBOW},0\n{ELBOW},1\n"))


def test_an_image_listed_twice_is_an_error():
    line = f"{ELBOW}image1.png\n"
    with pytest.raises(InputError, match=f"{IMAGES}: line 2 .* line 1: .*image1.png"):
        parse_index(changed(IMAGES, line, line * 2))


def test_an_image_without_a_labelled_study_is_an_error():
    with pytest.raises(InputError, match=f"{IMAGES}: line 1: .*{STUDIES}"):
        parse_index(changed(STUDIES, f"{ELBOW},0\n", ""))


def test_an_image_whose_study_is_labelled_in_another_body_part_is_an_error():
    # patient00002/study1 is labelled as a wrist: that says nothing of a hand.
    stray = changed(IMAGES, "XR_WRIST/patient00002", "XR_HAND/patient00002")
    with pytest.raises(InputError, match="train/XR_HAND/patient00002/study1_negative/"):
        parse_index(stray)


def test_a_labelled_study_without_an_image_is_an_error():
    lines = f"{ELBOW}image1.png\n{ELBOW}image2.png\n"
    with pytest.raises(InputError, match=f"line 1: {ELBOW[10:]}"):
        parse_index(changed(IMAGES, lines, ""))


@pytest.mark.promise("A1")
def test_a_patient_in_the_official_train_and_valid_is_an_error():
    shared = [*small_studies(), ("valid", "HAND", "patient00002", "study1", 0, 1)]
    with pytest.raises(InputError, match="patient00002 .* train .* valid"):
        parse_index(tables(shared))


@pytest.mark.promise("A1")
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_patient_spelled_in_two_ways_is_an_error(split):
    spelled = [*small_studies(), (split, "HAND", "patient2", "study1", 0, 1)]
    with pytest.raises(InputError, match="patient00002 and patient2 "):
        parse_index(tables(spelled))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_empty_table_is_an_error(name):
    with pytest.raises(InputError, match=name):
        parse_index({**TABLES, name: "\n"})


def test_a_table_that_is_not_utf8_is_an_error(tmp_path):
    folder = write_folder(tmp_path / "MURA-v1.1", TABLES)
    (folder / IMAGES).write_bytes(TABLES[IMAGES].encode("utf-16"))
    with pytest.raises(InputError, match=IMAGES):
        read_index(open_root(folder))


def test_of_many_faults_ten_are_named_and_all_counted():
    wrong = {**TABLES, IMAGES: "a/b\n" * 25}
    with pytest.raises(InputError) as caught:
        parse_index(wrong)
    assert "line 10:" in str(caught.value) and "line 11:" not in str(caught.value)
    assert "15 more" in str(caught.value)


def test_missing_images_are_counted_and_ten_are_named():
    many = parse_index(tables([*small_studies(), ("train", "HAND", "patient9", "study1", 0, 30)]))
    there = {image for image in many["image"] if "XR_HAND" not in image}
    with pytest.raises(InputError, match="^30 of 41") as caught:
        check_files(many, there)
    assert str(caught.value).count("XR_HAND") == 10
    assert "20 more" in str(caught.value)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_stray_files_are_counted_and_never_used(tmp_path, form):
    extra = "train/XR_WRIST/patient00002/study1_negative/image4.png"
    path = tmp_path / form
    listed = {**TABLES, IMAGES: TABLES[IMAGES] + f"MURA-v1.1/{extra}\n"}
    write_folder(path, listed) if form == "folder" else write_zip(path, TABLES)
    if form == "folder":
        (path / IMAGES).write_text(TABLES[IMAGES])
        root = open_root(path)
        images = read_index(root)
        assert check_files(images, list_images(root)) == 1
    else:
        root = open_root(path)
        images = read_index(root)
        assert check_files(images, list_images(root) | {extra}) == 1
    assert extra not in set(images["image"])


def test_body_parts_are_chosen():
    images = parse_index(TABLES)
    assert select_body_parts(images, "all") is images
    assert set(select_body_parts(images, ("ELBOW",))["study"]) == {
        "train/ELBOW/patient00001/study1"
    }
    both = select_body_parts(images, ("WRIST", "ELBOW"))
    pd.testing.assert_frame_equal(both, images)


def test_an_unknown_body_part_is_an_error_that_names_those_present():
    with pytest.raises(InputError, match="FOOT.* ELBOW, WRIST"):
        select_body_parts(parse_index(TABLES), ("WRIST", "FOOT"))


def test_a_data_set_of_the_size_of_mura_is_prepared_within_three_seconds(tmp_path):
    path = write_zip(tmp_path / "mura.zip", tables(official_studies()))
    # A shared machine was seen to run four times slower than at other times: the limit grows with
    # what a plain loop takes, about 0.15 s on a core of 2021.
    start = time.process_time()
    assert sum(number * number for number in range(2_000_000)) > 0
    slowness = max(1.0, (time.process_time() - start) / 0.15)
    start = time.process_time()
    root = open_root(path)
    images = read_index(root)
    assert check_files(images, list_images(root)) == 0
    compare_with_official(images)
    write_csv(tmp_path / "images.csv", images)
    write_csv(tmp_path / "splits.csv", assign_splits(images, 0.15, 2017))
    assert time.process_time() - start < 3 * slowness
    assert len(images) == 40_005


@pytest.mark.skipif(not FRACATLAS.is_dir(), reason="no real radiographs beside the repository")
def test_real_radiographs_in_the_layout_of_mura_are_read():
    root = open_root(FRACATLAS)
    images = read_index(root)
    assert images["official_split"].value_counts().to_dict() == {"train": 1_108, "valid": 229}
    studies = images.drop_duplicates("study")
    assert studies.groupby("official_split")["label"].agg(["size", "sum"]).to_numpy().tolist() == [
        [714, 191],
        [152, 41],
    ]
    assert check_files(images, list_images(root)) == 0
    assert compare_with_official(images)


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
    assert compare_with_official(official) == []


def test_one_image_less_is_found_in_its_body_part_and_in_all(official):
    wrist = official.index[(official["study"].str.startswith("train/WRIST")) & official["label"]]
    assert compare_with_official(official.drop(wrist[-1])) == [
        ("train", "WRIST", "abnormal_images", 3_986, 3_987),
        ("train", "all", "abnormal_images", 14_872, 14_873),
    ]


def test_a_lost_first_line_is_found(official):
    # What a reader that takes line 1 for a header makes of the train images.
    first = official.index[official["image"].str.startswith("train/XR_SHOULDER/")][0]
    parts = [found.body_part for found in compare_with_official(official.drop(first))]
    assert parts[0] == "SHOULDER" and set(parts) == {"SHOULDER", "all"}


def test_swapped_labels_are_found_in_every_body_part(official):
    swapped = compare_with_official(official.assign(label=1 - official["label"]))
    assert {found.body_part for found in swapped} == set(MURA_V1_1["train"])


def test_patients_merged_across_body_parts_are_found_in_all_alone(official):
    # One has wrists only, the other fingers only.
    merged = official.replace({"patient": {"patient11184": "patient02000"}})
    assert compare_with_official(merged) == [("train", "all", "patients", 11_183, 11_184)]


def test_another_data_set_is_described_on_one_line():
    found = compare_with_official(parse_index(tables(small_studies())))
    assert ("train", "HAND", "patients", 0, 1_945) in found
    assert "\n" not in describe_differences(found)
    assert f"{len(found):,}" in describe_differences(found)
