"""Paired comparison of revisions, no difference between equal ones, ranking by val alone."""

import numpy as np
import pandas as pd
import pytest
from conftest import PARAMS
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from small_repository import git
from tiny_pipeline import commit, dvc

from ulna.cli import main
from ulna.core import InputError
from ulna.core.params import Evaluate, parse_params
from ulna.core.predictions import check_predictions, write_predictions
from ulna.core.yaml12 import parse_yaml
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.evaluate import LEVELS, evaluate_table
from ulna.team.compare import (
    BEST,
    NO_INTERVAL,
    NOT_SIGNIFICANT,
    OTHER_TEST,
    SIGNIFICANT,
    changed_params,
    compare_network,
    compare_revisions,
    conclude,
    notes,
    rank,
    render,
    render_ranking,
    significance,
)
from ulna.team.revisions import Revision

RAW = parse_yaml(PARAMS.read_text(), "params.yaml")
EVALUATE = parse_params(RAW).evaluate.model_copy(update={"bootstrap_replicates": 400})


def predict(signal: float, seed: int, patients: int = 120, hard: float = 1.0) -> pd.DataFrame:
    """A prediction table: the patients are always the same, what makes them hard too."""
    same, own = np.random.default_rng(1), np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label, difficulty = int(same.integers(0, 2)), same.normal()
        for study in range(int(same.integers(1, 3))):
            for view in range(2):
                logit = signal * (label - 0.5) + hard * difficulty + 0.5 * own.normal()
                name = f"train/HAND/patient{patient:05}/study{study}"
                rows.append(
                    {
                        "image": f"{name}/image{view}.png",
                        "patient": f"p{patient:05}",
                        "study": name,
                        "body_part": "HAND",
                        "split": "val" if patient % 2 else "test",
                        "label": label,
                        "logit": logit,
                    }
                )
    table = pd.DataFrame(rows)
    table["probability"] = expit(table["logit"])
    check_predictions(table, "simulated")
    return table


def revision(name: str, evaluate: Evaluate = EVALUATE, **tables: pd.DataFrame) -> Revision:
    return Revision(name, RAW, evaluate, 7, tables, {})


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    after: Evaluate = EVALUATE,
    levels: tuple[str, ...] = LEVELS,
) -> pd.DataFrame:
    """Paired differences of one network, its second revision evaluated by `after`."""
    pair = revision("a", cnn=first), revision("b", after, cnn=second)
    return compare_network(*pair, "cnn", levels, seed=7)


# Numbers


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


# What cannot be compared


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


# Codes


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [(-0.1, 0.1, NOT_SIGNIFICANT), (0.0, 0.1, NOT_SIGNIFICANT), (0.01, 0.1, SIGNIFICANT),
     (-0.1, -0.01, SIGNIFICANT), (np.nan, np.nan, NO_INTERVAL)],
)  # fmt: skip
def test_an_interval_that_includes_0_is_not_significant(low, high, code):
    assert significance({"difference": 0.05, "low": low, "high": high}) == code


def rows_of(*differences: tuple[str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"network": "cnn", "level": "study", "metric": metric, "difference": change,
             "low": change - 0.01, "high": change + 0.01, "significance": code}
            for metric, change, code in differences
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("differences", "code"),
    [
        ([("kappa", -0.2, SIGNIFICANT), ("auroc", 0.1, SIGNIFICANT)], "better"),
        ([("kappa", -0.2, SIGNIFICANT), ("auroc", 0.005, NOT_SIGNIFICANT)], "not_significant"),
        ([("kappa", -0.2, SIGNIFICANT)], "worse"),  # asked for one metric, it goes by that
        ([("auroc", 0.1, SIGNIFICANT), ("auroc", -0.1, SIGNIFICANT)], "mixed"),
        ([("auroc", np.nan, NO_INTERVAL)], "no_interval"),
    ],
)
def test_the_conclusion_goes_by_the_auroc(differences, code):
    assert conclude(rows_of(*differences)) == code
    better = code in ("better", "worse", "mixed")
    assert conclude(rows_of(*differences), seed_alone=True) == ("seed" if better else code)


def test_significant_differences_come_first_the_largest_at_the_top():
    rows = compare_revisions(revision("a", cnn=predict(1.0, 1)), revision("b", cnn=predict(2.5, 2)))
    order = [SIGNIFICANT, NOT_SIGNIFICANT, NO_INTERVAL]
    keys = [
        (order.index(code), -abs(change) if change == change else 0.0)
        for code, change in zip(rows["significance"], rows["difference"], strict=True)
    ]
    assert keys == sorted(keys)


