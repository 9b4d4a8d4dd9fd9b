"""How much better a network is on what it learnt from than on what it has never seen.

A gap is how much better train is, whatever the measure: train minus the other split, and for a
loss the other way round. Above 0 it is overfitting, or patients who are harder.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.errors import InputError
from ulna.judging.bootstrap import (
    Floats,
    Resamples,
    count_rows,
    interval,
    interval_or_exact,
    redraw,
    resample,
    with_ends,
)
from ulna.judging.evaluation import SIZES, decided
from ulna.judging.metrics import score
from ulna.judging.temperature import logit, losses_of_logits
from ulna.params import Evaluate

OverfittingCode = Literal["overfitted", "slightly_overfitted", "no_gap", "inconclusive", "too_few"]
SPLITS = ("train", "val", "test")
# 1 where more is better.
SIGNS = {"auroc": 1.0, "kappa": 1.0, "accuracy": 1.0, "log_loss": -1.0}
MEASURES = tuple(SIGNS)
COLUMNS = (
    "network",
    "split",
    *SIZES,
    *with_ends(MEASURES),
    *with_ends(f"{name}_gap" for name in MEASURES),
    "threshold",
)
# Of AUROC: of 100 pairs of an abnormal and a normal study, five more or fewer in the right order.
SMALL = 0.05


def judge_splits(
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
        seed: Of the resamples of patients.

    Returns:
        One row a split, columns `COLUMNS`, per study. A gap of split train is NaN, as is every
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
    studies, thresholds = decided(images, "study", evaluate)
    studies = of_parts(studies, body_parts)
    # A stream of draws of its own for each: equal draws would tie the splits together.
    seeds = {"train": seed + 1, "val": seed + 2, "test": seed}
    rows = []
    values_of_train: dict[str, float] = {}
    drawn_of_train: dict[str, Floats] = {}
    for split in SPLITS:
        table = studies[studies["split"] == split]
        resamples = resample(table["patient"], evaluate.bootstrap_draws, seeds[split])
        sizes, values, drawn = _judge(table, resamples, evaluate.min_patients)
        row = {"network": network, "split": split, "threshold": thresholds.overall} | sizes
        row |= _with_ends(values, drawn, table)
        if split == "train":
            values_of_train, drawn_of_train = values, drawn
        else:
            row |= _with_ends(
                {f"{m}_gap": SIGNS[m] * (values_of_train[m] - values[m]) for m in MEASURES},
                {f"{m}_gap": SIGNS[m] * (drawn_of_train[m] - drawn[m]) for m in MEASURES},
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def of_parts(table: pd.DataFrame, body_parts: Literal["all"] | tuple[str, ...]) -> pd.DataFrame:
    """Keep the rows of some body parts; all keeps every row."""
    return table if body_parts == "all" else table[table["body_part"].isin(body_parts)]


def _judge(
    table: pd.DataFrame, resamples: Resamples, min_patients: int
) -> tuple[dict[str, int], dict[str, float], dict[str, Floats]]:
    """Sizes of a split, its measures, and these in every draw."""
    sizes = count_rows(table)
    draws = resamples.weights.shape[1]
    if sizes["patients"] < min_patients or sizes["abnormal"] in (0, sizes["n"]):
        undefined = {name: np.full(draws, np.nan) for name in MEASURES}
        return sizes, dict.fromkeys(MEASURES, np.nan), undefined
    losses = losses_of(table["label"], table["probability"])
    values = score(table["label"], table["probability"], table["threshold"])
    mean_loss = redraw_mean(table["patient"], losses, resamples)
    return (
        sizes,
        values | {"log_loss": float(losses.mean())},
        redraw(table, resamples) | {"log_loss": mean_loss},
    )


def _with_ends(
    values: Mapping[str, float], drawn: Mapping[str, Floats], table: pd.DataFrame | None = None
) -> dict[str, float]:
    """Each measure (of a table) with its interval; without an interval no number stands bare."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if name not in drawn:
            continue
        if table is None:
            low, high = interval(drawn[name])
        else:
            low, high = interval_or_exact(table, name, value, drawn[name])
        found |= {name: np.nan if np.isnan(low) else value, f"{name}_low": low}
        found[f"{name}_high"] = high
    return found


def losses_of(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """The log loss of each row; its mean is `ulna.judging.temperature.log_loss`.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Of abnormal, 0 to 1, shape (n,).

    Returns:
        0 to 36.04, shape (n,).

    Example:
        >>> losses_of([1, 0], [0.5, 0.75]).round(3).tolist()
        [0.693, 1.386]
    """
    return losses_of_logits(np.asarray(labels), logit(probabilities))


def redraw_mean(patients: pd.Series, values: Floats, resamples: Resamples) -> Floats:
    """The mean of a number a row, in every draw of patients.

    Args:
        patients: Of each row, shape (n,); all of them are among those of `resamples`.
        values: Shape (n,).
        resamples: The draws.

    Returns:
        (draws,); NaN in a draw without any row.
    """
    place = np.searchsorted(resamples.patients, patients.to_numpy(object))
    count = len(resamples.patients)
    sums = np.bincount(place, values, minlength=count) @ resamples.weights
    rows = np.bincount(place, minlength=count) @ resamples.weights
    undefined = np.full(rows.shape, np.nan)
    means: Floats = np.divide(sums, rows, out=undefined, where=rows > 0)
    return means


def conclude_overfitting(test: Mapping[str, Any]) -> OverfittingCode:
    """Conclude whether a network is overfitted: whether the CI of the gap in AUROC excludes 0.

    Test decides, as the epoch and the thresholds were chosen on val.

    Args:
        test: The row of split test, see `judge_splits`.

    Returns:
        slightly_overfitted if the CI excludes 0 and ends below `SMALL`; no_gap if it includes 0, or
        lies below, and ends below `SMALL`; inconclusive if it includes both.
    """
    low, high = test["auroc_gap_low"], test["auroc_gap_high"]
    if np.isnan(test["auroc_gap"]):
        return "too_few"
    if low > 0:
        return "slightly_overfitted" if high < SMALL else "overfitted"
    return "no_gap" if high < SMALL else "inconclusive"


def summarize(splits: pd.DataFrame) -> dict[str, Any]:
    """Put the splits of one network into what becomes its part of `metrics/overfitting.json`.

    Args:
        splits: See `judge_splits`, of one network.

    Returns:
        conclusion, then for each split its numbers by the names of `COLUMNS`; train has no gaps.
    """
    found: dict[str, Any] = {}
    for row in splits.drop(columns="network").to_dict("records"):
        split = row.pop("split")
        found[split] = {k: v for k, v in row.items() if split != "train" or "_gap" not in k}
    return {"conclusion": conclude_overfitting(found["test"])} | found
