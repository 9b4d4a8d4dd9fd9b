"""The first part of the report: data, results, calibration. Numbers in, HTML out."""

from typing import Any

import pandas as pd

from ulna.figures.names import METRICS, NAMES
from ulna.judging.reference import NOTE
from ulna.paths import ENSEMBLE
from ulna.report.curves import reliability_charts, roc_charts
from ulna.report.evidence import Evidence, in_words
from ulna.report.page import (
    Section,
    bullets,
    interval,
    number,
    p_value,
    paragraph,
    picture,
    section,
    span,
    table,
)
from ulna.report.peers import NOTE as PEERS_NOTE

PARTS = ("difference", "low", "high")


def score_frame(evidence: Evidence, level: str) -> pd.DataFrame:
    """Every metric of every network with its interval, as text, and the thresholds."""
    scores = {arch: evidence.metrics[arch][level] for arch in (*evidence.networks, ENSEMBLE)}
    rows = [
        {"metric": words} | {NAMES[arch]: span(score, name) for arch, score in scores.items()}
        for name, words in METRICS.items()
    ]
    thresholds = {NAMES[arch]: number(score["threshold"]) for arch, score in scores.items()}
    return pd.DataFrame([*rows, {"metric": "threshold (from val)"} | thresholds])


def _score_table(evidence: Evidence, level: str) -> str:
    n = evidence.metrics[evidence.networks[0]][level]
    return table(
        score_frame(evidence, level),
        f"Test set, per {level}: n = {n['n']:,} ({n['abnormal']:,} abnormal) of "
        f"{n['patients']:,} patients; value (95% interval over patients)",
    )


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
        table(rows, "Sizes of the splits", ("label",)),
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
            "Train images as the networks see them: greyscale, square, of the size and fit that "
            "params.yaml names under image.",
        ),
    )


def results(evidence: Evidence) -> Section:
    """Headline numbers, curves and confusion matrices."""
    return section(
        "results",
        "Results on the test set",
        _score_table(evidence, "study"),
        _score_table(evidence, "image"),
        roc_charts(evidence),
        picture(
            evidence.figures,
            "confusion",
            "Confusion matrices of the networks.",
            "Confusion matrices, per study, at the threshold chosen on val.",
        ),
    )


def body_parts(evidence: Evidence) -> Section:
    """Each body part, published results and peers."""
    parts = {arch: evidence.tables[f"{arch}/by_body_part"] for arch in evidence.networks}
    rows = parts[evidence.networks[0]][["body_part", "n", "abnormal", "patients"]].rename(
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
    found = {arch: evidence.metrics[arch]["calibration"] for arch in (*evidence.networks, ENSEMBLE)}
    rows = [
        {
            "network": NAMES[arch],
            "temperature": number(calibration["temperature"]),
            "scaling": state,
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
        bullets([in_words(f"{arch}: {found[arch]['verdict']}") for arch in found]),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {found[evidence.networks[0]]['n']:,}, before and after "
            "the temperature that was fitted on val; ECE: expected calibration error; right are "
            "slope 1 and intercept 0",
            ("scaling",),
        ),
        reliability_charts(evidence),
    )


def pairs(evidence: Evidence) -> dict[str, Any]:
    """What was found of each pair of networks."""
    return {key: found for key, found in evidence.metrics["compare"].items() if "_vs_" in key}


def difference_frame(evidence: Evidence) -> pd.DataFrame:
    """How far networks are apart in the headline metrics, per study, as text."""
    rows = []
    for key, found in pairs(evidence).items():
        first, second = (NAMES[name] for name in key.split("_vs_"))
        study = found["study"]
        rows.append(
            {
                "pair": f"{first} − {second}",
                **{
                    METRICS[name]: interval(*(study[name][part] for part in PARTS))
                    for name in ("auroc", "kappa")
                },
                "DeLong p": p_value(study["delong"]["p"]),
                "McNemar p": p_value(study["mcnemar"]["p"]),
                "n": number(study["n"]),
            }
        )
    return pd.DataFrame(rows)


def comparison(evidence: Evidence) -> Section:
    """Which network is better, and how surely."""
    return section(
        "comparison",
        "Comparison of the networks",
        bullets([in_words(found["verdict"]) for found in pairs(evidence).values()]),
        table(
            difference_frame(evidence),
            "Differences per study (95% interval, the same resamples of "
            "patients for both); the tests of DeLong and of McNemar are by patient too",
        ),
        picture(
            evidence.figures,
            "compare",
            "Forest plot of the differences in every metric.",
            "Differences between the networks; the ensemble is the mean of both.",
        ),
    )
