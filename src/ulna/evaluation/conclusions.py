"""Sentences and display names for the codes and numbers of tables and metrics."""

import math
from collections.abc import Mapping
from typing import Any

from ulna.evaluation import NAMES
from ulna.evaluation.bootstrap import MIN_STUDIES

Numbers = Mapping[str, Any]

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
FAULTS = {
    "too_moderate": "probabilities are too close to 0.5",
    "too_extreme": "probabilities are too extreme",
    "underestimated": "abnormal is more frequent than predicted",
    "overestimated": "abnormal is rarer than predicted",
}
CALIBRATION = {
    "calibrated": "is calibrated after temperature scaling",
    "not_calibrated": "is not calibrated after temperature scaling",
    "harmful": "is worse calibrated after temperature scaling than before it",
}
FINDING_NAMES = {
    "displaced_fracture": "displaced fractures",
    "hairline_fracture": "hairline fractures",
    "lesion": "lesions",
    "unnamed": "studies without a named finding",
}
# Shares of studies of a finding, from which some and most are found.
SOME, MOST = 0.5, 0.75
UNDEFINED = "undefined"
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
    auroc, kappa = ci(scores, "auroc"), ci(scores, "kappa")
    if scores["conclusion"] == "too_few":
        sizes = " and ".join(
            f"{scores[f'{prefix}n']:,} of {split} ({scores[f'{prefix}abnormal']:,} abnormal)"
            for split, prefix in (("test", ""), ("val", "val_"))
        )
        return _sentence(
            f"too few to tell whether {name} is better than chance: {sizes}, and "
            f"{MIN_STUDIES} studies of each class are needed in both; AUROC {auroc}"
        )
    relation = {
        "above_chance": "better than chance",
        "no_better_than_chance": "no better than chance",
        "below_chance": "worse than chance",
    }[scores["conclusion"]]
    return _sentence(
        f"{name} is {relation}: AUROC {auroc}; Cohen's kappa {kappa} at the threshold chosen on "
        f"val (n = {scores['val_n']:,}), which this interval takes as given"
    )


def found_and_false(study: Numbers) -> str:
    """Count what a network finds among abnormal test studies, and its false alarms.

    Example:
        >>> found_and_false({"n": 73, "abnormal": 33, "true_positives": 25, "false_positives": 2})
        'Of 33 abnormal studies 25 are found; of 40 normal ones 2 are false alarms.'
    """
    found, false = study["true_positives"], study["false_positives"]
    alarms = "is a false alarm" if false == 1 else "are false alarms"
    return (
        f"Of {study['abnormal']:,} abnormal studies {found:,} {'is' if found == 1 else 'are'} "
        f"found; of {study['n'] - study['abnormal']:,} normal ones {false:,} {alarms}."
    )


def by_finding(summary: Numbers | None) -> str:
    """Tell which findings a network finds, which it finds in part and which it misses.

    It finds those of which 3 of 4 studies or more are found, and misses those of which less than
    half are. summary see `ulna.evaluation.findings.summarize_findings`.

    Example:
        >>> by_finding({"lesion": {"studies": 8, "found": 6, "sensitivity": None}})
        'It finds lesions (6 of 8, too few for an interval).'
    """
    if summary is None:
        return "The data do not name findings: what it misses cannot be known."
    groups: dict[str, list[str]] = {"finds": [], "finds only some of": [], "misses": []}
    shares = {name: row["found"] / row["studies"] for name, row in summary.items()}
    for name in sorted(shares, key=lambda name: (-shares[name], name)):
        row = summary[name]
        few = ", too few for an interval" if number(row["sensitivity"]) == UNDEFINED else ""
        counts = f"({row['found']:,} of {row['studies']:,}{few})"
        verb = ("misses", "finds only some of", "finds")[
            (shares[name] >= SOME) + (shares[name] >= MOST)
        ]
        groups[verb].append(f"{FINDING_NAMES.get(name, name.replace('_', ' '))} {counts}")
    claims = [f"it {verb} {', '.join(names)}" for verb, names in groups.items() if names]
    return _sentence("; ".join(claims) or "no test study is abnormal")


def without_flagged(metrics: Numbers) -> str:
    """Tell the AUROC of test studies without those that the audit flagged; empty if none is.

    metrics see `ulna.evaluation.evaluate.Evaluation`.
    """
    rest = metrics["without_flagged"]
    if not rest["left_out"]:
        return ""
    return _sentence(
        f"without the test studies that the audit flagged ({rest['left_out']:,}) AUROC is "
        f"{ci(rest, 'auroc')}, with them {number(metrics['study']['auroc'])}"
    )


