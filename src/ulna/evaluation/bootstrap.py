"""95% confidence intervals: a bootstrap over patients, exact limits where no replicate differs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.evaluation.metrics import Counts, kappa, rates, score

TAIL = 0.025  # what a two-sided 95% interval leaves out on each side


def zero_event_upper_bound(patients: int) -> float:
    """How large the share of a kind of patient can be of which none was seen, 97.5% surely.

    Args:
        patients: How many were seen, 1 or more.

    Returns:
        The share of which as many patients show none with a chance of 2.5%; about 3.7 / patients.

    Reference:
        Clopper and Pearson 1934, Biometrika 26(4), 404-413, for none of n; Hanley and
        Lippman-Hand 1983, JAMA 249(13), 1743-1745, "If nothing goes wrong, is everything all
        right?"

    Example:
        >>> round(unseen_share(10), 3)
        0.308
    """
    return float(1 - TAIL ** (1 / patients))


def degenerate_ci(table: pd.DataFrame, name: str, value: float) -> tuple[float, float]:
    """The 95% interval of a metric that is the same in every draw.

    Studies of one patient may be alike, so patients are counted. accuracy, precision, recall and
    specificity are shares: where all calls are right, or none, the interval is Clopper and
    Pearson's for as many patients as the share is taken of. So is that of auroc: k patients of each
    class, nobody twice, make k independent pairs, all in the right order. f1 is 2 J / (1 + J) of
    the share J = TP / (TP + FP + FN). For kappa and auprc the unseen share of the abnormal, of the
    normal or of both is called wrongly.

    Args:
        table: One row a study or an image, of both classes: patient, label, probability,
            threshold.
        name: Of the metric.
        value: Of the metric, here and in every draw.

    Returns:
        Lower and upper end. Both are the value where all probabilities and all thresholds are
        equal: such calls do not vary.
    """
    truth = table["label"].to_numpy() == 1
    called = table["probability"].to_numpy() > table["threshold"].to_numpy()
    if table["probability"].nunique() == table["threshold"].nunique() == 1:
        return value, value
    if name in ("auroc", "auprc"):
        classes = (table["patient"][truth].nunique(), table["patient"][~truth].nunique())
        patients = min(*classes, table["patient"].nunique() // 2)  # pairs, nobody twice
    else:
        rows = {"precision": called, "recall": truth, "specificity": ~truth, "f1": truth | called}
        patients = table["patient"][rows.get(name, truth | True)].nunique()
    unseen = zero_event_upper_bound(patients)
    if name == "kappa":
        return _kappas(truth, called, unseen)
    share = value / (2 - value) if name == "f1" else value
    # All of the unseen are wrong, or all are right.
    low, high = share * (1 - unseen), share + (1 - share) * unseen
    if name == "f1":
        return 2 * low / (1 + low), 2 * high / (1 + high)
    if name == "auprc":
        # Two scores are left, with a share of each class on the wrong side.
        found, alarms = truth.mean() * (1 - unseen), (1 - truth.mean()) * unseen
        low = value * ((1 - unseen) * found / (found + alarms) + unseen * truth.mean())
    return float(low), high


def _kappas(
    truth: npt.NDArray[np.bool_], called: npt.NDArray[np.bool_], unseen: float
) -> tuple[float, float]:
    """The least and the largest kappa when an unseen share of a class or of both is turned."""
    abnormal, normal = unseen * np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    tp, fn = (truth & called).sum(), (truth & ~called).sum()
    fp, tn = (~truth & called).sum(), (~truth & ~called).sum()
    turned = Counts(
        tp=tp * (1 - abnormal) + fn * abnormal,
        fp=fp * (1 - normal) + tn * normal,
        fn=fn * (1 - abnormal) + tp * abnormal,
        tn=tn * (1 - normal) + fp * normal,
    )
    kappas = kappa(turned)
    return float(kappas.min()), float(kappas.max())


CI_SUFFIXES = ("", "_low", "_high")  # of a column: a number, and the ends of its interval
METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "kappa", "auroc", "auprc")
# Beyond this share of draws in which a metric is undefined (one class only, no positive call) an
# interval of the others would be one of another question.
MAX_UNDEFINED = 0.05
# Draws at a time: 3,197 images times 64 are 0.8 MB, which the cache of a core holds.
CHUNK = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Replicates:
    """Draws of patients, to be used for all tables of the same patients: that pairs them.

    Attributes:
        patients: (patients,) sorted unique ids.
        weights: (patients, draws) float64, how often a draw holds each patient.
    """

    patients: npt.NDArray[np.object_]
    weights: Floats


def bootstrap_weights(patients: Iterable[str], draws: int, seed: int) -> Replicates:
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
    return Replicates(unique, weights)


def bootstrap_metrics(table: pd.DataFrame, replicates: Replicates) -> dict[str, Floats]:
    """Compute every metric in every draw.

    Args:
        table: One row a study or an image: patient, label, probability, threshold (above it is
            abnormal). Its patients are among those of `replicates`; a part of them will do.
        replicates: The draws.

    Returns:
        For each name in METRICS (draws,) float64, NaN where it is undefined in a draw.
    """
    place = np.searchsorted(replicates.patients, table["patient"].to_numpy(object))
    present, patient = np.unique(place, return_inverse=True)
    everyone = len(present) == len(replicates.patients)
    weights = replicates.weights if everyone else replicates.weights[present]
    labels = table["label"].to_numpy() == 1
    probabilities = table["probability"].to_numpy(np.float64)
    called = probabilities > table["threshold"].to_numpy(np.float64)
    cells = (labels & called, ~labels & called, labels & ~called, ~labels & ~called)
    per_patient = [np.bincount(patient[cell], minlength=len(present)) for cell in cells]
    counts = Counts(*(np.stack(per_patient).astype(np.float64) @ weights))
    auroc, auprc = bootstrap_areas(weights, patient, labels, probabilities)
    return rates(counts) | {"auroc": auroc, "auprc": auprc}


def bootstrap_areas(
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


def percentile_ci(values: npt.ArrayLike) -> tuple[float, float]:
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


def metric_ci(table: pd.DataFrame, name: str, value: float, drawn: Floats) -> tuple[float, float]:
    """The 95% interval of a metric, also where no draw changes it, as where no call is wrong.

    Args:
        table: See `bootstrap_metrics`, of both classes.
        name: Of the metric.
        value: Of the metric.
        drawn: (draws,), of the metric, NaN where undefined.

    Returns:
        See `percentile_ci`; where all draws are the same `exact.interval_without_width`.
    """
    defined = _defined(drawn)
    if defined.size and _all_equal(defined):
        return degenerate_ci(table, name, value)
    return percentile_ci(drawn)


def _defined(values: npt.ArrayLike) -> Floats:
    """The draws that are defined, or none if too many are not."""
    drawn = np.asarray(values, dtype=np.float64)
    defined = drawn[~np.isnan(drawn)]
    return defined if defined.size >= (1 - MAX_UNDEFINED) * drawn.size else defined[:0]


def _all_equal(drawn: Floats) -> bool:
    # An area can differ in its last bit from draw to draw.
    return float(np.ptp(drawn)) < 1e-12


def ci_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns of numbers that stand with their intervals.

    Example:
        >>> with_ends(["auroc"])
        ('auroc', 'auroc_low', 'auroc_high')
    """
    return tuple(f"{name}{end}" for name in names for end in CI_SUFFIXES)


