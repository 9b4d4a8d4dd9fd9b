"""Probabilities against the truth: closed forms, published intervals, identities, simulations."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelled import LABELLED, drawn, split
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from ulna.judging.reliability import (
    BINS,
    CURVE_COLUMNS,
    LINE,
    ROWS_A_BIN,
    calibration_line,
    count_bins,
    ece,
    measure,
    murphy,
    reliability_curve,
    reliability_curves,
    wilson,
)
from ulna.judging.temperature import apply_temperature, logit


def test_without_rows_scores_are_undefined() -> None:
    curve = reliability_curve([], [], 10)
    assert tuple(curve.columns) == CURVE_COLUMNS and curve.empty
    assert np.isnan([ece(curve), *murphy(curve).values(), *measure([], [], None).values()]).all()
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
    labels, probabilities = drawn(500, seed=1)
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
def test_intervals_of_shares_are_the_published_ones(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson([successes], [trials])
    assert [round(float(end[0]), 4) for end in found] == [low, high]


@pytest.mark.parametrize("counts", [(0, 7), (3, 3), (1, 2), (40, 90), (499, 500)])
def test_limits_of_a_share_are_as_far_from_it_as_the_normal_quantile(counts) -> None:
    """Wilson's limits solve |share - p| = z sqrt(p (1 - p) / n)."""
    successes, n = counts
    for limit in (float(end[0]) for end in wilson([successes], [n])):
        distance = abs(successes / n - limit) / math.sqrt(max(limit * (1 - limit), 1e-300) / n)
        assert distance == pytest.approx(1.959963984540054) or limit in (0, 1)


@settings(deadline=None)
@given(LABELLED, st.integers(1, 12))
def test_murphys_parts_add_up_to_the_brier_score_of_the_bins(rows, bins) -> None:
    curve = reliability_curve(*split(rows), bins)
    parts = murphy(curve)
    binned = math.fsum(
        row.abnormal * (row.probability - 1) ** 2 + (row.n - row.abnormal) * row.probability**2
        for row in curve.itertuples()
    ) / len(rows)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    assert total == pytest.approx(binned, abs=1e-12)
    assert min(parts.values()) >= 0
    assert parts["resolution"] <= parts["uncertainty"] + 1e-12 <= 0.25 + 2e-12


def test_murphys_parts_of_a_perfect_and_of_a_blind_forecast() -> None:
    perfect = murphy(reliability_curve([0, 0, 1, 1], [0, 0, 1, 1], 2))
    assert perfect == {"reliability": 0, "resolution": 0.25, "uncertainty": 0.25}
    blind = murphy(reliability_curve([0, 0, 0, 1], [0.5] * 4, 2))
    assert blind == {"reliability": 0.0625, "resolution": 0, "uncertainty": 0.1875}


@settings(deadline=None)
@given(LABELLED)
def test_brier_is_the_sum_of_its_parts(rows) -> None:
    """within_bins by its definition: variance in the bins less twice the covariance."""
    labels, probabilities = split(rows)
    found = measure(labels, probabilities, None)
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
    """40 rows said to be 0.2, 30% abnormal; 60 said to be 0.7, 80% abnormal; each m times."""
    labels = np.repeat([1, 0, 1, 0], [12, 28, 48, 12])
    probabilities = np.repeat([0.2, 0.7], [40, 60])
    patients = np.arange(100)
    return tuple(np.repeat(column, m) for column in (labels, probabilities, patients))


def test_slope_and_its_interval_are_those_of_the_closed_form() -> None:
    labels, probabilities, _ = two_groups()
    line = calibration_line(labels, probabilities)
    assert tuple(line) == LINE
    # Two groups, two coefficients: the line runs through both log odds.
    run = math.log(0.7 / 0.3) - math.log(0.2 / 0.8)
    slope = (math.log(0.8 / 0.2) - math.log(0.3 / 0.7)) / run
    # The variance of a log odds is 1 / (n q (1 - q)); 100 / 99 for 100 rows.
    error = math.sqrt((1 / (40 * 0.3 * 0.7) + 1 / (60 * 0.8 * 0.2)) * 100 / 99) / run
    assert line["slope"] == pytest.approx(slope, rel=1e-6)
    assert line["slope_low"] == pytest.approx(slope - 1.959964 * error, rel=1e-6)
    assert line["slope_high"] == pytest.approx(slope + 1.959964 * error, rel=1e-6)


def test_intercept_and_its_interval_are_those_of_the_closed_form() -> None:
    # All are said to be 0.2; 30 of 100 are abnormal.
    line = calibration_line([1] * 30 + [0] * 70, [0.2] * 100)
    intercept = math.log(0.3 / 0.7) - math.log(0.2 / 0.8)
    error = math.sqrt(1 / (100 * 0.3 * 0.7) * 100 / 99)
    assert line["intercept"] == pytest.approx(intercept, rel=1e-6)
    assert line["intercept_low"] == pytest.approx(intercept - 1.959964 * error, rel=1e-6)
    assert line["intercept_high"] == pytest.approx(intercept + 1.959964 * error, rel=1e-6)
    assert np.isnan(line["slope"])  # one probability has no slope


def test_copies_of_a_patients_rows_tell_nothing_new() -> None:
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
    labels, probabilities = drawn(150, seed)
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
    labels, probabilities = drawn(300, seed=5)
    before = calibration_line(labels, probabilities)
    after = calibration_line(labels, apply_temperature(probabilities, 2.5))
    for name in ("slope", "slope_low", "slope_high"):
        assert after[name] == pytest.approx(2.5 * before[name], rel=1e-6)


def test_the_sandwich_is_that_of_its_definition() -> None:
    """Liang and Zeger's: the inverse curvature around the sum of squares of patients' scores."""
    labels, probabilities = drawn(90, seed=8)
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
def test_intervals_of_true_probabilities_hold_1_and_0_as_often_as_they_say() -> None:
    held = np.zeros(2)
    draws = 150
    for seed in range(draws):
        # Pairs of the same row are one patient: 300 rows, but 150 that tell something.
        labels, probabilities = (np.repeat(column, 2) for column in drawn(150, seed))
        line = calibration_line(labels, probabilities, np.repeat(np.arange(150), 2))
        held += (
            line["slope_low"] <= 1 <= line["slope_high"],
            line["intercept_low"] <= 0 <= line["intercept_high"],
        )
    assert (held / draws >= 0.89).all() and (held / draws <= 0.99).all()


def test_bins_are_fewer_where_rows_are() -> None:
    assert [count_bins(n) for n in (0, 1, 29, 30, 73, 149, 150, 1199)] == [1, 1, 1, 2, 4, 9, 10, 10]
    assert (BINS, ROWS_A_BIN) == (10, 15)


def test_the_curves_before_and_after_hold_the_same_studies() -> None:
    labels, probabilities = drawn(200, seed=4)
    curves = reliability_curves(labels, probabilities, 2.0)
    assert tuple(curves.columns) == ("scaling", *CURVE_COLUMNS)
    before, after = (
        curves[curves["scaling"] == s].set_index("scaling") for s in ("before", "after")
    )
    shared = ["n", "abnormal", "share_abnormal", "low", "high"]
    assert before[shared].to_numpy().tolist() == after[shared].to_numpy().tolist()
    expected = reliability_curve(labels, apply_temperature(probabilities, 2.0), 10)
    assert after["probability"].tolist() == expected["probability"].tolist()
