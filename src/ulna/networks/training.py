"""Fit in phases, keep the best epoch."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from ulna.console import SECONDS_BETWEEN_LINES
from ulna.errors import InputError
from ulna.files import write_csv
from ulna.networks.checkpoints import Checkpoints
from ulna.networks.devices import SameStatistics, spread
from ulna.networks.resume import Checkpointing, take_up
from ulna.params import Train

MEASURES = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")


@dataclass(frozen=True)
class Fit:
    """What a phase fits.

    Attributes:
        model: Shares the layers that learn with the network that is trained.
        training: Endless batches of inputs, labels and weights.
        validation: Finite batches of the same form.
    """

    model: keras.Model
    training: tf.data.Dataset
    validation: tf.data.Dataset


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own learning rate and its own trainable layers.

    Attributes:
        name: scratch, head or finetune.
        epochs: At most so many.
        learning_rate: Adam's at the start.
        begin: Number of the first epoch, counted from 0 over all phases -> what to fit.
        prepare: Says which layers learn. Of a phase that was over before the process was killed it
            is all that is done again: `begin` may take long.
    """

    name: str
    epochs: int
    learning_rate: float
    begin: Callable[[int], Fit]
    prepare: Callable[[], None] = lambda: None


class BestEpoch(keras.callbacks.Callback):
    """Records every epoch of every phase and keeps the weights with the lowest validation loss.

    Keras' EarlyStopping knows one call of `fit`; the best epoch may lie in an earlier phase.
    """

    def __init__(self, network: keras.Model, history: Path) -> None:
        """Start a record.

        Args:
            network: All of what is trained; a phase may fit a part of it.
            history: CSV file, written anew after each epoch so that a run can be watched.
        """
        super().__init__()
        self.network = network
        self.history = history
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
        measured = {name: float(logs[name]) for name in MEASURES}
        if measured["val_loss"] < self.best_loss:
            self.best_loss = measured["val_loss"]
            self.best_weights = self.network.get_weights()
            self.records = [record | {"best": 0} for record in self.records]
            best = 1
        else:
            best = 0
        self.records.append(
            {"epoch": epoch + 1, "phase": self.phase, "learning_rate": rate}
            | measured
            | {"best": best}
        )
        self.write()
        if not sys.stdout.isatty():
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
            seconds = monotonic() - self._began
            of = f"{epoch + 1} of at most {self.params['epochs']}"
            print(f"{self.phase} epoch {of}: {numbers} ({seconds:.1f} s)", flush=True)

    def write(self) -> None:
        """Write the training curves so far."""
        write_csv(self.history, pd.DataFrame(self.records))

    def restore(self) -> None:
        """Put the best epoch's weights into the network."""
        if self.best_weights:
            self.network.set_weights(self.best_weights)


class Lines(keras.callbacks.Callback):
    """Says in a log how far a long epoch is; on a terminal Keras draws a bar."""

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
        """Print a line every so many seconds."""
        now = monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        done, total = batch + 1, self.params["steps"]
        left = (now - self._began) / done * (total - done)
        print(
            f"{self.phase} epoch {self._epoch + 1} of at most {self.params['epochs']}: {done} of "
            f"{total} batches, about {left:.0f} s to go in this epoch",
            flush=True,
        )


def fit(
    network: keras.Model,
    phases: Sequence[Phase],
    steps_per_epoch: int,
    loss: keras.losses.Loss,
    train: Train,
    history: Path,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train a network in phases and leave it with the weights of its best epoch.

    The best epoch is the one with the lowest validation loss over all phases; each phase starts
    from the best so far.

    Args:
        network: Its weights are changed.
        phases: In order.
        steps_per_epoch: Training batches an epoch.
        loss: Of labels and logits.
        train: Early stopping and reduction of the learning rate.
        history: CSV file for the training curves: epoch (from 1), phase, learning_rate, the
            measures on train and val (image level, train under augmentation), best.
        checkpoints: Where each epoch's end is kept; training goes on from the newest.

    Raises:
        InputError: The loss is not finite.
    """
    best = BestEpoch(network, history)
    on_terminal = sys.stdout.isatty()
    state = checkpoints.load() if checkpoints else None
    if state is not None and checkpoints is not None:
        take_up(network, best, state)
        best.write()
        print(
            f"taken up after epoch {len(best.records)}, from {checkpoints.folder} (to begin anew, "
            "delete it)",
            flush=True,
        )
    for number, phase in enumerate(phases):
        phase.prepare()
        done = began = len(best.records)
        if state is not None:
            if number < state.values["phase"]:
                continue
            began = state.values["began"]
            if state.values["stopped"] or done == began + phase.epochs:
                best.restore()
                state = None
                continue
        fitted = phase.begin(done)
        fitted.model.compile(
            optimizer=keras.optimizers.Adam(phase.learning_rate),
            loss=loss,
            metrics=[
                keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
                keras.metrics.AUC(name="auroc", from_logits=True),
            ],
            # Keras refuses XLA where determinism is asked for, and XLA then has no gradient of max
            # pooling. Forced on two cores (the CNN without determinism), a step was slower: 0.6 to
            # 0.9 s against 0.4 to 0.6 for the CNN, 3.4 against 2.2 in fine-tuning DenseNet169, the
            # first 33 to 42 s against 9 to 21, and 100 against 40.
            jit_compile=False,
        )
        best.phase = phase.name
        counting = [
            keras.callbacks.EarlyStopping("val_loss", patience=train.early_stopping_epochs),
            keras.callbacks.ReduceLROnPlateau(
                "val_loss",
                factor=train.plateau_factor,
                patience=train.plateau_epochs,
                min_lr=train.min_learning_rate,
            ),
        ]
        keeping = []
        if checkpoints is not None:
            keeping = [Checkpointing(checkpoints, network, best, counting, (number, began), state)]
        fitted.model.fit(
            spread(fitted.training, learning=True),
            initial_epoch=done,
            epochs=began + phase.epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=spread(fitted.validation, learning=False),
            callbacks=[
                SameStatistics(),
                best,
                *([] if on_terminal else [Lines(phase.name)]),
                *counting,
                *tensorboard(history),
                *keeping,
            ],
            shuffle=False,
            verbose=1 if on_terminal else 0,
        )
        best.restore()
        state = None
    if checkpoints is not None:
        checkpoints.keep_newest()


def tensorboard(history: Path) -> list[keras.callbacks.Callback]:
    """The callback that writes logs for TensorBoard where `ULNA_TENSORBOARD` names a folder.

    Not a parameter: logs hold times, so they are no output, and asking for them must not train
    anything anew.

    Args:
        history: CSV file of the training curves; its name, or its folder's, tells runs apart.

    Returns:
        None or one.

    Raises:
        InputError: The package that writes them is not installed.
    """
    folder = os.environ.get("ULNA_TENSORBOARD")
    if not folder:
        return []
    if find_spec("tensorboard") is None:
        raise InputError(
            "ULNA_TENSORBOARD is set, but the package tensorboard is not installed: "
            "`pip install tensorboard`, or unset it"
        )
    name = history.parent.name if history.stem == "history" else history.stem
    return [keras.callbacks.TensorBoard(str(Path(folder) / name), write_graph=False)]
