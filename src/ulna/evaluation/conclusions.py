"""Sentences and display names for the codes and numbers of tables and metrics."""

import math
from collections.abc import Mapping
from typing import Any

from ulna.core.params import NETWORKS as TABLE

Numbers = Mapping[str, Any]

NETWORKS = {name: spec.title for name, spec in TABLE.items()}
NAMES = NETWORKS | {"ensemble": "ensemble"}
METRICS = {
    "auroc": "AUROC", "auprc": "AUPRC", "kappa": "kappa", "accuracy": "accuracy",
    "recall": "sensitivity", "specificity": "specificity", "precision": "precision", "f1": "F1",
}  # fmt: skip
BASELINES = {
    "prevalence": "prevalence (constant)",
    "body_part": "body part",
    "picture": "image size and mode",
    "views": "number of views",
    "metadata": "all metadata together",
    "corners_and_border": "corners and border",
    "intensity": "mean intensity",
}
# Of the column `shown`: what is left of an image by an occlusion.
OCCLUSIONS = {
    "whole": "whole image",
    "frame_hidden": "centre alone (border hidden)",
    "centre_hidden": "border alone (centre hidden)",
}
# Whoever shows the published kappas of `ulna.evaluation.comparison` shows this note with them.
REFERENCE_NOTE = "hidden test set, other gold standard: not comparable"
# Of the column `note`: the reason why a row has no numbers, or its kind of CI.
NOTES = {"": "", "too_few": "too few", "one_class": "one class", "exact_ci": "no error: exact CI"}
FAULTS = {
    "too_moderate": "probabilities are too close to 0.5",
    "too_extreme": "probabilities are too extreme",
    "underestimated": "abnormal is more frequent than predicted",
    "overestimated": "abnormal is rarer than predicted",
}
CALIBRATION = {
    "calibrated": "is calibrated after temperature scaling",
    "not_calibrated": "is not calibrated after temperature scaling",
}
PHASE_ENDS = {"limit": "ended at its epoch limit", "early_stopping": "ended by early stopping"}
FINDINGS = {
    "frame": "predicts the label from the border alone, and no better from the centre with the "
    "bones",
    "both": "predicts the label best from the centre, but also from the border alone",
    "centre": "needs the centre, and is no better than chance on the border alone",
    "neither": "is no better than chance on either half alone",
    "weak": "is no better than chance on whole images, so their halves are not informative",
    "too_few": "was tested on too few patients",
}


def performance(scores: Numbers, network: str) -> str:
    """Whether a network is better than chance, by the AUROC of studies or images."""
    name = _subject(network)
    if scores["conclusion"] == "too_few":
        return _sentence(f"{name} cannot be evaluated: too few test patients, or one class only")
    relation = {
        "above_chance": "better than chance",
        "no_better_than_chance": "no better than chance",
        "below_chance": "worse than chance",
    }[scores["conclusion"]]
    auroc, kappa = ci(scores, "auroc"), ci(scores, "kappa")
    return _sentence(f"{name} is {relation}: AUROC {auroc}, Cohen's kappa {kappa}")


def calibration(summary: Numbers, network: str) -> str:
    """Whether probabilities are calibrated, with slope, intercept and sizes."""
    code, after, least = summary["conclusion"], summary["after"], summary["min_per_class"]
    studies = f"on {summary['n']:,} test studies ({summary['abnormal']:,} abnormal)"
    line = (
        f"{studies} the slope is {ci(after, 'slope', 2)}, ideally 1, and the intercept "
        f"{ci(after, 'intercept', 2)}, ideally 0"
    )
    if code == "not_calibrated":
        few = min(summary["abnormal"], summary["n"] - summary["abnormal"]) < least
        precision = f"; {least} studies per class would be more precise" if few else ""
        line = f"{' and '.join(FAULTS[fault] for fault in summary['faults'])}; {line}{precision}"
    reasons = {
        "not_shown_no_temperature": "no temperature fits the val studies best: they are of one "
        "class, without an error at 0.5, or ranked no better than chance",
        "not_shown_undefined": f"{studies} slope and intercept are undefined; they need two "
        "patients of each class, and an error at every threshold",
        "not_shown_too_few": f"too few test studies, at least {least} per class are needed; {line}",
        "not_shown_no_discrimination": f"the probabilities do not discriminate; {line}",
    }
    return _sentence(f"{_calibration_claim(code, network)}: {reasons.get(code, line)}")


def calibration_in_short(summary: Numbers, network: str) -> str:
    """The same without the reasons."""
    return _sentence(_calibration_claim(summary["conclusion"], network))


def _calibration_claim(code: str, network: str) -> str:
    return f"{_subject(network)} {CALIBRATION.get(code, 'is not shown to be calibrated')}"


