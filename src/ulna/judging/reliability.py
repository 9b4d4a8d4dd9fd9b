"""How far a probability can be taken at its word, at the level of studies.

The temperature is fitted on val; test judges the probabilities before and after it. Undefined is
NaN. scipy.optimize is imported where it is used: the import takes 0.5 s.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.predictions import sigmoid

Floats = npt.NDArray[np.float64]

# Where the temperature is looked for. A val set that the network separates without an error has no
# best one: every lower temperature fits it better.
TEMPERATURES = (0.05, 20.0)
BINS = 10
ROWS_A_BIN = 15  # with 15 of 30 abnormal, the interval of a share is still 0.33 to 0.67
Z = 1.959963984540054  # two-sided 95% of the normal distribution
# Collins et al. 2016, Statistics in Medicine 35(2), "Sample size considerations for the external
# validation of a multivariable prognostic model": at least 100 events, better 200.
MIN_A_CLASS = 100

CURVE_COLUMNS = ("n", "abnormal", "probability", "share_abnormal", "low", "high")
LINE = ("slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high")


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Turn probabilities into logits, the inverse of `ulna.predictions.sigmoid`.

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
    logits: Floats = np.log(inside) - np.log1p(-inside)
    return logits


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Find the temperature whose scaled probabilities have the lowest log loss.

    Args:
        labels: Of split val, 0 or 1, shape (n,).
        probabilities: Of split val, 0 to 1, shape (n,).

    Returns:
        Within `TEMPERATURES`: above 1 where the probabilities are too extreme, below 1 where they
        keep too close to 0.5. NaN without both classes, from which none can be told.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    truth, logits = np.asarray(labels), logit(probabilities)
    if np.unique(truth).size < 2:
        return np.nan
    # The loss is convex in 1 / T, so along log T it has one valley.
    found = minimize_scalar(
        lambda log_temperature: _log_loss(truth, logits * np.exp(-log_temperature)),
        bounds=np.log(TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(found.x))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Scale probabilities: sigmoid(logit(p) / T); their order stays.

    Args:
        probabilities: 0 to 1, shape (n,).
        temperature: Above 0.

    Returns:
        0 to 1, shape (n,).

    Example:
        >>> apply_temperature([0.2, 0.5, 0.8], 2.0).round(3).tolist()
        [0.333, 0.5, 0.667]
    """
    return sigmoid(logit(probabilities) / temperature)


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -log of the probability that was given to the true label; NaN without rows."""
    return _log_loss(np.asarray(labels), logit(probabilities))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance of probability and label, 0 to 1, lower is better; NaN without rows.

    Reference:
        Brier 1950, Monthly Weather Review 78(1), for two classes and one of them counted.
    """
    distances = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels)
    return float(np.mean(distances**2)) if distances.size else np.nan


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
    order = np.argsort(probabilities, kind="stable")
    values = np.asarray(probabilities, dtype=np.float64)[order]
    below, upto = (np.searchsorted(values, values, side=side) for side in ("left", "right"))
    # In integers: the middle rank, (below + upto) / 2, as a share of n, times bins.
    places = bins * (below + upto) // (2 * max(values.size, 1))
    rows = pd.DataFrame({"label": np.asarray(labels)[order], "probability": values})
    curve = rows.groupby(places).agg(
        n=("label", "size"), abnormal=("label", "sum"), probability=("probability", "mean")
    )
    low, high = wilson(curve["abnormal"], curve["n"])
    share = curve["abnormal"] / curve["n"]
    curve = curve.assign(share_abnormal=share, low=low, high=high)
    return curve.reset_index(drop=True)[list(CURVE_COLUMNS)]


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of a share, for all bins at once.

    scipy.stats.binomtest has it for one share a call, but importing scipy.stats takes 1.5 s.

    Args:
        successes: 0 to trials, shape (n,).
        trials: Above 0, shape (n,).

    Returns:
        Lower and upper ends, 0 to 1, shape (n,) each.

    Reference:
        Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    n = np.asarray(trials, dtype=np.float64)
    share = np.asarray(successes) / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    # Rounding must not put a share of 0 or 1 outside.
    return np.clip(middle - half, 0.0, share), np.clip(middle + half, share, 1.0)


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
        The numbers named in `LINE`; low and high are Wald's 95% interval from the sandwich
        variance. NaN where no finite fit exists: without both classes and, for the slope, where a
        threshold separates them without an error.

    Reference:
        Van Calster et al. 2016, Journal of Clinical Epidemiology 74, "A calibration hierarchy for
        risk models"; Liang and Zeger 1986, Biometrika 73(1), for the variance.
    """
    truth, logits = np.asarray(labels, dtype=np.float64), logit(probabilities)
    groups = np.arange(truth.size) if patients is None else np.asarray(patients)
    line = dict.fromkeys(LINE, np.nan)
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


def summarize(
    val_labels: npt.ArrayLike,
    val_probabilities: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    test_probabilities: npt.ArrayLike,
    test_patients: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Fit the temperature on val, judge test before and after it, and say what it comes to.

    Args:
        val_labels: 0 or 1, shape (val studies,).
        val_probabilities: 0 to 1, shape (val studies,).
        test_labels: 0 or 1, shape (test studies,).
        test_probabilities: 0 to 1, shape (test studies,).
        test_patients: See `calibration_line`, shape (test studies,).

    Returns:
        For metrics/<arch>.json: temperature and n_val; n and abnormal of test; bins; before and
        after, each with log_loss, brier and Murphy's three parts of it, ece and `LINE`; verdict, a
        sentence. Without a temperature, the numbers of after are NaN.
    """
    temperature = fit_temperature(val_labels, val_probabilities)
    n, abnormal = int(np.size(test_labels)), int(np.sum(np.asarray(test_labels) == 1))
    before = _measure(test_labels, test_probabilities, test_patients)
    after = dict.fromkeys(before, np.nan)
    if not np.isnan(temperature):
        scaled = apply_temperature(test_probabilities, temperature)
        after = _measure(test_labels, scaled, test_patients)
    return {
        "temperature": temperature,
        "n_val": int(np.size(val_labels)),
        "n": n,
        "abnormal": abnormal,
        "bins": count_bins(n),
        "before": before,
        "after": after,
        "verdict": verdict(temperature, n, abnormal, after),
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
    """`BINS`, or fewer where a bin would hold less than `ROWS_A_BIN` rows; at least 1."""
    return max(1, min(BINS, n // ROWS_A_BIN))


def verdict(temperature: float, n: int, abnormal: int, after: Mapping[str, float]) -> str:
    """Say in a sentence whether the scaled probabilities are calibrated.

    Args:
        temperature: As fitted on val, or NaN.
        n: Studies of test.
        abnormal: The abnormal ones among them.
        after: `LINE` of the scaled probabilities on test.

    Returns:
        It begins with "Calibrated" only if there are `MIN_A_CLASS` studies of each class, the
        slope's interval holds 1 and not 0, and the intercept's holds 0; else with "Not calibrated"
        or, where the data cannot tell, "Not shown to be calibrated".
    """
    studies = f"{n:,} test studies ({abnormal:,} abnormal)"
    if np.isnan(temperature):
        return (
            "Not shown to be calibrated: no temperature could be fitted, split val lacks normal or "
            "abnormal studies."
        )
    if np.isnan(after["slope_low"]) or np.isnan(after["intercept_low"]):
        return (
            f"Not shown to be calibrated: on {studies} slope and intercept are undefined, they "
            "need both classes, of two patients or more, and a mistake at every threshold."
        )
    faults = []
    if after["slope_low"] > 1:
        faults.append("probabilities are too close to 0.5")
    if after["slope_high"] < 1:
        faults.append("probabilities are too extreme")
    if after["intercept_low"] > 0:
        faults.append("abnormal is more frequent than they say")
    if after["intercept_high"] < 0:
        faults.append("abnormal is rarer than they say")
    few = min(abnormal, n - abnormal) < MIN_A_CLASS
    slope, intercept = (_interval(after, name) for name in ("slope", "intercept"))
    found = f"on {studies} the slope is {slope} (1 is right) and the intercept {intercept} (0 is)"
    if faults:
        size = f", though {MIN_A_CLASS} studies of each class would tell better" if few else ""
        return f"Not calibrated after temperature scaling, {' and '.join(faults)}: {found}{size}."
    if few:
        return (
            f"Not shown to be calibrated, too few test studies to tell: {found}; at least "
            f"{MIN_A_CLASS} of each class are needed."
        )
    if after["slope_low"] <= 0:
        return f"Not shown to be calibrated, the probabilities tell too little apart: {found}."
    return f"Calibrated after temperature scaling, as far as the test set can tell: {found}."


def _interval(line: Mapping[str, float], name: str) -> str:
    low, high = line[f"{name}_low"], line[f"{name}_high"]
    return f"{line[name]:z.2f}, 95% interval {low:z.2f} to {high:z.2f}"


def _measure(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, patients: npt.ArrayLike | None
) -> dict[str, float]:
    curve = reliability_curve(labels, probabilities, count_bins(int(np.size(labels))))
    return {
        "log_loss": log_loss(labels, probabilities),
        "brier": brier(labels, probabilities),
        **murphy(curve),
        "ece": ece(curve),
        **calibration_line(labels, probabilities, patients),
    }


def _log_loss(truth: npt.NDArray[Any], logits: Floats) -> float:
    # log(1 + exp(z)) - y z: no difference of large numbers, no log of 0.
    return float(np.mean(np.logaddexp(0.0, logits) - truth * logits)) if truth.size else np.nan


def _last_coefficient(
    design: Floats, offset: Floats, truth: Floats, groups: npt.NDArray[Any]
) -> tuple[float, float]:
    """Logistic regression without penalty: the last coefficient and its clustered error.

    scikit-learn's LogisticRegression knows neither an offset nor errors.
    """
    from scipy.optimize import minimize

    n = truth.size

    def gradient(weights: Floats) -> Floats:
        return design.T @ (sigmoid(offset + design @ weights) - truth) / n

    def curvature(weights: Floats) -> Floats:
        expected = sigmoid(offset + design @ weights)
        return (design.T * (expected * (1 - expected))) @ design / n

    weights = minimize(
        lambda weights: _log_loss(truth, offset + design @ weights),
        np.zeros(design.shape[1]),
        method="trust-exact",
        jac=gradient,
        hess=curvature,
        options={"gtol": 1e-10},
    ).x
    residuals = (truth - sigmoid(offset + design @ weights))[:, np.newaxis] * design
    names, members = np.unique(groups, return_inverse=True)
    if names.size < 2:
        return float(weights[-1]), np.nan
    sums = np.zeros((names.size, design.shape[1]))
    np.add.at(sums, members, residuals)
    bread = np.linalg.inv(n * curvature(weights))
    variance = bread @ sums.T @ sums @ bread * names.size / (names.size - 1)
    return float(weights[-1]), float(np.sqrt(variance[-1, -1]))
