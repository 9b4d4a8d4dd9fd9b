"""Two revisions held against each other: pairs, nothing where they are equal, honest words."""

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from test_team_overrides import PARAMS

from ulna.errors import InputError
from ulna.judging.bootstrap import METRICS
from ulna.judging.evaluation import evaluate_table
from ulna.params import Evaluate, parse_params
from ulna.predictions import check_predictions, sigmoid
from ulna.team.compare import (
    NOISE,
    REAL,
    UNKNOWN,
    changed_params,
    check_same_test,
    compare_revisions,
    compare_tables,
    notes,
    ranked,
    render,
    verdict,
    what_is,
)
from ulna.team.revisions import Revision

RAW = YAML(typ="safe", pure=True).load(PARAMS)
EVALUATE = parse_params(RAW).evaluate.model_copy(update={"bootstrap_draws": 400})


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
    table["probability"] = sigmoid(table["logit"])
    check_predictions(table, "simulated")
    return table


def revision(name: str, evaluate: Evaluate = EVALUATE, **tables: pd.DataFrame) -> Revision:
    return Revision(name, RAW, evaluate, 7, tables, {})


# Numbers


@pytest.mark.promise("A8")
def test_the_same_predictions_differ_in_nothing():
    table = predict(2.0, seed=1)
    rows = compare_revisions(revision("a", cnn=table), revision("b", cnn=table))
    assert (rows[["difference", "low", "high"]] == 0).all(axis=None)
    assert set(rows["found"]) == {NOISE}
    study = rows[rows["level"] == "study"]
    assert verdict(study, ("a", "b")) == "b scores as a does, in all of 8 numbers per study."


def test_the_order_of_rows_changes_nothing():
    first, second = predict(2.0, seed=1), predict(2.2, seed=2)
    found = compare_tables((first, EVALUATE), (second, EVALUATE), 7)
    mixed = second.sample(frac=1, random_state=3).reset_index(drop=True)
    pd.testing.assert_frame_equal(compare_tables((first, EVALUATE), (mixed, EVALUATE), 7), found)


def test_both_are_scored_as_evaluate_scores_them():
    """Each by its own thresholds and its own rules."""
    first, second = predict(2.0, seed=1), predict(3.0, seed=2)
    half = EVALUATE.model_copy(update={"threshold": "half", "aggregation": "max"})
    found = compare_tables((first, EVALUATE), (second, half), 7)
    for level in ("study", "image"):
        rows = found[found["level"] == level].set_index("metric")
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
def test_another_seed_is_mostly_noise_and_a_better_network_is_not():
    same = [
        compare_tables((predict(2.0, seed), EVALUATE), (predict(2.0, seed + 50), EVALUATE), 7)
        for seed in range(8)
    ]
    found = pd.concat(same)
    # Thresholds chosen on val are noise that the intervals do not hold: areas have none.
    areas = found[found["metric"].isin(["auroc", "auprc"])]
    assert (areas["found"] == NOISE).mean() > 0.8
    assert (found["found"] == NOISE).mean() > 0.7

    better = compare_tables((predict(1.0, 1), EVALUATE), (predict(4.0, 2), EVALUATE), 7)
    auroc = better[better["metric"] == "auroc"]
    assert (auroc["found"] == REAL).all() and (auroc["difference"] > 0).all()


def test_pairing_tells_what_two_intervals_cannot():
    """What makes a patient hard is hard for both, and cancels out."""
    first, second = predict(2.0, 1, hard=2.0), predict(2.6, 1, hard=2.0)
    alone = [evaluate_table(t, EVALUATE, 7).metrics["study"] for t in (first, second)]
    assert alone[0]["auroc_high"] > alone[1]["auroc_low"]
    rows = compare_tables((first, EVALUATE), (second, EVALUATE), 7, ["study"])
    assert rows.set_index("metric").loc["auroc", "found"] == REAL


