"""Is a network calibrated? Fitted on val, judged on test, and no more claimed than is known."""

import numpy as np
import pytest
from labelled import drawn
from scipy.special import expit

from ulna.judging.calibration import conclude_calibration, find_faults, summarize
from ulna.judging.reliability import LINE, reliability_curves
from ulna.judging.temperature import fit_temperature, logit

NAN = float("nan")


@pytest.mark.promise("E30")
def test_a_summary_fits_on_val_and_judges_test() -> None:
    val_labels, val = drawn(600, seed=10)
    labels, probabilities = drawn(1200, seed=11)
    # A network three times too sure of itself.
    val, probabilities = (expit(3 * logit(p)) for p in (val, probabilities))
    summary = summarize(val_labels, val, labels, probabilities)
    assert list(summary) == [
        "temperature", "n_val", "n", "abnormal", "bins", "before", "after",
        "min_per_class", "faults", "conclusion",
    ]  # fmt: skip
    assert summary["temperature"] == fit_temperature(val_labels, val)
    assert summary["temperature"] == pytest.approx(3, abs=0.5)
    assert (summary["n_val"], summary["n"], summary["bins"]) == (600, 1200, 10)
    assert summary["abnormal"] == labels.sum()
    before, after = summary["before"], summary["after"]
    assert list(before) == list(after) == [
        "log_loss", "brier", "reliability", "resolution", "uncertainty", "within_bins", "ece",
        *LINE,
    ]  # fmt: skip
    assert before["slope_high"] < 1 and after["slope_low"] < 1 < after["slope_high"]
    assert before["ece"] > 0.1 > 0.05 > after["ece"]
    assert before["log_loss"] > after["log_loss"] and before["brier"] > after["brier"]
    assert before["resolution"] == pytest.approx(after["resolution"])  # the same rows in each bin
    assert summary["conclusion"] == "calibrated"

    patients = np.arange(1200) // 2
    clustered = summarize(val_labels, val, labels, probabilities, patients)
    for name in ("before", "after"):
        assert clustered[name]["slope"] == summary[name]["slope"]
        assert clustered[name]["slope_low"] != summary[name]["slope_low"]


@pytest.mark.promise("E30")
def test_what_a_temperature_cannot_mend_is_said() -> None:
    val_labels, val = drawn(600, seed=10)
    labels, probabilities = drawn(1200, seed=11)
    shifted = [expit(logit(p) + 1) for p in (val, probabilities)]
    summary = summarize(val_labels, shifted[0], labels, shifted[1])
    assert summary["conclusion"] == "not_calibrated"
    assert "overestimated" in summary["faults"]


@pytest.mark.promise("E30")
@pytest.mark.parametrize("seed", range(5))
def test_a_small_test_set_never_shows_that_probabilities_are_calibrated(seed: int) -> None:
    val_labels, val = drawn(600, seed=20)
    labels, probabilities = drawn(73, seed)
    conclusion = summarize(val_labels, val, labels, probabilities)["conclusion"]
    assert conclusion in ("not_calibrated", "not_shown_too_few")


@pytest.mark.promise("A3")
def test_no_temperature_sees_a_test_label() -> None:
    val_labels, val = drawn(120, seed=1)
    labels, probabilities = drawn(200, seed=2)
    fitted = summarize(val_labels, val, labels, probabilities)
    scaled = reliability_curves(labels, probabilities, fitted["temperature"])["probability"]
    slopes = set()
    for seed in range(3):
        permuted = np.random.default_rng(seed).permutation(labels)
        again = summarize(val_labels, val, permuted, probabilities)
        assert again["temperature"].hex() == fitted["temperature"].hex()
        curves = reliability_curves(permuted, probabilities, again["temperature"])
        assert curves["probability"].to_numpy().tobytes() == scaled.to_numpy().tobytes()
        slopes.add(again["after"]["slope"])
    assert fitted["after"]["slope"] not in slopes  # the permuted labels were read
    flipped = summarize(np.roll(val_labels, 1), val, labels, probabilities)
    assert flipped["temperature"] != fitted["temperature"]  # and those of val do count


def test_without_both_classes_on_val_there_is_no_after() -> None:
    labels, probabilities = drawn(300, seed=4)
    summary = summarize([1, 1], [0.4, 0.6], labels, probabilities)
    assert np.isnan(summary["temperature"])
    assert np.isfinite(list(summary["before"].values())).all()
    assert np.isnan(list(summary["after"].values())).all()
    assert summary["after"].keys() == summary["before"].keys()
    assert summary["conclusion"] == "not_shown_no_temperature"
    curves = reliability_curves(labels, probabilities, summary["temperature"])
    assert curves["scaling"].unique().tolist() == ["before"]


def test_without_both_classes_on_test_nothing_is_claimed() -> None:
    summary = summarize(*drawn(100, seed=1), [0] * 30, np.linspace(0.1, 0.6, 30))
    assert np.isfinite(summary["after"]["brier"])
    assert summary["conclusion"] == "not_shown_undefined"


def line(slope: tuple[float, float], intercept: tuple[float, float]) -> dict[str, float]:
    """Intervals, with the middle as the value."""
    ends = {"slope": slope, "intercept": intercept}
    found = {}
    for name, (low, high) in ends.items():
        found |= {name: (low + high) / 2, f"{name}_low": low, f"{name}_high": high}
    return found


GOOD = line((0.9, 1.1), (-0.1, 0.1))


@pytest.mark.promise("E30")
@pytest.mark.parametrize(
    ("n", "abnormal", "after", "faults", "conclusion"),
    [
        (200, 100, GOOD, [], "calibrated"),
        (200, 100, line((1.0, 1.1), (-0.1, 0.0)), [], "calibrated"),
        (200, 100, line((0.9, 1.0), (0.0, 0.1)), [], "calibrated"),
        (199, 100, GOOD, [], "not_shown_too_few"),
        (199, 99, GOOD, [], "not_shown_too_few"),
        (200, 100, line((1.01, 1.1), (-0.1, 0.1)), ["too_moderate"], "not_calibrated"),
        (200, 100, line((0.9, 0.99), (-0.1, 0.1)), ["too_extreme"], "not_calibrated"),
        (200, 100, line((0.9, 1.1), (0.01, 0.1)), ["underestimated"], "not_calibrated"),
        (200, 100, line((0.9, 1.1), (-0.1, -0.01)), ["overestimated"], "not_calibrated"),
        (60, 30, line((0.5, 0.9), (0.1, 0.9)), ["too_extreme", "underestimated"], "not_calibrated"),
        (200, 100, line((0.0, 3.0), (-0.1, 0.1)), [], "not_shown_no_discrimination"),
        (200, 100, GOOD | {"slope_low": NAN}, [], "not_shown_undefined"),
        (200, 100, GOOD | {"intercept_low": NAN}, [], "not_shown_undefined"),
    ],
)
def test_the_conclusion_claims_no_more_than_the_intervals(
    n: int, abnormal: int, after: dict[str, float], faults: list[str], conclusion: str
) -> None:
    assert find_faults(after) == faults
    summary = {"temperature": 1.5, "n": n, "abnormal": abnormal, "after": after, "faults": faults}
    assert conclude_calibration(summary) == conclusion
