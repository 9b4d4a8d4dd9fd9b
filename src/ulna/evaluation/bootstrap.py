"""95% confidence intervals: a bootstrap over patients, exact limits where no replicate differs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.evaluation.metrics import Counts, compute_metrics, kappa, rates, row_losses

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "kappa", "auroc", "auprc")
SIZES = ("n", "abnormal", "patients")
CI_SUFFIXES = ("", "_low", "_high")
TAIL = 0.025  # outside a two-sided 95% interval, on each side
Z = 1.959963984540054  # the same of the normal distribution
# Of a class, in val and in test: with fewer no conclusion is drawn. With 20 of each an AUROC of 0.8
# has an interval of 0.66 to 0.94 (Hanley and McNeil 1982), and a threshold is one of 20 steps.
MIN_STUDIES = 20
# With more undefined replicates (one class only, no predicted positive) the CI of the others would
# answer another question.
MAX_UNDEFINED = 0.05
# Replicates at a time: 3,197 images times 64 are 0.8 MB, which fit into the cache of a core.
CHUNK = 64

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Replicates:
    """Bootstrap replicates of patients; shared by all tables of the same patients, they pair them.

    Attributes:
        patients: (patients,) sorted unique ids.
        weights: (patients, replicates) float64, how often a replicate holds each patient.
    """

    patients: npt.NDArray[np.object_]
    weights: Floats

    def select(self, patients: pd.Series) -> tuple[Floats, npt.NDArray[np.intp]]:
        """The weights of the patients of some rows, and which row of these belongs to each."""
        index = np.searchsorted(self.patients, patients.to_numpy(object))
        present, patient = np.unique(index, return_inverse=True)
        everyone = len(present) == len(self.patients)
        return self.weights if everyone else self.weights[present], patient


def bootstrap_weights(patients: Iterable[str], n_replicates: int, seed: int) -> Replicates:
    """Sample as many patients as there are, with replacement, for each replicate.

    The ids can be repeated, in any order; the same seed and patients give the same replicates.
    """
    unique = np.array(sorted(set(patients)), dtype=object)
    count = len(unique)
    stream = np.random.Generator(np.random.Philox(seed))
    weights = np.empty((count, n_replicates))
    # In chunks: 2,000 replicates of MURA's 12,000 patients at once took 0.8 GB beside the 0.2 GB
    # that remain.
    for chunk in _chunks(n_replicates):
        part = weights[:, chunk]
        sampled = stream.integers(0, count, part.T.shape)
        flat = (sampled + count * np.arange(len(sampled))[:, np.newaxis]).ravel()
        part[:] = np.bincount(flat, minlength=part.size).reshape(part.T.shape).T
    return Replicates(unique, weights)


def table_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Compute METRICS and log_loss of a table with columns label, probability and threshold."""
    labels, probabilities = table["label"], table["probability"]
    losses = row_losses(labels, probabilities)
    values = compute_metrics(labels, probabilities, table["threshold"])
    return values | {"log_loss": float(losses.mean())}


def bootstrap_metrics(table: pd.DataFrame, replicates: Replicates) -> dict[str, Floats]:
    """Compute `table_metrics` in every replicate: (replicates,) float64, NaN where undefined.

    The table has one row per study or image: patient, label, probability, threshold. Its patients
    are all or some of those of the replicates.
    """
    weights, patient = replicates.select(table["patient"])
    labels = table["label"].to_numpy() == 1
    probabilities = table["probability"].to_numpy(np.float64)
    positive = probabilities > table["threshold"].to_numpy(np.float64)
    cells = (labels & positive, ~labels & positive, labels & ~positive, ~labels & ~positive)
    per_patient = [np.bincount(patient[cell], minlength=len(weights)) for cell in cells]
    counts = Counts(*(np.stack(per_patient).astype(np.float64) @ weights))
    auroc, auprc = bootstrap_areas(weights, patient, labels, probabilities)
    losses = bootstrap_mean(table["patient"], row_losses(labels, probabilities), replicates)
    return rates(counts) | {"auroc": auroc, "auprc": auprc, "log_loss": losses}


