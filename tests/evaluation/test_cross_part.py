import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import cohen_kappa_score, roc_auc_score, roc_curve

from ulna.core import InputError
from ulna.core.io import write_json
from ulna.core.predictions import write_predictions
from ulna.data.cross_part import Network, plan
from ulna.evaluation.bootstrap import bootstrap_weights
from ulna.evaluation.cross_part import (
    COLUMNS,
    OVERALL,
    cross_part_table,
    evaluated_studies,
    read_tables,
    seen_and_unseen,
)

PARTS = ("ELBOW", "HAND", "WRIST")
HAND, HAND_OR_WRIST = Network("HAND", ("HAND",)), Network("HAND+WRIST", ("HAND", "WRIST"))


def predicted(seed: int = 0, patients: int = 20) -> pd.DataFrame:
    """Patients of val and test with a study of each part, two views each, and some signal."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "image": f"{split}/{part}/{k}/{view}.png",
            "patient": f"{split}{k:02}",
            "study": f"{split}/{part}/{k}",
            "body_part": part,
            "split": split,
            "label": int((k + PARTS.index(part)) % 3 == 0),
        }
        for split, part, k, view in itertools.product(
            ("val", "test"), PARTS, range(patients), (1, 2)
        )
    ]
    table = pd.DataFrame(rows)
    table["logit"] = rng.normal(size=len(table)) + table["label"]
    table["probability"] = expit(table["logit"])
    return table


@pytest.fixture
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_replicates": 200, "min_patients": 10})


@pytest.fixture
def evaluate_network(evaluate):
    def evaluated(images: pd.DataFrame, network: Network = HAND, min_patients: int = 10):
        test = evaluated_studies(network, images, evaluate)
        replicates = bootstrap_weights(test["patient"], 200, seed=3)
        cells = cross_part_table({network: test}, replicates, min_patients).set_index("tested_on")
        return cells, seen_and_unseen(network, test, replicates, min_patients), test, replicates

    return evaluated


def same(measured: float, expected: float) -> bool:
    return measured == pytest.approx(expected, abs=1e-12)


@pytest.mark.promise("A5")
@pytest.mark.parametrize("network", [HAND, HAND_OR_WRIST])
def test_every_cell_equals_scikit_learn_on_its_studies(evaluate_network, network):
    images = predicted()
    cells, *_ = evaluate_network(images, network)
    assert list(cells.index) == [*PARTS, OVERALL]
    # Independent of by_study and choose_threshold: means of views, Youden's best cut on val.
    studies = images.groupby(["study", "body_part", "split"]).agg(
        {"label": "first", "probability": "mean"}
    )
    studies = studies.reset_index()
    val = studies[(studies["split"] == "val") & studies["body_part"].isin(network.parts)]
    false, true, _ = roc_curve(val["label"], val["probability"])
    threshold = cells["threshold"].unique().item()
    positive = val["probability"] > threshold
    recall, fallout = (positive[val["label"] == label].mean() for label in (1, 0))
    assert same(recall - fallout, (true - false).max())

    test = studies[studies["split"] == "test"]
    for part, cell in cells.iterrows():
        rows = test if part == OVERALL else test[test["body_part"] == part]
        positive = (rows["probability"] > threshold).astype(int)
        assert same(cell["auroc"], roc_auc_score(rows["label"], rows["probability"]))
        assert same(cell["kappa"], cohen_kappa_score(rows["label"], positive))
        assert (cell["patients"], cell["studies"]) == (20, len(rows))
        assert cell["abnormal"] == rows["label"].sum()
        assert cell["auroc_low"] < cell["auroc"] < cell["auroc_high"]
        assert cell["kappa_low"] < cell["kappa"] < cell["kappa_high"]
        assert cell["note"] == ""


def test_the_columns_are_those_promised(evaluate_network):
    cells, *_ = evaluate_network(predicted())
    assert list(cells.reset_index()[list(COLUMNS)]) == [
        "trained_on", "tested_on", "patients", "studies", "abnormal", "auroc", "auroc_low",
        "auroc_high", "kappa", "kappa_low", "kappa_high", "threshold", "note",
    ]  # fmt: skip


def test_parts_add_up_to_the_whole(evaluate_network):
    cells, both, *_ = evaluate_network(predicted())
    for size in ("studies", "abnormal"):
        parts = cells.loc[list(PARTS), size].sum()
        assert parts == cells.loc[OVERALL, size] == both["seen"][size] + both["unseen"][size]


@pytest.mark.promise("A3")
def test_the_threshold_sees_neither_test_labels_nor_parts_that_were_not_trained_on(evaluate):
    images = predicted()
    changed = images.copy()
    hidden = (images["split"] == "test") | ~images["body_part"].isin(HAND_OR_WRIST.parts)
    changed.loc[hidden, "label"] = 1 - changed.loc[hidden, "label"]
    changed.loc[hidden, "probability"] = changed.loc[hidden, "probability"].to_numpy()[::-1]
    before, after = (
        evaluated_studies(HAND_OR_WRIST, table, evaluate)["threshold"].unique().tolist()
        for table in (images, changed)
    )
    assert before == after
    seen = (images["split"] == "val") & (images["body_part"] == "WRIST")
    changed.loc[seen, "label"] = 1 - changed.loc[seen, "label"]
    moved = evaluated_studies(HAND_OR_WRIST, changed, evaluate)["threshold"].unique().tolist()
    assert moved != before, "the threshold does not look at the parts trained on either"


def test_views_and_rule_are_those_of_the_parameters(evaluate):
    images = predicted()
    largest = images[images["split"] == "test"].groupby("study")["probability"].max()
    other = evaluate.model_copy(update={"aggregation": "max", "threshold": "half"})
    test = evaluated_studies(HAND, images, other).set_index("study")
    assert test["probability"].to_dict() == largest.to_dict()
    assert set(test["threshold"]) == {0.5}


@pytest.mark.promise("E31")
def test_a_part_with_too_few_patients_or_one_class_has_no_numbers_but_a_reason(evaluate_network):
    images = predicted()
    number = images["patient"].str[-2:].astype(int)
    tested = images["split"] == "test"
    few = tested & (images["body_part"] == "ELBOW") & (number >= 9)
    images.loc[tested & (images["body_part"] == "WRIST"), "label"] = 0
    cells, both, *_ = evaluate_network(images[~few].reset_index(drop=True))
    assert cells["note"].to_dict() == {
        "ELBOW": "too_few", "HAND": "", "WRIST": "one_class", OVERALL: "",
    }  # fmt: skip
    undefined = cells.loc[["ELBOW", "WRIST"]]
    numbers = [c for c in COLUMNS if c.startswith(("auroc", "kappa"))]
    assert undefined[numbers].isna().all(axis=None)
    assert undefined["patients"].tolist() == [9, 20]
    assert cells.loc[["HAND", OVERALL], numbers].notna().all(axis=None)
    assert both["seen"]["note"] == both["unseen"]["note"] == ""


def test_ten_patients_are_enough_where_ten_are_asked_for(evaluate_network):
    images = predicted()
    few = (images["split"] == "test") & (images["patient"].str[-2:].astype(int) >= 10)
    cells, *_ = evaluate_network(images[~few].reset_index(drop=True))
    assert cells.loc["HAND", "patients"] == 10
    assert cells.loc["HAND", "note"] == ""


def test_one_abnormal_patient_is_too_few_for_an_auroc(evaluate_network):
    """Without that patient, as in a third of the replicates, there is none."""
    images = predicted()
    tested = (images["split"] == "test") & (images["body_part"] == "HAND")
    images.loc[tested, "label"] = (images["patient"] == "test07").astype(int)
    cells, both, *_ = evaluate_network(images)
    assert cells.loc["HAND", "note"] == "too_few"
    assert np.isnan(cells.loc["HAND", "auroc"])
    assert cells.loc["WRIST", "note"] == ""
    assert both["seen_minus_unseen"]["note"] == "too_few"
    assert np.isnan(both["seen_minus_unseen"]["auroc"])


def test_the_difference_is_paired_by_patient(evaluate_network):
    """Against a loop over the replicates, each a table with repeated rows, and scikit-learn."""
    _, both, test, replicates = evaluate_network(predicted(1), HAND_OR_WRIST)
    seen = test["body_part"].isin(HAND_OR_WRIST.parts)
    values = []
    for weights in replicates.weights.T:
        often = dict(zip(replicates.patients, weights.astype(int), strict=True))
        repeated = test.loc[test.index.repeat(test["patient"].map(often))]
        mask = seen.loc[repeated.index]
        first, second = (
            roc_auc_score(side["label"], side["probability"])
            for side in (repeated[mask], repeated[~mask])
        )
        values.append(first - second)
    difference = both["seen_minus_unseen"]
    assert same(difference["auroc"], both["seen"]["auroc"] - both["unseen"]["auroc"])
    assert same(difference["kappa"], both["seen"]["kappa"] - both["unseen"]["kappa"])
    assert same(difference["auroc_low"], np.quantile(values, 0.025))
    assert same(difference["auroc_high"], np.quantile(values, 0.975))
    assert difference["kappa_low"] < difference["kappa"] < difference["kappa_high"]


def test_sides_with_few_common_replicates_have_no_difference():
    """Three abnormal patients per side: 4% of the replicates lack them all, 8% those of a side."""
    abnormal = {"HAND": range(3), "WRIST": range(3, 6)}
    test = pd.DataFrame(
        [
            {"patient": f"p{k:02}", "body_part": part, "label": int(k in abnormal[part]),
             "probability": ((7 * k) % 20) / 20, "threshold": 0.5}
            for part in abnormal for k in range(20)
        ]
    )  # fmt: skip
    both = seen_and_unseen(HAND, test, bootstrap_weights(test["patient"], 2000, seed=1), 10)
    assert both["seen"]["note"] == both["unseen"]["note"] == ""
    assert both["seen_minus_unseen"]["note"] == "too_few"
    assert np.isnan(both["seen_minus_unseen"]["auroc"])
    assert not np.isnan(both["seen_minus_unseen"]["kappa"])


def test_a_copy_of_the_seen_part_leaves_no_difference(evaluate_network):
    """Each patient's hand and wrist have the same label and probability: 0 in every replicate."""
    images = predicted()
    images = images[images["body_part"] != "ELBOW"].reset_index(drop=True)
    hand, wrist = images["body_part"] == "HAND", images["body_part"] == "WRIST"
    for column in ("label", "logit", "probability"):
        images.loc[wrist, column] = images.loc[hand, column].to_numpy()
    both = evaluate_network(images)[1]
    assert both["seen"] == both["unseen"]
    assert both["seen_minus_unseen"].pop("note") == "too_few"
    assert np.isnan(list(both["seen_minus_unseen"].values())).all()


