"""Logits, losses and the temperature: closed forms, sums and identities."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelled import LABELLED, PROBABILITY, drawn, split
from scipy.special import expit

from ulna.judging.temperature import (
    TEMPERATURES,
    apply_temperature,
    brier,
    fit_temperature,
    log_loss,
    logit,
)


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
    called = np.where(np.arange(n) < right * n, labels, 1 - labels)
    probabilities = np.where(called == 1, says, 1 - says)
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
    labels, probabilities = drawn(80, seed)
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
        ([1, 0], [0.5, 0.5]),  # all alike, whatever the temperature
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
    labels, probabilities = drawn(n, seed, spread=0.5)
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
