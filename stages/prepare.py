"""Read the data set's CSV files, check them, and give every patient a split."""

import sys
from pathlib import Path

from ulna.core import paths
from ulna.core.io import write_csv
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.annotations import find_annotations
from ulna.data.mura import (
    check_files,
    compare_with_official,
    describe_differences,
    read_index,
    select_body_parts,
)
from ulna.data.samples import add_split
from ulna.data.source import list_images, open_root
from ulna.data.splits import assign_splits, check_labels, describe


def prepare() -> None:
    """Write images.csv, annotations.csv (same for any seed) and splits.csv (any body parts)."""
    params = load_params(paths.PARAMS)
    root = open_root(Path(params.data.root))
    index = read_index(root)
    unlisted = check_files(index, list_images(root))
    if root.path != paths.PHANTOM_ROOT:  # which is smaller
        print(f"{root.path}: {describe_differences(compare_with_official(index))}")
    if unlisted:
        print(f"{unlisted:,} images on disk are in no CSV file: not used")

    # Before body parts are selected: a patient is in the same split for any selection.
    splits = assign_splits(index, params.split.val_fraction, params.seed)
    images = select_body_parts(index, params.data.body_parts)
    samples = add_split(images, splits)
    check_labels(samples)
    print(describe(samples))
    write_csv(paths.ANNOTATIONS, find_annotations(root, images))
    write_csv(paths.IMAGES, images)
    write_csv(paths.SPLITS, splits)


if __name__ == "__main__":
    run(prepare, *sys.argv[1:])
