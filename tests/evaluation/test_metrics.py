"""Metrics against published tables, sums by hand and naive loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_metrics import pairwise_auroc, stepwise_auprc

from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.metrics import (
    auprc,
    auroc,
    compute_metrics,
    confusion,
    confusion_counts,
    kappa,
    precision_recall,
    roc,
    youden,
)

# A few values only, so that ties are common.
ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])),
    min_size=1,
    max_size=40,
)


def from_counts(tp: int, fp: int, fn: int, tn: int) -> tuple[list[int], list[float]]:
    """Labels and probabilities that give these counts at a threshold of 0.5."""
    labels = [1] * tp + [0] * fp + [1] * fn + [0] * tn
    return labels, [0.75] * (tp + fp) + [0.25] * (fn + tn)


def unzip(rows: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [label for label, _ in rows], [probability for _, probability in rows]


def test_kappa_of_a_published_table() -> None:
    # Artstein and Poesio 2008, Computational Linguistics 34(4), Table 1: 20 20 / 10 50.
    assert compute_metrics(*from_counts(tp=50, fp=20, fn=10, tn=20), 0.5)["kappa"] == pytest.approx(
        0.348, abs=5e-4
    )


def test_scores_of_a_table_by_hand() -> None:
    scores = compute_metrics(*from_counts(tp=30, fp=10, fn=20, tn=40), 0.5)
    # Chance agreement is 40/100 x 50/100 + 60/100 x 50/100 = 0.5.
    assert scores == pytest.approx(
        {
            "n": 100,
            "abnormal": 50,
            "accuracy": 70 / 100,
            "precision": 30 / 40,
            "recall": 30 / 50,
            "specificity": 40 / 50,
            "f1": 60 / 90,
            "kappa": (0.7 - 0.5) / (1 - 0.5),
            # One cut: the mean of recall and specificity.
            "auroc": 0.7,
            # 0.6 of the recall at precision 0.75, the rest at 0.5.
            "auprc": 0.6 * 0.75 + 0.4 * 0.5,
        }
    )
    assert type(scores["n"]) is type(scores["abnormal"]) is int
    assert all(type(value) is float for value in list(scores.values())[2:])


@pytest.mark.promise("A5")
@given(ROWS)
def test_areas_equal_naive_loops(rows: list[tuple[int, float]]) -> None:
    labels, probabilities = unzip(rows)
    assert auroc(labels, probabilities) == pytest.approx(
        pairwise_auroc(labels, probabilities), abs=1e-12, nan_ok=True
    )
    assert auprc(labels, probabilities) == pytest.approx(
        stepwise_auprc(labels, probabilities), abs=1e-12, nan_ok=True
    )


@pytest.mark.promise("A5")
@given(rows=ROWS, threshold=st.sampled_from([0.0, 0.125, 0.3, 0.75, 1.0]))
def test_predictions_equal_a_naive_loop(rows: list[tuple[int, float]], threshold: float) -> None:
    labels, probabilities = unzip(rows)
    pairs = [(y, p > threshold) for y, p in rows]
    expected = [pairs.count(pair) for pair in ((1, True), (0, True), (1, False), (0, False))]
    assert [
        int(number) for number in confusion_counts(labels, probabilities, threshold)
    ] == expected
    tp, fp, fn, tn = expected

    def ratio(numerator: int, denominator: int) -> float:
        return numerator / denominator if denominator else math.nan

    scores = compute_metrics(labels, probabilities, threshold)
    assert (scores["n"], scores["abnormal"]) == (len(rows), sum(labels))
    for name, value in {
        "accuracy": ratio(tp + tn, len(rows)),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "f1": ratio(tp, tp + (fp + fn) / 2),
    }.items():
        assert scores[name] == pytest.approx(value, nan_ok=True), name

    table = confusion(labels, probabilities, threshold)
    named = {(1, True): ("abnormal", "abnormal"), (0, True): ("normal", "abnormal")}
    named |= {(1, False): ("abnormal", "normal"), (0, False): ("normal", "normal")}
    assert list(table.itertuples(index=False, name=None)) == [named[pair] for pair in pairs]


@pytest.mark.promise("A5")
@given(st.lists(st.integers(0, 30), min_size=4, max_size=4))
def test_kappa_is_the_agreement_beyond_chance_by_its_definition(cells: list[int]) -> None:
    tp, fp, fn, tn = cells
    n = sum(cells) or 1
    agreed = Fraction(tp + tn, n)
    by_chance = Fraction((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), n * n)
    undefined = by_chance == 1 or not any(cells)
    expected = math.nan if undefined else float((agreed - by_chance) / (1 - by_chance))
    scores = compute_metrics(*from_counts(tp, fp, fn, tn), 0.5)
    assert scores["kappa"] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_points_inside_a_line_of_the_roc_curve_are_omitted() -> None:
    # Up, up, right, right, up: (1, 2/3) ends a line from (0, 2/3), and (1/2, 2/3) is amid it.
    labels, probabilities = [1, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5]
    curve = roc(labels, probabilities)
    assert 0.7 not in curve["threshold"].tolist()
    points = curve[["false_positive_rate", "true_positive_rate"]].to_numpy().tolist()
    for corner in ([0, 0], [0, 2 / 3], [1, 2 / 3], [1, 1]):
        assert pytest.approx(corner) in points


def test_youden_and_kappa_of_many_thresholds_at_once() -> None:
    labels, probabilities = [0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.6, 0.9]
    thresholds = [0.0, 0.2, 0.35, 0.5, 1.0]
    counts = confusion_counts(labels, probabilities, thresholds)
    assert counts.tp.tolist() == [3, 3, 2, 2, 0]
    assert counts.fp.tolist() == [2, 1, 1, 0, 0]
    assert counts.fn.tolist() == [0, 0, 1, 1, 3]
    assert counts.tn.tolist() == [0, 1, 1, 2, 2]
    assert youden(counts).tolist() == pytest.approx([0, 3 / 3 - 1 / 2, 2 / 3 - 1 / 2, 2 / 3, 0])
    one_by_one = [compute_metrics(labels, probabilities, t)["kappa"] for t in thresholds]
    assert kappa(counts).tolist() == one_by_one


def test_kappa_does_not_overflow_with_many_images() -> None:
    million = np.array(1_000_000)
    assert kappa((million, million * 0, million * 0, million)) == 1


def test_what_lies_on_the_threshold_is_normal() -> None:
    assert compute_metrics([1], [0.5], 0.5)["recall"] == 0
    assert compute_metrics([1], [np.nextafter(0.5, 1)], 0.5)["recall"] == 1


@pytest.mark.fault("hard labels")
def test_auroc_uses_probabilities_not_predictions() -> None:
    # At 0.95 every decision is normal, whose AUROC would be 0.5; the order is perfect.
    scores = compute_metrics([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], threshold=0.95)
    assert scores["auroc"] == scores["auprc"] == 1
    assert scores["recall"] == 0


@pytest.mark.fault("class order")
def test_abnormal_is_the_positive_class() -> None:
    # Three normal and one abnormal, whom the model finds: not the other way round, as an
    # alphabetical order of the classes would have it.
    labels, probabilities = [1, 0, 0, 0], [0.9, 0.6, 0.2, 0.1]
    scores = compute_metrics(labels, probabilities, 0.5)
    assert scores["abnormal"] == 1
    assert (scores["recall"], scores["precision"]) == (1, 0.5)
    assert scores["specificity"] == pytest.approx(2 / 3)
    assert scores["auroc"] == 1
    flipped = compute_metrics(labels, [1 - p for p in probabilities], 0.5)
    assert (flipped["auroc"], flipped["recall"]) == (0, 0)
    table = confusion(labels, probabilities, 0.5)
    assert table["actual"].tolist() == ["abnormal", "normal", "normal", "normal"]
    assert table["predicted"].tolist() == ["abnormal", "abnormal", "normal", "normal"]


@pytest.mark.promise("A5")
@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        # One study, found and missed; one normal study.
        ([1], [0.9], {"specificity", "kappa", "auroc"}),
        ([1], [0.1], {"specificity", "precision", "auroc"}),
        ([0], [0.1], {"recall", "precision", "f1", "kappa", "auroc", "auprc"}),
        ([0], [0.9], {"recall", "auroc", "auprc"}),
        # One class.
        ([1, 1], [0.9, 0.1], {"specificity", "auroc"}),
        ([0, 0], [0.9, 0.1], {"recall", "auroc", "auprc"}),
        # Two classes, nothing positive abnormal.
        ([0, 1], [0.1, 0.2], {"precision"}),
        # Nobody.
        ([], [], set(METRICS)),
    ],
)
def test_undefined_is_nan_and_nothing_else_is(
    labels: list[int], probabilities: list[float], undefined: set[str]
) -> None:
    scores = compute_metrics(labels, probabilities, 0.5)
    assert {name for name, value in scores.items() if math.isnan(value)} == undefined


@given(ROWS)
def test_the_roc_curve_runs_through_the_rates_of_its_thresholds(
    rows: list[tuple[int, float]],
) -> None:
    labels, probabilities = unzip(rows)
    curve = roc(labels, probabilities)
    assert list(curve) == ["false_positive_rate", "true_positive_rate", "threshold"]
    if len(set(labels)) < 2:
        assert curve.empty
        return
    abnormal, normal = sum(labels), len(labels) - sum(labels)
    assert curve.iloc[0].tolist() == pytest.approx([0, 0, math.nan], nan_ok=True)
    assert curve.iloc[-1, :2].tolist() == [1, 1]
    for false, true, threshold in curve.iloc[1:].itertuples(index=False):
        positive = [y for y, p in rows if p >= threshold]
        assert true == pytest.approx(sum(positive) / abnormal)
        assert false == pytest.approx((len(positive) - sum(positive)) / normal)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(pairwise_auroc(labels, probabilities))


@given(ROWS)
def test_the_precision_recall_curve_has_a_point_for_each_probability(
    rows: list[tuple[int, float]],
) -> None:
    labels, probabilities = unzip(rows)
    curve = precision_recall(labels, probabilities)
    assert list(curve) == ["recall", "precision", "threshold"]
    if not any(labels):
        assert curve.empty
        return
    assert curve["threshold"].tolist() == sorted(set(probabilities), reverse=True)
    for recall, precision, threshold in curve.itertuples(index=False):
        positive = [y for y, p in rows if p >= threshold]
        assert recall == pytest.approx(sum(positive) / sum(labels))
        assert precision == pytest.approx(sum(positive) / len(positive))
