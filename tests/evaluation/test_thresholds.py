"""Thresholds: the best cut of all, chosen on val alone."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_tables import write_no_findings
from scipy.special import expit
from sklearn.metrics import brier_score_loss, cohen_kappa_score, roc_auc_score

from stages.evaluate import evaluate
from ulna.core import InputError, paths
from ulna.core.predictions import by_study, write_predictions
from ulna.evaluation.thresholds import (
    AGGREGATION_COLUMNS,
    Thresholds,
    candidate_thresholds,
    choose_threshold,
    choose_thresholds,
    compare_aggregations,
)

RULES = ["youden", "kappa"]
# A few round values give ties, the rest of the unit interval gives neighbours.
PROBABILITY = st.sampled_from([0.0, 0.125, 0.5, 0.75, 1.0]) | st.floats(0, 1)
LABELLED = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=2, max_size=30)


def objective(rule: str, labels: list[int], decisions: list[bool]) -> Fraction:
    """Youden's J and kappa by their textbook definitions, in exact fractions."""
    pairs = list(zip(labels, decisions, strict=True))
    n = Fraction(len(pairs))
    abnormal, normal = sum(labels), len(labels) - sum(labels)
    if rule == "youden":
        sensitivity = Fraction(sum(d for y, d in pairs if y == 1), abnormal)
        specificity = Fraction(sum(not d for y, d in pairs if y == 0), normal)
        return sensitivity + specificity - 1
    observed = sum(bool(y) == d for y, d in pairs) / n
    positive = sum(decisions)
    expected = (abnormal / n) * (positive / n) + (normal / n) * ((len(pairs) - positive) / n)
    return (observed - expected) / (1 - expected)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(rows=LABELLED)
def test_no_threshold_is_better_than_the_chosen_one(
    rule: str, rows: list[tuple[int, float]]
) -> None:
    labels, probabilities = [y for y, _ in rows], [p for _, p in rows]
    assume(0 < sum(labels) < len(labels))
    threshold = choose_threshold(rule, labels, probabilities)
    assert 0 <= threshold <= 1

    reached = objective(rule, labels, [p > threshold for p in probabilities])
    # A threshold on each value, on 0 and on 1: every set of decisions that there can be.
    best = [
        cut
        for cut in sorted({0.0, 1.0, *probabilities})
        if objective(rule, labels, [p > cut for p in probabilities]) >= reached
    ]
    assert all(objective(rule, labels, [p > c for p in probabilities]) == reached for c in best)
    # Of the equally good cuts, the middle of no interval is nearer to 0.5.
    edges = sorted({0.0, 1.0, *probabilities})
    middles = [(low + edges[edges.index(low) + 1]) / 2 for low in best if low < 1]
    assert all(abs(threshold - 0.5) <= abs(middle - 0.5) for middle in middles)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        # One perfect cut, midway.
        ([0, 0, 1, 1], [0.0, 0.25, 0.75, 0.875], 0.5),
        ([0, 1, 1, 1], [0.125, 0.25, 0.75, 1.0], 0.1875),
        # The same table shuffled.
        ([1, 1, 0, 1], [0.75, 0.25, 0.125, 1.0], 0.1875),
        # Two cuts with the same counts but for which class errs: the nearer to 0.5.
        ([0, 1, 0, 1], [0.25, 0.5, 0.75, 1.0], 0.375),
        ([0, 1, 0, 1], [0.0, 0.25, 0.5, 0.75], 0.625),
        # Equally near, 0.25 and 0.75: the lower.
        ([0, 1, 0, 1], [0.125, 0.375, 0.625, 0.875], 0.25),
        # One value for all: calling all the same is all that can be done, above or below.
        ([0, 1], [0.25, 0.25], 0.625),
        ([0, 1], [0.75, 0.75], 0.375),
        # Worse than chance: one class for all again, although a probability is 1.
        ([1, 0], [0.75, 1.0], 0.375),
        ([1, 0], [0.0, 1.0], 1.0),
    ],
)
def test_the_threshold_is_that_of_a_sum_by_hand(
    rule: str, labels: list[int], probabilities: list[float], expected: float
) -> None:
    assert choose_threshold(rule, labels, probabilities) == expected


def test_youden_and_kappa_can_differ() -> None:
    # Nine normal and two abnormal, one of these below two of the normal.
    labels = [0] * 7 + [1, 0, 0, 1]
    probabilities = [0.0] * 7 + [0.25, 0.5, 0.5, 0.75]
    # Above 0.125: J = 2/2 - 2/9 = 0.78; above 0.625: J = 1/2 - 0 = 0.5.
    assert choose_threshold("youden", labels, probabilities) == 0.125
    # Above 0.125: kappa = (9/11 - 71/121) / (1 - 71/121) = 28/50;
    # above 0.625: (10/11 - 92/121) / (1 - 92/121) = 18/29.
    assert choose_threshold("kappa", labels, probabilities) == 0.625


