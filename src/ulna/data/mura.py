"""Parse the four CSV files of a MURA-like data set into one checked table of images.

The CSV files decide, not the folders. `patientX/studyN` does not name a study: in MURA's train
1,479 such pairs occur in more than one body part, 754 of them with conflicting labels. The key of a
study is official split, body part, patient and study together.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

import pandas as pd

from ulna.core import InputError, first_ten
from ulna.data import IMAGE_COLUMNS
from ulna.data.source import (
    CSV_FILES,
    OFFICIAL_SPLITS,
    Root,
    display_path,
    leads_outside,
    read_file,
    reject_mura_v1_0,
)

# Names are ASCII: \d would take any script's digits.
STUDY = (
    r"(?P<prefix>\w[^/]*)/(?P<folder>(?P<split>train|valid)/XR_(?P<body_part>[A-Z][A-Z0-9]*)"
    r"/(?P<patient>patient[0-9]+)/(?P<study>study[0-9]+)_(?P<sign>positive|negative)/)"
)
STUDY_LINE = re.compile(STUDY + r",(?P<label>[01])")
IMAGE_LINE = re.compile(STUDY + r"(?P<file>image[0-9]+\.(?i:png|jpg|jpeg|dcm))")
LABELS = {"negative": 0, "positive": 1}


class Counts(NamedTuple):
    """Counts of one body part in one official split."""

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

SHOWN = 3  # differences on a line


class Difference(NamedTuple):
    """A count that differs from the official one."""

    official_split: str
    body_part: str
    field: str
    received: int
    expected: int


def read_index(root: Root) -> pd.DataFrame:
    """Read and check the CSV files of a data set.

    Returns:
        One row per image, sorted by `image`: image (path relative to the data set), official_split
        (train or valid), body_part (such as WRIST), patient, study (unique, such as
        `train/WRIST/patient00006/study1`), label (int, 1 = abnormal).

    Raises:
        InputError: A CSV file is missing or breaks a rule of `parse_index`.
    """
    tables = {}
    for name in CSV_FILES:
        try:
            tables[name] = read_file(root, name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{display_path(root, name)} is not UTF-8 text ({error}): "
                "restore it from the download"
            ) from None
    return parse_index(tables, where=display_path(root, ""))


def parse_index(tables: Mapping[str, str], where: str = "") -> pd.DataFrame:
    """Check the four CSV files, name -> text; nothing is skipped, repaired or guessed.

    Raises:
        InputError: A file is empty or has a header, a malformed line, a path that leads outside or
            to MURA v1.0, a line twice; a study's label contradicts its folder, or it has both; an
            image has no labelled study or a study no image; a patient is in train and valid.
    """
    rows: list[tuple[str, str, str, str, str, int]] = []
    for split in OFFICIAL_SPLITS:
        rows += _parse_split(tables, split, where)
    images = pd.DataFrame(sorted(rows), columns=IMAGE_COLUMNS)
    _check_patients(images, where)
    return images


def check_files(images: pd.DataFrame, on_disk: set[str]) -> int:
    """Stop (InputError) if a listed image is missing; count the files that no CSV file lists."""
    listed = set(images["image"])
    missing = sorted(listed - on_disk)
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(listed):,} listed images are missing: restore them from the "
            f"download\n{first_ten(missing)}"
        )
    return len(on_disk - listed)


def select_body_parts(
    images: pd.DataFrame, body_parts: Literal["all"] | tuple[str, ...]
) -> pd.DataFrame:
    """Keep the images of some body parts, numbered from 0; an unknown name is an InputError."""
    if body_parts == "all":
        return images
    present = sorted(set(images["body_part"]))
    unknown = [part for part in body_parts if part not in present]
    if unknown:
        raise InputError(
            f"params.yaml: data.body_parts names {', '.join(unknown)}, "
            f"but the data set has {', '.join(present)}"
        )
    return images[images["body_part"].isin(body_parts)].reset_index(drop=True)


def count_by_body_part(images: pd.DataFrame) -> dict[str, dict[str, Counts]]:
    """Count a data set in the form of `MURA_V1_1`: official split -> body part or `all`."""
    return {
        str(split): {
            **{str(part): _count(rows) for part, rows in of_split.groupby("body_part")},
            "all": _count(of_split),
        }
        for split, of_split in images.groupby("official_split")
    }


def compare_with_official(images: pd.DataFrame) -> list[Difference]:
    """List the counts of a whole data set that are not those of MURA v1.1.

    Those of body parts come before those of `all`: these alone mean that patients were merged or
    cut apart.
    """
    counts, nothing = count_by_body_part(images), Counts(0, 0, 0, 0, 0)
    # Capitals sort before `all`.
    parts = sorted({part for split in (*counts.values(), *MURA_V1_1.values()) for part in split})
    return [
        Difference(split, part, field, received, expected)
        for part in parts
        for split, official in MURA_V1_1.items()
        for field, received, expected in zip(
            Counts._fields,
            counts.get(split, {}).get(part, nothing),
            official.get(part, nothing),
            strict=True,
        )
        if received != expected
    ]


def describe_differences(differences: Sequence[Difference]) -> str:
    """Name the first differences on a line, or state that the counts are those of MURA v1.1."""
    if not differences:
        return "the counts are those of MURA v1.1"
    shown = "; ".join(
        f"{d.body_part} {d.official_split} {d.field.replace('_', ' ')} {d.received:,} "
        f"(official {d.expected:,})"
        for d in differences[:SHOWN]
    )
    more = f" and {len(differences) - SHOWN:,} more" if len(differences) > SHOWN else ""
    return f"{len(differences):,} counts differ from MURA v1.1: {shown}{more}"


def _parse_split(
    tables: Mapping[str, str], split: str, where: str
) -> list[tuple[str, str, str, str, str, int]]:
    image_name, study_name = f"{split}_image_paths.csv", f"{split}_labeled_studies.csv"
    study_lines = _match_lines(tables[study_name], f"{where}{study_name}", split, STUDY_LINE)
    image_lines = _match_lines(tables[image_name], f"{where}{image_name}", split, IMAGE_LINE)
    lines = _check_studies(study_lines, f"{where}{study_name}")

    rows, faults = [], []
    first_lines: dict[str, int] = {}
    for line, image in enumerate(image_lines, start=1):
        path = image["folder"] + image["file"]
        if path in first_lines:
            faults.append(f"line {line} repeats line {first_lines[path]}: {path}")
        if image["folder"] not in lines:
            faults.append(f"line {line}: no line of {study_name} labels {image['folder']}")
        first_lines.setdefault(path, line)
        label = LABELS[image["sign"]]
        rows.append((path, split, image["body_part"], image["patient"], _key(image), label))
    _raise_faults(faults, f"{where}{image_name}")

    seen = {image["folder"] for image in image_lines}
    faults = [f"line {line}: {folder}" for folder, line in lines.items() if folder not in seen]
    _raise_faults(faults, f"{where}{study_name} labels studies that {image_name} gives no image")
    return rows


def _check_studies(studies: list[re.Match[str]], where: str) -> dict[str, int]:
    """Folder of each labelled study -> its line; its label is the one that the folder names."""
    lines: dict[str, int] = {}
    folders: dict[str, str] = {}
    faults = []
    for line, study in enumerate(studies, start=1):
        folder, label = study["folder"], int(study["label"])
        first = folders.setdefault(_key(study), folder)
        if label != LABELS[study["sign"]]:
            faults.append(f"line {line}: label {label} contradicts the folder {folder}")
        if folder in lines:
            faults.append(f"line {line} repeats line {lines[folder]}: {folder}")
        elif folder != first:
            faults.append(
                f"line {line}: {folder} gives the study of line {lines[first]} the other label"
            )
        lines.setdefault(folder, line)
    _raise_faults(faults, where)
    return lines


def _match_lines(
    text: str, where: str, split: str, pattern: re.Pattern[str]
) -> list[re.Match[str]]:
    if not text.strip():
        raise InputError(f"{where} is empty: restore it from the download")
    matches, faults = [], []
    # What follows the prefix is bound by the pattern: one answer holds for all lines of a prefix.
    outside = cache(leads_outside)
    # Not splitlines: it would also end a line at characters such as U+2028.
    for number, line in enumerate(text.replace("\r\n", "\n").rstrip("\n").split("\n"), start=1):
        match = pattern.fullmatch(line)
        if match is not None and match["split"] == split and not outside(match["prefix"]):
            matches.append(match)
        else:
            faults.append(f"line {number}: {_line_fault(line, number, split, pattern)}")
    _raise_faults(faults, where)
    for prefix in sorted({match["prefix"] for match in matches}):
        reject_mura_v1_0(prefix, f"{where} lists {prefix}/, which")
    return matches


def _line_fault(line: str, number: int, split: str, pattern: re.Pattern[str]) -> str:
    received = repr(line[:200])
    if leads_outside(line):
        return f"{received} leads outside the data set"
    if number == 1 and line and "/" not in line:
        return f"{received} is a header, but these files have none: delete it"
    example = f"MURA-v1.1/{split}/XR_WRIST/patient00006/study1_positive/"
    example += "image1.png" if pattern is IMAGE_LINE else ",1"
    return f"expected such as {example}, received {received}"


def _key(match: re.Match[str]) -> str:
    return f"{match['split']}/{match['body_part']}/{match['patient']}/{match['study']}"


def _check_patients(images: pd.DataFrame, where: str) -> None:
    patients = images.drop_duplicates(["official_split", "patient"])
    # patient11 beside patient00011 is one patient spelled in two ways, or a mistake: taken for two
    # it could leak, so the number counts.
    numbers = patients["patient"].str.removeprefix("patient").str.lstrip("0")
    repeated = patients[numbers.duplicated(keep=False)]
    faults = []
    for _, rows in repeated.groupby(numbers):
        spellings = sorted(set(rows["patient"]))
        of = "is in train and in valid" if len(spellings) == 1 else "have one number"
        faults.append(f"{' and '.join(spellings)} {of}")
    _raise_faults(
        sorted(faults), f"{where}: a patient must be in one official split, under one name"
    )


def _raise_faults(faults: list[str], where: str) -> None:
    if faults:
        raise InputError(
            f"{where}: {first_ten(faults)}\nCorrect the file, or restore it from the download"
        )


def _count(rows: pd.DataFrame) -> Counts:
    studies = rows.drop_duplicates("study")
    counts = (int((table["label"] == label).sum()) for table in (studies, rows) for label in (0, 1))
    return Counts(int(rows["patient"].nunique()), *counts)
