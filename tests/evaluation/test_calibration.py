"""Is a network calibrated? Fitted on val, measured on test."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelled import LABELLED, PROBABILITY, sample_labelled, split
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from ulna.evaluation.calibration import (
    BINS,
    CURVE_COLUMNS,
    HARM,
    LINE_COLUMNS,
    MIN_VAL,
    ROWS_PER_BIN,
    TEMPERATURES,
    apply_temperature,
    calibration_line,
    conclude_calibration,
    count_bins,
    ece,
    find_faults,
    fit_temperature,
    measure_calibration,
    murphy_decomposition,
    reliability_curve,
    reliability_curves,
    summarize_calibration,
    wilson_ci,
)
from ulna.evaluation.metrics import brier, log_loss, logit

NAN = float("nan")


@pytest.mark.promise("E30")
def test_a_summary_fits_on_val_and_measures_on_test() -> None:
    val_labels, val = sample_labelled(600, seed=10)
    labels, probabilities = sample_labelled(1200, seed=11)
    # A network three times too sure of itself.
    val, probabilities = (expit(3 * logit(p)) for p in (val, probabilities))
    summary = summarize_calibration(val_labels, val, labels, probabilities)
    assert list(summary) == [
        "temperature", "n_val", "min_val", "n", "abnormal", "bins", "before", "after",
        "min_per_class", "faults", "conclusion",
    ]  # fmt: skip
    assert summary["temperature"] == fit_temperature(val_labels, val)
    assert summary["temperature"] == pytest.approx(3, abs=0.5)
    assert (summary["n_val"], summary["n"], summary["bins"]) == (600, 1200, 10)
    assert summary["abnormal"] == labels.sum()
    before, after = summary["before"], summary["after"]
    assert list(before) == list(after) == [
        "log_loss", "brier", "reliability", "resolution", "uncertainty", "within_bins", "ece",
        *LINE_COLUMNS,
    ]  # fmt: skip
    assert before["slope_high"] < 1 and after["slope_low"] < 1 < after["slope_high"]
    assert before["ece"] > 0.1 > 0.05 > after["ece"]
    assert before["log_loss"] > after["log_loss"] and before["brier"] > after["brier"]
    assert before["resolution"] == pytest.approx(after["resolution"])  # the same rows in each bin
    assert summary["conclusion"] == "calibrated"

    patients = np.arange(1200) // 2
    clustered = summarize_calibration(val_labels, val, labels, probabilities, patients)
    for name in ("before", "after"):
        assert clustered[name]["slope"] == summary[name]["slope"]
        assert clustered[name]["slope_low"] != summary[name]["slope_low"]


@pytest.mark.promise("E30")
def test_a_shift_that_no_temperature_removes_is_not_calibrated() -> None:
    val_labels, val = sample_labelled(600, seed=10)
    labels, probabilities = sample_labelled(1200, seed=11)
    shifted = [expit(logit(p) + 1) for p in (val, probabilities)]
    summary = summarize_calibration(val_labels, shifted[0], labels, shifted[1])
    assert summary["conclusion"] == "not_calibrated"
    assert "overestimated" in summary["faults"]


@pytest.mark.promise("E30")
@pytest.mark.parametrize("seed", range(5))
def test_a_small_test_set_never_shows_that_probabilities_are_calibrated(seed: int) -> None:
    val_labels, val = sample_labelled(600, seed=20)
    labels, probabilities = sample_labelled(73, seed)
    conclusion = summarize_calibration(val_labels, val, labels, probabilities)["conclusion"]
    assert conclusion in ("harmful", "not_calibrated", "not_shown_too_few")


@pytest.mark.promise("A3")
def test_no_temperature_sees_a_test_label() -> None:
    val_labels, val = sample_labelled(120, seed=1)
    labels, probabilities = sample_labelled(200, seed=2)
    fitted = summarize_calibration(val_labels, val, labels, probabilities)
    scaled = reliability_curves(labels, probabilities, fitted["temperature"])["probability"]
    slopes = set()
    for seed in range(3):
        permuted = np.random.default_rng(seed).permutation(labels)
        again = summarize_calibration(val_labels, val, permuted, probabilities)
        assert again["temperature"].hex() == fitted["temperature"].hex()
        curves = reliability_curves(permuted, probabilities, again["temperature"])
        assert curves["probability"].to_numpy().tobytes() == scaled.to_numpy().tobytes()
        slopes.add(again["after"]["slope"])
    assert fitted["after"]["slope"] not in slopes  # the permuted labels were read
    flipped = summarize_calibration(np.roll(val_labels, 1), val, labels, probabilities)
    assert flipped["temperature"] != fitted["temperature"]  # and those of val do count


def test_without_both_classes_on_val_there_is_no_after() -> None:
    labels, probabilities = sample_labelled(300, seed=4)
    summary = summarize_calibration(
        [1] * MIN_VAL, np.linspace(0.4, 0.6, MIN_VAL), labels, probabilities
    )
    assert np.isnan(summary["temperature"])
    assert np.isfinite(list(summary["before"].values())).all()
    assert np.isnan(list(summary["after"].values())).all()
    assert summary["after"].keys() == summary["before"].keys()
    assert summary["conclusion"] == "not_shown_no_temperature"
    curves = reliability_curves(labels, probabilities, summary["temperature"])
    assert curves["scaling"].unique().tolist() == ["before"]


def test_without_both_classes_on_test_nothing_is_claimed() -> None:
    summary = summarize_calibration(
        *sample_labelled(100, seed=1), [0] * 30, np.linspace(0.1, 0.6, 30)
    )
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
    summary = {
        "temperature": 1.5, "n_val": MIN_VAL, "n": n, "abnormal": abnormal, "faults": faults,
        "before": {"log_loss": 0.4}, "after": after | {"log_loss": 0.4},
    }  # fmt: skip
    assert conclude_calibration(summary) == conclusion
    assert conclude_calibration(summary | {"n_val": MIN_VAL - 1}) == "not_shown_few_val"
    worse = summary | {"before": {"log_loss": 0.4 - 2 * HARM}}
    harmful = conclusion if conclusion == "not_shown_undefined" else "harmful"
    assert conclude_calibration(worse) == harmful


@pytest.mark.promise("E30")
def test_scaling_that_did_harm_is_told() -> None:
    """Val is of a network three times too sure of itself, test is not."""
    val_labels, val = sample_labelled(600, seed=10)
    labels, probabilities = sample_labelled(80, seed=11)
    summary = summarize_calibration(val_labels, expit(3 * logit(val)), labels, probabilities)
    assert summary["after"]["log_loss"] > summary["before"]["log_loss"]
    assert summary["conclusion"] == "harmful"
    few = slice(38)  # fewer than 20 of a class: the harm may be chance
    assert min(np.bincount(labels[few])) < 20
    few_tested = summarize_calibration(val_labels, val, labels[few], probabilities[few])
    assert few_tested["conclusion"] != "harmful"


def test_no_temperature_is_fitted_on_few_studies() -> None:
    labels, probabilities = sample_labelled(300, seed=4)
    val_labels, val = sample_labelled(MIN_VAL, seed=5)
    assert np.isfinite(summarize_calibration(val_labels, val, labels, probabilities)["temperature"])
    summary = summarize_calibration(val_labels[1:], val[1:], labels, probabilities)
    assert np.isnan(summary["temperature"]) and np.isnan(summary["after"]["slope"])
    assert summary["conclusion"] == "not_shown_few_val"


def test_logit_of_0_and_1_is_finite_and_symmetric() -> None:
    assert logit([0.0, 1.0]) == pytest.approx([math.log(2**-52), -math.log(2**-52)])


@given(LABELLED)
def test_log_loss_and_brier_are_sums_over_rows(rows: list[tuple[int, float]]) -> None:
    labels, probabilities = split(rows)
    inside = [min(max(p, 2**-52), 1 - 2**-52) for p in probabilities]
    logs = [math.log(p) if y else math.log1p(-p) for y, p in zip(labels, inside, strict=True)]
    expected = -math.fsum(logs) / len(rows)
    assert log_loss(labels, probabilities) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    squares = [(p - y) ** 2 for y, p in rows]
    assert brier(labels, probabilities) == pytest.approx(math.fsum(squares) / len(rows))


@pytest.mark.parametrize(("says", "right"), [(0.9, 0.75), (0.6, 0.75), (0.75, 0.75), (0.99, 0.6)])
def test_the_temperature_of_one_confidence_is_that_of_the_closed_form(
    says: float, right: float
) -> None:
    # Each says 0.9 for its class and 3 of 4 are right: expit(logit(0.9) / T) must be 0.75.
    n = 200
    labels = np.arange(n) % 2
    positive = np.where(np.arange(n) < right * n, labels, 1 - labels)
    probabilities = np.where(positive == 1, says, 1 - says)
    odds = math.log(says / (1 - says)) / math.log(right / (1 - right))
    temperature = fit_temperature(labels, probabilities)
    assert temperature == pytest.approx(odds, rel=1e-12)
    scaled = apply_temperature(probabilities, temperature)
    assert np.maximum(scaled, 1 - scaled) == pytest.approx(np.full(n, right), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(0.3, 3))
def test_no_temperature_nearby_fits_better_and_stretched_logits_stretch_it(
    seed: int, factor: float
) -> None:
    labels, probabilities = sample_labelled(80, seed)
    temperature = fit_temperature(labels, probabilities)
    assume(TEMPERATURES[0] * 4 < temperature < TEMPERATURES[1] / 4)
    losses = [
        log_loss(labels, apply_temperature(probabilities, temperature * near))
        for near in (0.5, 0.99, 0.999, 1, 1.001, 1.01, 2)
    ]
    assert min(losses) == losses[3]
    stretched = expit(factor * logit(probabilities))
    assert fit_temperature(labels, stretched) == pytest.approx(factor * temperature, rel=1e-5)


def test_without_rows_losses_are_undefined() -> None:
    assert np.isnan([log_loss([], []), brier([], [])]).all()


def test_a_temperature_needs_both_classes() -> None:
    assert np.isnan(fit_temperature([], []))
    assert np.isnan(fit_temperature([1, 1], [0.3, 0.8]))
    assert np.isnan(fit_temperature([0], [0.3]))


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ([0, 1], [0.4, 0.6]),  # no mistake at 0.5: the lower the better
        ([0, 1, 1], [0.4, 0.5, 0.9]),  # nor on it
        ([1, 0], [0.4, 0.6]),  # the wrong way round: the higher the better
        ([1, 0, 1, 0], [0.2, 0.2, 0.7, 0.7]),  # by chance
        ([1, 0], [0.5, 0.5]),  # all alike, at any temperature
        ([0] * 9 + [1] * 10, [0.3] * 9 + [0.4999999] + [0.7] * 9),  # best below the limit
    ],
)
def test_without_a_best_temperature_there_is_none(
    labels: list[int], probabilities: list[float]
) -> None:
    assert np.isnan(fit_temperature(labels, probabilities))


@given(st.integers(0, 10_000), st.integers(2, 40))
@settings(deadline=None, max_examples=60)
def test_a_temperature_is_where_the_loss_is_flat(seed: int, n: int) -> None:
    labels, probabilities = sample_labelled(n, seed, spread=0.5)
    temperature = fit_temperature(labels, probabilities)
    if np.isnan(temperature):
        # One class, or the slope of the loss over 1 / T has one sign from end to end.
        slopes = [apply_temperature(probabilities, t) - labels for t in TEMPERATURES]
        signs = [np.sign(np.mean(slope * logit(probabilities))) for slope in slopes]
        assert len(set(labels)) == 1 or signs[0] <= 0 or signs[1] >= 0
        return
    errors = apply_temperature(probabilities, temperature) - labels
    assert TEMPERATURES[0] < temperature < TEMPERATURES[1]
    assert np.mean(errors * logit(probabilities)) == pytest.approx(0, abs=1e-13)


def test_two_degrees_take_the_root_of_the_odds() -> None:
    assert apply_temperature([0.1, 0.5, 0.9], 2.0) == pytest.approx([0.25, 0.5, 0.75])


@given(st.lists(PROBABILITY, min_size=1, max_size=30), st.floats(*TEMPERATURES))
def test_a_temperature_keeps_the_order(probabilities: list[float], temperature: float) -> None:
    scaled = apply_temperature(sorted(probabilities), temperature)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled) >= 0).all()
    assert apply_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-15)


def test_without_rows_scores_are_undefined() -> None:
    curve = reliability_curve([], [], 10)
    assert tuple(curve.columns) == CURVE_COLUMNS and curve.empty
    assert np.isnan(
        [
            ece(curve),
            *murphy_decomposition(curve).values(),
            *measure_calibration([], [], None).values(),
        ]
    ).all()
    assert np.isnan(list(calibration_line([], []).values())).all()


def test_a_curve_is_that_of_a_sum_by_hand() -> None:
    labels = [1, 0, 0, 1, 0, 1, 1]
    probabilities = [0.9, 0.1, 0.2, 0.3, 0.4, 0.4, 1.0]
    # Ranks 0.1 0.2 0.3 | 0.4 0.4 | 0.9 1.0; the middle of the two 0.4 is 4 of 7: bin 1 of 3.
    curve = reliability_curve(labels, probabilities, 3)
    assert curve["n"].tolist() == [2, 3, 2]
    assert curve["abnormal"].tolist() == [0, 2, 2]
    assert curve["probability"].tolist() == pytest.approx([0.15, 1.1 / 3, 0.95])
    assert curve["share_abnormal"].tolist() == pytest.approx([0, 2 / 3, 1])
    # 2/7 |0.15 - 0| + 3/7 |0.367 - 0.667| + 2/7 |0.95 - 1|
    assert ece(curve) == pytest.approx((2 * 0.15 + 3 * 0.3 + 2 * 0.05) / 7)


@settings(deadline=None)
@given(LABELLED, st.integers(1, 12), st.randoms(use_true_random=False))
def test_bins_hold_every_row_once_and_equal_probabilities_together(rows, bins, random) -> None:
    labels, probabilities = split(rows)
    curve = reliability_curve(labels, probabilities, bins)
    assert curve["n"].sum() == len(rows) and (curve["n"] > 0).all()
    assert curve["abnormal"].sum() == sum(labels)
    assert 1 <= len(curve) <= bins
    # Each distinct value in one bin: the bins' sizes are sums of whole groups in rising order.
    upto = np.cumsum([probabilities.count(p) for p in sorted(set(probabilities))])
    assert set(curve["n"].cumsum()) <= set(upto)
    if len(set(probabilities)) == len(rows):
        assert len(curve) == min(bins, len(rows))
        assert curve["n"].max() - curve["n"].min() <= 1
    within = curve["share_abnormal"].between(curve["low"], curve["high"])
    assert within.all()

    shuffled = random.sample(rows, len(rows))
    again = reliability_curve(*split(shuffled), bins)
    pd.testing.assert_frame_equal(again, curve, check_exact=True)


def test_a_curve_without_ties_is_scikit_learns() -> None:
    labels, probabilities = sample_labelled(500, seed=1)
    curve = reliability_curve(labels, probabilities, 10)
    shares, means = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    assert curve["share_abnormal"].to_numpy() == pytest.approx(shares)
    assert curve["probability"].to_numpy() == pytest.approx(means)
    assert curve["n"].tolist() == [50] * 10


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17(8), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_cis_of_proportions_are_the_published_ones(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson_ci([successes], [trials])
    assert [round(float(end[0]), 4) for end in found] == [low, high]


@pytest.mark.parametrize("counts", [(0, 7), (3, 3), (1, 2), (40, 90), (499, 500)])
def test_limits_of_a_share_are_as_far_from_it_as_the_normal_quantile(counts) -> None:
    """Wilson's limits solve |share - p| = z sqrt(p (1 - p) / n)."""
    successes, n = counts
    for limit in (float(end[0]) for end in wilson_ci([successes], [n])):
        distance = abs(successes / n - limit) / math.sqrt(max(limit * (1 - limit), 1e-300) / n)
        assert distance == pytest.approx(1.959963984540054) or limit in (0, 1)


