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

from ulna.judging.exact import TAIL, interval_without_width
from ulna.judging.metrics import Counts, rates, score

ENDS = ("", "_low", "_high")  # of a column: a number, and the ends of its interval
METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "kappa", "auroc", "auprc")
# Beyond this share of draws in which a metric is undefined (one class only, no positive call) an
# interval of the others would be one of another question.
MAX_UNDEFINED = 0.05
# Draws at a time: 3,197 images times 64 are 0.8 MB, which the cache of a core holds.
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
    stream = np.random.Generator(np.random.Philox(seed))
    weights = np.empty((count, draws))
    # In pieces: 2,000 draws of MURA's 12,000 patients at once took 0.8 GB beside the 0.2 GB kept.
    for chunk in _chunks(draws):
        held = weights[:, chunk]
        chosen = stream.integers(0, count, held.T.shape)
        flat = (chosen + count * np.arange(len(chosen))[:, np.newaxis]).ravel()
        held[:] = np.bincount(flat, minlength=held.size).reshape(held.T.shape).T
    return Resamples(unique, weights)


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
    everyone = len(present) == len(resamples.patients)
    weights = resamples.weights if everyone else resamples.weights[present]
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
    values, normals = -probabilities[abnormal], -probabilities[normal]
    # Of each abnormal row: the abnormal rows not below it less one, the normal rows not below and
    # those above.
    last = np.searchsorted(values, values, side="right") - 1
    not_below = np.searchsorted(normals, values, side="right")
    above = np.searchsorted(normals, values, side="left")
    tied, normal_tied = (last != np.arange(len(last))).any(), (above != not_below).any()
    for chunk in _chunks(draws):
        # Whole numbers, a draw a row: cumulative sums run 8 times as fast as down columns of
        # floats, and are exact.
        drawn = np.ascontiguousarray(weights[:, chunk].T, dtype=np.int32)
        gained = np.take(drawn, patient[abnormal], axis=1)
        true = np.cumsum(gained, axis=1, dtype=np.int32)
        false = np.zeros((len(drawn), len(normal) + 1), dtype=np.int32)
        rows = np.take(drawn, patient[normal], axis=1)
        np.cumsum(rows, axis=1, dtype=np.int32, out=false[:, 1:])
        positives = gained.sum(axis=1)
        negatives = false[:, -1]
        called_false = np.take(false, not_below, axis=1)
        twice_passed = 2 * called_false
        if normal_tied:
            twice_passed = np.take(false, above, axis=1) + called_false
        lost = np.einsum("ij,ij->i", gained, twice_passed, dtype=np.int64)
        called_true = np.take(true, last, axis=1) if tied else true
        # A draw without a row up to here gains nothing here: 0 / 1 for 0 / 0.
        precision = called_true / np.maximum(called_true + called_false, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc[chunk] = 1 - lost / (2 * positives * negatives)
            auprc[chunk] = np.einsum("ij,ij->i", gained, precision) / positives
    return auroc, auprc


def _chunks(draws: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, draws, CHUNK))


def interval(values: npt.ArrayLike) -> tuple[float, float]:
    """The 95% interval of a metric: the middle of its draws.

    Args:
        values: (draws,), NaN where undefined.

    Returns:
        The 2.5% and the 97.5% quantile of the defined draws; NaN, NaN where more than 5% of the
        draws are undefined, and where all draws are the same: an interval of no width would claim a
        certainty that resampling cannot give.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile method).
    """
    defined = _defined(values)
    if not defined.size or _all_equal(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [TAIL, 1 - TAIL])
    return float(low), float(high)


def interval_or_exact(
    table: pd.DataFrame, name: str, value: float, drawn: Floats
) -> tuple[float, float]:
    """The 95% interval of a metric, also where no draw changes it, as where no call is wrong.

    Args:
        table: See `redraw`, of both classes.
        name: Of the metric.
        value: Of the metric.
        drawn: (draws,), of the metric, NaN where undefined.

    Returns:
        See `interval`; where all draws are the same `exact.interval_without_width`.
    """
    defined = _defined(drawn)
    if defined.size and _all_equal(defined):
        return interval_without_width(table, name, value)
    return interval(drawn)


def _defined(values: npt.ArrayLike) -> Floats:
    """The draws that are defined, or none if too many are not."""
    drawn = np.asarray(values, dtype=np.float64)
    defined = drawn[~np.isnan(drawn)]
    return defined if defined.size >= (1 - MAX_UNDEFINED) * drawn.size else defined[:0]


def _all_equal(drawn: Floats) -> bool:
    # An area can differ in its last bit from draw to draw.
    return float(np.ptp(drawn)) < 1e-12


def with_ends(names: Iterable[str]) -> tuple[str, ...]:
    """The columns of numbers that stand with their intervals.

    Example:
        >>> with_ends(["auroc"])
        ('auroc', 'auroc_low', 'auroc_high')
    """
    return tuple(f"{name}{end}" for name in names for end in ENDS)


def count_rows(table: pd.DataFrame) -> dict[str, int]:
    """Sizes of a table of studies or images: n (rows), abnormal, patients."""
    return {
        "n": len(table),
        "abnormal": int(table["label"].sum()),
        "patients": int(table["patient"].nunique()),
    }


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
        `<name>_high` (see `interval_or_exact`); all three are NaN where there is no interval: no
        number stands bare.
    """
    sizes = count_rows(table)
    if sizes["patients"] < min_patients or table["label"].nunique() < 2:
        return sizes | dict.fromkeys(with_ends(METRICS), np.nan)
    values = score(table["label"], table["probability"], table["threshold"])
    drawn = redraw(table, resamples)
    judged: dict[str, float] = {}
    for name in METRICS:
        low, high = interval_or_exact(table, name, values[name], drawn[name])
        value = np.nan if np.isnan(low) else values[name]
        judged |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return sizes | judged
