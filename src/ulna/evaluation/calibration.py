"""Calibration of probabilities: temperature fitted on val, reliability measured on test."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special
from scipy.optimize import minimize, root
from scipy.special import expit
from scipy.stats import binomtest

Floats = npt.NDArray[np.float64]

# Where the temperature is looked for.
TEMPERATURES = (0.05, 20.0)


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Turn probabilities into logits, the inverse of `scipy.special.expit`.

    Args:
        probabilities: 0 to 1, of any shape; taken as at least 2.2e-16 from both, as scikit-learn's
            log loss does.

    Returns:
        -36.04 to 36.04, of that shape.

    Example:
        >>> logit([0.0, 0.5, 1.0]).round(2).tolist()
        [-36.04, 0.0, 36.04]
    """
    epsilon = np.finfo(np.float64).eps
    inside = np.clip(np.asarray(probabilities, dtype=np.float64), epsilon, 1 - epsilon)
    logits: Floats = special.logit(inside)
    return logits


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Find the temperature whose scaled probabilities have the lowest log loss.

    Args:
        labels: Of split val, 0 or 1, shape (n,).
        probabilities: Of split val, 0 to 1, shape (n,).

    Returns:
        Between `TEMPERATURES`: above 1 where the probabilities are too extreme, below 1 where they
        keep too close to 0.5. NaN where there is no best one between them: without both classes;
        where 0.5 separates the classes (nearly) without an error, so that every lower temperature
        fits better; and where the probabilities tell nothing or the wrong way, so that every higher
        one does.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    truth, logits = np.asarray(labels), logit(probabilities)
    if np.unique(truth).size < 2:
        return np.nan

    def slope(inverse: float) -> float:
        """Of the log loss over 1 / temperature: it rises, as the loss is convex there."""
        return float(np.mean((special.expit(inverse * logits) - truth) * logits))

    low, high = (1 / temperature for temperature in reversed(TEMPERATURES))
    if slope(low) >= 0 or slope(high) <= 0:
        return np.nan
    # To the last bits: the default, 2e-12 of 1 / T, would show in the tenth digit of a slope.
    return float(1 / optimize.brentq(slope, low, high, xtol=1e-15))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Scale probabilities: expit(logit(p) / T); their order stays.

    Args:
        probabilities: 0 to 1, shape (n,).
        temperature: Above 0.

    Returns:
        0 to 1, shape (n,).

    Example:
        >>> apply_temperature([0.2, 0.5, 0.8], 2.0).round(3).tolist()
        [0.333, 0.5, 0.667]
    """
    scaled: Floats = special.expit(logit(probabilities) / temperature)
    return scaled


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -log of the probability that was given to the true label; NaN without rows."""
    return log_loss_of_logits(np.asarray(labels), logit(probabilities))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance of probability and label, 0 to 1, lower is better; NaN without rows.

    Reference:
        Brier 1950, Monthly Weather Review 78(1), for two classes and one of them counted.
    """
    distances = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels)
    return float(np.mean(distances**2)) if distances.size else np.nan


def log_loss_of_logits(truth: npt.NDArray[Any], logits: Floats) -> float:
    """`log_loss` without the limits of `logit`."""
    return float(np.mean(row_losses_of_logits(truth, logits))) if truth.size else np.nan


def row_losses_of_logits(truth: npt.NDArray[Any], logits: Floats) -> Floats:
    """-log of the probability of the true label, a number a row."""
    # log(1 + exp(z)) - y z: no difference of large numbers, no log of 0.
    losses: Floats = np.logaddexp(0.0, logits) - truth * logits
    return losses


BINS = 10
ROWS_PER_BIN = 15  # with 15 of 30 abnormal, the interval of a share is still 0.33 to 0.67
Z = 1.959963984540054  # two-sided 95% of the normal distribution

CURVE_COLUMNS = ("n", "abnormal", "probability", "share_abnormal", "low", "high")
LINE_COLUMNS = ("slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high")


def reliability_curve(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int
) -> pd.DataFrame:
    """Sort rows into bins of about equal numbers and compare the mean probability with the truth.

    scikit-learn's calibration_curve gives neither numbers nor intervals. Equal probabilities stay
    in one bin, that of the middle of their ranks; so ties can make fewer bins.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: 0 to 1, shape (n,).
        bins: How many at most, 1 or more. Without ties their sizes differ by 1 at most.

    Returns:
        One row a bin that holds anything, by rising probability, columns `CURVE_COLUMNS`: n and
        abnormal are numbers of rows, probability their mean, low and high the 95% interval of
        share_abnormal (see `wilson`).
    """
    curve = _binned(labels, probabilities, bins)
    low, high = wilson(curve["abnormal"], curve["n"])
    return curve.assign(low=low, high=high)


def _binned(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int) -> pd.DataFrame:
    """`reliability_curve` without the intervals."""
    order = np.argsort(probabilities, kind="stable")
    values = np.asarray(probabilities, dtype=np.float64)[order]
    below, upto = (np.searchsorted(values, values, side=side) for side in ("left", "right"))
    # In integers: the middle rank, (below + upto) / 2, as a share of n, times bins.
    places = bins * (below + upto) // (2 * max(values.size, 1))
    _, place = np.unique(places, return_inverse=True)
    n = np.bincount(place)
    abnormal = np.bincount(place, np.asarray(labels)[order]).astype(np.int64)
    probability = np.bincount(place, values) / n
    return pd.DataFrame(
        {"n": n, "abnormal": abnormal, "probability": probability, "share_abnormal": abnormal / n}
    )


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of a share, for all bins at once.

    Args:
        successes: 0 to trials, shape (n,).
        trials: Above 0, shape (n,).

    Returns:
        Lower and upper ends, 0 to 1, shape (n,) each.

    Reference:
        Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    pairs = zip(np.asarray(successes).tolist(), np.asarray(trials).tolist(), strict=True)
    limits = [binomtest(k, n).proportion_ci(method="wilson") for k, n in pairs]
    low, high = np.reshape(limits, (-1, 2)).T
    return low, high


def ece(curve: pd.DataFrame) -> float:
    """Expected calibration error: mean distance of probability and share over the bins.

    Args:
        curve: See `reliability_curve`. With few rows a bin it is above 0 by chance alone.

    Returns:
        0 to 1, weighted by the rows of a bin; NaN without bins.

    Reference:
        Naeini et al. 2015, AAAI, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    if curve.empty:
        return np.nan
    distance = (curve["probability"] - curve["share_abnormal"]).abs()
    return float(np.average(distance, weights=curve["n"]))


