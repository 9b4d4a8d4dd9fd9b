"""Resume a killed training, to the bytes of one that was never killed.

What an epoch does follows from the weights, the optimizer, the states of the random numbers of
dropout, what the callbacks remember, and the number of the epoch: order and augmentation of images
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from ulna.core.io import atomic_write
from ulna.networks.dataset import Examples
from ulna.networks.runtime import environment

# The newest, and the one before it in case the newest cannot be read.
MAX_TO_KEEP = 2
# Of the name of a file: 64 bits of the key tell apart all trainings that will ever meet.
KEY_DIGITS = 16
FORMAT = "ulna checkpoint 1"
VALUES = "values"  # of the array that holds JSON
# What Keras' callbacks remember from one epoch to the next.
REMEMBERED = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
}
IMAGES = 256  # of a cached array that are hashed at a time


@dataclass(frozen=True)
class State:
    """All that the rest of a training depends on: what JSON can hold, and arrays by name."""

    values: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: Holds those of the last training that wrote to it; one process at a time may do so,
            see `ulna.core.stage.exclusive_lock`.
        key: 64 hexadecimal digits: the same for trainings that give the same bytes, see
            `training_key`.
    """

    folder: Path
    key: str

    def save(self, number: int, state: State) -> None:
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
        """What they take on the disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*"))

    def _own(self) -> list[Path]:
        """Those of this training, the oldest first."""
        named = re.compile(f"{self.key[:KEY_DIGITS]}-[0-9]+.checkpoint")
        return sorted(path for path in self.folder.glob("*") if named.fullmatch(path.name))


def delete_checkpoints(folder: Path) -> None:
    """Remove checkpoints, once what came of them is on disk: a next run is to start over."""
    shutil.rmtree(folder, ignore_errors=True)


def encode(key: str, state: State) -> bytes:
    """Put a state into bytes: a line with the key and a SHA-256 of what follows, values, arrays."""
    body = io.BytesIO()
    arrays: dict[str, Any] = {VALUES: np.array(json.dumps(state.values)), **state.arrays}
    np.savez(body, **arrays)
    digest = hashlib.sha256(body.getbuffer()).hexdigest()
    return f"{FORMAT} {key} {digest}\n".encode() + body.getvalue()


def decode(key: str, written: bytes) -> State:
    """Undo `encode`.

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


@functools.cache
def code() -> bytes:
    """SHA-256 of the modules that this process runs, read once: they may be edited meanwhile."""
    total = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] == "ulna" and module.__file__:
            total.update(Path(module.__file__).read_bytes())
    return total.digest()


def training_key(settings: Mapping[str, Any], *data: Examples) -> str:
    """Name a training by all that its bytes depend on.

    Args:
        settings: All parameters; what JSON can hold.
        data: Training images, and those that choose its epoch.

    Returns:
        64 hexadecimal digits; they change with a setting, a pixel, a label, a weight, the order of
        the images, a module of this package, a version of what computes, or the class of machine.
    """
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    total.update(environment()["fingerprint"].encode())
    total.update(code())
    for part, array in sorted(data[0].cache.arrays.items()):
        total.update(part.encode())
        # Some images at a time: the array is larger than memory.
        for start in range(0, len(array), IMAGES):
            total.update(array[start : start + IMAGES].tobytes())
    for examples in data:
        total.update(" ".join(examples.body_parts).encode())
        for column in (examples.rows, examples.keys, examples.labels, examples.weights):
            total.update(column.tobytes())
    return total.hexdigest()


class Record(Protocol):
    """The epochs so far: see `ulna.networks.training.BestEpoch`."""

    network: keras.Model
    records: list[dict[str, Any]]
    best_loss: float
    best_weights: list


class Checkpointing(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch; comes last, so that all others have seen the epoch."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        record: Record,
        counting: Sequence[keras.callbacks.Callback],
        phase: tuple[int, int],
        state: State | None,
    ) -> None:
        """Prepare for one phase.

        Args:
            checkpoints: Where to write.
            record: The epochs so far, of all of what is trained; a phase may fit a part of it.
            counting: The phase's callbacks of the kinds in `REMEMBERED`.
            phase: Its number, counted from 0, and the epoch that it began with.
            state: What this phase resumes from; None at its beginning.
        """
        super().__init__()
        self.checkpoints = checkpoints
        self.record = record
        self.counting = counting
        self.phase = phase
        self.state = state

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Put back what callbacks, and the optimizer, knew; they have just forgotten it."""
        optimizer = self.model.optimizer
        optimizer.build(self.model.trainable_variables)
        if self.state is None:
            return
        for callback in self.counting:
            kind = type(callback).__name__
            for name in REMEMBERED[kind]:
                setattr(callback, name, self.state.values[kind][name])
        _assign(optimizer.variables, self.state, "optimizer")
        self.state = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write all that the next epoch depends on."""
        number, began = self.phase
        values: dict[str, Any] = {
            "phase": number,
            "began": began,
            "stopped": bool(self.model.stop_training),
            "records": self.record.records,
            "best_loss": self.record.best_loss,
        }
        for callback in self.counting:
            kind = type(callback).__name__
            values[kind] = {name: getattr(callback, name) for name in REMEMBERED[kind]}
        arrays = {
            **_collect(self.record.network.variables, "network"),
            **_collect(self.model.optimizer.variables, "optimizer"),
            **{f"best/{at}": weight for at, weight in enumerate(self.record.best_weights)},
        }
        self.checkpoints.save(epoch + 1, State(values, arrays))


def restore_state(record: Record, state: State) -> None:
    """Put a network, as it was built, and the record of its epochs into a state."""
    network = record.network
    _assign(network.variables, state, "network")
    record.records = list(state.values["records"])
    record.best_loss = state.values["best_loss"]
    record.best_weights = [state.arrays[f"best/{at}"] for at in range(len(network.get_weights()))]


def _collect(variables: list[keras.Variable], prefix: str) -> dict[str, Any]:
    """The values of variables by prefix and place: Keras' names are not unique."""
    return {
        f"{prefix}/{at}": keras.ops.convert_to_numpy(variable)
        for at, variable in enumerate(variables)
    }


def _assign(variables: list[keras.Variable], state: State, prefix: str) -> None:
    """Undo `_collect`."""
    for at, variable in enumerate(variables):
        variable.assign(state.arrays[f"{prefix}/{at}"])
