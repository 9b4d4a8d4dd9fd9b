"""The model card of a bundle, Markdown from `bundle.json` alone.

Reference:
    Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv 1810.03993.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ulna.evaluation import METRIC_NAMES, conclusions

Numbers = Mapping[str, Any]

WIDTH = 116
# Of a body part; below, the card warns. MURA has the fewest of the humerus, 592.
MIN_TRAIN_STUDIES = 500
AGGREGATIONS = {
    "mean_probability": "the mean of the probabilities of its views",
    "mean_logit": "the sigmoid of the mean of the logits of its views",
    "max": "the highest probability among its views",
    "noisy_or": "1 minus the product of (1 - probability) over its views",
}
RULES = {
    "half": "0.5, chosen beforehand",
    "youden": "the one with the highest Youden's J (sensitivity + specificity - 1) on val",
    "kappa": "the one with the highest Cohen's kappa on val",
    "sensitivity": "the highest one with a sensitivity of at least {min_sensitivity:g} on val",
}
PERFORMANCE = {
    "above_chance": "Better than chance on test",
    "no_better_than_chance": "No better than chance on test",
    "below_chance": "Worse than chance on test",
    "too_few": "Tested on too few studies to tell whether it is better than chance",
}
FITS = {
    "pad": "scaled to fit and padded with black",
    "stretch": "stretched",
}
# Of all studies, and of each body part.
SCORES = ("auroc", "kappa", "recall", "specificity", "precision", "accuracy")
PART_SCORES = ("auroc", "kappa", "recall", "specificity")


def model_card(record: Numbers) -> str:
    """Write the card of a bundle, from its record as `bundle.json` holds it.

    Lines of text are at most `WIDTH` characters long.
    """
    study = record["performance"]["study"]
    claim = PERFORMANCE[study["conclusion"]]
    if study["auroc"] is not None:
        auroc, kappa = conclusions.ci(study, "auroc"), _ci(study, "kappa")
        claim = f"{claim}: AUROC {auroc}, Cohen's kappa {kappa}"
    blocks = [
        f"# {record['title']}: abnormal or normal bone radiographs",
        _text(
            "**Research software, not a medical device, not for clinical use.** No decision about "
            f"a person may rest on it. {claim}.",
            "> ",
            "> ",
        ),
        "## What it does",
        _text(_purpose(record)),
        "## How to use it",
        "In a copy of ulna's repository, with this folder or its zip in place of `BUNDLE`:",
        "```console\n$ pip install .\n$ ulna predict --bundle BUNDLE radiographs/\n```",
        _text(
            "`radiographs/` holds PNG, JPEG or DICOM files; a folder of images is one "
            "study. `docs/predict.md` there says more."
        ),
        "## What it was trained on",
        _text(_data(record)),
        _parts_trained(record),
        "## Results on the test split",
        _text(
            f"{study['n']:,} studies of {study['patients']:,} patients, "
            f"{study['abnormal']:,} of them abnormal. These patients were kept apart from "
            "training, and from val, on which thresholds are chosen. In parentheses 95% "
            "intervals over patients, which take network and threshold as given. "
            f"{conclusions.found_and_false(study)}"
        ),
        _table(["", "all studies"], [[METRIC_NAMES[key], _ci(study, key)] for key in SCORES]),
        "By body part:",
        _parts_tested(record),
        "What it finds and misses:",
        _text(conclusions.by_finding(record["performance"]["by_finding"])),
        *_findings(record),
        "## Threshold",
        _text(_threshold(record)),
        *_thresholds(record),
        "## Calibration",
        _text(_calibration(record)),
        "## Maps",
        *[_text(network["saliency"]) for network in record["networks"]],
        "## Known failures and limits",
        "\n".join(_text(limit, "- ", "  ") for limit in _limits(record)),
        "## How it was made",
        _text(_making(record)),
        _files(record),
    ]
    return "\n\n".join(blocks) + "\n"


def _purpose(record: Numbers) -> str:
    image, networks = record["image"], record["networks"]
    members = ", ".join(network["title"] for network in networks)
    combined = ""
    if len(networks) > 1:
        combined = f"{len(networks)} networks ({members}) score each view; their mean counts. "
    return (
        "It gives the probability that a radiographic study, one or more views of a body part of "
        f"one person, is abnormal. {record['label']['meaning']} It does not say what is wrong. "
        "Intended use: research on such classifiers and their limits. Not intended: diagnosis, "
        "triage, or reassurance; nor images other than plain radiographs, such as CT. "
        f"{combined}Each view is made grey, {FITS[image['fit']]} to {image['size_px']} x "
        f"{image['size_px']} pixels; finer detail is lost. The probability of a study is "
        f"{AGGREGATIONS[record['aggregation']]}."
    )


def _data(record: Numbers) -> str:
    data = record["data"]
    if data["synthetic"]:
        return (
            "The phantom of ulna: drawings of bones, with drawn findings, no real radiograph. "
            f"{data['licence']} **Numbers on real radiographs mean nothing.**"
        )
    return f"The data set {data['root']}. {data['licence']}"


def _parts_trained(record: Numbers) -> str:
    keys = ("train_studies", "train_abnormal", "train_images")
    rows = [
        [part, *(f"{counts[key]:,}" for key in keys)]
        for part, counts in record["body_parts"].items()
    ]
    return _table(["body part", "studies", "of them abnormal", "images"], rows)


def _parts_tested(record: Numbers) -> str:
    rows = [
        [part, f"{row['n']:,} ({row['abnormal']:,})", *(_ci(row, key, 2) for key in PART_SCORES)]
        for part, row in record["performance"]["by_body_part"].items()
    ]
    names = [METRIC_NAMES[key] for key in PART_SCORES]
    return _table(["body part", "studies (abnormal)", *names], rows)


def _findings(record: Numbers) -> list[str]:
    rows = [
        [name.replace("_", " "), f"{row['studies']:,}", f"{row['found']:,}",
         _ci(row, "sensitivity", 2)]
        for name, row in (record["performance"]["by_finding"] or {}).items()
    ]  # fmt: skip
    return [_table(["finding", "studies", "found", "sensitivity"], rows)] if rows else []


def _threshold(record: Numbers) -> str:
    chosen = record["threshold"]
    rule = RULES[chosen["rule"]].format(**chosen)
    val = f"{chosen['val_studies']:,} studies, {chosen['val_abnormal']:,} abnormal"
    text = (
        f"A study is called abnormal if its probability is above {chosen['study']:.4f}: {rule} "
        f"({val}), never on test."
    )
    if chosen["by_body_part"]:
        text += (
            " A body part of the table below has its own, shrunk towards that one; others have "
            "that one."
        )
    return text + (
        " Another threshold may suit another purpose; choose it on labelled studies of your own."
    )


def _thresholds(record: Numbers) -> list[str]:
    own = record["threshold"]["by_body_part"]
    rows = [[part, f"{threshold:.4f}"] for part, threshold in own.items()]
    return [_table(["body part", "threshold"], rows)] if rows else []


def _calibration(record: Numbers) -> str:
    calibration = record["calibration"]
    temperature = calibration["temperature"]
    scaling = (
        "No temperature was fitted."
        if temperature is None
        else f"The temperature fitted on val is {temperature:.3f}; neither the probabilities shown "
        "nor the decision use it."
    )
    return f"{calibration['sentence']} {scaling}"


def _limits(record: Numbers) -> list[str]:
    study, data = record["performance"]["study"], record["data"]
    parts = ", ".join(record["body_parts"])
    few = [
        part
        for part, counts in record["body_parts"].items()
        if counts["train_studies"] < MIN_TRAIN_STUDIES
    ]
    weak = [
        part
        for part, row in record["performance"]["by_body_part"].items()
        if row["auroc_low"] is None or row["auroc_low"] <= 0.5
    ]
    limits = []
    if data["synthetic"]:
        limits.append(
            "It has never seen a real radiograph. What it says of one is noise, however sure the "
            "probability looks."
        )
    if study["conclusion"] != "above_chance":
        limits.append("It is not shown to be better than chance: do not use it.")
    limits.append(
        f"Other body parts than {parts} were not trained on; predictions of them mean nothing."
    )
    if few:
        named = "every body part" if few == list(record["body_parts"]) else ", ".join(few)
        limits.append(f"Trained on few studies, under {MIN_TRAIN_STUDIES}, of {named}.")
    if weak:
        limits.append(f"Not shown to be better than chance on {', '.join(weak)}.")
    missed = study["abnormal"] - study["true_positives"]
    limits.append(
        f"It misses abnormal studies: {missed:,} of {study['abnormal']:,} on test. A study that it "
        "calls normal may be abnormal."
    )
    limits.append(
        f"{_share(study)} of the test studies are abnormal. Where fewer are, more of its alarms "
        "are false, and its probabilities tend to be too high."
    )
    limits += [
        "Inverted images (bone dark on a light ground) may be classified wrongly: `ulna predict` "
        "warns of them, but cannot notice all.",
        "Markers, letters, collimation and the make of the detector can sway it. Other hospitals, "
        "devices and age groups than those of the training data were not tested.",
        "It reads each view by itself: no earlier study, no report, no side, no age.",
    ]
    return limits


def _making(record: Numbers) -> str:
    conversions = [network["conversion"] for network in record["networks"]]
    logits = [each["max_logit_difference"] for each in conversions]
    off = "" if None in logits else f", off by up to {max(logits):.1e} in the logit"
    mixed = sorted({each["mixed_precision"] for each in conversions} - {"none"})
    precision = (
        f" Trained in mixed precision ({', '.join(mixed)}); the ONNX files compute in float32, "
        "so they differ from the scores above in the last digits."
        if mixed
        else ""
    )
    machine = record["environment"] or {}
    software = ", ".join(
        f"{name} {machine[key]}"
        for name, key in (("TensorFlow", "tensorflow"), ("Keras", "keras"), ("NumPy", "numpy"))
        if machine.get(key)
    )
    trained = (
        f" Trained with {software}, on {machine.get('device')} ({machine.get('cpu')}, fingerprint "
        f"{machine.get('fingerprint')})."
        if software
        else " The machines of the trainings differ, or are not known."
    )
    return (
        f"Made by ulna {record['ulna_version']}. The ONNX files compute what Keras computed{off}, "
        f"on {max(each['images'] for each in conversions):,} images.{precision}{trained} The "
        f"patients and images of val and test have the SHA-256 {record['data']['split_sha256']}. "
        "`bundle.json` holds these numbers with more digits, and the SHA-256 of each file."
    )


def _files(record: Numbers) -> str:
    rows = [["`bundle.json`", "all numbers, thresholds and hashes"]]
    for network in record["networks"]:
        rows.append([f"`{network['model']}`", f"{network['title']}: pixels to logit"])
        if network["maps"]:
            rows.append([f"`{network['maps']}`", f"{network['title']}: pixels to logit and map"])
    return _table(["file", "what it holds"], rows)


def _share(study: Numbers) -> str:
    return f"{study['abnormal'] / study['n']:.0%}" if study["n"] else "None"


def _ci(row: Numbers, key: str, digits: int = 3) -> str:
    shown = conclusions.ci(row, key, digits).replace("95% CI ", "")
    return "too few" if shown == conclusions.UNDEFINED else shown


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(text: str, first: str = "", rest: str = "") -> str:
    """Break text into lines; the first begins with `first`, others with `rest`."""
    wrapper = textwrap.TextWrapper(
        WIDTH, first, rest, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(text)
