"""How many patients, studies and images MURA v1.1 has, and whether a data set has as many."""

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

OFFICIAL = "these are the official MURA v1.1 counts"


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


def compare_with_official(images: pd.DataFrame) -> str:
    """Say whether a data set has the counts of MURA v1.1, and if not, where it differs.

    Args:
        images: The whole data set, as for `count`.

    Returns:
        `OFFICIAL`; or text that begins with "not the official MURA v1.1" and goes on with the body
        parts where they differ, the totals where no body part agrees, else a line for each body
        part that differs.
    """
    found = count(images)
    parts = sorted({part for split in found.values() for part in split} - {"all"})
    official_parts = sorted(set(MURA_V1_1["train"]) - {"all"})
    differences = {part: _differences(found, part) for part in [*official_parts, "all"]}
    wrong = [part for part, fields in differences.items() if fields]
    if parts != official_parts:
        listed, expected = ", ".join(parts), ", ".join(official_parts)
        return f"not the official MURA v1.1: the body parts are {listed} (official: {expected})"
    if not wrong:
        return OFFICIAL
    if len(wrong) == len(differences):
        patients, total = images["patient"].nunique(), len(images)
        return (
            f"not the official MURA v1.1: {total:,} images of {patients:,} patients "
            "(official: 40,005 of 11,967), and every body part differs"
        )
    # The sum differs where a part does; alone it means that patients were merged or cut apart.
    named = [part for part in wrong if part != "all"] or ["all"]
    lines = [f"  {part}: {', '.join(differences[part])}" for part in named]
    return "\n".join(["not the official MURA v1.1:", *lines])


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


def _differences(found: dict[str, dict[str, Counts]], part: str) -> list[str]:
    nothing = Counts(0, 0, 0, 0, 0)
    return [
        f"{split} {field.replace('_', ' ')} {received:,} (official {expected:,})"
        for split, official in MURA_V1_1.items()
        for field, received, expected in zip(
            Counts._fields, found.get(split, {}).get(part, nothing), official[part], strict=True
        )
        if received != expected
    ]
