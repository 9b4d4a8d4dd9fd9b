"""Calibration of probabilities: temperature fitted on val, reliability measured on test.

Everywhere labels are 0 or 1 (abnormal) and probabilities are of abnormal, 0 to 1, shape (n,) each.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq, minimize, root
from scipy.special import expit

from ulna.evaluation.bootstrap import MIN_STUDIES, Z, wilson_ci
from ulna.evaluation.metrics import brier, log_loss, logit

Floats = npt.NDArray[np.float64]

TEMPERATURES = (0.05, 20.0)  # limits of the search
BINS = 10
ROWS_PER_BIN = 15  # with 15 of 30 abnormal, the CI of a proportion is still 0.33 to 0.67
# Collins et al. 2016, Statistics in Medicine 35(2), "Sample size considerations for the external
# validation of a multivariable prognostic model": at least 100 events, better 200.
MIN_PER_CLASS = 100
# For a temperature. Simulated with an AUROC of 0.85: fitted on 40 studies it raises the log loss of
# new ones in 69% of draws where the best temperature is 1.2, and by 0.016 on average where it is 1;
# on 100 studies in 51%, and by 0.006.
MIN_VAL = 100
HARM = 0.0005  # of the log loss: what shows in the third decimal

CURVE_COLUMNS = ("n", "abnormal", "probability", "share_abnormal", "low", "high")
LINE_COLUMNS = ("slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high")

CalibrationCode = Literal[
    "calibrated", "not_calibrated", "harmful", "not_shown_few_val", "not_shown_no_temperature",
    "not_shown_undefined", "not_shown_too_few", "not_shown_no_discrimination",
]  # fmt: skip
Fault = Literal["too_moderate", "too_extreme", "underestimated", "overestimated"]


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Find the temperature whose scaled probabilities of val have the lowest log loss.

    Returns:
        Between `TEMPERATURES`: above 1 where the probabilities are too extreme, below 1 where they
        are too close to 0.5. NaN where there is no optimum between them: without both classes;
        where 0.5 separates the classes (nearly) without an error, so that every lower temperature
        fits better; and where the probabilities are no better than chance or worse, so that every
        higher one does.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    truth, logits = np.asarray(labels), logit(probabilities)
    if np.unique(truth).size < 2:
        return np.nan

    # The derivative of the log loss over 1 / temperature rises, as the loss is convex there.
    def slope(inverse: float) -> float:
        return float(np.mean((expit(inverse * logits) - truth) * logits))

    low, high = (1 / temperature for temperature in reversed(TEMPERATURES))
    if slope(low) >= 0 or slope(high) <= 0:
        return np.nan
    # To the last bits: the default, 2e-12 of 1 / T, would show in the tenth digit of a slope.
    return float(1 / brentq(slope, low, high, xtol=1e-15))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Scale probabilities: expit(logit(p) / T), T above 0; their order stays."""
    scaled: Floats = expit(logit(probabilities) / temperature)
    return scaled


def reliability_curve(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int
) -> pd.DataFrame:
    """Compare the mean probability with the share of abnormal rows in bins of about equal size.

    scikit-learn's calibration_curve gives neither counts nor CIs. Equal probabilities stay in one
    bin, that of the middle of their ranks, so ties can make fewer bins; without ties their sizes
    differ by 1 at most.

    Returns:
        One row per bin that is not empty, by rising probability, columns `CURVE_COLUMNS`: n and
        abnormal are counts, probability is the mean, low and high are Wilson's 95% confidence
        limits of share_abnormal.
    """
    curve = _binned(labels, probabilities, bins)
    low, high = wilson_ci(curve["abnormal"], curve["n"])
    return curve.assign(low=low, high=high)


def _binned(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int) -> pd.DataFrame:
    """`reliability_curve` without the intervals."""
    order = np.argsort(probabilities, kind="stable")
    values = np.asarray(probabilities, dtype=np.float64)[order]
    below, upto = (np.searchsorted(values, values, side=side) for side in ("left", "right"))
    # In integers: the middle rank, (below + upto) / 2, as a share of n, times bins.
    numbers = bins * (below + upto) // (2 * max(values.size, 1))
    _, index = np.unique(numbers, return_inverse=True)
    n = np.bincount(index)
    abnormal = np.bincount(index, np.asarray(labels)[order]).astype(np.int64)
    probability = np.bincount(index, values) / n
    return pd.DataFrame(
        {"n": n, "abnormal": abnormal, "probability": probability, "share_abnormal": abnormal / n}
    )


