"""The bootstrap against scikit-learn, exact limits by hand, and the coverage of both."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_metrics import pairwise_auroc, stepwise_auprc
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from ulna.evaluation.bootstrap import (
    METRICS,
    Replicates,
    bootstrap_metrics,
    bootstrap_weights,
    degenerate_ci,
    metric_ci,
    metrics_with_ci,
    percentile_ci,
    zero_event_upper_bound,
)
from ulna.evaluation.metrics import compute_metrics


def table(rows: int, patients: int, seed: int, decimals: int = 1) -> pd.DataFrame:
    """Rows of patients; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "patient": [f"p{number:03}" for number in rng.integers(0, patients, rows)],
            "label": labels,
            "probability": np.clip(0.3 + 0.3 * labels + rng.normal(0, 0.2, rows), 0, 1).round(
                decimals
            ),
            "threshold": 0.5,  # one of the values: on it is normal
        }
    )


def repeated(rows: pd.DataFrame, replicates: Replicates, replicate: int) -> pd.DataFrame:
    """A replicate as a table, each row as often as its patient is in it."""
    often = dict(
        zip(replicates.patients, replicates.weights[:, replicate].astype(int), strict=True)
    )
    return rows.loc[rows.index.repeat(rows["patient"].map(often))]


@pytest.mark.promise("A5")
@pytest.mark.parametrize("decimals", [1, 9])
def test_every_replicate_equals_scikit_learn_on_its_rows(decimals):
    rows = table(60, 15, seed=4, decimals=decimals)
    replicates = bootstrap_weights(rows["patient"], 30, seed=1)
    values = bootstrap_metrics(rows, replicates)
    for replicate in range(30):
        chosen = repeated(rows, replicates, replicate)
        truth, positive = chosen["label"], (chosen["probability"] > 0.5).astype(int)
        expected = {
            "accuracy": accuracy_score(truth, positive),
            "precision": precision_score(truth, positive),
            "recall": recall_score(truth, positive),
            "specificity": recall_score(truth, positive, pos_label=0),
            "f1": f1_score(truth, positive),
            "kappa": cohen_kappa_score(truth, positive),
            "auroc": roc_auc_score(truth, chosen["probability"]),
            "auprc": average_precision_score(truth, chosen["probability"]),
        }
        assert {name: values[name][replicate] for name in METRICS} == pytest.approx(
            expected, abs=1e-12
        )


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 25), st.integers(1, 8), st.integers(0, 99))
def test_areas_of_any_small_table_equal_naive_loops_or_are_undefined(rows, patients, seed):
    data = table(rows, patients, seed)
    replicates = bootstrap_weights(data["patient"], 5, seed=seed)
    values = bootstrap_metrics(data, replicates)
    for replicate in range(5):
        chosen = repeated(data, replicates, replicate)
        columns = chosen["label"].tolist(), chosen["probability"].tolist()
        areas = pairwise_auroc(*columns), stepwise_auprc(*columns)
        found = [values[name][replicate] for name in ("auroc", "auprc")]
        assert found == pytest.approx(areas, abs=1e-12, nan_ok=True)


def test_a_replicate_has_as_many_patients_as_there_are():
    replicates = bootstrap_weights(["b", "a", "b", "c"], 50, seed=1)
    assert list(replicates.patients) == ["a", "b", "c"]
    assert replicates.weights.shape == (3, 50)
    np.testing.assert_array_equal(replicates.weights.sum(axis=0), np.full(50, 3))


def test_all_patients_are_sampled_equally_often():
    """Each of 20 patients is expected once: over 4,000 replicates 1 +/- 0.016 (one sd)."""
    weights = bootstrap_weights([f"{k:02}" for k in range(20)], 4000, seed=5).weights
    np.testing.assert_allclose(weights.mean(axis=1), 1, atol=0.07)
    np.testing.assert_allclose(weights.var(axis=1), 0.95, atol=0.12)


