"""Paired differences of revisions, no difference between equal ones, ranking by val alone."""

import numpy as np
import pandas as pd
import pytest
from simulated import EVALUATE, RAW, predict, ranked, revision, rows_of

from ulna.core import InputError
from ulna.core.params import Evaluate
from ulna.evaluation import LEVELS
from ulna.evaluation.bootstrap import METRICS, MIN_STUDIES
from ulna.evaluation.evaluate import evaluate_table
from ulna.team.differences import (
    BEST,
    NO_INTERVAL,
    NOT_SIGNIFICANT,
    SIGNIFICANT,
    compare_network,
    compare_revisions,
    conclude,
    notes,
    rank,
    significance,
)
from ulna.team.revisions import Revision


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    after: Evaluate = EVALUATE,
    levels: tuple[str, ...] = LEVELS,
) -> pd.DataFrame:
    """Paired differences of one network, its second revision evaluated by `after`."""
    pair = revision("a", cnn=first), revision("b", after, cnn=second)
    return compare_network(*pair, "cnn", levels, seed=7)


@pytest.mark.promise("A8")
def test_the_same_predictions_differ_in_nothing():
    table = predict(2.0, seed=1)
    rows = compare_revisions(revision("a", cnn=table), revision("b", cnn=table))
    assert (rows[["difference", "low", "high"]] == 0).all(axis=None)
    assert set(rows["significance"]) == {NOT_SIGNIFICANT}
    assert conclude(rows[rows["level"] == "study"]) == "same"


def test_the_order_of_rows_changes_nothing():
    first, second = predict(2.0, seed=1), predict(2.2, seed=2)
    shuffled = second.sample(frac=1, random_state=3).reset_index(drop=True)
    pd.testing.assert_frame_equal(compare(first, shuffled), compare(first, second))


def test_both_are_scored_as_evaluate_scores_them():
    """Each by its own thresholds and its own rules."""
    first, second = predict(2.0, seed=1), predict(3.0, seed=2)
    half = EVALUATE.model_copy(update={"threshold": "half", "aggregation": "max"})
    compared = compare(first, second, half)
    for level in LEVELS:
        rows = compared[compared["level"] == level].set_index("metric")
        old, new = (
            evaluate_table(table, evaluate, 7).metrics[level]
            for table, evaluate in ((first, EVALUATE), (second, half))
        )
        for metric in METRICS:
            assert rows.loc[metric, "before"] == pytest.approx(old[metric], abs=1e-12)
            assert rows.loc[metric, "after"] == pytest.approx(new[metric], abs=1e-12)
            change = new[metric] - old[metric]
            assert rows.loc[metric, "difference"] == pytest.approx(change, abs=1e-12)


@pytest.mark.promise("A8")
def test_another_seed_is_mostly_not_significant_and_a_better_network_is():
    rows = pd.concat(compare(predict(2.0, seed), predict(2.0, seed + 50)) for seed in range(8))
    # The choice of thresholds on val is noise that the intervals leave out: areas have none.
    areas = rows[rows["metric"].isin(["auroc", "auprc"])]
    assert (areas["significance"] == NOT_SIGNIFICANT).mean() > 0.8
    assert (rows["significance"] == NOT_SIGNIFICANT).mean() > 0.7

    better = compare(predict(1.0, 1), predict(4.0, 2))
    auroc = better[better["metric"] == "auroc"]
    assert (auroc["significance"] == SIGNIFICANT).all() and (auroc["difference"] > 0).all()


def test_pairing_finds_what_two_overlapping_intervals_hide():
    """The difficulty of a patient is the same for both, and cancels out."""
    first, second = predict(2.0, 1, hard=2.0), predict(2.6, 1, hard=2.0)
    alone = [evaluate_table(t, EVALUATE, 7).metrics["study"] for t in (first, second)]
    assert alone[0]["auroc_high"] > alone[1]["auroc_low"]
    rows = compare(first, second, levels=("study",))
    assert rows.set_index("metric").loc["auroc", "significance"] == SIGNIFICANT