@settings(deadline=None)
@given(LABELLED, st.integers(1, 12))
def test_murphys_parts_add_up_to_the_brier_score_of_the_bins(rows, bins) -> None:
    curve = reliability_curve(*split(rows), bins)
    parts = murphy_decomposition(curve)
    binned = math.fsum(
        row.abnormal * (row.probability - 1) ** 2 + (row.n - row.abnormal) * row.probability**2
        for row in curve.itertuples()
    ) / len(rows)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    assert total == pytest.approx(binned, abs=1e-12)
    assert min(parts.values()) >= 0
    assert parts["resolution"] <= parts["uncertainty"] + 1e-12 <= 0.25 + 2e-12


def test_murphys_parts_of_a_perfect_and_of_a_blind_forecast() -> None:
    perfect = murphy_decomposition(reliability_curve([0, 0, 1, 1], [0, 0, 1, 1], 2))
    assert perfect == {"reliability": 0, "resolution": 0.25, "uncertainty": 0.25}
    blind = murphy_decomposition(reliability_curve([0, 0, 0, 1], [0.5] * 4, 2))
    assert blind == {"reliability": 0.0625, "resolution": 0, "uncertainty": 0.1875}


@settings(deadline=None)
@given(LABELLED)
def test_brier_is_the_sum_of_its_parts(rows) -> None:
    """within_bins by its definition: variance in the bins less twice the covariance."""
    labels, probabilities = split(rows)
    found = measure_calibration(labels, probabilities, None)
    parts = found["reliability"] - found["resolution"] + found["uncertainty"]
    assert parts + found["within_bins"] == pytest.approx(found["brier"], abs=1e-12)
    curve = reliability_curve(labels, probabilities, count_bins(len(rows)))
    ends, hidden = np.cumsum(curve["n"]), 0.0
    order = np.argsort(probabilities, kind="stable")
    for bin_rows in np.split(order, ends[:-1]):
        p, y = np.array(probabilities)[bin_rows], np.array(labels)[bin_rows]
        hidden += ((p - p.mean()) ** 2).sum() - 2 * ((p - p.mean()) * (y - y.mean())).sum()
    assert found["within_bins"] == pytest.approx(hidden / len(rows), abs=1e-12)