def test_half_is_half_for_any_data() -> None:
    assert choose_threshold("half", [0, 1], [0.9, 0.95]) == 0.5
    assert choose_threshold("half", [], []) == 0.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([], "0 normal and 0 abnormal"),
        ([1, 1, 1], "0 normal and 3 abnormal"),
        ([0], "1 normal and 0 abnormal"),
    ],
)
def test_a_val_without_both_classes_is_rejected(rule: str, labels: list[int], found: str) -> None:
    with pytest.raises(InputError, match=f"evaluate.threshold {rule} .* {found}"):
        choose_threshold(rule, labels, [0.5] * len(labels))


@settings(deadline=None)
@given(rows=LABELLED, wanted=st.sampled_from([0.05, 0.55, 0.7, 0.9, 1.0]))
def test_no_higher_threshold_is_sensitive_enough(
    rows: list[tuple[int, float]], wanted: float
) -> None:
    abnormal = [p for y, p in rows if y == 1]
    labels, probabilities = [y for y, _ in rows], [p for _, p in rows]

    def sensitivity(cut: float) -> Fraction:
        return Fraction(sum(p > cut for p in abnormal), len(abnormal))

    # 0.7 stands for 7/10, not for the float a little below it.
    least = Fraction(str(wanted))
    assume(abnormal and sensitivity(0.0) >= least)
    threshold = choose_threshold("sensitivity", labels, probabilities, wanted)
    assert sensitivity(threshold) >= least
    positive = [p > threshold for p in probabilities]
    for cut in {p for p in probabilities if p > threshold}:
        # A cut on a value that lies above makes other decisions, and misses too many.
        assert [p > cut for p in probabilities] != positive
        assert sensitivity(cut) < least or all(y == 0 for y, p in rows if threshold < p <= cut)


@pytest.mark.parametrize(
    ("min_sensitivity", "expected"),
    [
        # Abnormal at 1/8, 1/2, 3/4 and 1, normal at 1/4 and 7/8: midway below the lowest kept.
        (0.25, 0.9375),
        (0.26, 0.625),
        (0.5, 0.625),
        (0.75, 0.375),
        (0.76, 0.0625),
        (1.0, 0.0625),
    ],
)
def test_the_sensitive_threshold_is_that_of_a_sum_by_hand(
    min_sensitivity: float, expected: float
) -> None:
    labels, probabilities = [1, 0, 1, 1, 0, 1], [0.125, 0.25, 0.5, 0.75, 0.875, 1.0]
    found = choose_threshold("sensitivity", labels, probabilities, min_sensitivity)
    assert found == expected


def test_fourteen_of_25_reach_a_sensitivity_of_56_percent() -> None:
    assert 0.56 * 25 > 14  # in floats
    probabilities = (np.arange(25) + 0.5) / 25
    found = choose_threshold("sensitivity", [1] * 25, probabilities, 0.56)
    assert int((probabilities > found).sum()) == 14


def test_rule_sensitivity_needs_the_abnormal_alone() -> None:
    assert choose_threshold("sensitivity", [1], [0.5], 0.9) == 0.25
    with pytest.raises(InputError, match="sensitivity .* 0 abnormal"):
        choose_threshold("sensitivity", [0, 0], [0.5, 0.6], 0.9)


def test_a_sensitivity_that_no_threshold_reaches_is_rejected() -> None:
    with pytest.raises(InputError, match="min_sensitivity 0.9 .* 2 of the 3"):
        choose_threshold("sensitivity", [0, 1, 1, 1], [0.5, 0.0, 0.0, 0.5], 0.9)


def test_rule_sensitivity_has_no_silent_default() -> None:
    with pytest.raises(ValueError, match="min_sensitivity"):
        choose_threshold("sensitivity", [0, 1], [0.5, 0.6])


def val_rows(**parts: list[tuple[int, float]]) -> pd.DataFrame:
    """Body part -> label and probability of its studies, one row each."""
    rows = [
        {"study": f"{part}{i}", "body_part": part, "label": label, "probability": probability}
        for part, studies in parts.items()
        for i, (label, probability) in enumerate(studies)
    ]
    return pd.DataFrame(rows)


