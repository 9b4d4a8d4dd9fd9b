"""Numbers and figures -> one self-contained HTML page, and a short Markdown for a pull request.

Nothing is computed here: what the page says stands in `metrics/` and `plots/`.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from ulna import paths
from ulna.figures.names import NETWORKS
from ulna.judging.reference import NOTE, OVERALL
from ulna.report import chapters, chapters_checks, chapters_training
from ulna.report.evidence import NOT_A_DEVICE, Evidence, in_words
from ulna.report.page import ABSENT, Answer, number, page, span

TITLE = "Abnormal or normal: neural networks on bone radiographs"
SYNTHETIC = "Synthetic radiographs, made by this pipeline: they show that it works, not how well."
CHANCE = 0.5  # AUROC


def html_report(evidence: Evidence) -> str:
    """The whole page."""
    return page(
        TITLE,
        lead(evidence),
        verdict(evidence),
        [
            chapters.data(evidence),
            chapters_training.training(evidence),
            chapters.results(evidence),
            chapters.body_parts(evidence),
            chapters.calibration(evidence),
            chapters.comparison(evidence),
            chapters_checks.transfer(evidence),
            chapters_checks.audit(evidence),
            chapters_checks.shortcuts(evidence),
            chapters_checks.maps(evidence),
            chapters_checks.failures(evidence),
            chapters_checks.limits(evidence),
            chapters_checks.provenance(evidence),
            chapters_checks.checklist(evidence),
        ],
    )


def lead(evidence: Evidence) -> str:
    """What was learnt from, and what the page is not."""
    data = f"Data: {evidence.root}."
    if evidence.root == paths.PHANTOM_ROOT.as_posix():
        data = f"{data} {SYNTHETIC}"
    return f"{data} {NOT_A_DEVICE}"


def verdict(evidence: Evidence) -> list[Answer]:
    """How good, how sure, compared with what, and what speaks against it, in a few sentences."""
    study = evidence.study
    published = evidence.reference.set_index(["reader", "body_part"])["kappa"]
    alarms = evidence.metrics["audit"]["findings"]
    occlusion = evidence.metrics["occlusion"]
    calibrated = (
        # Its first words; the chapter on calibration has the numbers that follow.
        f"{NETWORKS[arch]}: "
        f"{evidence.metrics[arch]['calibration']['verdict'].partition(':')[0].lower()}"
        for arch in evidence.networks
    )
    return [
        (
            "How good",
            [
                _how_good(NETWORKS[arch], evidence.metrics[arch]["study"])
                for arch in evidence.networks
            ],
        ),
        (
            "How sure",
            [
                f"{study['n']:,} test studies of {study['patients']:,} patients, "
                f"{study['abnormal']:,} of them abnormal. All numbers are per study; in brackets "
                f"stand 95% intervals over patients."
            ],
        ),
        (
            "Compared",
            [
                *(
                    in_words(evidence.metrics["compare"][f"{one}_vs_{other}"]["verdict"])
                    for one, other in combinations(evidence.networks, 2)
                ),
                f"Stanford's published model: kappa "
                f"{number(published['model', OVERALL])} ({NOTE}).",
            ],
        ),
        (
            "Doubts",
            [
                f"Shortcuts. {in_words(evidence.metrics['baselines']['verdict'])}",
                *(
                    [f"Where they look. {in_words(occlusion['verdict'])}"]
                    if occlusion["flag"]
                    else []
                ),
                f"Leaks. Copies of an image in two splits: {alarms['duplicate_across_splits']:,}; "
                f"with contradicting labels: {alarms['contradicting_duplicate']:,}.",
                f"Probabilities. {'; '.join(calibrated)}.",
            ],
        ),
    ]


def _how_good(name: str, study: Mapping[str, Any]) -> str:
    """A sentence on one network; whether it is better than chance is what its interval says."""
    auroc, kappa = span(study, "auroc"), span(study, "kappa")
    if auroc == ABSENT:
        return f"{name} cannot be judged: too few test studies."
    found = "cannot be told apart from chance"
    if study["auroc_low"] > CHANCE:
        found = "tells abnormal from normal better than chance"
    elif study["auroc_high"] < CHANCE:
        found = "is worse than chance"
    return f"{name} {found}: AUROC {auroc}, Cohen's kappa {kappa}."


def markdown_report(evidence: Evidence) -> str:
    """The verdict, the headline table, the differences and what the audit found."""
    study = evidence.study
    findings = evidence.metrics["audit"]["findings"]
    found = pd.DataFrame(
        [(name.replace("_", " "), number(int(count))) for name, count in findings.items() if count],
        columns=["finding of the audit", "rows"],
    )
    lines = [f"# {TITLE}", "", lead(evidence), ""]
    for question, sentences in verdict(evidence):
        lines += [f"**{question}.** {'<br>'.join(sentences)}", ""]
    lines += [
        "## Test set, per study",
        "",
        f"{study['n']:,} studies ({study['abnormal']:,} abnormal) of {study['patients']:,} "
        "patients; value (95% interval over patients).",
        "",
        *_markdown_table(chapters.score_frame(evidence, "study")),
        "",
        "## Differences, per study",
        "",
        *(f"- {in_words(row['verdict'])}" for row in chapters.pairs(evidence).values()),
        "",
        *_markdown_table(chapters.difference_frame(evidence)),
        "",
        "## Audit",
        "",
        *(_markdown_table(found) if len(found) else ["No finding."]),
        "",
        "Body parts, curves, calibration, maps, failures, limits and checklists: "
        "`plots/report.html`.",
        "",
    ]
    return "\n".join(lines)


def _markdown_table(frame: pd.DataFrame) -> list[str]:
    """Lines of a table: the first column names the rows, the others are numbers."""
    rows = [list(frame.columns), ["---", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    return [f"| {' | '.join(cells)} |" for cells in rows]