def two_groups(m: int = 1) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """40 rows of 0.2, 30% abnormal; 60 of 0.7, 80% abnormal; each m times."""
    labels = np.repeat([1, 0, 1, 0], [12, 28, 48, 12])
    probabilities = np.repeat([0.2, 0.7], [40, 60])
    patients = np.arange(100)
    return tuple(np.repeat(column, m) for column in (labels, probabilities, patients))


def test_slope_and_its_interval_are_those_of_the_closed_form() -> None:
    labels, probabilities, _ = two_groups()
    line = calibration_line(labels, probabilities)
    assert tuple(line) == LINE_COLUMNS
    # Two groups, two coefficients: the line runs through both log odds.
    run = math.log(0.7 / 0.3) - math.log(0.2 / 0.8)
    slope = (math.log(0.8 / 0.2) - math.log(0.3 / 0.7)) / run
    # The variance of a log odds is 1 / (n q (1 - q)); 100 / 99 for 100 rows.
    error = math.sqrt((1 / (40 * 0.3 * 0.7) + 1 / (60 * 0.8 * 0.2)) * 100 / 99) / run
    assert line["slope"] == pytest.approx(slope, rel=1e-6)
    assert line["slope_low"] == pytest.approx(slope - 1.959964 * error, rel=1e-6)
    assert line["slope_high"] == pytest.approx(slope + 1.959964 * error, rel=1e-6)


