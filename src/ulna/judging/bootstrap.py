"""95% intervals of the metrics by resampling patients.

Images of a patient look alike, so patients are drawn, with replacement, each with all of its
studies and images. A draw is kept as the number of times that it holds each patient: sums over a
draw are then products of a matrix, and areas under curves are cumulative sums, for many draws at
once (`benchmarks/intervals.py` times that against a loop over scikit-learn).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.judging.metrics import Counts, rates, score

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "kappa", "auroc", "auprc")
COVERAGE = 0.95
# Beyond this share of draws in which a metric is undefined (one class only, no positive call) an
# interval of the others would be one of another question.
MAX_UNDEFINED = 0.05
# Draws at a time: 3,197 images times 64 are 1.6 MB, which the cache of a core holds.
CHUNK = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """Draws of patients, to be used for all tables of the same patients: that pairs them.

    Attributes:
        patients: (patients,) sorted unique ids.
        weights: (patients, draws) float64, how often a draw holds each patient.
    """

    patients: npt.NDArray[np.object_]
    weights: Floats


def resample(patients: Iterable[str], draws: int, seed: int) -> Resamples:
    """Draw as many patients as there are, with replacement, again and again.

    Args:
        patients: Ids, repeated or not, in any order.
        draws: How often.
        seed: The same seed and patients give the same draws.

    Returns:
        The draws.
    """
    unique = np.array(sorted(set(patients)), dtype=object)
    count = len(unique)
    chosen = np.random.Generator(np.random.Philox(seed)).integers(0, count, (draws, count))
    flat = (chosen + count * np.arange(draws)[:, np.newaxis]).ravel()
    weights = np.bincount(flat, minlength=draws * count).reshape(draws, count)
    return Resamples(unique, np.ascontiguousarray(weights.T, dtype=np.float64))


def redraw(table: pd.DataFrame, resamples: Resamples) -> dict[str, Floats]:
    """Compute every metric in every draw.

    Args:
        table: One row a study or an image: patient, label, probability, threshold (above it is
            abnormal). Its patients are among those of `resamples`; a part of them will do.
        resamples: The draws.

    Returns:
        For each name in METRICS (draws,) float64, NaN where it is undefined in a draw.
    """
    place = np.searchsorted(resamples.patients, table["patient"].to_numpy(object))
    present, patient = np.unique(place, return_inverse=True)
    weights = resamples.weights[present]
    labels = table["label"].to_numpy() == 1
    probabilities = table["probability"].to_numpy(np.float64)
    called = probabilities > table["threshold"].to_numpy(np.float64)
    cells = (labels & called, ~labels & called, labels & ~called, ~labels & ~called)
    per_patient = [np.bincount(patient[cell], minlength=len(present)) for cell in cells]
    counts = Counts(*(np.stack(per_patient).astype(np.float64) @ weights))
    auroc, auprc = areas(weights, patient, labels, probabilities)
    return rates(counts) | {"auroc": auroc, "auprc": auprc}


def areas(
    weights: Floats,
    patient: npt.NDArray[np.int64],
    labels: npt.NDArray[np.bool_],
    probabilities: Floats,
) -> tuple[Floats, Floats]:
    """Areas under the ROC and the precision-recall curve, in every draw.

    Ties are exact, as in scikit-learn: half a pair for the ROC curve, one step for the other.

    Args:
        weights: (patients, draws), how often a draw holds each patient.
        patient: (rows,), the row of `weights` that each row belongs to.
        labels: (rows,), True is abnormal.
        probabilities: (rows,).

    Returns:
        AUROC and average precision, (draws,) each; NaN where a draw lacks a class they need.
    """
    draws = weights.shape[1]
    auroc, auprc = np.empty(draws), np.empty(draws)
    falling = np.argsort(-probabilities, kind="stable")
    abnormal, normal = falling[labels[falling]], falling[~labels[falling]]
    # The last of each run of equal probabilities among the abnormal rows.
    values = probabilities[abnormal]
    last = np.flatnonzero(values != np.append(values[1:], np.nan))
    # How many normal rows lie above those probabilities, and how many not below.
    above = np.searchsorted(-probabilities[normal], -values[last], side="left")
    not_below = np.searchsorted(-probabilities[normal], -values[last], side="right")
    tied = bool((above != not_below).any())
    for chunk in _chunks(draws):
        drawn = np.ascontiguousarray(weights[:, chunk])
        true = np.cumsum(drawn[patient[abnormal]], axis=0)[last]
        false = np.zeros((len(normal) + 1, drawn.shape[1]))
        np.cumsum(drawn[patient[normal]], axis=0, out=false[1:])
        positives = true[-1] if len(true) else np.zeros(drawn.shape[1])
        negatives = false[-1]
        gained = np.diff(true, axis=0, prepend=0)
        called_false = false[not_below]
        passed = (false[above] + called_false) / 2 if tied else called_false
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc[chunk] = 1 - np.einsum("ij,ij->j", gained, passed) / (positives * negatives)
            called = true + called_false
            # 0/0 before a draw's first row: nothing is gained there.
            precision = np.divide(true, called, out=called, where=called > 0)
            auprc[chunk] = np.einsum("ij,ij->j", gained, precision) / positives
    return auroc, auprc


def _chunks(draws: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, draws, CHUNK))


def interval(values: npt.ArrayLike) -> tuple[float, float]:
    """The 95% interval of a metric: the middle of its draws.

    Args:
        values: (draws,), NaN where undefined.

    Returns:
        The 2.5% and the 97.5% quantile of the defined draws; NaN, NaN where more than 5% of the
        draws are undefined.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile method).
    """
    drawn = np.asarray(values, dtype=np.float64)
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < (1 - MAX_UNDEFINED) * len(drawn) or not len(defined):
        return np.nan, np.nan
    margin = (1 - COVERAGE) / 2
    low, high = np.quantile(defined, [margin, 1 - margin])
    return float(low), float(high)


def with_intervals(
    table: pd.DataFrame, resamples: Resamples, min_patients: int
) -> dict[str, float]:
    """Judge a table, with the 95% interval of each metric.

    Args:
        table: See `redraw`.
        resamples: The draws.
        min_patients: With fewer patients, or one class only, every metric is NaN: too few to say.

    Returns:
        n (rows), abnormal, patients, then for each name in METRICS its value, `<name>_low` and
        `<name>_high`; all three are NaN where there is no interval: no number stands bare.
    """
    sizes = {
        "n": len(table),
        "abnormal": int(table["label"].sum()),
        "patients": int(table["patient"].nunique()),
    }
    if sizes["patients"] < min_patients or table["label"].nunique() < 2:
        return sizes | {f"{name}{end}": np.nan for name in METRICS for end in ("", "_low", "_high")}
    values = score(table["label"], table["probability"], table["threshold"])
    drawn = redraw(table, resamples)
    judged: dict[str, float] = {}
    for name in METRICS:
        low, high = interval(drawn[name])
        value = np.nan if np.isnan(low) else values[name]
        judged |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return sizes | judged