def test_too_few_patients_give_no_number():
    strict = EVALUATE.model_copy(update={"min_patients": 1000})
    rows = compare(predict(2.0, 1), predict(2.0, 2), strict)
    assert set(rows["significance"]) == {NO_INTERVAL}
    assert rows[["before", "after", "difference", "low", "high"]].isna().all(axis=None)
    assert conclude(rows) == "no_interval"


@pytest.mark.parametrize("how", ["lost", "flipped"])
def test_another_test_set_is_refused_with_how_many_images_differ(how):
    first, second = predict(2.0, 1), predict(2.0, 2)
    # val may differ: another seed divides train and val anew.
    fewer = first[(first["split"] == "test") | (first["patient"] > "p00030")]
    compare_revisions(revision("a", cnn=first), revision("b", cnn=fewer))
    one = second["patient"] == "p00000"
    other = second[~one] if how == "lost" else second.assign(label=second["label"] ^ one)
    with pytest.raises(InputError, match=f"in {one.sum()} images"):
        compare_revisions(revision("a", cnn=first), revision("b", cnn=other))


def test_revisions_without_a_network_in_common_are_refused():
    table = predict(2.0, 1)
    with pytest.raises(InputError, match="a has no .* b has no "):
        compare_revisions(revision("a", cnn=table), revision("b", ensemble=table))


def test_a_network_that_was_not_run_again_is_left_out():
    before = revision("main", cnn=predict(1.0, 1), ensemble=predict(1.0, 1))
    after = Revision("mine", RAW, EVALUATE, 7, dict(before.tables), {"cnn": {"loss": "bce"}})
    assert set(compare_revisions(before, after)["network"]) == {"ensemble"}
    (note,) = notes([before, after])
    assert "CNN of mine" in note and "loss bce" in note
    alone = Revision("mine", RAW, EVALUATE, 7, {"cnn": predict(1.0, 1)}, {"cnn": {"loss": "bce"}})
    with pytest.raises(InputError, match="CNN of mine"):
        compare_revisions(before, alone)


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [(-0.1, 0.1, NOT_SIGNIFICANT), (0.0, 0.1, NOT_SIGNIFICANT), (0.01, 0.1, SIGNIFICANT),
     (-0.1, -0.01, SIGNIFICANT), (np.nan, np.nan, NO_INTERVAL)],
)  # fmt: skip
def test_an_interval_that_includes_0_is_not_significant(low, high, code):
    assert significance({"difference": 0.05, "low": low, "high": high}) == code


@pytest.mark.parametrize(
    ("differences", "code"),
    [
        ([("recall", -0.2, SIGNIFICANT), ("auroc", 0.1, SIGNIFICANT)], "better"),
        ([("kappa", -0.2, SIGNIFICANT), ("auroc", 0.1, SIGNIFICANT)], "mixed"),
        ([("kappa", -0.2, SIGNIFICANT), ("auroc", 0.005, NOT_SIGNIFICANT)], "threshold"),
        ([("auprc", -0.2, SIGNIFICANT), ("auroc", 0.005, NOT_SIGNIFICANT)], "auprc"),
        ([("kappa", -0.2, NOT_SIGNIFICANT), ("auroc", 0.005, NOT_SIGNIFICANT)], "not_significant"),
        ([("kappa", -0.2, SIGNIFICANT)], "worse"),  # asked for one metric, it goes by that
        ([("auroc", 0.1, SIGNIFICANT), ("auroc", -0.1, SIGNIFICANT)], "mixed"),
        ([("auroc", np.nan, NO_INTERVAL)], "no_interval"),
    ],
)
def test_the_conclusion_goes_by_the_auroc(differences, code):
    assert conclude(rows_of(*differences)) == code
    differ = code not in ("not_significant", "no_interval")
    assert conclude(rows_of(*differences), seed_alone=True) == ("seed" if differ else code)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("level", LEVELS)
