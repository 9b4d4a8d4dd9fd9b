"""Intervals of a metric that no draw of patients changes, such as one without a wrong call.

A resample repeats what was seen. Where every call of a group is right, every draw says so again,
and its interval would have no width: certainty from ten patients. What such a group does leave open
is known exactly: a share of wrong calls that shows itself in none of n patients.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.judging.metrics import Counts, kappa

TAIL = 0.025  # what a two-sided 95% interval leaves out on each side


def unseen_share(patients: int) -> float:
    """How large the share of a kind of patient can be of which none was seen, 97.5% surely.

    Args:
        patients: How many were seen, 1 or more.

    Returns:
        The share of which as many patients show none with a chance of 2.5%; about 3.7 / patients.

    Reference:
        Clopper and Pearson 1934, Biometrika 26(4), 404-413, for none of n; Hanley and
        Lippman-Hand 1983, JAMA 249(13), 1743-1745, "If nothing goes wrong, is everything all
        right?"

    Example:
        >>> round(unseen_share(10), 3)
        0.308
    """
    return float(1 - TAIL ** (1 / patients))


def interval_without_width(table: pd.DataFrame, name: str, value: float) -> tuple[float, float]:
    """The 95% interval of a metric that is the same in every draw.

    Studies of one patient may be alike, so patients are counted. accuracy, precision, recall and
    specificity are shares: where all calls are right, or none, the interval is Clopper and
    Pearson's for as many patients as the share is taken of. So is that of auroc: k patients of each
    class, nobody twice, make k independent pairs, all in the right order. f1 is 2 J / (1 + J) of
    the share J = TP / (TP + FP + FN). For kappa and auprc the unseen share of the abnormal, of the
    normal or of both is called wrongly.

    Args:
        table: One row a study or an image, of both classes: patient, label, probability,
            threshold.
        name: Of the metric.
        value: Of the metric, here and in every draw.

    Returns:
        Lower and upper end. Both are the value where all probabilities and all thresholds are
        equal: such calls do not vary.
    """
    truth = table["label"].to_numpy() == 1
    called = table["probability"].to_numpy() > table["threshold"].to_numpy()
    if table["probability"].nunique() == table["threshold"].nunique() == 1:
        return value, value
    if name in ("auroc", "auprc"):
        classes = (table["patient"][truth].nunique(), table["patient"][~truth].nunique())
        patients = min(*classes, table["patient"].nunique() // 2)  # pairs, nobody twice
    else:
        rows = {"precision": called, "recall": truth, "specificity": ~truth, "f1": truth | called}
        patients = table["patient"][rows.get(name, truth | True)].nunique()
    unseen = unseen_share(patients)
    if name == "kappa":
        return _kappas(truth, called, unseen)
    share = value / (2 - value) if name == "f1" else value
    # All of the unseen are wrong, or all are right.
    low, high = share * (1 - unseen), share + (1 - share) * unseen
    if name == "f1":
        return 2 * low / (1 + low), 2 * high / (1 + high)
    if name == "auprc":
        # Two scores are left, with a share of each class on the wrong side.
        found, alarms = truth.mean() * (1 - unseen), (1 - truth.mean()) * unseen
        low = value * ((1 - unseen) * found / (found + alarms) + unseen * truth.mean())
    return float(low), high


def _kappas(
    truth: npt.NDArray[np.bool_], called: npt.NDArray[np.bool_], unseen: float
) -> tuple[float, float]:
    """The least and the largest kappa when an unseen share of a class or of both is turned."""
    abnormal, normal = unseen * np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    tp, fn = (truth & called).sum(), (truth & ~called).sum()
    fp, tn = (~truth & called).sum(), (~truth & ~called).sum()
    turned = Counts(
        tp=tp * (1 - abnormal) + fn * abnormal,
        fp=fp * (1 - normal) + tn * normal,
        fn=fn * (1 - abnormal) + tp * abnormal,
        tn=tn * (1 - normal) + fp * normal,
    )
    kappas = kappa(turned)
    return float(kappas.min()), float(kappas.max())
