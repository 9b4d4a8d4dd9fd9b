"""Sections of the report on what the results rest on: data, limits, provenance, checklists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.evaluation import NAMES
from ulna.report.contents import LABELS, ReportData
from ulna.report.html import (
    Section,
    bullets,
    download,
    fold,
    number,
    paragraph,
    preformatted,
    section,
    subheading,
    table,
)

NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."
# Items of two reporting guidelines, topics in our words: the section of the page that answers each,
# or why it is not applicable. Tejani et al. 2024, Radiology: Artificial Intelligence 6(4), "CLAIM:
# 2024 Update"; Collins et al. 2024, BMJ 385, e078378, TRIPOD+AI.
CHECKLIST = Path(__file__).with_name("checklist.csv")


def data_section(data: ReportData) -> Section:
    """The data that the networks were trained and evaluated on."""
    sizes = data.tables["splits"].groupby(["split", "label"])[["studies", "images"]].sum()
    rows = sizes.reindex(["train", "val", "test"], level="split").reset_index()
    rows["label"] = rows["label"].map(LABELS)
    for unit in ("studies", "images"):
        rows[unit] = [number(int(n)) for n in rows[unit]]
    return section(
        "data",
        "Data",
        [
            paragraph(
                "A study is all images of one body part of a patient from one examination; it is "
                "labelled abnormal or normal. The labels are those of the data set's CSV files (in "
                "MURA, from one radiologist's report each), and are taken as the ground truth. The "
                "test set is the official valid; val is split off the official train. A patient is "
                "in one split only, over all body parts."
            )
        ],
        [
            table(rows, "Sizes of the splits", ("label",)),
            data.figure("splits"),
            data.figure("examples"),
        ],
    )


def limits(data: ReportData) -> Section:
    """Limits of validity."""
    return section(
        "limits",
        "Limits",
        [paragraph(NOT_A_DEVICE)],
        [
            bullets(
                [
                    "Intended use: to learn and to compare methods on a public data set. Whether a "
                    "network helps a reader, or a patient, is not studied here.",
                    f"The test set has {data.test['n']:,} studies of {data.test['patients']:,} "
                    "patients, as many as the data give; no sample size was planned.",
                    "Intervals are over patients of this test set: they leave out the variance "
                    "over hospitals, devices and training seeds, and of the threshold over val "
                    "sets.",
                    "In a group without an error the bootstrap has no variance: the interval is "
                    "then the exact one of Clopper and Pearson, with n patients.",
                    "There is no external validation: the networks were tested on their own data "
                    "set.",
                    "Labels are taken as the ground truth, as there is no other. In MURA they come "
                    "from one report each; for degenerative joint disease their sensitivity was "
                    "60% in a re-read.",
                    "Abnormal is one class: fracture, hardware, degeneration and lesion are not "
                    "distinguished, and there is no grade of urgency.",
                    "Published results are from another test set and gold standard: for "
                    "orientation, not for comparison.",
                ]
            )
        ],
    )


def describe_environment(record: Mapping[str, Any] | None) -> str:
    """Format what `ulna.core.provenance.describe` returns in one line; `unknown` without it."""
    if record is None:
        return "unknown"
    return (
        f"class {record['fingerprint']}: {record['system']} {record['machine']}, {record['device']}"
        f", processor {record['cpu']} ({record['vectors']}), {record['threads']} threads, oneDNN "
        f"{'on' if record['onednn'] else 'off'}, TensorFlow {record['tensorflow']}, Keras "
        f"{record['keras']}, NumPy {record['numpy']}"
    )


def provenance(data: ReportData) -> Section:
    """Hashes, versions, parameters and the reporting checklists."""
    metrics = {NAMES[arch]: data.metrics[arch] for arch in data.networks}
    rows = {f"weights of {name}, SHA-256": m["model_sha256"] for name, m in metrics.items()}
    rows["split (val and test), SHA-256"] = data.metrics[data.networks[0]]["split_sha256"]
    rows |= {
        f"{name} trained on": describe_environment(m.get("environment"))
        for name, m in metrics.items()
    }
    return section(
        "provenance",
        "Provenance and checklists",
        [
            paragraph(
                "dvc.lock, in the commit that records this page, has the hash of every file that "
                "these numbers come from; dvc repro reproduces them. plots/tables/ has every table "
                "as CSV, metrics/details/ every number as JSON."
            ),
            download(
                CHECKLIST.read_text(encoding="utf-8"),
                "checklist.csv",
                "Save the reporting checklists CLAIM 2024 and TRIPOD+AI, item by item (CSV)",
            ),
        ],
        [
            table(
                pd.DataFrame([*rows.items(), *data.versions.items()], columns=["item", "value"]),
                "Hashes and versions",
                ("value",),
            ),
            subheading("Settings"),
            fold("params.yaml", preformatted(data.params)),
        ],
    )
