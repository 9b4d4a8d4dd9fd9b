"""The sections of the report: numbers, tables and figures in, HTML out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.checks.shortcuts import SHOWN
from ulna.core.paths import ENSEMBLE
from ulna.evaluation import conclusions
from ulna.evaluation.comparison import REFERENCE_NOTE, read_reference
from ulna.evaluation.conclusions import BASELINES, METRICS, NAMES
from ulna.report.html import (
    Section,
    bullets,
    details,
    interval,
    linked_table,
    number,
    p_value,
    paragraph,
    picture,
    section,
    span,
    table,
)

NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."
# Whoever shows peers.csv, what honest public projects reach, shows this note with it.
PEERS_NOTE = "official valid of MURA v1.1, as reported by their authors, without intervals"
LABELS = {0: "normal", 1: "abnormal"}
INTERVAL = "value (95% interval over patients)"
_HERE = Path(__file__)


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Attributes:
        networks: Their names, in the order of the page.
        metrics: The JSON files of `metrics/` that `inputs` names, parsed.
        tables: The CSV files of `plots/tables/` that `inputs` names.
        figures: The SVG files of `plots/figures/` that `inputs` names, as text.
        versions: Name and version of each library that the numbers depend on.
        params: The text of params.yaml.
        root: data.root, the data set.
    """

    networks: Sequence[str]
    metrics: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, str]
    versions: Mapping[str, str]
    params: str
    root: str

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The networks and their ensemble."""
        return (*self.networks, ENSEMBLE)

    @property
    def test(self) -> Mapping[str, Any]:
        """Sizes of the test set per study, the same for all networks."""
        study: Mapping[str, Any] = self.metrics[self.networks[0]]["study"]
        return study


def inputs(networks: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The names of the metrics, tables and figures that the report is made from."""
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
    """Every metric of every network with its interval, as text, and the thresholds."""
    scores = {arch: data.metrics[arch][level] for arch in data.evaluated}
    rows = [
        {"metric": words} | {NAMES[arch]: span(score, name) for arch, score in scores.items()}
        for name, words in METRICS.items()
    ]
    thresholds = {NAMES[arch]: number(score["threshold"]) for arch, score in scores.items()}
    return pd.DataFrame([*rows, {"metric": "threshold (from val)"} | thresholds])


def data_section(data: ReportData) -> Section:
    """The data that the networks were trained and evaluated on."""
    sizes = data.tables["splits"].groupby(["split", "label"])[["studies", "images"]].sum()
    sizes = sizes.reindex(["train", "val", "test"], level="split").reset_index()
    rows = sizes.assign(
        label=sizes["label"].map(LABELS),
        **{unit: [number(int(n)) for n in sizes[unit]] for unit in ("studies", "images")},
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
            data.figures,
            "splits",
            "Bars of the number of studies and images by body part, split "
            "and label; the table above has the sums.",
            "Studies and images by body part.",
        ),
        picture(
            data.figures,
            "examples",
            "Normal and abnormal radiographs of each body part.",
            "Train images as the networks see them: greyscale, square, of the size and fit that "
            "params.yaml names under image.",
        ),
    )


