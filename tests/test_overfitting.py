"""The splits side by side, and the stage that writes what is said of overfitting."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PARAMS
from scipy.special import expit
from scipy.stats import norm

from stages.learning_curve import learning_curve
from stages.overfitting import overfitting
from ulna import paths
from ulna.data.splits import SIZES, count_sizes
from ulna.errors import InputError
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.judging.bootstrap import resample, with_intervals
from ulna.judging.evaluation import decided, evaluate_table
from ulna.judging.metrics import score
from ulna.judging.overfitting import (
    COLUMNS,
    MEASURES,
    SMALL,
    conclude_overfitting,
    judge_splits,
    losses_of,
    redraw_mean,
    summarize,
)
from ulna.judging.reliability import log_loss
from ulna.params import load_params
from ulna.predictions import by_study, write_predictions


def images(split: str, shift: float, seed: int, patients: int = 120, part: str = "HAND"):
    """One view a study and one study a patient; abnormal logits are normal ones plus `shift`."""
    draw = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    logits = draw.normal(shift * labels, 1.0) - shift / 2
    names = [f"{split}-{part}-{k}" for k in range(patients)]
    return pd.DataFrame(
        {
            "image": names,
            "patient": names,
            "study": names,
            "body_part": part,
            "split": split,
            "label": labels,
            "logit": logits,
            "probability": expit(logits),
        }
    )


def tables(train: float, other: float, seed: int = 1, patients: int = 120):
    learnt = images("train", train, 1000 + seed, patients)
    judged = [
        images(split, other, k * 10_000 + seed, patients) for k, split in enumerate(("val", "test"))
    ]
    return learnt, pd.concat(judged, ignore_index=True)


@pytest.fixture(scope="module")
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_draws": 400})


@pytest.fixture(scope="module")
def splits(evaluate):
    return judge_splits("cnn", *tables(2.5, 1.0), "all", evaluate, seed=3).set_index("split")


def test_a_planted_gap_is_called(splits):
    # Two normal distributions a shift apart: AUROC is Phi(shift / sqrt 2).
    planted = norm.cdf(2.5 / 2**0.5) - norm.cdf(1.0 / 2**0.5)
    row = splits.loc["test"]
    assert row["auroc_gap_low"] < planted < row["auroc_gap_high"]
    assert conclude_overfitting(row) == "overfitted"


def test_equal_splits_are_rarely_called_apart(evaluate):
    """About 5% of the 95% intervals miss 0: of 60, 10 or more once in 1000 times."""
    few = evaluate.model_copy(update={"bootstrap_draws": 200})
    missed = 0
    for seed in range(60):
        row = judge_splits("cnn", *tables(1.0, 1.0, seed, 60), "all", few, seed).iloc[2]
        missed += row["auroc_gap_low"] > 0 or row["auroc_gap_high"] < 0
    assert 1 <= missed <= 9


def test_gaps_add_up_and_are_differences_of_what_stands_beside_them(splits):
    train, val, test = (splits.loc[split] for split in ("train", "val", "test"))
    for name in MEASURES:
        sign = -1 if name == "log_loss" else 1
        assert test[f"{name}_gap"] == pytest.approx(sign * (train[name] - test[name]))
        steps = val[f"{name}_gap"] + sign * (val[name] - test[name])
        assert test[f"{name}_gap"] == pytest.approx(steps)
        assert np.isnan(train[f"{name}_gap"])


def test_the_interval_of_a_gap_is_as_wide_as_independent_splits_make_it(splits):
    """Variances of independent numbers add; draws that hang together would make it narrower."""
    widths = splits["accuracy_high"] - splits["accuracy_low"]
    for split in ("val", "test"):
        row = splits.loc[split]
        expected = np.hypot(widths["train"], widths[split])
        assert row["accuracy_gap_high"] - row["accuracy_gap_low"] == pytest.approx(
            expected, rel=0.15
        )


def test_each_split_is_judged_at_the_threshold_of_val(evaluate, splits):
    learnt, judged = tables(2.5, 1.0)
    _, thresholds = decided(judged, "study", evaluate)
    assert (splits["threshold"] == thresholds.overall).all()
    for split, table in (("train", learnt), ("test", judged[judged["split"] == "test"])):
        studies = by_study(table, evaluate.aggregation)
        expected = score(studies["label"], studies["probability"], thresholds.overall)
        for name in ("auroc", "kappa", "accuracy"):
            assert splits.at[split, name] == pytest.approx(expected[name])
        expected_loss = log_loss(studies["label"], studies["probability"])
        assert splits.at[split, "log_loss"] == pytest.approx(expected_loss)


def test_test_is_judged_as_the_headline_is(evaluate, splits):
    headline = evaluate_table(tables(2.5, 1.0)[1], evaluate, seed=3).metrics["study"]
    for name in ("auroc", "kappa", "accuracy"):
        for end in ("", "_low", "_high"):
            assert splits.at["test", f"{name}{end}"] == headline[f"{name}{end}"]


@pytest.mark.promise("A3")
def test_labels_of_train_and_test_choose_no_threshold(evaluate):
    learnt, judged = tables(1.0, 1.0)
    turned = judged.assign(
        label=judged["label"].where(judged["split"] == "val", 1 - judged["label"])
    )
    given = judge_splits("cnn", learnt, judged, "all", evaluate, 1)
    other = judge_splits(
        "cnn", learnt.assign(label=1 - learnt["label"]), turned, "all", evaluate, 1
    )
    assert given["threshold"].equals(other["threshold"])
    assert given["auroc"].iloc[0] != other["auroc"].iloc[0]


def test_only_what_was_learnt_from_is_judged(evaluate):
    learnt, judged = tables(1.0, 1.0)
    more = [images(split, 0.0, 5, part="WRIST") for split in ("train", "val", "test")]
    learnt = pd.concat([learnt, more[0]], ignore_index=True)
    judged = pd.concat([judged, *more[1:]], ignore_index=True)
    some = judge_splits("cnn", learnt, judged, ("HAND",), evaluate, 1)
    assert some["n"].tolist() == [120, 120, 120]
    assert judge_splits("cnn", learnt, judged, "all", evaluate, 1)["n"].tolist() == [240] * 3


@pytest.mark.promise("A1")
def test_a_patient_in_two_splits_stops_the_stage(evaluate):
    learnt, judged = tables(1.0, 1.0)
    learnt.loc[0, "patient"] = judged.loc[0, "patient"]
    with pytest.raises(InputError, match="'val-HAND-0' .* cnn"):
        judge_splits("cnn", learnt, judged, "all", evaluate, 1)


@pytest.mark.promise("E31")
def test_too_few_patients_give_no_number_and_no_conclusion(evaluate):
    few = evaluate.model_copy(update={"min_patients": 200})
    found = judge_splits("cnn", *tables(1.0, 1.0), "all", few, 1)
    assert found["n"].tolist() == [120] * 3
    assert (
        found[[name for name in COLUMNS if "auroc" in name or "loss" in name]].isna().all(axis=None)
    )
    assert summarize(found)["conclusion"] == "too_few"


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [
        (0.01, 0.2, "overfitted"),
        (0.01, SMALL - 0.01, "slightly_overfitted"),
        (-0.02, SMALL - 0.01, "no_gap"),
        (-0.2, -0.1, "no_gap"),
        (-0.02, SMALL + 0.01, "inconclusive"),
    ],
)
def test_the_interval_makes_the_conclusion(low, high, conclusion):
    test = {"auroc_gap": (low + high) / 2, "auroc_gap_low": low, "auroc_gap_high": high}
    assert conclude_overfitting(test) == conclusion


def test_the_summary_holds_the_rows(splits):
    found = summarize(splits.reset_index())
    assert list(found) == ["conclusion", "train", "val", "test"]
    assert found["test"]["auroc_gap_low"] == splits.at["test", "auroc_gap_low"]
    assert not [name for name in found["train"] if "_gap" in name]


def test_the_loss_of_a_row_is_minus_the_log_of_what_its_label_was_given():
    labels, given = np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.2, 0.2])
    np.testing.assert_allclose(losses_of(labels, given), -np.log([0.9, 0.1, 0.2, 0.8]))
    assert losses_of(labels, given).mean() == pytest.approx(log_loss(labels, given))
    assert np.isfinite(losses_of([0], [1.0])).all()


def test_a_mean_is_redrawn_as_by_hand():
    patients = pd.Series(["a", "a", "b", "c"])
    values = np.array([1.0, 2.0, 3.0, 7.0])
    resamples = resample(patients, 50, seed=1)
    for draw, mean in enumerate(redraw_mean(patients, values, resamples)):
        held = dict(zip(resamples.patients, resamples.weights[:, draw], strict=True))
        rows = [v for p, v in zip(patients, values, strict=True) for _ in range(int(held[p]))]
        assert mean == pytest.approx(np.mean(rows))


def test_a_split_by_itself_is_judged_as_everywhere(evaluate, splits):
    """The same numbers as `with_intervals` gives the val split with its own draws."""
    studies, _ = decided(tables(2.5, 1.0)[1], "study", evaluate)
    val = studies[studies["split"] == "val"]
    expected = with_intervals(val, resample(val["patient"], 400, 3 + 2), 10)
    for name in ("auroc", "kappa_low", "accuracy_high"):
        assert splits.at["val", name] == pytest.approx(expected[name])


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2],
        "loss": [0.7, 0.6],
        "val_loss": [0.7, 0.65],
        "auroc": [0.5, 0.8],
        "val_auroc": [0.5, 0.7],
        "best": [0, 1],
    }
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stage reads: the splits of two networks, size curve off."""
    text = PARAMS.read_text().replace("bootstrap_draws: 2000", "bootstrap_draws: 200")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    learnt, judged = tables(2.5, 1.0)
    for arch, phases in (("cnn", "scratch"), ("densenet169", ["head", "finetune"])):
        write_predictions(paths.predictions(arch), judged)
        write_predictions(paths.scored(arch, "train"), learnt, ("train",))
        write_csv(paths.history(arch), HISTORY.assign(phase=phases))
        network = getattr(load_params(PARAMS), arch).model_dump(mode="json")
        write_json(paths.bundle(arch) / "model.json", {"network": network})
    learning_curve()
    return tmp_path


