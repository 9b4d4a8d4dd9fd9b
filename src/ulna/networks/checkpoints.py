"""Where a killed training can be taken up again: files that are whole or not there.

A checkpoint is no output: it lies outside all of DVC's folders, which DVC empties before it runs a
stage.
"""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ulna.files import replacing

# The newest, and the one before it in case the newest cannot be read.
KEPT = 2
# Of the name of a file: 64 bits of the key tell apart all trainings that will ever meet.
KEY_DIGITS = 16
FORMAT = "ulna checkpoint 1"
VALUES = "values"  # of the array that holds JSON


@dataclass(frozen=True)
class State:
    """All that the rest of a training depends on.

    Attributes:
        values: What JSON can hold.
        arrays: Name -> array of numbers.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: Holds those of the last training that wrote to it; one process at a time may do so,
            see `ulna.processes.only_one`.
        key: 64 hexadecimal digits: the same for trainings that give the same bytes, see
            `ulna.networks.resume.key`.
    """

    folder: Path
    key: str

    def save(self, number: int, state: State) -> None:
        """Write a checkpoint, and remove the older ones and those of other trainings.

        Args:
            number: Larger than before.
            state: What to write.
        """
        path = self.folder / f"{self.key[:KEY_DIGITS]}-{number:06d}.checkpoint"
        with replacing(path) as partial:
            partial.write_bytes(encode(self.key, state))
        kept = self._own()[-KEPT:]
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

    def keep_newest(self) -> None:
        """Remove all but the newest, which says that this training is over."""
        for path in self._own()[:-1]:
            path.unlink()

    def size_bytes(self) -> int:
        """What they take on the disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*"))

    def _own(self) -> list[Path]:
        """Those of this training, the oldest first."""
        named = re.compile(f"{self.key[:KEY_DIGITS]}-[0-9]+.checkpoint")
        return sorted(path for path in self.folder.glob("*") if named.fullmatch(path.name))


def forget(folder: Path) -> None:
    """Remove checkpoints, once what came of them is on disk: a next run is to train anew."""
    shutil.rmtree(folder, ignore_errors=True)


def encode(key: str, state: State) -> bytes:
    """Put a state into bytes: a line with the key and a SHA-256 of what follows, values, arrays.

    Args:
        key: Of the training.
        state: What to write.

    Returns:
        The same bytes for the same state.
    """
    body = io.BytesIO()
    arrays: dict[str, Any] = {VALUES: np.array(json.dumps(state.values)), **state.arrays}
    np.savez(body, **arrays)
    digest = hashlib.sha256(body.getbuffer()).hexdigest()
    return f"{FORMAT} {key} {digest}\n".encode() + body.getvalue()


def decode(key: str, written: bytes) -> State:
    """Undo `encode`.

    Args:
        key: Of the training that is to be gone on with.
        written: See `encode`.

    Returns:
        The state.

    Raises:
        ValueError: The bytes are of another training, or not those that were written.
    """
    head, _, body = written.partition(b"\n")
    words = head.decode("ascii", "replace").split()
    if words[:-2] != FORMAT.split():
        raise ValueError("it is no checkpoint of this version")
    if words[-2] != key:
        raise ValueError("it is of another training")
    if hashlib.sha256(body).hexdigest() != words[-1]:
        raise ValueError("it is damaged")
    try:
        # NumPy refuses to load objects, which could run code, unless it is told to.
        with np.load(io.BytesIO(body)) as arrays:
            held = dict(arrays)
    except zipfile.BadZipFile as fault:
        raise ValueError(f"it is damaged ({fault})") from None
    return State(json.loads(str(held.pop(VALUES))), held)