def test_too_few_patients_give_no_number():
    strict = EVALUATE.model_copy(update={"min_patients": 1000})
    rows = compare_tables((predict(2.0, 1), EVALUATE), (predict(2.0, 2), strict), 7)
    assert set(rows["found"]) == {UNKNOWN}
    assert rows[["before", "after", "difference", "low", "high"]].isna().all(axis=None)
    assert "no difference has an interval" in verdict(rows.assign(network="cnn"), ("a", "b"))


# What cannot be compared


def test_another_test_set_is_refused_with_how_many_differ():
    first, second = predict(2.0, 1), predict(2.0, 2)
    check_same_test(first, second, ("a", "b"))
    # val may differ: another seed divides train and val anew.
    check_same_test(first, second[second["split"] == "test"], ("a", "b"))
    lost = second[second["patient"] != "p00000"]
    gone = len(second) - len(lost)
    with pytest.raises(InputError, match=f"different test sets .*: {gone} are only in a. Their"):
        check_same_test(first, lost, ("a", "b"))
    flipped = second.assign(label=np.where(second["patient"] == "p00000", 1 - second["label"],
                                           second["label"]))  # fmt: skip
    with pytest.raises(InputError, match=f": {gone} have another patient, study or label"):
        check_same_test(first, flipped, ("a", "b"))


def test_revisions_without_a_network_in_common_are_refused():
    table = predict(2.0, 1)
    with pytest.raises(InputError, match="a has predictions of cnn alone, b of ensemble"):
        compare_revisions(revision("a", cnn=table), revision("b", ensemble=table))


# Words


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(-0.1, 0.1, NOISE), (0.0, 0.1, NOISE), (0.01, 0.1, REAL), (-0.1, -0.01, REAL),
     (np.nan, np.nan, UNKNOWN)],
)  # fmt: skip
def test_an_interval_that_holds_0_is_noise(low, high, found):
    assert what_is({"difference": 0.05, "low": low, "high": high}) == found


