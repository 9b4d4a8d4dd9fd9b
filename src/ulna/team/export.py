"""Pack a bundle into one file to carry: NAME.zip, the same bytes each time.

The zip holds the network as ONNX, thresholds, scores and a model card: all that
`ulna predict --bundle NAME.zip` needs, on a machine without TensorFlow and DVC.
--saved-model writes TensorFlow's format besides, for servers that take no other.
"""

import argparse
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ulna.core import InputError, paths
from ulna.core.io import atomic_directory, atomic_write
from ulna.core.params import NETWORKS
from ulna.inference.bundle import read_bundle

# The earliest that a zip can hold; nothing reads it.
DATE = (1980, 1, 1, 0, 0, 0)
UNIX = 3
PLAIN_FILE = 0o100644


def pack(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a zip that depends on their names and bytes alone.

    Nothing is deflated: weights hardly shrink (7%), and libraries differ in the bytes they make.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = UNIX
            entry.external_attr = PLAIN_FILE << 16
            archive.writestr(entry, files[name])
    return packed.getvalue()


def write_saved_model(name: str, folder: Path) -> None:
    """Write the trained network `models/<name>` as TensorFlow's SavedModel.

    Raises:
        InputError: There is no such network, or a file of it is damaged.
    """
    # TensorFlow, which takes 6 s to import.
    from ulna.networks.trained import load_trained

    model = load_trained(paths.trained(name))
    with atomic_directory(folder) as partial:
        model.export(partial, format="tf_saved_model", verbose=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna export`."""
    # Paths are those of the folder where the user stands; `run` works at the root.
    here = Path.cwd()
    parser.set_defaults(here=here)
    parser.add_argument("name", metavar="NAME", help="a network, such as cnn, or ensemble")
    output = "the zip to write, NAME.zip in this folder if not given"
    parser.add_argument("--output", type=here.joinpath, metavar="FILE", help=output)
    saved = "write TensorFlow's SavedModel of the network to this folder too"
    parser.add_argument("--saved-model", type=here.joinpath, metavar="DIR", help=saved)


def run(arguments: argparse.Namespace) -> None:
    """Check every file of the bundle, pack it, say what was written."""
    name, folder = arguments.name, arguments.saved_model
    known = (*NETWORKS, paths.ENSEMBLE)
    if name not in known:
        raise InputError(f"{name!r} is no bundle: expected {' or '.join(known)}")
    output = arguments.output or arguments.here / f"{name}.zip"
    if output.is_dir():
        raise InputError(f"{output} is a folder: give --output the name of a file")
    # Root would replace a device, or the link /dev/stdout, by the zip, for all of the machine.
    if output.exists() and not output.is_file():
        raise InputError(f"{output} is a device or a pipe: give --output the name of a file")
    output = output.resolve() if output.is_symlink() else output
    if folder is not None and name == paths.ENSEMBLE:
        raise InputError(
            "the ensemble is several networks and a rule, which no SavedModel holds: export each "
            "network with --saved-model, and average their probabilities"
        )
    if folder is not None and folder == output:
        raise InputError(f"--output and --saved-model are both {folder}: give each its own name")
    if folder is not None and folder.exists():
        raise InputError(
            f"{folder} is there already: remove it, or give --saved-model another name"
        )
    packed = pack(read_bundle(paths.bundle(name)))
    if folder is not None:
        write_saved_model(name, folder)
        print(f"{folder}: TensorFlow's SavedModel of {name}, pixels to logit")
    with atomic_write(output) as partial:
        partial.write_bytes(packed)
    shown = os.path.relpath(output, arguments.here)
    print(f"{shown}: {len(packed) / 1e6:.1f} MB, for `ulna predict --bundle {shown} PATH`")
