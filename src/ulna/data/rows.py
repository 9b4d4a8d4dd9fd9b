"""What `prepare` and `preprocess` wrote, read and joined: which image belongs to which split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from ulna.data.cache import Cache
from ulna.errors import InputError

SPLITS = ("train", "val", "test")
IMAGE_COLUMNS = ["image", "official_split", "body_part", "patient", "study", "label"]
SPLIT_COLUMNS = ["patient", "split"]
ROW_COLUMNS = ["image", "patient", "study", "body_part", "split", "label", "row"]

SHOWN = 10


def read_images(path: Path) -> pd.DataFrame:
    """Read the table of images that `prepare` wrote.

    Args:
        path: A CSV file with the columns IMAGE_COLUMNS.

    Returns:
        One row an image, see `ulna.data.index.read_index`.

    Raises:
        InputError: The file is missing, or has other columns or labels.
    """
    images = _read(path, IMAGE_COLUMNS)
    wrong = images.index[~images["label"].isin(["0", "1"])]
    if len(wrong):
        raise InputError(
            f"{path}, line {wrong[0] + 2}: label is {images['label'][wrong[0]]!r}, "
            "expected 0 or 1: run `dvc repro prepare`"
        )
    return images.astype({"label": int})


def read_splits(path: Path) -> pd.DataFrame:
    """Read the splits that `prepare` wrote.

    Args:
        path: A CSV file with the columns SPLIT_COLUMNS.

    Returns:
        One row a patient, see `ulna.data.splits.assign_splits`; not yet checked against images, see
        `check_disjoint`.

    Raises:
        InputError: The file is missing or has other columns.
    """
    return _read(path, SPLIT_COLUMNS)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise InputError(f"{path} is missing or no table: run `dvc repro prepare`") from None
    if list(table.columns) != columns:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}, expected "
            f"{', '.join(columns)}: run `dvc repro prepare`"
        )
    return table


def with_split(images: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Add the split of its patient to every image.

    Args:
        images: A table with official_split and patient; it may hold a part of the data set.
        splits: One row a patient.

    Returns:
        `images` with the column split added.

    Raises:
        InputError: As in `check_disjoint`.
    """
    check_disjoint(images, splits)
    split_of = dict(zip(splits["patient"], splits["split"], strict=True))
    return images.assign(split=images["patient"].map(split_of))


def check_disjoint(images: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Stop unless every patient is in one split, and test is the official valid.

    Args:
        images: A table with official_split and patient; it may hold a part of the data set.
        splits: One row a patient, of all patients.

    Raises:
        InputError: A patient has two rows or none, a split has another name, or a patient of the
            official train is in test or one of the official valid is not.
    """
    twice = splits["patient"][splits["patient"].duplicated()]
    _stop_on(twice, "patients with more than one row, so perhaps in two splits")
    unknown = splits["patient"][~splits["split"].isin(SPLITS)]
    _stop_on(unknown, f"patients in a split other than {', '.join(SPLITS)}")
    without = images["patient"][~images["patient"].isin(splits["patient"])]
    _stop_on(without, "patients with images but no split")
    tested = images["patient"].isin(splits["patient"][splits["split"] == "test"])
    wrong = images["patient"][tested != (images["official_split"] == "valid")]
    _stop_on(wrong, "patients of the official train in test, or of the official valid not in test")


def join_rows(images: pd.DataFrame, splits: pd.DataFrame, cache: Cache) -> pd.DataFrame:
    """Give every cached image its split.

    Args:
        images: The index, see `read_images`.
        splits: One row a patient, see `read_splits`.
        cache: The cached images, and those that preprocess set aside: they drop out here.

    Returns:
        One row a cached image, in the order of the index: image, patient, study, body_part, split,
        label, row.

    Raises:
        InputError: As in `check_disjoint`, or the cache is not that of this index.
    """
    known = {*cache.images["image"], *cache.rejected["image"]}
    differing = sorted(known ^ set(images["image"]))
    if differing:
        raise InputError(
            f"the cache and data/prepared/images.csv differ in {len(differing)} images, the first "
            f"is {differing[0]}: run `dvc repro preprocess`"
        )
    joined = images.merge(cache.images[["image", "row"]], on="image", validate="one_to_one")
    return with_split(joined, splits)[ROW_COLUMNS]


def choose_rows(
    rows: pd.DataFrame, split: str, body_parts: Literal["all"] | Sequence[str]
) -> pd.DataFrame:
    """Keep one split and, if wanted, some body parts.

    Args:
        rows: See `join_rows`.
        split: train, val or test.
        body_parts: all, or the parts to keep.

    Returns:
        The chosen rows, in order.

    Raises:
        InputError: A part is unknown, or nothing or only one label is left to learn from.
    """
    present = sorted(rows["body_part"].unique())
    unknown = [] if body_parts == "all" else sorted(set(body_parts) - set(present))
    if unknown:
        raise InputError(
            f"train.body_parts names {', '.join(unknown)}, but the prepared data have only "
            f"{', '.join(present)}: change train.body_parts or data.body_parts in params.yaml"
        )
    kept = rows[rows["split"] == split]
    if body_parts != "all":
        kept = kept[kept["body_part"].isin(body_parts)]
    if kept["label"].nunique() < 2:
        key = "data.body_parts" if body_parts == "all" else "train.body_parts"
        raise InputError(
            f"the {split} split holds {len(kept)} images with {kept['label'].nunique()} of the two "
            f"labels: choose more body parts ({key}) or another split.val_fraction"
        )
    return kept.reset_index(drop=True)


def _stop_on(patients: pd.Series, fault: str) -> None:
    named = sorted(set(patients))
    if named:
        more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
        raise InputError(f"{fault}: {', '.join(named[:SHOWN])}{more}; run `dvc repro prepare`")
