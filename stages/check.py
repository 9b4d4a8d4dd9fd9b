"""Check that the data set and the pretrained weights are there, before any other stage runs."""

import sys
from pathlib import Path

from ulna.core import paths
from ulna.core.io import write_json
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.data.pretrained import check_weights
from ulna.data.source import check_root


def check() -> None:
    """Refuse parameters, a data set or weights; write the file that `prepare` depends on."""
    params = load_params(paths.PARAMS)
    root = params.data.root
    # The data set first: weights may have to be fetched.
    print(f"data.root is {root}: {check_root(Path(root))}")
    check_weights(params, paths.PRETRAINED)
    write_json(paths.CHECKED, {"data.root": root})


if __name__ == "__main__":
    run(check, *sys.argv[1:])
