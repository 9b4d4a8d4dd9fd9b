"""Sections of the report on the results: findings, scores, comparisons, body parts, calibration."""

import pandas as pd

from ulna.evaluation import METRIC_NAMES, NAMES, REFERENCE_NOTE, conclusions
from ulna.report.contents import INTERVAL, LABELS, ReportData, pairs, score_frame
from ulna.report.html import (
    Section,
    bullets,
    embed_picture,
    interval,
    number,
    p_value,
    paragraph,
    picture_grid,
    section,
    span,
    subheading,
    table,
)
from ulna.report.pictures import GROUPS, Picture

HEADINGS = {
    "missed": "Missed: abnormal studies, the network's surest errors first",
    "false_alarms": "False alarms: normal studies",
    "found": "Found: abnormal studies",
    "normal": "Normal studies, no alarm",
}
MODEL, RADIOLOGIST = "model", "best radiologist"  # in the table of published kappas


def findings(data: ReportData) -> Section:
    """What the best network finds and misses, with pictures of both."""
    best = data.best
    metrics = data.metrics[best]
    grids = {name: _pictures(data, name) for name in GROUPS}
    errors = []
    for arch in data.networks:
        rows = data.tables[f"{arch}/disagreements"].head(8)
        cells = rows[["study", "split"]].assign(
            label=rows["label"].map(LABELS),
            probability=[number(value) for value in rows["probability"]],
        )
        caption = f"{NAMES[arch]}: the most confident errors, on val and test"
        errors.append(table(cells, caption, ("study", "split", "label")))
    return section(
        "findings",
        "What it finds and misses",
        [
            paragraph(
                f"{NAMES[best]}: {conclusions.found_and_false(metrics['study'])}",
                "A click on a picture enlarges the original; a yellow box marks the finding, where "
                "the data name one.",
            ),
            data.figure("by_finding"),
            grids["missed"],
        ],
        [
            _finding_table(data),
            grids["false_alarms"],
            grids["found"],
            grids["normal"],
            subheading("Errors of each network"),
            paragraph(
                "Either the network or the label is wrong: a list for a radiologist to review. The "
                "whole list: plots/tables/<network>/disagreements.csv."
            ),
            *errors,
        ],
    )


def _finding_table(data: ReportData) -> str:
    table_of = data.tables[f"{data.best}/by_finding"]
    if table_of.empty:
        return ""
    rows = [
        {
            "finding": row["finding"].replace("_", " "),
            "studies": number(int(row["studies"])),
            "found": number(int(row["found"])),
            "sensitivity": span(row, "sensitivity", 2),
            "AUROC": span(row, "auroc", 2),
            "sensitivity at specificity 0.80": number(row["sensitivity_at_specificity_80"], 2),
        }
        for row in table_of.to_dict("records")
    ]
    return table(
        pd.DataFrame(rows),
        f"{NAMES[data.best]} by finding, abnormal studies of test, AUROC against all normal ones; "
        f"{INTERVAL}; at specificity 0.80: the threshold that calls 80% of the normal test studies "
        "normal",
    )


def _pictures(data: ReportData, group: str) -> str:
    pictures = data.pictures[group]
    if not pictures:
        return ""
    anchor = f"pictures-{group.replace('_', '-')}"
    cells = [
        embed_picture(
            f"{anchor}-{order}",
            picture.jpeg,
            (picture.width_px, picture.height_px),
            picture.box,
            _caption(picture),
            anchor,
        )
        for order, picture in enumerate(pictures, start=1)
    ]
    heading = f"{HEADINGS[group]}; p: probability of abnormal, from {NAMES[data.best]}"
    return picture_grid(anchor, heading, cells, large=group == "missed")


def _caption(picture: Picture) -> list[str]:
    first = picture.finding or picture.body_part
    views = f"{picture.views} view{'s' * (picture.views > 1)}"
    return [first, f"p {picture.probability:.2f}, {views}", picture.study]


