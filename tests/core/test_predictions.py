"""The prediction table: refused rows, exact floats, and one probability per study."""

import math
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ulna.core import InputError
from ulna.core.predictions import (
    COLUMNS,
    Aggregation,
    by_study,
    check_predictions,
    read_predictions,
    write_predictions,
)

HEADER = "image,patient,study,body_part,split,label,logit,probability"
AGGREGATIONS = get_args(Aggregation)
COLUMNS_OF_STUDIES = ["study", "patient", "body_part", "split", "label", "views", "probability"]
ROWS = [
    "a/1.png,p1,train/HAND/p1/study1,HAND,val,0,0.0,0.5",
    "a/2.png,p1,train/HAND/p1/study1,HAND,val,0,0.0,0.5",
    "b/1.png,p2,valid/WRIST/p2/study1,WRIST,test,1,0.0,0.5",
]


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "cnn.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def views(probabilities: list[float], study: str = "s1") -> pd.DataFrame:
    """One study, a patient of its own, whose images have these probabilities."""
    n = len(probabilities)
    logits = np.log(probabilities) - np.log1p(-np.array(probabilities))
    return pd.DataFrame(
        {
            "image": [f"{study}/{i}.png" for i in range(n)],
            "patient": f"patient of {study}",
            "study": study,
            "body_part": "HAND",
            "split": "test",
            "label": 1,
            "logit": logits,
            "probability": probabilities,
        }
    )


def test_a_table_is_read_with_its_types_in_the_order_of_the_file(tmp_path: Path) -> None:
    table = read_predictions(written(tmp_path, *ROWS))
    assert tuple(table.columns) == COLUMNS
    assert table["image"].tolist() == ["a/1.png", "a/2.png", "b/1.png"]
    assert table["label"].tolist() == [0, 0, 1]
    assert table["label"].dtype == np.int64
    assert table["logit"].dtype == table["probability"].dtype == np.float64


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    reordered = [",".join(reversed(row.split(","))) for row in ROWS]
    path = written(tmp_path, *reordered, header=",".join(reversed(HEADER.split(","))))
    expected = read_predictions(written(tmp_path / "..", *ROWS))
    pd.testing.assert_frame_equal(read_predictions(path), expected)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        # Each is put on line 5, after the three good rows.
        ("c,p3,s3,HAND,train,1,0.0,0.5", "split"),
        ("c,p3,s3,HAND,valid,1,0.0,0.5", "split"),
        ("c,p3,s3,HAND,val,2,0.0,0.5", "label"),
        ("c,p3,s3,HAND,val,-1,0.0,0.5", "label"),
        ("c,p3,s3,HAND,val,positive,0.0,0.5", "label"),
        ("c,p3,s3,HAND,val,0.5,0.0,0.5", "label"),
        ("c,p3,s3,HAND,val,,0.0,0.5", "label"),
        ("c,p3,s3,HAND,val,1,high,0.5", "logit"),
        ("c,p3,s3,HAND,val,1,0.0,", "probability"),
        ("c,p3,s3,HAND,val,1,nan,0.5", "logit"),
        ("c,p3,s3,HAND,val,1,inf,1.0", "logit"),
        ("c,p3,s3,HAND,val,1,0.0,nan", "probability"),
        ("c,p3,s3,HAND,val,1,9.0,1.1", "probability"),
        ("c,p3,s3,HAND,val,1,-9.0,-0.1", "probability"),
        # sigmoid(2) is 0.8808; 0.1192 is the probability of normal.
        ("c,p3,s3,HAND,val,1,2.0,0.1192", "probability"),
        ("c,p3,s3,HAND,val,1,0.0,0.500002", "probability"),
        ("c,p3,s3,HAND,val,1,0.0,0.499998", "probability"),
        ("a/2.png,p3,s3,HAND,val,1,0.0,0.5", "image"),
        (",p3,s3,HAND,val,1,0.0,0.5", "image"),
        ("c,,s3,HAND,val,1,0.0,0.5", "patient"),
        ("c,p3,,HAND,val,1,0.0,0.5", "study"),
        ("c,p3,s3,,val,1,0.0,0.5", "body_part"),
        ("c,p3,s3,HAND,,1,0.0,0.5", "split"),
        ("c,p3,s3,HAND,val,1,0.0", "8 .*7"),
        ("c,p3,s3,HAND,val,1,0.0,0.5,9", "8 .*9"),
        ("\nc,p3,s3,HAND,val,1,0.0,0.5", "8 .*0"),
        ("c,p1,train/HAND/p1/study1,HAND,val,1,0.0,0.5", "study"),
        ("c,p2,valid/WRIST/p2/study1,WRIST,val,1,0.0,0.5", "study"),
        ("c,p9,train/HAND/p1/study1,HAND,val,0,0.0,0.5", "study"),
        ("c,p1,train/HAND/p1/study1,WRIST,val,0,0.0,0.5", "study"),
        ("c,p2,train/HAND/p2/study1,HAND,val,1,0.0,0.5", "patient"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: str, column: str) -> None:
    path = written(tmp_path, *ROWS, row)
    with pytest.raises(InputError, match=f"cnn.csv line 5: .*{column}"):
        read_predictions(path)


