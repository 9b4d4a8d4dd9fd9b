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

from stages.evaluate import evaluate
from ulna import paths
from ulna.calibration import choose_threshold, cuts
from ulna.errors import InputError
from ulna.predictions import sigmoid, write_predictions

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
    called = sum(decisions)
    expected = (abnormal / n) * (called / n) + (normal / n) * ((len(pairs) - called) / n)
    return (observed - expected) / (1 - expected)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(rows=LABELLED)
def test_no_cut_is_better_than_the_chosen_one(rule: str, rows: list[tuple[int, float]]) -> None:
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


def test_half_is_half_whatever_the_data() -> None:
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
def test_a_val_without_both_classes_is_refused(rule: str, labels: list[int], found: str) -> None:
    said = f"evaluate.threshold {rule} needs .* split val, which has {found}: set .* to half"
    with pytest.raises(InputError, match=said):
        choose_threshold(rule, labels, [0.5] * len(labels))


@given(st.lists(PROBABILITY, max_size=20), st.floats(0, 1))
def test_a_cut_makes_the_decisions_of_any_threshold(values: list[float], threshold: float) -> None:
    candidates = cuts(values)
    assert ((candidates >= 0) & (candidates <= 1)).all()
    wanted = [value > threshold for value in values]
    assert any([value > cut for value in values] == wanted for cut in candidates)


def test_a_cut_lies_below_the_upper_of_two_neighbouring_floats() -> None:
    low = np.nextafter(0.5, 1)
    high = np.nextafter(low, 1)
    assert (low + high) / 2 == high  # rounds to even
    assert cuts([low, high])[1] == low


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(__file__).resolve().parents[1]
    shutil.copy(root / paths.PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made_up_predictions() -> pd.DataFrame:
    """60 studies of two views, half of them val, with some signal."""
    rng = np.random.default_rng(3)
    study = np.repeat(np.arange(60), 2)
    label = rng.integers(0, 2, 60)[study]
    logit = rng.normal(label - 0.5, 1)
    return pd.DataFrame(
        {
            "image": [f"{i:03d}.png" for i in range(120)],
            "patient": [f"p{s}" for s in study],
            "study": [f"s{s}" for s in study],
            "body_part": np.where(study % 2, "HAND", "WRIST"),
            "split": np.where(study < 30, "val", "test"),
            "label": label,
            "logit": logit,
            "probability": sigmoid(logit),
        }
    )


def thresholds_text(table: pd.DataFrame, rule: str) -> list[str]:
    """Run the stage and give the text of every threshold that it wrote."""
    params = paths.PARAMS.read_text(encoding="utf-8")
    edited = re.sub(r"(?m)^  threshold: \w+", f"  threshold: {rule}", params)
    paths.PARAMS.write_text(edited, encoding="utf-8")
    write_predictions(paths.predictions("cnn"), table)
    evaluate("cnn")
    text = paths.metrics("cnn").read_text(encoding="utf-8")
    return re.findall(r'"threshold": (\S+)', text)


@pytest.mark.promise("A3")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.fault("fitted on test")
def test_no_threshold_sees_a_test_label(repository: Path, rule: str) -> None:
    table = made_up_predictions()
    fitted = thresholds_text(table, rule)
    assert len(fitted) == 2
    accuracy = json.loads(paths.metrics("cnn").read_text())["study"]["accuracy"]

    def permuted(split: str, seed: int) -> pd.DataFrame:
        chosen = table["split"] == split
        labels = table[chosen].groupby("study")["label"].first()
        values = np.random.default_rng(seed).permutation(labels.to_numpy())
        by_name = dict(zip(labels.index, values, strict=True))
        return table.assign(label=table["label"].where(~chosen, table["study"].map(by_name)))

    accuracies = set()
    for seed in range(3):
        assert thresholds_text(permuted("test", seed), rule) == fitted
        scores = json.loads(paths.metrics("cnn").read_text())
        accuracies.add(scores["study"]["accuracy"])
    assert accuracies != {accuracy}  # the permuted labels were read
    assert thresholds_text(permuted("val", 0), rule) != fitted  # and those of val do count


def test_each_level_has_the_threshold_of_its_own_val_rows(repository: Path) -> None:
    table = made_up_predictions()
    val = table[table["split"] == "val"]
    per_study = val.groupby("study").agg({"label": "first", "probability": "mean"})
    expected = [
        choose_threshold("youden", level["label"], level["probability"])
        for level in (per_study, val)
    ]
    fitted = [float(text) for text in thresholds_text(table, "youden")]
    assert fitted == pytest.approx(expected, abs=1e-12)
    assert fitted[0] != fitted[1]
