"""Intervals of what no draw changes: binomial limits, worlds built by hand, and their coverage."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from ulna.judging.bootstrap import (
    METRICS,
    interval,
    interval_or_exact,
    redraw,
    resample,
    with_intervals,
)
from ulna.judging.exact import interval_without_width, unseen_share
from ulna.judging.metrics import score


def table(calls: list[tuple[int, int]], patients: list[str] | None = None) -> pd.DataFrame:
    """One row each (label, call), of a patient of its own unless named; no two scores are alike."""
    labels, called = (np.array(column) for column in zip(*calls, strict=True))
    spread = np.arange(len(calls)) / len(calls)
    return pd.DataFrame(
        {
            "patient": patients or [f"p{row:03}" for row in range(len(calls))],
            "label": labels,
            "probability": np.where(called == 1, 0.6 + 0.4 * spread, 0.4 * spread),
            "threshold": 0.5,
        }
    )


def perfect(abnormal: int, normal: int) -> pd.DataFrame:
    return table([(1, 1)] * abnormal + [(0, 0)] * normal)


def judged(rows: pd.DataFrame, min_patients: int = 2) -> dict[str, float]:
    return with_intervals(rows, resample(rows["patient"], 200, seed=1), min_patients)


def in_a_world(abnormal: int, normal: int, missed: float, alarms: float) -> dict[str, float]:
    """Scores of 100,000 patients, a share of each class called wrongly, two scores in all."""
    sizes = [round(100_000 * size / (abnormal + normal)) for size in (abnormal, normal)]
    wrong = [round(size * share) for size, share in zip(sizes, (missed, alarms), strict=True)]
    labels = np.repeat([1, 0], sizes)
    called = np.concatenate(
        [np.arange(sizes[0]) >= wrong[0], np.arange(sizes[1]) < wrong[1]]
    ).astype(float)
    return score(labels, called, 0.5)


@pytest.mark.parametrize("patients", [1, 2, 3, 10, 100, 10_000])
def test_the_unseen_share_is_the_exact_limit_of_none_of_so_many(patients: int) -> None:
    limit = binomtest(0, patients).proportion_ci(0.95, method="exact").high
    assert unseen_share(patients) == pytest.approx(limit, rel=1e-9)


def test_the_unseen_share_of_hundreds_is_near_the_rule_of_three() -> None:
    # -log(0.025) = 3.69; the rule of three is that of 5%, -log(0.05) = 3.00.
    assert 1000 * unseen_share(1000) == pytest.approx(3.69, abs=0.01)


@pytest.mark.promise("E31")
def test_ten_patients_without_a_wrong_call_are_no_certainty() -> None:
    found = judged(perfect(4, 6))
    assert [found[name] for name in METRICS] == [1] * 8
    assert [found[f"{name}_high"] for name in METRICS] == [1] * 8

    def of(patients: int) -> float:
        return float(binomtest(patients, patients).proportion_ci(0.95, method="exact").low)

    # 10 patients; 4 of them called abnormal, and abnormal; 6 normal; 4 pairs.
    lows = {"accuracy": of(10), "precision": of(4), "recall": of(4), "specificity": of(6)}
    for name, low in (lows | {"auroc": of(4)}).items():
        assert found[f"{name}_low"] == pytest.approx(low, rel=1e-9), name
    # Of the 4 that are abnormal or called so, the share rightly so is J; F1 = 2 J / (1 + J).
    assert found["f1_low"] == pytest.approx(2 * of(4) / (1 + of(4)))
    world = in_a_world(4, 6, 1 - of(10), 1 - of(10))
    assert found["kappa_low"] == pytest.approx(world["kappa"], abs=1e-4)
    world = in_a_world(4, 6, 1 - of(4), 1 - of(4))
    assert found["auprc_low"] == pytest.approx(world["auprc"], abs=1e-4)
    assert found["auroc_low"] == pytest.approx(world["auroc"], abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40))
def test_more_patients_without_a_wrong_call_are_surer(abnormal: int, normal: int) -> None:
    few, more = perfect(abnormal, normal), perfect(2 * abnormal, 2 * normal)
    for name in METRICS:
        low, high = interval_without_width(few, name, 1.0)
        assert high == 1
        assert -1 <= low < interval_without_width(more, name, 1.0)[0] < 1


def test_a_metric_that_varies_keeps_its_interval_from_draws() -> None:
    # No false alarm, but 3 of 8 abnormal are missed.
    rows = table([(1, 1)] * 5 + [(1, 0)] * 3 + [(0, 0)] * 7)
    found, drawn = judged(rows), redraw(rows, resample(rows["patient"], 200, seed=1))
    for name in ("accuracy", "recall", "f1", "kappa"):
        assert (found[f"{name}_low"], found[f"{name}_high"]) == interval(drawn[name])
    assert found["specificity_low"] == pytest.approx(0.025 ** (1 / 7))
    # Of 5 called abnormal; a draw without any, as 1 in 400 is, is no reason to say nothing.
    assert found["precision_low"] == pytest.approx(0.025 ** (1 / 5))


def test_without_a_right_call_the_interval_starts_at_zero() -> None:
    found = judged(table([(1, 0)] * 6 + [(0, 1)] * 4))
    highs = {"accuracy": 10, "precision": 4, "recall": 6, "specificity": 4, "auroc": 4}
    for name, patients in highs.items():
        assert (found[name], found[f"{name}_low"]) == (0, 0)
        assert found[f"{name}_high"] == pytest.approx(1 - 0.025 ** (1 / patients)), name
    share = 1 - 0.025 ** (1 / 10)  # all ten are abnormal or called so
    assert found["f1_high"] == pytest.approx(2 * share / (1 + share))


def test_calls_that_are_all_the_same_leave_kappa_open_to_both_sides() -> None:
    found = judged(table([(1, 0)] * 6 + [(0, 0)] * 4))
    unseen = 1 - 0.025 ** (1 / 10)
    assert found["kappa"] == 0
    # Some abnormal may be found, or some normal be called abnormal.
    assert found["kappa_high"] == pytest.approx(in_a_world(6, 4, 1 - unseen, 0)["kappa"], abs=1e-4)
    assert found["kappa_low"] == pytest.approx(in_a_world(6, 4, 1, unseen)["kappa"], abs=1e-4)
    assert (found["recall"], found["specificity"]) == (0, 1)


def test_patients_are_counted_not_their_studies() -> None:
    calls = [(1, 1)] * 9 + [(0, 0)] * 9
    alone = judged(table(calls))
    threes = judged(table(calls, [f"p{row // 3}" for row in range(18)]))
    assert alone["accuracy_low"] == pytest.approx(0.025 ** (1 / 18))
    assert threes["accuracy_low"] == pytest.approx(0.025 ** (1 / 6))
    # Each of 9 patients has a study of both classes: 4 pairs of two patients.
    both = judged(table(calls, [f"p{row % 9}" for row in range(18)]))
    assert both["auroc_low"] == pytest.approx(0.025 ** (1 / 4))
    assert both["recall_low"] == pytest.approx(0.025 ** (1 / 9))


def test_a_score_that_is_the_same_for_all_is_certain_by_itself() -> None:
    rows = perfect(8, 8).assign(probability=0.4)
    found = judged(rows)
    assert [found[f"auroc{end}"] for end in ("", "_low", "_high")] == [0.5] * 3
    assert [found[f"kappa{end}"] for end in ("", "_low", "_high")] == [0.0] * 3


def test_patients_who_are_all_alike_leave_both_sides_open() -> None:
    """Each of 10 patients has two abnormal studies, one of them missed, and a normal one."""
    calls = [(1, 1)] * 10 + [(1, 0)] * 10 + [(0, 0)] * 10
    found = judged(table(calls, [f"p{row % 10}" for row in range(30)]))
    unseen = 1 - 0.025 ** (1 / 10)
    assert found["recall"] == 0.5
    assert found["recall_low"] == pytest.approx(0.5 * (1 - unseen))
    assert found["recall_high"] == pytest.approx(0.5 * (1 - unseen) + unseen)
    # All rows of all patients: 20 of 30 abnormal or called so, 10 of these rightly.
    assert found["f1"] == pytest.approx(2 / 3)
    ends = [0.5 * (1 - unseen), 0.5 * (1 - unseen) + unseen]
    assert [found["f1_low"], found["f1_high"]] == pytest.approx([2 * j / (1 + j) for j in ends])


def test_perfect_separation_is_rare_where_the_area_is_at_its_limit() -> None:
    """Worlds with an AUROC of the limit for 5 and 9 patients: at most 2.5% of samples separate."""
    low, _ = interval_without_width(perfect(5, 9), "auroc", 1.0)
    draw = np.random.default_rng(3)
    # A share of the abnormal lies below all normal ones: the worst that there is, just 2.5%.
    missed = draw.random((40_000, 5)) > low
    assert (~missed.any(axis=1)).mean() == pytest.approx(0.025, abs=0.004)
    # Two normal distributions of area 0.5, which is above the limit.
    abnormal, normal = draw.normal(size=(40_000, 5)), draw.normal(size=(40_000, 9))
    assert (abnormal.min(axis=1) > normal.max(axis=1)).mean() < 0.025
    assert low < 0.5


@pytest.mark.promise("A4")
def test_intervals_of_nearly_perfect_networks_cover_what_is_true() -> None:
    """3% wrong calls, 20 patients: half of the test sets show none, and draws alone miss those."""
    draw = np.random.default_rng(5)
    trials, covered, by_draws = 400, 0, 0
    for trial in range(trials):
        right = draw.random(20) >= 0.03
        labels = np.arange(20) % 2
        rows = table([(int(y), int(y == r)) for y, r in zip(labels, right, strict=True)])
        resamples = resample(rows["patient"], 100, seed=trial)
        drawn = redraw(rows, resamples)["accuracy"]
        low, high = interval_or_exact(rows, "accuracy", right.mean(), drawn)
        covered += low <= 0.97 <= high
        low, high = interval(drawn)
        by_draws += bool(low <= 0.97 <= high)
    assert covered / trials >= 0.93
    assert by_draws / trials < 0.6
