"""Audit of the images: quality, duplicates, leaks between splits, contradicting labels.

Everything is measured on thumbnails of the cached images: it hardly depends on the size of the
cache, and takes 10 KB of memory per image (40,005 of 96 px: 44 s of a core, 0.55 GB beside the
mapped cache). Time grows with the square of the images only in two matrix products (16 s of these).
The thresholds stand beside what they were measured on: the 799 phantom images without quality
problems, and 1,337 radiographs of hands and shoulders of FracAtlas.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.checks.duplicates import LARGE_PX, Resize, add_correlation, find_conflicts, find_copies
from ulna.checks.quality import SMALL_PX, measure_images, resize_content, similarity
from ulna.core import InputError
from ulna.core.progress import progress
from ulna.data import Fit

Pixels = npt.NDArray[np.uint8]

# Finding, one of `ulna.core.params.Finding` -> its meaning, in the order of the table.
FINDINGS = {
    "inverted": "brighter than mid-grey on average and along the rim (value: the lower, of 255)",
    "low_contrast": "hardly any contrast (value: grey levels from the 1% to the 99% quantile)",
    "saturated": "large overexposed areas (value: share at the brightest grey level)",
    "bright_border": "a bright strip along a whole side, 4% of the image or more (value: sides)",
    "body_part_outlier": "cut off, or another part: dissimilar to every image of its body part, "
    "however turned or mirrored (value: correlation with the third most similar)",
    "extreme_aspect": "long and narrow (value: longer side over shorter)",
    "tiny": "enlarged to the size of the cache (value: longer side in pixels)",
    "colour": "the file has colours (value: bits per channel)",
    "single_view": "a study of one cached image (value: images)",
    "mixed_labels": "a patient with normal and abnormal studies (value: studies)",
    "exact_duplicate": "the same pixels (value: correlation)",
    "near_duplicate": "the same image saved again, shifted or relit (value: correlation)",
    "duplicate_across_splits": "copies in different splits: a leak (value: correlation)",
    "duplicate_label_conflict": "copies in studies of different labels (value: correlation)",
}
COLUMNS = [
    "finding", "image", "body_part", "split", "label", "value",
    "other_image", "other_split", "other_label",
]  # fmt: skip

# 94% of inverted copies of the phantom's images are above (an elbow may fill its frame), and 6 of
# 1,957 images as they are.
MID_GREY = 127.5
# Similarity as it is less that of the inverse: those 6 have more, the synthetic ones less.
UPRIGHT_MARGIN = 0.1
# The synthetic ones have 1 to 7, the flattest of the others 56.
LOW_CONTRAST_BELOW = 25
# Ordinary images of the phantom have 0.05 at most; 39 of FracAtlas are above: white beds, trunks.
SATURATED_FROM = 0.1
# The phantom's long bones have 3.8 at most; MURA's short sides go down to about 90 of 512.
ASPECT_FROM = 4.0
# In five phantoms 12 of 15 that were cut off are below (the others look like fingers or an elbow),
# and none of the other 4,000: the least has 0.63.
OUTLIER_BELOW = 0.55
# Images of a body part. The fewer, the more have none similar: of FracAtlas's mixed HAND 0.4% of
# all 1,254, 2% of any 400, 8% of any 100; of the phantom's parts, 84 to 159 images, none.
COMPARED = 80
SAMPLE = 500  # images of a part, at least, that each is compared with first
# Findings that an image shows.
VISIBLE = tuple(name for name in FINDINGS if name not in ("colour", "single_view", "mixed_labels"))
GREYSCALE = ("1", "L", "LA", "I;16", "MONOCHROME1", "MONOCHROME2")

BLOCK = 512
# Images of a finding in the message that stops the run: of an experiment in DVC's queue no table is
# left to look at.
NAMED = 10


def fail_on_findings(findings: pd.DataFrame, fail_on: Sequence[str], table: Path) -> None:
    """Stop (InputError) if findings named in `fail_on` occur; `table` is the file of all rows."""
    faults = []
    for name in fail_on:
        rows = findings[findings["finding"] == name]
        if len(rows):
            others = rows["other_image"].map(lambda other: f" (with {other})" if other else "")
            images = (rows["image"] + others).head(NAMED)
            more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
            faults.append(f"{len(rows):,} {name}: {', '.join(images)}{more}")
    if faults:
        raise InputError(
            f"audit.fail_on stops on {'; '.join(faults)}; look at {table}, then correct the data "
            "set or take the finding out of audit.fail_on in params.yaml"
        )


def audit_images(images: pd.DataFrame, arrays: Mapping[str, Pixels], fit: Fit) -> pd.DataFrame:
    """Find everything in FINDINGS.

    images has one row per cached image, see `ulna.data.samples.join_measurements`; arrays is body
    part -> (images, size_px, size_px) uint8; fit is that of the cache.

    Returns:
        A table with COLUMNS, one row per finding and image, patient, study or pair; sorted as
        FINDINGS, then by image. A patient or study is named by its first image. Of copies, the
        later image is named first, and one row names each image that an earlier one is a copy of.
    """
    images = images.sort_values("image", kind="stable", ignore_index=True)

    def resize_large(positions: npt.NDArray[np.int64]) -> Pixels:
        return resize_content(arrays, images.iloc[positions], fit, LARGE_PX)

    blocks = range(0, len(images), BLOCK)
    thumbnails = np.empty((len(images), SMALL_PX, SMALL_PX), np.uint8)
    measured = []
    for start in progress(blocks, len(blocks), "audit", unit=f"x {BLOCK} images"):
        block = slice(start, start + BLOCK)
        thumbnails[block] = resize_content(arrays, images.iloc[block], fit, SMALL_PX)
        measured.append(measure_images(thumbnails[block]))
    grey = pd.concat(measured, ignore_index=True)
    size_px = next(iter(arrays.values())).shape[1]
    tables = [
        _image_findings(images, thumbnails, grey, size_px),
        _study_findings(images),
        _copy_findings(images, thumbnails, resize_large),
    ]
    findings = pd.concat(tables, ignore_index=True)
    order = findings["finding"].map({name: order for order, name in enumerate(FINDINGS)})
    findings = findings.assign(order=order).sort_values(["order", "at", "other"], kind="stable")
    return _name_images(findings, images)


def choose_examples(findings: pd.DataFrame, images: int) -> pd.DataFrame:
    """Choose rows to show, evenly spread over each visible finding, of at most n `images` each."""
    chosen = [findings[:0]]
    for _, rows in findings[findings["finding"].isin(VISIBLE)].groupby("finding", sort=False):
        count = min(len(rows), images // 2 if rows["other_image"].iloc[0] else images)
        chosen.append(rows.iloc[[(2 * k + 1) * len(rows) // (2 * count) for k in range(count)]])
    return pd.concat(chosen, ignore_index=True)


def count_findings(findings: pd.DataFrame) -> dict[str, int]:
    """Count the rows of each finding, those without any included."""
    rows = findings["finding"].value_counts()
    return {name: int(rows.get(name, 0)) for name in FINDINGS}


def summarize_audit(images: pd.DataFrame, rejected_images: int) -> dict[str, int]:
    """Count the images, patients and studies of the audit.

    too_few_to_compare: images of body parts too small to look for `body_part_outlier`.
    """
    sizes = images.groupby("body_part")["image"].transform("size")
    return {
        "images": len(images),
        "patients": images["patient"].nunique(),
        "studies": images["study"].nunique(),
        "rejected_images": rejected_images,
        "too_few_to_compare": int((sizes < COMPARED).sum()),
    }


def _rows(finding: str, chosen: npt.NDArray[np.bool_], values: npt.ArrayLike) -> pd.DataFrame:
    """One row for each chosen image; `at` is its position, `other` -1 for none."""
    at = np.flatnonzero(chosen)
    return pd.DataFrame(
        {"finding": finding, "at": at, "other": -1, "value": np.asarray(values, float)[at]}
    )


def _image_findings(
    images: pd.DataFrame, thumbnails: Pixels, grey: pd.DataFrame, size_px: int
) -> pd.DataFrame:
    light = (grey["polarity"] > MID_GREY).to_numpy()
    as_is, as_inverse = np.full((2, len(images)), np.nan)
    for at in images.groupby("body_part").indices.values():
        if len(at) >= COMPARED:
            as_is[at], as_inverse[at] = _similarity_within(thumbnails[at], light[at])
    inverted = light & ~(as_is - as_inverse >= UPRIGHT_MARGIN)
    flat = (grey["contrast"] < LOW_CONTRAST_BELOW).to_numpy()
    longer = images[["width_px", "height_px"]].max(axis=1)
    aspect = longer / images[["width_px", "height_px"]].min(axis=1)
    findings = {
        "inverted": (inverted, grey["polarity"]),
        "low_contrast": (flat, grey["contrast"]),
        # An inverted or flat image has one cause: no second finding of it.
        "saturated": ((grey["saturated"] >= SATURATED_FROM) & ~inverted, grey["saturated"]),
        "bright_border": ((grey["bright_sides"] > 0) & ~inverted, grey["bright_sides"]),
        "body_part_outlier": ((as_is < OUTLIER_BELOW) & ~inverted & ~flat, as_is),
        "extreme_aspect": (aspect >= ASPECT_FROM, aspect),
        "tiny": (longer < size_px, longer),
        "colour": (~images["mode"].isin(GREYSCALE), images["bit_depth"]),
    }
    return pd.concat(
        [_rows(name, np.asarray(rows, bool), values) for name, (rows, values) in findings.items()]
    )


def _similarity_within(
    thumbnails: Pixels, light: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`similarity` to a sample, and to all where that is below OUTLIER_BELOW or the image light."""
    # Nothing depends on more than that the others are above. All pairs of MURA's 40,005 images took
    # 33 s of a core, this takes 5.
    everyone = np.arange(len(thumbnails))
    sample = everyone[:: max(1, len(thumbnails) // SAMPLE)]
    as_is, inverted = similarity(thumbnails, everyone, sample)
    doubtful = np.flatnonzero((as_is < OUTLIER_BELOW) | light)
    as_is[doubtful], inverted[doubtful] = similarity(thumbnails, doubtful, everyone)
    return as_is, inverted


def _study_findings(images: pd.DataFrame) -> pd.DataFrame:
    views = images.groupby("study")["image"].transform("size")
    single = _rows("single_view", (views == 1).to_numpy(), views)
    rows = []
    mixed = images.groupby("patient")["label"].transform("nunique") > 1
    for _, of_patient in images[mixed].groupby("patient"):
        firsts = of_patient.drop_duplicates("label").index
        rows.append(("mixed_labels", firsts[0], firsts[1], float(of_patient["study"].nunique())))
    return pd.concat([single, pd.DataFrame(rows, columns=["finding", "at", "other", "value"])])


def _copy_findings(images: pd.DataFrame, thumbnails: Pixels, resize: Resize) -> pd.DataFrame:
    hashes = images["pixel_sha256"].to_numpy()
    copies = find_copies(images["pixel_sha256"], thumbnails, resize)
    findings = [copies]
    for name, kind in (("duplicate_across_splits", "split"), ("duplicate_label_conflict", "label")):
        conflicts = add_correlation(find_conflicts(copies, images[kind]), resize)
        at, other = (hashes[conflicts[side]] for side in ("at", "other"))
        # An image of one grey level correlates with nothing, itself included.
        value = conflicts["value"].where(at != other, 1.0)
        findings.append(conflicts.assign(finding=name, value=value))
    return pd.concat(findings)


def _name_images(findings: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Replace positions by the images there; empty where there is no other image."""
    at = images.iloc[findings["at"].astype(int)].reset_index(drop=True)
    # Position -1 is none: a row of nothing is put there.
    other = images.reindex(findings["other"].replace(-1, len(images))).reset_index(drop=True)
    return pd.DataFrame(
        {
            "finding": findings["finding"].astype(str).to_numpy(),
            **{name: at[name] for name in ("image", "body_part", "split", "label")},
            "value": findings["value"].astype(float).round(4).to_numpy(),
            "other_image": other["image"].fillna(""),
            "other_split": other["split"].fillna(""),
            "other_label": other["label"].astype("Int64"),
        },
        columns=COLUMNS,
    )
