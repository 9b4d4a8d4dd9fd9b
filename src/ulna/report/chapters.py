"""The first part of the report: data, training, results. Numbers in, HTML out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ulna.judging.reference import NOTE
from ulna.params import ARCHS
from ulna.report.evidence import METRICS, NAMES, Evidence, in_words
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
from ulna.report.peers import NOTE as PEERS_NOTE


def _score_table(evidence: Evidence, level: str) -> str:
    scores = {arch: evidence.metrics[arch][level] for arch in NAMES}
    n = scores["cnn"]
    rows = [
        {"metric": words} | {NAMES[arch]: span(score, name) for arch, score in scores.items()}
        for name, words in METRICS.items()
    ]
    rows.append(
        {"metric": "threshold (from val)"}
        | {NAMES[arch]: number(score["threshold"]) for arch, score in scores.items()}
    )
    caption = (
        f"Test set, per {level}: n = {n['n']:,} ({n['abnormal']:,} abnormal) of "
        f"{n['patients']:,} patients; value (95% interval over patients)"
    )
    return table(pd.DataFrame(rows), caption)


def data(evidence: Evidence) -> Section:
    """What was learnt from and judged on."""
    sizes = evidence.sizes.pivot_table(
        index=["split", "label"], values=["studies", "images"], aggfunc="sum"
    ).reset_index()
    order = {"train": 0, "val": 1, "test": 2}
    sizes = sizes.sort_values(
        ["split", "label"], key=lambda c: c.map(order) if c.name == "split" else c
    )
    rows = pd.DataFrame(
        {
            "split": sizes["split"],
            "label": sizes["label"].map({0: "normal", 1: "abnormal"}),
            "studies": [number(int(n)) for n in sizes["studies"]],
            "images": [number(int(n)) for n in sizes["images"]],
        }
    )
    return section(
        "data",
        "Data",
        paragraph(
            "A study is what was taken of one body part of a patient at one time, in one or more "
            "images; it is labelled abnormal or normal. The labels are those of the data set's "
            "CSV files, one reader's reports in MURA's case, and are taken as the truth.",
            "The official valid is the test set here; val is cut from the official train. A "
            "patient is in one split over all body parts.",
        ),
        table(rows, "Sizes of the splits"),
        picture(
            evidence.figures,
            "splits",
            "Bars of the number of studies and images by body part, split "
            "and label; the table above has the sums.",
            "Studies and images by body part.",
        ),
        picture(
            evidence.figures,
            "examples",
            "Normal and abnormal radiographs of each body part.",
            "Train images as the networks see them: greyscale, padded to a square, resized.",
        ),
    )


def training(evidence: Evidence) -> Section:
    """The epochs, the one that was kept, and overfitting."""
    rows = []
    for arch in ARCHS:
        history = evidence.tables[f"{arch}/history"]
        best = history[history["best"] == 1].iloc[0]
        rows.append(
            {
                "network": NAMES[arch],
                "epochs": number(len(history)),
                "epoch kept": number(int(best["epoch"])),
                "loss train": number(best["loss"]),
                "loss val": number(best["val_loss"]),
                "gap (val - train)": number(best["val_loss"] - best["loss"]),
                "AUROC train": number(best["auroc"]),
                "AUROC val": number(best["val_auroc"]),
                "AUROC test": span(evidence.metrics[arch]["image"], "auroc"),
            }
        )
    return section(
        "training",
        "Training",
        paragraph(
            "The epoch with the lowest loss on val is kept. Train is measured while the weights "
            "change, under augmentation and dropout, so it can lie behind val; a growing gap "
            "between val and train is overfitting. Weights start from a seed, or from a file where "
            "params.yaml names one (below, under Provenance, with every other setting).",
        ),
        table(pd.DataFrame(rows), "The epoch that was kept, per image; test with 95% interval"),
        picture(
            evidence.figures,
            "learning_curves",
            "Loss, AUROC, accuracy and learning rate by epoch, "
            "train and val; the kept epoch is marked.",
            "Learning curves, per image.",
        ),
        picture(
            evidence.figures,
            "architecture",
            "Both networks as tables of layers.",
            "Layers, output shapes and numbers of parameters.",
        ),
    )


def results(evidence: Evidence) -> Section:
    """Headline numbers, curves and confusion matrices."""
    return section(
        "results",
        "Results on the test set",
        _score_table(evidence, "study"),
        _score_table(evidence, "image"),
        picture(
            evidence.figures,
            "roc",
            "ROC and precision-recall curves of both networks; their areas are in the table above.",
            "ROC and precision-recall curves, per study.",
        ),
        picture(
            evidence.figures,
            "confusion",
            "Confusion matrices of both networks.",
            "Confusion matrices, per study, at the threshold chosen on val.",
        ),
    )


def body_parts(evidence: Evidence) -> Section:
    """Each body part, published results and peers."""
    parts = {arch: evidence.tables[f"{arch}/by_body_part"] for arch in ARCHS}
    rows = parts["cnn"][["body_part", "n", "abnormal", "patients"]].rename(
        columns={"body_part": "body part", "n": "studies"}
    )
    for column in ("studies", "abnormal", "patients"):
        rows[column] = [number(int(value)) for value in rows[column]]
    for arch, scores in parts.items():
        for name in ("auroc", "kappa"):
            rows[f"{NAMES[arch]} {METRICS[name]}"] = [
                span(score, name, 2) for score in scores.to_dict("records")
            ]
    published = evidence.reference.pivot_table(
        index="body_part", columns="reader", values="kappa", sort=False
    ).reset_index()
    published = published.rename(columns={"body_part": "body part", "model": "Stanford's model"})
    for column in published.columns[1:]:
        published[column] = [number(value) for value in published[column]]
    return section(
        "body-parts",
        "By body part, and published results",
        table(rows, "Per study; value (95% interval over patients)"),
        picture(
            evidence.figures,
            "kappa_by_body_part",
            "Bars of kappa by body part with intervals, beside "
            "published values; the tables have the numbers.",
            f"Cohen's kappa by body part. Published: {NOTE}.",
        ),
        table(
            published,
            f"Published kappas, 207 studies: {NOTE}; radiologists' values by body "
            "part were recalled, not checked against the paper",
        ),
        table(
            evidence.peers,
            f"Public projects: {PEERS_NOTE}",
            ("setting", "level", "result", "source"),
        ),
    )


def calibration(evidence: Evidence) -> Section:
    """Whether a probability means what it says."""
    found = {arch: evidence.metrics[arch]["calibration"] for arch in NAMES}
    rows = [
        {
            "network": NAMES[arch],
            "temperature": number(calibration["temperature"]),
            "": state,
            "ECE": number(calibration[state]["ece"]),
            "Brier score": number(calibration[state]["brier"]),
            "log loss": number(calibration[state]["log_loss"]),
            "slope": number(calibration[state]["slope"]),
            "intercept": number(calibration[state]["intercept"]),
        }
        for arch, calibration in found.items()
        for state in ("before", "after")
    ]
    return section(
        "calibration",
        "Calibration",
        bullets([f"{NAMES[arch]}: {found[arch]['verdict']}" for arch in NAMES]),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {found['cnn']['n']:,}, before and after "
            "the temperature that was fitted on val",
            ("",),
        ),
        picture(
            evidence.figures,
            "calibration",
            "Reliability diagrams of both networks before and after temperature scaling.",
            "Share of abnormal studies over the mean probability.",
        ),
    )


def comparison(evidence: Evidence) -> Section:
    """Which network is better, and how surely."""
    compare = {key: found for key, found in evidence.metrics["compare"].items() if "_vs_" in key}
    rows = []
    for key, found in compare.items():
        first, second = (NAMES[name] for name in key.split("_vs_"))
        study = found["study"]
        rows.append(
            {
                "pair": f"{first} - {second}",
                **{METRICS[m]: span(_as_span(study[m]), "difference") for m in ("auroc", "kappa")},
                "DeLong p": number(study["delong"]["p"]),
                "McNemar p": number(study["mcnemar"]["p"]),
                "n": number(study["n"]),
            }
        )
    return section(
        "comparison",
        "Comparison of the networks",
        bullets([in_words(found["verdict"]) for found in compare.values()]),
        table(
            pd.DataFrame(rows),
            "Differences per study (95% interval, the same resamples of "
            "patients for both); DeLong and McNemar take studies as independent",
        ),
        picture(
            evidence.figures,
            "compare",
            "Forest plot of the differences in every metric.",
            "Differences between the networks; the ensemble is the mean of both.",
        ),
    )


def _as_span(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "difference": found["difference"],
        "difference_low": found["low"],
        "difference_high": found["high"],
    }
