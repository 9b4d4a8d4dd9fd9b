"""Train, val and test side by side, by epoch and by number of patients."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError
from ulna.core.params import Evaluate
from ulna.evaluation.bootstrap import (
    Floats,
    Replicates,
    bootstrap_metrics,
    bootstrap_weights,
    ci_columns,
    count_rows,
    metric_ci,
    metrics_with_ci,
    percentile_ci,
)
from ulna.evaluation.calibration import logit, row_losses_of_logits
from ulna.evaluation.comparison import differences
from ulna.evaluation.ensemble import align
from ulna.evaluation.evaluate import SIZES, apply_thresholds
from ulna.evaluation.metrics import score

HistoryCode = Literal["still_improving", "past_best"]
End = Literal["early_stopping", "limit"]
EPOCH_COLUMNS = ("network", "epoch", "phase", "loss_gap", "auroc_gap", "best")


def gaps_by_epoch(network: str, history: pd.DataFrame) -> pd.DataFrame:
    """Take the gap between train and val in each epoch.

    Train is the mean over an epoch while the weights change, under augmentation and dropout, so the
    gap starts below 0; one that widens is overfitting.

    Args:
        network: Its name.
        history: One row an epoch: epoch, phase, loss, auroc, val_loss, val_auroc, best.

    Returns:
        One row an epoch, columns `EPOCH_COLUMNS`: loss_gap is val minus train, auroc_gap train minus
        val, of images.
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

    Args:
        network: Its name.
        history: See `gaps_by_epoch`.
        limits: Phase -> the most epochs it may have, in order.
        early_stopping_epochs: A phase ends after so many epochs in a row without a lower loss on
            val than before in the phase.

    Returns:
        epochs, kept (its number, from 1), val_loss_kept, later (epochs after it), phases (name ->
        first, last and ended: `End`), early_stopping_epochs; loss_gap and auroc_gap of the kept
        and of the last epoch; conclusion: still_improving if the last epoch is the best, at the
        limit of its phase.

    Raises:
        InputError: The table is not of these parameters: no epoch or several are kept, or it has
            other phases or longer ones.
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
    found = {
        "epochs": epochs,
        "kept": kept,
        "val_loss_kept": float(best["val_loss"].iloc[0]),
        "later": epochs - kept,
        "phases": phases,
        "early_stopping_epochs": early_stopping_epochs,
    }
    for name in ("loss_gap", "auroc_gap"):
        found |= {f"{name}_kept": float(of_kept[name]), f"{name}_last": float(of_last[name])}
    last: End = phases[str(history["phase"].iloc[-1])]["ended"]
    improving = kept == epochs and last == "limit"
    conclusion: HistoryCode = "still_improving" if improving else "past_best"
    return found | {"conclusion": conclusion}


OverfittingCode = Literal["overfitted", "slightly_overfitted", "no_gap", "inconclusive", "too_few"]
SPLITS = ("train", "val", "test")
# 1 where more is better.
SIGNS = {"auroc": 1.0, "kappa": 1.0, "accuracy": 1.0, "log_loss": -1.0}
MEASURES = tuple(SIGNS)
SPLIT_COLUMNS = (
    "network",
    "split",
    *SIZES,
    *ci_columns(MEASURES),
    *ci_columns(f"{name}_gap" for name in MEASURES),
    "threshold",
)
# Of AUROC: of 100 pairs of an abnormal and a normal study, five more or fewer in the right order.
SMALL_GAP = 0.05