@pytest.mark.parametrize("parts", [PARTS, ("HAND",)])
def test_without_one_of_the_sides_there_is_no_difference(evaluate_network, tmp_path, parts):
    images = predicted()
    few = (images["split"] == "test") & (images["body_part"] == "HAND")
    few &= images["patient"].str[-2:].astype(int) >= 9
    both = evaluate_network(images[~few].reset_index(drop=True), Network("+".join(parts), parts))[1]
    write_json(tmp_path / "m.json", both)
    written = json.loads((tmp_path / "m.json").read_text())
    assert written["seen_minus_unseen"] == {
        "auroc": None, "auroc_low": None, "auroc_high": None,
        "kappa": None, "kappa_low": None, "kappa_high": None, "note": "too_few",
    }  # fmt: skip
    undefined, defined = ("unseen", "seen") if parts == PARTS else ("seen", "unseen")
    assert written[undefined]["auroc"] is None
    assert written[undefined]["studies"] == (0 if parts == PARTS else 9)
    assert written[defined]["auroc"] is not None


def test_tables_are_read_in_the_order_of_the_plan(tmp_path):
    networks = plan("all", PARTS)
    for number, network in enumerate(networks[::-1]):
        rows = predicted(number)
        write_predictions(tmp_path / f"{network.name}.csv", rows[:: -1 if number else 1])
    tables = read_tables(tmp_path)
    assert list(tables) == networks
    pd.testing.assert_frame_equal(tables[networks[-1]], predicted(0))


