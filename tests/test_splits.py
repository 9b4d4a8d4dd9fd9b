import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mura_tree import official_studies, tables

from ulna.data.mura import parse_index, select_body_parts
from ulna.data.samples import SPLIT_COLUMNS, add_split, check_disjoint, read_splits
from ulna.data.splits import (
    assign_splits,
    check_labels,
    describe,
)
from ulna.errors import InputError
from ulna.files import write_csv

PARTS = ("ELBOW", "HAND", "WRIST")


@st.composite
def data_sets(draw: st.DrawFn) -> pd.DataFrame:
    """Random trees: patients of one to all body parts, studies of either label, one to three views.

    The first four patients make sure that a val set can be cut and that there is a test set.
    """
    patients = draw(st.integers(4, 16))
    studies = []
    for number in range(patients):
        split = "valid" if number == 3 else "train"
        if number > 3:
            split = draw(st.sampled_from(["train", "train", "train", "valid"]))
        parts = draw(st.sets(st.sampled_from(PARTS), min_size=1))
        for part in sorted(parts):
            for study in range(1, draw(st.integers(1, 2)) + 1):
                label, views = draw(st.integers(0, 1)), draw(st.integers(1, 3))
                patient = f"patient{number:05d}"
                studies.append((split, part, patient, f"study{study}", label, views))
    return parse_index(tables(studies))


def table(studies: list[tuple[str, str, str, int]]) -> pd.DataFrame:
    """One image a study: official split, body part, patient, label."""
    rows = [
        (f"{split}/{part}/{patient}/{label}/{k}", split, part, patient, f"{k}", label)
        for k, (split, part, patient, label) in enumerate(studies)
    ]
    columns = ["image", "official_split", "body_part", "patient", "study", "label"]
    return pd.DataFrame(rows, columns=columns)


def simple(normal: int, abnormal: int, tested: int = 1) -> pd.DataFrame:
    """Patients of one wrist study each."""
    labels = [("train", 0)] * normal + [("train", 1)] * abnormal + [("valid", 1)] * tested
    return table([(split, "WRIST", f"p{k:05d}", label) for k, (split, label) in enumerate(labels)])


def patients_of(images: pd.DataFrame, splits: pd.DataFrame, split: str) -> set[str]:
    joined = add_split(images, splits)
    return set(joined.loc[joined["split"] == split, "patient"])


@pytest.mark.promise("A1")
@settings(deadline=None, max_examples=40)
@given(data_sets(), st.floats(0.05, 0.5), st.integers(0, 2**31 - 1))
def test_no_patient_is_in_two_splits_over_all_body_parts(images, val_fraction, seed):
    splits = assign_splits(images, val_fraction, seed)
    joined = images.merge(splits, on="patient", how="left", validate="many_to_one")
    assert joined["split"].isin(["train", "val", "test"]).all()
    assert (joined.groupby("patient")["split"].nunique() == 1).all()
    assert ((joined["split"] == "test") == (joined["official_split"] == "valid")).all()
    # No split is empty, whatever the tree.
    assert set(joined["split"]) == {"train", "val", "test"}
    check_disjoint(images, splits)


@pytest.mark.promise("A1")
@settings(deadline=None, max_examples=20)
@given(data_sets(), st.data())
def test_a_planted_overlap_stops(images, data):
    splits = assign_splits(images, 0.2, 1)
    row = data.draw(st.integers(0, len(splits) - 1))
    other = data.draw(st.sampled_from(sorted({"train", "val", "test"} - {splits["split"][row]})))
    planted = pd.concat([splits, splits.iloc[[row]].assign(split=other)])
    with pytest.raises(InputError, match=f"patient0*{row};"):
        check_disjoint(images, planted)


@pytest.mark.promise("A1")
@settings(deadline=None, max_examples=20)
@given(data_sets(), st.randoms(use_true_random=False), st.integers(0, 100))
def test_the_order_of_rows_changes_nothing(images, random, seed):
    order = list(range(len(images)))
    random.shuffle(order)
    expected = assign_splits(images, 0.2, seed)
    pd.testing.assert_frame_equal(assign_splits(images.iloc[order], 0.2, seed), expected)
    assert list(expected.columns) == SPLIT_COLUMNS
    assert expected["patient"].is_monotonic_increasing and expected["patient"].is_unique


@pytest.mark.promise("A1")
@pytest.mark.fault("image-level split")
def test_views_of_a_study_and_studies_of_a_patient_stay_together():
    images = parse_index(tables(official_studies()[::3]))
    joined = add_split(images, assign_splits(images, 0.15, 2017))
    assert (joined.groupby("study")["split"].nunique() == 1).all()
    # As a split by image or by study would not have it: many patients have several of them.
    assert images.groupby("patient")["study"].nunique().max() > 1


def test_the_split_of_a_patient_does_not_depend_on_the_body_parts_chosen():
    images = parse_index(tables(official_studies()[::5]))
    splits = assign_splits(images, 0.15, 2017)
    wrists = select_body_parts(images, ("WRIST",))
    whole = add_split(images, splits)
    pd.testing.assert_frame_equal(
        add_split(wrists, splits),
        whole[whole["body_part"] == "WRIST"].reset_index(drop=True),
    )


def test_the_split_is_the_same_on_every_machine_and_version():
    # Computed once; it changes only if the rule does, and then every trained network is void.
    splits = assign_splits(simple(normal=12, abnormal=8), 0.25, seed=2017)
    assert list(splits["patient"][splits["split"] == "val"]) == [
        "p00000",
        "p00001",
        "p00010",
        "p00013",
        "p00015",
    ]


