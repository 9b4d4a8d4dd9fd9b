"""Ranking: the best first, and what cannot be told apart from it."""

import json

import numpy as np
import pytest
from test_team_compare import EVALUATE, predict, revision

from ulna.errors import InputError
from ulna.judging.evaluation import evaluate_table
from ulna.team.ranking import Metric, rank, render

AUROC = Metric.parse("cnn:study.auroc")


@pytest.mark.parametrize("text", ["auroc", "cnn:auroc", "cnn:study.speed", "vgg:study.auroc"])
def test_an_unknown_metric_is_refused_with_those_there_are(text):
    with pytest.raises(InputError, match=f"--metric {text} is unknown: .* densenet169.* kappa"):
        Metric.parse(text)


def test_a_metric_is_read_with_its_interval_and_null_is_undefined():
    scores = {"auroc": 0.9, "auroc_low": 0.8, "auroc_high": None}
    value, low, high = AUROC.read(json.dumps({"study": scores}))
    assert (value, low) == (0.9, 0.8) and np.isnan(high)


def results_of(held) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name, each in held.items():
        study = evaluate_table(each.tables["cnn"], EVALUATE, 7).metrics["study"]
        found[name] = (study["auroc"], study["auroc_low"], study["auroc_high"])
    return found


def test_the_best_comes_first_and_the_rest_is_told_from_noise():
    held = {
        "weak": revision("weak", cnn=predict(0.5, 1)),
        "good": revision("good", cnn=predict(4.0, 2)),
        "twin": revision("twin", cnn=predict(3.9, 3)),
    }
    rows = rank(AUROC, results_of(held), held).set_index("name")
    assert rows.index[-1] == "weak" and rows.loc["weak", "found"] == "beyond noise"
    assert rows["found"].tolist()[:2] == ["best", "noise"]
    behind = rows.loc["weak"]
    assert behind["behind"] == pytest.approx(behind["value"] - rows["value"].iloc[0])
    assert behind["behind_low"] < behind["behind"] < behind["behind_high"] < 0


def test_val_ranks_and_test_stands_beside():
    table = predict(2.0, 1)
    blind = table.assign(
        logit=np.where(table["split"] == "val", 0.0, table["logit"]),
        probability=np.where(table["split"] == "val", 0.5, table["probability"]),
    )
    held = {"seeing": revision("seeing", cnn=table), "blind": revision("blind", cnn=blind)}
    held["lucky"] = revision("lucky", cnn=blind)
    results = results_of(held) | {"lucky": (0.99, 0.98, 1.0)}
    rows = rank(AUROC, results, held).set_index("name")
    # Blind on val, the best on test is not the first; among those equal on val it is.
    assert rows.index.tolist() == ["seeing", "lucky", "blind"]
    assert rows.loc["seeing", "found"] == "best"
    assert rows.loc["seeing", "val"] > 0.6
    assert rows.loc["blind", "val"] == 0.5
    assert rows.loc["blind", "value"] == rows.loc["seeing", "value"]


def test_another_test_set_is_no_reason_not_to_rank_the_rest():
    """As in a grid over data.body_parts."""
    table = predict(3.0, 2)
    held = {
        "good": revision("good", cnn=predict(4.0, 1)),
        "twin": revision("twin", cnn=table),
        "part": revision("part", cnn=table[table["patient"] > "p00030"]),
    }
    rows = rank(AUROC, results_of(held), held).set_index("name")
    assert rows.loc["part", "found"] == "another test set"
    assert np.isnan(rows.loc["part", "behind"])
    assert rows.loc["twin", "found"] in ("noise", "beyond noise")
    text = render(rows.reset_index(), AUROC, {name: name for name in held}, [])
    assert "1 have another test set than good" in text
    assert "1 others" in text


def test_another_val_is_said_to_be_so():
    """As in a grid over seed or split.val_fraction: the easiest val would win without a word."""
    table = predict(3.0, 2)
    fewer = table[(table["split"] == "test") | (table["patient"] > "p00030")]
    held = {
        "good": revision("good", cnn=predict(4.0, 1)),
        "twin": revision("twin", cnn=table.sample(frac=1, random_state=1)),
        "fewer": revision("fewer", cnn=fewer),
    }
    rows = rank(AUROC, results_of(held), held).set_index("name")
    assert rows["other_val"].to_dict() == {"good": False, "twin": False, "fewer": True}
    assert rows.loc["fewer", "found"] in ("noise", "beyond noise")
    text = render(rows.reset_index(), AUROC, {name: name for name in held}, [])
    starred = [line.split()[0] for line in text.splitlines()[1:4] if "*" in line]
    assert starred == ["fewer"]
    assert "* On other val patients than good" in text
    assert "do not choose by this ranking" in " ".join(text.split())
    same = rows.drop("fewer").reset_index()
    assert "*" not in render(same, AUROC, {name: name for name in held}, [])


def test_a_first_without_predictions_is_no_crash():
    """It is the first where no other has a score on val either."""
    table = predict(2.0, 1)
    one_label = table[(table["split"] == "test") | (table["label"] == 1)]
    half = EVALUATE.model_copy(update={"threshold": "half"})
    held = {"b": revision("b", half, cnn=one_label)}
    rows = rank(AUROC, {"a": (0.9, 0.8, 1.0), "b": (0.7, 0.6, 0.8)}, held)
    assert rows["val"].isna().all()
    assert rows["name"].tolist() == ["a", "b"]
    assert rows["found"].tolist() == ["best", "no interval"]


def test_without_predictions_or_a_score_there_is_no_interval_and_no_crash():
    results = {"a": (np.nan, np.nan, np.nan), "b": (0.7, 0.6, 0.8)}
    rows = rank(AUROC, results, {})
    assert rows["name"].tolist() == ["b", "a"]
    assert rows["found"].tolist() == ["best", "no interval"]
    text = render(rows, AUROC, {"a": "loss=bce", "b": "loss=focal"}, ["c"])
    assert "0.700 (0.600 to 0.800)" in text
    assert "1 of 1 others cannot be told apart from loss=focal on test." in text
    assert "flattered by" in text
    assert "`dvc exp apply b`" in text and "1 failed: c." in text