def test_replicates_depend_on_the_seed_alone():
    patients = ["a", "b", "c", "d"]
    first = bootstrap_weights(patients, 20, seed=1).weights
    np.testing.assert_array_equal(first, bootstrap_weights(patients[::-1], 20, seed=1).weights)
    assert (first != bootstrap_weights(patients, 20, seed=2).weights).any()


def test_a_body_part_uses_the_replicates_of_all_patients():
    rows = table(80, 20, seed=2)
    replicates = bootstrap_weights(rows["patient"], 10, seed=1)
    part = rows[rows["patient"] < "p010"]
    values = bootstrap_metrics(part, replicates)["auroc"]
    expected = [
        roc_auc_score(chosen["label"], chosen["probability"])
        for chosen in (repeated(part, replicates, replicate) for replicate in range(10))
    ]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_the_percentile_ci_is_the_middle_of_the_replicates():
    assert percentile_ci(np.arange(1001.0)) == pytest.approx((25, 975))


def test_a_ci_needs_nearly_all_replicates():
    values = np.arange(100.0)
    values[:5] = np.nan
    assert percentile_ci(values) == pytest.approx((5 + 0.025 * 94, 5 + 0.975 * 94))
    values[5] = np.nan
    assert np.isnan(percentile_ci(values)).all()
    assert np.isnan(percentile_ci(np.full(3, np.nan))).all()


def test_equal_replicates_have_no_percentile_ci():
    assert np.isnan(percentile_ci(np.ones(100))).all()
    assert np.isnan(percentile_ci([0.9, 0.9 + 1e-15, np.nan] + [0.9] * 97)).all()


def test_every_value_lies_in_its_ci():
    rows = table(200, 60, seed=3, decimals=9)
    evaluated = metrics_with_ci(
        rows, bootstrap_weights(rows["patient"], 500, seed=1), min_patients=10
    )
    assert (evaluated["n"], evaluated["patients"]) == (200, rows["patient"].nunique())
    for name in METRICS:
        assert evaluated[f"{name}_low"] < evaluated[name] < evaluated[f"{name}_high"]


@pytest.mark.promise("E31")
@pytest.mark.parametrize(
    "few", [{"patient": "p1"}, {"label": 1}, {"label": 0}], ids=["patients", "normal", "abnormal"]
)
def test_too_few_patients_or_one_class_give_no_number(few):
    rows = table(50, 20, seed=3).assign(**few)
    evaluated = metrics_with_ci(
        rows, bootstrap_weights(rows["patient"], 100, seed=1), min_patients=10
    )
    assert evaluated["n"] == 50
    assert all(np.isnan(evaluated[name + end]) for name in METRICS for end in ("", "_low", "_high"))


def test_as_many_patients_as_asked_for_are_enough():
    rows = table(200, 10, seed=3)
    replicates = bootstrap_weights(rows["patient"], 200, seed=1)
    assert metrics_with_ci(rows, replicates, min_patients=10)["auroc"] > 0.5
    assert np.isnan(metrics_with_ci(rows, replicates, min_patients=11)["auroc"])


@pytest.mark.promise("E31")
def test_a_metric_undefined_in_many_replicates_is_nan():
    """One abnormal patient of 20, who is absent from a third of the replicates."""
    rows = table(60, 20, seed=3).assign(label=lambda rows: (rows["patient"] == "p003").astype(int))
    evaluated = metrics_with_ci(
        rows, bootstrap_weights(rows["patient"], 200, seed=1), min_patients=10
    )
    assert all(np.isnan(evaluated[f"auroc{end}"]) for end in ("", "_low", "_high"))
    assert evaluated["accuracy_low"] < evaluated["accuracy"] < evaluated["accuracy_high"]


def simulated(rng: np.random.Generator, patients: int) -> pd.DataFrame:
    """Patients with 1 to 8 alike images: most of the spread is between patients."""
    views = rng.integers(1, 9, patients)
    owner = np.repeat(np.arange(patients), views)
    label = rng.integers(0, 2, patients)
    logit = 0.8 * label + rng.normal(0, 1, patients)
    return pd.DataFrame(
        {
            "patient": [f"p{number:05}" for number in owner],
            "label": label[owner],
            "probability": 1 / (1 + np.exp(-logit[owner] - rng.normal(0, 0.3, len(owner)))),
            "threshold": 0.6,
        }
    )