def rows_of(*found: tuple[str, float, str]) -> pd.DataFrame:
    rows = [
        {"network": "cnn", "level": "study", "metric": metric, "before": 0.5, "after": 0.5 + change,
         "difference": change, "low": change - 0.01, "high": change + 0.01, "n": 40, "patients": 30,
         "found": what}
        for metric, change, what in found
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_real_differences_come_first_the_largest_before_all():
    rows = ranked(
        rows_of(("f1", 0.5, NOISE), ("kappa", -0.2, REAL), ("auprc", np.nan, UNKNOWN),
                ("auroc", 0.1, REAL), ("recall", -0.7, NOISE))
    )  # fmt: skip
    assert rows["metric"].tolist() == ["kappa", "auroc", "recall", "f1", "auprc"]


def test_the_verdict_goes_by_the_auroc_and_counts_the_rest():
    rows = rows_of(("kappa", -0.2, REAL), ("auroc", 0.1, REAL), ("f1", 0.0, NOISE))
    assert verdict(rows, ("main", "mine")) == (
        "mine is better than main: AUROC of CNN +0.100 (+0.090 to +0.110). Of 3 numbers per study "
        "2 differ by more than another draw of test patients explains, for these networks as they "
        "are trained."
    )
    rows = rows_of(("kappa", -0.2, REAL), ("auroc", 0.005, NOISE))
    assert verdict(rows, ("main", "mine")).startswith(
        "mine cannot be told apart from main: AUROC of CNN +0.005 (-0.005 to +0.015). Of 2 numbers "
    )
    # Asked for one metric, it goes by that.
    assert verdict(rows.iloc[:1], ("main", "mine")).startswith(
        "mine is worse than main: kappa of CNN -0.200"
    )
    both = pd.concat([rows_of(("auroc", 0.1, REAL)),
                      rows_of(("auroc", -0.1, REAL)).assign(network="ensemble")])  # fmt: skip
    assert verdict(both, ("main", "mine")).startswith(
        "mine is better than main in some, worse in others: AUROC of CNN +0.100 (+0.090 to "
        "+0.110); AUROC of ensemble -0.100"
    )


def test_what_the_seed_alone_does_is_said():
    table = predict(2.0, 1)
    before = revision("main", cnn=table)

    def after(**params: object) -> Revision:
        return Revision("mine", RAW | params, EVALUATE, 7, {"cnn": table}, {})

    assert notes(before, after(seed=1), []) == [
        "Only the seed differs: differences of this size come from it alone."
    ]
    assert notes(before, after(seed=1), ["src/x.py", "data/mura.dvc"]) == [
        "The seed differs too: a part of each difference may be its work.",
        "Code differs in 1 files: src/x.py.",
        "Data differs in 1 files: data/mura.dvc.",
    ]
    assert notes(before, after(seed=1, loss="focal"), []) == [
        "The seed differs too: a part of each difference may be its work."
    ]
    assert notes(before, after(loss="focal"), []) == []


@pytest.mark.parametrize("markdown", [True, False])
def test_another_seed_alone_makes_nothing_better(markdown):
    tables = {"cnn": predict(1.0, 1)}, {"cnn": predict(4.0, 2)}
    before = Revision("main", RAW, EVALUATE, 7, tables[0], {})
    after = Revision("mine", RAW | {"seed": 1}, EVALUATE, 7, tables[1], {})
    rows = compare_revisions(before, after)
    text = render(rows, (before, after), [], markdown=markdown)
    assert "better" not in text
    assert "mine differs from main, by the seed alone: AUROC of CNN +" in text
    other = Revision("mine", RAW | {"seed": 1, "loss": "focal"}, EVALUATE, 7, tables[1], {})
    assert "mine is better than main" in render(rows, (before, other), [], markdown=markdown)
    # What is noise is so by the seed too.
    noise = rows_of(("auroc", 0.005, NOISE))
    assert verdict(noise, ("a", "b"), seed_alone=True).startswith("b cannot be told apart from a")


def test_markdown_begins_with_the_verdict_and_folds_the_rest():
    pair = (
        revision("main", cnn=predict(1.0, 1)),
        Revision("mine", RAW | {"loss": "focal"}, EVALUATE, 7, {"cnn": predict(4.0, 2)}, {}),
    )
    rows = compare_revisions(*pair)
    text = render(rows, pair, ["stages/train.py"], markdown=True)
    lines = text.splitlines()
    assert lines[0].startswith("**mine is better than main: AUROC of CNN +") and lines[0].endswith(
        "**"
    )
    assert "- `loss`: bce → focal" in lines
    assert "Code differs in 1 files: stages/train.py." in text
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 * (2 + len(METRICS))
    assert {line.count("|") for line in table} == {7}
    assert lines.index("<details><summary>Details</summary>") > lines.index(table[0])
    assert lines[-1] == "</details>"
    assert "another seed of training" in text

    plain = render(rows, pair, [])
    assert "  loss: bce -> focal" in plain and "|" not in plain
    assert max(map(len, plain.splitlines())) <= 100


def test_a_network_that_was_not_run_again_is_left_out_by_name():
    before = revision("main", cnn=predict(1.0, 1), ensemble=predict(1.0, 1))
    after = Revision("mine", RAW, EVALUATE, 7, {"cnn": predict(1.0, 1)}, {"cnn": {"loss": "bce"}})
    sentence = "CNN of mine was made with loss bce, and not again since that changed."
    assert notes(before, after, []) == [
        f"Left out. {sentence}",
        "Only main has predictions of ensemble.",
    ]
    with pytest.raises(InputError, match=f"^{sentence} Run `dvc repro` there$"):
        compare_revisions(before, after)
    other = Revision("mine", RAW, EVALUATE, 7, dict(before.tables), {"cnn": {"loss": "bce"}})
    text = render(compare_revisions(before, other), (before, other), [], markdown=True)
    verdict_line = text.splitlines()[0]
    assert verdict_line.endswith("in all of 8 numbers per study. Without CNN, see below.**")


def test_parameters_that_differ_are_named():
    assert changed_params({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1], "d": None}) == [
        ("a.b", "1", "2")
    ]
