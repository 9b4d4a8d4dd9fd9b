"""Sections of the report on the checks: can the results be trusted, and why?"""

import pandas as pd

from ulna.evaluation import METRIC_NAMES, NAMES, conclusions
from ulna.evaluation.conclusions import BASELINES, OCCLUSIONS
from ulna.report.contents import INTERVAL, ReportData
from ulna.report.html import Section, bullets, number, paragraph, section, span, subheading, table

# Of findings that need a word to be understood.
MEANINGS = {
    "colour": "the file has colours",
    "single_view": "a study of one image",
    "mixed_labels": "a patient with normal and abnormal studies",
    "tiny": "smaller than the network's input",
}


def shortcuts(data: ReportData) -> Section:
    """Baselines on non-anatomical features, and occlusion."""
    baselines = data.metrics["baselines"]
    rows = [
        {
            "baseline": title,
            "AUROC": span(baselines[name], "auroc"),
            "kappa": span(baselines[name], "kappa"),
            "alarm": "yes" if baselines[name]["flag"] else "no",
        }
        for name, title in BASELINES.items()
    ]
    return section(
        "shortcuts",
        "Shortcuts",
        [paragraph(conclusions.baselines(baselines))],
        [
            table(
                pd.DataFrame(rows),
                f"Per study of test, n = {data.test['n']:,}; small models on features without "
                "bone, trained on train",
                ("baseline",),
            ),
            data.figure("baselines"),
            *_occlusion(data),
        ],
    )


def _occlusion(data: ReportData) -> tuple[str, ...]:
    rows = []
    for score in data.tables["occlusion"].to_dict("records"):
        row = {"network": NAMES[score["network"]], "images": OCCLUSIONS[score["shown"]]}
        for name, label in (("auroc", "AUROC"), ("kappa", "kappa")):
            loss = "" if score["shown"] == "whole" else span(score, f"{name}_drop")
            row |= {label: span(score, name), f"{label} loss": loss}
        rows.append(row)
    n = data.tables["occlusion"]["n"].iloc[0]
    return (
        subheading("Occlusion"),
        paragraph(
            "The networks were evaluated on the test images with the border (edges and corners) or "
            "the centre black: two halves of equal area. It would be an alarm if the border alone "
            "were better than chance, and the centre alone no better than the border. A black half "
            "is unlike all training images, so a loss alone proves nothing."
        ),
        paragraph(conclusions.occlusion(data.metrics["occlusion"])),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {n:,}; loss: whole image minus this one, same patients; "
            "thresholds are from whole images of val",
            ("images",),
            dense=True,
        ),
        data.figure("occlusion"),
    )


def maps(data: ReportData) -> Section:
    """Class activation maps, shown if they passed the randomization test."""
    lead, more = [], []
    for arch in data.networks:
        summary = data.metrics[f"saliency_{arch}"]
        test = summary["randomization"]
        correlations = ", ".join(
            f"{layer} {number(value, 2)}" for layer, value in test["rank_correlation"].items()
        )
        hidden = "Its maps hardly depend on the trained weights, and are not shown."
        words = [NAMES[arch] + ".", conclusions.saliency(summary, arch)]
        if summary["at_chance"]:
            words = words[1:]  # its sentence names the network
        lead.append(" ".join([*words, *([] if test["passed"] else [hidden])]))
        more += [
            subheading(NAMES[arch]),
            data.figure(f"{arch}/saliency", network=NAMES[arch]),
            paragraph(
                conclusions.randomization(test, arch),
                f"Rank correlation with these layers random, from the top down: {correlations}.",
            ),
        ]
    return section("maps", "Where the networks look", [bullets(lead)], more)


def finding_frame(data: ReportData, only_found: bool = False) -> pd.DataFrame:
    """The number of rows of each finding of the audit, as text."""
    rows = [
        (name.replace("_", " "), number(int(count)), MEANINGS.get(name, ""))
        for name, count in data.metrics["audit"]["findings"].items()
        if count or not only_found
    ]
    return pd.DataFrame(rows, columns=["finding", "number", "meaning"])


def audit(data: ReportData) -> Section:
    """Anomalies, duplicates and leaks among the images."""
    audit = data.metrics["audit"]
    leaks = audit["findings"]["duplicate_across_splits"]
    conflicts = audit["findings"]["duplicate_label_conflict"]
    return section(
        "audit",
        "Audit of the data",
        [
            paragraph(
                f"{audit['images']:,} images of {audit['studies']:,} studies and "
                f"{audit['patients']:,} patients were read; {audit['rejected_images']:,} could not "
                "be read and were rejected by name.",
                f"Copies across splits: {leaks:,}. Copies with conflicting labels: {conflicts:,}.",
                *filter(None, [conclusions.without_flagged(data.metrics[data.best])]),
            )
        ],
        [
            table(
                finding_frame(data),
                f"Findings among {audit['images']:,} images; an image can have several. "
                "plots/tables/audit.csv lists each.",
                ("meaning",),
            ),
            data.figure("audit"),
        ],
    )