@pytest.mark.promise("A4")
def test_coverage_of_cis_over_patients_and_over_images():
    """95% intervals of AUROC and kappa in 200 simulated test sets of 100 patients."""
    rng = np.random.default_rng(11)
    population = simulated(rng, 40_000)
    truth = compute_metrics(population["label"], population["probability"], 0.6)
    held: dict[str, list[list[bool]]] = {"patients": [], "images": []}
    for trial in range(200):
        rows = simulated(rng, 100)
        tables = {"patients": rows}
        if trial < 100:  # shares of 0.6 show in fewer
            images = [f"i{number:05}" for number in range(len(rows))]
            tables["images"] = rows.assign(patient=images)
        for unit, data in tables.items():
            values = bootstrap_metrics(data, bootstrap_weights(data["patient"], 300, seed=trial))
            ends = {name: percentile_ci(values[name]) for name in ("auroc", "kappa")}
            held[unit].append([low <= truth[n] <= high for n, (low, high) in ends.items()])
    shares = {unit: np.mean(trials, axis=0).tolist() for unit, trials in held.items()}
    assert all(0.90 <= share <= 0.99 for share in shares["patients"]), shares
    assert all(share < 0.80 for share in shares["images"]), shares


def test_chunks_of_replicates_are_of_one_stream():
    """150 replicates are more than a piece; a replicate holds as many patients as there are."""
    patients = [f"p{k:02}" for k in range(30)]
    chosen = np.random.Generator(np.random.Philox(7)).integers(0, 30, (150, 30))
    expected = [[(replicate == patient).sum() for replicate in chosen] for patient in range(30)]
    np.testing.assert_array_equal(bootstrap_weights(patients, 150, 7).weights, expected)


def outcome_table(
    outcomes: list[tuple[int, int]], patients: list[str] | None = None
) -> pd.DataFrame:
    """One row per (label, prediction), of a patient of its own unless named, without ties."""
    labels, positive = (np.array(column) for column in zip(*outcomes, strict=True))
    spread = np.arange(len(outcomes)) / len(outcomes)
    return pd.DataFrame(
        {
            "patient": patients or [f"p{row:03}" for row in range(len(outcomes))],
            "label": labels,
            "probability": np.where(positive == 1, 0.6 + 0.4 * spread, 0.4 * spread),
            "threshold": 0.5,
        }
    )


def perfect(abnormal: int, normal: int) -> pd.DataFrame:
    return outcome_table([(1, 1)] * abnormal + [(0, 0)] * normal)


def evaluated(rows: pd.DataFrame, min_patients: int = 2) -> dict[str, float]:
    return metrics_with_ci(rows, bootstrap_weights(rows["patient"], 200, seed=1), min_patients)


def in_a_world(abnormal: int, normal: int, missed: float, alarms: float) -> dict[str, float]:
    """Scores of 100,000 patients, a share of each class positive wrongly, two scores in all."""
    sizes = [round(100_000 * size / (abnormal + normal)) for size in (abnormal, normal)]
    wrong = [round(size * share) for size, share in zip(sizes, (missed, alarms), strict=True)]
    labels = np.repeat([1, 0], sizes)
    positive = np.concatenate(
        [np.arange(sizes[0]) >= wrong[0], np.arange(sizes[1]) < wrong[1]]
    ).astype(float)
    return compute_metrics(labels, positive, 0.5)


@pytest.mark.parametrize("patients", [1, 2, 3, 10, 100, 10_000])
def test_the_zero_event_upper_bound_is_the_exact_limit_of_0_of_n(patients: int) -> None:
    limit = binomtest(0, patients).proportion_ci(0.95, method="exact").high
    assert zero_event_upper_bound(patients) == pytest.approx(limit, rel=1e-9)


def test_the_zero_event_upper_bound_is_near_the_rule_of_three() -> None:
    # -log(0.025) = 3.69; the rule of three is that of 5%, -log(0.05) = 3.00.
    assert 1000 * zero_event_upper_bound(1000) == pytest.approx(3.69, abs=0.01)