def test_no_table_and_an_unknown_table_are_rejected(tmp_path):
    with pytest.raises(InputError, match="dvc repro transfer"):
        read_tables(tmp_path)
    write_predictions(tmp_path / "SKULL.csv", predicted())
    with pytest.raises(InputError, match="'SKULL'.* ELBOW, HAND, WRIST"):
        read_tables(tmp_path)


@pytest.mark.parametrize("change", ["label", "image"])
def test_tables_of_different_test_sets_are_rejected(tmp_path, change):
    write_predictions(tmp_path / "HAND.csv", predicted())
    other = predicted(1)
    if change == "label":
        study = other["study"] == "test/HAND/3"
        other.loc[study, "label"] = 1 - other.loc[study, "label"]
    else:
        other = other.iloc[:-1]
    write_predictions(tmp_path / "WRIST.csv", other)
    with pytest.raises(InputError, match=r"WRIST.csv .*HAND.csv"):
        read_tables(tmp_path)


def test_the_order_of_rows_changes_nothing(evaluate_network):
    images = predicted()
    cells, both, *_ = evaluate_network(images)
    again, both_again, *_ = evaluate_network(images.iloc[::-1].reset_index(drop=True))
    pd.testing.assert_frame_equal(cells, again, check_exact=True)
    assert both == both_again
