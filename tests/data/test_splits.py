import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import PARAMS
from data.test_cross_part import write_inputs
from dvc.utils.serialize import modify_yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mura_tree import official_studies, tables

import stages.learning_curve
from ulna.core import InputError, paths
from ulna.core.io import read_table, write_csv
from ulna.core.predictions import read_predictions
from ulna.data import SPLIT_COLUMNS
from ulna.data.mura import parse_index, select_body_parts
from ulna.data.samples import add_split, check_disjoint, read_splits
from ulna.data.splits import (
    SIZE_COLUMNS,
    assign_splits,
    check_labels,
    count_sizes,
    describe,
    nested_subsets,
    order_patients,
)
from ulna.networks import runtime

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
def test_an_overlap_stops(images, data):
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
def test_val_and_train_have_mixed_labels_in_small_data_sets(normal, abnormal, val_fraction, seed):
    images = simple(normal, abnormal)
    check_labels(add_split(images, assign_splits(images, val_fraction, seed)))


def test_a_patient_with_mixed_labels_counts_among_the_abnormal():
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


ROOT = Path(__file__).resolve().parents[2]
FRACTIONS = [0.5, 0.25, 0.75]


def images(patients: int, parts: int = 2) -> pd.DataFrame:
    """Two images a patient; every second patient is abnormal."""
    names = np.repeat([f"p{k:03}" for k in range(patients)], 2)
    return pd.DataFrame(
        {
            "image": [f"{name}/{k % 2}.png" for k, name in enumerate(names)],
            "patient": names,
            "study": names,
            "body_part": [f"PART{int(name[1:]) // 2 % parts}" for name in names],
            "label": [int(name[1:]) % 2 for name in names],
        }
    )


tables_subsets = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["HAND", "WRIST"]), st.integers(0, 1)),
    min_size=25,
    max_size=60,
).map(
    lambda rows: pd.DataFrame(rows, columns=["patient", "body_part", "label"]).assign(
        patient=lambda table: "p" + table["patient"].astype(str)
    )
)
tenths = st.lists(st.sampled_from([0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), min_size=2, unique=True)


@pytest.mark.promise("A1")
@settings(deadline=None, max_examples=50)
@given(tables_subsets, tenths, st.integers(0, 99))
def test_a_smaller_subset_lies_in_every_larger_one_and_patients_are_whole(table, fractions, seed):
    try:
        subsets = list(nested_subsets(table, fractions, seed).values())
    except InputError:
        return
    for smaller, larger in zip(subsets, [*subsets[1:], table], strict=True):
        assert set(smaller["patient"]) < set(larger["patient"])
        whole = table[table["patient"].isin(smaller["patient"])]
        assert smaller.equals(whole.reset_index(drop=True))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3, 0.5, 0.9])
def test_a_subset_has_its_fraction_of_patients_of_each_body_part_and_label(fraction):
    table = images(240, parts=4)
    rows = nested_subsets(table, [fraction], seed=7)[fraction]
    assert rows["patient"].nunique() == int(240 * fraction + 0.5)
    held = rows.drop_duplicates("patient").groupby(["body_part", "label"]).size()
    assert len(held) == 8
    assert (held - 30 * fraction).abs().max() <= 1


def test_the_seed_chooses_and_the_order_of_rows_does_not():
    table = images(40)
    mixed = table.sample(frac=1, random_state=1)
    assert order_patients(table, 1) == order_patients(mixed, 1) != order_patients(table, 2)
    assert sorted(order_patients(table, 1)) == sorted(set(table["patient"]))


@pytest.mark.promise("B12")
def test_the_order_does_not_hang_on_the_hash_seed_of_the_process():
    program = (
        "import pandas as pd; from ulna.data.splits import order_patients\n"
        "table = pd.DataFrame({'patient': list('abcdefgh'), 'body_part': 'HAND',"
        " 'label': [0, 1] * 4})\n"
        "print(order_patients(table, 5))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("fractions", "fault"),
    [
        ([0.5, 0.01], "0.01 of 20 .* 0"),
        ([0.05], "0.05 of 20 .* 1"),
        ([0.5, 0.51], "0.51 of 20 .* 10"),
        ([0.5, 0.99], "0.99 of 20"),
        ([0.5, 0.5], "0.5 of 20 .* 10"),
    ],
)
@pytest.mark.promise("C23")
def test_a_fraction_that_cannot_be_trained_on_is_named(fractions, fault):
    with pytest.raises(InputError, match=f"learning_curve.fractions: {fault}"):
        nested_subsets(images(20), fractions, seed=1)


