"""Paired comparison of networks: bootstrap differences, DeLong's and McNemar's tests by patient."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from ulna.evaluation import AT_CHANCE, LEVELS
from ulna.evaluation.bootstrap import (
    METRICS,
    SIZES,
    Replicates,
    differences,
    metrics_with_ci,
    too_few_studies,
    too_small,
)
from ulna.evaluation.evaluate import conclude_performance

OVERALL = "overall"
SIDES = ("first", "second")

ComparisonCode = Literal[
    "first_better", "second_better", "not_significant", "at_chance", "no_ci", "one_class", "too_few"
]
COLUMNS = ("first", "second", "level", "metric", "difference", "low", "high", *SIZES)


def read_reference() -> pd.DataFrame:
    """Read the kappas of Stanford's model and of the best radiologist on MURA's hidden test set.

    It has 207 studies; the majority of three other radiologists is the ground truth.

    Returns:
        Columns reader (model, or best radiologist, overall alone), body_part
        (upper case, or `OVERALL`), kappa (float64, -1 to 1).

    Reference:
        Rajpurkar et al., "MURA: Large Dataset for Abnormality Detection in Musculoskeletal
        Radiographs", arXiv 1712.06957, the table of kappas.
    """
    return pd.read_csv(Path(__file__).with_name("reference.csv"))


def delong(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, patients: npt.ArrayLike
) -> dict[str, float]:
    """DeLong's test of two correlated AUROCs, clustered by patient.

    A patient's studies may be correlated, so their contributions are summed before they are
    squared (Obuchowski's extension). With one study per patient it is DeLong's own test. Neither
    scipy nor scikit-learn has them. first and second are probabilities, or any scores that rise
    with them; shape (n,) each.

    Returns:
        difference (first minus second), standard_error, z and the two-sided p. All NaN without two
        patients of each class. A difference of 0 has z 0 and p 1, even with a standard error of 0;
        another difference with a standard error of 0 has neither.

    Reference:
        DeLong et al. 1988, Biometrics 44(3), 837-845; Obuchowski 1997, Biometrics 53(2), 567-578,
        "Nonparametric analysis of clustered ROC curve data".
    """
    abnormal = np.asarray(labels) == 1
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    classes = (abnormal, ~abnormal)
    rows = [np.bincount(patient[chosen], minlength=len(names)) for chosen in classes]
    clusters = [int((each > 0).sum()) for each in rows]
    if min(clusters) < 2:
        return dict.fromkeys(("difference", "standard_error", "z", "p"), np.nan)
    # Twice the concordant pairs of each row, ties half, by the first network less those by the
    # second: integers, so that equal sums are equal to the bit.
    one, two = (_twice_concordant(np.asarray(scores), abnormal) for scores in (first, second))
    more = one - two
    sizes, total = [int(each.sum()) for each in rows], int(more[abnormal].sum())
    # Of each class and patient: the contribution of its rows less that of as many mean rows.
    centred = [
        np.bincount(patient[chosen], more[chosen], len(names)) - each * total / size
        for chosen, each, size in zip(classes, rows, sizes, strict=True)
    ]
    corrections = [count / (count - 1) for count in (*clusters, len(names))]
    squares = (
        corrections[0] * float(centred[0] @ centred[0])
        + corrections[1] * float(centred[1] @ centred[1])
        + 2 * corrections[2] * float(centred[0] @ centred[1])
    )
    pairs = 2 * sizes[0] * sizes[1]
    difference, error = total / pairs, math.sqrt(max(0.0, squares)) / pairs
    z = 0.0 if difference == 0 else difference / error if error > 0 else np.nan
    p = float(2 * norm.sf(abs(z)))
    return {"difference": difference, "standard_error": error, "z": z, "p": p}


def _twice_concordant(
    scores: npt.NDArray[Any], abnormal: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Of each row, twice its concordant pairs, ties half."""
    concordant = np.empty(scores.size, dtype=np.int64)
    for rows, side in ((abnormal, 1), (~abnormal, -1)):
        # Its rank among all less its rank in its class: the rows of the other class below it.
        ranks, own = rankdata(side * scores)[rows], rankdata(side * scores[rows])
        concordant[rows] = 2 * (ranks - own)
    return concordant


def mcnemar(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, patients: npt.ArrayLike
) -> dict[str, float]:
    """McNemar's exact test of the accuracy of two networks, clustered by patient.

    If both are equally accurate, the networks can be swapped within each patient. p is the share of
    all swaps with a difference at least as large as the observed one. With one study per patient it
    is McNemar's own test, where b of b + c is binomial with 1/2. The predictions, first and second,
    are 0 or 1; shape (n,) each.

    Returns:
        b, the rows that only the first predicts correctly, c, those that only the second does
        (int), and the two-sided p; 1 if there are none.

    Reference:
        McNemar 1947, Psychometrika 12(2), 153-157; swapping within pairs: Fisher 1935, The Design
        of Experiments, section 21.

    Example:
        >>> mcnemar([1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0], patients=["p1", "p2", "p3", "p4"])
        {'b': 3, 'c': 0, 'p': 0.25}
    """
    truth = np.asarray(labels) == 1
    correct, other_correct = (np.asarray(predicted) == truth for predicted in (first, second))
    ahead = correct.astype(np.int64) - other_correct
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    lead = np.bincount(patient, ahead, len(names)).astype(np.int64)
    # The probability of each sum of +lead or -lead over the patients; its middle is a sum of 0.
    probabilities = np.ones(1)
    for steps in np.abs(lead[lead != 0]):
        probabilities = np.convolve(probabilities, [0.5, *[0.0] * (2 * steps - 1), 0.5])
    sums = np.abs(np.arange(probabilities.size) - probabilities.size // 2)
    p = float(min(1.0, probabilities[sums >= abs(lead.sum())].sum()))
    return {"b": int((ahead > 0).sum()), "c": int((ahead < 0).sum()), "p": p}


def all_pairs(networks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs to compare: the networks among themselves, then their ensemble with each.

    Example:
        >>> all_pairs(["cnn", "densenet169"])
        [('cnn', 'densenet169'), ('ensemble', 'cnn'), ('ensemble', 'densenet169')]
    """
    return [*combinations(networks, 2), *(("ensemble", network) for network in networks)]


def compare_networks(
    levels: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    val: pd.DataFrame,
    replicates: Replicates,
    min_patients: int,
) -> dict[str, Any]:
    """Compare two networks on the same test set, by a table of each at level study and image.

    val has the studies on which the thresholds were chosen.

    Returns:
        conclusion, see `conclude_comparison`; at_chance, those of `SIDES` whose AUROC of studies is
        no better than chance; then `differences` of each level; level study also has the results of
        `delong` and `mcnemar`.
    """
    results = {
        level: differences(*tables, replicates, min_patients) for level, tables in levels.items()
    }
    first, second = levels["study"]
    labels, patients = first["label"].to_numpy(), first["patient"]
    positive, other = (table["probability"] > table["threshold"] for table in (first, second))
    tests = {
        "delong": delong(labels, first["probability"], second["probability"], patients),
        "mcnemar": mcnemar(labels, positive, other, patients),
    }
    if too_small(results["study"], min_patients):
        tests = {name: dict.fromkeys(test, np.nan) for name, test in tests.items()}
    results["study"] |= tests
    at_chance = [
        side
        for side, table in zip(SIDES, levels["study"], strict=True)
        if conclude_performance(metrics_with_ci(table, replicates, min_patients)) in AT_CHANCE
    ]
    few = results["study"]["patients"] < min_patients or too_few_studies(val, first)
    conclusion = conclude_comparison(results["study"], few, at_chance)
    return {"conclusion": conclusion, "at_chance": at_chance} | results


def conclude_comparison(
    study: Mapping[str, Any], few: bool, at_chance: Sequence[str]
) -> ComparisonCode:
    """Conclude which network is better: whether the CI of the AUROC of studies excludes 0.

    Returns:
        too_few if the data are few; at_chance if one of the two is no better than chance: what does
        not rank at all is not ranked, and that the other does is the conclusion of its own AUROC.
        no_ci where there are patients and classes enough and yet no CI, as without any error.
    """
    if study["abnormal"] in (0, study["n"]):
        return "one_class"
    if few:
        return "too_few"
    if at_chance:
        return "at_chance"
    low, high = study["auroc"]["low"], study["auroc"]["high"]
    if np.isnan(low):
        return "no_ci"
    if low <= 0 <= high:
        return "not_significant"
    return "first_better" if low > 0 else "second_better"


def tabulate(comparisons: Mapping[tuple[str, str], Mapping[str, Any]]) -> pd.DataFrame:
    """List the differences of all pairs of networks, one row per pair, level and metric."""
    rows = [
        {"first": first, "second": second, "level": level, "metric": metric}
        | results[level][metric]
        | {size: results[level][size] for size in SIZES}
        for (first, second), results in comparisons.items()
        for level in LEVELS
        for metric in METRICS
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