def bootstrap_mean(patients: pd.Series, values: Floats, replicates: Replicates) -> Floats:
    """Compute the mean of a value per row in every replicate; NaN in a replicate without rows."""
    weights, patient = replicates.select(patients)
    sums = np.bincount(patient, values, minlength=len(weights)) @ weights
    rows = np.bincount(patient, minlength=len(weights)) @ weights
    undefined = np.full(rows.shape, np.nan)
    means: Floats = np.divide(sums, rows, out=undefined, where=rows > 0)
    return means


def bootstrap_areas(
    weights: Floats, patient: npt.NDArray[np.intp], labels: Booleans, probabilities: Floats
) -> tuple[Floats, Floats]:
    """Compute the areas under the ROC and the precision-recall curve in every replicate.

    Ties are exact, as in scikit-learn: half a pair for the ROC curve, one step for the other.
    patient is the row of `weights` of each row of the table.

    Returns:
        AUROC and average precision, (replicates,) each; NaN where a class that they need is absent.
    """
    n_replicates = weights.shape[1]
    auroc, auprc = np.empty(n_replicates), np.empty(n_replicates)
    falling = np.argsort(-probabilities, kind="stable")
    abnormal, normal = falling[labels[falling]], falling[~labels[falling]]
    values, normals = -probabilities[abnormal], -probabilities[normal]
    # Of each abnormal row: the abnormal rows not below it less one, the normal rows not below and
    # those above.
    last = np.searchsorted(values, values, side="right") - 1
    not_below = np.searchsorted(normals, values, side="right")
    above = np.searchsorted(normals, values, side="left")
    tied, normal_tied = (last != np.arange(len(last))).any(), (above != not_below).any()
    for chunk in _chunks(n_replicates):
        # Integers, one row per replicate: cumulative sums run 8 times as fast as down columns of
        # floats, and are exact.
        often = np.ascontiguousarray(weights[:, chunk].T, dtype=np.int32)
        steps = np.take(often, patient[abnormal], axis=1)
        true = np.cumsum(steps, axis=1, dtype=np.int32)
        false = np.zeros((len(often), len(normal) + 1), dtype=np.int32)
        normal_steps = np.take(often, patient[normal], axis=1)
        np.cumsum(normal_steps, axis=1, dtype=np.int32, out=false[:, 1:])
        positives = steps.sum(axis=1)
        negatives = false[:, -1]
        fp = np.take(false, not_below, axis=1)
        twice_above = np.take(false, above, axis=1) + fp if normal_tied else 2 * fp
        discordant = np.einsum("ij,ij->i", steps, twice_above, dtype=np.int64)
        tp = np.take(true, last, axis=1) if tied else true
        # A replicate without a row up to here gains nothing here: 0 / 1 for 0 / 0.
        precision = tp / np.maximum(tp + fp, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc[chunk] = 1 - discordant / (2 * positives * negatives)
            auprc[chunk] = np.einsum("ij,ij->i", steps, precision) / positives
    return auroc, auprc


def _chunks(n_replicates: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n_replicates, CHUNK))


def percentile_ci(values: npt.ArrayLike) -> tuple[float, float]:
    """The 2.5% and the 97.5% quantile of a metric's defined replicates.

    Returns:
        NaN, NaN where more than 5% of the replicates are undefined, and where all are the same: an
        interval of no width would claim a certainty that resampling cannot give.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile method).
    """
    defined = _defined(values)
    if not defined.size or _all_equal(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [TAIL, 1 - TAIL])
    return float(low), float(high)


def metric_ci(table: pd.DataFrame, name: str, value: float, values: Floats) -> tuple[float, float]:
    """The `percentile_ci` of a metric's replicates; the `degenerate_ci` if all are the same."""
    defined = _defined(values)
    if defined.size and _all_equal(defined):
        return degenerate_ci(table, name, value)
    return percentile_ci(values)


def _defined(values: npt.ArrayLike) -> Floats:
    """The replicates that are defined, or none if too many are not."""
    replicates = np.asarray(values, dtype=np.float64)
    defined = replicates[~np.isnan(replicates)]
    return defined if defined.size >= (1 - MAX_UNDEFINED) * replicates.size else defined[:0]