def test_intercept_and_its_interval_are_those_of_the_closed_form() -> None:
    # All are 0.2; 30 of 100 are abnormal.
    line = calibration_line([1] * 30 + [0] * 70, [0.2] * 100)
    intercept = math.log(0.3 / 0.7) - math.log(0.2 / 0.8)
    error = math.sqrt(1 / (100 * 0.3 * 0.7) * 100 / 99)
    assert line["intercept"] == pytest.approx(intercept, rel=1e-6)
    assert line["intercept_low"] == pytest.approx(intercept - 1.959964 * error, rel=1e-6)
    assert line["intercept_high"] == pytest.approx(intercept + 1.959964 * error, rel=1e-6)
    assert np.isnan(line["slope"])  # one probability has no slope


def test_copies_of_a_patients_rows_do_not_narrow_the_ci() -> None:
    labels, probabilities, _ = two_groups()
    once = calibration_line(labels, probabilities)
    *copied, patients = two_groups(4)
    assert calibration_line(*copied, patients) == pytest.approx(once, rel=1e-6)
    naive = calibration_line(*copied)
    assert naive["slope"] == pytest.approx(once["slope"], rel=1e-6)
    width, wider = (line["slope_high"] - line["slope_low"] for line in (naive, once))
    assert wider == pytest.approx(2 * width, rel=0.01)  # the root of 4


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_that_of_scikit_learns_logistic_regression(seed: int) -> None:
    labels, probabilities = sample_labelled(150, seed)
    probabilities = expit(3 * logit(probabilities) - 1)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(logit(probabilities)[:, np.newaxis], labels)
    line = calibration_line(labels, probabilities)
    assert line["slope"] == pytest.approx(model.coef_[0, 0], rel=1e-5)
    # What the offset model is for: as many abnormal as expected.
    shifted = expit(logit(probabilities) + line["intercept"])
    assert shifted.mean() == pytest.approx(labels.mean(), abs=1e-8)


