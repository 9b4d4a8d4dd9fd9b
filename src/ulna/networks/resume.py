"""Checkpoints of a training, which is resumed to the bytes of one that was never killed.

What an epoch does follows from the weights, the optimizer, the states of the random numbers of
dropout, the counts of the callbacks, and the number of the epoch: order and augmentation of images
are functions of it. All of this is written after each epoch, to files that are whole or not there.
A checkpoint is no output: it lies outside all of DVC's folders, which DVC empties before it runs a
stage.
"""

import functools
import hashlib
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ulna.core.io import atomic_write, require_free_space, sha256

# The newest, and the one before it in case the newest cannot be read.
MAX_TO_KEEP = 2
# Of the name of a file: 64 bits of the key tell apart all trainings that will ever meet.
KEY_DIGITS = 16
FORMAT = "ulna checkpoint 1"
VALUES = "values"  # of the array that holds JSON


@dataclass(frozen=True)
class State:
    """All that the rest of a training depends on: what JSON can hold, and arrays by name."""

    values: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training."""

    # Holds those of the last training that wrote to it, one process at a time, see
    # `ulna.core.stage.exclusive_lock`.
    folder: Path
    key: str  # the same for trainings that give the same bytes, see `training_key`

    def write(self, number: int, state: State) -> None:
        """Write a checkpoint, number larger than before; remove older ones and other trainings'."""
        path = self.folder / f"{self.key[:KEY_DIGITS]}-{number:06d}.checkpoint"
        with atomic_write(path) as partial:
            partial.write_bytes(encode(self.key, state))
        kept = self._own()[-MAX_TO_KEEP:]
        for other in self.folder.iterdir():
            if other not in kept:
                other.unlink()

    def load(self) -> State | None:
        """Read the newest checkpoint of this training that is whole; None where there is none."""
        for path in reversed(self._own()):
            try:
                return decode(self.key, path.read_bytes())
            except (ValueError, OSError) as fault:
                print(f"{path} is not used: {fault}", flush=True)
                # It would be taken for a newer one than those that follow.
                path.unlink(missing_ok=True)
        return None

    def prune(self) -> None:
        """Remove all but the newest, which says that this training is over."""
        for path in self._own()[:-1]:
            path.unlink()

    def size_bytes(self) -> int:
        """Sum the sizes of the files in the folder."""
        return sum(path.stat().st_size for path in self.folder.glob("*"))

    def require_space(self, model: keras.Model) -> None:
        """Refuse a disk without room for the checkpoints of a network."""
        # With each weight its best value and two averages of Adam's, in 4 bytes each; a new file is
        # whole before an old one goes.
        needed = (MAX_TO_KEEP + 1) * 4 * 4 * model.count_params() - self.size_bytes()
        require_free_space(self.folder, needed, "the checkpoints of a training", output=False)

    def _own(self) -> list[Path]:
        """Those of this training, the oldest first."""
        named = re.compile(f"{self.key[:KEY_DIGITS]}-[0-9]+.checkpoint")
        return sorted(path for path in self.folder.glob("*") if named.fullmatch(path.name))


def delete_checkpoints(folder: Path) -> None:
    """Remove checkpoints once their training's outputs are on disk: a next run starts over."""
    shutil.rmtree(folder, ignore_errors=True)


def encode(key: str, state: State) -> bytes:
    """Serialize a state: a line with the key and a SHA-256 of what follows, values, arrays."""
    body = io.BytesIO()
    arrays: dict[str, Any] = {VALUES: np.array(json.dumps(state.values)), **state.arrays}
    np.savez(body, **arrays)
    digest = hashlib.sha256(body.getbuffer()).hexdigest()
    return f"{FORMAT} {key} {digest}\n".encode() + body.getvalue()


def decode(key: str, data: bytes) -> State:
    """Undo `encode`.

    Raises:
        ValueError: The bytes are of another training, or not those that were written.
    """
    head, _, body = data.partition(b"\n")
    fields = head.decode("ascii", "replace").split()
    if fields[:-2] != FORMAT.split():
        raise ValueError("it is no checkpoint of this version")
    if fields[-2] != key:
        raise ValueError("it is of another training")
    if hashlib.sha256(body).hexdigest() != fields[-1]:
        raise ValueError("it is damaged")
    try:
        # NumPy refuses to load objects, which could run code, unless it is told to.
        with np.load(io.BytesIO(body)) as file:
            arrays = dict(file)
    except zipfile.BadZipFile as fault:
        raise ValueError(f"it is damaged ({fault})") from None
    return State(json.loads(str(arrays.pop(VALUES))), arrays)


@functools.cache
def code() -> bytes:
    """Hash the modules that this process runs, read once: they may be edited meanwhile."""
    total = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] == "ulna" and module.__file__:
            total.update(Path(module.__file__).read_bytes())
    return total.digest()


def training_key(settings: Mapping[str, Any], weights: Path | None) -> str:
    """Name a training by all that its bytes depend on: 64 hexadecimal digits.

    Args:
        settings: See `ulna.networks.training.describe_training`; what JSON can hold.
        weights: The file of weights that it starts from, if any.
    """
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    total.update(code())
    if weights is not None:
        total.update(sha256(weights).encode())
    return total.hexdigest()
