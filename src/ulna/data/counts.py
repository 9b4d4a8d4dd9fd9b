"""How many patients, studies and images MURA v1.1 has, and whether a data set has as many."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd


class Counts(NamedTuple):
    """What one body part holds in one official split."""

    patients: int
    normal_studies: int
    abnormal_studies: int
    normal_images: int
    abnormal_images: int


# Counted from the official CSV files. Patients of `all` are fewer than the sum: 1,467 train
# patients have studies of two or more body parts.
MURA_V1_1 = {
    "train": {
        "ELBOW": Counts(1711, 1094, 660, 2925, 2006),
        "FINGER": Counts(1865, 1280, 655, 3138, 1968),
        "FOREARM": Counts(865, 590, 287, 1164, 661),
        "HAND": Counts(1945, 1497, 521, 4059, 1484),
        "HUMERUS": Counts(587, 321, 271, 673, 599),
        "SHOULDER": Counts(2694, 1364, 1457, 4211, 4168),
        "WRIST": Counts(3267, 2134, 1326, 5765, 3987),
        "all": Counts(11184, 8280, 5177, 21935, 14873),
    },
    "valid": {
        "ELBOW": Counts(152, 92, 66, 235, 230),
        "FINGER": Counts(166, 92, 83, 214, 247),
        "FOREARM": Counts(129, 69, 64, 150, 151),
        "HAND": Counts(159, 101, 66, 271, 189),
        "HUMERUS": Counts(132, 68, 67, 148, 140),
        "SHOULDER": Counts(173, 99, 95, 285, 278),
        "WRIST": Counts(207, 140, 97, 364, 295),
        "all": Counts(783, 661, 538, 1667, 1530),
    },
}

SHOWN = 3  # differences in a line


class Difference(NamedTuple):
    """A count that is not the official one."""

    official_split: str
    body_part: str
    field: str
    received: int
    expected: int


def count(images: pd.DataFrame) -> dict[str, dict[str, Counts]]:
    """Count a data set in the form of `MURA_V1_1`.

    Args:
        images: One row an image: official_split, body_part, patient, study (a unique key), label.

    Returns:
        Official split -> body part, and `all` -> counts.
    """
    return {
        str(split): {
            **{str(part): _count(rows) for part, rows in of_split.groupby("body_part")},
            "all": _count(of_split),
        }
        for split, of_split in images.groupby("official_split")
    }


def compare_with_official(images: pd.DataFrame) -> list[Difference]:
    """List the counts that are not those of MURA v1.1.

    Args:
        images: The whole data set, as for `count`.

    Returns:
        The differences, those of body parts before those of `all`: these alone mean that patients
        were merged or cut apart. Nothing for MURA v1.1.
    """
    found, nothing = count(images), Counts(0, 0, 0, 0, 0)
    # Capitals sort before `all`.
    parts = sorted({part for split in (*found.values(), *MURA_V1_1.values()) for part in split})
    return [
        Difference(split, part, field, received, expected)
        for part in parts
        for split, official in MURA_V1_1.items()
        for field, received, expected in zip(
            Counts._fields,
            found.get(split, {}).get(part, nothing),
            official.get(part, nothing),
            strict=True,
        )
        if received != expected
    ]


def describe_differences(differences: Sequence[Difference]) -> str:
    """Say on a line whether these are the counts of MURA v1.1."""
    if not differences:
        return "the counts are those of MURA v1.1"
    shown = "; ".join(
        f"{d.body_part} {d.official_split} {d.field.replace('_', ' ')} {d.received:,} "
        f"(official {d.expected:,})"
        for d in differences[:SHOWN]
    )
    more = f" and {len(differences) - SHOWN:,} more" if len(differences) > SHOWN else ""
    return f"{len(differences):,} counts differ from MURA v1.1: {shown}{more}"


def _count(rows: pd.DataFrame) -> Counts:
    studies = rows.drop_duplicates("study")
    abnormal_studies, abnormal_images = int(studies["label"].sum()), int(rows["label"].sum())
    return Counts(
        patients=int(rows["patient"].nunique()),
        normal_studies=len(studies) - abnormal_studies,
        abnormal_studies=abnormal_studies,
        normal_images=len(rows) - abnormal_images,
        abnormal_images=abnormal_images,
    )
