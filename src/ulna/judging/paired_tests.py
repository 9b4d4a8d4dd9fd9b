"""Two tests of paired networks by patient: DeLong's of AUROCs, McNemar's of decisions."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata


def delong(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, patients: npt.ArrayLike
) -> dict[str, float]:
    """DeLong's test of two correlated AUROCs, clustered by patient.

    A patient's studies may hang together, so what they contribute is summed before it is squared
    (Obuchowski's extension). With one study a patient it is DeLong's own test. No library here
    ships either.

    Args:
        labels: 0 or 1, shape (n,).
        first: Probabilities of the first network, or any scores that rise with them, shape (n,).
        second: Those of the second network.
        patients: Of each row, shape (n,).

    Returns:
        difference (first minus second), standard_error, z and the two-sided p. All NaN without two
        patients of each class. A difference of 0 has z 0 and p 1, even without any spread; another
        difference without spread has neither.

    Reference:
        DeLong et al. 1988, Biometrics 44(3), 837-845; Obuchowski 1997, Biometrics 53(2), 567-578,
        "Nonparametric analysis of clustered ROC curve data".

    Example:
        >>> scores = [0.1, 0.3, 0.2, 0.4], [0.2, 0.1, 0.3, 0.4]
        >>> delong([0, 0, 1, 1], *scores, patients=["p1", "p2", "p3", "p4"])["difference"]
        -0.25
    """
    abnormal = np.asarray(labels) == 1
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    classes = (abnormal, ~abnormal)
    rows = [np.bincount(patient[chosen], minlength=len(names)) for chosen in classes]
    clusters = [int((each > 0).sum()) for each in rows]
    if min(clusters) < 2:
        return dict.fromkeys(("difference", "standard_error", "z", "p"), np.nan)
    # Twice the pairs that a row is part of and that are in the right order, ties half, by the first
    # network less those by the second: whole numbers, so that equal sums are equal to the bit.
    more = _twice_right(np.asarray(first), abnormal) - _twice_right(np.asarray(second), abnormal)
    sizes, total = [int(each.sum()) for each in rows], int(more[abnormal].sum())
    # Of each class and patient: what its rows add to the difference, beyond as many mean rows.
    beyond = [
        np.bincount(patient[chosen], more[chosen], len(names)) - each * total / size
        for chosen, each, size in zip(classes, rows, sizes, strict=True)
    ]
    small = [count / (count - 1) for count in (*clusters, len(names))]
    squares = (
        small[0] * float(beyond[0] @ beyond[0])
        + small[1] * float(beyond[1] @ beyond[1])
        + 2 * small[2] * float(beyond[0] @ beyond[1])
    )
    pairs = 2 * sizes[0] * sizes[1]
    difference, error = total / pairs, math.sqrt(max(0.0, squares)) / pairs
    if error > 0:
        z = difference / error
    else:
        z = 0.0 if difference == 0 else np.nan
    return {
        "difference": difference,
        "standard_error": error,
        "z": z,
        "p": float(2 * norm.sf(abs(z))),
    }


def _twice_right(
    scores: npt.NDArray[Any], abnormal: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Of each row, twice the rows of the other class on the right side of it, ties half."""
    found = np.empty(scores.size, dtype=np.int64)
    for rows, side in ((abnormal, 1), (~abnormal, -1)):
        # Its rank among all less its rank among its own class: the others below it.
        ranks, own = rankdata(side * scores)[rows], rankdata(side * scores[rows])
        found[rows] = 2 * (ranks - own)
    return found


def mcnemar(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, patients: npt.ArrayLike
) -> dict[str, float]:
    """McNemar's exact test: does one network decide rightly more often than the other?

    By patient: were both networks as good, then of each patient's studies that only one decides
    rightly, the other might as well have been the one. Over all ways to swap them, p is the share
    of those that leave the two as far apart as they are. With one study a patient it is McNemar's
    own test, where b of b + c is binomial with 1/2.

    Args:
        labels: 0 or 1, shape (n,).
        first: Decisions of the first network, 0 or 1, shape (n,).
        second: Those of the second network.
        patients: Of each row, shape (n,).

    Returns:
        b, the rows that only the first decides rightly, c, those that only the second does (int),
        and the two-sided p; 1 if there are none.

    Reference:
        McNemar 1947, Psychometrika 12(2), 153-157; swapping within pairs: Fisher 1935, The Design
        of Experiments, section 21.

    Example:
        >>> mcnemar([1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0], patients=["p1", "p2", "p3", "p4"])
        {'b': 3, 'c': 0, 'p': 0.25}
    """
    truth = np.asarray(labels) == 1
    right, other_right = (np.asarray(decided) == truth for decided in (first, second))
    ahead = right.astype(np.int64) - other_right
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    lead = np.bincount(patient, ahead, len(names)).astype(np.int64)
    # The chance of each sum of +lead or -lead over the patients: its middle is a sum of 0.
    chances = np.ones(1)
    for steps in np.abs(lead[lead != 0]):
        chances = np.convolve(chances, [0.5, *[0.0] * (2 * steps - 1), 0.5])
    sums = np.abs(np.arange(chances.size) - chances.size // 2)
    p = float(min(1.0, chances[sums >= abs(lead.sum())].sum()))
    return {"b": int((ahead > 0).sum()), "c": int((ahead < 0).sum()), "p": p}
