import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from test_metrics import pairwise_auroc, stepwise_auprc

from ulna.judging.bootstrap import METRICS, Resamples, interval, redraw, resample, with_intervals
from ulna.judging.metrics import score


def table(rows: int, patients: int, seed: int, decimals: int = 1) -> pd.DataFrame:
    """Rows of patients; few decimals make ties."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "patient": [f"p{number:03}" for number in draw.integers(0, patients, rows)],
            "label": labels,
            "probability": np.clip(0.3 + 0.3 * labels + draw.normal(0, 0.2, rows), 0, 1).round(
                decimals
            ),
            "threshold": 0.5,  # one of the values: on it is normal
        }
    )


def repeated(rows: pd.DataFrame, resamples: Resamples, draw: int) -> pd.DataFrame:
    """A draw as a table, each row as often as its patient is in it."""
    often = dict(zip(resamples.patients, resamples.weights[:, draw].astype(int), strict=True))
    return rows.loc[rows.index.repeat(rows["patient"].map(often))]


@pytest.mark.promise("A5")
@pytest.mark.parametrize("decimals", [1, 9])
def test_every_draw_equals_scikit_learn_on_the_drawn_rows(decimals):
    rows = table(60, 15, seed=4, decimals=decimals)
    resamples = resample(rows["patient"], 30, seed=1)
    drawn = redraw(rows, resamples)
    for draw in range(30):
        chosen = repeated(rows, resamples, draw)
        truth, called = chosen["label"], (chosen["probability"] > 0.5).astype(int)
        expected = {
            "accuracy": accuracy_score(truth, called),
            "precision": precision_score(truth, called),
            "recall": recall_score(truth, called),
            "specificity": recall_score(truth, called, pos_label=0),
            "f1": f1_score(truth, called),
            "kappa": cohen_kappa_score(truth, called),
            "auroc": roc_auc_score(truth, chosen["probability"]),
            "auprc": average_precision_score(truth, chosen["probability"]),
        }
        assert {name: drawn[name][draw] for name in METRICS} == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 25), st.integers(1, 8), st.integers(0, 99))
def test_areas_of_any_small_table_equal_naive_loops_or_are_undefined(rows, patients, seed):
    data = table(rows, patients, seed)
    resamples = resample(data["patient"], 5, seed=seed)
    drawn = redraw(data, resamples)
    for draw in range(5):
        chosen = repeated(data, resamples, draw)
        columns = chosen["label"].tolist(), chosen["probability"].tolist()
        areas = pairwise_auroc(*columns), stepwise_auprc(*columns)
        found = [drawn[name][draw] for name in ("auroc", "auprc")]
        assert found == pytest.approx(areas, abs=1e-12, nan_ok=True)


def test_a_draw_holds_as_many_patients_as_there_are():
    resamples = resample(["b", "a", "b", "c"], 50, seed=1)
    assert list(resamples.patients) == ["a", "b", "c"]
    assert resamples.weights.shape == (3, 50)
    np.testing.assert_array_equal(resamples.weights.sum(axis=0), np.full(50, 3))


def test_a_patient_is_drawn_as_often_as_any_other():
    """Each of 20 patients is expected once a draw: over 4,000 draws 1 +/- 0.016 (one sd)."""
    weights = resample([f"{k:02}" for k in range(20)], 4000, seed=5).weights
    np.testing.assert_allclose(weights.mean(axis=1), 1, atol=0.07)
    np.testing.assert_allclose(weights.var(axis=1), 0.95, atol=0.12)


def test_the_seed_alone_makes_the_draws():
    patients = ["a", "b", "c", "d"]
    first = resample(patients, 20, seed=1).weights
    np.testing.assert_array_equal(first, resample(patients[::-1], 20, seed=1).weights)
    assert (first != resample(patients, 20, seed=2).weights).any()


def test_a_body_part_alone_uses_the_draws_of_all():
    rows = table(80, 20, seed=2)
    resamples = resample(rows["patient"], 10, seed=1)
    part = rows[rows["patient"] < "p010"]
    drawn = redraw(part, resamples)["auroc"]
    expected = [
        roc_auc_score(chosen["label"], chosen["probability"])
        for chosen in (repeated(part, resamples, draw) for draw in range(10))
    ]
    np.testing.assert_allclose(drawn, expected, atol=1e-12)


def test_the_interval_is_the_middle_of_the_draws():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_an_interval_needs_nearly_all_draws():
    values = np.arange(100.0)
    values[:5] = np.nan
    assert interval(values) == pytest.approx((5 + 0.025 * 94, 5 + 0.975 * 94))
    values[5] = np.nan
    assert np.isnan(interval(values)).all()
    assert np.isnan(interval(np.full(3, np.nan))).all()


def test_draws_that_are_all_the_same_have_no_interval():
    assert np.isnan(interval(np.ones(100))).all()
    assert np.isnan(interval([0.9, 0.9 + 1e-15, np.nan] + [0.9] * 97)).all()


def test_every_value_has_its_interval_around_it():
    rows = table(200, 60, seed=3, decimals=9)
    judged = with_intervals(rows, resample(rows["patient"], 500, seed=1), min_patients=10)
    assert (judged["n"], judged["patients"]) == (200, rows["patient"].nunique())
    for name in METRICS:
        assert judged[f"{name}_low"] < judged[name] < judged[f"{name}_high"]


@pytest.mark.promise("E31")
@pytest.mark.parametrize(
    "few", [{"patient": "p1"}, {"label": 1}, {"label": 0}], ids=["patients", "normal", "abnormal"]
)
def test_too_few_patients_or_one_class_give_no_number(few):
    rows = table(50, 20, seed=3).assign(**few)
    judged = with_intervals(rows, resample(rows["patient"], 100, seed=1), min_patients=10)
    assert judged["n"] == 50
    assert all(np.isnan(judged[name + end]) for name in METRICS for end in ("", "_low", "_high"))


def test_as_many_patients_as_asked_for_are_enough():
    rows = table(200, 10, seed=3)
    resamples = resample(rows["patient"], 200, seed=1)
    assert with_intervals(rows, resamples, min_patients=10)["auroc"] > 0.5
    assert np.isnan(with_intervals(rows, resamples, min_patients=11)["auroc"])


@pytest.mark.promise("E31")
def test_a_metric_that_many_draws_lack_has_no_number_either():
    """One abnormal patient of 20: without that patient, as in a third of the draws, no AUROC."""
    rows = table(60, 20, seed=3).assign(label=lambda rows: (rows["patient"] == "p003").astype(int))
    judged = with_intervals(rows, resample(rows["patient"], 200, seed=1), min_patients=10)
    assert all(np.isnan(judged[f"auroc{end}"]) for end in ("", "_low", "_high"))
    assert judged["accuracy_low"] < judged["accuracy"] < judged["accuracy_high"]


def simulated(draw: np.random.Generator, patients: int) -> pd.DataFrame:
    """Patients with 1 to 8 alike images: most of the spread is between patients."""
    views = draw.integers(1, 9, patients)
    owner = np.repeat(np.arange(patients), views)
    label = draw.integers(0, 2, patients)
    logit = 0.8 * label + draw.normal(0, 1, patients)
    return pd.DataFrame(
        {
            "patient": [f"p{number:05}" for number in owner],
            "label": label[owner],
            "probability": 1 / (1 + np.exp(-logit[owner] - draw.normal(0, 0.3, len(owner)))),
            "threshold": 0.6,
        }
    )


@pytest.mark.promise("A4")
def test_intervals_over_patients_cover_and_intervals_over_images_do_not():
    """95% intervals of AUROC and kappa in 200 simulated test sets of 100 patients."""
    draw = np.random.default_rng(11)
    population = simulated(draw, 40_000)
    truth = score(population["label"], population["probability"], 0.6)
    held: dict[str, list[list[bool]]] = {"patients": [], "images": []}
    for trial in range(200):
        rows = simulated(draw, 100)
        tables = {"patients": rows}
        if trial < 100:  # shares of 0.6 show in fewer
            images = [f"i{number:05}" for number in range(len(rows))]
            tables["images"] = rows.assign(patient=images)
        for unit, data in tables.items():
            drawn = redraw(data, resample(data["patient"], 300, seed=trial))
            ends = {name: interval(drawn[name]) for name in ("auroc", "kappa")}
            held[unit].append([low <= truth[n] <= high for n, (low, high) in ends.items()])
    shares = {unit: np.mean(trials, axis=0).tolist() for unit, trials in held.items()}
    assert all(0.90 <= share <= 0.99 for share in shares["patients"]), shares
    assert all(share < 0.80 for share in shares["images"]), shares


def test_draws_made_in_pieces_are_those_of_one_stream():
    """150 draws are more than a piece; a draw holds as many patients as there are."""
    patients = [f"p{k:02}" for k in range(30)]
    chosen = np.random.Generator(np.random.Philox(7)).integers(0, 30, (150, 30))
    expected = [[(draw == patient).sum() for draw in chosen] for patient in range(30)]
    np.testing.assert_array_equal(resample(patients, 150, 7).weights, expected)
