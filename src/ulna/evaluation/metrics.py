"""Labels and probabilities in, numbers out: how well abnormal is told from normal.

Label 1 is abnormal, and what lies above a threshold (not on it) is called abnormal. What is
undefined, such as precision without a positive call, is NaN.

Areas and curves are scikit-learn's. Decisions are counted here: choosing a threshold looks at
thousands of them at once, and a resample at thousands of tables, where scikit-learn takes one set
of decisions a call.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

CLASSES = ("normal", "abnormal")
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Counts(NamedTuple):
    """The confusion table: int64 arrays of shape (thresholds,), or () for one threshold."""

    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers


def score(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: npt.ArrayLike
) -> dict[str, float]:
    """Judge probabilities against labels.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Of abnormal, 0 to 1, shape (n,).
        threshold: A number or shape (n,), one for each row: above it is abnormal; chosen on other
            data.

    Returns:
        n and abnormal (the rows with label 1), int; accuracy, precision, recall (the sensitivity),
        specificity, f1, kappa (-1 to 1), auroc and auprc, float, 0 to 1. The areas use the
        probabilities, not the decisions.

    Example:
        >>> score([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], threshold=0.55)["kappa"]
        0.0
    """
    truth = np.asarray(labels) == 1
    called = np.asarray(probabilities, dtype=np.float64) > np.asarray(threshold)
    cells = (truth & called, ~truth & called, truth & ~called, ~truth & ~called)
    counts = Counts(*(cell.sum() for cell in cells))
    decided = {name: float(value) for name, value in rates(counts).items()}
    return (
        {"n": len(truth), "abnormal": int(truth.sum())}
        | decided
        | {"auroc": auroc(labels, probabilities), "auprc": auprc(labels, probabilities)}
    )


def rates(counts: Counts) -> dict[str, Floats]:
    """What follows from counts of right and wrong decisions.

    Args:
        counts: Of any one shape.

    Returns:
        accuracy, precision, recall, specificity, f1 and kappa, each of that shape; NaN where
        undefined.
    """
    tp, fp, fn, tn = counts
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "kappa": kappa(counts),
    }


def count(labels: npt.ArrayLike, probabilities: npt.ArrayLike, thresholds: npt.ArrayLike) -> Counts:
    """Count right and wrong decisions at one threshold or at many.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        thresholds: A number or shape (thresholds,); above is abnormal.

    Returns:
        True and false positives, false and true negatives.

    Example:
        >>> [int(number) for number in count([0, 0, 1], [0.2, 0.7, 0.7], 0.5)]
        [1, 1, 0, 1]
    """
    truth, values = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    abnormal, normal = (np.sort(values[truth == label]) for label in (1, 0))
    fn = np.searchsorted(abnormal, thresholds, side="right")
    tn = np.searchsorted(normal, thresholds, side="right")
    return Counts(tp=abnormal.size - fn, fp=normal.size - tn, fn=fn, tn=tn)


def kappa(counts: Counts) -> Floats:
    """Cohen's kappa: agreement beyond chance.

    A quotient of integers: equal tables give equal bits.

    Args:
        counts: Arrays of any one shape.

    Returns:
        -1 to 1, of that shape; NaN where label and decision are one and the same class throughout.

    Reference:
        Cohen 1960, Educational and Psychological Measurement 20(1): (p_o - p_e) / (1 - p_e).
    """
    tp, fp, fn, tn = counts
    return _ratio(2 * (tp * tn - fn * fp), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))


def youden(counts: Counts) -> Floats:
    """Youden's J: sensitivity + specificity - 1, as a quotient of integers.

    Args:
        counts: Arrays of any one shape.

    Returns:
        -1 to 1, of that shape; NaN without both classes.

    Reference:
        Youden 1950, Cancer 3(1), "Index for rating diagnostic tests".
    """
    tp, fp, fn, tn = counts
    return _ratio(tp * tn - fn * fp, (tp + fn) * (fp + tn))


def auroc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes."""
    # As arrays: what scikit-learn checks takes 2 ms more of a column of a table.
    if np.unique(labels).size < 2:
        return np.nan
    return float(roc_auc_score(np.asarray(labels), np.asarray(probabilities)))


def auprc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Average precision: the stepwise area under precision over recall; NaN without label 1."""
    if not np.any(labels):
        return np.nan
    return float(average_precision_score(np.asarray(labels), np.asarray(probabilities)))


def roc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pd.DataFrame:
    """List the points of the ROC curve, without those amid a straight line.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Returns:
        Columns false_positive_rate and true_positive_rate, both rising from 0 to 1, and threshold,
        the lowest probability that is called abnormal there (NaN where none is). No rows without
        both classes.
    """
    columns = ["false_positive_rate", "true_positive_rate", "threshold"]
    if np.unique(labels).size < 2:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    points = pd.DataFrame(dict(zip(columns, roc_curve(labels, probabilities), strict=True)))
    return points.assign(threshold=points["threshold"].where(np.isfinite))


def precision_recall(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pd.DataFrame:
    """List the points of the precision-recall curve.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Returns:
        Columns recall (rising), precision and threshold, the lowest probability that is called
        abnormal there: one row each value of the probabilities. There is no row without a positive
        call, where precision is undefined. No rows without label 1.
    """
    columns = ["recall", "precision", "threshold"]
    if not np.any(labels):
        return pd.DataFrame(columns=columns, dtype=np.float64)
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    points = zip(columns, (recall[:-1], precision[:-1], thresholds), strict=True)
    return pd.DataFrame({name: values[::-1] for name, values in points})


def confusion(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: npt.ArrayLike
) -> pd.DataFrame:
    """Name label and decision of each row, as DVC's confusion template wants them.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        threshold: A number or shape (n,): above it is abnormal.

    Returns:
        Columns actual and predicted, each normal or abnormal, one row a label.
    """
    names = np.array(CLASSES)
    decisions = (np.asarray(probabilities) > np.asarray(threshold)).astype(np.int64)
    return pd.DataFrame({"actual": names[np.asarray(labels)], "predicted": names[decisions]})


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    undefined = np.full(np.shape(denominator), np.nan)
    ratio: Floats = np.divide(numerator, denominator, out=undefined, where=denominator != 0)
    return ratio
