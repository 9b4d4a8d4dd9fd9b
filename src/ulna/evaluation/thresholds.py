"""The operating points: thresholds that are chosen on val and applied to test."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError
from ulna.core.aggregation import Aggregation
from ulna.core.params import Evaluate
from ulna.core.predictions import by_study
from ulna.evaluation.metrics import Counts, brier, compute_metrics, confusion_counts, kappa, youden

# The section of params.yaml: besides the rules below, the replicates and the least patients.
Settings = Evaluate
Floats = npt.NDArray[np.float64]
Rule = Literal["half", "youden", "kappa", "sensitivity"]

AGGREGATION_COLUMNS = ("aggregation", "n", "abnormal", "auroc", "kappa", "threshold", "brier")


@dataclass(frozen=True)
class Thresholds:
    """Operating points, each 0 to 1: overall is that of every body part without its own."""

    overall: float
    by_body_part: Mapping[str, float]

    def for_part(self, body_part: str) -> float:
        """The threshold of a body part; the overall one if val lacks the part."""
        return self.by_body_part.get(body_part, self.overall)

    def of(self, body_parts: Iterable[str]) -> Floats:
        """The threshold of each row of a table by its body part, shape (rows,)."""
        return np.array([self.for_part(part) for part in body_parts], dtype=np.float64)


def apply_thresholds(
    images: pd.DataFrame, level: str, evaluate: Settings
) -> tuple[pd.DataFrame, Thresholds]:
    """Choose the thresholds of a level on val, and give each row its own.

    Returns:
        One row per study (its views aggregated) or image of val and test, with a column threshold;
        and the thresholds.

    Raises:
        InputError: See `choose_threshold`.
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


def choose_thresholds(
    val: pd.DataFrame,
    rule: Rule,
    min_sensitivity: float,
    threshold_per: Literal["overall", "body_part"],
    shrinkage_studies: float,
) -> Thresholds:
    """Choose the overall threshold and, if wanted, one per body part.

    A part's own threshold is estimated from few studies, so it is shrunk towards the overall one:
    (n * own + k * overall) / (n + k), with n the part's studies and k = shrinkage_studies. A shrunk
    threshold can miss min_sensitivity. A part without both classes gets the overall threshold.

    Raises:
        InputError: See `choose_threshold`.
    """
    overall = choose_threshold(rule, val["label"], val["probability"], min_sensitivity)
    if threshold_per == "overall":
        return Thresholds(overall, {})
    by_body_part = {}
    for body_part, rows in val.groupby("body_part", sort=True):
        threshold = overall
        if rows["label"].nunique() == 2:
            own = choose_threshold(rule, rows["label"], rows["probability"], min_sensitivity)
            studies = rows["study"].nunique()
            # The weighted mean, written so that k = 0 keeps every bit of the own threshold.
            shrinkage = shrinkage_studies / (studies + shrinkage_studies)
            threshold = own + (overall - own) * shrinkage
        by_body_part[str(body_part)] = threshold
    return Thresholds(overall, by_body_part)


def choose_threshold(
    rule: Rule,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    min_sensitivity: float | None = None,
) -> float:
    """Choose the threshold above which a probability is predicted positive.

    Rule half is 0.5 for any data; youden and kappa maximise Youden's J or Cohen's kappa, where of
    equally good candidates the one nearest to 0.5 is chosen, and the lower of two equally near
    ones; sensitivity is the highest threshold with at least min_sensitivity.

    Raises:
        InputError: Val lacks a class that the rule needs, or no threshold is sensitive enough.

    Example:
        >>> choose_threshold("youden", [0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9])
        0.30000000000000004
    """
    if rule == "half":
        return 0.5
    abnormal = int(np.sum(np.asarray(labels) == 1))
    normal = int(np.size(labels)) - abnormal
    if abnormal == 0 or (normal == 0 and rule != "sensitivity"):
        needed = "abnormal" if rule == "sensitivity" else "normal and abnormal"
        raise InputError(
            f"evaluate.threshold {rule} needs {needed} rows in split val, which has "
            f"{normal} normal and {abnormal} abnormal: set evaluate.threshold to half, or enlarge "
            "split.val_fraction"
        )
    candidates = candidate_thresholds(probabilities)
    counts = confusion_counts(labels, probabilities, candidates)
    if rule == "sensitivity":
        return _by_sensitivity(candidates, counts, min_sensitivity)
    # Both objectives are quotients of integers, so equally good candidates are equal to the bit.
    objective = {"youden": youden, "kappa": kappa}[rule](counts)
    best = candidates[objective == objective.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _by_sensitivity(candidates: Floats, counts: Counts, min_sensitivity: float | None) -> float:
    if min_sensitivity is None:
        raise ValueError("rule sensitivity needs min_sensitivity")
    # A quotient, not a product: 11 / 20 is the float 0.55, but 0.55 * 20 lies above 11.
    enough = counts.tp / (counts.tp + counts.fn) >= min_sensitivity
    if not enough.any():
        raise InputError(
            f"evaluate.min_sensitivity {min_sensitivity} is out of reach: {counts.fn[0]} of the "
            f"{counts.tp[0] + counts.fn[0]} abnormal rows of split val have probability 0, which "
            "lies above no threshold: lower it"
        )
    return float(candidates[enough].max())


def candidate_thresholds(probabilities: npt.ArrayLike) -> Floats:
    """List one threshold for every set of predictions that a threshold can make.

    Returns:
        Rising, shape (candidates,): midway between neighbouring distinct values of the
        probabilities, 0 and 1; and 1 itself, as a probability of 1 is not above it.

    Example:
        >>> candidate_thresholds([0.5, 1.0]).tolist()
        [0.25, 0.75, 1.0]
    """
    values = np.unique(np.append(np.asarray(probabilities, dtype=np.float64), (0.0, 1.0)))
    lower, upper = values[:-1], values[1:]
    midway = (lower + upper) / 2
    # Between neighbouring floats the middle can round up to the upper one, which is not above it.
    return np.append(np.where(midway < upper, midway, lower), 1.0)


def compare_aggregations(val: pd.DataFrame, rule: Rule, min_sensitivity: float) -> pd.DataFrame:
    """Evaluate each way to aggregate the views of a study, to choose evaluate.aggregation.

    Kappa is of the rows that its threshold was chosen on, so it is optimistic for each of them
    alike; it does not estimate how good the network is.

    Returns:
        One row per aggregation, columns `AGGREGATION_COLUMNS`, each with its own threshold; n and
        abnormal count studies.

    Raises:
        InputError: See `choose_threshold`.
    """
    rows = []
    for aggregation in get_args(Aggregation):
        studies = by_study(val, aggregation)
        truth, probabilities = studies["label"], studies["probability"]
        threshold = choose_threshold(rule, truth, probabilities, min_sensitivity)
        rows.append(
            {"aggregation": aggregation}
            | compute_metrics(truth, probabilities, threshold)
            | {"threshold": threshold, "brier": brier(truth, probabilities)}
        )
    return pd.DataFrame(rows, columns=list(AGGREGATION_COLUMNS))
