"""A prediction table -> what can be said of its network, and how surely.

Thresholds and the temperature are fitted on val; test labels are read for nothing but judging.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.core.params import Evaluate
from ulna.core.predictions import by_study
from ulna.evaluation.bootstrap import METRICS, bootstrap_weights, ci_columns, metrics_with_ci
from ulna.evaluation.calibration import reliability_curves, summarize_calibration
from ulna.evaluation.thresholds import Thresholds, choose_thresholds, compare_aggregations

LEVELS = ("study", "image")
# Of a row: what it counts, then each metric with the ends of its interval, then the threshold.
SIZES = ("n", "abnormal", "patients")
SCORES = (*SIZES, *ci_columns(METRICS), "threshold")
# See `ulna.evaluation.bootstrap` for the CI of a body part without an error.
Note = Literal["", "too_few", "exact_ci"]
PerformanceCode = Literal["above_chance", "no_better_than_chance", "below_chance", "too_few"]
CHANCE = 0.5  # AUROC
DISAGREEMENTS = 24  # what a person reviews in one sitting


@dataclass(frozen=True)
class Evaluation:
    """A judged prediction table.

    Attributes:
        metrics: What becomes `metrics/<arch>.json`: the names of `LEVELS` with `SCORES` and
            conclusion (see `conclude_performance`), sizes of the test set, calibration, hashes of
            what was judged.
        by_body_part: One row a body part, study level: body_part, `SCORES`, note (`Note`).
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


def evaluate_table(images: pd.DataFrame, evaluate: Evaluate, seed: int) -> Evaluation:
    """Choose thresholds on val, judge studies and images of test with them.

    Args:
        images: A checked prediction table.
        evaluate: The section of the parameters.
        seed: Of the replicates of patients.

    Returns:
        The numbers, each with its 95% interval over patients.

    Raises:
        InputError: The rule needs both classes on val, and one is missing.
    """
    judged = images[images["split"] == "test"]
    replicates = bootstrap_weights(judged["patient"], evaluate.bootstrap_replicates, seed)

    def row(table: pd.DataFrame, threshold: float) -> dict[str, float]:
        scores = metrics_with_ci(table, replicates, evaluate.min_patients)
        return scores | {"threshold": threshold}

    found = {level: apply_thresholds(images, level, evaluate) for level in LEVELS}
    levels = {
        level: row(table[table["split"] == "test"], thresholds.overall)
        for level, (table, thresholds) in found.items()
    }
    studies, thresholds = found["study"]
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
                "patients": int(judged["patient"].nunique()),
                "studies": len(test),
                "images": len(judged),
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


def apply_thresholds(
    images: pd.DataFrame, level: str, evaluate: Evaluate
) -> tuple[pd.DataFrame, Thresholds]:
    """Studies or images, each with the threshold that was chosen for it on val.

    Args:
        images: A checked prediction table.
        level: study or image.
        evaluate: The section of the parameters.

    Returns:
        One row a study (views aggregated as the parameters say) or an image, of val and test, with
        a column threshold; and the thresholds.

    Raises:
        InputError: The rule needs both classes on val, and one is missing.
    """
    table = by_study(images, evaluate.aggregation) if level == "study" else images
    thresholds = choose_thresholds(
        table[table["split"] == "val"],
        rule=evaluate.threshold,
        min_sensitivity=evaluate.min_sensitivity,
        threshold_per=evaluate.threshold_per,
        shrinkage_studies=evaluate.shrinkage_studies,
    )
    return table.assign(threshold=thresholds.of(table["body_part"])), thresholds


def most_confident_disagreements(studies: pd.DataFrame, count: int = DISAGREEMENTS) -> pd.DataFrame:
    """List the studies whose label the network contradicts most surely: wrong, or mislabelled.

    Args:
        studies: One row a study of val and test: study, body_part, split, views, label,
            probability, threshold.
        count: At most so many.

    Returns:
        The wrongly called studies, those farthest from their label first: study, body_part, split,
        views, label, probability, threshold. Ids only: a table that can be passed on.
    """
    wrong = studies[(studies["probability"] > studies["threshold"]) != (studies["label"] == 1)]
    distance = (wrong["probability"] - wrong["label"]).abs()
    farthest = distance.sort_values(ascending=False, kind="stable").index[:count]
    columns = ["study", "body_part", "split", "views", "label", "probability", "threshold"]
    return wrong.loc[farthest, columns]


def split_sha256(images: pd.DataFrame) -> str:
    """SHA-256 of which patients and images are in val and in test, in any order of the rows."""
    columns = (images[name] for name in ("image", "patient", "split"))
    rows = sorted(map(",".join, zip(*columns, strict=True)))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
