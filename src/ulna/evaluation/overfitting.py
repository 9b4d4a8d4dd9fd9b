"""Overfitting: train, val and test compared, by epoch and by number of patients."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.core import InputError
from ulna.core.predictions import align
from ulna.evaluation.bootstrap import (
    MIN_STUDIES,
    SIZES,
    Floats,
    Replicates,
    bootstrap_metrics,
    bootstrap_weights,
    ci_columns,
    count_rows,
    differences,
    estimates_with_ci,
    metrics_with_ci,
    table_metrics,
    too_small,
)
from ulna.evaluation.thresholds import Settings, apply_thresholds

HistoryCode = Literal["still_improving", "past_best"]
OverfittingCode = Literal["overfitted", "slightly_overfitted", "no_gap", "inconclusive", "too_few"]
LearningCurveCode = Literal["improves", "worsens", "inconclusive", "too_few", "off"]
End = Literal["early_stopping", "limit"]
SPLITS = ("train", "val", "test")
# 1 where more is better.
SIGNS = {"auroc": 1.0, "kappa": 1.0, "accuracy": 1.0, "log_loss": -1.0}
MEASURES = tuple(SIGNS)
CURVE_MEASURES = ("auroc", "kappa")
# Of AUROC: of 100 pairs of an abnormal and a normal study, five more or fewer are concordant.
SMALL_GAP = 0.05

EPOCH_COLUMNS = ("network", "epoch", "phase", "loss_gap", "auroc_gap", "best")
SPLIT_COLUMNS = (
    *("network", "split", *SIZES, *ci_columns(MEASURES)),
    *ci_columns(f"{name}_gap" for name in MEASURES),
    "threshold",
)
LEARNING_CURVE_COLUMNS = (
    *("fraction", "patients", "studies", "images"),
    *("test_studies", "test_abnormal", "test_patients"),
    *ci_columns(CURVE_MEASURES),
    "threshold",
)


def gaps_by_epoch(network: str, history: pd.DataFrame) -> pd.DataFrame:
    """Compute the gap between train and val in each epoch.

    Train is the mean over an epoch while the weights change, under augmentation and dropout, so the
    gap starts below 0; one that widens is overfitting.

    Returns:
        One row per epoch, columns `EPOCH_COLUMNS`: loss_gap is val minus train, auroc_gap train
        minus val, of images.
    """
    return history.assign(
        network=network,
        loss_gap=history["val_loss"] - history["loss"],
        auroc_gap=history["auroc"] - history["val_auroc"],
    )[list(EPOCH_COLUMNS)]


def summarize_history(
    network: str, history: pd.DataFrame, limits: Mapping[str, int], early_stopping_epochs: int
) -> dict[str, Any]:
    """Find which epoch was kept and what ended the training.

    The limits are the most epochs of each phase, in order; early_stopping_epochs is the number of
    epochs in a row without a lower loss on val after which a phase ends.

    Returns:
        epochs, kept (its number, from 1), val_loss_kept, later (epochs after it), phases (name ->
        first, last and ended: `End`), early_stopping_epochs; loss_gap and auroc_gap of the kept
        and of the last epoch; conclusion: still_improving if the last epoch is the best, at the
        limit of its phase.

    Raises:
        InputError: The history does not match the parameters: no epoch or several are kept, or it
            has other phases or longer ones.
    """
    rerun = f"run `dvc repro train@{network}`"
    best = history.loc[history["best"] == 1]
    if len(best) != 1:
        raise InputError(
            f"the history of {network} marks {len(best)} epochs as kept, expected 1: {rerun}"
        )
    phases: dict[str, dict[str, Any]] = {}
    for phase, table in history.groupby("phase", sort=False):
        limit = limits.get(str(phase), 0)
        if len(table) > limit:
            raise InputError(
                f"the history of {network} has {len(table)} epochs of phase {phase}, and "
                f"params.yaml allows {limit}: {rerun}"
            )
        phases[str(phase)] = {
            "first": int(table["epoch"].min()),
            "last": int(table["epoch"].max()),
            "ended": "early_stopping" if len(table) < limit else "limit",
        }
    gaps = gaps_by_epoch(network, history)
    kept = int(best["epoch"].iloc[0])
    epochs = int(history["epoch"].max())
    of_kept, of_last = gaps[gaps["best"] == 1].iloc[0], gaps.iloc[-1]
    summary = {
        "epochs": epochs,
        "kept": kept,
        "val_loss_kept": float(best["val_loss"].iloc[0]),
        "later": epochs - kept,
        "phases": phases,
        "early_stopping_epochs": early_stopping_epochs,
    }
    for name in ("loss_gap", "auroc_gap"):
        summary |= {f"{name}_kept": float(of_kept[name]), f"{name}_last": float(of_last[name])}
    last: End = phases[str(history["phase"].iloc[-1])]["ended"]
    improving = kept == epochs and last == "limit"
    conclusion: HistoryCode = "still_improving" if improving else "past_best"
    return summary | {"conclusion": conclusion}


def evaluate_splits(
    network: str,
    train: pd.DataFrame,
    val_and_test: pd.DataFrame,
    body_parts: Literal["all"] | tuple[str, ...],
    evaluate: Settings,
    seed: int,
) -> pd.DataFrame:
    """Evaluate train, val and test alike: one network, one threshold, chosen on val.

    The splits have no patient in common, so each is resampled by itself, and a gap's CI is of
    differences between replicates of one and of the other. Test is resampled as in `evaluate`.

    Both tables are prediction tables of the network, that of train without augmentation. Only the
    body parts that it was trained on are evaluated.

    Returns:
        One row per split, columns `SPLIT_COLUMNS`, of studies. A gap of split train is NaN, as is
        every number without a CI: too few patients, or one class.

    Raises:
        InputError: A patient is in two splits, or val lacks a class that the rule needs.
    """
    images = pd.concat([train, val_and_test], ignore_index=True)
    several = images.groupby("patient")["split"].nunique() > 1
    if several.any():
        raise InputError(
            f"patient {several.idxmax()!r} is in two splits of the predictions of {network}: run "
            "`dvc repro`"
        )
    studies, thresholds = apply_thresholds(images, "study", evaluate)
    studies = filter_body_parts(studies, body_parts)
    # Seeds of their own: with equal replicates the splits would be correlated.
    seeds = {"train": seed + 1, "val": seed + 2, "test": seed}
    rows = []
    values: dict[str, dict[str, float]] = {}
    in_replicates: dict[str, dict[str, Floats]] = {}
    for split in SPLITS:
        table = studies[studies["split"] == split]
        replicates = bootstrap_weights(
            table["patient"], evaluate.bootstrap_replicates, seeds[split]
        )
        values[split], in_replicates[split] = _measure(table, replicates, evaluate.min_patients)
        row: dict[str, Any] = {"network": network, "split": split, "threshold": thresholds.overall}
        row |= count_rows(table)
        row |= estimates_with_ci(values[split], in_replicates[split], table)
        if split != "train":
            row |= estimates_with_ci(
                _gaps(values["train"], values[split]),
                _gaps(in_replicates["train"], in_replicates[split]),
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=list(SPLIT_COLUMNS))


def _gaps(train: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_gap": sign * (train[name] - other[name]) for name, sign in SIGNS.items()}


def _measure(
    table: pd.DataFrame, replicates: Replicates, min_patients: int
) -> tuple[dict[str, float], dict[str, Floats]]:
    """The metrics of a split, and these in every replicate; NaN if it is too small."""
    if too_small(count_rows(table), min_patients):
        undefined = np.full(replicates.weights.shape[1], np.nan)
        return dict.fromkeys(MEASURES, np.nan), dict.fromkeys(MEASURES, undefined)
    return table_metrics(table), bootstrap_metrics(table, replicates)


def filter_body_parts(
    table: pd.DataFrame, body_parts: Literal["all"] | tuple[str, ...]
) -> pd.DataFrame:
    """Keep the rows of some body parts; all keeps every row."""
    return table if body_parts == "all" else table[table["body_part"].isin(body_parts)]


def conclude_overfitting(test: Mapping[str, Any]) -> OverfittingCode:
    """Conclude whether a network is overfitted: whether the CI of the gap in AUROC excludes 0.

    Of test, as the epoch and the thresholds were chosen on val.

    Returns:
        slightly_overfitted if the CI excludes 0 and ends below `SMALL_GAP`; no_gap if it includes 0
        or lies below, and ends below `SMALL_GAP`; inconclusive if it includes both.
    """
    low, high = test["auroc_gap_low"], test["auroc_gap_high"]
    if np.isnan(test["auroc_gap"]):
        return "too_few"
    if low > 0:
        return "slightly_overfitted" if high < SMALL_GAP else "overfitted"
    return "no_gap" if high < SMALL_GAP else "inconclusive"


def summarize_splits(splits: pd.DataFrame) -> dict[str, Any]:
    """Summarize the splits of one network (see `evaluate_splits`) for `overfitting.json`.

    Returns:
        conclusion (too_few also where a split has fewer than `MIN_STUDIES` of a class), then for
        each split its `SPLIT_COLUMNS`; train has no gaps.
    """
    rows: dict[str, Any] = {}
    for row in splits.drop(columns="network").to_dict("records"):
        split = row.pop("split")
        rows[split] = {k: v for k, v in row.items() if split != "train" or "_gap" not in k}
    few = min(min(row["abnormal"], row["n"] - row["abnormal"]) for row in rows.values())
    enough = few >= MIN_STUDIES
    return {"conclusion": conclude_overfitting(rows["test"]) if enough else "too_few"} | rows


def evaluate_learning_curve(
    tables: Mapping[float, pd.DataFrame],
    sizes: pd.DataFrame,
    body_parts: Literal["all"] | tuple[str, ...],
    evaluate: Settings,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate networks trained on more and more patients on the same test studies.

    The tables are of val and test, by the fraction of training patients, the largest last; sizes
    are of the training data, see `ulna.data.splits.count_sizes`. Each network has its own
    threshold. Only the body parts that the networks were trained on are evaluated.

    Returns:
        One row per size, columns `LEARNING_CURVE_COLUMNS`: the training data, and the metrics of
        test studies with CIs. And the last step, paired by test patient: from_patients,
        to_patients, and `ulna.evaluation.bootstrap.differences` of the last two. Both are empty
        with fewer than two sizes.

    Raises:
        InputError: Two tables do not hold the same images, or sizes and tables differ.
    """
    if list(sizes["fraction"]) != list(tables):
        raise InputError(
            f"data/learning_curve has tables of {list(tables)} and sizes of "
            f"{list(sizes['fraction'])}: run `dvc repro learning_curve`"
        )
    if len(tables) < 2:
        return pd.DataFrame(columns=list(LEARNING_CURVE_COLUMNS)), {}
    aligned = align({f"{fraction:.2%} of the patients": tables[fraction] for fraction in tables})
    tests, rows = [], []
    for images, size in zip(aligned.values(), sizes.to_dict("records"), strict=True):
        studies, thresholds = apply_thresholds(images, "study", evaluate)
        test = filter_body_parts(studies[studies["split"] == "test"], body_parts)
        tests.append(test.reset_index(drop=True))
        rows.append({**size, "threshold": thresholds.overall})
    replicates = bootstrap_weights(tests[0]["patient"], evaluate.bootstrap_replicates, seed)
    renamed = {"n": "test_studies", "abnormal": "test_abnormal", "patients": "test_patients"}
    for row, test in zip(rows, tests, strict=True):
        metrics = metrics_with_ci(test, replicates, evaluate.min_patients)
        row |= {renamed.get(name, name): value for name, value in metrics.items()}
    fewer, more = tests[-2:]
    step = differences(more, fewer, replicates, evaluate.min_patients)
    patients = [int(number) for number in sizes["patients"].iloc[-2:]]
    span = dict(zip(("from_patients", "to_patients"), patients, strict=True))
    return pd.DataFrame(rows, columns=list(LEARNING_CURVE_COLUMNS)), span | step


def conclude_learning_curve(step: Mapping[str, Any]) -> LearningCurveCode:
    """Conclude whether more patients still help: whether the CI of the last step excludes 0.

    too_few also where test has fewer than `MIN_STUDIES` of a class.
    """
    if not step:
        return "off"
    if min(step["abnormal"], step["n"] - step["abnormal"]) < MIN_STUDIES:
        return "too_few"
    value, low, high = (step["auroc"][key] for key in ("difference", "low", "high"))
    if np.isnan(value) or np.isnan(low):
        return "too_few"
    if low > 0:
        return "improves"
    return "worsens" if high < 0 else "inconclusive"