def _all_equal(values: Floats) -> bool:
    # An area can differ in its last bit between replicates.
    return float(np.ptp(values)) < 1e-12


def zero_event_upper_bound(patients: int) -> float:
    """The upper 97.5% limit of a proportion with 0 events in n patients; about 3.7 / n.

    Reference:
        Clopper and Pearson 1934, Biometrika 26(4), 404-413, for 0 of n; Hanley and Lippman-Hand
        1983, JAMA 249(13), 1743-1745, "If nothing goes wrong, is everything all right?"
    """
    return float(1 - TAIL ** (1 / patients))


def wilson_ci(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's 95% confidence limits of proportions, of any one shape.

    Successes need not be whole, as scipy's must: a patient of whose two studies one is found counts
    half.

    Reference:
        Wilson 1927, JASA 22(158), 209-212.
    """
    n = np.asarray(trials, dtype=np.float64)
    share, weight = np.asarray(successes) / n, Z**2 / n
    middle = share + weight / 2
    half = np.sqrt(weight * (share * (1 - share) + weight / 4))
    low, high = (np.clip((middle + side) / (1 + weight), 0, 1) for side in (-half, half))
    return low, high


def degenerate_ci(table: pd.DataFrame, name: str, value: float) -> tuple[float, float]:
    """The 95% CI of a metric that is the same in every replicate, counted in patients.

    accuracy, precision, recall and
    specificity are proportions: without an error, or with errors only, the CI is Clopper and
    Pearson's for the patients in the denominator. So is that of auroc: k patients of each class,
    none in two pairs, make k independent pairs, all concordant. f1 is 2 J / (1 + J) of the
    proportion J = TP / (TP + FP + FN). For kappa and auprc the upper bound of the unseen patients
    of one class or of both is counted as errors.

    Returns:
        Lower and upper limit. Both are the value where all probabilities and all thresholds are
        equal: such predictions do not vary.
    """
    truth = table["label"].to_numpy() == 1
    positive = table["probability"].to_numpy() > table["threshold"].to_numpy()
    if table["probability"].nunique() == table["threshold"].nunique() == 1:
        return value, value
    if name in ("auroc", "auprc"):
        classes = (table["patient"][truth].nunique(), table["patient"][~truth].nunique())
        patients = min(*classes, table["patient"].nunique() // 2)  # pairs, no patient in two
    else:
        rows = {
            "precision": positive, "recall": truth, "specificity": ~truth, "f1": truth | positive
        }  # fmt: skip
        patients = table["patient"][rows.get(name, truth | True)].nunique()
    unseen = zero_event_upper_bound(patients)
    if name == "kappa":
        return _kappa_limits(truth, positive, unseen)
    share = value / (2 - value) if name == "f1" else value
    # All of the unseen are errors, or all are correct.
    low, high = share * (1 - unseen), share + (1 - share) * unseen
    if name == "f1":
        return 2 * low / (1 + low), 2 * high / (1 + high)
    if name == "auprc":
        # Two probabilities remain, with a share of each class on the wrong side.
        tp, fp = truth.mean() * (1 - unseen), (1 - truth.mean()) * unseen
        low = value * ((1 - unseen) * tp / (tp + fp) + unseen * truth.mean())
    return float(low), high


def _kappa_limits(truth: Booleans, positive: Booleans, unseen: float) -> tuple[float, float]:
    """The least and the largest kappa if an unseen share of a class, or of both, is turned."""
    abnormal, normal = unseen * np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    tp, fn = (truth & positive).sum(), (truth & ~positive).sum()
    fp, tn = (~truth & positive).sum(), (~truth & ~positive).sum()
    turned = Counts(
        tp=tp * (1 - abnormal) + fn * abnormal,
        fp=fp * (1 - normal) + tn * normal,
        fn=fn * (1 - abnormal) + tp * abnormal,
        tn=tn * (1 - normal) + fp * normal,
    )
    kappas = kappa(turned)
    return float(kappas.min()), float(kappas.max())


def ci_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns of metrics and their confidence limits, as auroc, auroc_low, auroc_high."""
    return tuple(f"{name}{suffix}" for name in names for suffix in CI_SUFFIXES)


def count_rows(table: pd.DataFrame) -> dict[str, int]:
    """`SIZES` of a table of studies or images."""
    sizes = len(table), int(table["label"].sum()), int(table["patient"].nunique())
    return dict(zip(SIZES, sizes, strict=True))


def too_few_studies(*tables: pd.DataFrame) -> bool:
    """Whether a table of studies has fewer than `MIN_STUDIES` of a class: too few to conclude."""
    counts = [int((table["label"] == label).sum()) for table in tables for label in (0, 1)]
    return min(counts) < MIN_STUDIES


def too_small(sizes: Mapping[str, Any], min_patients: int) -> bool:
    """Whether a table (see `count_rows`) has too few patients, or one class only."""
    return sizes["patients"] < min_patients or sizes["abnormal"] in (0, sizes["n"])


def metrics_with_ci(
    table: pd.DataFrame, replicates: Replicates, min_patients: int
) -> dict[str, float]:
    """Compute every metric of a table (see `bootstrap_metrics`) with its 95% CI.

    Returns:
        `SIZES`, then for each name in METRICS its value, `<name>_low` and `<name>_high` (see
        `metric_ci`); all three are NaN where there is no CI (no estimate without a CI), and if the
        table is `too_small`.
    """
    sizes = count_rows(table)
    if too_small(sizes, min_patients):
        return sizes | dict.fromkeys(ci_columns(METRICS), np.nan)
    in_replicates = bootstrap_metrics(table, replicates)
    chosen = {name: in_replicates[name] for name in METRICS}
    return sizes | estimates_with_ci(table_metrics(table), chosen, table)


def estimates_with_ci(
    values: Mapping[str, float],
    in_replicates: Mapping[str, Floats],
    table: pd.DataFrame | None = None,
) -> dict[str, float]:
    """Put the confidence limits beside each value, by `metric_ci` if there is a table.

    A value without limits is NaN.
    """
    estimates: dict[str, float] = {}
    for name, replicates in in_replicates.items():
        value = values[name]
        limits = percentile_ci(replicates)
        low, high = limits if table is None else metric_ci(table, name, value, replicates)
        value = np.nan if np.isnan(low) else value
        estimates |= dict(zip(ci_columns([name]), (value, low, high), strict=True))
    return estimates


def differences(
    first: pd.DataFrame, second: pd.DataFrame, replicates: Replicates, min_patients: int
) -> dict[str, Any]:
    """Compute the paired difference in each metric, first minus second, with its 95% CI.

    Both tables hold the same studies or images in the same order, see `bootstrap_metrics`.

    Returns:
        `SIZES`; then for each name in METRICS difference, low and high, -1 to 1 (kappa -2 to 2),
        NaN where undefined (see `percentile_ci`) and if the table is `too_small`. Of equal
        probabilities and thresholds all three are 0, in every replicate.
    """
    sizes = count_rows(first)
    if too_small(sizes, min_patients):
        undefined = dict.fromkeys(("difference", "low", "high"), np.nan)
        return sizes | {name: dict(undefined) for name in METRICS}
    one, two = table_metrics(first), table_metrics(second)
    inputs = ["probability", "threshold"]
    same = bool((first[inputs].to_numpy() == second[inputs].to_numpy()).all())
    metrics: dict[str, Any] = {}
    for name, values in bootstrap_differences(first, second, replicates).items():
        low, high = (0.0, 0.0) if same else percentile_ci(values)
        metrics[name] = {"difference": one[name] - two[name], "low": low, "high": high}
    return sizes | metrics


def bootstrap_differences(
    first: pd.DataFrame, second: pd.DataFrame, replicates: Replicates
) -> dict[str, Floats]:
    """Compute the paired difference in each metric in every replicate, see `differences`."""
    one, two = bootstrap_metrics(first, replicates), bootstrap_metrics(second, replicates)
    # A patient that is absent from a replicate can still change the last bit of an area.
    return {
        name: np.where(np.abs(one[name] - two[name]) < 1e-12, 0.0, one[name] - two[name])
        for name in METRICS
    }
