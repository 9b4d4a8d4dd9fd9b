"""What is to be found in each image, and where: the phantom's `annotations.csv`; MURA has none."""

import io
from pathlib import Path

import pandas as pd

from ulna.core import InputError
from ulna.data import BOX, NO_FINDING
from ulna.data.source import Root, display_path, has_file, read_file

FILE = "annotations.csv"
KEPT = ["image", "finding", "detail", *BOX]
NEEDED = ["image", "finding"]
TEXT = ["image", "finding", "detail"]
TYPES = dict.fromkeys(TEXT, str) | dict.fromkeys(BOX, "float64")


def find_annotations(root: Root, images: pd.DataFrame) -> pd.DataFrame:
    """Read and check the findings of these images and their boxes.

    `annotations.csv` of the data set, if it has one, holds one row per image: the finding of its
    study, `none` in a normal one, in words of the data set's own. It may hold a detail, and the box
    in pixels of the original image, x1 and y1 exclusive, empty where no finding is visible. Other
    columns are not read.

    Returns:
        image, finding, detail (text) and x0, y0, x1, y1 (float64, NaN for no box), in the order of
        `images`; no row where the data set has no `annotations.csv`.

    Raises:
        InputError: The file lacks a column of `NEEDED` or one of the images, or has an image twice
            or without a finding, or a box without area.
    """
    if not has_file(root, FILE):
        return pd.DataFrame(columns=KEPT).astype(TYPES)
    where = display_path(root, FILE)
    try:
        text = read_file(root, FILE).decode("utf-8")
        annotations = _read(io.StringIO(text))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} is not a table of boxes ({error}): correct or remove it"
        ) from None
    if not set(NEEDED) <= set(annotations.columns):
        raise InputError(
            f"{where} has the columns {', '.join(annotations.columns)}, needs "
            f"{' and '.join(NEEDED)}: correct or remove it"
        )
    if "detail" not in annotations:
        annotations["detail"] = ""
    annotations = annotations.reindex(columns=KEPT).astype(TYPES)
    corners = annotations[BOX]
    partial = corners.notna().any(axis=1) & corners.isna().any(axis=1)
    empty = (corners["x1"] <= corners["x0"]) | (corners["y1"] <= corners["y0"])
    for wrong, fault in (
        (annotations["image"].duplicated(), "lists an image that is on an earlier line too"),
        (annotations["finding"] == "", f"names no finding (`{NO_FINDING}` in a normal study)"),
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
    return images[["image"]].merge(annotations[KEPT], on="image", validate="one_to_one")


def read_annotations(path: Path) -> pd.DataFrame:
    """Read the table of `find_annotations` that `prepare` wrote."""
    try:
        annotations = _read(path)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{path} is missing or no table: run `dvc repro prepare`") from None
    if list(annotations.columns) != KEPT:
        raise InputError(
            f"{path} has the columns {', '.join(annotations)}: run `dvc repro prepare`"
        )
    return annotations


def _read(source: Path | io.StringIO) -> pd.DataFrame:
    """An empty text is empty, not NaN; so is an empty box, which only numbers are."""
    table = pd.read_csv(source, dtype=TYPES)
    return table.fillna({name: "" for name in TEXT if name in table})
