"""Data sets laid out like MURA, as the text of their CSV files."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ulna.data.mura import MURA_V1_1

Study = tuple[str, str, str, str, int, int]  # split, body part, patient, study, label, images


def tables(studies: Iterable[Study], prefix: str = "MURA-v1.1/") -> dict[str, str]:
    """The four CSV files of these studies."""
    lines: dict[str, list[str]] = {
        f"{split}_{kind}.csv": []
        for split in ("train", "valid")
        for kind in ("image_paths", "labeled_studies")
    }
    for split, part, patient, study, label, images in studies:
        sign = "positive" if label else "negative"
        folder = f"{prefix}{split}/XR_{part}/{patient}/{study}_{sign}/"
        lines[f"{split}_labeled_studies.csv"].append(f"{folder},{label}\n")
        for number in range(1, images + 1):
            lines[f"{split}_image_paths.csv"].append(f"{folder}image{number}.png\n")
    return {name: "".join(of_file) for name, of_file in lines.items()}


def small_studies() -> list[Study]:
    """Four patients, of whom patient00001 has the same study number in two body parts."""
    return [
        ("train", "ELBOW", "patient00001", "study1", 0, 2),
        ("train", "WRIST", "patient00001", "study1", 1, 1),
        ("train", "WRIST", "patient00002", "study1", 0, 3),
        ("train", "WRIST", "patient00003", "study1", 1, 1),
        ("train", "WRIST", "patient00005", "study1", 0, 1),
        ("valid", "WRIST", "patient00004", "study1", 1, 2),
        ("valid", "WRIST", "patient00004", "study2", 0, 1),
    ]


def official_studies() -> list[Study]:
    """Studies with exactly the counts of MURA v1.1, patients of two body parts included."""
    studies: list[Study] = []
    for split, first_patient in (("train", 1), ("valid", 11185)):
        counts = MURA_V1_1[split]
        position = 0
        for part in sorted(set(counts) - {"all"}):
            of_part = counts[part]
            # Numbers start again where they run out: the last patients of the list are the first.
            patients = [
                f"patient{first_patient + (position + k) % counts['all'].patients:05d}"
                for k in range(of_part.patients)
            ]
            position += of_part.patients
            total = of_part.normal_studies + of_part.abnormal_studies
            pairs = [(patient, "study1") for patient in patients]
            pairs += [(patient, "study2") for patient in patients[: total - len(patients)]]
            labels = (position + k * of_part.abnormal_studies for k in range(total))
            signs = [int((at % total) < of_part.abnormal_studies) for at in labels]
            for label, of_label, images in (
                (0, of_part.normal_studies, of_part.normal_images),
                (1, of_part.abnormal_studies, of_part.abnormal_images),
            ):
                chosen = (pair for pair, sign in zip(pairs, signs, strict=True) if sign == label)
                for k, (patient, study) in enumerate(chosen):
                    views = images // of_label + (k < images % of_label)
                    studies.append((split, part, patient, study, label, views))
    return studies


def image_names(csv_files: Mapping[str, str]) -> list[str]:
    """The listed images, relative to the data set."""
    lines = [csv_files[f"{split}_image_paths.csv"].split() for split in ("train", "valid")]
    return [line.split("/", 1)[1] for of_split in lines for line in of_split]


def write_random_images(
    root: Path,
    csv_files: Mapping[str, str],
    sides: Callable[[np.random.Generator], Sequence[int]] = lambda stream: (40, 30),
) -> None:
    """The CSV files, and for each image that they list one of random grey levels."""
    root.mkdir(parents=True)
    for name, text in csv_files.items():
        (root / name).write_bytes(text.encode())
    stream = np.random.default_rng(1)
    for name in image_names(csv_files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stream.integers(0, 256, sides(stream), np.uint8)).save(root / name)


def write_zip(path: Path, csv_files: Mapping[str, str], folder: str = "MURA-v1.1/") -> Path:
    """A .zip of the CSV files and of empty images."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in csv_files.items():
            archive.writestr(folder + name, text)
        for name in image_names(csv_files):
            archive.writestr(folder + name, b"")
    return path


def write_folder(path: Path, csv_files: Mapping[str, str]) -> Path:
    """A folder of the CSV files and of empty images."""
    path.mkdir(parents=True)
    for name, text in csv_files.items():
        (path / name).write_bytes(text.encode())
    for name in image_names(csv_files):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path