@pytest.mark.promise("E31")
def test_ten_patients_without_an_error_are_no_certainty() -> None:
    found = evaluated(perfect(4, 6))
    assert [found[name] for name in METRICS] == [1] * 8
    assert [found[f"{name}_high"] for name in METRICS] == [1] * 8

    def of(patients: int) -> float:
        return float(binomtest(patients, patients).proportion_ci(0.95, method="exact").low)

    # 10 patients; 4 of them positive abnormal, and abnormal; 6 normal; 4 pairs.
    lows = {"accuracy": of(10), "precision": of(4), "recall": of(4), "specificity": of(6)}
    for name, low in (lows | {"auroc": of(4)}).items():
        assert found[f"{name}_low"] == pytest.approx(low, rel=1e-9), name
    # Of the 4 that are abnormal or positive so, the share rightly so is J; F1 = 2 J / (1 + J).
    assert found["f1_low"] == pytest.approx(2 * of(4) / (1 + of(4)))
    world = in_a_world(4, 6, 1 - of(10), 1 - of(10))
    assert found["kappa_low"] == pytest.approx(world["kappa"], abs=1e-4)
    world = in_a_world(4, 6, 1 - of(4), 1 - of(4))
    assert found["auprc_low"] == pytest.approx(world["auprc"], abs=1e-4)
    assert found["auroc_low"] == pytest.approx(world["auroc"], abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40))
def test_more_patients_without_an_error_narrow_the_ci(abnormal: int, normal: int) -> None:
    few, more = perfect(abnormal, normal), perfect(2 * abnormal, 2 * normal)
    for name in METRICS:
        low, high = degenerate_ci(few, name, 1.0)
        assert high == 1
        assert -1 <= low < degenerate_ci(more, name, 1.0)[0] < 1


def test_a_metric_that_varies_has_the_percentile_ci() -> None:
    # No false alarm, but 3 of 8 abnormal are missed.
    rows = outcome_table([(1, 1)] * 5 + [(1, 0)] * 3 + [(0, 0)] * 7)
    found, values = (
        evaluated(rows),
        bootstrap_metrics(rows, bootstrap_weights(rows["patient"], 200, seed=1)),
    )
    for name in ("accuracy", "recall", "f1", "kappa"):
        assert (found[f"{name}_low"], found[f"{name}_high"]) == percentile_ci(values[name])
    assert found["specificity_low"] == pytest.approx(0.025 ** (1 / 7))
    # Of 5 positive abnormal; a replicate without any, as 1 in 400 is, is no reason to say nothing.
    assert found["precision_low"] == pytest.approx(0.025 ** (1 / 5))


def test_with_errors_only_the_ci_starts_at_zero() -> None:
    found = evaluated(outcome_table([(1, 0)] * 6 + [(0, 1)] * 4))
    highs = {"accuracy": 10, "precision": 4, "recall": 6, "specificity": 4, "auroc": 4}
    for name, patients in highs.items():
        assert (found[name], found[f"{name}_low"]) == (0, 0)
        assert found[f"{name}_high"] == pytest.approx(1 - 0.025 ** (1 / patients)), name
    share = 1 - 0.025 ** (1 / 10)  # all ten are abnormal or positive so
    assert found["f1_high"] == pytest.approx(2 * share / (1 + share))


def test_equal_predictions_leave_kappa_open_to_both_sides() -> None:
    found = evaluated(outcome_table([(1, 0)] * 6 + [(0, 0)] * 4))
    unseen = 1 - 0.025 ** (1 / 10)
    assert found["kappa"] == 0
    # Some abnormal may be found, or some normal be positive abnormal.
    assert found["kappa_high"] == pytest.approx(in_a_world(6, 4, 1 - unseen, 0)["kappa"], abs=1e-4)
    assert found["kappa_low"] == pytest.approx(in_a_world(6, 4, 1, unseen)["kappa"], abs=1e-4)
    assert (found["recall"], found["specificity"]) == (0, 1)


