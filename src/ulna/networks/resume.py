"""Take a killed training up again, to the bytes of one that was never killed.

What an epoch does follows from the weights, the optimizer, the states of the random numbers of
dropout, what the callbacks remember, and the number of the epoch: order and augmentation of images
are functions of it. All of this is written after each epoch.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import keras

from ulna.networks.checkpoints import Checkpoints, State
from ulna.networks.dataset import Examples
from ulna.runtime import environment

# What Keras' callbacks remember from one epoch to the next.
REMEMBERED = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
}
IMAGES = 256  # of a cached array that are hashed at a time


@cache
def code() -> bytes:
    """SHA-256 of the modules that this process runs, read once: they may be edited meanwhile."""
    found = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] == "ulna" and module.__file__:
            found.update(Path(module.__file__).read_bytes())
    return found.digest()


class Record(Protocol):
    """The epochs so far: see `ulna.networks.training.BestEpoch`."""

    records: list[dict[str, Any]]
    best_loss: float
    best_weights: list


def key(settings: Mapping[str, Any], *data: Examples) -> str:
    """Name a training by all that its bytes depend on.

    Args:
        settings: All parameters; what JSON can hold.
        data: What it learns from and what chooses its epoch.

    Returns:
        64 hexadecimal digits; they change with a setting, a pixel, a label, a weight, the order of
        the images, a module of this package, a version of what computes, or the class of machine.
    """
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    found.update(environment()["fingerprint"].encode())
    found.update(code())
    for part, array in sorted(data[0].cache.arrays.items()):
        found.update(part.encode())
        # Some images at a time: the array is larger than memory.
        for start in range(0, len(array), IMAGES):
            found.update(array[start : start + IMAGES].tobytes())
    for examples in data:
        found.update(" ".join(examples.body_parts).encode())
        for column in (examples.rows, examples.keys, examples.labels, examples.weights):
            found.update(column.tobytes())
    return found.hexdigest()


class Checkpointing(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch; comes last, so that all others have seen the epoch.

    Attributes:
        network: All of what is trained.
        phase: Number of the phase, counted from 0, and the epoch that it began with.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        network: keras.Model,
        record: Record,
        counting: Sequence[keras.callbacks.Callback],
        phase: tuple[int, int],
        state: State | None,
    ) -> None:
        """Prepare for one phase.

        Args:
            checkpoints: Where to write.
            network: All of what is trained; a phase may fit a part of it.
            record: What is known of the epochs so far.
            counting: The phase's callbacks of the kinds in `REMEMBERED`.
            phase: Its number, counted from 0, and the epoch that it began with.
            state: What this phase is to be taken up from; None at its beginning.
        """
        super().__init__()
        self.checkpoints = checkpoints
        self.network = network
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
        assign(optimizer.variables, self.state, "optimizer")
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
            **collect(self.network.variables, "network"),
            **collect(self.model.optimizer.variables, "optimizer"),
            **{f"best/{at}": weight for at, weight in enumerate(self.record.best_weights)},
        }
        self.checkpoints.save(epoch + 1, State(values, arrays))


def take_up(network: keras.Model, record: Record, state: State) -> None:
    """Put a network, and the record of its epochs, into a state.

    Args:
        network: As it was built.
        record: Is given the epochs that the state knows.
        state: From a checkpoint of the same training.
    """
    assign(network.variables, state, "network")
    record.records = list(state.values["records"])
    record.best_loss = state.values["best_loss"]
    record.best_weights = [state.arrays[f"best/{at}"] for at in range(len(network.get_weights()))]


def collect(variables: list[keras.Variable], prefix: str) -> dict[str, Any]:
    """The values of variables by prefix and place: Keras' names are not unique."""
    return {
        f"{prefix}/{at}": keras.ops.convert_to_numpy(variable)
        for at, variable in enumerate(variables)
    }


def assign(variables: list[keras.Variable], state: State, prefix: str) -> None:
    """Undo `collect`."""
    for at, variable in enumerate(variables):
        variable.assign(state.arrays[f"{prefix}/{at}"])
