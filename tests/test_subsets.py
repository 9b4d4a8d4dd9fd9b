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
from dvc.utils.serialize import modify_yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cross_part import write_inputs

import stages.learning_curve
from ulna import paths
from ulna.data.splits import (
    SIZE_COLUMNS,
    count_sizes,
    nested_subsets,
    order_patients,
    read_sizes,
)
from ulna.errors import InputError
from ulna.files import write_csv
from ulna.networks import runtime
from ulna.predictions import read_predictions

ROOT = Path(__file__).resolve().parents[1]
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


tables = st.lists(
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
@given(tables, tenths, st.integers(0, 99))
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


def test_sizes_count_what_is_learnt_from_and_read_back(tmp_path):
    subsets = nested_subsets(images(40), FRACTIONS, seed=1)
    sizes = count_sizes(subsets)
    assert sizes.to_dict("list") == {
        "fraction": [0.25, 0.5, 0.75],
        "patients": [10, 20, 30],
        "studies": [10, 20, 30],
        "images": [20, 40, 60],
    }
    write_csv(tmp_path / "sizes.csv", sizes)
    assert read_sizes(tmp_path / "sizes.csv").equals(sizes)


def test_no_fractions_leave_a_header_alone(tmp_path):
    write_csv(tmp_path / "sizes.csv", count_sizes({}))
    assert (tmp_path / "sizes.csv").read_text() == ",".join(SIZE_COLUMNS) + "\n"
    assert read_sizes(tmp_path / "sizes.csv").empty


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_sizes_of_another_form_are_refused(tmp_path, text):
    (tmp_path / "sizes.csv").write_text(text or "fraction\n")
    with pytest.raises(InputError, match="sizes.csv"):
        read_sizes(tmp_path / "sizes.csv")


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
        table = read_predictions(paths.scored_by_fraction(fraction))
        assert set(table["split"]) == {"val", "test"}
        assert not large & set(table["patient"])
    assert read_sizes(Path("data/learning_curve/sizes.csv"))["patients"].tolist() == [5, 10]