def comparison(result: Numbers, first: str, second: str) -> str:
    """Which of two networks is better, by the paired difference in AUROC of studies."""
    code, study = result["conclusion"], result["study"]
    pair = _subject(first), _subject(second)
    both = " and ".join(pair)
    sizes = f"{study['n']:,} test studies of {study['patients']:,} patients"
    if code == "too_few":
        return _sentence(f"{both} are not compared: fewer patients than evaluate.min_patients, "
                         f"{sizes}")  # fmt: skip
    if code == "one_class":
        kind = "abnormal" if study["abnormal"] else "normal"
        return _sentence(f"{both} are not compared: all studies are {kind}, {sizes}")
    value, low, high = (study["auroc"][key] for key in ("difference", "low", "high"))
    if code == "no_ci":
        return _sentence(
            f"{both} are not compared: the AUROC difference, {number(value)}, has no CI (too many "
            f"bootstrap replicates hold one class only, or all are the same), {sizes}"
        )
    if code == "not_significant":
        claim = f"{both} do not differ significantly: AUROC difference"
        return _sentence(f"{claim} {interval(value, low, high)}, {sizes}")
    if code == "second_better":
        pair, (value, low, high) = pair[::-1], (-value, -high, -low)
    higher = interval(value, low, high)
    return _sentence(f"{pair[0]} is better than {pair[1]}: AUROC higher by {higher}, {sizes}")


def overfitting(summary: Numbers, network: str) -> str:
    """Whether a network is better on its training studies than on test studies."""
    name, train, test = _subject(network), summary["train"], summary["test"]
    sizes = f"{train['patients']:,} patients of train, {test['patients']:,} of test"
    claim = {
        "overfitted": f"{name} is overfitted",
        "slightly_overfitted": f"{name} is slightly overfitted",
        "no_gap": f"{name} shows no overfitting",
        "inconclusive": f"it is inconclusive whether {name} is overfitted",
        "too_few": f"it cannot be estimated whether {name} is overfitted",
    }[summary["conclusion"]]
    if summary["conclusion"] == "too_few":
        return _sentence(f"{claim}: too few patients, {sizes}")
    return _sentence(f"{claim}: AUROC of train minus test is {ci(test, 'auroc_gap')}, {sizes}")


def history(course: Numbers, network: str) -> str:
    """The epoch that was kept, and the end of each phase of the training."""
    sentences = [
        f"{_subject(network)} keeps epoch {course['kept']} of {course['epochs']}, which has the "
        f"lowest loss on val ({number(course['val_loss_kept'])})"
    ]
    for phase, span in course["phases"].items():
        first, last = span["first"], span["last"]
        epochs = f"epochs {first} to {last}" if last > first else f"epoch {first}"
        end = PHASE_ENDS[span["ended"]]
        if span["ended"] == "early_stopping":
            end = f"{end} after {course['early_stopping_epochs']} without a lower loss"
        sentences.append(f"phase {phase}, {epochs}, {end}")
    if course["conclusion"] == "still_improving":
        sentences.append("the last epoch was the best: more epochs may help")
    return " ".join(map(_sentence, sentences))


def learning_curve(result: Numbers) -> str:
    """Whether more patients would help, by the last step of the curve."""
    code, step = result["conclusion"], result["step"]
    if code == "off":
        return (
            "The learning curve is off: set learning_curve.fractions in params.yaml, such as "
            "[0.25, 0.5], and run `dvc repro`; each fraction costs one training."
        )
    name = _subject(result["arch"])
    span = f"from {step['from_patients']:,} to {step['to_patients']:,} training patients"
    if code == "too_few":
        return _sentence(f"it cannot be estimated whether more patients help {name}: too few "
                         f"test patients, {span}")  # fmt: skip
    claim = {
        "improves": f"more patients still help {name}",
        "worsens": f"more patients have not helped {name}",
        "inconclusive": f"it is inconclusive whether more patients still help {name}",
    }[code]
    value, low, high = (step["auroc"][key] for key in ("difference", "low", "high"))
    change = interval(value, low, high, signed=True)
    return _sentence(f"{claim}: {span}, AUROC on test changes by {change}")


def baselines(summary: Numbers) -> str:
    """Whether labels can be predicted from non-anatomical features."""
    if summary["conclusion"] == "too_few":
        return "Too few test patients to say whether labels can be predicted without bone."
    rows = {name: summary[name] for name in BASELINES if name in summary}
    informative = {name: row for name, row in rows.items() if row["informative"]}
    if summary["conclusion"] == "alarm":
        sentences = [
            f"Alarm: the label can be predicted without bone, from {_list(informative, 1)}.",
            "A network that scores no better than this may have learned nothing else.",
        ]
    else:
        n = next(iter(rows.values()))["n"]
        sentences = [
            "No alarm: without bone no baseline is better than chance on both test and train.",
            f"With {n:,} test studies an AUROC of up to {number(summary['max_auroc_high'], 2)} is "
            "not excluded.",
        ]
    if bright := _list(informative, 0):
        sentences.append(
            f"Brightness also predicts the label, from {bright}: metal and casts are bright, so "
            "this alone is no alarm."
        )
    return " ".join(sentences)


