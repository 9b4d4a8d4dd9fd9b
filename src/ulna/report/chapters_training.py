"""The chapter of the report on training: the epoch kept, overfitting, the size curve."""

import pandas as pd

from ulna.figures.names import METRICS, NAMES
from ulna.report.curves import training_chart
from ulna.report.evidence import Evidence, in_words
from ulna.report.page import (
    Section,
    bullets,
    number,
    paragraph,
    picture,
    section,
    span,
    table,
)


def training(evidence: Evidence) -> Section:
    """The epochs, the one that was kept, and overfitting."""
    found = evidence.metrics["overfitting"]
    rows = []
    for arch in evidence.networks:
        history = evidence.tables[f"history/{arch}"]
        best = history[history["best"] == 1].iloc[0]
        rows.append(
            {
                "network": NAMES[arch],
                "epochs": number(len(history)),
                "epoch kept": number(int(best["epoch"])),
                "loss train": number(best["loss"]),
                "loss val": number(best["val_loss"]),
                "gap (val - train)": number(found[arch]["course"]["loss_gap_kept"]),
                "AUROC train": number(best["auroc"]),
                "AUROC val": number(best["val_auroc"]),
                "gap (train - val)": number(found[arch]["course"]["auroc_gap_kept"]),
            }
        )
    return section(
        "training",
        "Training and overfitting",
        paragraph(
            "The epoch with the lowest loss on val is kept. Weights start from a seed, or from a "
            "file where params.yaml names one (below, under Provenance, with every other setting).",
        ),
        bullets([in_words(found[arch]["course"]["words"]) for arch in evidence.networks]),
        table(
            pd.DataFrame(rows),
            "The epoch that was kept, per image; train while the weights change, under "
            "augmentation and dropout, so that it can lie behind val",
        ),
        training_chart(evidence),
        bullets([in_words(found[arch]["verdict"]) for arch in evidence.networks]),
        *_splits_and_gaps(evidence.tables["overfitting"]),
        bullets([in_words(found["learning_curve"]["verdict"])]),
        _sizes(evidence.tables["learning_curve"]),
        picture(
            evidence.figures,
            "overfitting",
            "AUROC and kappa of train, val and test with intervals; gap by epoch; AUROC and kappa "
            "of test by number of patients learnt from, where that is switched on. The tables "
            "above have the numbers.",
            "The splits side by side, per study; the gap by epoch, per image; the curve over the "
            "number of patients, per study of test.",
        ),
        picture(
            evidence.figures,
            "architecture",
            "The networks as tables of layers.",
            "Layers, output shapes and numbers of parameters.",
        ),
    )


def _splits_and_gaps(splits: pd.DataFrame) -> list[str]:
    measures = {name: METRICS[name] for name in ("auroc", "kappa", "accuracy")}
    measures |= {"log_loss": "log loss"}
    sides, gaps = [], []
    for row in splits.to_dict("records"):
        sizes = {"n": number(row["n"]), "patients": number(row["patients"])}
        sides.append(
            {"network": NAMES[row["network"]], "split": row["split"]}
            | {words: span(row, name) for name, words in measures.items()}
            | sizes
        )
        if row["split"] != "train":
            gaps.append(
                {"network": NAMES[row["network"]], "train against": row["split"]}
                | {words: span(row, f"{name}_gap") for name, words in measures.items()}
            )
    return [
        table(
            pd.DataFrame(sides),
            "Train, val and test alike: per study, without augmentation, thresholds chosen on val; "
            "value (95% interval over patients)",
            ("split",),
        ),
        table(
            pd.DataFrame(gaps),
            "By how much train is better (95% interval, each split resampled by itself): train "
            "minus the other; log loss, where less is better, the other minus train",
            ("train against",),
        ),
    ]


def _sizes(curve: pd.DataFrame) -> str:
    if curve.empty:
        return ""
    rows = [
        {
            "patients of train": number(int(row["patients"])),
            "fraction": number(float(row["fraction"]), 2),
            "images": number(int(row["images"])),
            **{METRICS[name]: span(row, name) for name in ("auroc", "kappa")},
            "test studies": number(int(row["test_studies"])),
        }
        for row in curve.to_dict("records")
    ]
    return table(
        pd.DataFrame(rows),
        "Networks of fewer patients, one training each, per study of test; value (95% interval "
        "over patients)",
    )