def results(data: ReportData) -> Section:
    """Headline numbers, curves and confusion matrices."""
    tables = {}
    for level, words in (("study", "the level that counts"), ("image", "each view by itself")):
        sizes = data.metrics[data.networks[0]][level]
        caption = (
            f"Test set, per {level}, {words}: n = {sizes['n']:,} ({sizes['abnormal']:,} abnormal) "
            f"of {sizes['patients']:,} patients; {INTERVAL}"
        )
        tables[level] = table(score_frame(data, level), caption)
    areas = "; ".join(
        f"{NAMES[arch]} has AUROC {number(study['auroc'])}, AUPRC {number(study['auprc'])}"
        for arch, study in ((arch, data.metrics[arch]["study"]) for arch in data.evaluated)
    )
    return section(
        "results",
        "Results on the test set",
        [tables["study"], data.figure("roc", areas=areas)],
        [
            data.figure("confusion"),
            paragraph(
                "A study is what a radiologist reports on: its probability is made from all its "
                "views. Per image the same network may look better or worse, since studies with "
                "many views count more."
            ),
            tables["image"],
        ],
    )


def body_parts(data: ReportData) -> Section:
    """Metrics by body part, and published results."""
    parts = {arch: data.tables[f"{arch}/by_body_part"] for arch in data.networks}
    first = next(iter(parts.values()))
    rows = pd.DataFrame({"body part": first["body_part"]})
    for column, label in (("n", "studies"), ("abnormal", "abnormal")):
        rows[label] = [number(int(value)) for value in first[column]]
    for arch, scores in parts.items():
        for name in ("auroc", "kappa"):
            cells = [span(score, name, 2) for score in scores.to_dict("records")]
            rows[f"{NAMES[arch]} {METRIC_NAMES[name]}"] = cells
    few = int((parts[data.best]["note"] == "too_few").sum())
    return section(
        "body-parts",
        "By body part; published results",
        [
            paragraph(
                f"{len(rows)} body parts of {first['n'].min():,} to {first['n'].max():,} test "
                f"studies each; {few} have too few for an interval. A difference between parts is "
                "worth a thought only where the intervals are apart."
            )
        ],
        [
            data.figure("by_body_part", note=REFERENCE_NOTE),
            table(rows, f"Per study; {INTERVAL}", dense=True),
            *_published(data),
        ],
    )


def _published(data: ReportData) -> list[str]:
    kappas = data.reference.set_index(["reader", "body_part"])["kappa"]
    words = paragraph(
        "On MURA's hidden test set of 207 studies Stanford's model has kappa "
        f"{number(kappas[MODEL, 'overall'])}, the best of three radiologists "
        f"{number(kappas[RADIOLOGIST, 'overall'])} ({REFERENCE_NOTE}). The radiologists' kappas by "
        "body part could not be checked, and are left out.",
        "Synthetic radiographs cannot be compared with any of these." * data.synthetic,
    )
    if data.synthetic:
        return [subheading("Published results"), words]
    rows = [(part, number(kappa)) for part, kappa in kappas[MODEL].items()]
    caption = (
        f"Published kappas of Stanford's model, Rajpurkar et al., arXiv 1712.06957: "
        f"{REFERENCE_NOTE}"
    )
    published = pd.DataFrame(rows, columns=["body part", "kappa"])
    return [subheading("Published results"), words, table(published, caption)]


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
        # Without a temperature there is nothing after it.
        if scaling == "before" or summary["temperature"] is not None
    ]
    sizes = summaries[data.networks[0]]
    short = [conclusions.calibration_in_short(summary, arch) for arch, summary in summaries.items()]
    return section(
        "calibration",
        "Calibration",
        [paragraph(*short)],
        [
            bullets(
                [conclusions.calibration(summary, arch) for arch, summary in summaries.items()]
            ),
            table(
                pd.DataFrame(rows),
                f"Per study of test, n = {sizes['n']:,}, before and after scaling by the "
                "temperature fitted on val; ECE: expected calibration error; ideal: slope 1, "
                "intercept 0",
                ("scaling",),
            ),
            data.figure("calibration"),
        ],
    )


def compared(data: ReportData) -> list[str]:
    """One sentence per pair of networks."""
    return [conclusions.comparison(result, *pair) for pair, result in pairs(data).items()]


def difference_frame(data: ReportData) -> pd.DataFrame:
    """The differences between networks in the headline metrics, per study, as text."""
    rows = []
    for (first, second), result in pairs(data).items():
        study = result["study"]
        differences = {
            METRIC_NAMES[name]: interval(
                *(study[name][part] for part in ("difference", "low", "high"))
            )
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
        "Networks compared",
        [bullets(compared(data))],
        [
            table(
                difference_frame(data),
                "Differences per study (95% interval, the same bootstrap replicates of patients "
                "for both); DeLong's and McNemar's tests are clustered by patient",
            ),
            data.figure("compare"),
        ],
    )