def test_another_seed_gives_another_split_of_the_same_size():
    images = simple(normal=100, abnormal=60)
    one, other = (patients_of(images, assign_splits(images, 0.2, seed), "val") for seed in (1, 2))
    assert len(one) == len(other) == 32 and one != other


def test_over_many_seeds_every_patient_is_in_val_as_often():
    # 200 draws with chance 1/4: mean 50, sd 6.1; five sd on either side, as there are 20 patients.
    images = simple(normal=12, abnormal=8)
    drawn = pd.concat([assign_splits(images, 0.25, seed) for seed in range(200)])
    counts = drawn[drawn["split"] == "val"].groupby("patient").size()
    assert len(counts) == 20
    assert counts.between(19, 81).all()


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.floats(0.001, 0.999), st.integers(0, 9))
def test_val_and_train_have_both_labels_in_small_data_sets(normal, abnormal, val_fraction, seed):
    images = simple(normal, abnormal)
    check_labels(add_split(images, assign_splits(images, val_fraction, seed)))


def test_a_patient_with_both_labels_counts_among_the_abnormal():
    # 20 normal patients and 8 with both labels: 0.05 of them are one and none, but val needs one.
    mixed = [("train", part, f"m{k}", int(part == "HAND")) for k in range(8) for part in PARTS]
    normal = [("train", "WRIST", f"n{k}", 0) for k in range(20)]
    images = table([*mixed, *normal, ("valid", "WRIST", "t", 0)])
    val = patients_of(images, assign_splits(images, 0.05, 2017), "val")
    assert sorted(patient[0] for patient in val) == ["m", "n"]


@pytest.mark.parametrize("val_fraction", [0.1, 0.15, 0.2, 0.5])
def test_val_has_its_fraction_of_either_group_to_the_nearest_patient(val_fraction):
    images = simple(normal=101, abnormal=53)
    joined = add_split(images, assign_splits(images, val_fraction, 2017))
    taken = joined[joined["split"] == "val"].groupby("label").size()
    assert abs(taken[0] - 101 * val_fraction) <= 0.5
    assert abs(taken[1] - 53 * val_fraction) <= 0.5


def test_at_the_size_of_mura_val_has_the_mix_of_train():
    images = parse_index(tables(official_studies()))
    joined = add_split(images, assign_splits(images, 0.15, 2017)).drop_duplicates("study")
    cut = joined[joined["split"] != "test"]
    share = (cut["split"] == "val").groupby([cut["body_part"], cut["label"]]).mean()
    assert len(share) == 14
    # 3 percentage points is what sampling without strata gives.
    assert share.between(0.13, 0.17).all()
    assert 0.145 < (cut.drop_duplicates("patient")["split"] == "val").mean() < 0.155


@pytest.mark.parametrize(("normal", "abnormal"), [(0, 0), (1, 0), (1, 1)])
def test_too_few_train_patients_are_an_error(normal, abnormal):
    with pytest.raises(InputError, match="official train"):
        assign_splits(simple(normal, abnormal), 0.15, 1)


IMAGES = simple(normal=2, abnormal=2)
SPLITS = assign_splits(IMAGES, 0.5, 1)
TESTED = "p00004"


def test_a_patient_without_a_split_stops():
    with pytest.raises(InputError, match="p00002"):
        check_disjoint(IMAGES, SPLITS[SPLITS["patient"] != "p00002"])


def test_a_split_of_another_name_stops():
    with pytest.raises(InputError, match="p00004"):
        check_disjoint(IMAGES, SPLITS.replace({"split": {"test": "valid"}}))


@pytest.mark.parametrize(("patient", "split"), [(TESTED, "val"), (TESTED, "train"), ("p0", "test")])
def test_a_patient_on_the_wrong_side_of_the_official_split_stops(patient, split):
    patient = "p00000" if patient == "p0" else patient
    moved = SPLITS.assign(split=SPLITS["split"].where(SPLITS["patient"] != patient, split))
    with pytest.raises(InputError, match=patient):
        check_disjoint(IMAGES, moved)


def test_of_many_patients_ten_are_named():
    images = simple(normal=30, abnormal=2)
    with pytest.raises(InputError, match="p00000, .*, p00009 .* 23"):
        check_disjoint(images, SPLITS[:0])


def test_more_patients_than_images_are_no_fault():
    check_disjoint(IMAGES[:2], SPLITS)


@pytest.mark.parametrize(
    ("split", "label", "complaint"),
    [
        ("train", 1, "train .* abnormal"),
        ("val", 0, "val .* normal"),
        ("test", 1, "test"),
    ],
)
def test_a_split_that_lacks_a_label_stops(split, label, complaint):
    joined = add_split(IMAGES, SPLITS)
    check_labels(joined)
    with pytest.raises(InputError, match=complaint):
        check_labels(joined[(joined["split"] != split) | (joined["label"] != label)])


def test_a_split_is_described_in_a_line():
    lines = describe(add_split(IMAGES, SPLITS)).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["train", "val", "test"]
    assert ["50%" in line for line in lines] == [True, True, False]


def test_the_written_splits_are_read_back_as_they_were(tmp_path):
    write_csv(tmp_path / "splits.csv", SPLITS)
    pd.testing.assert_frame_equal(read_splits(tmp_path / "splits.csv"), SPLITS)


@pytest.mark.parametrize(
    "text",
    [None, "", "a,b\n"],
)
def test_a_wrong_table_of_splits_is_an_error(tmp_path, text):
    path = tmp_path / "splits.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="splits.csv"):
        read_splits(path)