def test_the_first_of_several_bad_rows_is_named(tmp_path: Path) -> None:
    bad = [f"c{i},p3,s3,HAND,val,1,0.0,0.25" for i in range(3)]
    with pytest.raises(InputError, match="line 5: "):
        read_predictions(written(tmp_path, *ROWS, *bad))


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (HEADER.replace(",split", ""), "lacks columns split: add them"),
        (HEADER.replace(",label,logit", ""), "label, logit"),
        (HEADER + ",fold", "fold"),
        ("," + HEADER, ""),
        (HEADER + ",label", "label"),
        (ROWS[0], "image, patient"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, header: str, columns: str) -> None:
    with pytest.raises(InputError, match=f"cnn.csv line 1: .*{columns}"):
        read_predictions(written(tmp_path, *ROWS, header=header))


def test_a_missing_an_empty_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnn.csv"
    for content in (None, b"", b"\x89PNG\xff", f'{HEADER}\n"a,p1'.encode()):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match="cnn.csv"):
            read_predictions(path)


@pytest.mark.parametrize(("rows", "splits"), [([], r"\[\]"), (ROWS[:2], r"\['val'\]")])
def test_a_table_without_a_test_row_is_refused(
    tmp_path: Path, rows: list[str], splits: str
) -> None:
    with pytest.raises(InputError, match=f"cnn.csv .* split test, .*{splits}"):
        read_predictions(written(tmp_path, *rows))


@pytest.mark.parametrize(("splits", "split"), [(("train",), "train"), (("test",), "test")])
def test_a_table_of_one_split_alone_is_checked_as_well(tmp_path: Path, splits, split) -> None:
    rows = [row.replace(",val,", f",{split},").replace(",test,", f",{split},") for row in ROWS]
    table = read_predictions(written(tmp_path, *rows), splits)
    assert set(table["split"]) == {split}
    write_predictions(tmp_path / "again.csv", table, splits)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "cnn.csv").read_text()
    with pytest.raises(InputError, match=rf"cnn.csv line 2: split .*{split}"):
        read_predictions(written(tmp_path, ROWS[0], *rows[1:]), splits)
    with pytest.raises(InputError, match=f"split {split}"):
        read_predictions(written(tmp_path, *ROWS[:2]), splits)


def test_a_table_of_train_is_refused_for_evaluation(tmp_path: Path) -> None:
    path = written(tmp_path, *(row.replace(",val,", ",train,") for row in ROWS))
    with pytest.raises(InputError, match="line 2: split"):
        read_predictions(path)


def test_a_bad_table_is_not_written(tmp_path: Path) -> None:
    table = views([0.25, 0.5]).assign(logit=[np.nan, 0.0])
    with pytest.raises(InputError, match="cnn.csv line 2: logit"):
        write_predictions(tmp_path / "cnn.csv", table)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_text_is_refused_in_memory_too() -> None:
    table = views([0.25, 0.5]).assign(patient=["p", None])
    with pytest.raises(InputError, match="table line 3: patient"):
        check_predictions(table, "table")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_probabilities_of_either_precision_are_accepted_and_keep_their_value(
    tmp_path: Path, kind: type[np.floating]
) -> None:
    logits = np.linspace(-20, 20, 201).astype(kind)
    # As a network in this precision gives them.
    table = views([0.5] * 201).assign(logit=logits, probability=1 / (1 + np.exp(-logits)))
    write_predictions(tmp_path / "cnn.csv", table)
    read = read_predictions(tmp_path / "cnn.csv")
    assert (read["logit"].to_numpy() == logits.astype(np.float64)).all()
    assert (read["probability"].to_numpy() == table["probability"].to_numpy().astype(float)).all()


@settings(deadline=None, max_examples=50)
@given(
    logits=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20),
    name=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1),
)
def test_a_written_table_reads_back_to_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, logits: list[float], name: str
) -> None:
    path = tmp_path_factory.mktemp("round") / "cnn.csv"
    table = views([0.5] * len(logits), study=name)
    table = table.assign(logit=logits, probability=expit(logits))
    write_predictions(path, table)
    read = read_predictions(path)
    for column in ("logit", "probability"):
        assert read[column].to_numpy().tobytes() == table[column].to_numpy().tobytes()
    assert read["study"].tolist() == table["study"].tolist()
    first = path.read_bytes()
    write_predictions(path, read)
    assert path.read_bytes() == first