def _list(rows: Mapping[str, Numbers], flag: int) -> str:
    """Baselines with or without a flag, each with its AUROC."""
    return "; ".join(
        f"{BASELINES[name]}, AUROC {ci(row, 'auroc')}"
        for name, row in rows.items()
        if row["flag"] == flag
    )


def occlusion(summary: Numbers) -> str:
    """Whether networks need the centre, with the bones, or the border around it."""
    head = {"alarm": "Alarm.", "no_alarm": "No alarm.", "inconclusive": "Inconclusive."}
    sentences = [head[summary["conclusion"]]]
    networks = {name: result for name, result in summary.items() if isinstance(result, Mapping)}
    for network, result in networks.items():
        claim = f"{_subject(network)} {FINDINGS[result['finding']]}"
        if result["finding"] != "too_few":
            shown = ("whole", "frame_hidden", "centre_hidden")
            whole, centre, border = (ci(result[key], "auroc") for key in shown)
            claim += f": AUROC {whole} on whole images, {centre} on the centre alone, "
            claim += f"{border} on the border alone"
        sentences.append(_sentence(claim))
    return " ".join(sentences)


def randomization(summary: Numbers, network: str) -> str:
    """Whether maps depend on the trained weights."""
    head, *_, last = summary["rank_correlation"].values()
    result = "passed" if summary["passed"] else "failed"
    return _sentence(
        f"{_subject(network)}: randomization test {result}, rank correlation with the trained "
        f"network's maps {number(head, 2)} with a random head (limit {summary['head_limit']}), "
        f"{number(last, 2)} with all weights random (limit {summary['all_limit']}), "
        f"{summary['images']:,} test images"
    )


def localization(summary: Numbers | None) -> str:
    """The share of maps that point at a ground-truth box; empty without boxes."""
    if not summary:
        return ""
    game = summary["abnormal"]["pointing_game"]
    hits = interval(game["value"], game["low"], game["high"], 2)
    return _sentence(
        f"the maximum of the map lies in the ground-truth box in {hits} of {game['n']:,} abnormal "
        f"images; by chance in {number(game['chance_even'], 2)}"
    )


def cross_part(sides: Numbers, trained_on: str) -> str:
    """Compare the body parts that a network was trained on with the others."""
    seen, unseen = (
        f"AUROC {ci(sides[side], 'auroc')} on {sides[side]['studies']:,} test studies"
        for side in ("seen", "unseen")
    )
    claim = f"trained on {trained_on}: {seen} of these parts, {unseen} of others"
    return _sentence(f"{claim}, difference {ci(sides['seen_minus_unseen'], 'auroc')}")


def audit(summary: Numbers) -> str:
    """Count the anomalies and duplicates among the images."""
    counts = {code.replace("_", " "): count for code, count in summary["findings"].items()}
    findings = [f"{count:,} {name}" for name, count in counts.items() if count]
    return _sentence(
        f"{summary['images']:,} images of {summary['studies']:,} studies: "
        f"{', '.join(findings) or 'no finding'}"
    )


def ci(row: Numbers, name: str, digits: int = 3) -> str:
    """A number of a row with its CI, `<name>_low` and `<name>_high`."""
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def interval(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 3,
    signed: bool = False,
) -> str:
    """A number with its 95% CI.

    Example:
        >>> interval(0.8553, 0.7601, 0.9311), interval(None, None, None)
        ('0.855 (95% CI 0.760 to 0.931)', 'undefined')
    """
    if value is None or math.isnan(value):
        return "undefined"
    limits = f"{number(low, digits, signed)} to {number(high, digits, signed)}"
    return f"{number(value, digits, signed)} (95% CI {limits})"


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number with a fixed count of decimals, a typographic minus, and no minus before 0.

    Example:
        >>> number(-0.12345), number(-0.0001), number(0.2, 1, signed=True), number(None)
        ('−0.123', '0.000', '+0.2', 'undefined')
    """
    if value is None or math.isnan(value):
        return "undefined"
    return format(value, f"{'+' if signed else ''}z,.{digits}f").replace("-", "−")


def _subject(network: str) -> str:
    # A prediction table from elsewhere has no display name.
    return "the ensemble" if network == "ensemble" else NAMES.get(network, network)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
