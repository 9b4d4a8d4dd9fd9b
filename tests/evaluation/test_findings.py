"""Scores by finding, and without the studies that the audit flagged."""

import numpy as np
import pandas as pd
import pytest
from random_tables import predictions
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from ulna.checks.audit import FINDINGS
from ulna.core.predictions import by_study
from ulna.evaluation.bootstrap import METRICS, bootstrap_weights, ci_columns, metrics_with_ci
from ulna.evaluation.evaluate import evaluate_table
from ulna.evaluation.findings import (
    COLUMNS,
    FINDING_SCORES,
    FLAGS,
    UNNAMED,
    flagged_studies,
    score_by_finding,
    study_findings,
    summarize_findings,
)
from ulna.evaluation.thresholds import apply_thresholds

# Twelve patients of each: plates all found, fractures two in three, and four missed lesions.
KINDS = {"hardware": [2.0] * 12, "fracture": [1.0, 1.0, -1.0] * 4, "lesion": [-3.0] * 4}
NORMAL = [-2.0, -2.5, -1.5, -0.5, 0.5] * 5
VAL = [("val", "HAND", label, [2.0 * label - 1]) for label in (0, 1) for _ in range(20)]


@pytest.fixture
def images() -> pd.DataFrame:
    """Two views per abnormal study; the threshold is 0.5."""
    abnormal = [("test", "HAND", 1, [x, x]) for logits in KINDS.values() for x in logits]
    return predictions(*VAL, *abnormal, *(("test", "HAND", 0, [x]) for x in NORMAL))


@pytest.fixture
def annotations(images) -> pd.DataFrame:
    """The second view of each study shows nothing."""
    kinds = [kind for kind, logits in KINDS.items() for _ in logits]
    named = {f"{len(VAL) + k}-0/0.png": kind for k, kind in enumerate(kinds)}
    return pd.DataFrame(
        {"image": images["image"], "finding": images["image"].map(named).fillna("none")}
    )


@pytest.fixture
def table(images, annotations, params) -> pd.DataFrame:
    return evaluate_table(images, params.evaluate, 1, annotations).by_finding.set_index("finding")


@pytest.mark.promise("H43")
def test_studies_of_each_finding_are_counted_and_those_found(table):
    assert list(table.reset_index()) == list(COLUMNS)
    assert table["studies"].to_dict() == {"fracture": 12, "hardware": 12, "lesion": 4}
    assert table["found"].to_dict() == {"fracture": 8, "hardware": 12, "lesion": 0}
    assert table.loc["fracture", "sensitivity"] == 8 / 12


def test_the_limits_of_sensitivity_are_wilsons_with_one_study_per_patient(table):
    for finding, found in (("fracture", 8), ("hardware", 12)):
        expected = binomtest(found, 12).proportion_ci(method="wilson")
        row = table.loc[finding]
        assert (row["sensitivity_low"], row["sensitivity_high"]) == pytest.approx(tuple(expected))