def count_rows(table: pd.DataFrame) -> dict[str, int]:
    """Sizes of a table of studies or images: n (rows), abnormal, patients."""
    return {
        "n": len(table),
        "abnormal": int(table["label"].sum()),
        "patients": int(table["patient"].nunique()),
    }


def metrics_with_ci(
    table: pd.DataFrame, replicates: Replicates, min_patients: int
) -> dict[str, float]:
    """Judge a table, with the 95% interval of each metric.

    Args:
        table: See `bootstrap_metrics`.
        replicates: The draws.
        min_patients: With fewer patients, or one class only, every metric is NaN: too few to say.

    Returns:
        n (rows), abnormal, patients, then for each name in METRICS its value, `<name>_low` and
        `<name>_high` (see `metric_ci`); all three are NaN where there is no interval: no
        number stands bare.
    """
    sizes = count_rows(table)
    if sizes["patients"] < min_patients or table["label"].nunique() < 2:
        return sizes | dict.fromkeys(ci_columns(METRICS), np.nan)
    values = score(table["label"], table["probability"], table["threshold"])
    drawn = bootstrap_metrics(table, replicates)
    judged: dict[str, float] = {}
    for name in METRICS:
        low, high = metric_ci(table, name, values[name], drawn[name])
        value = np.nan if np.isnan(low) else values[name]
        judged |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return sizes | judged
