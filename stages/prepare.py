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
from ulna.data.pretrained import check_weights
from ulna.data.samples import add_split
from ulna.data.source import list_images, open_root
from ulna.data.splits import assign_splits, check_labels, describe


def prepare() -> None:
    """Write images.csv, annotations.csv (for any seed) and splits.csv (for any body parts)."""
    params = load_params(paths.PARAMS)
    # Missing weights are named here, not after the training that comes before they are needed.
    check_weights(params, paths.PRETRAINED)
    root = open_root(Path(params.data.root))
    everything = read_index(root)
    stray = check_files(everything, list_images(root))
    print(f"{root.path}: {describe_differences(compare_with_official(everything))}")
    if stray:
        print(f"{stray:,} images on disk are in no CSV file: not used")

    # Drawn before body parts are chosen: a patient is in the same split whatever the choice.
    splits = assign_splits(everything, params.split.val_fraction, params.seed)
    images = select_body_parts(everything, params.data.body_parts)
    used = add_split(images, splits)
    check_labels(used)
    print(describe(used))
    write_csv(paths.ANNOTATIONS, find_annotations(root, images))
    write_csv(paths.IMAGES, images)
    write_csv(paths.SPLITS, splits)


if __name__ == "__main__":
    run(prepare, *sys.argv[1:])
