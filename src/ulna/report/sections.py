"""The sections of the report: numbers, tables and figures in, HTML out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.evaluation import conclusions
from ulna.evaluation.conclusions import BASELINES, METRICS, NAMES, OCCLUSIONS, REFERENCE_NOTE
from ulna.report.html import (
    Section,
    bullets,
    details,
    embed_figure,
    interval,
    linked_table,
    number,
    p_value,
    paragraph,
    section,
    span,
    table,
)

NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."
# Whoever shows peers.csv, the results of public projects, shows this note with it.
PEERS_NOTE = "official valid of MURA v1.1, as reported by their authors, without intervals"
ENSEMBLE = "ensemble"
LABELS = {0: "normal", 1: "abnormal"}
INTERVAL = "value (95% interval over patients)"
_HERE = Path(__file__)
FIGURES = pd.read_csv(_HERE.with_name("figures.csv"), index_col="name")


@dataclass(frozen=True)
class ReportData:
    """The contents of the report; metrics, tables and figures are those that `inputs` names."""

    networks: Sequence[str]  # in the order of the page
    metrics: Mapping[str, Any]  # JSON, parsed
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, str]  # SVG
    reference: pd.DataFrame  # published kappas, see `ulna.evaluation.comparison.read_reference`
    versions: Mapping[str, str]  # of the libraries that the numbers depend on
    params: str  # the text of params.yaml
    root: str  # of the data set
    synthetic: bool  # whether the data set is the phantom

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The networks and their ensemble."""
        return (*self.networks, ENSEMBLE)

    @property
    def test(self) -> Mapping[str, Any]:
        """Sizes of the test set per study, the same for all networks."""
        study: Mapping[str, Any] = self.metrics[self.networks[0]]["study"]
        return study

    def figure(self, name: str, **values: str) -> str:
        """A figure with the text of figures.csv, whose fields are n, abnormal and `values`."""
        row = FIGURES.loc[name.rpartition("/")[2]]
        texts = (row[key].format(**{**self.test, **values}) for key in ("alt", "caption"))
        return embed_figure(self.figures[name], *texts)


