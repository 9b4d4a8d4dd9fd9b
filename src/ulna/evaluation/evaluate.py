"""Evaluate the network of a prediction table on test, each metric with its 95% CI over patients.

Thresholds and the temperature are fitted on val; test labels are read for evaluation only.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.evaluation.bootstrap import METRICS, SIZES, bootstrap_weights, ci_columns, metrics_with_ci
from ulna.evaluation.calibration import reliability_curves, summarize_calibration
from ulna.evaluation.thresholds import LEVELS, Settings, apply_thresholds, compare_aggregations

SCORES = (*SIZES, *ci_columns(METRICS), "threshold")
# See `ulna.evaluation.bootstrap` for the CI of a body part without an error.
Note = Literal["", "too_few", "exact_ci"]
PerformanceCode = Literal["above_chance", "no_better_than_chance", "below_chance", "too_few"]
CHANCE = 0.5  # AUROC
DISAGREEMENTS = 24  # as many as a person reviews in one sitting


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a prediction table.

    Attributes:
        metrics: For `metrics/<arch>.json`: the names of `LEVELS` with `SCORES` and conclusion (see
            `conclude_performance`), sizes of the test set, calibration, hash of the split.
        by_body_part: One row per body part, study level: body_part, `SCORES`, note (`Note`).
        studies: The studies of test: study, patient, body_part, label, probability, threshold.
        aggregations: See `ulna.evaluation.thresholds.compare_aggregations`.
        reliability: See `ulna.evaluation.calibration.reliability_curves`.
        disagreements: See `most_confident_disagreements`.
    """

    metrics: dict[str, Any]
    by_body_part: pd.DataFrame
    studies: pd.DataFrame
    aggregations: pd.DataFrame
    reliability: pd.DataFrame
    disagreements: pd.DataFrame


def evaluate_table(images: pd.DataFrame, evaluate: Settings, seed: int) -> Evaluation:
    """Choose thresholds on val, evaluate studies and images of test with them.

    Raises:
        InputError: The rule needs both classes on val, and one is missing.
    """
    test_images = images[images["split"] == "test"]
    replicates = bootstrap_weights(test_images["patient"], evaluate.bootstrap_replicates, seed)

    def row(table: pd.DataFrame, threshold: float) -> dict[str, float]:
        scores = metrics_with_ci(table, replicates, evaluate.min_patients)
        return scores | {"threshold": threshold}

    by_level = {level: apply_thresholds(images, level, evaluate) for level in LEVELS}
    levels = {
        level: row(table[table["split"] == "test"], thresholds.overall)
        for level, (table, thresholds) in by_level.items()
    }
    studies, thresholds = by_level["study"]
    val, test = (studies[studies["split"] == split] for split in ("val", "test"))
    parts = pd.DataFrame(
        [
            {"body_part": part} | row(table, thresholds.for_part(part))
            for part, table in test.groupby("body_part", sort=True)
        ],
        columns=["body_part", *SCORES],
    )
    calibration = summarize_calibration(
        val["label"], val["probability"], test["label"], test["probability"], test["patient"]
    )
    return Evaluation(
        metrics={
            **{
                level: scores | {"conclusion": conclude_performance(scores)}
                for level, scores in levels.items()
            },
            "test": {
                "patients": int(test_images["patient"].nunique()),
                "studies": len(test),
                "images": len(test_images),
            },
            "calibration": calibration,
            "split_sha256": split_sha256(images),
        },
        by_body_part=parts.assign(note=[_note(part) for part in parts.to_dict("records")]),
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


def conclude_performance(scores: Mapping[str, float]) -> PerformanceCode:
    """Conclude whether a network is better than chance: whether its AUROC's CI excludes 0.5."""
    if np.isnan(scores["auroc_low"]):
        return "too_few"
    if scores["auroc_low"] > CHANCE:
        return "above_chance"
    return "below_chance" if scores["auroc_high"] < CHANCE else "no_better_than_chance"


def most_confident_disagreements(studies: pd.DataFrame, count: int = DISAGREEMENTS) -> pd.DataFrame:
    """List the errors farthest from their label: errors of the network, or of the label.

    Returns:
        study, body_part, split, views, label, probability, threshold, farthest first. No patient:
        the table can be passed on.
    """
    errors = studies[(studies["probability"] > studies["threshold"]) != (studies["label"] == 1)]
    distance = (errors["probability"] - errors["label"]).abs()
    farthest = distance.sort_values(ascending=False, kind="stable").index[:count]
    columns = ["study", "body_part", "split", "views", "label", "probability", "threshold"]
    return errors.loc[farthest, columns]


def split_sha256(images: pd.DataFrame) -> str:
    """SHA-256 of the patients and images of val and of test, independent of the order of rows."""
    columns = (images[name] for name in ("image", "patient", "split"))
    rows = sorted(map(",".join, zip(*columns, strict=True)))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