# The best cuts by themselves: ELBOW 0.25, HAND 0.75; all together 0.75 (J = 3/5 against 1/3).
TWO_PARTS = val_rows(
    ELBOW=[(0, 0.125), (1, 0.375)],
    HAND=[(0, 0.375), (0, 0.625), (1, 0.875), (1, 0.875), (1, 0.875), (1, 1.0)],
)


def test_a_part_is_shrunk_by_its_number_of_studies() -> None:
    found = choose_thresholds(TWO_PARTS, "youden", 0.9, "body_part", shrinkage_studies=6)
    assert found.overall == 0.75
    # ELBOW has 2 studies against 6: a quarter its own.
    assert found.by_body_part == {
        "ELBOW": pytest.approx((2 * 0.25 + 6 * 0.75) / 8, abs=1e-15),
        "HAND": 0.75,
    }


@settings(deadline=None, max_examples=40)
@given(rows=LABELLED, shrinkage=st.sampled_from([0.5, 50.0, 1e12]), data=st.data())
def test_a_shrunk_threshold_is_the_weighted_mean(
    rows: list[tuple[int, float]], shrinkage: float, data: st.DataObject
) -> None:
    part = data.draw(st.integers(1, len(rows)))
    table = val_rows(HAND=rows[:part], WRIST=rows[part:])
    assume(table["label"].nunique() == 2)
    found = choose_thresholds(table, "youden", 0.9, "body_part", shrinkage)
    own_bits = choose_thresholds(table, "youden", 0.9, "body_part", 0.0)
    overall = choose_threshold("youden", table["label"], table["probability"])
    assert found.overall == own_bits.overall == overall
    for name, studies in table.groupby("body_part"):
        if studies["label"].nunique() < 2:
            assert found.by_body_part[name] == own_bits.by_body_part[name] == overall
            continue
        own = choose_threshold("youden", studies["label"], studies["probability"])
        assert own_bits.by_body_part[name] == own
        n, k = len(studies), Fraction(shrinkage)
        exact = (n * Fraction(own) + k * Fraction(overall)) / (n + k)
        assert found.by_body_part[name] == pytest.approx(float(exact), abs=1e-15)


def test_a_part_counts_its_studies_not_their_views() -> None:
    elbow = TWO_PARTS["body_part"] == "ELBOW"
    views = pd.concat([TWO_PARTS[elbow]] * 3 + [TWO_PARTS[~elbow]] * 3, ignore_index=True)
    found = choose_thresholds(views, "youden", 0.9, "body_part", 6)
    assert found == choose_thresholds(TWO_PARTS, "youden", 0.9, "body_part", 6)


def test_one_threshold_for_all_leaves_the_parts_without_their_own() -> None:
    found = choose_thresholds(TWO_PARTS, "youden", 0.9, "overall", 0)
    assert found == Thresholds(0.75, {})


def test_the_least_sensitivity_reaches_every_threshold() -> None:
    low, high = (
        choose_thresholds(TWO_PARTS, "sensitivity", wanted, "body_part", 0)
        for wanted in (1.0, 0.25)
    )
    assert low == Thresholds(0.25, {"ELBOW": 0.25, "HAND": 0.75})
    # Two of all five are needed, one of HAND's four, and ELBOW's one.
    assert high == Thresholds(0.75, {"ELBOW": 0.25, "HAND": 0.9375})


def test_a_row_has_the_threshold_of_its_part_and_a_new_part_the_overall_one() -> None:
    thresholds = Thresholds(0.375, {"HAND": 0.25, "WRIST": 0.75})
    rows = pd.Series(["WRIST", "FOOT", "HAND", "WRIST"], index=[7, 3, 5, 1])
    assert thresholds.of(rows).tolist() == [0.75, 0.375, 0.25, 0.75]
    assert thresholds.of([]).dtype == np.float64
    assert thresholds.for_part("FOOT") == 0.375


def test_aggregations_are_compared_each_at_its_own_threshold() -> None:
    table = made_up_predictions()
    val = table[table["split"] == "val"]
    compared = compare_aggregations(val, "kappa", 0.9)
    assert tuple(compared.columns) == AGGREGATION_COLUMNS
    assert compared["aggregation"].tolist() == ["mean_probability", "mean_logit", "max", "noisy_or"]
    assert compared["n"].tolist() == [120] * 4
    assert compared["abnormal"].unique() == [val.groupby("study")["label"].first().sum()]
    for row in compared.itertuples():
        studies = by_study(val, row.aggregation)
        truth, probabilities = studies["label"], studies["probability"]
        assert row.threshold == choose_threshold("kappa", truth, probabilities)
        positive = probabilities > row.threshold
        assert row.kappa == pytest.approx(cohen_kappa_score(truth, positive))
        assert row.auroc == pytest.approx(roc_auc_score(truth, probabilities))
        assert row.brier == pytest.approx(brier_score_loss(truth, probabilities))
    assert compared["brier"].nunique() == 4


