"""The splits side by side, and the stage that writes what is printed of overfitting."""

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
from ulna.core import InputError, paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import by_study, write_predictions
from ulna.data.splits import SIZE_COLUMNS, SIZES, count_sizes
from ulna.evaluation import conclusions
from ulna.evaluation.bootstrap import bootstrap_mean, bootstrap_weights, metrics_with_ci
from ulna.evaluation.evaluate import evaluate_table
from ulna.evaluation.metrics import compute_metrics, log_loss, row_losses
from ulna.evaluation.overfitting import (
    LEARNING_CURVE_COLUMNS,
    MEASURES,
    SMALL_GAP,
    SPLIT_COLUMNS,
    conclude_learning_curve,
    conclude_overfitting,
    evaluate_learning_curve,
    evaluate_splits,
    gaps_by_epoch,
    summarize_history,
    summarize_splits,
)
from ulna.evaluation.thresholds import apply_thresholds


def images(split: str, shift: float, seed: int, patients: int = 120, part: str = "HAND"):
    """One view a study and one study a patient; abnormal logits are normal ones plus `shift`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    logits = rng.normal(shift * labels, 1.0) - shift / 2
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
    train_table = images("train", train, 1000 + seed, patients)
    held_out = [
        images(split, other, k * 10_000 + seed, patients) for k, split in enumerate(("val", "test"))
    ]
    return train_table, pd.concat(held_out, ignore_index=True)


@pytest.fixture(scope="module")
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_replicates": 400})


@pytest.fixture(scope="module")
def splits(evaluate):
    return evaluate_splits("cnn", *tables(2.5, 1.0), "all", evaluate, seed=3).set_index("split")


def test_a_simulated_gap_is_overfitted(splits):
    # Two normal distributions a shift apart: AUROC is Phi(shift / sqrt 2).
    simulated = norm.cdf(2.5 / 2**0.5) - norm.cdf(1.0 / 2**0.5)
    row = splits.loc["test"]
    assert row["auroc_gap_low"] < simulated < row["auroc_gap_high"]
    assert conclude_overfitting(row) == "overfitted"


def test_false_positive_rate_of_equal_splits(evaluate):
    """About 5% of the 95% intervals miss 0: of 60, 10 or more once in 1000 times."""
    few = evaluate.model_copy(update={"bootstrap_replicates": 200})
    missed = 0
    for seed in range(60):
        row = evaluate_splits("cnn", *tables(1.0, 1.0, seed, 60), "all", few, seed).iloc[2]
        missed += row["auroc_gap_low"] > 0 or row["auroc_gap_high"] < 0
    assert 1 <= missed <= 9


def test_gaps_are_differences_and_add_up(splits):
    train, val, test = (splits.loc[split] for split in ("train", "val", "test"))
    for name in MEASURES:
        sign = -1 if name == "log_loss" else 1
        assert test[f"{name}_gap"] == pytest.approx(sign * (train[name] - test[name]))
        steps = val[f"{name}_gap"] + sign * (val[name] - test[name])
        assert test[f"{name}_gap"] == pytest.approx(steps)
        assert np.isnan(train[f"{name}_gap"])


def test_the_ci_of_a_gap_is_that_of_independent_splits(splits):
    """Variances of independent numbers add; correlated replicates would make it narrower."""
    widths = splits["accuracy_high"] - splits["accuracy_low"]
    for split in ("val", "test"):
        row = splits.loc[split]
        expected = np.hypot(widths["train"], widths[split])
        assert row["accuracy_gap_high"] - row["accuracy_gap_low"] == pytest.approx(
            expected, rel=0.15
        )


def test_each_split_is_evaluated_at_the_threshold_of_val(evaluate, splits):
    train_table, held_out = tables(2.5, 1.0)
    _, thresholds = apply_thresholds(held_out, "study", evaluate)
    assert (splits["threshold"] == thresholds.overall).all()
    for split, table in (("train", train_table), ("test", held_out[held_out["split"] == "test"])):
        studies = by_study(table, evaluate.aggregation)
        expected = compute_metrics(studies["label"], studies["probability"], thresholds.overall)
        for name in ("auroc", "kappa", "accuracy"):
            assert splits.at[split, name] == pytest.approx(expected[name])
        expected_loss = log_loss(studies["label"], studies["probability"])
        assert splits.at[split, "log_loss"] == pytest.approx(expected_loss)


def test_test_is_evaluated_as_the_headline_is(evaluate, splits):
    headline = evaluate_table(tables(2.5, 1.0)[1], evaluate, seed=3).metrics["study"]
    for name in ("auroc", "kappa", "accuracy"):
        for end in ("", "_low", "_high"):
            assert splits.at["test", f"{name}{end}"] == headline[f"{name}{end}"]


@pytest.mark.promise("A3")
def test_labels_of_train_and_test_choose_no_threshold(evaluate):
    train_table, held_out = tables(1.0, 1.0)
    turned = held_out.assign(
        label=held_out["label"].where(held_out["split"] == "val", 1 - held_out["label"])
    )
    given = evaluate_splits("cnn", train_table, held_out, "all", evaluate, 1)
    other = evaluate_splits(
        "cnn", train_table.assign(label=1 - train_table["label"]), turned, "all", evaluate, 1
    )
    assert given["threshold"].equals(other["threshold"])
    assert given["auroc"].iloc[0] != other["auroc"].iloc[0]


def test_only_body_parts_trained_on_are_in_the_splits(evaluate):
    train_table, held_out = tables(1.0, 1.0)
    more = [images(split, 0.0, 5, part="WRIST") for split in ("train", "val", "test")]
    train_table = pd.concat([train_table, more[0]], ignore_index=True)
    held_out = pd.concat([held_out, *more[1:]], ignore_index=True)
    some = evaluate_splits("cnn", train_table, held_out, ("HAND",), evaluate, 1)
    assert some["n"].tolist() == [120, 120, 120]
    assert (
        evaluate_splits("cnn", train_table, held_out, "all", evaluate, 1)["n"].tolist() == [240] * 3
    )


@pytest.mark.promise("A1")
def test_a_patient_in_two_splits_stops_the_stage(evaluate):
    train_table, held_out = tables(1.0, 1.0)
    train_table.loc[0, "patient"] = held_out.loc[0, "patient"]
    with pytest.raises(InputError, match="'val-HAND-0' .* cnn"):
        evaluate_splits("cnn", train_table, held_out, "all", evaluate, 1)


@pytest.mark.promise("E31")
def test_too_few_patients_give_no_number_and_no_conclusion(evaluate):
    few = evaluate.model_copy(update={"min_patients": 200})
    found = evaluate_splits("cnn", *tables(1.0, 1.0), "all", few, 1)
    assert found["n"].tolist() == [120] * 3
    assert (
        found[[name for name in SPLIT_COLUMNS if "auroc" in name or "loss" in name]]
        .isna()
        .all(axis=None)
    )
    assert summarize_splits(found)["conclusion"] == "too_few"


@pytest.mark.promise("E31")
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_fewer_than_20_studies_of_a_class_are_not_concluded_from(splits, split):
    enough = splits.assign(n=40, abnormal=20)
    assert summarize_splits(enough.reset_index())["conclusion"] == "overfitted"
    for abnormal in (19, 21):
        few = enough.copy()
        few.loc[split, "abnormal"] = abnormal
        assert summarize_splits(few.reset_index())["conclusion"] == "too_few"


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [
        (0.01, 0.2, "overfitted"),
        (0.01, SMALL_GAP - 0.01, "slightly_overfitted"),
        (-0.02, SMALL_GAP - 0.01, "no_gap"),
        (-0.2, -0.1, "no_gap"),
        (-0.02, SMALL_GAP + 0.01, "inconclusive"),
    ],
)
def test_the_conclusion_depends_on_the_ci(low, high, conclusion):
    test = {"auroc_gap": (low + high) / 2, "auroc_gap_low": low, "auroc_gap_high": high}
    assert conclude_overfitting(test) == conclusion


def test_the_summary_holds_the_rows(splits):
    found = summarize_splits(splits.reset_index())
    assert list(found) == ["conclusion", "train", "val", "test"]
    assert found["test"]["auroc_gap_low"] == splits.at["test", "auroc_gap_low"]
    assert not [name for name in found["train"] if "_gap" in name]


def test_the_loss_of_a_row_is_minus_the_log_of_its_labels_probability():
    labels, given = np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.2, 0.2])
    np.testing.assert_allclose(row_losses(labels, given), -np.log([0.9, 0.1, 0.2, 0.8]))
    assert row_losses(labels, given).mean() == pytest.approx(log_loss(labels, given))
    assert np.isfinite(row_losses([0], [1.0])).all()


def test_a_bootstrap_mean_is_that_by_hand():
    patients = pd.Series(["a", "a", "b", "c"])
    values = np.array([1.0, 2.0, 3.0, 7.0])
    replicates = bootstrap_weights(patients, 50, seed=1)
    for replicate, mean in enumerate(bootstrap_mean(patients, values, replicates)):
        held = dict(zip(replicates.patients, replicates.weights[:, replicate], strict=True))
        rows = [v for p, v in zip(patients, values, strict=True) for _ in range(int(held[p]))]
        assert mean == pytest.approx(np.mean(rows))


def test_a_split_has_the_metrics_and_cis_of_any_table(evaluate, splits):
    """The same numbers as `metrics_with_ci` gives the val split with its own replicates."""
    studies, _ = apply_thresholds(tables(2.5, 1.0)[1], "study", evaluate)
    val = studies[studies["split"] == "val"]
    expected = metrics_with_ci(val, bootstrap_weights(val["patient"], 400, 3 + 2), 10)
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
    """What the stage reads: the splits of two networks, learning curve off."""
    text = PARAMS.read_text().replace("bootstrap_replicates: 2000", "bootstrap_replicates: 200")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    train_table, held_out = tables(2.5, 1.0)
    for arch, phases in (("cnn", "scratch"), ("densenet169", ["head", "finetune"])):
        write_predictions(paths.predictions(arch), held_out)
        write_predictions(paths.extra_predictions(arch, "train"), train_table, ("train",))
        write_csv(paths.history(arch), HISTORY.assign(phase=phases))
        network = getattr(load_params(PARAMS), arch).model_dump(mode="json")
        write_json(paths.trained(arch) / "model.json", {"network": network})
    learning_curve()
    return tmp_path


def test_the_stage_writes_its_conclusions(repository, capsys):
    overfitting()
    printed = capsys.readouterr().out
    found = json.loads((repository / "metrics/details/overfitting.json").read_text())
    for arch in ("cnn", "densenet169"):
        assert conclusions.overfitting(found[arch], arch) in printed
        assert conclusions.history(found[arch]["course"], arch) in printed
        assert found[arch]["course"]["kept"] == 2
    assert found["learning_curve"] == {"conclusion": "off", "arch": "cnn", "step": {}}
    assert conclusions.learning_curve(found["learning_curve"]) in printed
    assert len(pd.read_csv("plots/tables/overfitting.csv")) == 6
    assert len(pd.read_csv("plots/tables/gaps.csv")) == 4
    assert pd.read_csv("plots/tables/learning_curve.csv").empty


def test_the_last_point_of_the_learning_curve_is_the_network_of_all(repository):
    train_table, held_out = tables(2.5, 1.0)
    half = train_table[train_table["patient"].isin(train_table["patient"].unique()[:60])]
    write_csv(paths.LEARNING_CURVE / SIZES, count_sizes({0.5: half}))
    write_predictions(paths.fraction_predictions(0.5), tables(1.0, 0.2)[1])
    overfitting()
    points = pd.read_csv("plots/tables/learning_curve.csv")
    assert points["fraction"].tolist() == [0.5, 1.0]
    assert points["patients"].tolist() == [60, 120]
    found = json.loads((repository / "metrics/details/overfitting.json").read_text())
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
                Path("metrics/details/overfitting.json"),
            ]
        )
        written.append([path.read_bytes() for path in files])
    assert len(written[0]) == 4
    assert written[0] == written[1]


def history(losses, phases=None):
    """val_loss by epoch; train is 0.1 below it in loss and 0.05 above it in AUROC."""
    losses = np.array(losses)
    best = losses.argmin()
    return pd.DataFrame(
        {
            "epoch": range(1, len(losses) + 1),
            "phase": phases or "scratch",
            "loss": losses - 0.1,
            "val_loss": losses,
            "auroc": 0.85,
            "val_auroc": 0.8,
            "best": (np.arange(len(losses)) == best).astype(int),
        }
    )


def test_the_limits_are_those_of_the_phases_that_are_run(params):
    assert params.cnn.phase_epochs == {"scratch": params.cnn.epochs}
    both = params.densenet169.model_copy(update={"head_epochs": 3, "finetune_epochs": 5})
    assert both.phase_epochs == {"head": 3, "finetune": 5}
    assert both.model_copy(update={"head_epochs": 0}).phase_epochs == {"finetune": 5}


def test_gaps_are_above_zero_where_train_is_better():
    gaps = gaps_by_epoch("cnn", history([0.7, 0.6, 0.65]))
    np.testing.assert_allclose(gaps["loss_gap"], 0.1)
    np.testing.assert_allclose(gaps["auroc_gap"], 0.05)
    assert gaps["best"].tolist() == [0, 1, 0]


def test_early_stopping_is_distinguished_from_the_limit():
    losses = [0.7, 0.6, 0.65, 0.64]
    stopped = summarize_history("cnn", history(losses), {"scratch": 9}, early_stopping_epochs=2)
    assert (stopped["epochs"], stopped["kept"], stopped["later"]) == (4, 2, 2)
    assert stopped["phases"]["scratch"] == {"first": 1, "last": 4, "ended": "early_stopping"}
    assert (stopped["val_loss_kept"], stopped["early_stopping_epochs"]) == (0.6, 2)
    limited = summarize_history("cnn", history(losses), {"scratch": 4}, early_stopping_epochs=2)
    assert limited["phases"]["scratch"]["ended"] == "limit"


def test_a_best_epoch_at_the_limit_asks_for_more():
    found = summarize_history("cnn", history([0.7, 0.6]), {"scratch": 2}, 8)
    assert found["conclusion"] == "still_improving"
    past = summarize_history("cnn", history([0.6, 0.7]), {"scratch": 2}, 1)
    assert past["conclusion"] == "past_best"


def test_each_phase_has_its_own_ending():
    table = history([0.7, 0.6, 0.65, 0.5], phases=["head", "head", "finetune", "finetune"])
    found = summarize_history("densenet169", table, {"head": 2, "finetune": 5}, 1)
    assert found["phases"] == {
        "head": {"first": 1, "last": 2, "ended": "limit"},
        "finetune": {"first": 3, "last": 4, "ended": "early_stopping"},
    }
    assert found["kept"] == 4


def test_gaps_of_the_kept_and_of_the_last_epoch():
    table = history([0.7, 0.6, 0.65]).assign(loss=[0.7, 0.5, 0.35], auroc=[0.8, 0.9, 1.0])
    found = summarize_history("cnn", table, {"scratch": 3}, 8)
    assert found["loss_gap_kept"] == pytest.approx(0.1)
    assert found["loss_gap_last"] == pytest.approx(0.3)
    assert found["auroc_gap_kept"] == pytest.approx(0.1)
    assert found["auroc_gap_last"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "limits", "fault"),
    [
        ({"best": 0}, {"scratch": 3}, "0 epochs"),
        ({"best": 1}, {"scratch": 3}, "3 epochs"),
        ({}, {"scratch": 2}, "phase scratch, .* 2"),
        ({}, {"head": 3}, "phase scratch, .* 0"),
    ],
)
def test_a_history_of_other_parameters_is_rejected(changes, limits, fault):
    table = history([0.7, 0.6, 0.65]).assign(**changes)
    with pytest.raises(InputError, match=rf"cnn .*{fault}"):
        summarize_history("cnn", table, limits, 8)


def table(shift: float, seed: int = 1) -> pd.DataFrame:
    """Val and test of the same images for any shift."""
    return pd.concat([images("val", shift, 10 + seed), images("test", shift, 20 + seed)],
                     ignore_index=True)  # fmt: skip


def sizes(*fractions: float) -> pd.DataFrame:
    rows = [(f, int(100 * f), int(120 * f), int(300 * f)) for f in fractions]
    return pd.DataFrame(rows, columns=list(SIZE_COLUMNS))


@pytest.fixture(scope="module")
def evaluate_curve(params):
    return params.evaluate.model_copy(update={"bootstrap_replicates": 400})


TABLES = {0.25: table(0.3), 0.5: table(0.6), 1.0: table(2.0)}


def test_each_point_has_the_metrics_of_evaluate(evaluate_curve):
    points, _ = evaluate_learning_curve(TABLES, sizes(*TABLES), "all", evaluate_curve, seed=4)
    assert list(points.columns) == list(LEARNING_CURVE_COLUMNS)
    assert points["patients"].tolist() == [25, 50, 100]
    assert (points["test_studies"] == 120).all()
    for row, images_ in zip(points.to_dict("records"), TABLES.values(), strict=True):
        expected = evaluate_table(images_, evaluate_curve, seed=4).metrics["study"]
        for name in ("auroc", "auroc_low", "kappa", "kappa_high", "threshold"):
            assert row[name] == expected[name]


def test_the_last_step_is_paired_and_reads_as_more_minus_fewer(evaluate_curve):
    points, step = evaluate_learning_curve(TABLES, sizes(*TABLES), "all", evaluate_curve, seed=4)
    assert (step["from_patients"], step["to_patients"]) == (50, 100)
    auroc = points["auroc"]
    assert step["auroc"]["difference"] == pytest.approx(auroc.iloc[2] - auroc.iloc[1])
    near = {0.5: table(2.0), 1.0: table(2.0).assign(logit=lambda t: 2 * t["logit"] + 0.1)}
    near[1.0]["probability"] = expit(near[1.0]["logit"])
    _, same = evaluate_learning_curve(near, sizes(*near), "all", evaluate_curve, seed=4)
    # The same ranks by other probabilities: no replicate changes the difference.
    assert same["auroc"] == pytest.approx(
        {"difference": 0, "low": np.nan, "high": np.nan}, nan_ok=True
    )
    _, itself = evaluate_learning_curve(
        near | {1.0: near[0.5]}, sizes(*near), "all", evaluate_curve, seed=4
    )
    assert itself["auroc"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_the_order_of_rows_changes_nothing(evaluate_curve):
    mixed = {f: t.sample(frac=1, random_state=2) for f, t in TABLES.items()}
    mixed[0.25] = TABLES[0.25]
    given, step = evaluate_learning_curve(TABLES, sizes(*TABLES), "all", evaluate_curve, seed=4)
    other, other_step = evaluate_learning_curve(mixed, sizes(*mixed), "all", evaluate_curve, seed=4)
    pd.testing.assert_frame_equal(given, other)
    assert step == other_step


def test_the_conclusion_of_the_last_step(evaluate_curve):
    def concludes(fewer, more):
        tables = {0.5: fewer, 1.0: more}
        return conclude_learning_curve(
            evaluate_learning_curve(tables, sizes(0.5, 1.0), "all", evaluate_curve, 1)[1]
        )

    assert concludes(table(0.3), table(2.0)) == "improves"
    assert concludes(table(2.0), table(0.3)) == "worsens"
    near = table(1.0)
    near["logit"] += np.random.default_rng(1).normal(0, 0.5, len(near))
    assert concludes(near.assign(probability=expit(near["logit"])), table(1.0)) == "inconclusive"


def test_false_positive_rate_of_equal_networks(evaluate_curve):
    """Equal noise on the same images: about 2.5% of the steps seem to help, of 40 at most 5."""
    few = evaluate_curve.model_copy(update={"bootstrap_replicates": 200})
    helped = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        tables = {}
        for fraction in (0.5, 1.0):
            noisy = table(1.0, seed)
            noisy["logit"] += rng.normal(0, 0.7, len(noisy))
            tables[fraction] = noisy.assign(probability=expit(noisy["logit"]))
        step = evaluate_learning_curve(tables, sizes(*tables), "all", few, seed)[1]
        helped += conclude_learning_curve(step) == "improves"
    assert helped <= 5


def test_without_fractions_the_curve_is_off(evaluate_curve):
    points, step = evaluate_learning_curve({}, sizes(), "all", evaluate_curve, 1)
    assert points.empty and list(points.columns) == list(LEARNING_CURVE_COLUMNS)
    assert conclude_learning_curve(step) == "off"


@pytest.mark.promise("E31")
def test_a_step_on_fewer_than_20_studies_of_a_class_is_not_concluded_from():
    step = {"n": 40, "abnormal": 20, "auroc": {"difference": 0.1, "low": 0.05, "high": 0.2}}
    assert conclude_learning_curve(step) == "improves"
    assert conclude_learning_curve(step | {"abnormal": 19}) == "too_few"
    assert conclude_learning_curve(step | {"abnormal": 21}) == "too_few"


@pytest.mark.promise("E31")
def test_too_few_test_patients_give_too_few(evaluate_curve):
    few = evaluate_curve.model_copy(update={"min_patients": 500})
    points, step = evaluate_learning_curve(TABLES, sizes(*TABLES), "all", few, 1)
    assert points[["auroc", "kappa"]].isna().all(axis=None)
    assert conclude_learning_curve(step) == "too_few"


def test_tables_that_do_not_match_are_rejected(evaluate_curve):
    with pytest.raises(InputError, match="data/learning_curve"):
        evaluate_learning_curve(TABLES, sizes(0.25, 1.0), "all", evaluate_curve, 1)
    lacking = TABLES | {0.5: TABLES[0.5].iloc[:-1]}
    with pytest.raises(InputError, match="50.00%"):
        evaluate_learning_curve(lacking, sizes(*lacking), "all", evaluate_curve, 1)


def test_only_body_parts_trained_on_are_in_the_learning_curve(evaluate_curve):
    more = {
        f: pd.concat([t, images("test", 0.0, 9, part="WRIST")], ignore_index=True)
        for f, t in TABLES.items()
    }
    points, step = evaluate_learning_curve(more, sizes(*more), ("HAND",), evaluate_curve, 1)
    assert points["test_studies"].tolist() == [120] * 3
    assert step["n"] == 120
