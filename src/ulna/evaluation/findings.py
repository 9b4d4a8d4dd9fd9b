"""What a network finds and misses by finding, and its scores without what the audit flagged."""

from typing import Any

import numpy as np
import pandas as pd

from ulna.evaluation.bootstrap import Replicates, ci_columns, metrics_with_ci, wilson_ci

FINDING_SCORES = ("studies", "found", *ci_columns(("sensitivity", "auroc")))
COLUMNS = ("finding", *FINDING_SCORES, "sensitivity_at_specificity_80")
NO_FINDING = "none"
UNNAMED = "unnamed"  # an abnormal study of which no image names a finding
SPECIFICITY = 0.8
# Codes of the audit that make a study's score doubtful: the image is not what it should be, or its
# label or a copy of it was seen in training. Not those that describe the file or the study
# (`colour`, `single_view`, `mixed_labels`, `tiny`, `extreme_aspect`), copies within one split and
# label, and not `saturated` and `bright_border`, which sound radiographs have too (39 of 1,337 of
# FracAtlas are saturated).
FLAGS = (
    "inverted", "low_contrast", "body_part_outlier", "duplicate_across_splits",
    "duplicate_label_conflict",
)  # fmt: skip


def study_findings(images: pd.DataFrame, annotations: pd.DataFrame) -> pd.DataFrame:
    """List the findings of abnormal test studies.

    A study has the findings that its images name, other than `none`: usually one. The images are
    those of a prediction table, annotations see `ulna.data.annotations.read_annotations`.

    Returns:
        study and finding, one row per pair, sorted by finding; `UNNAMED` for a study without.
    """
    columns = ["study", "finding"]
    abnormal = images[(images["split"] == "test") & (images["label"] == 1)]
    named = abnormal[["image", "study"]].merge(annotations[["image", "finding"]], "left", "image")
    named = named[named["finding"].notna() & (named["finding"] != NO_FINDING)][columns]
    studies = abnormal[["study"]].drop_duplicates()
    unnamed = studies[~studies["study"].isin(named["study"])].assign(finding=UNNAMED)
    return pd.concat([named, unnamed]).drop_duplicates().sort_values(["finding", "study"])


def score_by_finding(
    test: pd.DataFrame, findings: pd.DataFrame, replicates: Replicates, min_patients: int
) -> pd.DataFrame:
    """Evaluate the abnormal studies of each finding, against all normal ones.

    test has one row per study of test, with its threshold; findings see `study_findings`.

    Returns:
        One row per finding, columns `COLUMNS`: studies and found (predicted positive) are counts.
        sensitivity has Wilson's 95% limits, counted in patients as if the studies of one were
        copies of each other; auroc, against all normal studies, those of the bootstrap over
        patients. sensitivity_at_specificity_80 is at the lowest threshold that clears 80% of the
        normal test studies, so it describes this test set. All but the counts are NaN with fewer
        than min_patients with the finding.

    Reference:
        Wilson 1927, JASA 22(158), 209-212; Brown et al. 2001, Statistical Science 16(2), for small
        n.
    """
    normal = test[test["label"] == 0]
    cleared = np.sort(normal["probability"].to_numpy())
    at = np.inf if normal.empty else cleared[int(np.ceil(SPECIFICITY * len(cleared))) - 1]
    rows = []
    for finding, of_finding in findings.groupby("finding", sort=True):
        studies = test[test["study"].isin(of_finding["study"])]
        found = studies["probability"] > studies["threshold"]
        row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
        row |= {"finding": finding, "studies": len(studies), "found": int(found.sum())}
        patients = studies["patient"].nunique()
        if patients >= min_patients:
            share = float(found.mean())
            low, high = map(float, wilson_ci(share * patients, patients))
            row |= dict(zip(ci_columns(["sensitivity"]), (share, low, high), strict=True))
            against = metrics_with_ci(pd.concat([studies, normal]), replicates, min_patients)
            row |= {name: against[name] for name in ci_columns(["auroc"])}
            if len(normal):
                row["sensitivity_at_specificity_80"] = float((studies["probability"] > at).mean())
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summarize_findings(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The table of `score_by_finding` for a JSON file: finding -> `FINDING_SCORES`."""
    rows = table.set_index("finding")[list(FINDING_SCORES)]
    return {str(finding): row for finding, row in rows.to_dict("index").items()}


def flagged_studies(images: pd.DataFrame, audit: pd.DataFrame | None) -> set[str]:
    """The studies of a prediction table with an image in a row of the audit with one of `FLAGS`.

    audit is the table of `ulna.checks.audit.audit_images`; of a pair both images count.
    """
    if audit is None:
        return set()
    flagged = audit[audit["finding"].isin(FLAGS)]
    named = set(flagged["image"]) | set(flagged["other_image"].dropna())
    return set(images.loc[images["image"].isin(named), "study"])