def calibration(summary: Numbers, network: str) -> str:
    """Whether probabilities are calibrated, with slope, intercept and sizes."""
    code, least = summary["conclusion"], summary["min_per_class"]
    before, after = summary["before"], summary["after"]
    studies = f"on {summary['n']:,} test studies ({summary['abnormal']:,} abnormal)"
    unscaled = code in ("harmful", "not_shown_few_val", "not_shown_no_temperature")
    shown = before if unscaled else after
    line = (
        f"{studies} the slope is {ci(shown, 'slope', 2)}, ideally 1, and the intercept "
        f"{ci(shown, 'intercept', 2)}, ideally 0"
    )
    if code == "not_calibrated":
        few = min(summary["abnormal"], summary["n"] - summary["abnormal"]) < least
        precision = f"; {least} studies per class would be more precise" if few else ""
        line = f"{' and '.join(FAULTS[fault] for fault in summary['faults'])}; {line}{precision}"
    reasons = {
        "harmful": f"{studies} the log loss is {number(after['log_loss'])} after it and "
        f"{number(before['log_loss'])} before it, so use the probabilities before it; there "
        f"{line.removeprefix(studies).strip()}",
        "not_shown_few_val": f"no temperature is fitted on {summary['n_val']:,} val studies, fewer "
        f"than {summary['min_val']}; without one {line}",
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
        return _sentence(
            f"too few to tell whether {pair[0]} or {pair[1]} is better: {sizes}, "
            f"{study['abnormal']:,} abnormal; {MIN_STUDIES} studies of each class are needed, and "
            "as many of val"
        )
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
    if code == "at_chance":
        weak = [_subject({"first": first, "second": second}[side]) for side in result["at_chance"]]
        claim = f"{' and '.join(weak)} {'is' if len(weak) == 1 else 'are'} no better than chance"
        return _sentence(
            f"{claim}, so {both} are not ranked: AUROC difference {interval(value, low, high)}, "
            f"{sizes}"
        )
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
        return _sentence(f"{claim}: too few patients or studies of a class, {sizes}")
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


def saliency(summary: Numbers, network: str) -> str:
    """Whether maps point at ground-truth boxes, beside three levels that need no network."""
    first = ""
    if summary["at_chance"]:
        first = f"{_subject(network)} is no better than chance, so its maps have nothing to show"
        first = f"{_sentence(first)} "
    if not summary["localization"]:
        return f"{first}The data have no ground-truth boxes to hold its maps against."
    game = summary["localization"]["abnormal"]["pointing_game"]
    hits = interval(game["value"], game["low"], game["high"], 2)
    if hits == UNDEFINED:
        sizes = f"{game['n']:,} abnormal images of {game['patients']:,} patients have a box"
        return f"{first}Too few to tell whether the maps point at findings: {sizes}."
    even, others, bright = (
        number(game[f"chance_{name}"], 2) for name in ("even", "other_maps", "brightness")
    )
    return first + _sentence(
        f"the maximum of the map lies in the ground-truth box in {hits} of {game['n']:,} abnormal "
        f"images; by chance in {even}, the maximum of another image's map in {others}, the "
        f"brightest spot of the image in {bright}"
    )


def cross_part(sides: Numbers, trained_on: str) -> str:
    """Compare the body parts that a network was trained on with the others."""
    seen, unseen = (
        f"AUROC {ci(sides[side], 'auroc')} on {sides[side]['studies']:,} test studies"
        for side in ("seen", "unseen")
    )
    claim = f"trained on {trained_on}: {seen} of these parts, {unseen} of others"
    few = any(
        min(sides[side]["abnormal"], sides[side]["studies"] - sides[side]["abnormal"]) < MIN_STUDIES
        for side in ("seen", "unseen")
    )
    doubt = f"; too few to tell, {MIN_STUDIES} of each class are needed on both sides"
    difference = ci(sides["seen_minus_unseen"], "auroc")
    return _sentence(f"{claim}, difference {difference}{doubt if few else ''}")


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
        return UNDEFINED
    shown = number(value, digits, signed)
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{shown} (no CI)"
    return f"{shown} (95% CI {number(low, digits, signed)} to {number(high, digits, signed)})"


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number with a fixed count of decimals, a typographic minus, and no minus before 0.

    Example:
        >>> number(-0.12345), number(-0.0001), number(0.2, 1, signed=True), number(None)
        ('−0.123', '0.000', '+0.2', 'undefined')
    """
    if value is None or math.isnan(value):
        return UNDEFINED
    return format(value, f"{'+' if signed else ''}z,.{digits}f").replace("-", "−")


def _subject(network: str) -> str:
    # A prediction table from elsewhere has no display name.
    return "the ensemble" if network == "ensemble" else NAMES.get(network, network)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
