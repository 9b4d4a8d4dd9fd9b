"""Evaluate the network of a prediction table on test, each metric with its 95% CI over patients.

Thresholds and the temperature are fitted on val; test labels are read for evaluation only.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.evaluation import LEVELS
from ulna.evaluation.bootstrap import (
    METRICS,
    SIZES,
    bootstrap_weights,
    ci_columns,
    metrics_with_ci,
    too_few_studies,
)
from ulna.evaluation.calibration import reliability_curves, summarize_calibration
from ulna.evaluation.findings import (
    COLUMNS,
    flagged_studies,
    score_by_finding,
    study_findings,
    summarize_findings,
)
from ulna.evaluation.thresholds import Settings, apply_thresholds, compare_aggregations

SCORES = (*SIZES, *ci_columns(METRICS), "threshold")
COUNTS = ("true_positives", "false_positives", "val_n", "val_abnormal")
# Of `metrics/<arch>.json` -> of `SCORES`. DVC shows them in this order, and where a terminal is too
# narrow the last are hidden.
HEADLINE = {"auroc": "auroc", "kappa": "kappa", "sensitivity": "recall",
            "specificity": "specificity"}  # fmt: skip
# See `ulna.evaluation.bootstrap` for the CI of a body part without an error.
Note = Literal["", "too_few", "exact_ci"]
PerformanceCode = Literal["above_chance", "no_better_than_chance", "below_chance", "too_few"]
CHANCE = 0.5  # AUROC
DISAGREEMENTS = 24  # as many as a person reviews in one sitting


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a prediction table.

    Attributes:
        metrics: For `metrics/details/<arch>.json`: the names of `LEVELS` with `SCORES`, `COUNTS`
            and conclusion (see `conclude_performance`); thresholds, of studies (see `Thresholds`);
            by_finding, see `summarize_findings`, None where no finding is named; without_flagged,
            the scores of studies without those that the audit flagged, and left_out, how many these
            are; sizes of the test set, calibration, hash of the split.
        by_body_part: One row per body part, study level: body_part, `SCORES`, note (`Note`).
        by_finding: See `ulna.evaluation.findings.score_by_finding`.
        studies: The studies of test: study, patient, body_part, label, probability, threshold.
        aggregations: See `ulna.evaluation.thresholds.compare_aggregations`.
        reliability: See `ulna.evaluation.calibration.reliability_curves`.
        disagreements: See `most_confident_disagreements`.
    """

    metrics: dict[str, Any]
    by_body_part: pd.DataFrame
    by_finding: pd.DataFrame
    studies: pd.DataFrame
    aggregations: pd.DataFrame
    reliability: pd.DataFrame
    disagreements: pd.DataFrame


def evaluate_table(
    images: pd.DataFrame,
    evaluate: Settings,
    seed: int,
    annotations: pd.DataFrame | None = None,
    audit: pd.DataFrame | None = None,
) -> Evaluation:
    """Choose thresholds on val, evaluate studies and images of test with them.

    annotations see `ulna.data.annotations.read_annotations`, None where no finding is named; audit
    is the table of `ulna.checks.audit.audit_images`, None where nothing is flagged.

    Raises:
        InputError: The rule needs both classes on val, and one is missing.
    """
    test_images = images[images["split"] == "test"]
    replicates = bootstrap_weights(test_images["patient"], evaluate.bootstrap_replicates, seed)

    def row(table: pd.DataFrame, threshold: float) -> dict[str, float]:
        scores = metrics_with_ci(table, replicates, evaluate.min_patients)
        return scores | {"threshold": threshold}

    by_level = {level: apply_thresholds(images, level, evaluate) for level in LEVELS}
    studies, thresholds = by_level["study"]
    val, test = (studies[studies["split"] == split] for split in ("val", "test"))
    levels = {}
    for level, (table, chosen) in by_level.items():
        scores = row(table[table["split"] == "test"], chosen.overall) | _counts(table)
        conclusion = "too_few" if too_few_studies(val, test) else conclude_performance(scores)
        levels[level] = scores | {"conclusion": conclusion}
    parts = pd.DataFrame(
        [
            {"body_part": part} | row(table, thresholds.for_part(part))
            for part, table in test.groupby("body_part", sort=True)
        ],
        columns=["body_part", *SCORES],
    )
    by_finding, named = pd.DataFrame(columns=list(COLUMNS)), None
    if annotations is not None and len(annotations):
        findings = study_findings(test_images, annotations)
        by_finding = score_by_finding(test, findings, replicates, evaluate.min_patients)
        named = summarize_findings(by_finding)
    flagged = test["study"].isin(flagged_studies(test_images, audit))
    unflagged = metrics_with_ci(test[~flagged], replicates, evaluate.min_patients)
    calibration = summarize_calibration(
        val["label"], val["probability"], test["label"], test["probability"], test["patient"]
    )
    return Evaluation(
        metrics={
            **levels,
            "thresholds": {
                "overall": thresholds.overall,
                "by_body_part": dict(thresholds.by_body_part),
            },
            "by_finding": named,
            "without_flagged": {"left_out": int(flagged.sum())} | unflagged,
            "test": {
                "patients": int(test_images["patient"].nunique()),
                "studies": len(test),
                "images": len(test_images),
            },
            "calibration": calibration,
            "split_sha256": split_sha256(images),
        },
        by_body_part=parts.assign(note=[_note(part) for part in parts.to_dict("records")]),
        by_finding=by_finding,
        studies=test,
        aggregations=compare_aggregations(
            images[images["split"] == "val"], evaluate.threshold, evaluate.min_sensitivity
        ),
        reliability=reliability_curves(
            test["label"], test["probability"], calibration["temperature"]
        ),
        disagreements=most_confident_disagreements(studies),
    )