@given(st.lists(PROBABILITY, max_size=20), st.floats(0, 1))
def test_a_candidate_makes_the_predictions_of_any_threshold(
    values: list[float], threshold: float
) -> None:
    candidates = candidate_thresholds(values)
    assert ((candidates >= 0) & (candidates <= 1)).all()
    wanted = [value > threshold for value in values]
    assert any([value > cut for value in values] == wanted for cut in candidates)


def test_a_candidate_lies_below_the_upper_of_two_neighbouring_floats() -> None:
    low = np.nextafter(0.5, 1)
    high = np.nextafter(low, 1)
    assert (low + high) / 2 == high  # rounds to even
    assert candidate_thresholds([low, high])[1] == low


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(__file__).resolve().parents[2]
    shutil.copy(root / paths.PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    write_no_findings()
    return tmp_path


def made_up_predictions() -> pd.DataFrame:
    """240 studies of two views, half of them val, with some signal."""
    rng = np.random.default_rng(3)
    study = np.repeat(np.arange(240), 2)
    label = rng.integers(0, 2, 240)[study]
    logit = rng.normal(label - 0.5, 1)
    return pd.DataFrame(
        {
            "image": [f"{i:03d}.png" for i in range(480)],
            "patient": [f"p{s}" for s in study],
            "study": [f"s{s}" for s in study],
            "body_part": np.where(study % 2, "HAND", "WRIST"),
            "split": np.where(study < 120, "val", "test"),
            "label": label,
            "logit": logit,
            "probability": expit(logit),
        }
    )


def fitted_text(table: pd.DataFrame, rule: str) -> list[str]:
    """Run the stage and give the text of every fitted number that it wrote."""
    params = paths.PARAMS.read_text(encoding="utf-8")
    edits = {"threshold": rule, "threshold_per": "body_part", "bootstrap_replicates": "100"}
    for key, value in edits.items():
        params = re.sub(rf"(?m)^  {key}: \w+", f"  {key}: {value}", params)
    paths.PARAMS.write_text(params, encoding="utf-8")
    write_predictions(paths.predictions("cnn"), table)
    evaluate("cnn")
    text = paths.details("cnn").read_text(encoding="utf-8")
    parts = pd.read_csv(paths.scores("cnn", "by_body_part"), dtype=str)["threshold"]
    return [*re.findall(r'"(?:threshold|temperature)": ([-.e0-9]+|null)', text), *parts]


@pytest.mark.promise("A3")
@pytest.mark.parametrize("rule", [*RULES, "sensitivity"])
@pytest.mark.fault("fitted on test")
def test_nothing_fitted_sees_a_test_label(repository: Path, rule: str) -> None:
    table = made_up_predictions()
    fitted = fitted_text(table, rule)
    assert len(fitted) == 2 + 1 + 2  # study and image, temperature, HAND and WRIST
    accuracy = json.loads(paths.details("cnn").read_text())["study"]["accuracy"]

    def permuted(split: str, seed: int) -> pd.DataFrame:
        chosen = table["split"] == split
        labels = table[chosen].groupby("study")["label"].first()
        values = np.random.default_rng(seed).permutation(labels.to_numpy())
        by_name = dict(zip(labels.index, values, strict=True))
        return table.assign(label=table["label"].where(~chosen, table["study"].map(by_name)))

    accuracies = set()
    for seed in range(3):
        assert fitted_text(permuted("test", seed), rule) == fitted
        scores = json.loads(paths.details("cnn").read_text())
        accuracies.add(scores["study"]["accuracy"])
    assert accuracies != {accuracy}  # the permuted labels were read
    changed = fitted_text(permuted("val", 0), rule)  # and those of val do count
    assert all(now != before for now, before in zip(changed, fitted, strict=True))


def test_each_level_has_the_threshold_of_its_own_val_rows(repository: Path) -> None:
    table = made_up_predictions()
    val = table[table["split"] == "val"]
    per_study = val.groupby("study").agg({"label": "first", "probability": "mean"})
    expected = [
        choose_threshold("youden", level["label"], level["probability"])
        for level in (per_study, val)
    ]
    fitted_text(table, "youden")
    scores = json.loads(paths.details("cnn").read_text())
    fitted = [scores[level]["threshold"] for level in ("study", "image")]
    assert fitted == pytest.approx(expected, abs=1e-9)  # of 10 digits
    assert fitted[0] != fitted[1]