def test_a_study_has_the_mean_probability_of_its_views() -> None:
    table = pd.concat([views([0.7], "b"), views([0.2, 0.3, 0.7], "a")], ignore_index=True)
    studies = by_study(table)
    assert list(studies.columns) == COLUMNS_OF_STUDIES
    assert studies["study"].tolist() == ["a", "b"]
    assert studies["views"].tolist() == [3, 1]
    assert studies["probability"].tolist() == pytest.approx([(0.2 + 0.3 + 0.7) / 3, 0.7], abs=1e-15)
    # Neither the mean of the decisions (1/3) nor the sigmoid of the mean logit (0.387).
    assert studies["patient"].tolist() == ["patient of a", "patient of b"]
    assert studies["label"].tolist() == [1, 1]
    assert studies["split"].tolist() == ["test", "test"]
    assert studies["body_part"].tolist() == ["HAND", "HAND"]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("mean_probability", (0.2 + 0.5 + 0.8) / 3),
        ("mean_logit", 0.5),  # the odds are 1/4, 1 and 4: their geometric mean is 1
        ("max", 0.8),
        ("noisy_or", 1 - 0.8 * 0.5 * 0.2),
    ],
)
def test_views_are_aggregated_as_by_hand(aggregation: Aggregation, expected: float) -> None:
    table = pd.concat([views([0.2, 0.5, 0.8], "a"), views([0.3], "b")], ignore_index=True)
    studies = by_study(table, aggregation)
    assert list(studies.columns) == COLUMNS_OF_STUDIES
    assert studies["views"].tolist() == [3, 1]
    assert studies["probability"].tolist() == pytest.approx([expected, 0.3], abs=1e-15)


def test_the_mean_of_the_probabilities_is_what_no_name_gives() -> None:
    table = views([0.2, 0.3, 0.7])
    pd.testing.assert_frame_equal(by_study(table), by_study(table, "mean_probability"))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-300, 1 - 1e-9), min_size=1, max_size=11))
def test_noisy_or_is_one_minus_the_exact_product(probabilities: list[float]) -> None:
    none = math.prod(1 - Fraction(p) for p in probabilities)
    [noisy_or] = by_study(views(probabilities), "noisy_or")["probability"]
    assert noisy_or == pytest.approx(float(1 - none), rel=1e-14)
    # 1 - (1 - 1e-20) ** 2 in floats would be 0.
    assert noisy_or >= max(probabilities) * (1 - 1e-15)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=11))
def test_means_lie_between_the_views_and_max_on_one(probabilities: list[float]) -> None:
    table = views(probabilities)
    pooled = {name: by_study(table, name)["probability"].item() for name in AGGREGATIONS}
    for name in ("mean_probability", "mean_logit"):
        assert min(probabilities) * (1 - 1e-14) <= pooled[name]
        assert pooled[name] <= max(probabilities) * (1 + 1e-14)
    assert pooled["max"] == max(probabilities)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_largest_logits_there_are_give_a_probability(aggregation: Aggregation) -> None:
    largest = 1.7976931348623157e308
    table = views([0.5] * 3).assign(logit=largest, probability=1.0)
    assert by_study(table, aggregation)["probability"].tolist() == [1.0]
    table = table.assign(logit=-largest, probability=0.0)
    assert by_study(table, aggregation)["probability"].tolist() == [0.0]


@pytest.mark.promise("A9")
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_study_keeps_its_bits_for_any_order_and_other_studies(
    aggregation: Aggregation, data: st.DataObject
) -> None:
    probability = st.floats(1e-9, 1 - 1e-9)
    studies = data.draw(st.lists(st.lists(probability, min_size=1, max_size=11), min_size=2))
    table = pd.concat([views(p, f"s{i}") for i, p in enumerate(studies)], ignore_index=True)
    together = by_study(table, aggregation).set_index("study")["probability"]

    order = data.draw(st.permutations(range(len(table))))
    shuffled = by_study(table.iloc[list(order)], aggregation).set_index("study")["probability"]
    assert shuffled.index.tolist() == together.index.tolist()
    assert shuffled.to_numpy().tobytes() == together.to_numpy().tobytes()

    alone = by_study(table[table["study"] == "s1"], aggregation)["probability"].tolist()
    assert alone == [together["s1"]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=11))
def test_the_mean_is_the_exact_one_rounded(probabilities: list[float]) -> None:
    exact = sum(map(Fraction, probabilities)) / len(probabilities)
    mean = by_study(views(probabilities))["probability"].tolist()
    assert mean == [pytest.approx(float(exact), rel=1e-15)]
