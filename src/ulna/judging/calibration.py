"""Are a network's probabilities calibrated? Fitted on val, judged on test, said in a sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ulna.judging.reliability import count_bins, measure
from ulna.judging.temperature import apply_temperature, fit_temperature

# Collins et al. 2016, Statistics in Medicine 35(2), "Sample size considerations for the external
# validation of a multivariable prognostic model": at least 100 events, better 200.
MIN_A_CLASS = 100


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
    before = measure(test_labels, test_probabilities, test_patients)
    after = dict.fromkeys(before, np.nan)
    if not np.isnan(temperature):
        scaled = apply_temperature(test_probabilities, temperature)
        after = measure(test_labels, scaled, test_patients)
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
            "Not shown to be calibrated: no temperature fits best, the studies of split val are of "
            "one class, make no mistake at 0.5 or are told apart no better than by chance."
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
