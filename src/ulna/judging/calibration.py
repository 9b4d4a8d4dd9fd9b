"""Are a network's probabilities calibrated? Fitted on val, judged on test."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ulna.judging.reliability import count_bins, measure
from ulna.judging.temperature import apply_temperature, fit_temperature

# Collins et al. 2016, Statistics in Medicine 35(2), "Sample size considerations for the external
# validation of a multivariable prognostic model": at least 100 events, better 200.
MIN_A_CLASS = 100

CalibrationCode = Literal[
    "calibrated",
    "not_calibrated",
    "not_shown_no_temperature",
    "not_shown_undefined",
    "not_shown_too_few",
    "not_shown_no_discrimination",
]
Fault = Literal["too_moderate", "too_extreme", "underestimated", "overestimated"]


def summarize(
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
    before = measure(test_labels, test_probabilities, test_patients)
    after = dict.fromkeys(before, np.nan)
    if not np.isnan(temperature):
        scaled = apply_temperature(test_probabilities, temperature)
        after = measure(test_labels, scaled, test_patients)
    summary = {
        "temperature": temperature,
        "n_val": int(np.size(val_labels)),
        "n": n,
        "abnormal": abnormal,
        "bins": count_bins(n),
        "before": before,
        "after": after,
        "min_per_class": MIN_A_CLASS,
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
        summary: See `summarize`.

    Returns:
        calibrated only if there are `MIN_A_CLASS` studies of each class, the slope's CI holds 1 and
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
    if min(summary["abnormal"], summary["n"] - summary["abnormal"]) < MIN_A_CLASS:
        return "not_shown_too_few"
    return "calibrated" if after["slope_low"] > 0 else "not_shown_no_discrimination"