def murphy(curve: pd.DataFrame) -> dict[str, float]:
    """Split the Brier score of binned probabilities: reliability - resolution + uncertainty.

    Args:
        curve: See `reliability_curve`; each row counts with the mean probability of its bin.

    Returns:
        reliability (0 is best: shares are as said), resolution (how far the bins' shares lie from
        the share of all, higher is better) and uncertainty (that of the labels alone, up to 0.25);
        NaN without bins.

    Reference:
        Murphy 1973, Journal of Applied Meteorology 12(4), "A New Vector Partition of the
        Probability Score".
    """
    if curve.empty:
        return dict.fromkeys(("reliability", "resolution", "uncertainty"), np.nan)
    n, share = curve["n"], curve["share_abnormal"]
    overall = curve["abnormal"].sum() / n.sum()
    return {
        "reliability": float(np.average((curve["probability"] - share) ** 2, weights=n)),
        "resolution": float(np.average((share - overall) ** 2, weights=n)),
        "uncertainty": float(overall * (1 - overall)),
    }


def reliability_curves(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, temperature: float
) -> pd.DataFrame:
    """Draw up the reliability curves before and after the temperature, one below the other.

    Args:
        labels: Of test, 0 or 1, shape (n,).
        probabilities: Of test, 0 to 1, shape (n,).
        temperature: As fitted on val; NaN leaves out the curve after it.

    Returns:
        Columns scaling (before or after) and `CURVE_COLUMNS`; the bins hold the same rows in both.
    """
    curves = {"before": np.asarray(probabilities, dtype=np.float64)}
    if not np.isnan(temperature):
        curves["after"] = apply_temperature(probabilities, temperature)
    bins = count_bins(int(np.size(labels)))
    tables = [
        reliability_curve(labels, values, bins).assign(scaling=scaling)
        for scaling, values in curves.items()
    ]
    return pd.concat(tables, ignore_index=True)[["scaling", *CURVE_COLUMNS]]


