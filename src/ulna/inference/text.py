"""The text of a prediction: sentences of its codes, and its lines.

From the records of `ulna.inference.outputs` and of a bundle alone.
"""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ulna.core import first_ten

DISCLAIMER = "For research; not a medical device."
COLUMNS = 120  # of the text

# Code -> its sentence.
WARNINGS = {
    "body_part_unknown": "The body part is unknown, so the overall threshold is used; --body-part "
    "names it.",
    "body_part_not_trained": "The network was not trained on this body part.",
    "maybe_inverted": "A view may be inverted: the network was trained on bright bone before a "
    "dark background.",
    "unlike_training_images": "A view is unlike the training images, so its probability may mean "
    "nothing.",
    "refused_views": "Not every view could be read; the probability is that of the others.",
    "mixed_dicom_studies": "The DICOM headers say that these views are of more than one study.",
    "for_processing": "A view is a DICOM image for processing, which is not meant to be looked at.",
    "many_views": "More than 20 views are more likely those of several studies; the probability is "
    "that of all of them together.",
}
# With one of these the decision is not to be used, and that stands beside it.
UNRELIABLE = frozenset({"body_part_not_trained", "maybe_inverted", "unlike_training_images"})
# By the conclusion on a network's AUROC; of one that is better than chance its number says enough.
CHANCE = {
    "no_better_than_chance": "No better than chance",
    "below_chance": "Worse than chance",
    "too_few": "Too few studies to tell whether it is better than chance",
}
# By the code of `ulna.evaluation.calibration`, in short.
CALIBRATION = {
    "calibrated": "calibrated only after temperature scaling, which is not applied",
    "not_calibrated": "not calibrated",
    "harmful": "not shown to be calibrated",
    "not_shown_too_few": "not shown to be calibrated (too few test studies)",
    "not_shown_few_val": "not shown to be calibrated (too few val studies)",
    "not_shown_no_discrimination": "not calibrated, they do not discriminate",
}
# Code -> its name in a list of studies, one line each.
SHORT = {
    "body_part_unknown": "body part unknown",
    "body_part_not_trained": "not trained on this part",
    "maybe_inverted": "may be inverted",
    "unlike_training_images": "unlike the training images",
    "refused_views": "a view refused",
    "mixed_dicom_studies": "more than one DICOM study",
    "for_processing": "for processing",
    "many_views": "many views",
}