def test_studies_of_one_patient_count_as_one(images, annotations, params):
    """The intervals of 6 patients with two like studies each are those of 6."""
    number = images["patient"].str.extract(r"p(\d+)-0")[0].astype(int)
    paired = images.assign(patient="p" + (number // 2).astype(str))
    settings = params.evaluate.model_copy(update={"min_patients": 2})
    hardware = evaluate_table(paired, settings, 1, annotations).by_finding.query(
        "finding == 'hardware'"
    )
    assert hardware["studies"].item() == 12
    expected = binomtest(6, 6).proportion_ci(method="wilson").low
    assert hardware["sensitivity_low"].item() == pytest.approx(expected)


def test_auroc_of_a_finding_is_against_all_normal_studies(table):
    for finding in ("fracture", "hardware"):
        scores = [*KINDS[finding], *NORMAL]
        labels = [1] * len(KINDS[finding]) + [0] * len(NORMAL)
        row = table.loc[finding]
        assert row["auroc"] == pytest.approx(roc_auc_score(labels, scores))
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]


def test_sensitivity_where_four_of_five_normal_studies_are_cleared(table):
    # A fifth of the normal studies is above -0.5: so are all plates and the fractures with 1.
    assert table["sensitivity_at_specificity_80"].dropna().to_dict() == {
        "fracture": 8 / 12, "hardware": 1,
    }  # fmt: skip


@pytest.mark.promise("E31")
def test_of_few_patients_only_counts_are_told(table):
    numbers = [name for name in COLUMNS[1:] if name not in ("studies", "found")]
    assert table.loc["lesion", numbers].isna().all()
    assert table.loc["hardware", numbers].notna().all()


def test_without_annotations_nothing_is_known(images, annotations, params):
    for none in (None, annotations[:0]):
        found = evaluate_table(images, params.evaluate, 1, none)
        assert found.metrics["by_finding"] is None
        assert list(found.by_finding) == list(COLUMNS) and found.by_finding.empty


def test_the_summary_is_the_table(table, images, annotations, params):
    summary = evaluate_table(images, params.evaluate, 1, annotations).metrics["by_finding"]
    assert list(summary) == list(table.index)
    for finding, row in summary.items():
        assert tuple(row) == FINDING_SCORES
        for name, value in row.items():
            np.testing.assert_equal(value, table.loc[finding, name])


def test_a_study_has_every_finding_of_its_images_and_one_without_is_unnamed():
    images = predictions(
        ("test", "HAND", 1, [0.0, 0.0, 0.0]), ("test", "HAND", 1, [0.0]),
        ("test", "HAND", 0, [0.0]), ("val", "HAND", 1, [0.0]), ("test", "HAND", 1, [0.0]),
    )  # fmt: skip
    named = {"0-0/0.png": "nail", "0-0/1.png": "cyst", "0-0/2.png": "cyst", "3-0/0.png": "nail"}
    findings = images["image"].map(named).fillna("none")
    annotations = pd.DataFrame({"image": images["image"], "finding": findings})[:-1]
    found = study_findings(images, annotations)
    assert list(found.itertuples(index=False, name=None)) == [
        ("s0-0", "cyst"), ("s0-0", "nail"), ("s1-0", UNNAMED), ("s4-0", UNNAMED),
    ]  # fmt: skip


def test_of_no_abnormal_study_there_is_no_row(params):
    images = predictions(("val", "HAND", 0, [0.0]), ("test", "HAND", 0, [0.0]))
    annotations = pd.DataFrame({"image": images["image"], "finding": "none"})
    findings = study_findings(images, annotations)
    test = by_study(images).query("split == 'test'").assign(threshold=0.5)
    table = score_by_finding(test, findings, bootstrap_weights(test["patient"], 10, 1), 10)
    assert summarize_findings(table) == {}


# Flagged studies


def audit(*rows: tuple[str, str, str | float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["finding", "image", "other_image"])


def test_flags_are_findings_of_the_audit():
    assert set(FLAGS) < set(FINDINGS)
    assert not {"single_view", "colour", "mixed_labels"} & set(FLAGS)


def test_a_study_is_flagged_if_an_image_of_it_is_on_either_side():
    images = predictions(*(("test", "HAND", k % 2, [0.0, 0.0]) for k in range(6)))
    found = flagged_studies(
        images,
        audit(
            ("inverted", "0-0/1.png", np.nan),
            ("single_view", "1-0/0.png", np.nan),
            ("near_duplicate", "2-0/0.png", "3-0/0.png"),
            ("duplicate_across_splits", "elsewhere.png", "4-0/0.png"),
        ),
    )
    assert found == {"s0-0", "s4-0"}
    assert flagged_studies(images, None) == set()


def test_scores_without_flagged_studies_are_those_of_the_others(images, params):
    flagged = audit(("inverted", f"{len(VAL)}-0/1.png", np.nan), ("low_contrast", "0-0/0.png", ""))
    rest = evaluate_table(images, params.evaluate, 1, None, flagged).metrics["without_flagged"]
    assert rest.pop("left_out") == 1  # the other is of val
    assert set(rest) == {"n", "abnormal", "patients", *ci_columns(METRICS)}
    studies, _ = apply_thresholds(images, "study", params.evaluate)
    test = studies[(studies["split"] == "test")]
    replicates = bootstrap_weights(test["patient"], params.evaluate.bootstrap_replicates, 1)
    assert rest == metrics_with_ci(test[test["study"] != f"s{len(VAL)}-0"], replicates, 10)
