"""Numbers and figures -> one self-contained HTML page, and a short Markdown for a pull request.

Nothing is computed here: what the page says stands in `metrics/` and `plots/`.
"""

import pandas as pd

from ulna.core import paths
from ulna.evaluation import conclusions
from ulna.evaluation.comparison import OVERALL, REFERENCE_NOTE, read_reference
from ulna.report import sections
from ulna.report.html import Answer, number, page
from ulna.report.sections import NOT_A_DEVICE, ReportData

TITLE = "Abnormal or normal: neural networks on bone radiographs"
SYNTHETIC = "Synthetic radiographs, made by this pipeline: they show that it works, not how well."


def html_report(data: ReportData) -> str:
    """The whole page."""
    return page(
        TITLE,
        lead(data),
        verdict(data),
        [
            sections.data_section(data),
            sections.training(data),
            sections.results(data),
            sections.body_parts(data),
            sections.calibration(data),
            sections.comparison(data),
            sections.transfer(data),
            sections.audit(data),
            sections.shortcuts(data),
            sections.maps(data),
            sections.failures(data),
            sections.limits(data),
            sections.provenance(data),
            sections.checklist(),
        ],
    )


def lead(data: ReportData) -> str:
    """The data, and what the page is not."""
    words = f"Data: {data.root}."
    if data.root == paths.PHANTOM_ROOT.as_posix():
        words = f"{words} {SYNTHETIC}"
    return f"{words} {NOT_A_DEVICE}"


def verdict(data: ReportData) -> list[Answer]:
    """How good, how sure, compared with what, and what speaks against it, in a few sentences."""
    study, networks = data.test, data.networks
    published = read_reference().set_index(["reader", "body_part"])["kappa"]
    alarms = data.metrics["audit"]["findings"]
    occlusion = data.metrics["occlusion"]
    # The section on calibration has the reasons.
    calibrated = (
        conclusions.calibration_in_short(data.metrics[arch]["calibration"], arch)
        for arch in networks
    )
    looks = [f"Where they look. {conclusions.occlusion(occlusion)}"] if occlusion["flag"] else []
    return [
        (
            "How good",
            [conclusions.performance(data.metrics[arch]["study"], arch) for arch in networks],
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
                *sections.compared(data, networks),
                f"Stanford's published model: kappa "
                f"{number(published['model', OVERALL])} ({REFERENCE_NOTE}).",
            ],
        ),
        (
            "Doubts",
            [
                f"Shortcuts. {conclusions.baselines(data.metrics['baselines'])}",
                *looks,
                f"Leaks. Copies of an image in two splits: {alarms['duplicate_across_splits']:,}; "
                f"with contradicting labels: {alarms['duplicate_label_conflict']:,}.",
                f"Probabilities. {' '.join(calibrated)}",
            ],
        ),
    ]


def markdown_report(data: ReportData) -> str:
    """The verdict, the headline table, the differences and what the audit found."""
    study = data.test
    found = sections.finding_frame(data, only_found=True)
    found = found.rename(columns={"finding": "finding of the audit"})
    lines = [f"# {TITLE}", "", lead(data), ""]
    for question, sentences in verdict(data):
        lines += [f"**{question}.** {'<br>'.join(sentences)}", ""]
    lines += [
        "## Test set, per study",
        "",
        f"{study['n']:,} studies ({study['abnormal']:,} abnormal) of {study['patients']:,} "
        "patients; value (95% interval over patients).",
        "",
        *_markdown_table(sections.score_frame(data, "study")),
        "",
        "## Differences, per study",
        "",
        *(f"- {sentence}" for sentence in sections.compared(data, data.evaluated)),
        "",
        *_markdown_table(sections.difference_frame(data)),
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