def printable(text: str) -> str:
    r"""Escape what would move a terminal's cursor, break a line or is no text.

    Example:
        >>> printable("a\nb\x1b[2Jé")
        'a\\nb\\x1b[2Jé'
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def describe_rule(threshold: Mapping[str, Any]) -> str:
    """Describe how the threshold of a bundle was chosen.

    Example:
        >>> describe_rule({"rule": "youden", "val_studies": 107})
        "Youden's J on 107 val studies"
    """
    rule = threshold["rule"]
    if rule == "half":
        return "0.5 for any data"
    share = f"at least {threshold.get('min_sensitivity') or 0:.0%} sensitivity"
    name = {"youden": "Youden's J", "kappa": "Cohen's kappa", "sensitivity": share}[rule]
    return f"{name} on {threshold['val_studies']:,} val studies"


def describe_training(record: Mapping[str, Any]) -> str:
    """Describe the training images of a bundle."""
    studies = sum(part["train_studies"] for part in record["body_parts"].values())
    if record["data"]["synthetic"]:
        return f"{studies:,} drawn studies: its answers on real radiographs mean nothing"
    return f"{studies:,} studies of {record['data']['root']}"


def describe_performance(record: Mapping[str, Any]) -> str:
    """Describe the scores of a bundle on its test split."""
    scores = record["performance"]["study"]
    where = f"on its {scores['n']:,} test studies"
    auroc = f"AUROC {with_interval(scores, 'auroc')}"
    claim = CHANCE.get(scores["conclusion"])
    if claim is not None:
        return f"{claim} {where}: {auroc}"
    return (
        f"{where.capitalize()}: {auroc}, sensitivity {with_interval(scores, 'recall')}, "
        f"specificity {with_interval(scores, 'specificity')}"
    )


def with_interval(scores: Mapping[str, Any], name: str) -> str:
    """A number to two decimals with its 95% interval.

    Example:
        >>> with_interval({"auroc": 0.827, "auroc_low": 0.752, "auroc_high": 0.892}, "auroc")
        '0.83 (0.75 to 0.89)'
        >>> with_interval({"auroc": None, "auroc_low": None, "auroc_high": None}, "auroc")
        'too few'
    """
    values = [scores[key] for key in (name, f"{name}_low", f"{name}_high")]
    if None in values:
        return "too few"
    value, low, high = (f"{each:.2f}" for each in values)
    return f"{value} ({low} to {high})"


def bundle_lines(record: Mapping[str, Any], sha256: str, origin: str, source: str) -> list[str]:
    """The head of the text: which bundle, trained on what, how good, what its numbers mean.

    Args:
        record: That of the bundle.
        sha256: That of the bundle.
        origin: Where it comes from, in words.
        source: Its path.
    """
    default = "not shown to be calibrated"
    calibration = CALIBRATION.get(record["calibration"]["conclusion"], default)
    lines = [
        f"{record['title']}, {origin}, trained on {describe_training(record)}",
        describe_performance(record),
        f"Abnormal is any finding, not a fracture alone. Probabilities: {calibration}",
        f"More: MODEL_CARD.md in {source} (bundle {sha256[:12]})",
    ]
    # A bundle may be a stranger's.
    return [
        each
        for line in map(printable, lines)
        for each in textwrap.wrap(line, COLUMNS, subsequent_indent="  ")
    ]


def decide(record: Mapping[str, Any]) -> str:
    """The decision on a study, and whether it is reliable.

    Example:
        >>> decide({"decision": "normal", "warnings": [{"code": "body_part_not_trained"}]})
        'normal, unreliable'
    """
    if record["decision"] is None:
        return "no answer"
    codes = {warning["code"] for warning in record["warnings"]}
    return f"{record['decision']}{', unreliable' * bool(codes & UNRELIABLE)}"


def study_lines(record: Mapping[str, Any], rule: str) -> list[str]:
    """A study in full: decision, threshold, warnings, views."""
    part = f" ({record['body_part']})" if record["body_part"] else ""
    lines = [f"{printable(record['study'])}{part}"]
    if record["decision"] is None:
        lines.append("  no answer: no view could be read")
    else:
        probability, threshold = format_pair(record["probability"], record["threshold"])
        side = "above" if record["probability"] > record["threshold"] else "not above"
        lines.append(
            f"  {decide(record).upper()}  probability {probability}, {side} the threshold "
            f"{threshold} ({rule})"
        )
    for warning in record["warnings"]:
        lines += textwrap.wrap(
            f"Warning: {warning['sentence']}",
            COLUMNS,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    lines += [
        f"  {view['probability']:.3f}  {_shorten(relative(view['image'], record['study']), 70)}"
        f"{marks(view['warnings'])}"
        for view in record["views"]
    ]
    lines += [
        f"  refused  {_shorten(relative(each['image'], record['study']), 60)}: {each['reason']}"
        for each in record["refused"]
    ]
    return lines


def study_line(record: Mapping[str, Any]) -> str:
    """A study in one line of at most `COLUMNS` characters."""
    if record["decision"] is None:
        head = "no answer"
    else:
        probability, threshold = format_pair(record["probability"], record["threshold"])
        sign = ">" if record["probability"] > record["threshold"] else "<="
        head = f"{record['decision']:<9} {probability} {sign:>2} {threshold}"
    views = len(record["views"])
    views_text = f"{views} view{'s' * (views != 1)}"
    head = f"{head:<24} {record['body_part'] or '-':<9} {views_text:<8}"
    tail = marks([each["code"] for each in record["warnings"]])
    room = max(COLUMNS - len(head) - len(tail) - 1, 20)
    return f"{head} {_shorten(record['study'], room)}{tail}"[:COLUMNS]


def marks(codes: Sequence[str]) -> str:
    """The short names of warnings, to stand behind a view or a study."""
    return f"  [{', '.join(SHORT[code] for code in codes)}]" if codes else ""


def summary_lines(
    answered: int,
    positive: int,
    refused: int,
    first_refused: Sequence[str],
    warned: Mapping[str, int],
) -> list[str]:
    """The end of the text: how many studies were answered, positive and warned of.

    Args:
        answered: Studies.
        positive: Of them.
        refused: Files.
        first_refused: The first of these, each with its reason; none, if they have been shown.
        warned: Code of a warning -> studies that have it; none, if they have been shown.
    """
    files = "1 file" if refused == 1 else f"{refused:,} files"
    studies = "1 study" if answered == 1 else f"{answered:,} studies"
    lines = [f"{studies} answered, {positive:,} abnormal; {files} refused"]
    if first_refused:
        more = [""] * (refused - len(first_refused))
        lines[-1] += ":"
        lines += [f"  {line}" for line in first_ten([*first_refused, *more]).split("\n")]
    if warned:
        most_first = sorted(warned.items(), key=lambda item: (-item[1], item[0]))
        counts = ", ".join(f"{count:,} {SHORT[code]}" for code, count in most_first)
        lines += textwrap.wrap(f"Warnings: {counts}", COLUMNS, subsequent_indent="  ")
    return lines


def format_pair(probability: float, threshold: float) -> tuple[str, str]:
    """Both numbers to three decimals, or to as many as tell them apart.

    Example:
        >>> format_pair(0.61234, 0.39925), format_pair(0.39931, 0.39925)
        (('0.612', '0.399'), ('0.3993', '0.3992'))
    """
    digits = next(
        (
            digits
            for digits in range(3, 17)
            if probability == threshold or f"{probability:.{digits}f}" != f"{threshold:.{digits}f}"
        ),
        17,
    )
    return f"{probability:.{digits}f}", f"{threshold:.{digits}f}"


def relative(path: str, study: str) -> str:
    """The path of a view from the folder of its study, if it lies in it."""
    folder = study.rstrip(os.sep) + os.sep
    return os.path.basename(path) if path == study else path.removeprefix(folder)


def _shorten(text: str, room: int) -> str:
    """Printable text of at most that many characters; what is cut off is its beginning."""
    text = printable(text)
    return text if len(text) <= room else f"…{text[len(text) - room + 1 :]}"


def reasons(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each file of a study that was refused: its path and the reason."""
    return (f"{printable(each['image'])}: {each['reason']}" for each in record["refused"])