@pytest.mark.parametrize("markdown", [True, False])
def test_a_comparison_as_text_names_what_differs(markdown):
    pair = (
        revision("main", cnn=predict(1.0, 1)),
        Revision("mine", RAW | {"loss": "focal"}, EVALUATE, 7, {"cnn": predict(4.0, 2)}, {}),
    )
    rows = compare_revisions(*pair)
    text = render(rows, pair, ["stages/train.py"], markdown)
    for name in ("loss: bce -> focal", "stages/train.py", "main", "mine"):
        assert name in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == (2 * (2 + len(METRICS)) if markdown else 0)
    assert markdown or max(map(len, text.splitlines())) <= 100


def test_parameters_that_differ_are_named():
    assert changed_params({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1], "d": None}) == [
        ("a.b", "1", "2")
    ]


# Ranks


def ranked(**tables: pd.DataFrame) -> pd.DataFrame:
    revisions = [revision(name, cnn=table) for name, table in tables.items()]
    return rank(revisions, "cnn", "study", "auroc").set_index("name")


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


def test_another_test_set_or_val_is_named():
    """As in experiments with other data.body_parts or split.val_fraction: the easiest may win."""
    table = predict(3.0, 2)
    late = table["patient"] > "p00030"
    rows = ranked(
        good=predict(4.0, 1),
        twin=table.sample(frac=1, random_state=1),
        part=table[late],
        fewer=table[late | (table["split"] == "test")],
    )
    assert rows["other_val"].to_dict() == {
        "good": False, "twin": False, "part": True, "fewer": True,
    }  # fmt: skip
    assert rows.loc["part", "significance"] == OTHER_TEST and np.isnan(rows.loc["part", "behind"])
    assert rows.loc["fewer", "significance"] in (SIGNIFICANT, NOT_SIGNIFICANT)
    lines = render_ranking(rows.reset_index(), "AUROC").splitlines()
    marked = {line.split()[0] for line in lines if "(other val)" in line}
    assert marked == {"part", "fewer"}


def test_a_val_of_one_class_has_no_score_and_comes_last():
    table = predict(2.0, 1)
    one_class = table[(table["split"] == "test") | (table["label"] == 1)]
    half = EVALUATE.model_copy(update={"threshold": "half"})
    revisions = [revision("a", half, cnn=one_class), revision("b", cnn=table)]
    rows = rank(revisions, "cnn", "study", "auroc")
    assert rows["name"].tolist() == ["b", "a"] and np.isnan(rows["val"].iloc[1])


STAGES = """\
stages:
  predict:
    cmd: mkdir -p data/predictions && cp tables/${loss}.csv data/predictions/cnn.csv
    deps: [tables]
    params: [loss]
    outs: [data/predictions/cnn.csv]
"""


@pytest.mark.slow
def test_three_revisions_that_dvc_ran_are_ranked(tmp_path, monkeypatch, capsys):
    """A commit and two experiments, by scikit-learn's AUROC of the mean score per study of val."""
    tables = {"bce": predict(1.0, 1), "focal": predict(4.0, 2), "weighted_bce": predict(2.0, 3)}
    for name, table in tables.items():
        write_predictions(tmp_path / f"tables/{name}.csv", table)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init", "--quiet")
    dvc(tmp_path, "repro", "--quiet")
    commit(tmp_path)
    for name in ("focal", "weighted_bce"):
        dvc(tmp_path, "exp", "run", "--quiet", "-n", f"exp-{name}", "-S", f"loss={name}")
    monkeypatch.chdir(tmp_path)
    main("compare", "HEAD", "exp-weighted_bce", "exp-focal")
    lines = capsys.readouterr().out.splitlines()

    def auroc(table: pd.DataFrame) -> float:
        studies = table[table["split"] == "val"].groupby("study")[["label", "probability"]].mean()
        return roc_auc_score(studies["label"], studies["probability"])

    names = {"bce": "HEAD", "focal": "exp-focal", "weighted_bce": "exp-weighted_bce"}
    order = sorted(tables, key=lambda name: -auroc(tables[name]))
    shown = [
        line.split()[:2] for line in lines if line.split()[:1] and line.split()[0] in names.values()
    ]
    assert shown == [[names[name], f"{auroc(tables[name]):.3f}"] for name in order]
    main("compare", "HEAD", "--metric", "auroc")
    assert "loss: bce -> weighted_bce" in capsys.readouterr().out
