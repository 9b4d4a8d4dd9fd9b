"""Ground-truth boxes. The phantom has them in `annotations.csv`; MURA has none."""

import io
from pathlib import Path

import pandas as pd

from ulna.core import InputError
from ulna.data.source import Root, display_path, has_file, read_file

FILE = "annotations.csv"
COLUMNS = ("image", "finding", "x0", "y0", "x1", "y1", "quality", "near_duplicate_of")
BOX = ["x0", "y0", "x1", "y1"]
TYPES = {"image": str} | dict.fromkeys(BOX, "float64")


def find_annotations(root: Root, images: pd.DataFrame) -> pd.DataFrame:
    """Read and check the ground-truth boxes of these images.

    `annotations.csv` of the data set, if it has one, holds one row per image: boxes in pixels of
    the original image, x1 and y1 exclusive, empty where no finding is visible.

    Returns:
        image and x0, y0, x1, y1 (float64, NaN for no box), in the order of `images`; no row where
        the data set has no `annotations.csv`.

    Raises:
        InputError: The file has other columns, an image twice, a box without area, or lacks one of
            the images.
    """
    if not has_file(root, FILE):
        return pd.DataFrame(columns=["image", *BOX]).astype(TYPES)
    where = display_path(root, FILE)
    try:
        text = read_file(root, FILE).decode("utf-8")
        annotations = pd.read_csv(io.StringIO(text), dtype=TYPES)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} is not a table of boxes ({error}): correct or remove it"
        ) from None
    if tuple(annotations.columns) != COLUMNS:
        raise InputError(
            f"{where} has the columns {', '.join(annotations.columns)}, expected "
            f"{', '.join(COLUMNS)}: correct or remove it"
        )
    corners = annotations[BOX]
    partial = corners.notna().any(axis=1) & corners.isna().any(axis=1)
    empty = (corners["x1"] <= corners["x0"]) | (corners["y1"] <= corners["y0"])
    for wrong, fault in (
        (annotations["image"].duplicated(), "lists an image that is on an earlier line too"),
        (partial | empty, "holds a box without an area"),
    ):
        if wrong.any():
            raise InputError(f"{where} line {int(wrong.argmax()) + 2} {fault}: correct it")
    missing = images["image"][~images["image"].isin(annotations["image"])]
    if len(missing):
        raise InputError(
            f"{where} lacks {len(missing):,} of {len(images):,} images, the first is "
            f"{missing.iloc[0]}: add a row for each, or remove the file"
        )
    return images[["image"]].merge(annotations[["image", *BOX]], on="image", validate="one_to_one")


def read_annotations(path: Path) -> pd.DataFrame:
    """Read the table of `find_annotations` that `prepare` wrote."""
    try:
        annotations = pd.read_csv(path, dtype=TYPES)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{path} is missing or no table: run `dvc repro prepare`") from None
    if list(annotations.columns) != ["image", *BOX]:
        raise InputError(
            f"{path} has the columns {', '.join(annotations)}: run `dvc repro prepare`"
        )
    return annotations
