"""Metrics of labels and probabilities, their curves, and the counts behind them.

Everywhere labels are 0 or 1 (abnormal), shape (n,); probabilities are of abnormal, 0 to 1, shape
(n,); a row is predicted positive if its probability is above the threshold, not on it; what is
undefined, such as precision without a predicted positive, is NaN.

Areas and curves are scikit-learn's. Confusion counts are our own: choosing a threshold needs those
of thousands of thresholds, and a bootstrap those of thousands of tables, where scikit-learn takes
one set of predictions per call.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special
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


def compute_metrics(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: npt.ArrayLike
) -> dict[str, float]:
    """Compute all metrics at a threshold, a number or shape (n,), chosen on other data.

    Returns:
        n and abnormal (rows with label 1), int; accuracy, precision, recall (the sensitivity),
        specificity, f1, kappa (-1 to 1), auroc and auprc, float, 0 to 1. The areas use the
        probabilities, not the predictions.

    Example:
        >>> compute_metrics([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], threshold=0.55)["kappa"]
        0.0
    """
    truth = np.asarray(labels) == 1
    positive = np.asarray(probabilities, dtype=np.float64) > np.asarray(threshold)
    cells = (truth & positive, ~truth & positive, truth & ~positive, ~truth & ~positive)
    at_threshold = rates(Counts(*(cell.sum() for cell in cells)))
    return (
        {"n": len(truth), "abnormal": int(truth.sum())}
        | {name: float(value) for name, value in at_threshold.items()}
        | {"auroc": auroc(labels, probabilities), "auprc": auprc(labels, probabilities)}
    )


def rates(counts: Counts) -> dict[str, Floats]:
    """Compute accuracy, precision, recall, specificity, f1 and kappa of counts of any one shape."""
    tp, fp, fn, tn = counts
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "kappa": kappa(counts),
    }


def confusion_counts(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, thresholds: npt.ArrayLike
) -> Counts:
    """Count true and false positives and negatives at one threshold or at many.

    Example:
        >>> [int(number) for number in confusion_counts([0, 0, 1], [0.2, 0.7, 0.7], 0.5)]
        [1, 1, 0, 1]
    """
    truth, values = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    abnormal, normal = (np.sort(values[truth == label]) for label in (1, 0))
    fn = np.searchsorted(abnormal, thresholds, side="right")
    tn = np.searchsorted(normal, thresholds, side="right")
    return Counts(tp=abnormal.size - fn, fp=normal.size - tn, fn=fn, tn=tn)


def kappa(counts: Counts) -> Floats:
    """Cohen's kappa, as a quotient of integers: equal tables give equal bits.

    Returns:
        -1 to 1, in the shape of the counts; NaN where labels and predictions are all of one class.

    Reference:
        Cohen 1960, Educational and Psychological Measurement 20(1): (p_o - p_e) / (1 - p_e).
    """
    tp, fp, fn, tn = counts
    return _ratio(2 * (tp * tn - fn * fp), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))


def youden(counts: Counts) -> Floats:
    """Youden's J, sensitivity + specificity - 1, as a quotient of integers; -1 to 1.

    Reference:
        Youden 1950, Cancer 3(1), "Index for rating diagnostic tests".
    """
    tp, fp, fn, tn = counts
    return _ratio(tp * tn - fn * fp, (tp + fn) * (fp + tn))


def auroc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes."""
    # As arrays: scikit-learn's checks take 2 ms more of a column of a table.
    if np.unique(labels).size < 2:
        return np.nan
    return float(roc_auc_score(np.asarray(labels), np.asarray(probabilities)))


def auprc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Average precision: the stepwise area under precision over recall; NaN without label 1."""
    if not np.any(labels):
        return np.nan
    return float(average_precision_score(np.asarray(labels), np.asarray(probabilities)))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared difference of probability and label, 0 to 1; NaN without rows.

    scikit-learn's brier_score_loss raises an error without rows.

    Reference:
        Brier 1950, Monthly Weather Review 78(1), for two classes and one of them counted.
    """
    differences = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels)
    return float(np.mean(differences**2)) if differences.size else np.nan


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of `row_losses`; NaN without rows."""
    losses = row_losses(labels, probabilities)
    return float(np.mean(losses)) if losses.size else np.nan


def row_losses(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """The log loss of each row, 0 to 36.04, shape (n,).

    Example:
        >>> row_losses([1, 0], [0.5, 0.75]).round(3).tolist()
        [0.693, 1.386]
    """
    logits = logit(probabilities)
    # log(1 + exp(z)) - y z: no difference of large numbers, no log of 0.
    losses: Floats = np.logaddexp(0.0, logits) - np.asarray(labels) * logits
    return losses


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Logits of probabilities of any shape, clipped by 2.2e-16 as in scikit-learn's log loss.

    Example:
        >>> logit([0.0, 0.5, 1.0]).round(2).tolist()
        [-36.04, 0.0, 36.04]
    """
    epsilon = np.finfo(np.float64).eps
    inside = np.clip(np.asarray(probabilities, dtype=np.float64), epsilon, 1 - epsilon)
    logits: Floats = special.logit(inside)
    return logits


def roc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pd.DataFrame:
    """List the points of the ROC curve, without those inside a straight line.

    Returns:
        Columns false_positive_rate and true_positive_rate, both rising from 0 to 1, and threshold,
        the lowest probability that is predicted positive there (NaN where none is). No rows without
        both classes.
    """
    columns = ["false_positive_rate", "true_positive_rate", "threshold"]
    if np.unique(labels).size < 2:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    points = pd.DataFrame(dict(zip(columns, roc_curve(labels, probabilities), strict=True)))
    return points.assign(threshold=points["threshold"].where(np.isfinite))


def precision_recall(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pd.DataFrame:
    """List the points of the precision-recall curve.

    Returns:
        One row per distinct probability: recall (rising), precision and threshold, the lowest
        probability that is predicted positive there. No rows without label 1.
    """
    columns = ["recall", "precision", "threshold"]
    if not np.any(labels):
        return pd.DataFrame(columns=columns, dtype=np.float64)
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    # scikit-learn's last point has no predicted positive: its precision is undefined.
    points = zip(columns, (recall[:-1], precision[:-1], thresholds), strict=True)
    return pd.DataFrame({name: values[::-1] for name, values in points})


def confusion(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: npt.ArrayLike
) -> pd.DataFrame:
    """Name the actual and the predicted class of each row, as DVC's confusion template wants."""
    names = np.array(CLASSES)
    positive = (np.asarray(probabilities) > np.asarray(threshold)).astype(np.int64)
    return pd.DataFrame({"actual": names[np.asarray(labels)], "predicted": names[positive]})


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    undefined = np.full(np.shape(denominator), np.nan)
    ratio: Floats = np.divide(numerator, denominator, out=undefined, where=denominator != 0)
    return ratio