def _note(scores: Mapping[Hashable, Any]) -> Note:
    if np.isnan(scores["kappa"]):
        return "too_few"
    return "exact_ci" if scores["accuracy"] == 1 else ""


def _counts(table: pd.DataFrame) -> dict[str, int]:
    """`COUNTS` of a table of val and test with thresholds."""
    test, val = (table[table["split"] == split] for split in ("test", "val"))
    positive = test["probability"] > test["threshold"]
    true = int((positive & (test["label"] == 1)).sum())
    counts = (true, int(positive.sum()) - true, len(val), int(val["label"].sum()))
    return dict(zip(COUNTS, counts, strict=True))


def headline(arch: str, study: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The headline of a network for `metrics/<arch>.json`, from its scores of studies.

    Returns:
        arch -> auroc, kappa, sensitivity and specificity, n, and the limits of the four, with 4
        decimals: under the name of the network, so that DVC's column is `cnn.auroc`.
    """
    names = {shown: study[name] for shown, name in HEADLINE.items()} | {"n": study["n"]}
    names |= {
        f"{shown}_{end}": study[f"{name}_{end}"]
        for shown, name in HEADLINE.items()
        for end in ("low", "high")
    }
    return {arch: {name: round(value, 4) for name, value in names.items()}}


def conclude_performance(scores: Mapping[str, float]) -> PerformanceCode:
    """Conclude whether a network is better than chance: whether its AUROC's CI excludes 0.5.

    Of enough studies, see `ulna.evaluation.bootstrap.too_few_studies`.
    """
    if np.isnan(scores["auroc_low"]):
        return "too_few"
    if scores["auroc_low"] > CHANCE:
        return "above_chance"
    return "below_chance" if scores["auroc_high"] < CHANCE else "no_better_than_chance"


def most_confident_disagreements(studies: pd.DataFrame) -> pd.DataFrame:
    """List the `DISAGREEMENTS` errors farthest from their label: the network's, or the label's.

    Returns:
        study, body_part, split, views, label, probability, threshold, farthest first. No patient:
        the table can be passed on.
    """
    errors = studies[(studies["probability"] > studies["threshold"]) != (studies["label"] == 1)]
    distance = (errors["probability"] - errors["label"]).abs()
    farthest = distance.sort_values(ascending=False, kind="stable").index[:DISAGREEMENTS]
    columns = ["study", "body_part", "split", "views", "label", "probability", "threshold"]
    return errors.loc[farthest, columns]


def split_sha256(images: pd.DataFrame) -> str:
    """SHA-256 of the patients and images of val and of test, independent of the order of rows."""
    columns = (images[name] for name in ("image", "patient", "split"))
    rows = sorted(map(",".join, zip(*columns, strict=True)))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
