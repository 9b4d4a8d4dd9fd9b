"""A trained network on disk: weights, what rebuilds it, and its layers as a table.

Weights are stored as Keras' `.weights.h5`, which has the same bytes each time it is written (a
`.keras` archive has not) and can hold no code.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ulna.core import InputError
from ulna.core.io import atomic_directory, require_free_space, sha256, write_csv, write_json
from ulna.core.params import NETWORKS, FineTuned, TrainingConfig, check_arch
from ulna.networks.models import build_network, describe_layers

WEIGHTS = "model.weights.h5"
METADATA = "model.json"
LAYERS = "layers.csv"
BYTES_PER_WEIGHT = 4
OVERHEAD_BYTES = 4 * 2**20  # names and structure: of DenseNet169 1.9 MB
METADATA_KEYS = {"arch", "size_px", "mixed_precision", "network", "weights_sha256", "environment"}


def write_trained(
    folder: Path,
    model: keras.Model,
    size_px: int,
    config: TrainingConfig,
    environment: Mapping[str, Any],
) -> None:
    """Write a trained network and the parameters of its training; replace the folder as a whole.

    Raises:
        InputError: The disk has no room for it.
    """
    # On a full disk HDF5 ends the process by SIGSEGV, without a word (seen at 5 of 9 places).
    needed = BYTES_PER_WEIGHT * model.count_params() + OVERHEAD_BYTES
    require_free_space(folder, needed, "the network")
    network = config.network
    if isinstance(network, FineTuned):
        # All weights are in this folder; where the backbone's came from may be a local path.
        network = network.model_copy(update={"weights": "none", "weights_sha256": None})
    with atomic_directory(folder) as partial:
        # The file of a compiled model would hold Adam's state too, twice the size of the weights.
        # The name is in it: Keras would number this model among all that the process has made.
        keras.Model(model.input, model.output, name=model.name).save_weights(partial / WEIGHTS)
        metadata = {
            "arch": config.name,
            "size_px": size_px,
            "mixed_precision": config.train.mixed_precision,
            "network": network.model_dump(mode="json"),
            "weights_sha256": sha256(partial / WEIGHTS),
            # Another class of machines gives other weights: their file says where they come from.
            "environment": environment,
        }
        write_json(partial / METADATA, metadata)
        write_csv(partial / LAYERS, describe_layers(model))


def read_metadata(folder: Path) -> dict:
    """Read `METADATA_KEYS` and their values: what rebuilds a network.

    Raises:
        InputError: The file is missing, no JSON, or of another form.
    """
    try:
        metadata: dict = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if set(metadata) != METADATA_KEYS:
            raise ValueError
        check_arch(metadata["arch"])
    # ValueError: no UTF-8 or no JSON; TypeError: a number, which holds no keys.
    except (FileNotFoundError, ValueError, TypeError, InputError):
        raise InputError(
            f"{folder / METADATA} is missing or damaged: run `dvc repro train@{folder.name}`"
        ) from None
    return metadata


def load_trained(folder: Path) -> keras.Model:
    """Rebuild a trained network, uncompiled.

    Raises:
        InputError: A file is missing or damaged, or the weights are not those of the metadata.
    """
    metadata = read_metadata(folder)
    weights = folder / WEIGHTS
    if not weights.exists() or sha256(weights) != metadata["weights_sha256"]:
        raise InputError(
            f"{weights} is missing or not the file that {folder / METADATA} was written with: run "
            f"`dvc checkout {folder}` or `dvc repro train@{folder.name}`"
        )
    arch = metadata["arch"]
    try:
        network = NETWORKS[arch].section(**metadata["network"])
        model = build_network(arch, metadata["size_px"], network)
        with warnings.catch_warnings():
            # Keras only warns where a file lacks some of the layers, and leaves those random.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(weights)
    # From pydantic, the building of the network, Keras.
    except (ValueError, TypeError, KeyError, UserWarning):
        raise InputError(
            f"{folder / METADATA} does not describe the network whose weights {weights} holds: run "
            f"`dvc repro train@{folder.name}`"
        ) from None
    return model