def training(data: ReportData) -> Section:
    """The epochs, the one that was kept, and overfitting."""
    found = data.metrics["overfitting"]
    rows = []
    for arch in data.networks:
        history = data.tables[f"history/{arch}"]
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
        bullets([conclusions.history(found[arch]["course"], arch) for arch in data.networks]),
        table(
            pd.DataFrame(rows),
            "The epoch that was kept, per image; train while the weights change, under "
            "augmentation and dropout, so that it can lie behind val",
        ),
        picture(
            data.figures,
            "training_curves",
            "Lines of loss, AUROC and accuracy of train and val by epoch, their gap in loss and "
            "the learning rate, for each network; the table above has the epoch that was kept.",
            "Loss, AUROC and accuracy by epoch, per image.",
        ),
        bullets([conclusions.overfitting(found[arch], arch) for arch in data.networks]),
        *_splits_and_gaps(data.tables["overfitting"]),
        bullets([conclusions.learning_curve(found["learning_curve"])]),
        _sizes(data.tables["learning_curve"]),
        picture(
            data.figures,
            "overfitting",
            "AUROC and kappa of train, val and test with intervals; gap by epoch; AUROC and kappa "
            "of test by number of training patients, where that is switched on. The tables "
            "above have the numbers.",
            "The splits side by side, per study; the gap by epoch, per image; the curve over the "
            "number of patients, per study of test.",
        ),
        picture(
            data.figures,
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
        network = {"network": NAMES[row["network"]]}
        values = {words: span(row, name) for name, words in measures.items()}
        sizes = {"n": number(row["n"]), "patients": number(row["patients"])}
        sides.append(network | {"split": row["split"]} | values | sizes)
        if row["split"] != "train":
            values = {words: span(row, f"{name}_gap") for name, words in measures.items()}
            gaps.append(network | {"train against": row["split"]} | values)
    return [
        table(
            pd.DataFrame(sides),
            "Train, val and test alike: per study, without augmentation, thresholds chosen on val; "
            f"{INTERVAL}",
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
    caption = f"Networks of fewer patients, one training each, per study of test; {INTERVAL}"
    return table(pd.DataFrame(rows), caption)


def results(data: ReportData) -> Section:
    """Headline numbers, curves and confusion matrices."""
    tables = []
    for level in ("study", "image"):
        n = data.metrics[data.networks[0]][level]
        caption = (
            f"Test set, per {level}: n = {n['n']:,} ({n['abnormal']:,} abnormal) of "
            f"{n['patients']:,} patients; {INTERVAL}"
        )
        tables.append(table(score_frame(data, level), caption))
    areas = "; ".join(
        f"{NAMES[arch]} has AUROC {number(data.metrics[arch]['study']['auroc'])}, AUPRC "
        f"{number(data.metrics[arch]['study']['auprc'])}"
        for arch in data.networks
    )
    return section(
        "results",
        "Results on the test set",
        *tables,
        picture(
            data.figures,
            "roc",
            f"ROC and precision-recall curves of the networks: {areas}.",
            f"ROC and precision-recall curves, per study of test, n = {data.test['n']:,}, "
            f"{data.test['abnormal']:,} abnormal. Dots: at the thresholds that were chosen on val.",
        ),
        picture(
            data.figures,
            "confusion",
            "Confusion matrices of the networks.",
            "Confusion matrices, per study, at the threshold chosen on val.",
        ),
    )


def body_parts(data: ReportData) -> Section:
    """Each body part, published results and peers."""
    parts = {arch: data.tables[f"{arch}/by_body_part"] for arch in data.networks}
    first = next(iter(parts.values()))
    rows = pd.DataFrame({"body part": first["body_part"]})
    for column, words in (("n", "studies"), ("abnormal", "abnormal"), ("patients", "patients")):
        rows[words] = [number(int(value)) for value in first[column]]
    for arch, scores in parts.items():
        for name in ("auroc", "kappa"):
            rows[f"{NAMES[arch]} {METRICS[name]}"] = [
                span(score, name, 2) for score in scores.to_dict("records")
            ]
    published = read_reference().pivot_table(
        index="body_part", columns="reader", values="kappa", sort=False
    )
    published = published.map(number).reset_index()
    published = published.rename(columns={"body_part": "body part", "model": "Stanford's model"})
    return section(
        "body-parts",
        "By body part, and published results",
        table(rows, f"Per study; {INTERVAL}"),
        picture(
            data.figures,
            "kappa_by_body_part",
            "Bars of kappa by body part with intervals, beside "
            "published values; the tables have the numbers.",
            f"Cohen's kappa by body part. Published: {REFERENCE_NOTE}.",
        ),
        table(
            published,
            f"Published kappas, 207 studies: {REFERENCE_NOTE}; radiologists' values by body "
            "part were recalled, not checked against the paper",
        ),
        table(
            read_peers(),
            f"Public projects: {PEERS_NOTE}",
            ("setting", "level", "result", "source"),
        ),
    )


def calibration(data: ReportData) -> Section:
    """Whether a probability means what it says."""
    found = {arch: data.metrics[arch]["calibration"] for arch in data.evaluated}
    columns = {"ece": "ECE", "brier": "Brier score", "log_loss": "log loss"}
    columns |= {"slope": "slope", "intercept": "intercept"}
    rows = [
        {
            "network": NAMES[arch],
            "temperature": number(calibration["temperature"]),
            "scaling": state,
            **{words: number(calibration[state][name]) for name, words in columns.items()},
        }
        for arch, calibration in found.items()
        for state in ("before", "after")
    ]
    sizes = found[data.networks[0]]
    return section(
        "calibration",
        "Calibration",
        bullets([conclusions.calibration(found[arch], arch) for arch in data.evaluated]),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {sizes['n']:,}, before and after "
            "the temperature that was fitted on val; ECE: expected calibration error; right are "
            "slope 1 and intercept 0",
            ("scaling",),
        ),
        picture(
            data.figures,
            "calibration",
            "Reliability diagram of each network before and after temperature scaling, with the "
            "number of studies of each bin; the table has the numbers.",
            "Share of abnormal studies over their mean probability, before and after the "
            f"temperature; test, n = {sizes['n']:,} studies, {sizes['abnormal']:,} abnormal, in "
            "bins of equal size. Lines: 95% intervals (Wilson).",
        ),
    )


def pairs(data: ReportData) -> dict[tuple[str, str], Any]:
    """The comparison of each pair of networks."""
    found = {}
    for key, result in data.metrics["compare"].items():
        first, separator, second = key.partition("_vs_")
        if separator:
            found[first, second] = result
    return found


def compared(data: ReportData, networks: Sequence[str]) -> list[str]:
    """A sentence for each pair of these networks."""
    return [
        conclusions.comparison(found, *pair)
        for pair, found in pairs(data).items()
        if set(pair) <= set(networks)
    ]


def difference_frame(data: ReportData) -> pd.DataFrame:
    """How far networks are apart in the headline metrics, per study, as text."""
    rows = []
    for (first, second), found in pairs(data).items():
        study = found["study"]
        differences = {
            METRICS[name]: interval(*(study[name][part] for part in ("difference", "low", "high")))
            for name in ("auroc", "kappa")
        }
        tests = {
            "DeLong p": p_value(study["delong"]["p"]),
            "McNemar p": p_value(study["mcnemar"]["p"]),
        }
        pair = {"pair": f"{NAMES[first]} − {NAMES[second]}"}
        rows.append(pair | differences | tests | {"n": number(study["n"])})
    return pd.DataFrame(rows)


def comparison(data: ReportData) -> Section:
    """Which network is better, and how surely."""
    return section(
        "comparison",
        "Comparison of the networks",
        bullets(compared(data, data.evaluated)),
        table(
            difference_frame(data),
            "Differences per study (95% interval, the same replicates of "
            "patients for both); the tests of DeLong and of McNemar are by patient too",
        ),
        picture(
            data.figures,
            "compare",
            "Forest plot of the differences in every metric.",
            "Differences between the networks; the ensemble is the mean of them.",
        ),
    )


def transfer(data: ReportData) -> Section:
    """Networks that saw some body parts, on all of them."""
    rows = [
        {
            "trained on": cell["trained_on"],
            "tested on": cell["tested_on"],
            "studies": number(int(cell["studies"])),
            "AUROC": span(cell, "auroc", 2),
            "kappa": span(cell, "kappa", 2),
        }
        for cell in data.tables["cross_part"].to_dict("records")
    ]
    sides = data.metrics["cross_part"]
    return section(
        "transfer",
        "Trained on some body parts, tested on all",
        bullets([conclusions.cross_part(found, name) for name, found in sides.items()]),
        table(
            pd.DataFrame(rows),
            "Per study of test; the threshold is from val of the parts trained on",
            ("tested on",),
        ),
        picture(
            data.figures,
            "cross_part",
            "Heat map of AUROC and kappa, trained on by tested on; the table has the numbers.",
            "Trained on (rows), tested on (columns), per study.",
        ),
    )


def finding_frame(data: ReportData, only_found: bool = False) -> pd.DataFrame:
    """The rows of each finding of the audit, as text."""
    rows = [
        (name.replace("_", " "), number(int(count)))
        for name, count in data.metrics["audit"]["findings"].items()
        if count or not only_found
    ]
    return pd.DataFrame(rows, columns=["finding", "rows"])


def audit(data: ReportData) -> Section:
    """Odd images, copies, leaks."""
    audit = data.metrics["audit"]
    leaks = audit["findings"]["duplicate_across_splits"]
    clash = audit["findings"]["duplicate_label_conflict"]
    return section(
        "audit",
        "Audit of the data",
        paragraph(
            f"{audit['images']:,} images of {audit['studies']:,} studies and "
            f"{audit['patients']:,} patients were read; {audit['rejected_images']:,} could not be read "
            "and were rejected by name.",
            f"Copies in different splits: {leaks}. Copies with contradicting labels: {clash}. "
            "Every finding is listed by image in plots/tables/audit.csv.",
        ),
        table(
            finding_frame(data),
            f"Findings among {audit['images']:,} images; an image can have several",
        ),
        picture(
            data.figures,
            "audit",
            "Radiographs of the edge cases that the table counts.",
            "Edge cases, by finding.",
        ),
    )


def shortcuts(data: ReportData) -> Section:
    """What can be predicted without looking at bone."""
    found = data.metrics["baselines"]
    rows = [
        {
            "baseline": title,
            "AUROC": span(found[name], "auroc"),
            "kappa": span(found[name], "kappa"),
            "alarm": "yes" if found[name]["flag"] else "no",
        }
        for name, title in BASELINES.items()
    ]
    return section(
        "shortcuts",
        "Shortcuts: what can be predicted without looking at bone",
        paragraph(conclusions.baselines(found)),
        table(
            pd.DataFrame(rows),
            f"Per study of test, n = {data.test['n']:,}; small "
            "models that see no bone, fitted on train",
            ("baseline",),
        ),
        picture(
            data.figures,
            "baselines",
            "AUROC of each baseline with its interval, beside the networks.",
            "AUROC of the baselines and of the networks, per study.",
        ),
        *_halves(data),
    )


def _halves(data: ReportData) -> tuple[str, ...]:
    rows = []
    for score in data.tables["occlusion"].to_dict("records"):
        row = {"network": NAMES[score["network"]], "images": SHOWN[score["shown"]]}
        for name, words in (("auroc", "AUROC"), ("kappa", "kappa")):
            lost = "" if score["shown"] == "whole" else span(score, f"{name}_drop")
            row |= {words: span(score, name), f"{words} lost": lost}
        rows.append(row)
    n = data.tables["occlusion"]["n"].iloc[0]
    return (
        paragraph(
            "The networks themselves were shown the test images again, with the border (edges "
            "and corners) or the centre black: two halves of equal area.",
            conclusions.occlusion(data.metrics["occlusion"]),
            "An alarm: the border alone is above chance, and the centre alone is not better. A "
            "black half is unlike all training images, so a loss alone proves nothing.",
        ),
        table(
            pd.DataFrame(rows),
            f"Halves, per study of test, n = {n:,}; lost: whole image minus this "
            "one, of the same patients; thresholds are from whole images of val",
            ("images",),
        ),
        picture(
            data.figures,
            "occlusion",
            "AUROC and kappa of each network by whole images and by each half, beside an image "
            "with nothing, its border and its centre hidden; the table has the numbers.",
            f"Whole images and halves of them, per study of test, n = {n:,}.",
        ),
    )


def maps(data: ReportData) -> Section:
    """Class activation maps, if they may be shown."""
    pieces = []
    for arch in data.networks:
        found = data.metrics[f"explain_{arch}"]
        test = found["randomization"]
        falls = ", ".join(
            f"{layer} {number(value, 2)}" for layer, value in test["rank_correlation"].items()
        )
        hidden = "They hardly depend on the trained weights, and are not shown."
        pieces += [
            paragraph(
                conclusions.randomization(test, arch),
                f"Rank correlation once these layers, from the top down, are random: {falls}.",
                "" if test["passed"] else hidden,
                conclusions.localization(found["localization"]),
            ),
            picture(
                data.figures,
                f"{arch}/saliency",
                f"Class activation maps of {NAMES[arch]} over "
                "test images, the most confident correct ones and errors of each body part.",
                f"{NAMES[arch]}: where it looks, by outcome and body part.",
            ),
        ]
    return section("maps", "Where the networks look", *pieces)


def failures(data: ReportData) -> Section:
    """The most confident errors."""
    pieces = []
    for arch in data.networks:
        listed = data.tables[f"{arch}/disagreements"].head(8)
        rows = listed[["study", "split"]].assign(
            label=listed["label"].map(LABELS),
            probability=[number(value) for value in listed["probability"]],
        )
        words = ("study", "split", "label")
        pieces.append(table(rows, f"{NAMES[arch]}: the most confident errors", words))
    return section(
        "failures",
        "Failures, or wrong labels",
        paragraph(
            "The studies whose label a network contradicts most confidently. Either it is wrong or "
            "the label is: a list for a reader to review. All of it: "
            "plots/tables/<network>/disagreements.csv."
        ),
        *pieces,
        picture(
            data.figures,
            "disagreements",
            "Radiographs of the studies in the tables.",
            "First views of those studies.",
        ),
    )


def limits(data: ReportData) -> Section:
    """What the numbers do not say."""
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
                "Intervals are over patients of this test set: another hospital, another device "
                "or another seed of training is not in them.",
                "Where a group has no error, resampling has nothing to vary: the interval "
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


def provenance(data: ReportData) -> Section:
    """Hashes, versions and parameters."""
    found = {arch: data.metrics[arch] for arch in data.networks}
    rows = {f"weights of {NAMES[a]}, SHA-256": m["model_sha256"] for a, m in found.items()}
    rows["split (val and test), SHA-256"] = data.metrics[data.networks[0]]["split_sha256"]
    rows |= {
        f"{NAMES[arch]} trained on": say_environment(metrics.get("environment"))
        for arch, metrics in found.items()
    }
    return section(
        "provenance",
        "Provenance",
        paragraph(
            "dvc.lock names every file that these numbers come from by its hash; dvc repro makes "
            "them again."
        ),
        table(
            pd.DataFrame([*rows.items(), *data.versions.items()], columns=["what", "value"]),
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
            "Where the report answers, or why an item is not applicable",
            link="place",
        ),
    )