def test_a_line_without_both_classes_or_without_overlap_is_undefined() -> None:
    assert np.isnan(list(calibration_line([1, 1], [0.2, 0.8]).values())).all()
    for labels in ([0, 0, 1, 1], [1, 1, 0, 0]):
        # The steeper the better, without an end; a shared value in the middle does not mend it.
        for probabilities in ([0.1, 0.2, 0.8, 0.9], [0.1, 0.5, 0.5, 0.9]):
            line = calibration_line(labels, probabilities)
            assert np.isnan([line["slope"], line["slope_low"], line["slope_high"]]).all()
            assert np.isfinite([line["intercept"], line["intercept_low"]]).all()


def test_one_patient_has_no_interval() -> None:
    line = calibration_line([0, 1, 0, 1], [0.2, 0.3, 0.4, 0.5], ["p"] * 4)
    assert np.isfinite([line["slope"], line["intercept"]]).all()
    assert np.isnan([line["slope_low"], line["intercept_high"]]).all()


@settings(deadline=None, max_examples=60)
@given(LABELLED)
def test_a_line_is_found_for_any_probabilities(rows: list[tuple[int, float]]) -> None:
    labels, probabilities = split(rows)
    assume(0 < sum(labels) < len(labels))
    line = calibration_line(labels, probabilities)
    shifted = expit(logit(probabilities) + line["intercept"])
    assert shifted.mean() == pytest.approx(np.mean(labels), abs=1e-6)


