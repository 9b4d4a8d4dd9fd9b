"""Is one network better than another? Paired differences, their intervals and two tests.

Both networks judge the same patients, so what makes a patient hard is hard for both and cancels
out of a difference. The intervals are over patients; what another seed of training would change is
not in them. Each holds for itself: of twenty such intervals of equally good networks one misses
zero.

scipy.stats is imported where it is used: the import takes 1 s, and a fault in params.yaml or in a
prediction table should show before.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.judging.bootstrap import METRICS, Resamples, interval, redraw
from ulna.judging.evaluation import LEVELS
from ulna.judging.metrics import score

PAIRS = (("cnn", "densenet169"), ("ensemble", "cnn"), ("ensemble", "densenet169"))
COLUMNS = (
    "first",
    "second",
    "level",
    "metric",
    "difference",
    "low",
    "high",
    "n",
    "abnormal",
    "patients",
)


def compare_networks(
    pair: tuple[str, str],
    levels: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    resamples: Resamples,
    min_patients: int,
) -> dict[str, Any]:
    """Compare two networks on the same test set.

    Args:
        pair: Names of the first and the second network; differences are first minus second.
        levels: study and image -> a table of each network, row for row of the same study or image:
            patient, label, probability, threshold.
        resamples: Draws of patients, the same for both networks.
        min_patients: With fewer patients, or one class only, every number but the sizes is NaN.

    Returns:
        verdict (a sentence), then for each level what `differences` returns; level study also has
        delong and mcnemar, as these functions return them.
    """
    found = {
        level: differences(*tables, resamples, min_patients) for level, tables in levels.items()
    }
    first, second = levels["study"]
    labels = first["label"].to_numpy()
    tests = {
        "delong": delong(labels, first["probability"], second["probability"]),
        "mcnemar": mcnemar(
            labels,
            first["probability"] > first["threshold"],
            second["probability"] > second["threshold"],
        ),
    }
    if _too_few(found["study"], min_patients):
        tests = {name: dict.fromkeys(test, np.nan) for name, test in tests.items()}
    found["study"] |= tests
    return {"verdict": verdict(pair, found["study"], min_patients)} | found


def differences(
    first: pd.DataFrame, second: pd.DataFrame, resamples: Resamples, min_patients: int
) -> dict[str, Any]:
    """How far the first network is above the second in each metric, with 95% intervals.

    Args:
        first: One row a study or an image: patient, label, probability, threshold.
        second: The same rows, judged by the other network.
        resamples: Draws of patients.
        min_patients: With fewer patients, or one class only, every difference is NaN.

    Returns:
        n (rows), abnormal, patients; then for each name in `bootstrap.METRICS` difference, low and
        high, -1 to 1 (kappa -2 to 2), NaN where undefined.
    """
    sizes = {
        "n": len(first),
        "abnormal": int(first["label"].sum()),
        "patients": int(first["patient"].nunique()),
    }
    if _too_few(sizes, min_patients):
        undefined = dict.fromkeys(("difference", "low", "high"), np.nan)
        return sizes | {name: dict(undefined) for name in METRICS}
    one, two = (
        score(table["label"], table["probability"], table["threshold"]) for table in (first, second)
    )
    found: dict[str, Any] = {}
    for name, drawn in redraw_differences(first, second, resamples).items():
        low, high = interval(drawn)
        found[name] = {"difference": one[name] - two[name], "low": low, "high": high}
    return sizes | found


def redraw_differences(
    first: pd.DataFrame, second: pd.DataFrame, resamples: Resamples
) -> dict[str, npt.NDArray[np.float64]]:
    """Score both networks in each draw of patients, and take the difference within the draw.

    Args:
        first: One row a study or an image: patient, label, probability, threshold.
        second: The same rows, judged by the other network.
        resamples: Draws of patients.

    Returns:
        For each name in `bootstrap.METRICS` (draws,) float64, NaN where one of the two is
        undefined.
    """
    one, two = redraw(first, resamples), redraw(second, resamples)
    return {name: one[name] - two[name] for name in METRICS}


def _too_few(sizes: Mapping[str, Any], min_patients: int) -> bool:
    return sizes["patients"] < min_patients or sizes["abnormal"] in (0, sizes["n"])


def delong(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> dict[str, float]:
    """DeLong's test of two correlated AUROCs.

    It takes studies as independent, though a patient can have several: the interval of
    `differences`, clustered by patient, has the last word. No library here ships the test.

    Args:
        labels: 0 or 1, shape (n,).
        first: Probabilities of the first network, or any scores that rise with them, shape (n,).
        second: Those of the second network.

    Returns:
        difference (first minus second), standard_error, z and the two-sided p. All NaN without two
        rows of each class. A difference of 0 has z 0 and p 1, even without any spread; another
        difference without spread has neither.

    Reference:
        DeLong et al. 1988, Biometrics 44(3), 837-845, by midranks as in Sun and Xu 2014, IEEE
        Signal Processing Letters 21(11), 1389-1393.

    Example:
        >>> delong([0, 0, 1, 1], [0.1, 0.3, 0.2, 0.4], [0.2, 0.1, 0.3, 0.4])["difference"]
        -0.25
    """
    from scipy.stats import norm, rankdata

    abnormal = np.asarray(labels) == 1
    positives, negatives = int(abnormal.sum()), int((~abnormal).sum())
    if min(positives, negatives) < 2:
        return dict.fromkeys(("difference", "standard_error", "z", "p"), np.nan)
    # Twice the rows of the other class that each row wins against, ties half: twice a midrank is
    # a whole number, so equal sums are equal to the bit.
    wins = []
    for scores in (np.asarray(first), np.asarray(second)):
        over_all = 2 * rankdata(scores)
        of_abnormal = over_all[abnormal] - 2 * rankdata(scores[abnormal])
        of_normal = over_all[~abnormal] - 2 * rankdata(scores[~abnormal])
        wins.append((of_abnormal, 2 * positives - of_normal))
    by_abnormal, by_normal = wins[0][0] - wins[1][0], wins[0][1] - wins[1][1]
    difference = float(by_abnormal.sum() / (2 * positives * negatives))
    variance = (
        by_abnormal.var(ddof=1) / (2 * negatives) ** 2 / positives
        + by_normal.var(ddof=1) / (2 * positives) ** 2 / negatives
    )
    error = float(np.sqrt(variance))
    if error > 0:
        z = difference / error
    else:
        z = 0.0 if difference == 0 else np.nan
    p = float(2 * norm.sf(abs(z)))
    return {"difference": difference, "standard_error": error, "z": z, "p": p}


def mcnemar(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> dict[str, float]:
    """McNemar's exact test: does one network decide rightly more often than the other?

    Like DeLong's test it takes rows as independent.

    Args:
        labels: 0 or 1, shape (n,).
        first: Decisions of the first network, 0 or 1, shape (n,).
        second: Those of the second network.

    Returns:
        b, the rows that only the first decides rightly, c, those that only the second does (int),
        and the two-sided p; 1 if there are none.

    Reference:
        McNemar 1947, Psychometrika 12(2), 153-157; exact: b of b + c is binomial with 1/2.

    Example:
        >>> mcnemar([1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0])
        {'b': 3, 'c': 0, 'p': 0.25}
    """
    from scipy.stats import binomtest

    truth = np.asarray(labels) == 1
    right, other_right = (np.asarray(decided) == truth for decided in (first, second))
    b, c = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    p = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    return {"b": b, "c": c, "p": p}


def verdict(pair: tuple[str, str], study: Mapping[str, Any], min_patients: int) -> str:
    """Say in a sentence which network is better, by the AUROC of studies, or that none is.

    Args:
        pair: Names of the first and the second network.
        study: See `differences`.
        min_patients: What `differences` was given.

    Returns:
        The sentence, without a full stop.
    """
    sizes = f"{study['n']} studies of {study['patients']} patients"
    if study["patients"] < min_patients:
        return f"too few patients to compare: {sizes}, evaluate.min_patients is {min_patients}"
    if study["abnormal"] in (0, study["n"]):
        return f"cannot be compared: {sizes} are all {'ab' if study['abnormal'] else ''}normal"
    value, low, high = (study["auroc"][key] for key in ("difference", "low", "high"))
    if np.isnan(low):
        return (
            "cannot be compared: too many draws of patients hold one class only, "
            f"AUROC difference {value:z.3f} without an interval, {sizes}"
        )
    if low <= 0 <= high:
        return (
            "no difference can be told apart from chance: "
            f"AUROC difference {value:z.3f} ({low:z.3f} to {high:z.3f}), {sizes}"
        )
    better, worse = pair if low > 0 else pair[::-1]
    value, low, high = (value, low, high) if low > 0 else (-value, -high, -low)
    return (
        f"{better} is better than {worse}: "
        f"AUROC higher by {value:.3f} ({low:.3f} to {high:.3f}), {sizes}"
    )


def tabulate(comparisons: Mapping[tuple[str, str], Mapping[str, Any]]) -> pd.DataFrame:
    """List the differences of all comparisons, as the forest plot wants them.

    Args:
        comparisons: Names of the first and the second network -> see `compare_networks`.

    Returns:
        One row a pair, level and metric, columns `COLUMNS`.
    """
    rows = [
        {"first": first, "second": second, "level": level, "metric": metric}
        | found[level][metric]
        | {size: found[level][size] for size in ("n", "abnormal", "patients")}
        for (first, second), found in comparisons.items()
        for level in LEVELS
        for metric in METRICS
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
