"""The second part of the report: what speaks for and against the results. Numbers in, HTML out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ulna.checks.occlusion import SHOWN
from ulna.figures.names import BASELINES, NAMES
from ulna.judging import conclusions
from ulna.params import ARCHS
from ulna.report.evidence import NOT_A_DEVICE, Evidence
from ulna.report.page import (
    Section,
    bullets,
    details,
    linked_table,
    number,
    paragraph,
    picture,
    section,
    span,
    table,
)


def transfer(evidence: Evidence) -> Section:
    """Networks that saw some body parts, on all of them."""
    cells = evidence.tables["transfer"]
    rows = pd.DataFrame(
        [
            {
                "trained on": cell["trained_on"],
                "tested on": cell["tested_on"],
                "studies": number(int(cell["studies"])),
                "AUROC": span(cell, "auroc", 2),
                "kappa": span(cell, "kappa", 2),
            }
            for cell in cells.to_dict("records")
        ]
    )
    sentences = [
        conclusions.cross_part(sides, name) for name, sides in evidence.metrics["transfer"].items()
    ]
    return section(
        "transfer",
        "Trained on some body parts, tested on all",
        bullets(sentences),
        table(
            rows,
            "Per study of test; the threshold is from val of the parts that were learnt",
            ("tested on",),
        ),
        picture(
            evidence.figures,
            "transfer",
            "Heat map of AUROC and kappa, trained on by tested on; the table has the numbers.",
            "Trained on (rows), tested on (columns), per study.",
        ),
    )


def audit(evidence: Evidence) -> Section:
    """Odd images, copies, leaks."""
    audit = evidence.metrics["audit"]
    rows = pd.DataFrame(
        [
            {"finding": name.replace("_", " "), "rows": number(int(count))}
            for name, count in audit["findings"].items()
        ]
    )
    leaks = audit["findings"]["duplicate_across_splits"]
    clash = audit["findings"]["contradicting_duplicate"]
    return section(
        "audit",
        "Audit of the data",
        paragraph(
            f"{audit['images']:,} images of {audit['studies']:,} studies and "
            f"{audit['patients']:,} patients were read; {audit['set_aside']:,} could not be read "
            "and were set aside by name.",
            f"Copies in different splits: {leaks}. Copies with contradicting labels: {clash}. "
            "Every finding is listed by image in plots/audit/findings.csv.",
        ),
        table(rows, f"Findings among {audit['images']:,} images; an image can have several"),
        picture(
            evidence.figures,
            "audit",
            "Pictures of the edge cases that the table counts.",
            "Edge cases, by finding.",
        ),
    )


def shortcuts(evidence: Evidence) -> Section:
    """What is to be had without looking at bone."""
    found = evidence.metrics["baselines"]
    rows = pd.DataFrame(
        [
            {
                "baseline": title,
                "AUROC": span(found[name], "auroc"),
                "kappa": span(found[name], "kappa"),
                "alarm": "yes" if found[name]["flag"] else "no",
            }
            for name, title in BASELINES.items()
        ]
    )
    return section(
        "shortcuts",
        "Shortcuts: what can be predicted without looking at bone",
        paragraph(conclusions.baselines(found)),
        table(
            rows,
            f"Per study of test, n = {evidence.metrics['cnn']['study']['n']:,}; small "
            "models that see no bone, fitted on train",
            ("baseline",),
        ),
        picture(
            evidence.figures,
            "baselines",
            "AUROC of each baseline with its interval, beside the networks.",
            "AUROC of the baselines and of the networks, per study.",
        ),
        *_halves(evidence),
    )


def _halves(evidence: Evidence) -> tuple[str, ...]:
    """What the networks make of the frame and of the centre of pictures alone."""
    scores = evidence.tables["occlusion"].to_dict("records")
    rows = pd.DataFrame(
        [
            {
                "network": NAMES[score["network"]],
                "pictures": SHOWN[score["shown"]],
                "AUROC": span(score, "auroc"),
                "AUROC lost": span(score, "auroc_drop") if score["shown"] != "whole" else "",
                "kappa": span(score, "kappa"),
                "kappa lost": span(score, "kappa_drop") if score["shown"] != "whole" else "",
            }
            for score in scores
        ]
    )
    return (
        paragraph(
            "The networks themselves were shown the test pictures again, with the border (edges "
            "and corners) or the centre black: two halves of equal area.",
            conclusions.occlusion(evidence.metrics["occlusion"]),
            "An alarm: the border alone is above chance, and the centre alone is not better. A "
            "black half is unlike all that was learnt from, so a loss alone proves nothing.",
        ),
        table(
            rows,
            f"Halves, per study of test, n = {scores[0]['n']:,}; lost: whole picture minus this "
            "one, of the same patients; thresholds are from whole pictures of val",
            ("pictures",),
        ),
        picture(
            evidence.figures,
            "occlusion",
            "AUROC and kappa of each network by whole pictures and by each half, beside a picture "
            "with nothing, its frame and its centre hidden; the table has the numbers.",
            f"Whole pictures and halves of them, per study of test, n = {scores[0]['n']:,}.",
        ),
    )


def maps(evidence: Evidence) -> Section:
    """Class activation maps, if they may be shown."""
    pieces = []
    for arch in ARCHS:
        found = evidence.metrics[f"explain_{arch}"]
        passed = found["randomisation"]["passed"]
        falls = ", ".join(
            f"{layer} {number(value, 2)}"
            for layer, value in found["randomisation"]["rank_correlation"].items()
        )
        pieces.append(
            paragraph(
                conclusions.randomization(found["randomisation"], arch),
                f"Rank correlation once these layers, from the top down, are random: {falls}.",
                ""
                if passed
                else "They would look the same without what was learnt, and are not shown.",
                conclusions.localization(found["localisation"]),
            )
        )
        pieces.append(
            picture(
                evidence.figures,
                f"{arch}/saliency",
                f"Class activation maps of {NAMES[arch]} over "
                "test images, the surest right and wrong calls of each body part.",
                f"{NAMES[arch]}: where it looks, by outcome and body part.",
            )
        )
    return section("maps", "Where the networks look", *pieces)


def failures(evidence: Evidence) -> Section:
    """The surest wrong calls."""
    pieces = []
    for arch in ARCHS:
        listed = evidence.tables[f"{arch}/disagreements"].head(8)
        rows = pd.DataFrame(
            {
                "study": listed["study"],
                "split": listed["split"],
                "label": listed["label"].map({0: "normal", 1: "abnormal"}),
                "probability": [number(value) for value in listed["probability"]],
            }
        )
        words = ("study", "split", "label")
        pieces.append(table(rows, f"{NAMES[arch]}: the surest wrong calls", words))
    return section(
        "failures",
        "Failures, or wrong labels",
        paragraph(
            "The studies whose label a network contradicts most surely. Either it is wrong or the "
            "label is: a list for a reader to review. All of it: plots/<network>/disagreements.csv."
        ),
        *pieces,
        picture(
            evidence.figures,
            "disagreements",
            "Pictures of the studies in the tables.",
            "First views of those studies.",
        ),
    )


def limits(evidence: Evidence) -> Section:
    """What the numbers do not say."""
    n = evidence.metrics["cnn"]["study"]
    return section(
        "limits",
        "Limits",
        bullets(
            [
                NOT_A_DEVICE,
                "Intended use: to learn and to compare methods on a public data set. Whether a "
                "network helps a reader, or a patient, is not studied here.",
                f"The test set has {n['n']:,} studies of {n['patients']:,} patients, as many as "
                "the data give; no sample size was planned.",
                "Intervals are over patients of this test set: another hospital, another device "
                "or another seed of training is not in them.",
                "Where no call of a group is wrong, resampling has nothing to vary: the interval "
                "is then the exact one of Clopper and Pearson, for as many patients.",
                "The networks were tested on the data set that they come from, on no other.",
                "Labels are taken as the truth, as there are no others. In MURA they come from one "
                "report each; for degenerative joint disease their sensitivity was 60% in a "
                "re-read.",
                "Abnormal is one class: fracture, hardware, degeneration and lesion are not told "
                "apart, and nothing says how urgent a finding is.",
                "Published results stand on another test set and gold standard: they are marks "
                "for orientation, no rivals.",
            ]
        ),
    )


def say_environment(record: Mapping[str, Any] | None) -> str:
    """One line of what `ulna.environment.describe` found; `unknown` where nothing did.

    Example:
        >>> say_environment(None)
        'unknown'
    """
    if record is None:
        return "unknown"
    return (
        f"class {record['fingerprint']}: {record['system']} {record['machine']}, {record['device']}"
        f", processor {record['cpu']} ({record['vectors']}), {record['threads']} threads, oneDNN "
        f"{'on' if record['onednn'] else 'off'}, TensorFlow {record['tensorflow']}, Keras "
        f"{record['keras']}, NumPy {record['numpy']}"
    )


def provenance(evidence: Evidence) -> Section:
    """Hashes, versions and parameters."""
    rows = [
        {
            "what": f"weights of {NAMES[arch]}, SHA-256",
            "value": evidence.metrics[arch]["model_sha256"],
        }
        for arch in ARCHS
    ]
    rows.append(
        {"what": "split (val and test), SHA-256", "value": evidence.metrics["cnn"]["split_sha256"]}
    )
    rows += [
        {
            "what": f"{NAMES[arch]} trained on",
            "value": say_environment(evidence.metrics[arch].get("environment")),
        }
        for arch in ARCHS
    ]
    rows += [{"what": name, "value": version} for name, version in evidence.versions.items()]
    return section(
        "provenance",
        "Provenance",
        paragraph(
            "dvc.lock names every file that these numbers come from by its hash; dvc repro makes "
            "them again."
        ),
        table(pd.DataFrame(rows), "Hashes and versions", ("value",)),
        details("params.yaml", evidence.params),
    )


def checklist(evidence: Evidence) -> Section:
    """Reporting guidelines, item by item."""
    return section(
        "checklist",
        "Reporting checklists",
        paragraph("CLAIM 2024 and TRIPOD+AI, item by item; topics in our words."),
        linked_table(
            evidence.checklist[["guideline", "item", "topic", "place", "note"]],
            "Where the report answers, or why an item is not applicable",
            link="place",
        ),
    )
