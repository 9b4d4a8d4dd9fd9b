"""The first screen of the report: how good, how sure, what it finds, what speaks against it."""

from collections.abc import Mapping
from typing import Any

from ulna.evaluation import AT_CHANCE, NAMES, conclusions
from ulna.report.contents import ReportData
from ulna.report.html import Tile, number

# Landis and Koch 1977, Biometrics 33(1), 159-174: the least kappa of each word.
AGREEMENT = {
    0.8: "almost perfect", 0.6: "substantial", 0.4: "moderate", 0.2: "fair", 0.0: "slight"
}  # fmt: skip
LOW_SENSITIVITY = 0.5  # a finding below is one to look at next
FEW_STUDIES = 10  # of a finding: its sensitivity is a guess


def tiles(data: ReportData) -> list[Tile]:
    """The headline numbers of the network that the page is about."""
    study = data.metrics[data.best]["study"]
    abnormal, normal = study["abnormal"], study["n"] - study["abnormal"]
    found, alarms = study["true_positives"], study["false_positives"]
    return [
        _tile("AUROC", study, "auroc", "0.5 is chance, 1 is perfect"),
        _tile("sensitivity", study, "recall", f"{found:,} of {abnormal:,} abnormal studies found"),
        _tile(
            "specificity",
            study,
            "specificity",
            f"{alarms:,} of {normal:,} normal studies a false alarm",
        ),
        _tile("kappa", study, "kappa", f"{agreement(study['kappa'])}agreement beyond chance"),
    ]


def _tile(name: str, study: Mapping[str, Any], key: str, words: str) -> Tile:
    value, low, high = study[key], study[f"{key}_low"], study[f"{key}_high"]
    limits = f"{number(low, 2)} to {number(high, 2)}" if low is not None else ""
    return Tile(name, number(value, 2), limits, words)


def agreement(kappa: float | None) -> str:
    """The word for a kappa with a space after it; none where it is undefined.

    Example:
        >>> agreement(0.72), agreement(-0.1), agreement(None)
        ('substantial ', 'no ', '')
    """
    if kappa is None:
        return ""
    return next((word for least, word in AGREEMENT.items() if kappa >= least), "no") + " "


def answers(data: ReportData) -> dict[str, list[str]]:
    """The questions of a reader, with answers in a few sentences each."""
    return {
        "How good?": how_good(data),
        "What does it find and miss?": finds(data),
        "How sure?": how_sure(data),
        "What speaks against it?": doubts(data) or ["None of the checks below raised an alarm."],
        "What next?": next_steps(data),
    }


def how_good(data: ReportData) -> list[str]:
    """Each network against chance, the one to use first."""
    order = [data.best, *(arch for arch in data.networks if arch != data.best)]
    return [conclusions.performance(data.metrics[arch]["study"], arch) for arch in order]


def finds(data: ReportData) -> list[str]:
    """What the network finds and misses, in counts and by finding."""
    metrics = data.metrics[data.best]
    return [
        f"{NAMES[data.best]}: {conclusions.found_and_false(metrics['study'])}",
        conclusions.by_finding(metrics["by_finding"]),
    ]


def how_sure(data: ReportData) -> list[str]:
    """What the intervals hold, and what they leave out."""
    study = data.test
    sentences = [
        f"n = {study['n']:,} test studies of {study['patients']:,} patients, "
        f"{study['abnormal']:,} abnormal. Intervals are over these patients: they leave out other "
        "hospitals, devices and training seeds."
    ]
    rest = conclusions.without_flagged(data.metrics[data.best])
    return [*sentences, rest] if rest else sentences


def doubts(data: ReportData) -> list[str]:
    """Every check that raised an alarm, with what follows from it."""
    metrics, best = data.metrics, data.best
    counts = metrics["audit"]["findings"]
    sentences = []
    if data.synthetic:
        sentences.append(
            "The radiographs are synthetic: no number here says anything about real ones."
        )
    if metrics["baselines"]["conclusion"] == "alarm":
        sentences.append(conclusions.baselines(metrics["baselines"]))
    if metrics["occlusion"]["flag"]:
        sentences.append(f"Occlusion. {conclusions.occlusion(metrics['occlusion'])}")
    if leaks := counts["duplicate_across_splits"]:
        sentences.append(f"Leaks: {_copies(leaks)} in another split: take them out of the data.")
    if conflicts := counts["duplicate_label_conflict"]:
        sentences.append(
            f"Labels: {_copies(conflicts)} with another label: one of the two is wrong."
        )
    calibration = metrics[best]["calibration"]
    if calibration["conclusion"] != "calibrated":
        sentence = conclusions.calibration_in_short(calibration, best)
        sentences.append(f"{sentence} So rank by its probabilities, do not read them as risks.")
    overfitting = metrics["overfitting"][best]
    if overfitting["conclusion"] == "overfitted":
        sentences.append(conclusions.overfitting(overfitting, best))
    return sentences


def _copies(number: int) -> str:
    return "1 image has a copy" if number == 1 else f"{number:,} images have a copy"


def next_steps(data: ReportData) -> list[str]:
    """What a reader should do, from the same numbers."""
    metrics, best = data.metrics, data.best
    study, steps = metrics[best]["study"], []
    weak = [arch for arch in data.networks if metrics[arch]["study"]["conclusion"] in AT_CHANCE]
    if study["conclusion"] == "too_few":
        steps.append("Evaluate on more studies before you draw a conclusion.")
    elif best in weak:
        steps.append(f"Do not use {NAMES[best]}: it is no better than chance.")
    else:
        tail = f", not {' or '.join(NAMES[arch] for arch in weak)}" if weak else ""
        steps.append(f"Use {NAMES[best]} (highest AUROC on val){tail}.")
    rows = metrics[best]["by_finding"] or {}
    low = [name for name, row in rows.items() if row["found"] < LOW_SENSITIVITY * row["studies"]]
    if low:
        names = ", ".join(name.replace("_", " ") for name in low)
        few = ", and test on more of them" if _few(rows, low) else ""
        steps.append(f"Look at what it misses below: {names}{few}.")
    elif study["true_positives"] < study["abnormal"] and not data.synthetic:
        steps.append("Let a radiologist look at what it misses below.")
    if data.synthetic:
        steps.append("Set data.root to real radiographs: docs/data.md says how.")
    return steps


def _few(rows: Mapping[str, Any], names: list[str]) -> bool:
    return any(rows[name]["studies"] < FEW_STUDIES for name in names)
