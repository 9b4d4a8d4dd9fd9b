"""Make the embedded data set: annotated synthetic radiographs laid out like MURA."""

import sys
from pathlib import Path

from ulna.core import paths
from ulna.core.io import write_text
from ulna.core.params import load_params
from ulna.core.stage import run
from ulna.phantom.tree import write_phantom


def phantom() -> None:
    """Draw the radiographs and write them with their annotations into one .zip.

    The file is empty, at once, if `data.root` names another data set.
    """
    params = load_params(paths.PARAMS)
    if Path(params.data.root).resolve() != paths.PHANTOM_ROOT.resolve():
        write_text(paths.PHANTOM_ROOT, "")
        print(f"data.root is {params.data.root}: no phantom is drawn")
        return
    annotations = write_phantom(paths.PHANTOM_ROOT, **params.phantom.model_dump())
    counts = annotations["finding"].value_counts()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{len(annotations)} synthetic radiographs in {paths.PHANTOM_ROOT}: {kinds}")


if __name__ == "__main__":
    run(phantom, *sys.argv[1:])
