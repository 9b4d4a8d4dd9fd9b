"""Samples: the cached images joined with their labels and splits, selected, counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from ulna.core import InputError, first_ten
from ulna.data import IMAGE_COLUMNS, SPLIT_COLUMNS, SPLITS, Cache

SAMPLE_COLUMNS = ["image", "patient", "study", "body_part", "split", "label", "row"]


def load_samples(images: Path, splits: Path, cache: Cache) -> pd.DataFrame:
    """Read what `prepare` wrote and join it with the cache, see `join_samples`."""
    return join_samples(read_images(images), read_splits(splits), cache)


def read_images(path: Path) -> pd.DataFrame:
    """Read and check the table of images that `prepare` wrote, see `ulna.data.mura.read_index`."""
    images = _read(path, IMAGE_COLUMNS)
    wrong = images.index[~images["label"].isin(["0", "1"])]
    if len(wrong):
        raise InputError(
            f"{path}, line {wrong[0] + 2}: label is {images['label'][wrong[0]]!r}, "
            "expected 0 or 1: run `dvc repro prepare`"
        )
    return images.astype({"label": int})


def read_splits(path: Path) -> pd.DataFrame:
    """Read what `ulna.data.splits.assign_splits` made; `check_disjoint` checks it."""
    return _read(path, SPLIT_COLUMNS)


def add_split(images: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Add to every image, as column split, the split of its patient, after `check_disjoint`."""
    check_disjoint(images, splits)
    split_of = dict(zip(splits["patient"], splits["split"], strict=True))
    return images.assign(split=images["patient"].map(split_of))


def check_disjoint(images: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Stop unless every patient is in one split, and test is the official valid.

    Raises:
        InputError: A patient has two rows or none, a split has another name, or a patient of the
            official train is in test or one of the official valid is not.
    """
    twice = splits["patient"][splits["patient"].duplicated()]
    _raise_faults(twice, "patients with more than one row, so perhaps in two splits")
    unknown = splits["patient"][~splits["split"].isin(SPLITS)]
    _raise_faults(unknown, f"patients in a split other than {', '.join(SPLITS)}")
    without = images["patient"][~images["patient"].isin(splits["patient"])]
    _raise_faults(without, "patients with images but no split")
    in_test = images["patient"].isin(splits["patient"][splits["split"] == "test"])
    wrong = images["patient"][in_test != (images["official_split"] == "valid")]
    _raise_faults(
        wrong, "patients of the official train in test, or of the official valid not in test"
    )


def join_samples(images: pd.DataFrame, splits: pd.DataFrame, cache: Cache) -> pd.DataFrame:
    """Give every cached image its label and split; rejected images drop out here.

    Returns:
        One row per cached image, in the order of the index: image, patient, study, body_part,
        split, label, row (in the array of its body part).

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
    return add_split(joined, splits)[SAMPLE_COLUMNS]


def join_measurements(samples: pd.DataFrame, cache: Cache) -> pd.DataFrame:
    """Add the columns of `ulna.data.images.Measurements` to samples: mode, width_px and so on."""
    measured = cache.images.drop(columns=["body_part", "row"])
    return samples.merge(measured, on="image", validate="one_to_one")


def select_samples(
    samples: pd.DataFrame, split: str, body_parts: Literal["all"] | Sequence[str]
) -> pd.DataFrame:
    """Keep the samples of one split and of some or all body parts, numbered from 0.

    An unknown part is an InputError, as are no image or only one label that is left.
    """
    present = sorted(samples["body_part"].unique())
    unknown = [] if body_parts == "all" else sorted(set(body_parts) - set(present))
    if unknown:
        raise InputError(
            f"train.body_parts names {', '.join(unknown)}, but the prepared data have only "
            f"{', '.join(present)}: change train.body_parts or data.body_parts in params.yaml"
        )
    kept = samples[samples["split"] == split]
    if body_parts != "all":
        kept = kept[kept["body_part"].isin(body_parts)]
    if kept["label"].nunique() < 2:
        key = "data.body_parts" if body_parts == "all" else "train.body_parts"
        raise InputError(
            f"the {split} split holds {len(kept)} images with {kept['label'].nunique()} of the two "
            f"labels: choose more body parts ({key}) or another split.val_fraction"
        )
    return kept.reset_index(drop=True)


def count_splits(samples: pd.DataFrame) -> pd.DataFrame:
    """Count studies and images: one row per body_part, split and label that occur, sorted."""
    keys = ["body_part", "split", "label"]
    return samples.groupby(keys, as_index=False).agg(
        studies=("study", "nunique"), images=("study", "size")
    )


def select_examples(samples: pd.DataFrame, images: int) -> pd.DataFrame:
    """Select train images to show: first views of evenly spread studies, by body part and label.

    About `images` of each label; each body part gets an equal share, at least two.

    Returns:
        The selected rows with a column `place`, counted from 0 within a body part and label; fewer
        where studies are few.
    """
    # Of n sorted studies, the middle ones of as many equal stretches as there are places: nothing
    # is random, and not all come from the lowest patient numbers.
    train = samples[samples["split"] == "train"].sort_values("image", kind="stable")
    studies = train.drop_duplicates("study").sort_values("study", kind="stable")
    share = max(2, images // studies["body_part"].nunique())
    selected = [
        cell.iloc[[(2 * place + 1) * len(cell) // (2 * places) for place in range(places)]].assign(
            place=range(places)
        )
        for _, cell in studies.groupby(["body_part", "label"])
        for places in [min(share, len(cell))]
    ]
    return pd.concat(selected, ignore_index=True)


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


def _raise_faults(patients: pd.Series, fault: str) -> None:
    named = sorted(set(patients))
    if named:
        raise InputError(f"{fault}: {first_ten(named, ', ')}; run `dvc repro prepare`")