def test_patients_are_counted_not_their_studies() -> None:
    outcomes = [(1, 1)] * 9 + [(0, 0)] * 9
    alone = evaluated(outcome_table(outcomes))
    threes = evaluated(outcome_table(outcomes, [f"p{row // 3}" for row in range(18)]))
    assert alone["accuracy_low"] == pytest.approx(0.025 ** (1 / 18))
    assert threes["accuracy_low"] == pytest.approx(0.025 ** (1 / 6))
    # Each of 9 patients has a study of both classes: 4 pairs of two patients.
    both = evaluated(outcome_table(outcomes, [f"p{row % 9}" for row in range(18)]))
    assert both["auroc_low"] == pytest.approx(0.025 ** (1 / 4))
    assert both["recall_low"] == pytest.approx(0.025 ** (1 / 9))


def test_a_score_that_is_the_same_for_all_is_certain_by_itself() -> None:
    rows = perfect(8, 8).assign(probability=0.4)
    found = evaluated(rows)
    assert [found[f"auroc{end}"] for end in ("", "_low", "_high")] == [0.5] * 3
    assert [found[f"kappa{end}"] for end in ("", "_low", "_high")] == [0.0] * 3


def test_patients_who_are_all_alike_leave_both_sides_open() -> None:
    """Each of 10 patients has two abnormal studies, one of them missed, and a normal one."""
    outcomes = [(1, 1)] * 10 + [(1, 0)] * 10 + [(0, 0)] * 10
    found = evaluated(outcome_table(outcomes, [f"p{row % 10}" for row in range(30)]))
    unseen = 1 - 0.025 ** (1 / 10)
    assert found["recall"] == 0.5
    assert found["recall_low"] == pytest.approx(0.5 * (1 - unseen))
    assert found["recall_high"] == pytest.approx(0.5 * (1 - unseen) + unseen)
    # All rows of all patients: 20 of 30 abnormal or positive so, 10 of these rightly.
    assert found["f1"] == pytest.approx(2 / 3)
    ends = [0.5 * (1 - unseen), 0.5 * (1 - unseen) + unseen]
    assert [found["f1_low"], found["f1_high"]] == pytest.approx([2 * j / (1 + j) for j in ends])


def test_perfect_separation_is_rare_where_the_area_is_at_its_limit() -> None:
    """Worlds with an AUROC of the limit for 5 and 9 patients: at most 2.5% of samples separate."""
    low, _ = degenerate_ci(perfect(5, 9), "auroc", 1.0)
    rng = np.random.default_rng(3)
    # A share of the abnormal lies below all normal ones: the worst that there is, just 2.5%.
    missed = rng.random((40_000, 5)) > low
    assert (~missed.any(axis=1)).mean() == pytest.approx(0.025, abs=0.004)
    # Two normal distributions of area 0.5, which is above the limit.
    abnormal, normal = rng.normal(size=(40_000, 5)), rng.normal(size=(40_000, 9))
    assert (abnormal.min(axis=1) > normal.max(axis=1)).mean() < 0.025
    assert low < 0.5


@pytest.mark.promise("A4")
def test_coverage_of_cis_of_nearly_perfect_networks() -> None:
    """3% errors, 20 patients: half of the test sets have none, where percentile CIs fail."""
    rng = np.random.default_rng(5)
    trials, covered, by_percentile = 400, 0, 0
    for trial in range(trials):
        right = rng.random(20) >= 0.03
        labels = np.arange(20) % 2
        rows = outcome_table([(int(y), int(y == r)) for y, r in zip(labels, right, strict=True)])
        replicates = bootstrap_weights(rows["patient"], 100, seed=trial)
        values = bootstrap_metrics(rows, replicates)["accuracy"]
        low, high = metric_ci(rows, "accuracy", right.mean(), values)
        covered += low <= 0.97 <= high
        low, high = percentile_ci(values)
        by_percentile += bool(low <= 0.97 <= high)
    assert covered / trials >= 0.93
    assert by_percentile / trials < 0.6