def evaluate_splits(
    network: str,
    learnt: pd.DataFrame,
    judged: pd.DataFrame,
    body_parts: Literal["all"] | tuple[str, ...],
    evaluate: Evaluate,
    seed: int,
) -> pd.DataFrame:
    """Judge train, val and test alike: one network, one rule of thresholds, chosen on val.

    The splits have no patient in common, so each is resampled by itself, and a gap's interval is of
    differences between draws of one and draws of the other. Test is resampled as `evaluate` does.

    Args:
        network: Its name.
        learnt: Its prediction table of train, without augmentation.
        judged: Its prediction table of val and test.
        body_parts: What the network learnt from; nothing else is judged.
        evaluate: The section of the parameters.
        seed: Of the replicates of patients.

    Returns:
        One row a split, columns `SPLIT_COLUMNS`, per study. A gap of split train is NaN, as is every
        number without an interval: too few patients, or one class.

    Raises:
        InputError: A patient is in two splits, or val lacks a class that the rule needs.
    """
    images = pd.concat([learnt, judged], ignore_index=True)
    several = images.groupby("patient")["split"].nunique() > 1
    if several.any():
        raise InputError(
            f"patient {several.idxmax()!r} is in two splits of the predictions of {network}: run "
            "`dvc repro`"
        )
    studies, thresholds = apply_thresholds(images, "study", evaluate)
    studies = filter_body_parts(studies, body_parts)
    # A stream of draws of its own for each: equal draws would tie the splits together.
    seeds = {"train": seed + 1, "val": seed + 2, "test": seed}
    rows = []
    values_of_train: dict[str, float] = {}
    drawn_of_train: dict[str, Floats] = {}
    for split in SPLITS:
        table = studies[studies["split"] == split]
        replicates = bootstrap_weights(
            table["patient"], evaluate.bootstrap_replicates, seeds[split]
        )
        sizes, values, drawn = _evaluate_split(table, replicates, evaluate.min_patients)
        row = {"network": network, "split": split, "threshold": thresholds.overall} | sizes
        row |= _with_ci(values, drawn, table)
        if split == "train":
            values_of_train, drawn_of_train = values, drawn
        else:
            row |= _with_ci(
                {f"{m}_gap": SIGNS[m] * (values_of_train[m] - values[m]) for m in MEASURES},
                {f"{m}_gap": SIGNS[m] * (drawn_of_train[m] - drawn[m]) for m in MEASURES},
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=list(SPLIT_COLUMNS))


def filter_body_parts(
    table: pd.DataFrame, body_parts: Literal["all"] | tuple[str, ...]
) -> pd.DataFrame:
    """Keep the rows of some body parts; all keeps every row."""
    return table if body_parts == "all" else table[table["body_part"].isin(body_parts)]


def _evaluate_split(
    table: pd.DataFrame, replicates: Replicates, min_patients: int
) -> tuple[dict[str, int], dict[str, float], dict[str, Floats]]:
    """Sizes of a split, its measures, and these in every draw."""
    sizes = count_rows(table)
    draws = replicates.weights.shape[1]
    if sizes["patients"] < min_patients or sizes["abnormal"] in (0, sizes["n"]):
        undefined = {name: np.full(draws, np.nan) for name in MEASURES}
        return sizes, dict.fromkeys(MEASURES, np.nan), undefined
    losses = row_losses(table["label"], table["probability"])
    values = score(table["label"], table["probability"], table["threshold"])
    mean_loss = bootstrap_mean(table["patient"], losses, replicates)
    return (
        sizes,
        values | {"log_loss": float(losses.mean())},
        bootstrap_metrics(table, replicates) | {"log_loss": mean_loss},
    )


