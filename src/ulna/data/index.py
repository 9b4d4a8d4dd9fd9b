"""The four CSV files of a MURA-like data set become one checked table of images.

The CSV files are the truth, not the folders. `patientX/studyN` does not name a study: in MURA's
train 1,479 such pairs occur in more than one body part, 754 of them with conflicting labels. The
key of a study is official split, body part, patient and study together.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal

import pandas as pd

from ulna.data.rows import IMAGE_COLUMNS
from ulna.data.source import OFFICIAL_SPLITS, Root, leads_outside, place, read_file, refuse_v1_0
from ulna.errors import InputError

# Names are ASCII: \d would take any script's digits.
STUDY = (
    r"(?P<prefix>\w[^/]*)/(?P<folder>(?P<split>train|valid)/XR_(?P<body_part>[A-Z][A-Z0-9]*)"
    r"/(?P<patient>patient[0-9]+)/(?P<study>study[0-9]+)_(?P<sign>positive|negative)/)"
)
STUDY_LINE = re.compile(STUDY + r",(?P<label>[01])")
IMAGE_LINE = re.compile(STUDY + r"(?P<file>image[0-9]+\.(?i:png|jpg|jpeg))")
LABELS = {"negative": 0, "positive": 1}

SHOWN = 10


def read_index(root: Root) -> pd.DataFrame:
    """Read and check the CSV files of a data set.

    Args:
        root: The data set, from `ulna.data.source.open_root`.

    Returns:
        One row an image, sorted by `image`: image (path relative to the data set), official_split
        (train or valid), body_part (such as WRIST), patient, study (unique, such as
        `train/WRIST/patient00006/study1`), label (int, 1 = abnormal).

    Raises:
        InputError: A CSV file is missing or breaks a rule of `parse_index`.
    """
    tables = {}
    for split in OFFICIAL_SPLITS:
        for name in (f"{split}_image_paths.csv", f"{split}_labeled_studies.csv"):
            try:
                tables[name] = read_file(root, name).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{place(root, name)} is not UTF-8 text ({error}): restore it from the download"
                ) from None
    return parse_index(tables, where=place(root, ""))


def parse_index(tables: Mapping[str, str], where: str = "") -> pd.DataFrame:
    """Check the content of the CSV files; nothing is skipped, mended or guessed.

    Args:
        tables: Name of each of the four CSV files -> its text.
        where: What stands before these names in a message.

    Returns:
        The table of `read_index`.

    Raises:
        InputError: A file is empty or has a header, a malformed line, a path that leads outside or
            to MURA v1.0, a line twice; a study's label contradicts its folder, or it has both; an
            image has no labelled study or a study no image; a patient is in train and valid.
    """
    rows: list[tuple[str, str, str, str, str, int]] = []
    for split in OFFICIAL_SPLITS:
        rows += _rows_of_split(tables, split, where)
    images = pd.DataFrame(sorted(rows), columns=IMAGE_COLUMNS)
    _check_patients(images, where)
    return images


def check_files(images: pd.DataFrame, on_disk: set[str]) -> int:
    """Stop if a listed image is not there.

    Args:
        images: The table of `read_index`.
        on_disk: The image files that there are, from `ulna.data.source.list_images`.

    Returns:
        How many files on disk no CSV file lists; they are never used.

    Raises:
        InputError: Images are missing: all are counted, the first ten named.
    """
    listed = set(images["image"])
    missing = sorted(listed - on_disk)
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(listed):,} listed images are missing: restore them from the "
            f"download\n{_some(missing)}"
        )
    return len(on_disk - listed)


def select_body_parts(
    images: pd.DataFrame, body_parts: Literal["all"] | tuple[str, ...]
) -> pd.DataFrame:
    """Keep the images of some body parts.

    Args:
        images: A table with the column body_part.
        body_parts: "all", or names such as ("FOREARM", "HUMERUS").

    Returns:
        The rows of these body parts, in the order of `images`, numbered from 0.

    Raises:
        InputError: A name is not in the data set.
    """
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


def _rows_of_split(
    tables: Mapping[str, str], split: str, where: str
) -> list[tuple[str, str, str, str, str, int]]:
    image_name, study_name = f"{split}_image_paths.csv", f"{split}_labeled_studies.csv"
    study_lines = _matches(tables[study_name], f"{where}{study_name}", split, STUDY_LINE)
    image_lines = _matches(tables[image_name], f"{where}{image_name}", split, IMAGE_LINE)

    lines = _study_lines(study_lines, f"{where}{study_name}")

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
    _stop_on(faults, f"{where}{image_name}")

    seen = {image["folder"] for image in image_lines}
    faults = [f"line {line}: {folder}" for folder, line in lines.items() if folder not in seen]
    _stop_on(faults, f"{where}{study_name} labels studies that {image_name} gives no image")
    return rows


def _study_lines(studies: list[re.Match[str]], where: str) -> dict[str, int]:
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
    _stop_on(faults, where)
    return lines


def _matches(text: str, where: str, split: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    if not text.strip():
        raise InputError(f"{where} is empty: restore it from the download")
    example = f"MURA-v1.1/{split}/XR_WRIST/patient00006/study1_positive/"
    example += "image1.png" if pattern is IMAGE_LINE else ",1"
    matches, faults = [], []
    # What follows the prefix is bound by the pattern: one answer holds for all lines of a prefix.
    outside = cache(leads_outside)
    # Not splitlines: it would also end a line at characters such as U+2028.
    for number, line in enumerate(text.replace("\r\n", "\n").rstrip("\n").split("\n"), start=1):
        match = pattern.fullmatch(line)
        if match is not None and match["split"] == split and not outside(match["prefix"]):
            matches.append(match)
        elif leads_outside(line):
            faults.append(f"line {number}: {line[:200]!r} leads outside the data set")
        elif number == 1 and line and "/" not in line:
            faults.append(
                f"line 1: {line[:200]!r} is a header, but these files have none: delete it"
            )
        else:
            faults.append(f"line {number}: expected such as {example}, received {line[:200]!r}")
    _stop_on(faults, where)
    for prefix in sorted({match["prefix"] for match in matches}):
        refuse_v1_0(prefix, f"{where} lists {prefix}/, which")
    return matches


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
    _stop_on(sorted(faults), f"{where}: a patient must be in one official split, under one name")


def _stop_on(faults: list[str], where: str) -> None:
    if faults:
        raise InputError(
            f"{where}: {_some(faults)}\nCorrect the file, or restore it from the download"
        )


def _some(items: list[str]) -> str:
    more = [f"and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    return "\n".join(items[:SHOWN] + more)
