"""Is one network better than another? Paired differences, their intervals and two tests.

Both networks judge the same patients, so what makes a patient hard is hard for both and cancels
out of a difference. The intervals are over patients; what another seed of training would change is
not in them. Each holds for itself: of twenty such intervals of equally good networks one misses
zero.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.judging.bootstrap import METRICS, Resamples, interval, redraw
from ulna.judging.evaluation import LEVELS
from ulna.judging.metrics import score
from ulna.judging.paired_tests import delong, mcnemar

ComparisonCode = Literal[
    "first_better", "second_better", "not_significant", "no_ci", "one_class", "too_few"
]
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


def all_pairs(networks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs to compare: the networks among themselves, then their ensemble with each.

    Example:
        >>> all_pairs(["cnn", "densenet169"])
        [('cnn', 'densenet169'), ('ensemble', 'cnn'), ('ensemble', 'densenet169')]
    """
    return [*combinations(networks, 2), *(("ensemble", network) for network in networks)]


def compare_networks(
    levels: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    resamples: Resamples,
    min_patients: int,
) -> dict[str, Any]:
    """Compare two networks on the same test set.

    Args:
        levels: study and image -> a table of each of the two networks, row for row of the same
            study or image: patient, label, probability, threshold. Differences are first minus
            second.
        resamples: Draws of patients, the same for both networks.
        min_patients: With fewer patients, or one class only, every number but the sizes is NaN.

    Returns:
        conclusion, see `conclude_comparison`; then for each level what `differences` returns; level
        study also has delong and mcnemar, as these functions return them.
    """
    found = {
        level: differences(*tables, resamples, min_patients) for level, tables in levels.items()
    }
    first, second = levels["study"]
    labels = first["label"].to_numpy()
    called, other = (table["probability"] > table["threshold"] for table in (first, second))
    tests = {
        "delong": delong(labels, first["probability"], second["probability"], first["patient"]),
        "mcnemar": mcnemar(labels, called, other, first["patient"]),
    }
    if _too_few(found["study"], min_patients):
        tests = {name: dict.fromkeys(test, np.nan) for name, test in tests.items()}
    found["study"] |= tests
    return {"conclusion": conclude_comparison(found["study"], min_patients)} | found


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
        high, -1 to 1 (kappa -2 to 2), NaN where undefined: low and high also where all draws give
        the same difference, see `bootstrap.interval`. Of the same probabilities and thresholds all
        three are 0, whatever the draw.
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
    judged = ["probability", "threshold"]
    same = bool((first[judged].to_numpy() == second[judged].to_numpy()).all())
    found: dict[str, Any] = {}
    for name, drawn in redraw_differences(first, second, resamples).items():
        low, high = (0.0, 0.0) if same else interval(drawn)
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
    # A patient who is in no row of a draw can still turn the last bit of an area: that is none.
    return {
        name: np.where(np.abs(one[name] - two[name]) < 1e-12, 0.0, one[name] - two[name])
        for name in METRICS
    }


def _too_few(sizes: Mapping[str, Any], min_patients: int) -> bool:
    return sizes["patients"] < min_patients or sizes["abnormal"] in (0, sizes["n"])


def conclude_comparison(study: Mapping[str, Any], min_patients: int) -> ComparisonCode:
    """Conclude which network is better: whether the CI of the AUROC of studies excludes 0.

    Args:
        study: See `differences`.
        min_patients: As given to `differences`.

    Returns:
        no_ci where there are patients and classes enough, and yet no CI, as of two networks
        without an error.
    """
    if study["patients"] < min_patients:
        return "too_few"
    if study["abnormal"] in (0, study["n"]):
        return "one_class"
    low, high = study["auroc"]["low"], study["auroc"]["high"]
    if np.isnan(low):
        return "no_ci"
    if low <= 0 <= high:
        return "not_significant"
    return "first_better" if low > 0 else "second_better"


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
