"""Labels and probabilities in, numbers out: how well abnormal is told from normal.

Label 1 is abnormal, and what lies above a threshold (not on it) is called abnormal. What is
undefined, such as precision without a positive call, is NaN.

scikit-learn has nearly all of it, and the tests hold each number against it; but importing it takes
1.3 s, more than all that `evaluate` computes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

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

    scikit-learn's confusion_matrix serves one threshold a call; choosing one needs all of them.

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
    abnormal, normal = _by_class(labels, probabilities)
    fn = np.searchsorted(abnormal, thresholds, side="right")
    tn = np.searchsorted(normal, thresholds, side="right")
    return Counts(tp=abnormal.size - fn, fp=normal.size - tn, fn=fn, tn=tn)


def kappa(counts: Counts) -> Floats:
    """Cohen's kappa: agreement beyond chance.

    From counts, for all thresholds at once; scikit-learn's cohen_kappa_score serves one set of
    decisions a call. A quotient of integers: equal tables give equal bits.

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
    """Area under the ROC curve, ties counted half; NaN without both classes.

    A quotient of whole numbers: the share of pairs of an abnormal and a normal row in the right
    order.
    """
    abnormal, normal = _by_class(labels, probabilities)
    if not abnormal.size or not normal.size:
        return np.nan
    twice = sum(int(np.searchsorted(normal, abnormal, side).sum()) for side in ("left", "right"))
    return twice / (2 * abnormal.size * normal.size)


def auprc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Average precision: the stepwise area under precision over recall; NaN without label 1."""
    abnormal, normal = _by_class(labels, probabilities)
    if not abnormal.size:
        return np.nan
    # Of each abnormal row, the precision when it is just called abnormal.
    true = abnormal.size - np.searchsorted(abnormal, abnormal)
    false = normal.size - np.searchsorted(normal, abnormal)
    return float(np.mean(true / (true + false)))


def roc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> pd.DataFrame:
    """List the corners of the ROC curve.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Returns:
        Columns false_positive_rate and true_positive_rate, both rising from 0 to 1, and threshold,
        the lowest probability that is called abnormal there (NaN where none is). No rows without
        both classes.
    """
    columns = ["false_positive_rate", "true_positive_rate", "threshold"]
    values, true, false = _called_from(labels, probabilities)
    if not true[-1] or not false[-1]:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    # Three points on a line need not the middle one; the first and the last are always corners.
    bent = (np.diff(true, 2) != 0) | (np.diff(false, 2) != 0)
    corners = np.concatenate([[True], bent, [True]])
    points = (false / false[-1], true / true[-1], values)
    return pd.DataFrame({n: p[corners] for n, p in zip(columns, points, strict=True)})


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
    values, true, false = (points[1:] for points in _called_from(labels, probabilities))
    if not true.any():
        return pd.DataFrame(columns=columns, dtype=np.float64)
    points = (true / true[-1], true / (true + false), values)
    return pd.DataFrame(dict(zip(columns, points, strict=True)))


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


def _by_class(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Probabilities of the abnormal and of the normal rows, rising."""
    truth, values = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    return np.sort(values[truth == 1]), np.sort(values[truth == 0])


def _called_from(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[Floats, Integers, Integers]:
    """NaN and the falling values of the probabilities; true and false positives from there on."""
    abnormal, normal = _by_class(labels, probabilities)
    falling = np.unique(np.concatenate([abnormal, normal]))[::-1]
    true, false = (rows.size - np.searchsorted(rows, falling) for rows in (abnormal, normal))
    return np.append(np.nan, falling), np.append(0, true), np.append(0, false)


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    undefined = np.full(np.shape(denominator), np.nan)
    ratio: Floats = np.divide(numerator, denominator, out=undefined, where=denominator != 0)
    return ratio
