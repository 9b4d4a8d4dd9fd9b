"""The report as one self-contained HTML page, and as short Markdown for a pull request.

Nothing is computed here: every number is from `metrics/` and `plots/`.
"""

import pandas as pd

from ulna.evaluation import conclusions
from ulna.evaluation.conclusions import REFERENCE_NOTE
from ulna.report import sections
from ulna.report.html import number, page
from ulna.report.sections import NOT_A_DEVICE, ReportData

TITLE = "Abnormal or normal: neural networks on bone radiographs"
SECTIONS = (
    *(sections.data_section, sections.training, sections.results, sections.body_parts),
    *(sections.calibration, sections.comparison, sections.cross_part, sections.audit),
    *(sections.shortcuts, sections.maps, sections.failures, sections.limits, sections.provenance),
)
SYNTHETIC = "Synthetic radiographs, made by this pipeline: they show that it runs, not how well."


def html_report(data: ReportData) -> str:
    """The report as an HTML document."""
    parts = [section(data) for section in SECTIONS]
    return page(TITLE, lead(data), summary(data), [*parts, sections.checklist()])


def lead(data: ReportData) -> str:
    """The data set, and the disclaimer."""
    synthetic = f" {SYNTHETIC}" if data.synthetic else ""
    return f"Data: {data.root}.{synthetic} {NOT_A_DEVICE}"


def summary(data: ReportData) -> dict[str, list[str]]:
    """Performance, comparison and limitations in a few sentences."""
    study, networks, metrics = data.test, data.networks, data.metrics
    published = data.reference.set_index(["reader", "body_part"])["kappa"]["model", "overall"]
    findings, occlusion = metrics["audit"]["findings"], metrics["occlusion"]
    # The section on calibration has the reasons.
    calibrated = [
        conclusions.calibration_in_short(metrics[arch]["calibration"], arch) for arch in networks
    ]
    alarm = [f"Occlusion. {conclusions.occlusion(occlusion)}"] if occlusion["flag"] else []
    return {
        "Performance": [conclusions.performance(metrics[arch]["study"], arch) for arch in networks],
        "Test set": [
            f"{study['n']:,} test studies of {study['patients']:,} patients, "
            f"{study['abnormal']:,} of them abnormal. All numbers are per study; in brackets: "
            "95% intervals over patients."
        ],
        "Comparison": [
            *sections.compared(data, networks),
            f"Stanford's published model: kappa {number(published)} ({REFERENCE_NOTE}).",
        ],
        "Limitations": [
            f"Shortcuts. {conclusions.baselines(metrics['baselines'])}",
            *alarm,
            f"Leaks. Duplicates across splits: {findings['duplicate_across_splits']:,}; with "
            f"conflicting labels: {findings['duplicate_label_conflict']:,}.",
            f"Probabilities. {' '.join(calibrated)}",
        ],
    }


def markdown_report(data: ReportData) -> str:
    """The summary, the headline table, the differences and the findings of the audit."""
    study = data.test
    findings = sections.finding_frame(data, only_found=True)
    lines = [f"# {TITLE}", "", lead(data), ""]
    for heading, sentences in summary(data).items():
        lines += [f"**{heading}.** {'<br>'.join(sentences)}", ""]
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
        *(_markdown_table(findings) if len(findings) else ["No finding."]),
        "",
        "Body parts, curves, calibration, maps, errors, limits and checklists: "
        "`plots/report.html`.",
        "",
    ]
    return "\n".join(lines)


def _markdown_table(frame: pd.DataFrame) -> list[str]:
    rows = [list(frame.columns), ["---", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    return [f"| {' | '.join(cells)} |" for cells in rows]