def count_bins(n: int) -> int:
    """`BINS`, or fewer where a bin would hold less than `ROWS_PER_BIN` rows; at least 1."""
    return max(1, min(BINS, n // ROWS_PER_BIN))


def calibration_line(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, patients: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Fit slope and intercept of the truth over the logits, with intervals clustered by patient.

    slope is b of logit P(abnormal) = a + b * logit(p), without penalty: below 1 the probabilities
    are too extreme, above 1 too close to 0.5. intercept is a of the same with b = 1 (in the large):
    above 0, abnormal is more frequent than the probabilities say.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: 0 to 1, shape (n,).
        patients: Shape (n,): rows of one patient may hang together. None: each row by itself.

    Returns:
        The numbers named in `LINE_COLUMNS`; low and high are Wald's 95% interval from the sandwich
        variance. NaN where no finite fit exists: without both classes and, for the slope, where a
        threshold separates them without an error.

    Reference:
        Van Calster et al. 2016, Journal of Clinical Epidemiology 74, "A calibration hierarchy for
        risk models"; Liang and Zeger 1986, Biometrika 73(1), for the variance.
    """
    truth, logits = np.asarray(labels, dtype=np.float64), logit(probabilities)
    groups = np.arange(truth.size) if patients is None else np.asarray(patients)
    line = dict.fromkeys(LINE_COLUMNS, np.nan)
    normal, abnormal = logits[truth == 0], logits[truth == 1]
    if normal.size == 0 or abnormal.size == 0:
        return line
    ones = np.ones((truth.size, 1))
    fits = {"intercept": (ones, logits, 1.0)}
    if normal.max() > abnormal.min() and abnormal.max() > normal.min():
        # In units of their spread: logits that hardly differ would make a singular curvature.
        spread = float(np.std(logits))
        standard = (logits - np.mean(logits)) / spread
        fits["slope"] = (np.column_stack([ones, standard]), np.zeros(truth.size), spread)
    for name, (design, offset, unit) in fits.items():
        value, error = _last_coefficient(design, offset, truth, groups)
        low, high = value - Z * error, value + Z * error
        line |= {name: value / unit, f"{name}_low": low / unit, f"{name}_high": high / unit}
    return line


def measure_calibration(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, patients: npt.ArrayLike | None
) -> dict[str, float]:
    """All measures of some probabilities.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: 0 to 1, shape (n,).
        patients: See `calibration_line`.

    Returns:
        log_loss; brier and its parts, brier = reliability - resolution + uncertainty +
        within_bins; ece; and `LINE_COLUMNS`. within_bins is what the bins hide: the variance of the
        probabilities in a bin less twice their covariance with the labels, below 0 where the order
        within a bin is of use.

    Reference:
        Stephenson et al. 2008, Weather and Forecasting 23(4), 752-757, "Two extra components in the
        Brier score decomposition", for within_bins.
    """
    curve = _binned(labels, probabilities, count_bins(int(np.size(labels))))
    whole, parts = brier(labels, probabilities), murphy(curve)
    binned = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    return {
        "log_loss": log_loss(labels, probabilities),
        "brier": whole,
        **parts,
        "within_bins": whole - binned,
        "ece": ece(curve),
        **calibration_line(labels, probabilities, patients),
    }


def _last_coefficient(
    design: Floats, offset: Floats, truth: Floats, groups: npt.NDArray[Any]
) -> tuple[float, float]:
    """Logistic regression without penalty: the last coefficient and its clustered error.

    scikit-learn's LogisticRegression knows neither an offset nor errors.
    """
    weights = _fit(design, offset, truth)
    expected = expit(offset + design @ weights)
    names, members = np.unique(groups, return_inverse=True)
    if names.size < 2:
        return float(weights[-1]), np.nan
    sums = np.zeros((names.size, design.shape[1]))
    np.add.at(sums, members, (truth - expected)[:, np.newaxis] * design)
    bread = np.linalg.inv(_curvature(design, expected))
    # As a sum of squares, which rounding cannot make negative.
    variance = np.sum((sums @ bread[-1]) ** 2) * names.size / (names.size - 1)
    return float(weights[-1]), float(np.sqrt(variance))


def _fit(design: Floats, offset: Floats, truth: Floats) -> Floats:
    """The coefficients of the lowest mean loss, where it is flat."""

    def loss(weights: Floats) -> float:
        return log_loss_of_logits(truth, offset + design @ weights)

    def slope(weights: Floats) -> Floats:
        excess: Floats = expit(offset + design @ weights) - truth
        return design.T @ excess / truth.size

    def curvature(weights: Floats) -> Floats:
        return _curvature(design, expit(offset + design @ weights)) / truth.size

    # A search for the root alone gets lost where all probabilities are near 0 or 1; one for the
    # least loss cannot tell losses that differ in the last bit, at a slope of about 1e-8.
    start = np.zeros(design.shape[1])
    near = minimize(
        loss, start, method="trust-exact", jac=slope, hess=curvature, options={"gtol": 1e-6}
    )
    weights: Floats = root(slope, near.x, jac=curvature, tol=1e-13).x
    return weights


def _curvature(design: Floats, expected: Floats) -> Floats:
    return (design.T * (expected * (1 - expected))) @ design


# Collins et al. 2016, Statistics in Medicine 35(2), "Sample size considerations for the external
# validation of a multivariable prognostic model": at least 100 events, better 200.
MIN_PER_CLASS = 100

CalibrationCode = Literal[
    "calibrated",
    "not_calibrated",
    "not_shown_no_temperature",
    "not_shown_undefined",
    "not_shown_too_few",
    "not_shown_no_discrimination",
]
Fault = Literal["too_moderate", "too_extreme", "underestimated", "overestimated"]


def summarize_calibration(
    val_labels: npt.ArrayLike,
    val_probabilities: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    test_probabilities: npt.ArrayLike,
    test_patients: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Fit the temperature on val, judge test before and after it, and conclude.

    Args:
        val_labels: 0 or 1, shape (val studies,).
        val_probabilities: 0 to 1, shape (val studies,).
        test_labels: 0 or 1, shape (test studies,).
        test_probabilities: 0 to 1, shape (test studies,).
        test_patients: See `calibration_line`, shape (test studies,).

    Returns:
        For metrics/<arch>.json: temperature and n_val; n and abnormal of test; bins; before and
        after, each with log_loss, brier and Murphy's three parts of it, ece and `LINE`;
        min_per_class; faults and conclusion, see `conclude_calibration`. Without a temperature,
        the numbers of after are NaN.
    """
    temperature = fit_temperature(val_labels, val_probabilities)
    n, abnormal = int(np.size(test_labels)), int(np.sum(np.asarray(test_labels) == 1))
    before = measure_calibration(test_labels, test_probabilities, test_patients)
    after = dict.fromkeys(before, np.nan)
    if not np.isnan(temperature):
        scaled = apply_temperature(test_probabilities, temperature)
        after = measure_calibration(test_labels, scaled, test_patients)
    summary = {
        "temperature": temperature,
        "n_val": int(np.size(val_labels)),
        "n": n,
        "abnormal": abnormal,
        "bins": count_bins(n),
        "before": before,
        "after": after,
        "min_per_class": MIN_PER_CLASS,
        "faults": find_faults(after),
    }
    return summary | {"conclusion": conclude_calibration(summary)}


def find_faults(after: Mapping[str, float]) -> list[Fault]:
    """List in which ways the 95% CIs of slope and intercept exclude 1 and 0; NaN excludes nothing.

    Args:
        after: `LINE` of the scaled probabilities on test.
    """
    faults: dict[Fault, bool] = {
        "too_moderate": after["slope_low"] > 1,
        "too_extreme": after["slope_high"] < 1,
        "underestimated": after["intercept_low"] > 0,
        "overestimated": after["intercept_high"] < 0,
    }
    return [fault for fault, found in faults.items() if found]


def conclude_calibration(summary: Mapping[str, Any]) -> CalibrationCode:
    """Conclude whether the scaled probabilities are calibrated.

    Args:
        summary: See `summarize_calibration`.

    Returns:
        calibrated only if there are `MIN_PER_CLASS` studies of each class, the slope's CI holds 1 and
        not 0, and the intercept's holds 0; not_calibrated if one of the two CIs excludes that;
        not_shown_… and the reason where the data cannot tell.
    """
    after = summary["after"]
    if np.isnan(summary["temperature"]):
        return "not_shown_no_temperature"
    if np.isnan(after["slope_low"]) or np.isnan(after["intercept_low"]):
        return "not_shown_undefined"
    if summary["faults"]:
        return "not_calibrated"
    if min(summary["abnormal"], summary["n"] - summary["abnormal"]) < MIN_PER_CLASS:
        return "not_shown_too_few"
    return "calibrated" if after["slope_low"] > 0 else "not_shown_no_discrimination"