def test_too_few_studies_of_a_class_tell_nothing(split, label, level):
    """However large the difference; just enough tell it. Images do not count: two are a study."""
    weak, good = predict(0.5, 1), predict(4.0, 2)
    cut = (weak["split"] == split) & (weak["label"] == label)
    studies = weak.loc[cut, "study"].unique()
    assert len(studies) > MIN_STUDIES
    for kept, code in ((MIN_STUDIES, "better"), (MIN_STUDIES - 1, "too_few")):
        rest = ~cut | weak["study"].isin(studies[:kept])
        pair = [weak[rest], good[rest]]
        if split == "val":  # of one alone, as with another split.val_fraction
            pair[0] = weak
        rows = compare(*pair, levels=(level,))
        assert rows.set_index("metric").loc["auroc", "significance"] == SIGNIFICANT
        assert conclude(rows) == conclude(rows, seed_alone=True).replace("seed", "better") == code


def test_chance_is_told_by_the_interval_of_the_auroc():
    """Below it as well: a network that orders the wrong way round is no better."""
    weak, good, inverse = predict(0.0, 1), predict(3.0, 2), predict(-3.0, 3)
    pairs = [(weak, weak), (weak, good), (good, good), (weak, inverse), (inverse, inverse)]
    for (first, second), chance in zip(pairs, (True, False, False, True, True), strict=True):
        rows = compare(first, second, levels=("study",))
        assert set(rows["chance"]) == {chance}


def test_significant_differences_come_first_the_largest_at_the_top():
    rows = compare_revisions(revision("a", cnn=predict(1.0, 1)), revision("b", cnn=predict(2.5, 2)))
    order = [SIGNIFICANT, NOT_SIGNIFICANT, NO_INTERVAL]
    keys = [
        (order.index(code), -abs(change) if change == change else 0.0)
        for code, change in zip(rows["significance"], rows["difference"], strict=True)
    ]
    assert keys == sorted(keys)


def test_the_best_on_val_comes_first_and_the_rest_is_compared_with_it():
    tables = {"weak": predict(0.5, 1), "good": predict(4.0, 2), "twin": predict(3.9, 3)}
    rows = ranked(**tables)
    assert rows.index[-1] == "weak" and rows.loc["weak", "significance"] == SIGNIFICANT
    assert rows["significance"].tolist()[:2] == [BEST, NOT_SIGNIFICANT]
    assert rows["val"].is_monotonic_decreasing
    for name, table in tables.items():
        study = evaluate_table(table, EVALUATE, 7).metrics["study"]
        for column, key in (("test", "auroc"), ("low", "auroc_low"), ("high", "auroc_high")):
            assert rows.loc[name, column] == pytest.approx(study[key], abs=1e-12)
    behind = rows.loc["weak"]
    assert behind["behind"] == pytest.approx(behind["test"] - rows["test"].iloc[0])
    assert behind["behind_low"] < behind["behind"] < behind["behind_high"] < 0


def test_val_ranks_and_test_stands_beside():
    table = predict(2.0, 1)
    val = table["split"] == "val"
    blind = table.assign(
        logit=table["logit"].where(~val, 0.0), probability=table["probability"].where(~val, 0.5)
    )
    rows = ranked(blind=blind, seeing=table)
    assert rows.index.tolist() == ["seeing", "blind"]
    assert rows.loc["blind", "val"] == 0.5
    assert rows.loc["blind", "test"] == rows.loc["seeing", "test"]


def test_a_val_of_one_class_has_no_score_and_comes_last():
    table = predict(2.0, 1)
    one_class = table[(table["split"] == "test") | (table["label"] == 1)]
    half = EVALUATE.model_copy(update={"threshold": "half"})
    revisions = [revision("a", half, cnn=one_class), revision("b", cnn=table)]
    rows = rank(revisions, "cnn", "study", "auroc")
    assert rows["name"].tolist() == ["b", "a"] and np.isnan(rows["val"].iloc[1])