def test_sizes_count_the_training_images_and_read_back(tmp_path):
    subsets = nested_subsets(images(40), FRACTIONS, seed=1)
    sizes = count_sizes(subsets)
    assert sizes.to_dict("list") == {
        "fraction": [0.25, 0.5, 0.75],
        "patients": [10, 20, 30],
        "studies": [10, 20, 30],
        "images": [20, 40, 60],
    }
    write_csv(tmp_path / "sizes.csv", sizes)
    assert read_table(tmp_path / "sizes.csv", SIZE_COLUMNS).equals(sizes)


def test_no_fractions_leave_a_header_alone(tmp_path):
    write_csv(tmp_path / "sizes.csv", count_sizes({}))
    assert (tmp_path / "sizes.csv").read_text() == ",".join(SIZE_COLUMNS) + "\n"
    assert read_table(tmp_path / "sizes.csv", SIZE_COLUMNS).empty


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_sizes_of_another_form_are_refused(tmp_path, text):
    (tmp_path / "sizes.csv").write_text(text or "fraction\n")
    with pytest.raises(InputError, match="sizes.csv"):
        read_table(tmp_path / "sizes.csv", SIZE_COLUMNS)


def write_repository(folder: Path, fractions: list[float]) -> None:
    write_inputs(folder, "all", 0)
    with modify_yaml(folder / "params.yaml") as params:
        params["learning_curve"] = {"arch": "cnn", "fractions": fractions}


def test_without_fractions_the_stage_reads_nothing_and_imports_no_tensorflow(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    program = (
        "import sys; from stages.learning_curve import learning_curve; learning_curve()\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "learning_curve: off" in done.stdout
    written = tmp_path / "data" / "learning_curve"
    assert [path.name for path in written.iterdir()] == ["sizes.csv"]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.csv"))
    }


@pytest.mark.slow
@pytest.mark.promise("A1")
@pytest.mark.promise("B11")
def test_the_stage_trains_on_nested_patients_none_of_them_tested_and_twice_the_same(
    tmp_path, monkeypatch
):
    # A process that has used TensorFlow cannot be given another number of threads.
    monkeypatch.setattr(runtime, "configure", lambda seed, _: keras.utils.set_random_seed(seed))
    learnt = []
    monkeypatch.setattr(
        stages.learning_curve,
        "nested_subsets",
        lambda *given: learnt.append(nested_subsets(*given)) or learnt[-1],
    )
    written = []
    for name, fractions in (("a", [0.25, 0.5]), ("b", [0.5, 0.25]), ("c", [0.5])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_repository(Path(), fractions)
        stages.learning_curve.learning_curve()
        written.append(digests(Path("data/learning_curve")))
    assert set(written[0]) == {
        "sizes.csv", "0.25.csv", "0.5.csv", "history/0.25.csv", "history/0.5.csv",
    }  # fmt: skip
    assert written[0] == written[1], "the order of the fractions, or a second run, changed a byte"
    assert written[2]["0.5.csv"] == written[0]["0.5.csv"], "a network depends on one before it"
    small, large = (set(rows["patient"]) for rows in learnt[0].values())
    assert small < large
    monkeypatch.chdir(tmp_path / "a")
    for fraction in (0.25, 0.5):
        table = read_predictions(paths.fraction_predictions(fraction))
        assert set(table["split"]) == {"val", "test"}
        assert not large & set(table["patient"])
    sizes = read_table(Path("data/learning_curve/sizes.csv"), SIZE_COLUMNS)
    assert sizes["patients"].tolist() == [5, 10]