def _with_ci(
    values: Mapping[str, float], drawn: Mapping[str, Floats], table: pd.DataFrame | None = None
) -> dict[str, float]:
    """Each measure (of a table) with its interval; without an interval no number stands bare."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if name not in drawn:
            continue
        if table is None:
            low, high = percentile_ci(drawn[name])
        else:
            low, high = metric_ci(table, name, value, drawn[name])
        found |= {name: np.nan if np.isnan(low) else value, f"{name}_low": low}
        found[f"{name}_high"] = high
    return found


def row_losses(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """The log loss of each row; its mean is `ulna.evaluation.calibration.log_loss`.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Of abnormal, 0 to 1, shape (n,).

    Returns:
        0 to 36.04, shape (n,).

    Example:
        >>> losses_of([1, 0], [0.5, 0.75]).round(3).tolist()
        [0.693, 1.386]
    """
    return row_losses_of_logits(np.asarray(labels), logit(probabilities))


def bootstrap_mean(patients: pd.Series, values: Floats, replicates: Replicates) -> Floats:
    """The mean of a number a row, in every draw of patients.

    Args:
        patients: Of each row, shape (n,); all of them are among those of `replicates`.
        values: Shape (n,).
        replicates: The draws.

    Returns:
        (draws,); NaN in a draw without any row.
    """
    place = np.searchsorted(replicates.patients, patients.to_numpy(object))
    count = len(replicates.patients)
    sums = np.bincount(place, values, minlength=count) @ replicates.weights
    rows = np.bincount(place, minlength=count) @ replicates.weights
    undefined = np.full(rows.shape, np.nan)
    means: Floats = np.divide(sums, rows, out=undefined, where=rows > 0)
    return means


def conclude_overfitting(test: Mapping[str, Any]) -> OverfittingCode:
    """Conclude whether a network is overfitted: whether the CI of the gap in AUROC excludes 0.

    Test decides, as the epoch and the thresholds were chosen on val.

    Args:
        test: The row of split test, see `evaluate_splits`.

    Returns:
        slightly_overfitted if the CI excludes 0 and ends below `SMALL_GAP`; no_gap if it includes 0, or
        lies below, and ends below `SMALL_GAP`; inconclusive if it includes both.
    """
    low, high = test["auroc_gap_low"], test["auroc_gap_high"]
    if np.isnan(test["auroc_gap"]):
        return "too_few"
    if low > 0:
        return "slightly_overfitted" if high < SMALL_GAP else "overfitted"
    return "no_gap" if high < SMALL_GAP else "inconclusive"


def summarize_splits(splits: pd.DataFrame) -> dict[str, Any]:
    """Put the splits of one network into what becomes its part of `metrics/overfitting.json`.

    Args:
        splits: See `evaluate_splits`, of one network.

    Returns:
        conclusion, then for each split its numbers by the names of `SPLIT_COLUMNS`; train has no gaps.
    """
    found: dict[str, Any] = {}
    for row in splits.drop(columns="network").to_dict("records"):
        split = row.pop("split")
        found[split] = {k: v for k, v in row.items() if split != "train" or "_gap" not in k}
    return {"conclusion": conclude_overfitting(found["test"])} | found


CURVE_MEASURES = ("auroc", "kappa")
LEARNING_CURVE_COLUMNS = (
    "fraction",
    "patients",
    "studies",
    "images",
    "test_studies",
    "test_abnormal",
    "test_patients",
    *ci_columns(CURVE_MEASURES),
    "threshold",
)
LearningCurveCode = Literal["improves", "worsens", "inconclusive", "too_few", "off"]


def evaluate_learning_curve(
    tables: Mapping[float, pd.DataFrame],
    sizes: pd.DataFrame,
    body_parts: Literal["all"] | tuple[str, ...],
    evaluate: Evaluate,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge networks that learnt from more and more patients on the same test studies.

    Args:
        tables: Fraction of the patients -> prediction table of val and test, the largest last; each
            network's threshold is chosen on its own probabilities of val.
        sizes: What each learnt from, in the same order, see `ulna.data.splits.count_sizes`.
        body_parts: What the networks learnt from; nothing else is judged.
        evaluate: The section of the parameters.
        seed: Of the replicates of patients, as in `evaluate`.

    Returns:
        One row a size, columns `LEARNING_CURVE_COLUMNS`: what was learnt from, and per study of test the measures
        with intervals. And the last step, paired by test patient: from_patients, to_patients, and
        what `ulna.evaluation.comparison.differences` says of the last two. Both are empty where there
        are fewer than two sizes.

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
    names = {f"{fraction:.2%} of the patients": fraction for fraction in tables}
    aligned = align({name: tables[fraction] for name, fraction in names.items()})
    tests = []
    for images in aligned.values():
        studies, thresholds = apply_thresholds(images, "study", evaluate)
        test = filter_body_parts(studies[studies["split"] == "test"], body_parts)
        tests.append((test.reset_index(drop=True), thresholds.overall))
    replicates = bootstrap_weights(tests[0][0]["patient"], evaluate.bootstrap_replicates, seed)
    rows = [
        {
            **learnt,
            **_evaluate_size(test, replicates, evaluate.min_patients),
            "threshold": threshold,
        }
        for learnt, (test, threshold) in zip(sizes.to_dict("records"), tests, strict=True)
    ]
    (fewer, _), (more, _) = tests[-2:]
    step = differences(more, fewer, replicates, evaluate.min_patients)
    patients = [int(number) for number in sizes["patients"].iloc[-2:]]
    ends = dict(zip(("from_patients", "to_patients"), patients, strict=True))
    return pd.DataFrame(rows, columns=list(LEARNING_CURVE_COLUMNS)), ends | step


def _evaluate_size(
    test: pd.DataFrame, replicates: Replicates, min_patients: int
) -> dict[str, float]:
    found = metrics_with_ci(test, replicates, min_patients)
    sizes = {"test_studies": "n", "test_abnormal": "abnormal", "test_patients": "patients"}
    return {ours: found[theirs] for ours, theirs in sizes.items()} | {
        name: found[name] for name in ci_columns(CURVE_MEASURES)
    }


def conclude_learning_curve(step: Mapping[str, Any]) -> LearningCurveCode:
    """Conclude whether more patients still help: whether the CI of the last step excludes 0.

    Args:
        step: See `evaluate_learning_curve`.

    Returns:
        off where there is no step.
    """
    if not step:
        return "off"
    value, low, high = (step["auroc"][key] for key in ("difference", "low", "high"))
    if np.isnan(value) or np.isnan(low):
        return "too_few"
    if low > 0:
        return "improves"
    return "worsens" if high < 0 else "inconclusive"
