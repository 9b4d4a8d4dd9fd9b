"""Numbers and figures -> one self-contained HTML page, and a short Markdown for a pull request.

Nothing is computed here: what the page says stands in `metrics/` and `plots/`.
"""

from ulna.judging.reference import NOTE, OVERALL
from ulna.report import chapters, chapters_checks
from ulna.report.evidence import METRICS, NAMES, NOT_A_DEVICE, Evidence, in_words
from ulna.report.page import number, page, span

TITLE = "Abnormal or normal: bone radiographs"


def html_report(evidence: Evidence) -> str:
    """The whole page."""
    return page(
        TITLE,
        f"Data: {evidence.root}. {NOT_A_DEVICE}",
        verdict(evidence),
        [
            chapters.data(evidence),
            chapters.training(evidence),
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


def verdict(evidence: Evidence) -> list[str]:
    """How good, how sure, compared with what: a few sentences."""
    sentences = []
    for arch in ("cnn", "densenet169"):
        study = evidence.metrics[arch]["study"]
        sentences.append(
            f"{NAMES[arch]}: AUROC {span(study, 'auroc')}, Cohen's kappa {span(study, 'kappa')} "
            f"per study; {study['n']:,} test studies of {study['patients']:,} patients, "
            f"{study['abnormal']:,} abnormal; 95% intervals over patients."
        )
    sentences.append(in_words(evidence.metrics["compare"]["cnn_vs_densenet169"]["verdict"]))
    baselines = evidence.metrics["baselines"]
    sentences.append(baselines["verdict"])
    model = evidence.reference
    overall = model[(model["reader"] == "model") & (model["body_part"] == OVERALL)]["kappa"]
    sentences.append(
        f"Stanford's published model: kappa {number(float(overall.iloc[0]))} ({NOTE})."
    )
    return sentences


def markdown_report(evidence: Evidence) -> str:
    """The verdict and the headline table, for a pull request."""
    scores = {arch: evidence.metrics[arch]["study"] for arch in NAMES}
    lines = [f"# {TITLE}", "", *(f"- {sentence}" for sentence in verdict(evidence)), ""]
    lines += [
        f"| per study of test | {' | '.join(NAMES.values())} |",
        "|---|" + "---|" * len(NAMES),
        *(
            f"| {words} | {' | '.join(span(score, name) for score in scores.values())} |"
            for name, words in METRICS.items()
        ),
        "",
        f"{NOT_A_DEVICE} The whole report: `plots/report.html`.",
        "",
    ]
    return "\n".join(lines)
