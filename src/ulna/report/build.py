"""The report as one self-contained HTML page, and as short Markdown for a pull request.

Nothing is computed here: every number is from `metrics/` and `plots/`.
"""

import pandas as pd

from ulna.evaluation import NAMES
from ulna.report import background, reliability, results, verdict
from ulna.report.contents import ReportData, score_frame
from ulna.report.html import page

TITLE = "Abnormal or normal: neural networks on bone radiographs"
SECTIONS = (
    *(results.findings, results.results, results.comparison, results.body_parts),
    *(results.calibration, reliability.shortcuts, reliability.maps, reliability.audit),
    *(reliability.training, reliability.cross_part, background.data_section, background.limits),
    background.provenance,
)
SYNTHETIC = "Synthetic radiographs, made by this pipeline: they show that it runs, not how well."


def html_report(data: ReportData) -> str:
    """The report as an HTML document."""
    parts = [section(data) for section in SECTIONS]
    subject = f"{NAMES[data.best]}, per study of the test set, with 95% intervals"
    if data.metrics[data.best]["study"]["conclusion"] == "too_few":
        subject += ": too few studies to tell how good it is"
    return page(TITLE, lead(data), subject, verdict.tiles(data), verdict.answers(data), parts)


def lead(data: ReportData) -> str:
    """The data set, and the disclaimer."""
    synthetic = f" {SYNTHETIC}" if data.synthetic else ""
    return f"Data: {data.root}.{synthetic} {background.NOT_A_DEVICE}"


def markdown_report(data: ReportData) -> str:
    """The answers, the headline table, the differences and the findings of the audit."""
    study = data.test
    findings = reliability.finding_frame(data, only_found=True)
    lines = [f"# {TITLE}", "", lead(data), ""]
    for question, sentences in verdict.answers(data).items():
        lines += [f"**{question}** {'<br>'.join(sentences)}", ""]
    lines += [
        "## Test set, per study",
        "",
        f"{study['n']:,} studies ({study['abnormal']:,} abnormal) of {study['patients']:,} "
        "patients; value (95% interval over patients).",
        "",
        *_markdown_table(score_frame(data, "study")),
        "",
        "## Differences, per study",
        "",
        *(f"- {sentence}" for sentence in results.compared(data)),
        "",
        *_markdown_table(results.difference_frame(data)),
        "",
        "## Audit",
        "",
        *(_markdown_table(findings) if len(findings) else ["No finding."]),
        "",
        "Pictures of what is missed, body parts, curves, calibration, maps, limits and checklists: "
        "`plots/report.html`.",
        "",
    ]
    return "\n".join(lines)


def _markdown_table(frame: pd.DataFrame) -> list[str]:
    rows = [list(frame.columns), ["---", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    return [f"| {' | '.join(cells)} |" for cells in rows]
