"""Make the embedded data set: synthetic radiographs laid out like MURA, and what was planted."""

import sys

import pandas as pd

from ulna import paths
from ulna.console import run
from ulna.params import load_params
from ulna.phantom.tree import write_phantom


def phantom() -> None:
    """Load the parameters, draw the radiographs, write the data set and its truth table."""
    params = load_params(paths.PARAMS)

    write_phantom(paths.PHANTOM_ROOT, paths.PHANTOM_TRUTH, params.phantom)

    truth = pd.read_csv(paths.PHANTOM_TRUTH, dtype=str, keep_default_na=False)
    kinds = ", ".join(f"{count} {kind}" for kind, count in truth["finding"].value_counts().items())
    print(f"{len(truth)} synthetic radiographs in {paths.PHANTOM_ROOT}: {kinds}")


if __name__ == "__main__":
    run(phantom, *sys.argv[1:])
