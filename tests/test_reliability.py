"""Probabilities against the truth: closed forms, published intervals, identities, simulations."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from ulna.judging.reliability import (
    BINS,
    CURVE_COLUMNS,
    LINE,
    MIN_A_CLASS,
    ROWS_A_BIN,
    TEMPERATURES,
    apply_temperature,
    brier,
    calibration_line,
    count_bins,
    ece,
    fit_temperature,
    log_loss,
    logit,
    murphy,
    reliability_curve,
    reliability_curves,
    summarize,
    verdict,
    wilson,
)
from ulna.predictions import sigmoid

REPOSITORY = Path(__file__).resolve().parents[1]
# A few round values give ties.
PROBABILITY = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
LABELLED = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=60)
NAN = float("nan")


def drawn(n: int, seed: int, spread: float = 2.0) -> tuple[npt.NDArray, npt.NDArray]:
    """Labels, and the probabilities that they were drawn with."""
    rng = np.random.default_rng(seed)
    probabilities = sigmoid(rng.normal(0, spread, n))
    return (rng.random(n) < probabilities).astype(np.int64), probabilities


def split(rows: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [label for label, _ in rows], [probability for _, probability in rows]


@given(st.lists(st.floats(-30, 30), min_size=1))
def test_logit_undoes_the_sigmoid(logits: list[float]) -> None:
    # Near 1 a probability has few digits of 1 - p left: at 30, 1e-16 of 1e-13.
    np.testing.assert_allclose(logit(sigmoid(logits)), logits, rtol=1e-3, atol=1e-15)
    assert logit([0.2]).tolist() == [pytest.approx(math.log(0.2 / 0.8))]


def test_logit_of_0_and_1_is_finite_and_symmetric() -> None:
    assert logit([0.0, 1.0]) == pytest.approx([math.log(2**-52), -math.log(2**-52)])


@given(LABELLED)
def test_log_loss_and_brier_are_scikit_learns(rows: list[tuple[int, float]]) -> None:
    labels, probabilities = split(rows)
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=[0, 1])
    assert log_loss(labels, probabilities) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    squares = [(p - y) ** 2 for y, p in rows]
    assert brier(labels, probabilities) == pytest.approx(math.fsum(squares) / len(rows))


def test_without_rows_scores_are_undefined() -> None:
    curve = reliability_curve([], [], 10)
    assert tuple(curve.columns) == CURVE_COLUMNS and curve.empty
    assert np.isnan([log_loss([], []), brier([], []), ece(curve), *murphy(curve).values()]).all()
    assert np.isnan(fit_temperature([], []))
    assert np.isnan(list(calibration_line([], []).values())).all()


@pytest.mark.parametrize(("says", "right"), [(0.9, 0.75), (0.6, 0.75), (0.75, 0.75), (0.99, 0.6)])
def test_the_temperature_of_one_confidence_is_that_of_the_closed_form(
    says: float, right: float
) -> None:
    # Each says 0.9 for its class and 3 of 4 are right: sigmoid(logit(0.9) / T) must be 0.75.
    n = 200
    labels = np.arange(n) % 2
    called = np.where(np.arange(n) < right * n, labels, 1 - labels)
    probabilities = np.where(called == 1, says, 1 - says)
    odds = math.log(says / (1 - says)) / math.log(right / (1 - right))
    temperature = fit_temperature(labels, probabilities)
    assert temperature == pytest.approx(odds, rel=1e-6)
    scaled = apply_temperature(probabilities, temperature)
    assert np.maximum(scaled, 1 - scaled) == pytest.approx(np.full(n, right), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(0.3, 3))
def test_no_temperature_nearby_fits_better_and_stretched_logits_stretch_it(
    seed: int, factor: float
) -> None:
    labels, probabilities = drawn(80, seed)
    temperature = fit_temperature(labels, probabilities)
    assume(TEMPERATURES[0] * 4 < temperature < TEMPERATURES[1] / 4)
    losses = [
        log_loss(labels, apply_temperature(probabilities, temperature * near))
        for near in (0.5, 0.99, 0.999, 1, 1.001, 1.01, 2)
    ]
    assert min(losses) == losses[3]
    stretched = sigmoid(factor * logit(probabilities))
    assert fit_temperature(labels, stretched) == pytest.approx(factor * temperature, rel=1e-5)


def test_a_temperature_needs_both_classes() -> None:
    assert np.isnan(fit_temperature([1, 1], [0.3, 0.8]))
    assert np.isnan(fit_temperature([0], [0.3]))


def test_a_temperature_without_a_best_one_stays_within_its_limits() -> None:
    low, high = TEMPERATURES
    assert fit_temperature([0, 1], [0.4, 0.6]) == pytest.approx(low, rel=1e-4)
    assert fit_temperature([1, 0], [0.4, 0.6]) == pytest.approx(high, rel=1e-4)


def test_two_degrees_take_the_root_of_the_odds() -> None:
    assert apply_temperature([0.1, 0.5, 0.9], 2.0) == pytest.approx([0.25, 0.5, 0.75])


@given(st.lists(PROBABILITY, min_size=1, max_size=30), st.floats(*TEMPERATURES))
def test_a_temperature_keeps_the_order(probabilities: list[float], temperature: float) -> None:
    scaled = apply_temperature(sorted(probabilities), temperature)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled) >= 0).all()
    assert apply_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-15)


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


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_of_shares_are_scipys(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)


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
    probabilities = sigmoid(3 * logit(probabilities) - 1)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(logit(probabilities)[:, np.newaxis], labels)
    line = calibration_line(labels, probabilities)
    assert line["slope"] == pytest.approx(model.coef_[0, 0], rel=1e-5)
    # What the offset model is for: as many abnormal as expected.
    shifted = sigmoid(logit(probabilities) + line["intercept"])
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
    shifted = sigmoid(logit(probabilities) + line["intercept"])
    assert shifted.mean() == pytest.approx(np.mean(labels), abs=1e-6)


def test_a_temperature_divides_the_slope() -> None:
    labels, probabilities = drawn(300, seed=5)
    before = calibration_line(labels, probabilities)
    after = calibration_line(labels, apply_temperature(probabilities, 2.5))
    for name in ("slope", "slope_low", "slope_high"):
        assert after[name] == pytest.approx(2.5 * before[name], rel=1e-6)


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


@pytest.mark.promise("E30")
def test_a_summary_fits_on_val_and_judges_test() -> None:
    val_labels, val = drawn(600, seed=10)
    labels, probabilities = drawn(1200, seed=11)
    # A network three times too sure of itself.
    val, probabilities = (sigmoid(3 * logit(p)) for p in (val, probabilities))
    summary = summarize(val_labels, val, labels, probabilities)
    assert list(summary) == [
        "temperature", "n_val", "n", "abnormal", "bins", "before", "after", "verdict",
    ]  # fmt: skip
    assert summary["temperature"] == fit_temperature(val_labels, val)
    assert summary["temperature"] == pytest.approx(3, abs=0.5)
    assert (summary["n_val"], summary["n"], summary["bins"]) == (600, 1200, 10)
    assert summary["abnormal"] == labels.sum()
    before, after = summary["before"], summary["after"]
    assert list(before) == list(after) == [
        "log_loss", "brier", "reliability", "resolution", "uncertainty", "ece", *LINE,
    ]  # fmt: skip
    assert before["slope_high"] < 1 and after["slope_low"] < 1 < after["slope_high"]
    assert before["ece"] > 0.1 > 0.05 > after["ece"]
    assert before["log_loss"] > after["log_loss"] and before["brier"] > after["brier"]
    assert before["resolution"] == pytest.approx(after["resolution"])  # the same rows in each bin
    assert summary["verdict"].startswith("Calibrated after temperature scaling")
    assert f"on 1,200 test studies ({labels.sum()} abnormal)" in summary["verdict"]

    patients = np.arange(1200) // 2
    clustered = summarize(val_labels, val, labels, probabilities, patients)
    for name in ("before", "after"):
        assert clustered[name]["slope"] == summary[name]["slope"]
        assert clustered[name]["slope_low"] != summary[name]["slope_low"]


@pytest.mark.promise("E30")
def test_what_a_temperature_cannot_mend_is_said() -> None:
    val_labels, val = drawn(600, seed=10)
    labels, probabilities = drawn(1200, seed=11)
    shifted = [sigmoid(logit(p) + 1) for p in (val, probabilities)]
    said = summarize(val_labels, shifted[0], labels, shifted[1])["verdict"]
    assert said.startswith("Not calibrated after temperature scaling, ")
    assert "abnormal is rarer than they say" in said


@pytest.mark.promise("E30")
@pytest.mark.parametrize("seed", range(5))
def test_a_small_test_set_never_shows_that_probabilities_are_calibrated(seed: int) -> None:
    val_labels, val = drawn(600, seed=20)
    labels, probabilities = drawn(73, seed)
    said = summarize(val_labels, val, labels, probabilities)["verdict"]
    assert said.startswith("Not ")
    assert f"{MIN_A_CLASS} " in said and "of each class" in said


@pytest.mark.promise("A3")
def test_no_temperature_sees_a_test_label() -> None:
    val_labels, val = drawn(120, seed=1)
    labels, probabilities = drawn(200, seed=2)
    fitted = summarize(val_labels, val, labels, probabilities)
    scaled = reliability_curves(labels, probabilities, fitted["temperature"])["probability"]
    verdicts = set()
    for seed in range(3):
        permuted = np.random.default_rng(seed).permutation(labels)
        again = summarize(val_labels, val, permuted, probabilities)
        assert again["temperature"].hex() == fitted["temperature"].hex()
        curves = reliability_curves(permuted, probabilities, again["temperature"])
        assert curves["probability"].to_numpy().tobytes() == scaled.to_numpy().tobytes()
        verdicts.add(again["verdict"])
    assert fitted["verdict"] not in verdicts  # the permuted labels were read
    flipped = summarize(np.roll(val_labels, 1), val, labels, probabilities)
    assert flipped["temperature"] != fitted["temperature"]  # and those of val do count


def test_without_both_classes_on_val_there_is_no_after() -> None:
    labels, probabilities = drawn(300, seed=4)
    summary = summarize([1, 1], [0.4, 0.6], labels, probabilities)
    assert np.isnan(summary["temperature"])
    assert np.isfinite(list(summary["before"].values())).all()
    assert np.isnan(list(summary["after"].values())).all()
    assert summary["after"].keys() == summary["before"].keys()
    assert "no temperature could be fitted, split val lacks normal or abn" in summary["verdict"]
    curves = reliability_curves(labels, probabilities, summary["temperature"])
    assert curves["scaling"].unique().tolist() == ["before"]


def test_without_both_classes_on_test_nothing_is_claimed() -> None:
    summary = summarize(*drawn(100, seed=1), [0] * 30, np.linspace(0.1, 0.6, 30))
    assert np.isfinite(summary["after"]["brier"])
    assert summary["verdict"].startswith("Not shown to be calibrated: on 30 test studies (0 abn")


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
    ("n", "abnormal", "after", "said"),
    [
        (200, 100, GOOD, "Calibrated after temperature scaling, as far as the test set can tell: "),
        (200, 100, line((1.0, 1.1), (-0.1, 0.0)), "Calibrated after"),
        (200, 100, line((0.9, 1.0), (0.0, 0.1)), "Calibrated after"),
        (199, 100, GOOD, "Not shown to be calibrated, too few test studies"),
        (199, 99, GOOD, "Not shown to be calibrated, too few test studies"),
        (200, 100, line((1.01, 1.1), (-0.1, 0.1)), "Not .*, probabilities are too close to 0.5: "),
        (200, 100, line((0.9, 0.99), (-0.1, 0.1)), "Not .*, probabilities are too extreme: "),
        (200, 100, line((0.9, 1.1), (0.01, 0.1)), "Not .*, abnormal is more frequent than they s"),
        (200, 100, line((0.9, 1.1), (-0.1, -0.01)), "Not .*, abnormal is rarer than they say: "),
        (
            60, 30, line((0.5, 0.9), (0.1, 0.9)),
            "Not calibrated after .* too extreme and abnormal is more frequent than they say: on "
            r"60 test studies \(30 abnormal\) the slope is 0.70, 95% interval 0.50 to 0.90 "
            r"\(1 is right\) and the intercept 0.50, 95% interval 0.10 to 0.90 \(0 is\), though "
            "100 studies of each class would tell better",
        ),
        (200, 100, line((0.0, 3.0), (-0.1, 0.1)), "Not shown to be calibrated, the .* too little"),
        (200, 100, GOOD | {"slope_low": NAN}, "Not shown to be calibrated: on 200 test .* undef"),
        (200, 100, GOOD | {"intercept_low": NAN}, "Not shown to be calibrated: on 200 test st"),
    ],
)  # fmt: skip
def test_the_verdict_claims_no_more_than_the_intervals(
    n: int, abnormal: int, after: dict[str, float], said: str
) -> None:
    sentence = verdict(1.5, n, abnormal, after)
    assert pd.Series([sentence]).str.match(said).all(), sentence
    assert sentence.endswith(".") and "  " not in sentence and "nan" not in sentence


def test_reading_the_module_loads_neither_tensorflow_nor_scikit_learn_nor_scipy() -> None:
    heavy = {"tensorflow", "keras", "sklearn", "scipy.optimize", "scipy.stats"}
    modules = "ulna.judging.reliability, ulna.judging.calibration"
    command = f"import {modules}, sys; print({heavy} & {{*sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", command],
        cwd=REPOSITORY / "src",
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == "set()"