def test_the_stage_writes_what_it_says(repository, capsys):
    overfitting()
    said = capsys.readouterr().out
    found = json.loads((repository / "metrics/overfitting.json").read_text())
    for arch in ("cnn", "densenet169"):
        assert conclusions.overfitting(found[arch], arch) in said
        assert conclusions.history(found[arch]["course"], arch) in said
        assert found[arch]["course"]["kept"] == 2
    assert found["learning_curve"] == {"conclusion": "off", "arch": "cnn", "step": {}}
    assert conclusions.learning_curve(found["learning_curve"]) in said
    assert len(pd.read_csv("plots/tables/overfitting.csv")) == 6
    assert len(pd.read_csv("plots/tables/gaps.csv")) == 4
    assert pd.read_csv("plots/tables/learning_curve.csv").empty


def test_the_last_point_of_the_size_curve_is_the_network_of_all(repository):
    learnt, judged = tables(2.5, 1.0)
    half = learnt[learnt["patient"].isin(learnt["patient"].unique()[:60])]
    write_csv(paths.LEARNING_CURVE / SIZES, count_sizes({0.5: half}))
    write_predictions(paths.scored_by_fraction(0.5), tables(1.0, 0.2)[1])
    overfitting()
    points = pd.read_csv("plots/tables/learning_curve.csv")
    assert points["fraction"].tolist() == [0.5, 1.0]
    assert points["patients"].tolist() == [60, 120]
    found = json.loads((repository / "metrics/overfitting.json").read_text())
    assert points["auroc"].iloc[1] == pytest.approx(found["cnn"]["test"]["auroc"])
    assert found["learning_curve"]["step"]["to_patients"] == 120
    assert found["learning_curve"]["conclusion"] == "improves"


@pytest.mark.promise("B12")
def test_the_stage_writes_the_same_bytes_twice(repository):
    written = []
    for _ in range(2):
        overfitting()
        files = sorted(
            [
                *Path("plots/tables").glob("*.csv"),
                Path("metrics/overfitting.json"),
            ]
        )
        written.append([path.read_bytes() for path in files])
    assert len(written[0]) == 4
    assert written[0] == written[1]