def cross_part(data: ReportData) -> Section:
    """Networks trained on some body parts, tested on all."""
    cells = data.tables["cross_part"]
    rows = cells[["trained_on", "tested_on"]].rename(columns=lambda name: name.replace("_", " "))
    rows["studies"] = [number(int(n)) for n in cells["studies"]]
    for label, name in (("AUROC", "auroc"), ("kappa", "kappa")):
        rows[label] = [span(cell, name, 2) for cell in cells.to_dict("records")]
    sides = data.metrics["cross_part"]
    return section(
        "cross-part",
        "Other body parts than trained on",
        [bullets([conclusions.cross_part(numbers, name) for name, numbers in sides.items()])],
        [
            table(
                rows,
                "Per study of test; threshold from val of the parts trained on",
                ("tested on",),
            ),
            data.figure("cross_part"),
        ],
    )


def training(data: ReportData) -> Section:
    """The epochs, the one that is kept, and overfitting."""
    summaries = data.metrics["overfitting"]
    courses = {arch: summaries[arch]["course"] for arch in data.networks}
    rows = []
    for arch, course in courses.items():
        history = data.tables[f"history/{arch}"]
        best = history[history["best"] == 1].iloc[0]
        rows.append(
            {
                "network": NAMES[arch],
                "epochs": number(len(history)),
                "epoch kept": number(int(best["epoch"])),
                "loss train": number(best["loss"]),
                "loss val": number(best["val_loss"]),
                "gap (val − train)": number(course["loss_gap_kept"]),
                "AUROC train": number(best["auroc"]),
                "AUROC val": number(best["val_auroc"]),
                "gap (train − val)": number(course["auroc_gap_kept"]),
            }
        )
    return section(
        "training",
        "Training and overfitting",
        [bullets([conclusions.overfitting(summaries[arch], arch) for arch in data.networks])],
        [
            paragraph(
                "The epoch with the lowest val loss is kept. Initial weights are random, from the "
                "seed, or from a file named in params.yaml (under Provenance, with all settings)."
            ),
            bullets([conclusions.history(course, arch) for arch, course in courses.items()]),
            table(
                pd.DataFrame(rows),
                "The epoch that is kept, per image; train is measured while the weights change, "
                "with augmentation and dropout, and can therefore be worse than val",
            ),
            data.figure("training_curves"),
            *_splits_and_gaps(data.tables["overfitting"]),
            paragraph(conclusions.learning_curve(summaries["learning_curve"])),
            _learning_curve(data.tables["learning_curve"]),
            data.figure("overfitting"),
            data.figure("architecture"),
        ],
    )


def _splits_and_gaps(splits: pd.DataFrame) -> list[str]:
    metrics = {name: METRIC_NAMES[name] for name in ("auroc", "kappa", "accuracy")}
    metrics |= {"log_loss": "log loss"}
    values, gaps = [], []
    for row in splits.to_dict("records"):
        network = {"network": NAMES[row["network"]]}
        sizes = {"n": number(row["n"]), "patients": number(row["patients"])}
        scores = {label: span(row, name) for name, label in metrics.items()}
        values.append(network | {"split": row["split"]} | scores | sizes)
        if row["split"] != "train":
            differences = {label: span(row, f"{name}_gap") for name, label in metrics.items()}
            gaps.append(network | {"train against": row["split"]} | differences)
    return [
        table(
            pd.DataFrame(values),
            "Metrics by split, per study, without augmentation, thresholds chosen on val; "
            f"{INTERVAL}",
            ("split",),
            dense=True,
        ),
        table(
            pd.DataFrame(gaps),
            "Train minus val or test (95% interval, each split resampled independently); for log "
            "loss the reverse, so that positive values mean train is better",
            ("train against",),
            dense=True,
        ),
    ]


def _learning_curve(curve: pd.DataFrame) -> str:
    if curve.empty:
        return ""
    rows = [
        {
            "training patients": number(int(row["patients"])),
            "fraction": number(float(row["fraction"]), 2),
            "images": number(int(row["images"])),
            **{METRIC_NAMES[name]: span(row, name) for name in ("auroc", "kappa")},
            "test studies": number(int(row["test_studies"])),
        }
        for row in curve.to_dict("records")
    ]
    caption = f"Learning curve, one training per fraction, per study of test; {INTERVAL}"
    return table(pd.DataFrame(rows), caption)