def test_a_temperature_divides_the_slope() -> None:
    labels, probabilities = sample_labelled(300, seed=5)
    before = calibration_line(labels, probabilities)
    after = calibration_line(labels, apply_temperature(probabilities, 2.5))
    for name in ("slope", "slope_low", "slope_high"):
        assert after[name] == pytest.approx(2.5 * before[name], rel=1e-6)


def test_the_sandwich_is_that_of_its_definition() -> None:
    """Liang and Zeger's: the inverse curvature around the sum of squares of patients' scores."""
    labels, probabilities = sample_labelled(90, seed=8)
    patients = np.repeat(np.arange(30), [1, 2, 3, 4, 5] * 6)
    line = calibration_line(labels, probabilities, patients)
    z = logit(probabilities)
    slope = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000).fit(z[:, np.newaxis], labels)
    weights = np.array([slope.intercept_[0], slope.coef_[0, 0]])
    rows = [np.array([1.0, value]) for value in z]
    expected = [1 / (1 + math.exp(-row @ weights)) for row in rows]
    curvature = sum(e * (1 - e) * np.outer(row, row) for e, row in zip(expected, rows, strict=True))
    meat = np.zeros((2, 2))
    for patient in range(30):
        score = sum(
            (labels[k] - expected[k]) * rows[k] for k in np.flatnonzero(patients == patient)
        )
        meat += np.outer(score, score)
    variance = (np.linalg.inv(curvature) @ meat @ np.linalg.inv(curvature))[1, 1] * 30 / 29
    assert line["slope_high"] - line["slope"] == pytest.approx(1.959964 * variance**0.5, rel=1e-4)