def ece(curve: pd.DataFrame) -> float:
    """Expected calibration error of a `reliability_curve`, 0 to 1; NaN without bins.

    The mean distance of probability and share over all rows. With few rows per bin it is above 0 by
    chance alone.

    Reference:
        Naeini et al. 2015, AAAI, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    if curve.empty:
        return np.nan
    distance = (curve["probability"] - curve["share_abnormal"]).abs()
    return float(np.average(distance, weights=curve["n"]))


def murphy_decomposition(curve: pd.DataFrame) -> dict[str, float]:
    """Split the Brier score of a `reliability_curve`: reliability - resolution + uncertainty.

    Returns:
        reliability (0 is best: shares equal probabilities), resolution (distance of the bins'
        shares from the overall share, higher is better) and uncertainty (of the labels alone, up to
        0.25); NaN without bins.

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
    """List the reliability curves of test before and after temperature scaling.

    Returns:
        Columns scaling (before or after) and `CURVE_COLUMNS`; the bins hold the same rows in both.
        Without a temperature (NaN) there is no curve after scaling.
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
    """`BINS`, or fewer where a bin would have less than `ROWS_PER_BIN` rows; at least 1."""
    return max(1, min(BINS, n // ROWS_PER_BIN))


def calibration_line(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, patients: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Fit calibration slope and intercept, with CIs clustered by patient.

    slope is b of logit P(abnormal) = a + b * logit(p), without penalty: below 1 the probabilities
    are too extreme, above 1 too close to 0.5. intercept is a of the same with b = 1 (in the large):
    above 0, abnormal is more frequent than predicted. Without patients all rows are independent.

    Returns:
        `LINE_COLUMNS`; low and high are Wald's 95% CI from the sandwich variance. NaN where no
        finite fit exists: without both classes and, for the slope, where a threshold separates them
        without an error.

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
    """Compute all calibration measures of some probabilities.

    Returns:
        log_loss; brier and its parts, brier = reliability - resolution + uncertainty +
        within_bins; ece; and `LINE_COLUMNS`. within_bins is the variance of the probabilities
        within a bin less twice their covariance with the labels, below 0 where the order within a
        bin is informative.

    Reference:
        Stephenson et al. 2008, Weather and Forecasting 23(4), 752-757, "Two extra components in the
        Brier score decomposition", for within_bins.
    """
    curve = _binned(labels, probabilities, count_bins(int(np.size(labels))))
    whole, parts = brier(labels, probabilities), murphy_decomposition(curve)
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
    """The last coefficient of a logistic regression without penalty, and its clustered error."""
    # scikit-learn's LogisticRegression has neither an offset nor standard errors.
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
    """The coefficients of a logistic regression with an offset, without penalty."""

    def loss(weights: Floats) -> float:
        logits = offset + design @ weights
        return float(np.mean(np.logaddexp(0.0, logits) - truth * logits))

    def gradient(weights: Floats) -> Floats:
        return np.asarray(design.T @ (expit(offset + design @ weights) - truth) / truth.size)

    def curvature(weights: Floats) -> Floats:
        return _curvature(design, expit(offset + design @ weights)) / truth.size

    # Root finding alone diverges where all probabilities are near 0 or 1; minimisation cannot
    # distinguish losses that differ in the last bit, at a gradient of about 1e-8.
    start, options = np.zeros(design.shape[1]), {"gtol": 1e-6}
    near = minimize(loss, start, (), "trust-exact", gradient, curvature, options=options)
    return np.asarray(root(gradient, near.x, jac=curvature, tol=1e-13).x)


def _curvature(design: Floats, expected: Floats) -> Floats:
    return (design.T * (expected * (1 - expected))) @ design


def summarize_calibration(
    val_labels: npt.ArrayLike,
    val_probabilities: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    test_probabilities: npt.ArrayLike,
    test_patients: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Fit the temperature on val, measure calibration on test before and after it, and conclude.

    Returns:
        For metrics/details/<arch>.json: temperature (NaN with fewer than `MIN_VAL` rows of val),
        n_val and min_val; n and abnormal of test; bins; before and after (see
        `measure_calibration`; all NaN without a temperature); min_per_class; faults and conclusion
        (see `conclude_calibration`).
    """
    n_val = int(np.size(val_labels))
    temperature = np.nan if n_val < MIN_VAL else fit_temperature(val_labels, val_probabilities)
    n, abnormal = int(np.size(test_labels)), int(np.sum(np.asarray(test_labels) == 1))
    before = measure_calibration(test_labels, test_probabilities, test_patients)
    after = dict.fromkeys(before, np.nan)
    if not np.isnan(temperature):
        scaled = apply_temperature(test_probabilities, temperature)
        after = measure_calibration(test_labels, scaled, test_patients)
    summary = {
        "temperature": temperature,
        "n_val": n_val,
        "min_val": MIN_VAL,
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
    """List how the CIs of slope and intercept exclude 1 and 0; NaN excludes nothing."""
    faults: dict[Fault, bool] = {
        "too_moderate": after["slope_low"] > 1,
        "too_extreme": after["slope_high"] < 1,
        "underestimated": after["intercept_low"] > 0,
        "overestimated": after["intercept_high"] < 0,
    }
    return [fault for fault, excluded in faults.items() if excluded]


def conclude_calibration(summary: Mapping[str, Any]) -> CalibrationCode:
    """Conclude whether the scaled probabilities are calibrated.

    Returns:
        calibrated only with `MIN_PER_CLASS` studies of each class, a slope's CI that includes 1 and
        not 0, and an intercept's that includes 0; not_calibrated if a CI excludes its value;
        harmful if scaling raised the log loss, so that the probabilities before it are the better
        ones; not_shown_… and the reason where the data do not suffice.
    """
    after = summary["after"]
    if summary["n_val"] < MIN_VAL:
        return "not_shown_few_val"
    if np.isnan(summary["temperature"]):
        return "not_shown_no_temperature"
    if np.isnan(after["slope_low"]) or np.isnan(after["intercept_low"]):
        return "not_shown_undefined"
    per_class = min(summary["abnormal"], summary["n"] - summary["abnormal"])
    worse = after["log_loss"] - summary["before"]["log_loss"]
    if worse >= HARM and per_class >= MIN_STUDIES:
        return "harmful"
    if summary["faults"]:
        return "not_calibrated"
    if per_class < MIN_PER_CLASS:
        return "not_shown_too_few"
    return "calibrated" if after["slope_low"] > 0 else "not_shown_no_discrimination"