def inputs(networks: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Name the metrics, tables and figures that the report is made from."""
    metrics = ["compare", "overfitting", "cross_part", "audit", "baselines", "occlusion"]
    tables = ["splits", "overfitting", "learning_curve", "cross_part", "occlusion"]
    figures = [
        *("splits", "examples", "architecture", "training_curves", "overfitting", "roc"),
        *("confusion", "kappa_by_body_part", "calibration", "compare", "cross_part", "audit"),
        *("baselines", "occlusion", "disagreements"),
    ]
    for arch in networks:
        metrics += [arch, f"explain_{arch}"]
        tables += [f"history/{arch}", f"{arch}/by_body_part", f"{arch}/disagreements"]
        figures += [f"{arch}/saliency"]
    return [*metrics, ENSEMBLE], tables, figures


def read_checklist() -> pd.DataFrame:
    """Read the items of two reporting guidelines, in order, topics in our words.

    Returns:
        guideline, item, topic, place, note: place is the anchor of a section of the report, or
        empty where note says why the item is not applicable.

    Reference:
        CLAIM: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4), "Checklist for
        Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update". TRIPOD+AI: Collins et al.
        2024, BMJ 385, e078378.
    """
    return pd.read_csv(_HERE.with_name("checklist.csv"), dtype=str, keep_default_na=False)


def read_peers() -> pd.DataFrame:
    """Read the results of public projects: setting, level, result, source, all text."""
    return pd.read_csv(_HERE.with_name("peers.csv"))


def score_frame(data: ReportData, level: str) -> pd.DataFrame:
    """Every metric of every network with its interval, and the thresholds, as text."""
    scores = {arch: data.metrics[arch][level] for arch in data.evaluated}
    rows = [
        {"metric": name} | {NAMES[arch]: span(score, key) for arch, score in scores.items()}
        for key, name in METRICS.items()
    ]
    thresholds = {NAMES[arch]: number(score["threshold"]) for arch, score in scores.items()}
    return pd.DataFrame([*rows, {"metric": "threshold (from val)"} | thresholds])


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
        paragraph(
            "A study is all images of one body part of a patient from one examination; it is "
            "labelled abnormal or normal. The labels are those of the data set's CSV files (in "
            "MURA, from one radiologist's report each), and are taken as the ground truth.",
            "The test set is the official valid; val is split off the official train. A patient is "
            "in one split only, over all body parts.",
        ),
        table(rows, "Sizes of the splits", ("label",)),
        data.figure("splits"),
        data.figure("examples"),
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
        paragraph(
            "The epoch with the lowest val loss is kept. Initial weights are random, from the "
            "seed, or from a file named in params.yaml (under Provenance, with all settings)."
        ),
        bullets([conclusions.history(course, arch) for arch, course in courses.items()]),
        table(
            pd.DataFrame(rows),
            "The epoch that is kept, per image; train is measured while the weights change, with "
            "augmentation and dropout, and can therefore be worse than val",
        ),
        data.figure("training_curves"),
        bullets([conclusions.overfitting(summaries[arch], arch) for arch in data.networks]),
        *_splits_and_gaps(data.tables["overfitting"]),
        bullets([conclusions.learning_curve(summaries["learning_curve"])]),
        _learning_curve(data.tables["learning_curve"]),
        data.figure("overfitting"),
        data.figure("architecture"),
    )


def _splits_and_gaps(splits: pd.DataFrame) -> list[str]:
    metrics = {name: METRICS[name] for name in ("auroc", "kappa", "accuracy")}
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
        ),
        table(
            pd.DataFrame(gaps),
            "Train minus val or test (95% interval, each split resampled independently); for log "
            "loss the reverse, so that positive values mean train is better",
            ("train against",),
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
            **{METRICS[name]: span(row, name) for name in ("auroc", "kappa")},
            "test studies": number(int(row["test_studies"])),
        }
        for row in curve.to_dict("records")
    ]
    caption = f"Learning curve, one training per fraction, per study of test; {INTERVAL}"
    return table(pd.DataFrame(rows), caption)


def results(data: ReportData) -> Section:
    """Headline numbers, curves and confusion matrices."""
    tables = []
    for level in ("study", "image"):
        sizes = data.metrics[data.networks[0]][level]
        caption = (
            f"Test set, per {level}: n = {sizes['n']:,} ({sizes['abnormal']:,} abnormal) of "
            f"{sizes['patients']:,} patients; {INTERVAL}"
        )
        tables.append(table(score_frame(data, level), caption))
    studies = {NAMES[arch]: data.metrics[arch]["study"] for arch in data.networks}
    areas = "; ".join(
        f"{name} has AUROC {number(study['auroc'])}, AUPRC {number(study['auprc'])}"
        for name, study in studies.items()
    )
    return section(
        "results",
        "Results on the test set",
        *tables,
        data.figure("roc", areas=areas),
        data.figure("confusion"),
    )


def body_parts(data: ReportData) -> Section:
    """Metrics by body part, published results and public projects."""
    parts = {arch: data.tables[f"{arch}/by_body_part"] for arch in data.networks}
    first = next(iter(parts.values()))
    rows = pd.DataFrame({"body part": first["body_part"]})
    for column, label in (("n", "studies"), ("abnormal", "abnormal"), ("patients", "patients")):
        rows[label] = [number(int(value)) for value in first[column]]
    for arch, scores in parts.items():
        for name in ("auroc", "kappa"):
            cells = [span(score, name, 2) for score in scores.to_dict("records")]
            rows[f"{NAMES[arch]} {METRICS[name]}"] = cells
    published = data.reference.pivot_table(
        index="body_part", columns="reader", values="kappa", sort=False
    )
    published = published.map(number).reset_index()
    published = published.rename(columns={"body_part": "body part", "model": "Stanford's model"})
    return section(
        "body-parts",
        "By body part, and published results",
        table(rows, f"Per study; {INTERVAL}"),
        data.figure("kappa_by_body_part", note=REFERENCE_NOTE),
        table(
            published,
            f"Published kappas, 207 studies: {REFERENCE_NOTE}; radiologists' values by body "
            "part were recalled, not checked against the paper",
        ),
        table(
            read_peers(), f"Public projects: {PEERS_NOTE}", ("setting", "level", "result", "source")
        ),
    )


def calibration(data: ReportData) -> Section:
    """Calibration of the probabilities, before and after temperature scaling."""
    summaries = {arch: data.metrics[arch]["calibration"] for arch in data.evaluated}
    columns = {"ece": "ECE", "brier": "Brier score", "log_loss": "log loss"}
    columns |= {"slope": "slope", "intercept": "intercept"}
    rows = [
        {
            "network": NAMES[arch],
            "temperature": number(summary["temperature"]),
            "scaling": scaling,
            **{label: number(summary[scaling][name]) for name, label in columns.items()},
        }
        for arch, summary in summaries.items()
        for scaling in ("before", "after")
    ]
    sizes = summaries[data.networks[0]]
    return section(
        "calibration",
        "Calibration",
        bullets([conclusions.calibration(summary, arch) for arch, summary in summaries.items()]),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {sizes['n']:,}, before and after scaling by the temperature "
            "fitted on val; ECE: expected calibration error; ideal: slope 1, intercept 0",
            ("scaling",),
        ),
        data.figure("calibration"),
    )


def pairs(data: ReportData) -> dict[tuple[str, str], Any]:
    """The comparison of each pair of networks."""
    keys = {key: key.partition("_vs_") for key in data.metrics["compare"]}
    return {(a, b): data.metrics["compare"][key] for key, (a, vs, b) in keys.items() if vs}


def compared(data: ReportData, networks: Sequence[str]) -> list[str]:
    """One sentence per pair of these networks."""
    return [
        conclusions.comparison(result, *pair)
        for pair, result in pairs(data).items()
        if set(pair) <= set(networks)
    ]


def difference_frame(data: ReportData) -> pd.DataFrame:
    """The differences between networks in the headline metrics, per study, as text."""
    rows = []
    for (first, second), result in pairs(data).items():
        study = result["study"]
        differences = {
            METRICS[name]: interval(*(study[name][part] for part in ("difference", "low", "high")))
            for name in ("auroc", "kappa")
        }
        pair = {"pair": f"{NAMES[first]} − {NAMES[second]}"}
        delong, mcnemar = (p_value(study[name]["p"]) for name in ("delong", "mcnemar"))
        tests = {"DeLong p": delong, "McNemar p": mcnemar, "n": number(study["n"])}
        rows.append(pair | differences | tests)
    return pd.DataFrame(rows)


def comparison(data: ReportData) -> Section:
    """Paired comparison of the networks."""
    return section(
        "comparison",
        "Comparison of the networks",
        bullets(compared(data, data.evaluated)),
        table(
            difference_frame(data),
            "Differences per study (95% interval, the same bootstrap replicates of patients for "
            "both); DeLong's and McNemar's tests are clustered by patient",
        ),
        data.figure("compare"),
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
        "Trained on some body parts, tested on all",
        bullets([conclusions.cross_part(numbers, name) for name, numbers in sides.items()]),
        table(
            rows, "Per study of test; threshold from val of the parts trained on", ("tested on",)
        ),
        data.figure("cross_part"),
    )


def finding_frame(data: ReportData, only_found: bool = False) -> pd.DataFrame:
    """The number of rows of each finding of the audit, as text."""
    rows = [
        (name.replace("_", " "), number(int(count)))
        for name, count in data.metrics["audit"]["findings"].items()
        if count or not only_found
    ]
    return pd.DataFrame(rows, columns=["finding", "rows"])


def audit(data: ReportData) -> Section:
    """Anomalies, duplicates and leaks among the images."""
    audit = data.metrics["audit"]
    leaks = audit["findings"]["duplicate_across_splits"]
    conflicts = audit["findings"]["duplicate_label_conflict"]
    return section(
        "audit",
        "Audit of the data",
        paragraph(
            f"{audit['images']:,} images of {audit['studies']:,} studies and "
            f"{audit['patients']:,} patients were read; {audit['rejected_images']:,} could not be "
            "read and were rejected by name.",
            f"Duplicates across splits: {leaks:,}. Duplicates with conflicting labels: "
            f"{conflicts:,}. plots/tables/audit.csv lists every finding by image.",
        ),
        table(
            finding_frame(data),
            f"Findings among {audit['images']:,} images; an image can have several",
        ),
        data.figure("audit"),
    )


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
        "Shortcuts: prediction from non-anatomical features",
        paragraph(conclusions.baselines(baselines)),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {data.test['n']:,}; small models on features without bone, "
            "trained on train",
            ("baseline",),
        ),
        data.figure("baselines"),
        *_occlusion(data),
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
        paragraph(
            "Occlusion: the networks were evaluated on the test images with the border (edges and "
            "corners) or the centre black: two halves of equal area.",
            conclusions.occlusion(data.metrics["occlusion"]),
            "An alarm: the border alone is better than chance, and the centre alone is not better "
            "than the border. A black half is unlike all training images, so a loss alone proves "
            "nothing.",
        ),
        table(
            pd.DataFrame(rows),
            f"Occlusion, per study of test, n = {n:,}; loss: whole image minus this one, same "
            "patients; thresholds are from whole images of val",
            ("images",),
        ),
        data.figure("occlusion"),
    )


def maps(data: ReportData) -> Section:
    """Class activation maps, shown if they passed the randomization test."""
    pieces = []
    for arch in data.networks:
        summary = data.metrics[f"explain_{arch}"]
        test = summary["randomization"]
        correlations = ", ".join(
            f"{layer} {number(value, 2)}" for layer, value in test["rank_correlation"].items()
        )
        hidden = "The maps hardly depend on the trained weights, and are not shown."
        pieces += [
            paragraph(
                conclusions.randomization(test, arch),
                f"Rank correlation with these layers random, from the top down: {correlations}.",
                "" if test["passed"] else hidden,
                conclusions.localization(summary["localization"]),
            ),
            data.figure(f"{arch}/saliency", network=NAMES[arch]),
        ]
    return section("maps", "Where the networks look", *pieces)


def failures(data: ReportData) -> Section:
    """The most confident errors."""
    tables = []
    for arch in data.networks:
        errors = data.tables[f"{arch}/disagreements"].head(8)
        rows = errors[["study", "split"]].assign(
            label=errors["label"].map(LABELS),
            probability=[number(value) for value in errors["probability"]],
        )
        caption = f"{NAMES[arch]}: the most confident errors"
        tables.append(table(rows, caption, ("study", "split", "label")))
    return section(
        "failures",
        "Errors, or wrong labels",
        paragraph(
            "The studies whose label a network contradicts most confidently: either the network or "
            "the label is wrong. A list for a radiologist to review; the whole list: "
            "plots/tables/<network>/disagreements.csv."
        ),
        *tables,
        data.figure("disagreements"),
    )


def limits(data: ReportData) -> Section:
    """Limits of validity."""
    return section(
        "limits",
        "Limits",
        bullets(
            [
                NOT_A_DEVICE,
                "Intended use: to learn and to compare methods on a public data set. Whether a "
                "network helps a reader, or a patient, is not studied here.",
                f"The test set has {data.test['n']:,} studies of {data.test['patients']:,} "
                "patients, as many as the data give; no sample size was planned.",
                "Intervals are over patients of this test set: they leave out the variance over "
                "hospitals, devices and training seeds.",
                "In a group without an error the bootstrap has no variance: the interval is then "
                "the exact one of Clopper and Pearson, with n patients.",
                "There is no external validation: the networks were tested on their own data set.",
                "Labels are taken as the ground truth, as there is no other. In MURA they come "
                "from one report each; for degenerative joint disease their sensitivity was 60% "
                "in a re-read.",
                "Abnormal is one class: fracture, hardware, degeneration and lesion are not "
                "distinguished, and there is no grade of urgency.",
                "Published results are from another test set and gold standard: for orientation, "
                "not for comparison.",
            ]
        ),
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
    """Hashes, versions and parameters."""
    metrics = {NAMES[arch]: data.metrics[arch] for arch in data.networks}
    rows = {f"weights of {name}, SHA-256": m["model_sha256"] for name, m in metrics.items()}
    rows["split (val and test), SHA-256"] = data.metrics[data.networks[0]]["split_sha256"]
    rows |= {
        f"{name} trained on": describe_environment(m.get("environment"))
        for name, m in metrics.items()
    }
    return section(
        "provenance",
        "Provenance",
        paragraph(
            "dvc.lock has the hash of every file that these numbers come from; `dvc repro` "
            "reproduces them."
        ),
        table(
            pd.DataFrame([*rows.items(), *data.versions.items()], columns=["item", "value"]),
            "Hashes and versions",
            ("value",),
        ),
        details("params.yaml", data.params),
    )


def checklist() -> Section:
    """Reporting guidelines, item by item."""
    return section(
        "checklist",
        "Reporting checklists",
        paragraph("CLAIM 2024 and TRIPOD+AI, item by item; topics in our words."),
        linked_table(
            read_checklist(),
            "Section of the report for each item, or why it is not applicable",
            link="place",
        ),
    )
