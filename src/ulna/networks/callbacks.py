"""Callbacks of training: record the epochs, report progress, write checkpoints, log."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from ulna.core import InputError
from ulna.core.io import write_csv
from ulna.networks.resume import Checkpoints, State

MEASURES = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")
SECONDS_BETWEEN_LINES = 30.0
# State that Keras' callbacks carry from one epoch to the next.
CARRIED = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
}


class BestEpoch(keras.callbacks.Callback):
    """Records every epoch of every phase and keeps the weights with the lowest validation loss.

    Keras' EarlyStopping knows one call of `fit`; the best epoch may lie in an earlier phase.
    """

    def __init__(self, network: keras.Model, history: Path) -> None:
        """Start a record of the whole network, of which a phase may fit a part."""
        super().__init__()
        self.network = network
        self.history = history  # rewritten after each epoch, so that a run can be watched
        self.records: list[dict[str, Any]] = []
        self.phase = ""
        self.best_loss = float("inf")
        self.best_weights: list = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take the time."""
        self._began = monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Record, compare with the best, print a line where there is no progress bar."""
        logs = logs or {}
        if not all(tf.math.is_finite(logs[name]) for name in ("loss", "val_loss")):
            raise InputError(
                f"the loss of epoch {epoch + 1} ({self.phase}) is not a finite number: lower the "
                "learning rate, or set train.mixed_precision to none"
            )
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        measures = {name: float(logs[name]) for name in MEASURES}
        best = int(measures["val_loss"] < self.best_loss)
        if best:
            self.best_loss = measures["val_loss"]
            self.best_weights = self.network.get_weights()
            self.records = [record | {"best": 0} for record in self.records]
        row = {"epoch": epoch + 1, "phase": self.phase, "learning_rate": rate}
        self.records.append(row | measures | {"best": best})
        write_csv(self.history, pd.DataFrame(self.records))
        if not sys.stdout.isatty():
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in measures.items())
            seconds = monotonic() - self._began
            of = f"{epoch + 1} of at most {self.params['epochs']}"
            print(f"{self.phase} epoch {of}: {numbers} ({seconds:.1f} s)", flush=True)

    def restore_weights(self) -> None:
        """Set the network to the weights of its best epoch."""
        if self.best_weights:
            self.network.set_weights(self.best_weights)

    def restore_state(self, state: State) -> None:
        """Set the network, as it was built, and this record to a checkpoint's."""
        _assign(self.network.variables, state, "network")
        self.records = list(state.values["records"])
        self.best_loss = state.values["best_loss"]
        count = len(self.network.get_weights())
        self.best_weights = [state.arrays[f"best/{at}"] for at in range(count)]
        write_csv(self.history, pd.DataFrame(self.records))


class ProgressLogger(keras.callbacks.Callback):
    """Prints the progress of a long epoch into a log; on a terminal Keras draws a bar."""

    def __init__(self, phase: str) -> None:
        """Name the phase."""
        super().__init__()
        self.phase = phase
        self._epoch = 0
        self._began = self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take the time."""
        self._epoch = epoch
        self._began = self._last = monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Print a line every `SECONDS_BETWEEN_LINES`."""
        now = monotonic()
        if sys.stdout.isatty() or now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        done, total = batch + 1, self.params["steps"]
        left = (now - self._began) / done * (total - done)
        print(
            f"{self.phase} epoch {self._epoch + 1} of at most {self.params['epochs']}: {done} of "
            f"{total} batches, about {left:.0f} s to go in this epoch",
            flush=True,
        )


class Checkpointing(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch; comes last, so that all others have seen the epoch."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        record: BestEpoch,
        stateful: Sequence[keras.callbacks.Callback],
        phase: tuple[int, int],
        state: State | None,
    ) -> None:
        """Prepare for one phase."""
        super().__init__()
        self.checkpoints = checkpoints
        self.record = record
        self.stateful = stateful  # the phase's callbacks of the kinds in `CARRIED`
        self.phase = phase  # its number, counted from 0, and the epoch that it began with
        self.state = state  # of the checkpoint that this phase resumes from; None at its beginning

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restore the optimizer and the callbacks, which have just reset their counts."""
        optimizer = self.model.optimizer
        optimizer.build(self.model.trainable_variables)
        if self.state is None:
            return
        for callback in self.stateful:
            kind = type(callback).__name__
            for name in CARRIED[kind]:
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
        for callback in self.stateful:
            kind = type(callback).__name__
            values[kind] = {name: getattr(callback, name) for name in CARRIED[kind]}
        arrays = {
            **_collect(self.record.network.variables, "network"),
            **_collect(self.model.optimizer.variables, "optimizer"),
            **{f"best/{at}": weight for at, weight in enumerate(self.record.best_weights)},
        }
        self.checkpoints.write(epoch + 1, State(values, arrays))


def _collect(variables: list[keras.Variable], prefix: str) -> dict[str, Any]:
    # By position: Keras' names are not unique.
    return {f"{prefix}/{at}": keras.ops.convert_to_numpy(v) for at, v in enumerate(variables)}


def _assign(variables: list[keras.Variable], state: State, prefix: str) -> None:
    for at, variable in enumerate(variables):
        variable.assign(state.arrays[f"{prefix}/{at}"])


def tensorboard(history: Path) -> list[keras.callbacks.Callback]:
    """Return the callback that logs for TensorBoard if `ULNA_TENSORBOARD` names a folder."""
    # Not a parameter: logs hold times, so they are no output, and must not cause a new training.
    folder = os.environ.get("ULNA_TENSORBOARD")
    if not folder:
        return []
    if find_spec("tensorboard") is None:
        raise InputError(
            "ULNA_TENSORBOARD is set, but the package tensorboard is not installed: "
            "`pip install tensorboard`, or unset it"
        )
    return [keras.callbacks.TensorBoard(str(Path(folder) / history.stem), write_graph=False)]
