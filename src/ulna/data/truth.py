"""What was planted where, in a data set that says so: boxes for the test of saliency maps.

The phantom does, in `annotations.csv` beside its CSV files; MURA does not.
"""

import io
from pathlib import Path

import pandas as pd

from ulna.data.source import Root, holds, place, read_file
from ulna.errors import InputError

FILE = "annotations.csv"
COLUMNS = ("image", "finding", "x0", "y0", "x1", "y1", "quality", "near_duplicate_of")
BOX = ["x0", "y0", "x1", "y1"]
TYPES = {"image": str} | dict.fromkeys(BOX, "float64")


def find_truth(root: Root, images: pd.DataFrame) -> pd.DataFrame:
    """Read and check what was planted in these images.

    Args:
        root: The data set. Its `annotations.csv`, if it has one, holds one row an image: boxes in pixels
            of the original image, x1 and y1 exclusive, empty where nothing is seen.
        images: The images that matter: image.

    Returns:
        image and x0, y0, x1, y1 (float64, NaN where nothing is seen), in the order of `images`; no
        row where the data set has no `annotations.csv`.

    Raises:
        InputError: The file has other columns, an image twice, a box that is none, or lacks one of
            the images.
    """
    if not holds(root, FILE):
        return pd.DataFrame(columns=["image", *BOX]).astype(TYPES)
    where = place(root, FILE)
    try:
        text = read_file(root, FILE).decode("utf-8")
        truth = pd.read_csv(io.StringIO(text), dtype=TYPES)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is no table of boxes ({error}): mend or remove it") from None
    if tuple(truth.columns) != COLUMNS:
        raise InputError(
            f"{where} has the columns {', '.join(truth.columns)}, expected "
            f"{', '.join(COLUMNS)}: mend or remove it"
        )
    partial = truth[BOX].notna().any(axis=1) & truth[BOX].isna().any(axis=1)
    empty = (truth["x1"] <= truth["x0"]) | (truth["y1"] <= truth["y0"])
    for wrong, fault in (
        (truth["image"].duplicated(), "lists an image that is on an earlier line too"),
        (partial | empty, "holds a box without an area"),
    ):
        if wrong.any():
            raise InputError(f"{where} line {int(wrong.argmax()) + 2} {fault}: correct it")
    missing = images["image"][~images["image"].isin(truth["image"])]
    if len(missing):
        raise InputError(
            f"{where} lacks {len(missing):,} of {len(images):,} images, the first is "
            f"{missing.iloc[0]}: add a row for each, or remove the file"
        )
    return images[["image"]].merge(truth[["image", *BOX]], on="image", validate="one_to_one")


def read_truth(path: Path) -> pd.DataFrame:
    """Read the table of `find_truth` that `prepare` wrote.

    Args:
        path: A CSV file.

    Returns:
        As `find_truth`.

    Raises:
        InputError: The file is missing or something else.
    """
    try:
        truth = pd.read_csv(path, dtype=TYPES)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{path} is missing or no table: run `dvc repro prepare`") from None
    if list(truth.columns) != ["image", *BOX]:
        raise InputError(f"{path} has the columns {', '.join(truth)}: run `dvc repro prepare`")
    return truth