def test_nearly_separated_classes_have_a_steep_but_finite_slope() -> None:
    # One step of the last bit apart, the wrong way round.
    above = np.nextafter(0.5, 1)
    line = calibration_line([0, 0, 1, 1], [0.1, above, 0.5, 0.9])
    assert 10 < line["slope"] < np.inf
    assert np.isfinite([line["slope_low"], line["slope_high"]]).all()


@pytest.mark.promise("E30")
def test_coverage_of_the_cis_of_true_probabilities() -> None:
    held = np.zeros(2)
    trials = 150
    for seed in range(trials):
        # Pairs of the same row are one patient: 300 rows, but 150 that tell something.
        labels, probabilities = (np.repeat(column, 2) for column in sample_labelled(150, seed))
        line = calibration_line(labels, probabilities, np.repeat(np.arange(150), 2))
        held += (
            line["slope_low"] <= 1 <= line["slope_high"],
            line["intercept_low"] <= 0 <= line["intercept_high"],
        )
    assert (held / trials >= 0.89).all() and (held / trials <= 0.99).all()


def test_bins_are_fewer_where_rows_are() -> None:
    assert [count_bins(n) for n in (0, 1, 29, 30, 73, 149, 150, 1199)] == [1, 1, 1, 2, 4, 9, 10, 10]
    assert (BINS, ROWS_PER_BIN) == (10, 15)


def test_the_curves_before_and_after_hold_the_same_studies() -> None:
    labels, probabilities = sample_labelled(200, seed=4)
    curves = reliability_curves(labels, probabilities, 2.0)
    assert tuple(curves.columns) == ("scaling", *CURVE_COLUMNS)
    before, after = (
        curves[curves["scaling"] == s].set_index("scaling") for s in ("before", "after")
    )
    shared = ["n", "abnormal", "share_abnormal", "low", "high"]
    assert before[shared].to_numpy().tolist() == after[shared].to_numpy().tolist()
    expected = reliability_curve(labels, apply_temperature(probabilities, 2.0), 10)
    assert after["probability"].tolist() == expected["probability"].tolist()
